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
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from simkit.arrays import Array, Namespace, constant_of, namespace_of, placement, take_rows
from simkit.kernel import Kernel
from simkit.linalg import squared_distances, vecdot
from simkit.statistics.kernel_sums import block_pairs, cuts
from simkit.threads import in_threads

__all__ = [
    "PAIRS",
    "SIDE",
    "Bandwidth",
    "Counts",
    "Search",
    "counts_over",
    "first_sample",
    "fitted",
    "median_distance",
    "middle_distance",
    "random_pairs",
    "squares_between",
]

Bandwidth: TypeAlias = Literal["exact", "sample"]

PAIRS = 10**6  # of a sample
_FEWEST, _MOST = 2**13, 2**18  # pairs that suggest the first bracket
_COLLECTED = 2**21  # distances that are held at most to select the median among them
_SIGMAS = 5.0  # from the ends of a bracket to the rank that it should hold
SIDE = 512  # of a block


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
        draws `pairs` of them with replacement; the share of the distances below its result is 1/2 with a standard deviation
        of ``0.5 / sqrt(pairs)``, 0.05 % for a million, whatever n is; where there are no more pairs than that, it takes
        them all.
    seed : int
        Of the sample; it does not change an exact result.
    pairs : int
        The size of the sample.

    Returns
    -------
    0-d array
        In the dtype of `x`; nan where distances are.
    """
    xp, n = namespace_of(x), x.shape[0]
    everything = n * (n - 1) // 2
    if method == "sample" and pairs < everything:
        return middle_distance(_sampled_squares(x, pairs, seed, xp))
    search = Search.of(everything)
    if first_sample(everything):
        search = search.narrowed(_sampled_squares(x, first_sample(everything), seed, xp))
    blocks = block_pairs(n, None, SIDE)
    while search.found is None:
        counts = in_threads(partial(counts_over, x=x, y=None, search=search), blocks, x)
        search = search.after(Counts.merged(counts))
    return search.median(x[0, 0])


def _sampled_squares(x: Array, pairs: int, seed: int, xp: Namespace) -> Array:
    """Squared distances of random pairs of distinct rows, sorted."""
    i, j = random_pairs(x.shape[0], None, pairs, seed)

    def squares(shares: Iterator[slice]) -> list[Array]:
        return [squares_between(x, x, i[part], j[part]) for part in shares]

    shares = in_threads(squares, cuts(pairs, max(1, 2**20 // x.shape[1])), x)
    return xp.sort(xp.concat([part for share in shares for part in share]))


def middle_distance(squares: Array) -> Array:
    """The median distance of sorted squared distances, a 0-d array."""
    xp, size = namespace_of(squares), squares.shape[0]
    return (xp.sqrt(squares[(size - 1) // 2]) + xp.sqrt(squares[size // 2])) / 2


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
    return 0 if everything <= _MOST else min(_MOST, max(_FEWEST, int(4 * _SIGMAS * everything / _COLLECTED) ** 2))


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


def counts_over(blocks: Iterable[tuple[slice, slice]], x: Array, y: Array | None, search: Search) -> Counts:
    """Of the squared distances between rows of `x` (r, p) and `y` (c, p), or of distinct rows of `x`, in some blocks.

    The blocks are as those of `simkit.statistics.kernel_sums.sums_over`.
    """
    other = x if y is None else y
    return Counts.merged([_counts(x[a, :], None if y is None and a == b else other[b, :], search) for a, b in blocks])


def _counts(x: Array, y: Array | None, search: Search) -> Counts:
    xp = namespace_of(x)
    d = squared_distances(x, x if y is None else y, xp)
    if y is None:
        i = xp.arange(x.shape[0], **placement(x))
        d = xp.where(i[:, None] < i[None, :], d, float("nan"))  # which is neither below nor inside nor above
    below = int(xp.count_nonzero(d < search.low))
    within = xp.logical_and(d >= search.low, d <= search.high)
    if search.low == search.high:
        above = float(xp.min(xp.where(d > search.high, d, float("inf"))))
        return Counts(below, int(xp.count_nonzero(within)), [], above)
    if isinstance(d, np.ndarray):
        inside = d[within]
    else:  # whose libraries would compile a selection anew for each number of values
        inside = xp.sort(xp.reshape(xp.where(within, d, float("inf")), (-1,)))[: int(xp.count_nonzero(within))]
    return Counts(below, inside.shape[0], [inside[:: search.stride]], math.inf)


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

    def narrowed(self, ordered: Array, below: int = 0, inside: int | None = None) -> Search:
        """The search with the bracket that a sorted sample of the distances inside the present one suggests.

        Parameters
        ----------
        ordered : array, shape (m,)
        below, inside : int
            How many are below and inside the present bracket. Default: all are inside.
        """
        size, inside = ordered.shape[0], self.everything if inside is None else inside
        middle, margin = (self.first + 0.5 - below) / inside * size, _SIGMAS * math.sqrt(size) / 2 + 1
        a, b = math.floor(middle - margin), math.ceil(middle + margin)
        low = float(ordered[a]) if a >= 0 else self.low
        high = float(ordered[b]) if b < size else self.high
        if (low, high) == (self.low, self.high):  # each end stands very many times, or the sample is very small
            pivot = float(ordered[int(middle)])
            high = pivot if pivot < high else low
        xp = namespace_of(ordered)
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
        ordered = xp.sort(xp.concat(counts.kept))
        if self.stride > 1:
            return self.narrowed(ordered, counts.below, counts.inside)
        value = float(ordered[rank])
        if last < counts.inside:
            return replace(self, found=(value, float(ordered[last])))
        return replace(self, low=value, high=value)

    def median(self, like: Array) -> Array:
        """The mean of the two middle distances, a 0-d array like another one, once they are found."""
        first, last = self.found or (math.nan, math.nan)
        return constant_of((math.sqrt(first) + math.sqrt(last)) / 2, like, namespace_of(like))


def _stride(inside: float) -> int:
    """An odd number, so that it is no multiple of the width of a block."""
    return 1 if inside <= _COLLECTED else 2 * math.ceil(inside / _COLLECTED) + 1
