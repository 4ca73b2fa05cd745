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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from simkit.arrays import Array, check_values, namespace_of
from simkit.errors import SimkitError, SpecError
from simkit.kernel import Kernel
from simkit.kernels import Linear
from simkit.kernels._blocks import rows_for
from simkit.linalg import powers_of_two, robust_origin, total, widen
from simkit.linalg.distances import squared_lengths
from simkit.linalg.points import BlockMaker, Points
from simkit.scale.cluster import Recipe
from simkit.scale.sizes import boxed, tell_dask
from simkit.scoring import in_silence
from simkit.statistics.kernel_sums import BlockSums, FittedKernel, KernelSums, block_pairs, sums_over
from simkit.statistics.median_distance import (
    PAIRS,
    SIDE,
    Counts,
    Search,
    counts_over,
    first_sample,
    is_worth_a_sample,
    middle_distance,
    pairs_in,
    random_pairs,
    shares_of,
    squares_between,
)
from simkit.statistics.resolution import resolves_distances, warn_if_kernel_unresolved
from simkit.statistics.values import ValueCheck

__all__ = ["kernel_sums"]

_ROWS = 4096  # of a chunk
_CHUNKS = 64  # longer chunks rather than more of them, beyond this
_SIDE = 320  # of the blocks of a tile that stay in the cache
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
    sums, lows, highs : lists of arrays, shapes (p,)
        Sums of the features of each layer in float64, and their extremes.
    few : list of arrays, shapes (k, p)
        A few examples at regular distances.
    """

    values: ValueCheck
    sums: list[Array]
    lows: list[Array]
    highs: list[Array]
    few: list[Array]

    def features(self, k: int, x: Array, kernel: Kernel) -> Array:
        """Features of the k-th layer as the kernel takes them: see `simkit.statistics.hsic_sums.features_for`."""
        xp = namespace_of(x)
        if self.values.nonfinite[k]:
            return xp.zeros_like(x)
        if "translation" not in kernel.invariances:
            return widen(x, xp)
        scale = xp.ones_like(x[0, 0])
        if "isotropic_scaling" in kernel.invariances:  # a power of two near half the largest range of a feature
            scale = powers_of_two(xp.max(self.highs[k] / 2 - self.lows[k] / 2), xp)
        if isinstance(kernel, Linear):
            return xp.astype(widen(x, xp) - self.sums[k] / self.values.n, x.dtype) / scale
        return x / scale - robust_origin(self.few[k] / scale, xp)


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
            FittedKernel(recipe.make(), few, scale)
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
    recipe = Recipe.of(kernel)
    given = {name: rounding[name] for name in layers}
    token = tokenize(recipe, given, [x.name for x in layers.values()], bandwidth, seed, check_finite)
    starts = list(range(0, n, step))
    graph = _Graph(token)
    summary, chunks, few = _prepared(graph, kernel, layers, given, check_finite=check_finite)
    fitted: list[Any] = []
    if needs == "all examples":  # a task for each layer, which is brought together there and nowhere else
        for k in range(len(layers)):
            parts = [graph.put("part", i, k, task=(itemgetter(k), chunk)) for i, chunk in enumerate(chunks)]
            fitted.append(graph.put("fitted", k, task=(_fitted_to_all, recipe, parts)))
    elif needs == "median distance":
        sizes = {(i, j): _pairs_of(i, j, n, step) for i in range(len(starts)) for j in range(i, len(starts))}
        if bandwidth == "sample" and is_worth_a_sample(n * (n - 1) // 2, PAIRS):
            median = graph.put("median", task=(_medians_of_sample, _sampled(graph, chunks, sizes, PAIRS, seed)))
        else:
            median = _exact_median(graph, chunks, few, sizes, seed)
        fitted = [graph.put("fitted", k, task=(_fitted_to_median, recipe, median, k)) for k in range(len(layers))]
    fit = graph.put("fit", task=(_fit, fitted or [recipe] * len(layers), summary, few))
    offsets = [graph.put("offsets", i, task=(_offsets, chunk, fit)) for i, chunk in enumerate(chunks)]
    sides = [list(side) for side in zip(chunks, offsets, starts, strict=True)]
    sums = graph.merged("tiles", BlockSums.merged, graph.tiles("tile", _tile, sides, fit))
    graph.put("sums", task=(_finished, summary, fit, sums))
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

    def tiles(self, what: str, function: Any, sides: Sequence[Any], *arguments: Any) -> list[Key]:
        """Add a task for each tile, of what there is of the chunks on both sides; of one alone on the diagonal."""
        return [
            self.put(what, i, j, task=(function, sides[i], None if i == j else sides[j], *arguments))
            for i in range(len(sides))
            for j in range(i, len(sides))
        ]

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
) -> tuple[Key, list[Key], Key]:
    """The summary, the chunks as the kernel takes them, and a few examples of all."""
    recipe, first = Recipe.of(kernel), next(iter(layers.values()))
    gap, starts = max(1, first.shape[0] // _FEW), range(0, first.shape[0], first.chunks[0][0])
    given = [[(x.name, i, 0) for x in layers.values()] for i in range(len(starts))]
    summaries = [
        graph.put("summary", i, task=(_summary, rounding, chunk, starts[i], gap, check_finite))
        for i, chunk in enumerate(given)
    ]
    summary = graph.put("summaries", task=(_merged_summaries, summaries))
    chunks = [graph.put("chunk", i, task=(_features, recipe, chunk, summary)) for i, chunk in enumerate(given)]
    parts = [graph.put("few", i, task=(_few, chunk, starts[i], gap)) for i, chunk in enumerate(chunks)]
    few = graph.put("few", task=(_together, parts))
    if "translation" in kernel.invariances and not isinstance(kernel, Linear):
        lengths = [graph.put("lengths", i, task=(_lengths, chunk)) for i, chunk in enumerate(chunks)]
        wide = graph.put("wide", task=(_not_resolved, lengths, few))
        chunks = [graph.put("resolved", i, task=(_widened, chunk, wide)) for i, chunk in enumerate(chunks)]
        few = graph.put("few-resolved", task=(_widened, few, wide))
    return summary, chunks, few


def _sampled(graph: _Graph, chunks: list[Key], sizes: Mapping[tuple[int, int], int], pairs: int, seed: int) -> Key:
    """Squared distances of random pairs, each tile's share of them."""
    drawn = [
        graph.put("drawn", i, j, task=(_drawn, chunks[i], None if i == j else chunks[j], size, (seed, i, j)))
        for (i, j), size in zip(sizes, shares_of(pairs, list(sizes.values())), strict=True)
        if size
    ]
    return graph.put("sample", task=(_together, drawn))


def _exact_median(graph: _Graph, chunks: list[Key], few: Key, sizes: Mapping[tuple[int, int], int], seed: int) -> Key:
    everything = sum(sizes.values())
    pairs = first_sample(everything)
    sample = _sampled(graph, chunks, sizes, pairs, seed) if pairs else None
    searches = graph.put("searches", task=(_searches, everything, few, sample))
    for number in range(_PASSES):
        counts = graph.tiles(f"counts{number}", _counted, chunks, searches)
        merged = graph.merged(f"counted{number}", _merged_counts, counts)
        searches = graph.put("searches", number, task=(_after, searches, merged))
    return graph.put("median", task=(_medians, searches, few))


# --- what the tasks do --------------------------------------------------------------------------------------------------


def _summary(rounding: Mapping[str, float], chunks: Sequence[Array], start: int, gap: int, check_finite: bool) -> Summary:
    layers = dict(zip(rounding, chunks, strict=True))
    if check_finite:
        for name, x in layers.items():
            check_values(x, name, start)
    values, _ = ValueCheck.of(layers, rounding=rounding)
    xp = namespace_of(*chunks)
    sums, lows, highs = ([function(x, axis=0) for x in chunks] for function in (partial(total, xp=xp), xp.min, xp.max))
    return Summary(values, sums, lows, highs, _few(chunks, start, gap))


def _merged_summaries(parts: Sequence[Summary]) -> Summary:
    xp = namespace_of(parts[0].sums[0])

    def over(layers: Iterable[Sequence[Array]], function: Any) -> list[Array]:
        return [function(xp.stack(layer), axis=0) for layer in zip(*layers, strict=True)]

    return Summary(
        ValueCheck.merged([part.values for part in parts]),
        over((part.sums for part in parts), xp.sum),
        over((part.lows for part in parts), xp.min),
        over((part.highs for part in parts), xp.max),
        _together([part.few for part in parts]),
    )


def _together(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """The rows of all parts, for each layer."""
    xp = namespace_of(parts[0][0])
    return [xp.concat(list(layer)) for layer in zip(*parts, strict=True)]


def _features(recipe: Recipe, chunk: Sequence[Array], summary: Summary) -> list[Array]:
    kernel = recipe.make()
    return [summary.features(k, x, kernel) for k, x in enumerate(chunk)]


def _few(chunk: Sequence[Array], start: int, gap: int) -> list[Array]:
    return [x[-start % gap :: gap, :] for x in chunk]


def _lengths(chunk: list[Array]) -> list[float]:
    """The largest squared distance from the origin, for each layer."""
    xp = namespace_of(chunk[0])
    return [float(xp.max(squared_lengths(x, xp))) for x in chunk]


def _not_resolved(lengths: Sequence[list[float]], few: Sequence[Array]) -> list[bool]:
    """For each layer, whether its distances need float64: see `simkit.statistics.resolution`."""
    xp, wide = namespace_of(few[0]), []
    for k, x in enumerate(few):
        squares = xp.sort(squared_lengths(x, xp))
        largest = max(part[k] for part in lengths)
        wide.append(not resolves_distances(largest, float(squares[squares.shape[0] // 2])))
    return wide


def _widened(chunk: list[Array], wide: Sequence[bool]) -> list[Array]:
    return [widen(x, namespace_of(x)) if needed else x for x, needed in zip(chunk, wide, strict=True)]


def _fitted_to_all(recipe: Recipe, parts: Sequence[Array]) -> Recipe:
    return Recipe.of(recipe.make().fit(namespace_of(parts[0]).concat(list(parts))))


def _fitted_to_median(recipe: Recipe, medians: Sequence[Array], k: int) -> Recipe:
    return Recipe.of(recipe.make().with_median(medians[k]))


def _fit(kernels: Sequence[Recipe], summary: Summary, few: Sequence[Array]) -> Fit:
    """Kernels and a few examples of all layers."""
    scales = []
    with in_silence(few[0]):
        for recipe, name, x in zip(kernels, summary.values.names, few, strict=True):
            kernel = recipe.make()
            if name not in summary.values.undefined:
                warn_if_kernel_unresolved(kernel, x, name, namespace_of(x))
            scales.append(FittedKernel.of(kernel, x).scale)
    return Fit(tuple(kernels), tuple(few), tuple(scales))


def _offsets(chunk: list[Array], fit: Fit) -> list[Array]:
    with in_silence(chunk[0]):
        return [kernel.offsets(x, x.shape[0]) for kernel, x in zip(fit.fitted, chunk, strict=True)]


def _tile(above: Sequence[Any], beside: Sequence[Any] | None, fit: Fit) -> BlockSums:
    """The sums over one tile; over one on the diagonal, without `beside`."""
    (xs, left, row), (ys, right, column) = above, beside or (None, *above[1:])
    with in_silence(xs[0]):
        layers = zip(fit.fitted, xs, ys or [None] * len(xs), strict=True)
        rows = [(layer, rows_for(layer.kernel, x, *(() if y is None else (y,)))) for layer, x, y in layers]
        makers = [layer.blocks(*sides) for layer, sides in rows]
        return sums_over(_blocks(xs, ys, _SIDE), makers, (left, right), start=(row, column), itself=ys is None)


def _blocks(xs: Sequence[Array], ys: Sequence[Array] | None, side: int) -> list[tuple[slice, slice]]:
    return block_pairs(xs[0].shape[0], None if ys is None else ys[0].shape[0], side)


def _finished(summary: Summary, fit: Fit, sums: BlockSums) -> np.ndarray:
    with in_silence(fit.few[0]):
        noise = [kernel.noise for kernel in fit.fitted]
    return boxed(KernelSums.finished(summary.values, summary.values.names, sums, fit.scales, noise), ())


# --- the median distance ------------------------------------------------------------------------------------------------


def _pairs_of(i: int, j: int, n: int, step: int) -> int:
    a, b = (min(step, n - k * step) for k in (i, j))
    return pairs_in(a, None if i == j else b)


def _drawn(xs: list[Array], ys: list[Array] | None, size: int, seed: tuple[int, ...]) -> list[Array]:
    """Squared distances of random pairs of a tile, for each layer; the same pairs whatever the layer."""
    i, j = random_pairs(xs[0].shape[0], None if ys is None else ys[0].shape[0], size, seed)
    return [squares_between(x, y, i, j) for x, y in zip(xs, ys or xs, strict=True)]


def _medians_of_sample(layers: Sequence[Array]) -> list[Array]:
    return [middle_distance(squares) for squares in layers]


def _searches(everything: int, layers: Sequence[Array], samples: Sequence[Array] | None) -> list[Search]:
    """Where the search for the median of each layer begins."""
    search = Search.of(everything)
    return [search] * len(layers) if samples is None else [search.narrowed(sample) for sample in samples]


def _counted(xs: list[Array], ys: list[Array] | None, searches: Sequence[Search]) -> list[Counts]:
    """Counts over one tile, for each layer; of nothing where the median is found."""
    blocks, nothing = _blocks(xs, ys, SIDE), Counts.merged(())
    return [
        nothing if search.found is not None else counts_over(blocks, _squares(x, y), search, itself=y is None)
        for x, y, search in zip(xs, ys or [None] * len(xs), searches, strict=True)
    ]


def _squares(x: Array, y: Array | None) -> BlockMaker:
    """What makes blocks of squared distances, in a unit that is the same for all tiles."""
    return Points.of(x).blocks(None if y is None else Points.of(y))


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
