"""The three sums of HSIC over tiles of the Gram matrices: any kernel, without an n x n array.

A tile K_ij of a layer's Gram matrix, the examples of block i against those of block j, is computed, reduced and dropped:

    inner     sum of K o L over the tile without the diagonal of K, for every pair of layers
    rows      sums along both of its sides, parts of K1, without the diagonal either
    diagonal  of the tiles on the diagonal

K is symmetric, so tiles with i <= j suffice. From inner, K1 and the diagonals follow the sums of every estimator (see
`simkit.statistics.hsic_sums`). Within a tile the work goes by blocks of 256 x 256 entries that stay in the cache. What K_ij
owes to i alone and to j alone is nearly taken off first, which changes no HSIC but keeps the sums from cancelling; and the
diagonal, which may be much larger than the rest, is kept apart from the sums.

A bandwidth that is a fraction of the median distance needs the median of n(n-1)/2 distances: exactly, in a few passes over
the tiles that narrow a bracket down by counting, or from a seeded sample of pairs, with its confidence interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from simkit.arrays import Array, Namespace, constant_of, detach, is_constant, namespace_of, placement, to_numpy
from simkit.errors import NeedsAllExamplesError
from simkit.kernel import Kernel, declared_needs
from simkit.kernels.linear import is_linear
from simkit.linalg import is_ordinary, squared_distances, total, vecdot, widen, without_diagonal
from simkit.representation import Representation
from simkit.scoring import in_silence, warn_if_not_finite
from simkit.statistics.hsic_sums import Estimator, HSICSums, Scaled, features_for, scale_of
from simkit.statistics.resolution import warn_if_kernel_unresolved

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = [
    "Bandwidth",
    "KernelSums",
    "Median",
    "Tiles",
    "few_of",
    "fitted",
    "in_range",
    "levels_of",
    "median_distance",
    "noise_of",
    "score_tiles",
    "tile",
]

Bandwidth: TypeAlias = Literal["exact", "sample"]

_SIDE = 256  # of the blocks that stay in the cache, and in memory that the allocator keeps
_SHORT = 2**16  # entries that are summed in float32 before their sum is added in float64
_PAIRS = 10**6
_FLAT = 16  # roundings of the largest entry
_BINS = 2**16
_COLLECT = 2**21  # distances that may be held to select the median among them


# --- tiles --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Tiles:
    """Sums over some tiles of the Gram matrices of L layers; `merge` those of all tiles, then `KernelSums.of`.

    Attributes
    ----------
    inner : array, shape (L, L)
        <K, L> over the tiles and, for those off the diagonal, over their mirror images; without the diagonal of K.
    rows : dict of int to array of shape (L, m)
        Parts of the row sums, without the diagonal, of the block that starts at this example.
    diagonal : dict of int to array of shape (L, m)
        Diagonals, where a tile holds them.
    """

    inner: Array
    rows: dict[int, Array]
    diagonal: dict[int, Array]

    def merge(self, other: Tiles) -> Tiles:
        """The sums over the tiles of both, which must be cut at the same examples."""
        rows = dict(self.rows)
        for start, part in other.rows.items():
            rows[start] = rows[start] + part if start in rows else part
        return Tiles(self.inner + other.inner, rows, self.diagonal | other.diagonal)


def tile(
    xs: Sequence[Array],
    ys: Sequence[Array] | None,
    kernels: Sequence[Callable[[Array, Array], Array]],
    levels: tuple[Sequence[Array], Sequence[Array]],
    start: tuple[int, int] = (0, 0),
) -> Tiles:
    """Sums over one tile of the Gram matrices of several layers.

    Parameters
    ----------
    xs : sequence of arrays, shapes (m1, p_l)
        Block i of each layer, as its kernel takes it (`features_for`).
    ys : sequence of arrays, shapes (m2, p_l), optional
        Block j. Default: the tile is on the diagonal, j = i.
    kernels : sequence of Kernel or Scaled
        One for each layer, `fitted`.
    levels : pair of sequences of arrays, shapes (m1,) and (m2,)
        A number g_i for each example of both blocks, for each layer; K_ij - g_i - g_j is summed. See `levels_of`.
    start : (int, int)
        The first example of both blocks.
    """
    xp = namespace_of(xs[0])
    mirrored = ys is not None
    ys = xs if ys is None else ys
    row_cuts, column_cuts = _cuts(xs[0].shape[0]), _cuts(ys[0].shape[0])
    along: list[Any] = [0] * len(row_cuts)
    down = along if not mirrored else [0] * len(column_cuts)
    inner: Any = 0
    diagonal = []
    for i, a in enumerate(row_cuts):
        left, above = [x[a, :] for x in xs], [g[a] for g in levels[0]]
        for j, b in enumerate(column_cuts):
            if not mirrored and j < i:
                continue
            on_diagonal = not mirrored and i == j
            right = left if on_diagonal else [y[b, :] for y in ys]
            beside = [g[b] for g in levels[1]]
            parts = zip(kernels, left, right, above, beside, strict=True)
            blocks = xp.stack([k(x, y) - g[:, None] - h[None, :] for k, x, y, g, h in parts])
            if on_diagonal:
                diagonal.append(widen(xp.linalg.diagonal(blocks), xp))
                blocks = xp.stack([without_diagonal(blocks[k, :, :], xp) for k in range(len(xs))])
            inner = inner + (1 if on_diagonal else 2) * _products(blocks, xp)
            along[i] = along[i] + widen(xp.sum(blocks, axis=2), xp)
            if not on_diagonal:
                down[j] = down[j] + widen(xp.sum(blocks, axis=1), xp)
    rows = {start[0]: xp.concat(along, axis=1)}
    if mirrored:
        rows[start[1]] = xp.concat(down, axis=1)
    return Tiles(inner, rows, {} if mirrored else {start[0]: xp.concat(diagonal, axis=1)})


def _cuts(n: int) -> list[slice]:
    return [slice(a, min(a + _SIDE, n)) for a in range(0, n, _SIDE)]


def _products(blocks: Array, xp: Namespace) -> Array:
    """<K, L> of every pair of blocks (L, r, c), shape (L, L), long sums in float64."""
    flat = xp.reshape(blocks, (blocks.shape[0], -1))
    size = flat.shape[1]
    parts = [flat[:, a : min(a + _SHORT, size)] for a in range(0, size, _SHORT)]
    return total(xp.stack([part @ part.mT for part in parts]), xp, axis=0)


def few_of(x: Array) -> Array:
    """At most some hundred rows of `x` at regular distances."""
    return x[:: max(1, x.shape[0] // 256), :]


def noise_of(kernel: Callable[[Array, Array], Array], few: Array) -> float:
    """Entries of a Gram matrix off the diagonal that are no larger than this after `levels_of` may be rounding."""
    xp = namespace_of(few)
    k = without_diagonal(kernel(few, few), xp)
    return _FLAT * float(xp.finfo(k.dtype).eps) * float(xp.max(xp.abs(k)))


def in_range(kernel: Kernel, few: Array) -> tuple[Kernel | Scaled, Array]:
    """The kernel, divided by the square of a power of two where products of its values would leave the range; and that."""
    scale = scale_of(kernel(few, few), namespace_of(few))
    return (kernel if bool(scale == 1) else Scaled(kernel, scale)), scale


def levels_of(kernel: Callable[[Array, Array], Array], x: Array, few: Array) -> Array:
    """g_i with K_ij - g_i - g_j near 0, from kernel values with a `few` examples, shape (n,).

    g_i is the median of row i, less half the median of these medians: K_ii and outliers do not carry it away.
    """
    xp = namespace_of(x)
    whole = _middle(_middle(kernel(few, few), xp), xp)
    return xp.concat([_middle(kernel(x[a, :], few), xp) for a in _cuts(x.shape[0])]) - whole / 2


def _middle(k: Array, xp: Namespace) -> Array:
    """Along the last axis, one of the values in the middle."""
    return xp.take(xp.sort(k, axis=-1), xp.asarray([k.shape[-1] // 2], **placement(k)), axis=k.ndim - 1)[..., 0]


@dataclass(frozen=True, eq=False)
class KernelSums:
    """What all estimators of HSIC need of the Gram matrices of L layers, each less `levels_of`.

    Attributes
    ----------
    inner : array, shape (L, L)
        Without the diagonals.
    rows, diagonal : array, shape (L, n)
        Row sums without the diagonal; and the diagonal.
    scales : array, shape (L,)
        The Gram matrices are the squares of these times as large.
    noise : sequence of L floats
        `noise_of` each.
    """

    inner: Array
    rows: Array
    diagonal: Array
    scales: Array
    noise: tuple[float, ...]

    @classmethod
    def of(cls, tiles: Tiles, scales: Sequence[Array], noise: Sequence[float]) -> KernelSums:
        """From the sums over all tiles."""
        xp = namespace_of(tiles.inner)
        rows, diagonal = (xp.concat([part[a] for a in sorted(part)], axis=1) for part in (tiles.rows, tiles.diagonal))
        return cls(tiles.inner, rows, diagonal, xp.stack(list(scales)), tuple(noise))

    def scores(self, index: Any, rows: Sequence[int], columns: Sequence[int]) -> Array:
        """Scores of layers by number, shape (rows, columns), for an index of HSIC sums."""
        score = index.from_sums(*self.sums(rows, columns, index.estimator))
        xp = namespace_of(self.inner)
        across, down = (xp.stack([self.scales[k] for k in side]) for side in (rows, columns))
        return index.rescaled(score, across[:, None] * down[None, :])

    def sums(self, rows: Sequence[int], columns: Sequence[int], estimator: Estimator) -> tuple[HSICSums, HSICSums, HSICSums]:
        """The sums of (X, Y), (X, X), (Y, Y) for layers by number, of shapes (rows, columns), (rows, 1), (1, columns)."""
        xp, n = namespace_of(self.inner), self.rows.shape[1]
        inner, along = self.inner, self.rows
        if estimator in ("unbiased", "minibatch"):  # which see nothing where all pairs of examples are alike
            own = xp.linalg.diagonal(inner)
            varies = constant_of([float(own[k]) > (n * eps) ** 2 for k, eps in enumerate(self.noise)], inner, xp)
            inner, along = inner * varies[:, None] * varies[None, :], along * varies[:, None]
        if estimator not in ("unbiased", "minibatch"):
            inner, along = inner + self.diagonal @ self.diagonal.mT, along + self.diagonal
        totals = xp.sum(along, axis=1)
        by_row, products = along @ along.mT, totals[:, None] * totals[None, :]
        if estimator == "lange":
            centred = self.diagonal - 2 * along / n + totals[:, None] / n**2
            inner = inner - 2 * by_row / n + products / n**2 - centred @ centred.mT
            by_row, products = xp.zeros_like(inner), xp.zeros_like(inner)

        def chosen(pairs: Sequence[Sequence[tuple[int, int]]]) -> HSICSums:
            def of(matrix: Array) -> Array:
                return xp.stack([xp.stack([matrix[i, j] for i, j in line]) for line in pairs])

            return HSICSums(of(inner), of(by_row), of(products), n)

        return (
            chosen([[(i, j) for j in columns] for i in rows]),
            chosen([[(i, i)] for i in rows]),
            chosen([[(j, j) for j in columns]]),
        )


def score_tiles(
    index: Index[Any],
    layers: Mapping[str, Array],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    bandwidth: Bandwidth = "exact",
    seed: int = 0,
) -> Array:
    """Scores of all pairs of layers in memory, in O(n) memory besides, for an index of HSIC sums with any kernel.

    No gradients: they would have to keep every tile.

    Parameters
    ----------
    index : Index
        One whose ``facts.statistic`` is "hsic sums".
    layers : mapping of names to arrays, shapes (n, p_l)
        Checked matrices of one framework.
    rows, columns : sequence of str
        Names of layers.
    bandwidth : {"exact", "sample"}
        How the median distance is found: see `median_distance`.
    seed : int
        Of the sample.

    Returns
    -------
    array, shape (len(rows), len(columns))
        In the namespace, on the device and in the common precision of the layers; nan where a layer is constant.

    Raises
    ------
    NeedsAllExamplesError
        The index is no function of HSIC sums.
    """
    if index.facts.statistic != "hsic sums":
        raise NeedsAllExamplesError(f"{index} is not a function of HSIC sums, so it cannot be computed over tiles.")
    names = list(dict.fromkeys((*rows, *columns)))
    index_: Any = index
    constant = {name: is_constant(layers[name]) for name in names}
    where = {name: i for i, name in enumerate(names)}
    with in_silence(layers[names[0]]):
        sums = _sums_of(index_.kernel, {name: detach(layers[name]) for name in names}, constant, bandwidth, seed)
        values = sums.scores(index_, [where[a] for a in rows], [where[b] for b in columns])
        xp = namespace_of(values)
        across, down = (xp.stack([constant[name] for name in side]) for side in (rows, columns))
        values = xp.where(xp.logical_or(across[:, None], down[None, :]), float("nan"), values)
        values = xp.astype(values, xp.result_type(*(layers[name].dtype for name in names)), copy=False)
    if not bool(xp.all(xp.isfinite(values))):
        flat = {name for name in names if bool(constant[name])}
        warn_if_not_finite(index, values, rows, columns, undefined=flat)
    return values


def _sums_of(
    kernel: Kernel, layers: Mapping[str, Array], constant: Mapping[str, Array], bandwidth: Bandwidth, seed: int
) -> KernelSums:
    """The sums of some layers in memory."""
    features, kernels, scales, noise, levels = [], [], [], [], []
    for name, z in layers.items():
        layer, xp = Representation(z, name=name), namespace_of(z)
        x, unit = features_for(kernel, layer), xp.ones_like(total(layer.scale, xp))
        if is_linear(kernel):
            unit = xp.where(is_ordinary(layer.scale, xp), 1.0, widen(layer.scale, xp))
            x = x / xp.astype(unit, x.dtype)
        few, own = few_of(x), fitted(kernel, x, bandwidth=bandwidth, seed=seed)
        if not bool(constant[name]):
            warn_if_kernel_unresolved(own, few, name, xp)
        scaled, scale = in_range(own, few)
        features.append(x)
        kernels.append(scaled)
        scales.append(unit * scale)
        noise.append(noise_of(scaled, few))
        levels.append(levels_of(scaled, x, few))
    return KernelSums.of(tile(features, None, kernels, (levels, levels)), scales, noise)


# --- bandwidths ---------------------------------------------------------------------------------------------------------


class Median(NamedTuple):
    """A median distance, and the interval that holds the true one with 99 % confidence; both ends the same if exact."""

    value: Array
    low: Array
    high: Array


def fitted(kernel: Kernel, x: Array, *, bandwidth: Bandwidth = "exact", seed: int = 0) -> Kernel:
    """The kernel with what depends on the data filled in, in bounded memory for bandwidths that follow the median distance.

    Parameters
    ----------
    kernel : Kernel
    x : array, shape (n, p)
        All examples of the layer, as the kernel takes them.
    bandwidth, seed
        See `median_distance`.

    Raises
    ------
    NeedsAllExamplesError
        The kernel has a `fit` of its own and does not declare what it needs.
    """
    if declared_needs(kernel) != "median distance":
        return kernel.fit(x)
    return kernel.with_median(median_distance(x, method=bandwidth, seed=seed).value)


def median_distance(x: Array, *, method: Bandwidth = "exact", seed: int = 0, pairs: int = _PAIRS) -> Median:
    """Median Euclidean distance over the distinct pairs of rows, in bounded memory.

    Parameters
    ----------
    x : array, shape (n, p)
        Centred, for accuracy.
    method : {"exact", "sample"}
        ``"exact"`` computes all n(n-1)/2 distances two to four times. ``"sample"`` draws `pairs` of them with replacement;
        the share of the distances below its result is 1/2 with a standard deviation of ``0.5 / sqrt(pairs)``, 0.05 % for a
        million, whatever n is; where there are no more pairs than that, it takes them all.
    seed : int
        Of the sample; it does not change an exact result.
    pairs : int
        The size of the sample.

    Returns
    -------
    Median
        0-d arrays in the dtype of `x`.
    """
    xp = namespace_of(x)
    n = x.shape[0]
    everything = n * (n - 1) // 2
    if method == "exact" or everything <= pairs:
        size = min(_SHORT, everything)
        low, high = _around(_sampled(x, size, seed, xp), (size - 1) // 2, size // 2, 5 * math.sqrt(size) / 2)
        squares = _selected(x, ((everything - 1) // 2, everything // 2), (float(low), float(high)), xp)
        value = (xp.sqrt(squares[0]) + xp.sqrt(squares[1])) / 2
        return Median(value, value, value)
    roots = xp.sqrt(_sampled(x, pairs, seed, xp))
    low, high = _around(roots, (pairs - 1) // 2, pairs // 2, 2.576 * math.sqrt(pairs) / 2)
    return Median((roots[(pairs - 1) // 2] + roots[pairs // 2]) / 2, low, high)


def _around(ordered: Array, first: int, last: int, margin: float) -> tuple[Array, Array]:
    """Order statistics that stand `margin` ranks below and above."""
    return ordered[max(0, int(first - margin))], ordered[min(ordered.shape[0] - 1, math.ceil(last + margin))]


def _sampled(x: Array, pairs: int, seed: int, xp: Namespace) -> Array:
    """Squared distances of random pairs of distinct rows, sorted."""
    n, rng = x.shape[0], np.random.default_rng(seed)
    step, parts = max(1, 2**22 // x.shape[1]), []
    for start in range(0, pairs, step):
        size = min(step, pairs - start)
        i = rng.integers(0, n, size)
        j = (i + rng.integers(1, n, size)) % n
        there = placement(x)
        gap = xp.take(x, xp.asarray(i, **there), axis=0) - xp.take(x, xp.asarray(j, **there), axis=0)
        parts.append(vecdot(gap, gap, xp))
    return xp.sort(xp.concat(parts))


def _blocks(x: Array, xp: Namespace) -> Iterator[Array]:
    """Squared distances of all pairs i < j, block by block; inf where a block holds other pairs."""
    for i, a in enumerate(_cuts(x.shape[0])):
        left = x[a, :]
        for j, b in enumerate(_cuts(x.shape[0])):
            if j == i:
                k = xp.arange(left.shape[0], **placement(x))
                yield xp.where(k[:, None] < k[None, :], squared_distances(left, left, xp), float("inf"))
            elif j > i:
                yield squared_distances(left, x[b, :], xp)


def _selected(x: Array, ranks: tuple[int, int], bracket: tuple[float, float], xp: Namespace) -> tuple[Array, Array]:
    """The squared distances of two ranks, counted from 0, given a bracket that probably holds them.

    Each pass counts what is below the bracket and makes a histogram of what is inside; then the bracket shrinks to the bins
    that hold both ranks, until few enough distances are inside to be collected and sorted.
    """
    (first, last), (low, high) = ranks, bracket
    counts, within = _counted(x, low, high, xp)
    if not counts.below <= first <= last < counts.below + counts.inside:
        low, high = 0.0, counts.largest
        counts, within = _counted(x, low, high, xp)
    while counts.inside > _COLLECT and counts.smallest_inside < counts.largest_inside:
        passed = counts.below + np.cumsum(within)
        a, b = (int(np.searchsorted(passed, rank, side="right")) for rank in ranks)
        width = (high - low) / _BINS
        before = low, high
        # One bin more on either side, since the edges are rounded; the next pass counts afresh.
        low, high = (
            max(counts.smallest_inside, low + (a - 1) * width),
            min(counts.largest_inside, low + (b + 2) * width),
        )
        if (low, high) == before:  # both ends are wanted, and each stands many times
            ends = [_selected(x, (rank, rank), before, xp)[0] for rank in ranks]
            return ends[0], ends[1]
        counts, within = _counted(x, low, high, xp)
    if counts.smallest_inside == counts.largest_inside:
        value = constant_of(counts.smallest_inside, x[0, 0], xp)
        return value, value
    found = _collected(x, low, high, xp)
    return found[first - counts.below], found[last - counts.below]


class _Counts(NamedTuple):
    below: int
    inside: int
    smallest_inside: float
    largest_inside: float
    largest: float


def _counted(x: Array, low: float, high: float, xp: Namespace) -> tuple[_Counts, np.ndarray]:
    """How many distances are below [low, high] and inside, and a histogram of those inside."""
    below, histogram = 0, np.zeros(_BINS + 1, dtype=np.int64)
    smallest, largest_inside, largest = math.inf, -math.inf, 0.0
    scale = _BINS / (high - low) if high > low else 0.0
    for d in _blocks(x, xp):
        inside = xp.logical_and(d >= low, d <= high)
        below += int(xp.count_nonzero(d < low))
        largest = max(largest, float(xp.max(xp.where(xp.isfinite(d), d, 0.0))))
        smallest = min(smallest, float(xp.min(xp.where(inside, d, float("inf")))))
        largest_inside = max(largest_inside, float(xp.max(xp.where(inside, d, -float("inf")))))
        kept = d[inside] if isinstance(d, np.ndarray) else xp.where(inside, d, high + 2 / (scale or 1.0))
        bins = xp.astype(xp.clip((kept - low) * scale, min=0.0, max=float(_BINS)), xp.int32)
        bins = xp.where(kept <= high, xp.clip(bins, max=_BINS - 1), _BINS)
        histogram += _histogram(xp.reshape(bins, (-1,)), xp)
    return _Counts(below, int(histogram[:-1].sum()), smallest, largest_inside, largest), histogram[:-1]


def _histogram(bins: Array, xp: Namespace) -> np.ndarray:
    if hasattr(xp, "bincount"):
        return to_numpy(xp.bincount(bins, minlength=_BINS + 1))
    edges = xp.searchsorted(xp.sort(bins), xp.arange(_BINS + 2, dtype=bins.dtype, **placement(bins)))
    return np.diff(to_numpy(edges))


def _collected(x: Array, low: float, high: float, xp: Namespace) -> Array:
    """All squared distances in [low, high], sorted."""
    parts = []
    for d in _blocks(x, xp):
        inside = xp.logical_and(d >= low, d <= high)
        if isinstance(d, np.ndarray):
            parts.append(d[inside])
        else:
            size = int(xp.count_nonzero(inside))
            flat = xp.sort(xp.reshape(xp.where(inside, d, float("inf")), (-1,)))
            parts.append(flat[:size])
    return xp.sort(xp.concat(parts))
