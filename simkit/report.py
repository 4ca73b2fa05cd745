"""One page in HTML about the layers of two networks, to look at, to send and to print.

``simkit.report.of_layers(A, B, ["cka", "procrustes"]).write("report.html")`` computes matrices and intervals from
activations; ``simkit.report.of_matrices([...])``, in short ``matrix.report("report.html")``, takes matrices that are there.
The page is one file, needs no network, and is read in any browser. It needs Jinja2:
``pip install "simkit-similarity[report]"``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from simkit.arrays import is_dask, warn_caller
from simkit.best import best
from simkit.comparison import pairwise
from simkit.errors import ChanceWarning, InferenceError, InferenceWarning, InvalidArrayError
from simkit.index import Index
from simkit.inference import IntervalResult, interval
from simkit.inference.bounds import check_confidence
from simkit.matrix import SimilarityMatrix
from simkit.page import Entry, Intervals, Report
from simkit.progress import is_shown, track
from simkit.provenance import sides_of
from simkit.registry import get_index
from simkit.scale.sources.store import DescribedLayers
from simkit.sides import Sides

__all__ = ["Entry", "Intervals", "Report", "of_layers", "of_matrices"]

_AT_ONCE = 2**28  # bytes of scores without each example up to which all pairs have an interval

OneIndex = str | Index[Any] | type[Index[Any]]


def of_matrices(
    matrices: SimilarityMatrix | Entry | Sequence[SimilarityMatrix | Entry],
    *,
    title: str | None = None,
    labels: tuple[str, str] | None = None,
) -> Report:
    """A report of matrices that are there.

    Parameters
    ----------
    matrices : SimilarityMatrix or Entry, or sequence of them
        Of the same layers, each under another index. An `Entry` brings intervals and warnings with it.
    title : str, optional
        Headline of the page.
    labels : (str, str), optional
        What the rows and the columns are called, such as names of networks.

    Returns
    -------
    Report
        Has ``write(path)`` and ``html()``.

    Raises
    ------
    InvalidArrayError
        There is no matrix, something is none, one has no rows or no columns, or two have different layers.
    """
    given = [matrices] if isinstance(matrices, SimilarityMatrix | Entry) else list(matrices)
    return Report(tuple(each if isinstance(each, Entry) else Entry(each) for each in given), title, labels)


def of_layers(
    A: Mapping[str, Any] | Sequence[Any],
    B: Mapping[str, Any] | Sequence[Any] | None = None,
    indexes: OneIndex | Sequence[OneIndex] = "cka",
    *,
    intervals: bool = True,
    confidence: float = 0.95,
    groups: Any = None,
    subsamples: int = 50,
    seed: int = 0,
    timeout: float | None = 600.0,
    title: str | None = None,
    labels: tuple[str, str] | None = None,
    progress: bool | None = None,
    **options: Any,
) -> Report:
    """A report of all pairs of layers under one index or several, with confidence intervals.

    Parameters
    ----------
    A, B : mapping of names to arrays, or sequence of arrays
        Layers of shape (n, p), as in `simkit.pairwise`; ``B=None`` compares `A` with itself.
    indexes : str or Index, or sequence of them
        Specs, such as ``["cka", "procrustes(summary=distance)"]``.
    intervals : bool
        Compute confidence intervals (`simkit.interval`) of the best match of each row and, where there are as many rows as
        columns, of the layers in the same place. Not of Dask arrays, of which only the scores are computed.
    confidence, groups, subsamples
        As in `simkit.interval`, whose default of 200 subsamples takes four times as long.
    seed : int
        Seed of the subsamples.
    timeout : float or None
        Seconds without progress after which a Dask cluster counts as stuck; as in `simkit.scale.dask.compute`.
    title, labels
        As in `of_matrices`.
    progress : bool, optional
        Show progress bars; by default in terminals and notebooks. See `simkit.set_options`.
    **options
        Of `simkit.pairwise`: ``check_finite``, ``flatten``, ``ids``, ``tiles``, ``precision``.

    Returns
    -------
    Report
        Has ``write(path)``, ``html()`` and ``matrices``. Warnings are given as usual, and are on the page.

    Raises
    ------
    SimkitError
        As `simkit.pairwise`; no index was given, or one twice.

    Notes
    -----
    Each interval is for its pair alone. The best match is the best of several scores, so its score and its interval are a
    little too good. A pair of which `simkit.interval` has none is left without, with an `InferenceWarning` that says why.

    Indexes of HSIC sums have an interval for every pair, from one pass, where the scores without each example fit into
    256 MB. Others are computed up to `subsamples` times for each pair that has one.

    Examples
    --------
    >>> import simkit
    >>> first, second = simkit.demo.load(0), simkit.demo.load(1)
    >>> simkit.report.of_layers(first, second, ["cka", "procrustes"], intervals=False)
    <Report 10 x 10, cka, procrustes>
    """
    chosen = _chosen(indexes)
    check_confidence(confidence)
    sides, given = Sides.of_layers(A, B)
    about, layers = sides_of(A, B), sides.by_side(given)
    rows, *others = (  # read once for all indexes
        DescribedLayers(dict(zip(names, side.values(), strict=True)), about.get(what, {}))
        for what, names, side in zip(("rows", "columns"), (sides.rows, sides.columns), layers, strict=False)
    )
    columns = others[0] if others else rows
    wanted = _Wanted(confidence, groups, subsamples, seed, bool(options.get("flatten")), progress)
    entries = []
    for index in chosen:
        with _heard() as said:
            matrix = pairwise(rows, None if columns is rows else columns, index, progress=progress, **options)
            if is_dask(matrix.values):
                from simkit.scale.dask import computed

                matrix = computed(matrix, progress=is_shown(progress), timeout=timeout)
            found = wanted.of(matrix, rows, columns, index) if intervals else None
        entries.append(Entry(matrix, found, tuple(said)))
    return Report(tuple(entries), title, labels)


def _chosen(indexes: OneIndex | Sequence[OneIndex]) -> list[Index[Any]]:
    one = isinstance(indexes, str | Index | type)
    chosen = [get_index(index) for index in ([indexes] if one else list(indexes))]  # type: ignore[arg-type]
    if not chosen:
        raise InvalidArrayError("A report needs at least one index; got none.")
    specs = [str(index) for index in chosen]
    twice = sorted({spec for spec in specs if specs.count(spec) > 1})
    if twice:
        raise InvalidArrayError(f"{', '.join(twice)} is given twice; give each index once.")
    return chosen


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Warnings of the block, each once, which are given again when it is over."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    for each in caught:
        if str(each.message) not in said:
            said.append(str(each.message))
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno, source=each.source)


@dataclass(frozen=True)
class _Wanted:
    """Which intervals are to be computed, and how."""

    confidence: float
    groups: Any
    subsamples: int
    seed: int
    flatten: bool
    progress: bool | None

    def __call__(self, X: Any, Y: Any, index: Index[Any]) -> IntervalResult:
        return interval(
            X,
            Y,
            index,
            confidence=self.confidence,
            groups=self.groups,
            subsamples=self.subsamples,
            rng=self.seed,
            progress=False,
            flatten=self.flatten,
        )

    def _alone(self, X: Any, Y: Any, index: Index[Any], points: list[str]) -> IntervalResult:
        """The interval of one of many pairs; what would be warned of for each of them is put into `points`."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = self(X, Y, index)
        for each in caught:
            if issubclass(each.category, InferenceWarning):
                points.append(str(each.message))
            elif not issubclass(each.category, ChanceWarning):  # of which `pairwise` warns, for all pairs
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        return found

    def of(
        self, matrix: SimilarityMatrix, rows: Mapping[str, Any], columns: Mapping[str, Any], index: Index[Any]
    ) -> Intervals | None:
        """The intervals of a matrix; None, with a warning that says why, where there are none.

        `columns` is `rows` where layers are compared with themselves.
        """
        if any(is_dask(x) for x in (*rows.values(), *columns.values())):
            return None
        pairs = _pairs(matrix, itself=columns is rows)
        low, high = (np.full(matrix.shape, np.nan) for _ in range(2))
        about: IntervalResult | None = None
        refused: list[str] = []
        points: list[str] = []
        if index.facts.statistic == "hsic sums" and matrix.n * low.size * 8 <= _AT_ONCE:
            try:  # one pass over the examples for all pairs
                about = self(rows, columns, index)
                low, high = np.array(about.interval.low), np.array(about.interval.high)
                pairs = {}
            except (InferenceError, InvalidArrayError):  # one of them has none, or is constant: below it is seen which
                pass
        with track(len(pairs), f"intervals of {index}", self.progress) as advance:
            for row, names in pairs.items():
                for name in names:
                    try:
                        found = self._alone({row: rows[row]}, {name: columns[name]}, index, points)
                    except InferenceError as error:
                        refused.append(str(error))
                        continue
                    where = matrix.rows.index(row), matrix.columns.index(name)
                    (low[where], high[where]), about = found[row, name].interval, found
                advance()
        _warn(points, refused)
        if about is None:
            return None
        if columns is rows:
            for bound in (low, high):
                np.fill_diagonal(bound, np.nan)  # a layer and itself
        return Intervals(low, high, self.confidence, about.method, about.estimand, self.seed)


def _warn(points: list[str], refused: list[str]) -> None:
    """Warn once of all intervals that are points, and of each reason why one is missing."""
    if points:
        others = f" So is that of {len(points) - 1} more of these pairs." if len(points) > 1 else ""
        warn_caller(f"{points[0]}{others}", InferenceWarning)
    for message in dict.fromkeys(refused):
        warn_caller(f"There is an interval missing: {message}", InferenceWarning)


def _pairs(matrix: SimilarityMatrix, *, itself: bool) -> dict[str, list[str]]:
    """Rows, and the columns with which each has an interval: its best match, and what is in the same place."""
    scores = matrix.to_numpy()
    wanted = np.zeros(scores.shape, dtype=bool)
    places = np.argmax(best(scores, smallest=matrix.is_distance), axis=1)  # the first of several
    wanted[np.arange(len(scores)), places] = True
    if scores.shape[0] == scores.shape[1]:
        np.fill_diagonal(wanted, not itself)
    wanted &= np.isfinite(scores)
    return {matrix.rows[i]: [matrix.columns[j] for j in np.flatnonzero(line)] for i, line in enumerate(wanted) if line.any()}
