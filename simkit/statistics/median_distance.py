"""The median distance between examples, which bandwidths follow: exact or from a sample, without an n x n array.

The exact median of all n(n-1)/2 distances is found by counting. A bracket that a few pairs suggest probably holds it; one
pass over blocks of distances counts those below the bracket and collects those inside. Were they too many to be held, every
k-th of them suggests a bracket a hundred times as narrow, and the pass is repeated. Which pairs are taken first decides how
long that takes, and never the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from simkit.arrays import Array, constant_of, namespace_of, placement, take_rows
from simkit.kernel import Kernel
from simkit.linalg import vecdot
from simkit.linalg.points import Block, BlockMaker, KeptSquares, Points, Squares, unit_of
from simkit.linalg.selection import neighbours_at
from simkit.statistics.kernel_sums import block_pairs, cuts
from simkit.threads import in_threads

__all__ = [
    "KEPT",
    "PAIRS",
    "SIDE",
    "Bandwidth",
    "Counts",
    "Search",
    "counts_over",
    "first_sample",
    "fitted",
    "is_worth_a_sample",
    "median_distance",
    "median_of",
    "middle_distance",
    "pairs_in",
    "random_pairs",
    "shares_of",
    "squares_between",
]

Bandwidth: TypeAlias = Literal["exact", "sample"]

PAIRS = 10**6  # of a sample
_PRODUCTS = 8  # distances by matrix products that take as long as one by itself
_ALL = 2**16  # distances that are as soon collected
_FEWEST, _MOST = 2**16, 2**18  # pairs that suggest the first bracket where there are more
_COLLECTED = 2**21  # distances that are held at most to select the median among them
_SIGMAS = 5.0  # from the ends of a bracket to the rank that it should hold
SIDE = 288  # of a block
KEPT = 72 * 2**20  # bytes of squared distances of all layers that are rather kept for their kernels than computed again


def fitted(kernel: Kernel, x: Array, bandwidth: Bandwidth = "exact") -> Kernel:
    """The kernel with what depends on the data filled in, in bounded memory for bandwidths that follow the median distance.

    Parameters
    ----------
    kernel : Kernel
    x : array, shape (n, p)
        All examples of the layer, as the kernel takes them.
    bandwidth
        The `method` of `median_distance`.

    Raises
    ------
    NeedsAllExamplesError
        The kernel has a `fit` of its own and does not declare what it needs.
    """
    if kernel.declared_needs() != "median distance":
        return kernel.fit(x)
    return kernel.with_median(median_distance(x, method=bandwidth))


def median_distance(x: Array, *, method: Bandwidth = "exact", seed: int = 0, pairs: int = PAIRS) -> Array:
    """Median Euclidean distance over the distinct pairs of rows, in bounded memory.

    Parameters
    ----------
    x : array, shape (n, p)
        Centred, for accuracy.
    method : {"exact", "sample"}
        ``"exact"`` computes all n(n-1)/2 distances, once up to about 20,000 examples and a few times beyond. ``"sample"``
        draws `pairs` of them, each example as often; the share of the distances below its result is 1/2 with a standard
        deviation of at most ``0.5 / sqrt(pairs)``, 0.05 % for a million, whatever n is. Where there are not many times more
        pairs than that, it takes them all, in less time.
    seed : int
        Of the sample; it does not change an exact result.
    pairs : int
        The size of the sample.

    Returns
    -------
    0-d array
        In the dtype of `x`; nan where distances are.
    """
    points = Points.of(x, unit_of(x))
    everything = points.n * (points.n - 1) // 2
    if method == "sample" and is_worth_a_sample(everything, pairs):
        median = middle_distance(_sampled_squares(points, pairs, seed))
        return median if points.scale is None else median * points.scale
    return median_of(points, block_pairs(points.n, None, SIDE), points.n, seed)


def median_of(squares: Squares, blocks: Sequence[Block], n: int, seed: int = 0) -> Array:
    """The median distance of n rows, a 0-d array, from all blocks of the upper half of their squared distances."""
    everything = n * (n - 1) // 2
    search, pairs = Search.of(everything), first_sample(everything)
    if pairs:
        if isinstance(squares, KeptSquares):
            sample = _drawn_from(squares, blocks, everything // pairs | 1)
        else:
            sample = _sampled_squares(squares, pairs, seed)
        search = search.narrowed(sample)
    while search.found is None:
        now = search

        def count(share: Iterator[Block]) -> Counts:
            return counts_over(share, squares.blocks(), now)  # noqa: B023 - it is done before the next round

        search = search.after(Counts.merged(in_threads(count, blocks, squares.like)))
    median = search.median(squares.like)
    return median if squares.scale is None else median * squares.scale


def _drawn_from(squares: KeptSquares, blocks: Sequence[Block], step: int) -> Array:
    """One of so many of the squared distances of distinct pairs."""
    made = squares.blocks()
    return namespace_of(squares.like).concat([_pairs_of(made(a, b), on_diagonal=a == b)[::step] for a, b in blocks])


def pairs_in(r: int, c: int | None) -> int:
    """How many pairs there are of one of r rows and one of c others, or of distinct ones of the r rows if `c` is None."""
    return r * (r - 1) // 2 if c is None else r * c


def shares_of(pairs: int, sizes: Sequence[int]) -> list[int]:
    """How many of some sampled pairs parts of these sizes draw: as many as they have of all, rounded so that they add up."""
    ends = [round(pairs * part / sum(sizes)) for part in np.cumsum(np.asarray(sizes, dtype=object))]
    return [int(b - a) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def is_worth_a_sample(everything: int, pairs: int) -> bool:
    """Whether `pairs` single distances cost less than all `everything` by matrix products, which take a tenth for each."""
    return everything > _PRODUCTS * pairs


def _sampled_squares(points: Points, pairs: int, seed: int) -> Array:
    """Squared distances of random pairs of distinct rows, all different, of which each row is in as many.

    The rows in random order, each with that so many places after it, for some numbers of places: all of it is read in the
    order in which it stands in memory.
    """
    xp, n, rng = namespace_of(points.rows), points.n, np.random.default_rng(seed)
    order = rng.permutation(n)
    around = replace(points, rows=take_rows(points.rows, np.concatenate([order, order[: n // 2]])))
    steps = [int(step) + 1 for step in rng.permutation((n - 1) // 2)[: -(-pairs // n)]]
    shares = [(part, step) for part in cuts(n, max(1, 2**18 // points.p)) for step in steps]

    def squares(share: Iterator[tuple[slice, int]]) -> list[Array]:
        found, last, left = [], None, around.rows
        for part, step in share:
            if part != last:
                last, left = part, around.left(part)
            found.append(vecdot(left, around.rows[part.start + step : part.stop + step, :], xp))
        return found

    found = xp.concat([part for share in in_threads(squares, shares, points.rows) for part in share])
    return xp.clip(found, min=0.0)


def middle_distance(squares: Array) -> Array:
    """The median distance from squared distances (m,), a 0-d array."""
    xp, size = namespace_of(squares), squares.shape[0]
    first, last = neighbours_at(squares, (size - 1) // 2, size // 2, xp)
    return (xp.sqrt(first) + xp.sqrt(last)) / 2


def random_pairs(n: int, m: int | None, size: int, seed: int | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Random pairs of one of n rows and one of m others; of distinct ones of the same n rows if `m` is None."""
    rng = np.random.default_rng(seed)
    i = rng.integers(0, n, size)
    return i, (i + rng.integers(1, n, size)) % n if m is None else rng.integers(0, m, size)


def squares_between(x: Array, y: Array, i: np.ndarray, j: np.ndarray) -> Array:
    """Squared distances of some rows of `x` and as many of `y`, by their numbers, shape (len(i),)."""
    gap = take_rows(x, i) - take_rows(y, j)
    return vecdot(gap, gap, namespace_of(gap))


def first_sample(everything: int) -> int:
    """How many pairs are to suggest the first bracket; 0 where all distances are as soon collected."""
    if everything <= _ALL:
        return 0
    fewest = min(_FEWEST, everything // 32)  # else the sample takes longer than it saves
    return min(_MOST, max(fewest, int(4 * _SIGMAS * everything / _COLLECTED) ** 2))


# --- counting -------------------------------------------------------------------------------------------------------------


class Counts(NamedTuple):
    """Squared distances below and inside a bracket.

    Attributes
    ----------
    below, inside : int
        How many.
    kept : list of arrays, shapes (m,)
        Those inside, or every `Search.stride`-th of them.
    above : float
        The smallest above the bracket, where that is a single value; inf otherwise.
    """

    below: int
    inside: int
    kept: list[Array]
    above: float

    @classmethod
    def merged(cls, parts: Sequence[Counts]) -> Counts:
        """Of the distances of all parts."""
        return cls(
            sum(part.below for part in parts),
            sum(part.inside for part in parts),
            [values for part in parts for values in part.kept],
            min((part.above for part in parts), default=math.inf),
        )


def counts_over(blocks: Iterable[Block], squares: BlockMaker, search: Search, *, itself: bool = True) -> Counts:
    """Of the squared distances in some blocks; of distances of rows from `itself`, the same, those of distinct pairs."""
    return Counts.merged([_counts(squares(a, b), search, on_diagonal=itself and a == b) for a, b in blocks])


def _pairs_of(d: Array, *, on_diagonal: bool) -> Array:
    """The values of a block for different pairs in one dimension, and perhaps nan for the others."""
    if on_diagonal and isinstance(d, np.ndarray):
        return d[np.tri(d.shape[0], k=-1, dtype=bool).T]
    xp = namespace_of(d)
    if on_diagonal:
        i = xp.arange(d.shape[0], **placement(d))
        d = xp.where(i[:, None] < i[None, :], d, float("nan"))  # which is neither below nor inside nor above a bracket
    return xp.reshape(d, (-1,))


def _counts(block: Array, search: Search, *, on_diagonal: bool) -> Counts:
    xp, d = namespace_of(block), _pairs_of(block, on_diagonal=on_diagonal)
    below = d < search.low
    if search.low == search.high:
        above = float(xp.min(xp.where(d > search.high, d, float("inf")))) if 0 not in d.shape else math.inf
        return Counts(int(xp.count_nonzero(below)), int(xp.count_nonzero(d == search.low)), [], above)
    within = xp.logical_xor(d <= search.high, below)
    if isinstance(d, np.ndarray):
        inside = d[within]
    else:  # whose libraries would compile a selection anew for each number of values
        inside = xp.sort(xp.where(within, d, float("inf")))[: int(xp.count_nonzero(within))]
    return Counts(int(xp.count_nonzero(below)), inside.shape[0], [inside[:: search.stride]], math.inf)


@dataclass(frozen=True)
class Search:
    """What is known of the two middle ones of some squared distances.

    Attributes
    ----------
    everything : int
        How many distances there are.
    low, high : float
        The bracket, both ends included, that is counted next.
    stride : int
        One of so many of the distances inside is to be kept.
    found : pair of floats, optional
        The two middle ones; nan if some distances are.
    """

    everything: int
    low: float = 0.0
    high: float = math.inf
    stride: int = 1
    found: tuple[float, float] | None = None

    @classmethod
    def of(cls, everything: int) -> Search:
        """Before anything is known."""
        return cls(everything, stride=_stride(everything))

    @property
    def first(self) -> int:
        """The rank, from 0, of the lower of the two; that of the other is the same or the next."""
        return (self.everything - 1) // 2

    def narrowed(self, sample: Array, below: int = 0, inside: int | None = None) -> Search:
        """The search with the bracket that a sample of the distances inside the present one suggests.

        Parameters
        ----------
        sample : array, shape (m,)
        below, inside : int
            How many are below and inside the present bracket. Default: all are inside.
        """
        xp = namespace_of(sample)
        ordered = xp.sort(sample)
        size, inside = ordered.shape[0], self.everything if inside is None else inside
        middle, margin = (self.first + 0.5 - below) / inside * size, _SIGMAS * math.sqrt(size) / 2 + 1
        a, b = math.floor(middle - margin), math.ceil(middle + margin)
        low = float(ordered[a]) if a >= 0 else self.low
        high = float(ordered[b]) if b < size else self.high
        if (low, high) == (self.low, self.high):  # each end stands very many times, or the sample is very small
            pivot = float(ordered[int(middle)])
            high = pivot if pivot < high else low
        share = int(xp.count_nonzero(xp.logical_and(ordered >= low, ordered <= high))) / size
        return replace(self, low=low, high=high, stride=_stride(share * inside))

    def after(self, counts: Counts) -> Search:
        """The search when the distances below and inside the bracket have been counted."""
        rank, last = self.first - counts.below, self.everything // 2 - counts.below
        if rank < 0:
            return replace(self, low=0.0, high=self.low, stride=_stride(counts.below))
        if rank >= counts.inside and self.high == math.inf:  # some are nan
            return replace(self, found=(math.nan, math.nan))
        if rank >= counts.inside:
            low = counts.above if self.low == self.high else self.high
            return replace(self, low=low, high=math.inf, stride=_stride(self.everything - counts.below))
        if self.low == self.high:
            return replace(self, found=(self.low, self.low if last < counts.inside else counts.above))
        return self._among(counts, rank, last)

    def _among(self, counts: Counts, rank: int, last: int) -> Search:
        """The search when the bracket holds the lower of the two."""
        xp = namespace_of(counts.kept[0])
        inside = xp.concat(counts.kept)
        if self.stride > 1:
            return self.narrowed(inside, counts.below, counts.inside)
        first, second = neighbours_at(inside, rank, min(last, counts.inside - 1), xp)
        if last < counts.inside:
            return replace(self, found=(float(first), float(second)))
        return replace(self, low=float(first), high=float(first))

    def median(self, like: Array) -> Array:
        """The mean of the two middle distances, a 0-d array like another one, once they are found."""
        first, last = self.found or (math.nan, math.nan)
        return constant_of((math.sqrt(first) + math.sqrt(last)) / 2, like, namespace_of(like))


def _stride(inside: float) -> int:
    """An odd number, so that it is no multiple of the width of a block."""
    return 1 if inside <= _COLLECTED else 2 * math.ceil(inside / _COLLECTED) + 1
