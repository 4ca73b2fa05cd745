"""What every estimator of HSIC needs of the Gram matrices of L layers: sums over their blocks, which merge.

A block K_ij of a layer's Gram matrix, some examples against some others, is computed, reduced and dropped:

    inner     <K, L> over the block without the diagonal of K, for every pair of layers
    rows      sums along both of its sides, parts of K1, without the diagonal either
    diagonal  of the blocks on the diagonal

K is symmetric, so blocks with i <= j suffice. From inner, K1 and the diagonals follow the three sums of every estimator (see
`simkit.statistics.hsic_sums`). From K_ij an offset g_i + g_j is taken first, which changes no HSIC but keeps the sums from
cancelling; and the diagonal, which may be much larger than the rest, is kept apart from the sums.

Who computes which blocks where is the producer's business: `simkit.scale.blocks` in memory, `simkit.scale.kernels` on Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from simkit.arrays import Array, Namespace, constant_of, namespace_of, placement
from simkit.caching import cached_property
from simkit.errors import NeedsAllExamplesError
from simkit.fields import Fields
from simkit.kernel import Kernel
from simkit.kernels._blocks import Rows, blocks_of, rows_for
from simkit.linalg import is_ordinary, widen, without_diagonal
from simkit.linalg.in_place import along, less_sides, split_diagonal
from simkit.linalg.points import Block, BlockMaker, KeptSquares, Points
from simkit.linalg.products import inner_products
from simkit.linalg.selection import at_place
from simkit.statistics.chance import Scores, scores_from_sums
from simkit.statistics.hsic_sums import Estimator, HSICSums, kernel_estimator_of, scale_of
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["BlockSums", "FittedKernel", "KernelSums", "beside_few", "block_pairs", "cuts", "sums_over"]

_FEWER = 32  # examples that an offset is found from
_ROWS = 4096
_FLAT = 16  # roundings of the largest entry
_ALL_PAIRS = (
    "Kernel sums are over all pairs of examples, also those of different batches, so they are neither made of a batch nor "
    "merged. Use compare(..., tiles='exact') or Dask arrays."
)


# --- one layer ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FittedKernel:
    """The kernel of one layer with all that depends on the data filled in, and a few examples of the layer.

    Called like the kernel, it gives the values divided by the square of `scale`, so that products of them stay in range.

    Attributes
    ----------
    kernel : Kernel
        Fitted.
    few : array, shape (k, p)
        A few examples, as the kernel takes them.
    scale : array, shape ()
        A power of two, 1 where products of kernel values stay in the range of floating-point numbers.
    """

    kernel: Kernel
    few: Array
    scale: Array

    @classmethod
    def of(cls, kernel: Kernel, few: Array) -> FittedKernel:
        """With the scale that the values among a few examples ask for."""
        k = kernel(few, few)
        fitted = cls(kernel, few, scale_of(k, namespace_of(few)))
        vars(fitted)["among_few"] = fitted._scaled(k)
        return fitted

    @cached_property
    def _is_scaled(self) -> bool:
        return not bool(self.scale == 1)

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel matrix, shape (n, m)."""
        return self._scaled(self.kernel(X, Y))

    def _scaled(self, k: Array) -> Array:
        return k / self.scale / self.scale if self._is_scaled else k

    def blocks(self, x: Rows | KeptSquares, y: Rows | None = None) -> BlockMaker:
        """What makes blocks of the kernel matrix: see `simkit.kernels._blocks.blocks_of`."""
        made = blocks_of(self.kernel, x, y)
        return (lambda a, b: self._scaled(made(a, b))) if self._is_scaled else made

    @cached_property
    def among_few(self) -> Array:
        """The kernel matrix of the few examples."""
        return self(self.few, self.few)

    def offsets(self, x: Array | KeptSquares, n: int) -> Array:
        """g_i with K_ij - g_i - g_j near 0, from kernel values of some examples with the n rows of `x`, shape (n,).

        g_i is the median for row i, less half the median of these medians: K_ii and outliers do not carry it away. For a
        kernel of distances `x` may be what `beside_few` has kept of the rows.
        """
        xp, some = namespace_of(self.few), _some_of(self.few)
        made = blocks_of(self.kernel, *((x,) if isinstance(x, KeptSquares) else rows_for(self.kernel, some, x)))
        whole = _middle(_middle(_some_of(_some_of(self.among_few).mT), xp).mT, xp)
        rows = [_middle(self._scaled(made(slice(0, some.shape[0]), b)), xp) for b in cuts(n, _ROWS)]
        return (xp.concat(rows, axis=1) - whole / 2)[0, :]

    @property
    def noise(self) -> float:
        """Entries off the diagonal, less the offsets, that are no larger than this may be rounding."""
        xp = namespace_of(self.few)
        k = without_diagonal(self.among_few, xp)
        return _FLAT * float(xp.finfo(k.dtype).eps) * float(xp.max(xp.abs(k)))


def beside_few(points: Points, few: Array) -> KeptSquares:
    """The squared distances that `FittedKernel.offsets` asks for, computed before the kernel is fitted."""
    some = Points.of(_some_of(few), points.scale)
    return some.kept([(slice(0, some.n), b) for b in cuts(points.n, _ROWS)], points)


def _some_of(few: Array) -> Array:
    return few[:: max(1, few.shape[0] // _FEWER), :]


def _middle(k: Array, xp: Namespace) -> Array:
    """One of the values in the middle of each column, shape (1, n)."""
    return at_place(k, k.shape[0] // 2, 0, xp)


# --- blocks ---------------------------------------------------------------------------------------------------------------


def cuts(n: int, side: int) -> list[slice]:
    """Slices of at most `side` of n examples."""
    return [slice(a, min(a + side, n)) for a in range(0, n, side)]


def block_pairs(rows: int, columns: int | None, side: int) -> list[Block]:
    """The blocks of a rows x columns matrix; of the upper half of a symmetric one, its diagonal included, if None."""
    above, beside = cuts(rows, side), cuts(rows if columns is None else columns, side)
    return [(a, b) for i, a in enumerate(above) for b in (beside[i:] if columns is None else beside)]


@dataclass(frozen=True, eq=False)
class BlockSums:
    """Sums over some blocks of the Gram matrices of L layers; `merged` over all of them they are `KernelSums`.

    Attributes
    ----------
    inner : array, shape (L, L)
        <K, L> over the blocks and, for those off the diagonal, over their mirror images; without the diagonal of K.
    rows : dict of int to array of shape (L, m)
        Parts of the row sums, without the diagonal, of the m examples from this one on.
    diagonal : dict of int to array of shape (L, m)
        Diagonals, where a block holds them.
    """

    inner: Array
    rows: Mapping[int, Array]
    diagonal: Mapping[int, Array]

    @classmethod
    def merged(cls, parts: Iterable[BlockSums]) -> BlockSums:
        """The sums over the blocks of all parts, at least one, which must be cut at the same examples."""
        inner: Array | None = None
        rows: dict[int, Array] = {}
        diagonal: dict[int, Array] = {}
        for part in parts:
            inner = part.inner if inner is None else inner + part.inner
            for start, sums in part.rows.items():
                rows[start] = rows[start] + sums if start in rows else sums
            diagonal |= part.diagonal
        return cls(inner, rows, diagonal)


def sums_over(
    blocks: Iterable[Block],
    makers: Sequence[BlockMaker],
    offsets: tuple[Sequence[Array], Sequence[Array]],
    *,
    start: tuple[int, int] = (0, 0),
    itself: bool = True,
) -> BlockSums:
    """Sums over blocks of the Gram matrices of several layers, or of the part of them that some examples make.

    Parameters
    ----------
    blocks : iterable of pairs of slices
        See `block_pairs`.
    makers : sequence of callables
        What makes the blocks of each layer, such as `FittedKernel.blocks`.
    offsets : pair of sequences of arrays, shapes (r,) and (c,)
        A number g_i for each example of both sides, for each layer; K_ij - g_i - g_j is summed.
    start : (int, int)
        The first example of both sides.
    itself : bool
        Both sides are the same examples, and blocks of which both slices are one are on the diagonal.
    """

    def of(a: slice, b: slice) -> BlockSums:
        above, beside = [g[a] for g in offsets[0]], [h[b] for h in offsets[1]]
        parts = [less_sides(make(a, b), g, h) for make, g, h in zip(makers, above, beside, strict=True)]
        return _block_sums(parts, (start[0] + a.start, start[1] + b.start), on_diagonal=itself and a == b)

    return BlockSums.merged(of(a, b) for a, b in blocks)


def _block_sums(parts: list[Array], start: tuple[int, int], *, on_diagonal: bool) -> BlockSums:
    """Sums over one block of every layer, which is taken off its diagonal."""
    xp, diagonal = namespace_of(parts[0]), []
    if on_diagonal:
        taken = [split_diagonal(k, xp) for k in parts]
        parts, diagonal = [k for k, _ in taken], [widen(d, xp) for _, d in taken]
    inner = inner_products(parts, parts, xp)
    rows = {start[0]: xp.stack([widen(along(k, 1, xp), xp) for k in parts])}
    if on_diagonal:
        return BlockSums(inner, rows, {start[0]: xp.stack(diagonal)})
    return BlockSums(2 * inner, rows | {start[1]: xp.stack([widen(along(k, 0, xp), xp) for k in parts])}, {})


# --- all blocks -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class KernelSums(Statistic):
    """What all estimators of HSIC need of the Gram matrices of L layers that are defined, each less its offsets.

    Those of all examples are not the sums of those of some, since the examples of both parts must meet. So they are neither
    made of a batch nor merged; `BlockSums` are.

    Attributes
    ----------
    defined : tuple of str
        The names of the layers that the arrays are about.
    noise : tuple of L floats
        `FittedKernel.noise` of each.
    inner : array, shape (L, L)
        <K, L> without the diagonals. It may be nan for pairs that are not compared.
    rows, diagonal : array, shape (L, n), optional
        Row sums without the diagonal; and the diagonal. Without them, `inner` is with the diagonals of centred K and L,
        which is all that the biased estimator needs.
    scales : array, shape (L,)
        The Gram matrices are the squares of these times as large.
    traces : array, shape (L,)
        Of the centred Gram matrices.
    """

    defined: tuple[str, ...]
    noise: tuple[float, ...]
    inner: Array
    rows: Array | None
    diagonal: Array | None
    scales: Array
    traces: Array

    arrays_named: ClassVar[tuple[str, ...]] = ("inner", "rows", "diagonal", "scales", "traces")

    @classmethod
    def finished(
        cls, values: ValueCheck, defined: tuple[str, ...], blocks: BlockSums, scales: Sequence[Array], noise: Iterable[float]
    ) -> KernelSums:
        """From the sums over all blocks."""
        xp = namespace_of(blocks.inner)
        rows, diagonal = (xp.concat([part[a] for a in sorted(part)], axis=1) for part in (blocks.rows, blocks.diagonal))
        n = diagonal.shape[1]
        own = xp.sum(diagonal, axis=1)
        traces = own - (xp.sum(rows, axis=1) + own) / n
        return cls(values, defined, tuple(noise), blocks.inner, rows, diagonal, xp.stack(list(scales)), traces)

    @classmethod
    def empty(cls, values: ValueCheck) -> KernelSums:
        """Of no layer that is defined."""
        nothing = widen(values.first[0][0, :0], namespace_of(values.first[0]))
        return cls(values, (), (), nothing[:, None], nothing[:, None], nothing[:, None], nothing, nothing)

    def extended(self, layers: Mapping[str, Array], values: ValueCheck) -> Self:
        """There is none: examples of a batch would have to be compared with those of all others.

        Raises
        ------
        NeedsAllExamplesError
        """
        raise NeedsAllExamplesError(_ALL_PAIRS)

    @classmethod
    def merged(cls, parts: Sequence[Self], *, reuse: bool = False) -> Self:
        """A single part is itself.

        Raises
        ------
        NeedsAllExamplesError
            There are several.
        """
        if len(parts) == 1:
            return parts[0]
        raise NeedsAllExamplesError(_ALL_PAIRS)

    def out_of_range(self, dtype: Any) -> Collection[str]:
        """The layers with values so large, or so small, that products of them leave the range of `dtype`."""
        xp = namespace_of(self.scales)
        ordinary = is_ordinary(xp.astype(self.scales, dtype), xp)
        return [name for k, name in enumerate(self.defined) if not bool(ordinary[k])]

    def about(self) -> dict[str, np.ndarray]:
        """The names of the layers that are defined, and their noise."""
        return {"defined": np.asarray(self.defined, dtype=str), "noise": np.asarray(self.noise, dtype=float)}

    @classmethod
    def _read(cls, fields: Fields, values: ValueCheck) -> Self:
        defined = fields.texts("defined", distinct=True)
        count = len(defined)
        shapes = {"inner": (count, count), "rows": (count, values.n), "diagonal": (count, values.n), "scales": (count,)}
        shapes |= {"traces": (count,)}
        kept = [name for name in shapes if name in fields or name in {"inner", "scales", "traces"}]
        noise = tuple(float(eps) for eps in fields.reals("noise", (count,)))
        arrays = dict.fromkeys(shapes) | {name: fields.reals(name, shapes[name]) for name in kept}
        return cls(values, defined, noise, **arrays)

    def scored(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str], *, by_chance: bool) -> Scores:
        """Scores of layers by name, shape (rows, columns), in the accumulation precision, for an index of HSIC sums."""
        xp = namespace_of(self.inner)
        sums = self.sums(rows, columns, kernel_estimator_of(index).estimator)
        across, down = self._places(rows), self._places(columns)
        traces, units = ((xp.take(of, across, axis=0), xp.take(of, down, axis=0)) for of in (self.traces, self.scales))
        return scores_from_sums(index, sums, traces, units, by_chance=by_chance)

    def sums(self, rows: Sequence[str], columns: Sequence[str], estimator: Estimator) -> tuple[HSICSums, HSICSums, HSICSums]:
        """The sums of (X, Y), (X, X), (Y, Y) for layers by name, of shapes (rows, columns), (rows, 1), (1, columns).

        Raises
        ------
        NeedsAllExamplesError
            Another estimator than the biased one is asked for, and the diagonals were not kept.
        """
        xp = namespace_of(self.inner)
        across, down = self._places(rows), self._places(columns)
        sums = self._of_all_pairs(estimator)

        def of(part: Callable[[Array], Array]) -> HSICSums:
            inner, by_row, products = map(part, sums)
            return HSICSums(inner, by_row, products, self.n)

        return (
            of(lambda matrix: xp.take(xp.take(matrix, across, axis=0), down, axis=1)),
            of(lambda matrix: xp.take(xp.linalg.diagonal(matrix), across, axis=0)[:, None]),
            of(lambda matrix: xp.take(xp.linalg.diagonal(matrix), down, axis=0)[None, :]),
        )

    def _of_all_pairs(self, estimator: Estimator) -> tuple[Array, Array, Array]:
        """The three sums, each of shape (L, L)."""
        xp, n = namespace_of(self.inner), self.n
        inner, along = self.inner, self.rows
        if along is None or self.diagonal is None:
            if estimator != "biased":
                raise NeedsAllExamplesError(
                    f"These sums were made for the biased estimator, without what {estimator} needs."
                )
            return inner, xp.zeros_like(inner), xp.zeros_like(inner)
        if estimator in ("unbiased", "minibatch"):  # which see nothing where all pairs of examples are alike
            own = xp.linalg.diagonal(inner)
            varies = constant_of([float(own[k]) > (n * eps) ** 2 for k, eps in enumerate(self.noise)], inner, xp)
            inner, along = inner * varies[:, None] * varies[None, :], along * varies[:, None]
        else:
            inner, along = inner + self.diagonal @ self.diagonal.mT, along + self.diagonal
        totals = xp.sum(along, axis=1)
        by_row, products = along @ along.mT, totals[:, None] * totals[None, :]
        if estimator == "lange":
            centred = self.diagonal - 2 * along / n + totals[:, None] / n**2
            inner = inner - 2 * by_row / n + products / n**2 - centred @ centred.mT
            by_row, products = xp.zeros_like(inner), xp.zeros_like(inner)
        return inner, by_row, products

    def _places(self, names: Sequence[str]) -> Array:
        where = {name: k for k, name in enumerate(self.defined)}
        return namespace_of(self.inner).asarray([where[name] for name in names], **placement(self.inner))
