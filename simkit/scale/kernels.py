"""Kernel sums of Dask arrays: row tiles of the Gram matrices, and no n x n array anywhere.

The rows are cut into chunks; a task computes one tile of every layer, the examples of chunk i against those of chunk j >= i,
block by block, and reduces it at once (`simkit.statistics.kernel_sums`). What depends on the data as a whole comes before,
in passes of its own:

    summary    means, ranges and a few examples of each layer, for its origin and its scale,    one pass over the chunks
               and whether float32 resolves its distances
    median     the median distance, if the bandwidth follows it: by counting those below and    one or two passes over the
               inside a bracket (`simkit.statistics.median_distance`), or from a sample         tiles, or a few pairs of each
    tiles      <K, L>, K1, diagonals of all pairs of layers                                     one pass over the tiles

Time grows with n^2, memory with n: the chunks of all layers are kept by the workers (n P numbers in all), a tile is not.

Two settings of Dask's configuration choose how the median distance is found, ``dask.config.set({"simkit.bandwidth": ...})``:
``"exact"`` (the default) or ``"sample"``, a million random pairs, spread over the tiles and seeded by ``"simkit.seed"`` (0).
The share of all distances that lie below the sampled median is then 1/2 with a standard deviation of 0.05 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from simkit.arrays import Array, Namespace, check_values, namespace_of
from simkit.errors import SimkitError, SpecError
from simkit.kernel import Kernel
from simkit.kernels import Linear
from simkit.linalg import powers_of_two, robust_origin, total, vecdot, widen
from simkit.scale.cluster import Recipe
from simkit.scale.sizes import boxed, tell_dask
from simkit.scoring import in_silence
from simkit.statistics.hsic_sums import scale_of
from simkit.statistics.kernel_sums import BlockSums, FittedKernel, KernelSums, block_pairs, sums_over
from simkit.statistics.median_distance import PAIRS, SIDE, Counts, Search, counts_over, first_sample
from simkit.statistics.resolution import resolves_distances, squared_lengths, warn_if_kernel_unresolved
from simkit.statistics.values import ValueCheck

__all__ = ["kernel_sums"]

_ROWS = 4096  # of a chunk
_CHUNKS = 64  # longer chunks rather than more of them, beyond this
_SIDE = 384  # of the blocks of a tile that stay in the cache
_FEW = 256  # examples that origins and offsets are found from
_FAN = 16
_PASSES = 6  # over the tiles until a median is found, mostly after one or two; tasks have nothing to do from then on

Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Summary:
    """What centring and scaling need to know of the features of several layers; and whether they vary and are finite.

    Attributes
    ----------
    values : ValueCheck
    sums, lows, highs : dict of str to array, shape (p,)
        Sums of the features in float64, and their extremes.
    few : dict of str to array, shape (k, p)
        A few examples at regular distances.
    """

    values: ValueCheck
    sums: dict[str, Array]
    lows: dict[str, Array]
    highs: dict[str, Array]
    few: dict[str, Array]

    def features(self, name: str, x: Array, kernel: Kernel) -> Array:
        """Features as the kernel takes them: see `simkit.statistics.hsic_sums.features_for`."""
        xp = namespace_of(x)
        if self.values.nonfinite[self.values.position(name)]:
            return xp.zeros_like(x)
        if "translation" not in kernel.invariances:
            return widen(x, xp)
        scale = self._scale(name, xp) if "isotropic_scaling" in kernel.invariances else xp.ones_like(x[0, 0])
        if isinstance(kernel, Linear):
            return xp.astype(widen(x, xp) - self.sums[name] / self.values.n, x.dtype) / scale
        return x / scale - robust_origin(self.few[name] / scale, xp)

    def _scale(self, name: str, xp: Namespace) -> Array:
        """A power of two near half the largest range of a feature."""
        return powers_of_two(xp.max(self.highs[name] / 2 - self.lows[name] / 2), xp)


@dataclass(frozen=True, eq=False)
class Fit:
    """Kernels with all that depends on the data filled in, ready to travel; their scales, and a few examples of each."""

    kernels: tuple[Recipe, ...]
    few: tuple[Array, ...]
    scales: tuple[Array, ...]

    @property
    def fitted(self) -> list[FittedKernel]:
        """The kernels, made again."""
        return [
            FittedKernel.scaled(recipe.make(), few, scale)
            for recipe, few, scale in zip(self.kernels, self.few, self.scales, strict=True)
        ]


tell_dask(Summary, Fit)


def kernel_sums(kernel: Kernel, layers: Mapping[str, Array], *, rounding: Mapping[str, float], check_finite: bool) -> Array:
    """A lazy 0-d array of one object: the `KernelSums` of Dask matrices in their order."""
    needs = kernel.declared_needs()
    n = next(iter(layers.values())).shape[0]
    bandwidth, seed = dask.config.get("simkit.bandwidth", "exact"), dask.config.get("simkit.seed", 0)
    if bandwidth not in ("exact", "sample"):
        raise SpecError(f'Dask\'s setting simkit.bandwidth is {bandwidth!r}; expected "exact" or "sample".')
    step = max(_ROWS, -(-n // _CHUNKS))
    layers = {name: x.rechunk((step, x.shape[1])) for name, x in layers.items()}
    recipe, names = Recipe.of(kernel), tuple(layers)
    given = {name: rounding[name] for name in names}
    token = tokenize(recipe, given, [x.name for x in layers.values()], bandwidth, seed, check_finite)
    starts = list(range(0, n, step))
    graph = _Graph(token)
    summary, chunks, few = _prepared(graph, kernel, layers, given, check_finite=check_finite)
    pairs = [(i, j) for i in range(len(starts)) for j in range(i, len(starts))]
    fitted: list[Any] = []
    if needs == "all examples":  # a task for each layer, which is brought together there and nowhere else
        for k in range(len(names)):
            parts = [graph.put("part", i, k, task=(itemgetter(k), chunk)) for i, chunk in enumerate(chunks)]
            fitted.append(graph.put("fitted", k, task=(_fitted_to_all, recipe, parts)))
    elif needs == "median distance":
        sizes = {(i, j): _pairs_of(i, j, n, step) for i, j in pairs}
        if bandwidth == "sample" and n * (n - 1) // 2 > PAIRS:
            median = graph.put("median", task=(_medians_of_sample, _sampled(graph, chunks, sizes, PAIRS, seed)))
        else:
            median = _exact_median(graph, chunks, few, sizes, seed)
        fitted = [graph.put("fitted", k, task=(_fitted_to_median, recipe, median, k)) for k in range(len(names))]
    fit = graph.put("fit", task=(_fit, fitted or [recipe] * len(names), summary, few))
    offsets = [graph.put("offsets", i, task=(_offsets, chunk, fit)) for i, chunk in enumerate(chunks)]
    sides = [list(side) for side in zip(chunks, offsets, starts, strict=True)]
    tiles = [graph.put("tile", i, j, task=(_tile, fit, sides[i], sides[j], i == j)) for i, j in pairs]
    graph.put("sums", task=(_finished, summary, fit, graph.merged("tiles", BlockSums.merged, tiles)))
    name = f"simkit-sums-{token}"
    return da.Array(
        HighLevelGraph.from_collections(name, graph.tasks, dependencies=list(layers.values())),
        name,
        chunks=(),
        meta=np.empty((), dtype=object),
    )


class _Graph:
    """A graph of Dask that grows by named tasks."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.tasks: dict[Any, Any] = {}

    def put(self, what: str, *place: int, task: tuple[Any, ...]) -> Key:
        """Add a task; its key."""
        key = (f"simkit-{what}-{self.token}", *place)
        self.tasks[key] = task
        return key

    def merged(self, what: str, function: Any, keys: list[Key]) -> Key:
        """Add a tree of tasks that merge the results of others, some at a time; the key of the last."""
        depth = 0
        while len(keys) > 1 or depth == 0:
            keys = [
                self.put(what, depth, i, task=(function, keys[i * _FAN : (i + 1) * _FAN]))
                for i in range(-(-len(keys) // _FAN))
            ]
            depth += 1
        return keys[0]


def _prepared(
    graph: _Graph, kernel: Kernel, layers: Mapping[str, Array], rounding: Mapping[str, float], *, check_finite: bool
) -> tuple[Key, list[Key], list[Key]]:
    """The summary, the chunks as the kernel takes them, and a few examples of each."""
    recipe, names = Recipe.of(kernel), tuple(layers)
    first = next(iter(layers.values()))
    gap, step = max(1, first.shape[0] // _FEW), first.chunks[0][0]
    starts = list(range(0, first.shape[0], step))
    given = [[(x.name, i, 0) for x in layers.values()] for i in range(len(starts))]
    summaries = [
        graph.put("summary", i, task=(_summary, rounding, chunk, start, gap, check_finite))
        for i, (chunk, start) in enumerate(zip(given, starts, strict=True))
    ]
    summary = graph.merged("summaries", _merged_summaries, summaries)
    chunks = [graph.put("chunk", i, task=(_features, recipe, names, chunk, summary)) for i, chunk in enumerate(given)]
    few = [graph.put("few", i, task=(_few, chunk, starts[i], gap)) for i, chunk in enumerate(chunks)]
    if "translation" in kernel.invariances and not isinstance(kernel, Linear):
        lengths = [graph.put("lengths", i, task=(_lengths, chunk)) for i, chunk in enumerate(chunks)]
        wide = graph.put("wide", task=(_not_resolved, graph.merged("reach", _largest, lengths), few))
        chunks = [graph.put("resolved", i, task=(_widened, chunk, wide)) for i, chunk in enumerate(chunks)]
        few = [graph.put("few-resolved", i, task=(_widened, part, wide)) for i, part in enumerate(few)]
    return summary, chunks, few


def _sampled(graph: _Graph, chunks: list[Key], sizes: Mapping[tuple[int, int], int], pairs: int, seed: int) -> Key:
    """Squared distances of random pairs, each tile's share of them."""
    drawn = [
        graph.put("drawn", i, j, task=(_drawn, chunks[i], chunks[j], i == j, size, (seed, i, j)))
        for (i, j), size in zip(sizes, _shares(list(sizes.values()), pairs), strict=True)
        if size
    ]
    return graph.put("sample", task=(_sorted, drawn))


def _exact_median(graph: _Graph, chunks: list[Key], few: list[Key], sizes: Mapping[tuple[int, int], int], seed: int) -> Key:
    everything = sum(sizes.values())
    pairs = first_sample(everything)
    sample = _sampled(graph, chunks, sizes, pairs, seed) if pairs else None
    searches = graph.put("searches", task=(_searches, everything, few[0], sample))
    for number in range(_PASSES):
        counts = [
            graph.put(f"counts{number}", i, j, task=(_counted, chunks[i], chunks[j], i == j, searches)) for i, j in sizes
        ]
        merged = graph.merged(f"counted{number}", _merged_counts, counts)
        searches = graph.put("searches", number, task=(_after, searches, merged))
    return graph.put("median", task=(_medians, searches, few[0]))


# --- what the tasks do --------------------------------------------------------------------------------------------------


def _summary(rounding: Mapping[str, float], chunks: Sequence[Array], start: int, gap: int, check_finite: bool) -> Summary:
    layers = dict(zip(rounding, chunks, strict=True))
    if check_finite:
        for name, x in layers.items():
            check_values(x, name, start)
    values, _ = ValueCheck.of(layers, rounding=rounding)
    xp = namespace_of(*chunks)
    return Summary(
        values,
        {name: total(x, xp, axis=0) for name, x in layers.items()},
        {name: xp.min(x, axis=0) for name, x in layers.items()},
        {name: xp.max(x, axis=0) for name, x in layers.items()},
        dict(zip(rounding, _few(chunks, start, gap), strict=True)),
    )


def _merged_summaries(parts: Sequence[Summary]) -> Summary:
    first = parts[0]
    xp = namespace_of(next(iter(first.sums.values())))

    def over(what: str, function: Any) -> dict[str, Array]:
        return {name: function(xp.stack([getattr(part, what)[name] for part in parts]), axis=0) for name in first.sums}

    values = ValueCheck.merged([part.values for part in parts])
    few = {name: xp.concat([part.few[name] for part in parts]) for name in first.few}
    return Summary(values, over("sums", xp.sum), over("lows", xp.min), over("highs", xp.max), few)


def _features(recipe: Recipe, names: Sequence[str], chunk: Sequence[Array], summary: Summary) -> list[Array]:
    kernel = recipe.make()
    return [summary.features(name, x, kernel) for name, x in zip(names, chunk, strict=True)]


def _few(chunk: Sequence[Array], start: int, gap: int) -> list[Array]:
    return [x[-start % gap :: gap, :] for x in chunk]


def _lengths(chunk: list[Array]) -> list[float]:
    """The largest squared distance from the origin, for each layer."""
    xp = namespace_of(chunk[0])
    return [float(xp.max(squared_lengths(x, xp))) for x in chunk]


def _largest(parts: Sequence[list[float]]) -> list[float]:
    return [max(lengths) for lengths in zip(*parts, strict=True)]


def _not_resolved(largest: Sequence[float], few: Sequence[list[Array]]) -> list[bool]:
    """For each layer, whether its distances need float64: see `simkit.statistics.resolution`."""
    xp = namespace_of(few[0][0])
    wide = []
    for k, first in enumerate(largest):
        squares = xp.sort(squared_lengths(xp.concat([part[k] for part in few]), xp))
        wide.append(not resolves_distances(first, float(squares[squares.shape[0] // 2])))
    return wide


def _widened(chunk: list[Array], wide: Sequence[bool]) -> list[Array]:
    return [widen(x, namespace_of(x)) if needed else x for x, needed in zip(chunk, wide, strict=True)]


def _fitted_to_all(recipe: Recipe, parts: Sequence[Array]) -> Recipe:
    return Recipe.of(recipe.make().fit(namespace_of(parts[0]).concat(list(parts))))


def _fitted_to_median(recipe: Recipe, medians: Sequence[Array], k: int) -> Recipe:
    return Recipe.of(recipe.make().with_median(medians[k]))


def _fit(kernels: Sequence[Recipe], summary: Summary, few: Sequence[list[Array]]) -> Fit:
    """Kernels and a few examples of all layers."""
    xp = namespace_of(few[0][0])
    together = tuple(xp.concat([part[k] for part in few]) for k in range(len(kernels)))
    scales = []
    with in_silence(together[0]):
        for recipe, name, x in zip(kernels, summary.sums, together, strict=True):
            kernel = recipe.make()
            if name not in summary.values.undefined:
                warn_if_kernel_unresolved(kernel, x, name, xp)
            scales.append(scale_of(kernel(x, x), xp))
    return Fit(tuple(kernels), together, tuple(scales))


def _offsets(chunk: list[Array], fit: Fit) -> list[Array]:
    with in_silence(chunk[0]):
        return [kernel.offsets(x) for kernel, x in zip(fit.fitted, chunk, strict=True)]


def _tile(fit: Fit, above: Sequence[Any], beside: Sequence[Any], on_diagonal: bool) -> BlockSums:
    (xs, left, row), (ys, right, column) = above, beside
    blocks = block_pairs(xs[0].shape[0], None if on_diagonal else ys[0].shape[0], _SIDE)
    functions = [kernel.function for kernel in fit.fitted]
    with in_silence(xs[0]):
        return sums_over(blocks, xs, None if on_diagonal else ys, functions, (left, right), start=(row, column))


def _finished(summary: Summary, fit: Fit, sums: BlockSums) -> np.ndarray:
    with in_silence(fit.few[0]):
        noise = [kernel.noise for kernel in fit.fitted]
    return boxed(KernelSums.finished(summary.values, summary.values.names, sums, fit.scales, noise), ())


# --- the median distance ------------------------------------------------------------------------------------------------


def _pairs_of(i: int, j: int, n: int, step: int) -> int:
    a, b = (min(step, n - k * step) for k in (i, j))
    return a * b if i != j else a * (a - 1) // 2


def _shares(sizes: Sequence[int], pairs: int) -> list[int]:
    """How many of the sampled pairs each tile draws: as many as it has of all pairs, rounded so that they add up."""
    ends = [round(pairs * part / sum(sizes)) for part in np.cumsum(np.asarray(sizes, dtype=object))]
    return [int(b - a) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _drawn(xs: list[Array], ys: list[Array], on_diagonal: bool, size: int, seed: tuple[int, ...]) -> list[Array]:
    """Squared distances of random pairs of a tile, for each layer; the same pairs whatever the layer."""
    rng = np.random.default_rng(seed)
    i = rng.integers(0, xs[0].shape[0], size)
    if on_diagonal:
        j = (i + rng.integers(1, xs[0].shape[0], size)) % xs[0].shape[0]
    else:
        j = rng.integers(0, ys[0].shape[0], size)
    xp = namespace_of(xs[0])
    found = []
    for x, y in zip(xs, ys, strict=True):
        gap = xp.take(x, xp.asarray(i), axis=0) - xp.take(y, xp.asarray(j), axis=0)
        found.append(vecdot(gap, gap, xp))
    return found


def _sorted(parts: Sequence[list[Array]]) -> list[Array]:
    """The squared distances of all tiles, for each layer."""
    xp = namespace_of(parts[0][0])
    return [xp.sort(xp.concat(list(layer))) for layer in zip(*parts, strict=True)]


def _medians_of_sample(layers: Sequence[Array]) -> list[Array]:
    xp, size = namespace_of(layers[0]), layers[0].shape[0]
    return [(xp.sqrt(x[(size - 1) // 2]) + xp.sqrt(x[size // 2])) / 2 for x in layers]


def _searches(everything: int, layers: Sequence[Array], samples: Sequence[Array] | None) -> list[Search]:
    """Where the search for the median of each layer begins."""
    search = Search.of(everything)
    return [search] * len(layers) if samples is None else [search.narrowed(sample) for sample in samples]


def _counted(xs: list[Array], ys: list[Array], on_diagonal: bool, searches: Sequence[Search]) -> list[Counts]:
    """Counts over one tile, for each layer; of nothing where the median is found."""
    blocks = block_pairs(xs[0].shape[0], None if on_diagonal else ys[0].shape[0], SIDE)
    return [
        counts_over(blocks if search.found is None else (), x, None if on_diagonal else y, search)
        for x, y, search in zip(xs, ys, searches, strict=True)
    ]


def _merged_counts(parts: Sequence[list[Counts]]) -> list[Counts]:
    return [Counts.merged(layer) for layer in zip(*parts, strict=True)]


def _after(searches: Sequence[Search], counts: Sequence[Counts]) -> list[Search]:
    return [s if s.found is not None else s.after(c) for s, c in zip(searches, counts, strict=True)]


def _medians(searches: Sequence[Search], layers: Sequence[Array]) -> list[Array]:
    """The median distance of each layer, like its features.

    Raises
    ------
    SimkitError
        The passes did not suffice.
    """
    if any(search.found is None for search in searches):
        raise SimkitError(
            f"The median distance was not found in {_PASSES} passes over the distances, as very many are nearly equal. Take "
            'a sample of them, dask.config.set({"simkit.bandwidth": "sample"}), or give the kernel a fixed sigma.'
        )
    return [search.median(x[0, 0]) for search, x in zip(searches, layers, strict=True)]
