"""HSIC with any kernel of Dask arrays: row tiles of the Gram matrices, and no n x n array anywhere.

The rows are cut into blocks; a task computes one tile of every layer, the examples of block i against those of block
j >= i, and reduces it at once (`simkit.statistics.tiles`). What depends on the data as a whole comes before, in passes of
its own:

    frame      means, scale and an origin of each layer, and whether float32 resolves distances   one pass over the blocks
    median     the median distance, if the bandwidth follows it: exactly, by histograms of the    two passes over the tiles
               bits of all distances, 16 at a time (four passes in float64); or from a sample     (or few pairs of each)
    tiles      <K, L>, K1, diagonals of all pairs of layers                                       one pass over the tiles

Time grows with n^2, memory with n: the blocks of all layers are kept by the workers (n P numbers in all), a tile is not.

Two settings of Dask's configuration choose how the median distance is found, ``dask.config.set({"simkit.bandwidth": ...})``:
``"exact"`` (the default) or ``"sample"``, a million random pairs, spread over the tiles and seeded by ``"simkit.seed"`` (0).
The share of all distances that lie below the sampled median is then 1/2 with a standard deviation of 0.05 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, TypeAlias

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from simkit.arrays import Array, check_values, namespace_of, to_numpy
from simkit.errors import SpecError
from simkit.kernel import Kernel, declared_needs
from simkit.kernels import Linear
from simkit.linalg import robust_origin, squared_distances, total, vecdot, widen
from simkit.scale.cluster import Recipe
from simkit.scale.sizes import boxed, tell_dask
from simkit.scoring import in_silence
from simkit.statistics.hsic_sums import Scaled
from simkit.statistics.kernel_sums import KernelSums as Sums
from simkit.statistics.resolution import resolves_distances, squared_lengths, warn_if_kernel_unresolved
from simkit.statistics.tiles import KernelSums, Tiles, in_range, levels_of, noise_of, tile
from simkit.statistics.values import ValueCheck

__all__ = ["kernel_sums"]

_ROWS = 4096  # of a block
_BLOCKS = 64  # longer blocks rather than more of them, beyond this
_SIDE = 512  # of the parts of a tile that stay in the cache
_FEW = 256  # examples that an origin and the levels of K are found from
_PAIRS = 10**6
_FAN = 16
_DIGIT = 16  # bits per pass

Key: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Frame:
    """What centring and scaling need, of some examples of several layers; and whether they vary and are finite.

    Attributes
    ----------
    survey : ValueCheck
    sums, lows, highs : dict of str to array, shape (p,)
        Sums of the features in float64, and their extremes.
    few : dict of str to array, shape (k, p)
        A few examples at regular distances.
    """

    survey: ValueCheck
    sums: dict[str, Array]
    lows: dict[str, Array]
    highs: dict[str, Array]
    few: dict[str, Array]

    def moved(self, name: str, x: Array, kernel: Kernel) -> Array:
        """Features as the kernel takes them: see `simkit.statistics.hsic_sums.features_for`."""
        xp = namespace_of(x)
        if self.survey.nonfinite[self.survey.position(name)]:
            return xp.zeros_like(x)
        if "translation" not in kernel.invariances:
            return widen(x, xp)
        scale = self._scale(name, xp) if "isotropic_scaling" in kernel.invariances else xp.ones_like(x[0, 0])
        if isinstance(kernel, Linear):
            return xp.astype(widen(x, xp) - self.sums[name] / self.survey.n, x.dtype) / scale
        return x / scale - robust_origin(self.few[name] / scale, xp)

    def _scale(self, name: str, xp: Any) -> Array:
        """A power of two near half the largest range of a feature."""
        low, high = self.lows[name], self.highs[name]
        largest = widen(xp.max(high / 2 - low / 2), xp)
        scale = xp.pow(xp.asarray(2.0, dtype=largest.dtype), xp.floor(xp.log2(xp.where(largest > 0, largest, 1.0))))
        return xp.astype(xp.clip(scale, min=float(xp.finfo(low.dtype).smallest_normal)), low.dtype)


@dataclass(frozen=True, eq=False)
class Fit:
    """Kernels with all that depends on the data filled in, ready to travel; their scales, and a few examples of each."""

    kernels: tuple[Recipe, ...]
    few: tuple[Array, ...]
    scales: tuple[Array, ...]

    @property
    def functions(self) -> list[Kernel | Scaled]:
        """The kernels, divided by the squares of the scales."""
        kernels = [recipe.make() for recipe in self.kernels]
        return [
            kernel if bool(scale == 1) else Scaled(kernel, scale) for kernel, scale in zip(kernels, self.scales, strict=True)
        ]


tell_dask(Frame, Fit)


def kernel_sums(kernel: Kernel, layers: Mapping[str, Array], *, rounding, check_finite: bool) -> Array:
    """A lazy 0-d array of one object: the `KernelSums` of Dask matrices in their order, `Surveyed`."""
    needs = declared_needs(kernel)
    n, dtype = next(iter(layers.values())).shape[0], np.result_type(*(x.dtype for x in layers.values()))
    bandwidth, seed = dask.config.get("simkit.bandwidth", "exact"), dask.config.get("simkit.seed", 0)
    if bandwidth not in ("exact", "sample"):
        raise SpecError(f'Dask\'s setting simkit.bandwidth is {bandwidth!r}; expected "exact" or "sample".')
    step = max(_ROWS, -(-n // _BLOCKS))
    layers = {name: x.rechunk((step, x.shape[1])) for name, x in layers.items()}
    recipe, names = Recipe.of(kernel), tuple(layers)
    token = tokenize(recipe, names, [x.name for x in layers.values()], bandwidth, seed, check_finite)
    starts = list(range(0, n, step))
    graph = _Graph(token)
    frame, blocks, few = _framed(graph, kernel, layers, starts, check_finite)
    if "translation" not in kernel.invariances or not isinstance(kernel, Linear):
        dtype = np.result_type(dtype, np.float64)  # of some, perhaps
    pairs = [(i, j) for i in range(len(starts)) for j in range(i, len(starts))]
    fitted: list[Any] = []
    if needs == "all examples":  # a task for each layer, which is brought together there and nowhere else
        for k in range(len(names)):
            parts = [graph.put("part", i, k, task=(itemgetter(k), block)) for i, block in enumerate(blocks)]
            fitted.append(graph.put("fitted", k, task=(_fitted_to_all, recipe, parts)))
    elif needs == "median distance":
        sizes = {(i, j): _pairs_of(i, j, n, step) for i, j in pairs}
        if bandwidth == "sample" and n * (n - 1) // 2 > _PAIRS:
            median = _sampled_median(graph, blocks, sizes, seed)
        else:
            median = _exact_median(graph, blocks, few, n, dtype)
        fitted = [graph.put("fitted", k, task=(_fitted_to_median, recipe, median, k)) for k in range(len(names))]
    fit = graph.put("fit", task=(_fit, fitted or [recipe] * len(names), frame, few))
    levels = [graph.put("levels", i, task=(_levels, block, fit)) for i, block in enumerate(blocks)]
    sides = [list(side) for side in zip(blocks, levels, starts, strict=True)]
    tiles = [graph.put("tile", i, j, task=(_tile, fit, sides[i], sides[j], i == j)) for i, j in pairs]
    graph.put("sums", task=(_finished, frame, fit, graph.merged("tiles", _merged_tiles, tiles)))
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


def _framed(
    graph: _Graph, kernel: Kernel, layers: Mapping[str, Array], starts: list[int], check_finite: bool
) -> tuple[Key, list[Key], list[Key]]:
    """The frame, the blocks as the kernel takes them, and a few examples of each."""
    recipe, names = Recipe.of(kernel), tuple(layers)
    gap = max(1, next(iter(layers.values())).shape[0] // _FEW)
    chunks = [[(x.name, i, 0) for x in layers.values()] for i in range(len(starts))]
    frames = [
        graph.put("frame", i, task=(_frame, names, chunk, start, gap, check_finite))
        for i, (chunk, start) in enumerate(zip(chunks, starts, strict=True))
    ]
    frame = graph.merged("frames", _merged_frames, frames)
    blocks = [graph.put("block", i, task=(_block, recipe, names, chunk, frame)) for i, chunk in enumerate(chunks)]
    few = [graph.put("few", i, task=(_few, block, starts[i], gap)) for i, block in enumerate(blocks)]
    if "translation" in kernel.invariances and not isinstance(kernel, Linear):
        lengths = [graph.put("lengths", i, task=(_lengths, block)) for i, block in enumerate(blocks)]
        wide = graph.put("wide", task=(_not_resolved, graph.merged("reach", _largest, lengths), few))
        blocks = [graph.put("resolved", i, task=(_widened, block, wide)) for i, block in enumerate(blocks)]
        few = [graph.put("few-resolved", i, task=(_widened, part, wide)) for i, part in enumerate(few)]
    return frame, blocks, few


def _sampled_median(graph: _Graph, blocks: list[Key], sizes: Mapping[tuple[int, int], int], seed: int) -> Key:
    drawn = [
        graph.put("drawn", i, j, task=(_drawn, blocks[i], blocks[j], i == j, size, (seed, i, j)))
        for (i, j), size in zip(sizes, _shares(list(sizes.values())), strict=True)
        if size
    ]
    return graph.put("median", task=(_median_of_sample, drawn))


def _exact_median(graph: _Graph, blocks: list[Key], few: list[Key], n: int, dtype: np.dtype[Any]) -> Key:
    pairs = [(i, j) for i in range(len(blocks)) for j in range(i, len(blocks))]
    brackets = graph.put("brackets", task=(_all_brackets, few, n))
    for digit in range(dtype.itemsize * 8 // _DIGIT):
        counts = [
            graph.put(f"counts{digit}", i, j, task=(_counted, blocks[i], blocks[j], i == j, brackets)) for i, j in pairs
        ]
        brackets = graph.put("brackets", digit, task=(_narrowed, brackets, graph.merged(f"added{digit}", _added, counts)))
    return graph.put("median", task=(_medians, brackets, few))


# --- what the tasks do --------------------------------------------------------------------------------------------------


def _frame(names: Sequence[str], chunks: Sequence[Array], start: int, gap: int, check_finite: bool) -> Frame:
    layers = dict(zip(names, chunks, strict=True))
    if check_finite:
        for name, x in layers.items():
            check_values(x, name, start)
    survey, _ = ValueCheck.of(layers)
    xp = namespace_of(*chunks)
    return Frame(
        survey,
        {name: total(x, xp, axis=0) for name, x in layers.items()},
        {name: xp.min(x, axis=0) for name, x in layers.items()},
        {name: xp.max(x, axis=0) for name, x in layers.items()},
        dict(zip(names, _few(chunks, start, gap), strict=True)),
    )


def _merged_frames(parts: Sequence[Frame]) -> Frame:
    first = parts[0]
    xp = namespace_of(next(iter(first.sums.values())))

    def over(what: str, function: Any) -> dict[str, Array]:
        return {name: function(xp.stack([getattr(part, what)[name] for part in parts]), axis=0) for name in first.sums}

    survey = ValueCheck.merged([part.survey for part in parts])
    few = {name: xp.concat([part.few[name] for part in parts]) for name in first.few}
    return Frame(survey, over("sums", xp.sum), over("lows", xp.min), over("highs", xp.max), few)


def _block(recipe: Recipe, names: Sequence[str], chunks: Sequence[Array], frame: Frame) -> list[Array]:
    kernel = recipe.make()
    return [frame.moved(name, x, kernel) for name, x in zip(names, chunks, strict=True)]


def _few(block: Sequence[Array], start: int, gap: int) -> list[Array]:
    return [x[-start % gap :: gap, :] for x in block]


def _lengths(block: list[Array]) -> list[float]:
    """The largest squared distance from the origin, for each layer."""
    xp = namespace_of(block[0])
    return [float(xp.max(squared_lengths(x, xp))) for x in block]


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


def _widened(block: list[Array], wide: Sequence[bool]) -> list[Array]:
    return [widen(x, namespace_of(x)) if needed else x for x, needed in zip(block, wide, strict=True)]


def _fitted_to_all(recipe: Recipe, blocks: Sequence[Array]) -> Recipe:
    return Recipe.of(recipe.make().fit(namespace_of(blocks[0]).concat(list(blocks))))


def _fitted_to_median(recipe: Recipe, medians: Sequence[Array], k: int) -> Recipe:
    return Recipe.of(recipe.make().with_median(medians[k]))


def _fit(kernels: Sequence[Recipe], frame: Frame, few: Sequence[list[Array]]) -> Fit:
    """Kernels and a few examples of all layers."""
    xp = namespace_of(few[0][0])
    together = tuple(xp.concat([part[k] for part in few]) for k in range(len(kernels)))
    scales = []
    with in_silence(together[0]):
        for recipe, name, x in zip(kernels, frame.sums, together, strict=True):
            kernel = recipe.make()
            if name not in frame.survey.undefined:
                warn_if_kernel_unresolved(kernel, x, name, xp)
            scales.append(in_range(kernel, x)[1])
    return Fit(tuple(kernels), together, tuple(scales))


def _levels(block: list[Array], fit: Fit) -> list[Array]:
    with in_silence(block[0]):
        return [levels_of(kernel, x, few) for kernel, x, few in zip(fit.functions, block, fit.few, strict=True)]


def _tile(fit: Fit, above: Sequence[Any], beside: Sequence[Any], on_diagonal: bool) -> Tiles:
    (xs, left, row), (ys, right, column) = above, beside
    with in_silence(xs[0]):
        return tile(xs, None if on_diagonal else ys, fit.functions, (left, right), (row, column))


def _merged_tiles(parts: Sequence[Tiles]) -> Tiles:
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    return whole


def _finished(frame: Frame, fit: Fit, tiles: Tiles) -> np.ndarray:
    with in_silence(fit.few[0]):
        noise = [noise_of(kernel, few) for kernel, few in zip(fit.functions, fit.few, strict=True)]
    return boxed(Sums(frame.survey, frame.survey.names, KernelSums.of(tiles, fit.scales, noise)), ())


# --- the median distance ------------------------------------------------------------------------------------------------


def _pairs_of(i: int, j: int, n: int, step: int) -> int:
    a, b = (min(step, n - k * step) for k in (i, j))
    return a * b if i != j else a * (a - 1) // 2


def _shares(sizes: Sequence[int]) -> list[int]:
    """How many of the sampled pairs each tile draws: as many as it has of all pairs, rounded so that they add up."""
    whole = sum(sizes)
    ends = [round(min(_PAIRS, whole) * part / whole) for part in np.cumsum(np.asarray(sizes, dtype=object))]
    return [int(b - a) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _drawn(xs: list[Array], ys: list[Array], on_diagonal: bool, size: int, seed: tuple[int, ...]) -> list[Array]:
    """Distances of random pairs of a tile, for each layer; the same pairs whatever the layer."""
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
        found.append(xp.sqrt(vecdot(gap, gap, xp)))
    return found


def _median_of_sample(parts: Sequence[list[Array]]) -> list[Array]:
    xp = namespace_of(parts[0][0])
    medians = []
    for k in range(len(parts[0])):
        ordered = xp.sort(xp.concat([part[k] for part in parts]))
        size = ordered.shape[0]
        medians.append((ordered[(size - 1) // 2] + ordered[size // 2]) / 2)
    return medians


@dataclass(frozen=True)
class _Bracket:
    """What is known, after some digits, of the bits of the two middle squared distances of one layer."""

    width: int  # of a number: 32 or 64
    ranks: tuple[int, int]  # counted from 0 among the distances that share the leading bits
    bits: tuple[int, int] = (0, 0)  # the leading bits, right-aligned
    known: int = 0  # how many bits these are

    def shared(self, numbers: Array, end: int) -> Array:
        """Those of the `numbers` that share the leading bits of one end."""
        return numbers[(numbers >> (self.width - self.known)) == self.bits[end]] if self.known else numbers

    def narrowed(self, counts: np.ndarray) -> _Bracket:
        """With 16 more bits, from the histograms of both ends, shape (2, 65536)."""
        bits, ranks = [], []
        for end in (0, 1):
            sums = np.cumsum(counts[end])
            digit = int(np.searchsorted(sums, self.ranks[end], side="right"))
            bits.append((self.bits[end] << _DIGIT) | digit)
            ranks.append(self.ranks[end] - (int(sums[digit - 1]) if digit else 0))
        return replace(self, bits=(bits[0], bits[1]), ranks=(ranks[0], ranks[1]), known=self.known + _DIGIT)

    def median(self, like: Array) -> Array:
        """The mean of the two middle distances."""
        middle = np.asarray(self.bits, dtype=f"uint{self.width}").view(f"float{self.width}")
        return namespace_of(like).asarray(np.sqrt(middle).mean(dtype=middle.dtype), dtype=like.dtype)


def _all_brackets(few: Sequence[list[Array]], n: int) -> list[_Bracket]:
    """Before anything is known."""
    pairs = n * (n - 1) // 2
    return [_Bracket(x.dtype.itemsize * 8, ((pairs - 1) // 2, pairs // 2)) for x in few[0]]


def _counted(xs: list[Array], ys: list[Array], on_diagonal: bool, brackets: Sequence[_Bracket]) -> list[np.ndarray]:
    """Histograms, for both ends, of the next 16 bits of the squared distances that share the leading bits; for each layer.

    The bits of non-negative floating-point numbers, read as an integer, are in the order of the numbers.
    """
    found = []
    for x, y, bracket in zip(xs, ys, brackets, strict=True):
        xp, left = namespace_of(x), bracket.width - bracket.known - _DIGIT
        counts = np.zeros((2, 2**_DIGIT), dtype=np.int64)
        ends = (0,) if bracket.bits[0] == bracket.bits[1] else (0, 1)
        for a in range(0, x.shape[0] if left >= 0 else 0, _SIDE):
            for b in range(a if on_diagonal else 0, y.shape[0], _SIDE):
                d = squared_distances(x[a : a + _SIDE, :], y[b : b + _SIDE, :], xp)
                d = d[np.triu_indices(d.shape[0], 1)] if on_diagonal and a == b else d.reshape(-1)
                numbers = d.view(f"uint{bracket.width}")
                for end in ends:
                    digits = (bracket.shared(numbers, end) >> left) & (2**_DIGIT - 1)
                    counts[end] += to_numpy(xp.bincount(digits.astype(np.int64), minlength=2**_DIGIT))
        found.append(counts if len(ends) == 2 else np.stack([counts[0], counts[0]]))
    return found


def _added(parts: Sequence[list[np.ndarray]]) -> list[np.ndarray]:
    return [sum(part[k] for part in parts) for k in range(len(parts[0]))]  # type: ignore[misc]


def _narrowed(brackets: Sequence[_Bracket], counts: Sequence[np.ndarray]) -> list[_Bracket]:
    return [b.narrowed(c) if b.known < b.width else b for b, c in zip(brackets, counts, strict=True)]


def _medians(brackets: Sequence[_Bracket], few: Sequence[list[Array]]) -> list[Array]:
    return [bracket.median(x) for bracket, x in zip(brackets, few[0], strict=True)]
