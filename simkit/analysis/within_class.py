"""Appendix F.7 of the paper: similarity among the examples of one class only.

Two networks that classify well separate the classes alike, and that alone makes them similar. Within a class this does not
help: what remains is how alike they represent differences between examples that get the same label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simkit.arrays import as_matrix, check_labels, is_lazy, take_rows, to_numpy
from simkit.comparison import compare, pairwise
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.index import Index
from simkit.matrix import SimilarityMatrix
from simkit.registry import get_index

__all__ = ["WithinClass", "within_class"]


@dataclass(frozen=True, eq=False)
class WithinClass:
    """Similarity within each class.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    classes : tuple
        Labels, sorted.
    counts : tuple of int
        Examples of each class.
    scores : ndarray, shape (classes,) or (classes, rows, columns)
        Of two layers, or of two sets of layers.
    overall : float or SimilarityMatrix
        With the examples of all classes together.
    """

    index: str
    classes: tuple[Any, ...]
    counts: tuple[int, ...]
    scores: np.ndarray
    overall: float | SimilarityMatrix

    @property
    def mean(self) -> float | SimilarityMatrix:
        """The mean over classes, each counting the same."""
        mean = np.mean(self.scores, axis=0)
        if isinstance(self.overall, SimilarityMatrix):
            return SimilarityMatrix(mean, self.overall.rows, self.overall.columns, self.index, sum(self.counts))
        return float(mean)


def within_class(
    X: Any,
    Y: Any,
    labels: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    flatten: bool = False,
    **parameters: Any,
) -> WithinClass:
    """Similarity of two layers, or of all pairs of layers, among the examples of each class.

    Parameters
    ----------
    X, Y : array (n, p), or mapping of names to such arrays
        Both of one kind; Y may be None for a mapping, to compare its layers with each other.
    labels : sequence of n labels
    index : str or Index
        As in `simkit.compare`.
    flatten : bool
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

    Returns
    -------
    WithinClass

    Raises
    ------
    InvalidArrayError
        Another number of labels than of examples, or a class with fewer examples than the index needs.
    SimkitError
        As `simkit.compare`.

    References
    ----------
    Kornblith et al. 2019, appendix F.7.
    """
    chosen = get_index(index, **parameters)
    many = isinstance(X, Mapping)
    sides = [_matrices(side, name, flatten) for side, name in ((X, "X"), (Y, "Y")) if side is not None]
    given = [_by_message(side, name) for side, name in ((X, "X"), (Y, "Y")) if side is not None]
    check_labels(*given)
    first = next(iter(sides[0].values()))
    members = _members(labels, first.shape[0], chosen)

    def of(rows: np.ndarray | None) -> Any:
        parts = [{name: x if rows is None else take_rows(x, rows) for name, x in side.items()} for side in sides]
        if many:
            return pairwise(parts[0], parts[1] if len(parts) > 1 else None, chosen)
        return float(compare(parts[0]["X"], parts[1]["Y"], chosen))

    if not many and len(sides) < 2:
        raise InvalidArrayError("Y is None, and X is a single layer: there is nothing to compare it with.")
    found = [of(rows) for rows in members.values()]
    scores = np.stack([score.to_numpy() if many else np.asarray(score) for score in found])
    return WithinClass(str(chosen), tuple(members), tuple(map(len, members.values())), scores, of(None))


def _matrices(side: Any, name: str, flatten: bool) -> dict[str, Any]:
    named = dict(side) if isinstance(side, Mapping) else {name: side}
    layers = {label: as_matrix(x, label, flatten=flatten) for label, x in named.items()}
    for label, x in layers.items():
        if is_lazy(x):
            raise NeedsAllExamplesError(f"{label} is lazy; classes are picked out of arrays in memory: pass .compute().")
    return layers


def _by_message(side: Any, name: str) -> dict[str, Any]:
    """The layers of a side as they were given, by what messages call them."""
    return {f"{name}[{key!r}]": x for key, x in side.items()} if isinstance(side, Mapping) else {name: side}


def _members(labels: Any, n: int, index: Index[Any]) -> dict[Any, np.ndarray]:
    """Examples of each class."""
    values = to_numpy(labels)
    if values.shape != (n,):
        raise InvalidArrayError(f"labels has shape {values.shape}; expected one for each of the {n} examples, ({n},).")
    members = {label.item(): np.flatnonzero(values == label) for label in np.unique(values)}
    least = index.facts.min_examples
    small = {label: len(rows) for label, rows in members.items() if len(rows) < least}
    if small:
        label, count = next(iter(small.items()))
        raise InvalidArrayError(f"Class {label!r} has {count} examples; {index} needs at least {least} of each class.")
    return members
