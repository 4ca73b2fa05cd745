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
from simkit.linalg import is_ordinary, widen, without_diagonal
from simkit.linalg.products import inner_products
from simkit.statistics.hsic_sums import Estimator, HSICSums, kernel_estimator_of, scale_of
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["BlockSums", "FittedKernel", "KernelSums", "block_pairs", "cuts", "sums_over"]

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
        return cls(kernel, few, scale_of(kernel(few, few), namespace_of(few)))

    @cached_property
    def _is_scaled(self) -> bool:
        return not bool(self.scale == 1)

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel matrix, shape (n, m)."""
        k = self.kernel(X, Y)
        return k / self.scale / self.scale if self._is_scaled else k

    def offsets(self, x: Array) -> Array:
        """g_i with K_ij - g_i - g_j near 0, from kernel values with the few examples, shape (n,).

        g_i is the median of row i, less half the median of these medians: K_ii and outliers do not carry it away.
        """
        xp, few = namespace_of(x), self.few[:: max(1, self.few.shape[0] // _FEWER), :]
        whole = _middle(_middle(self(few, few), xp), xp)
        return xp.concat([_middle(self(x[a, :], few), xp) for a in cuts(x.shape[0], _ROWS)]) - whole / 2

    @property
    def noise(self) -> float:
        """Entries off the diagonal, less the offsets, that are no larger than this may be rounding."""
        xp = namespace_of(self.few)
        k = without_diagonal(self(self.few, self.few), xp)
        return _FLAT * float(xp.finfo(k.dtype).eps) * float(xp.max(xp.abs(k)))


def _middle(k: Array, xp: Namespace) -> Array:
    """Along the last axis, one of the values in the middle."""
    return xp.take(xp.sort(k, axis=-1), xp.asarray([k.shape[-1] // 2], **placement(k)), axis=k.ndim - 1)[..., 0]


# --- blocks ---------------------------------------------------------------------------------------------------------------


def cuts(n: int, side: int) -> list[slice]:
    """Slices of at most `side` of n examples."""
    return [slice(a, min(a + side, n)) for a in range(0, n, side)]


def block_pairs(rows: int, columns: int | None, side: int) -> list[tuple[slice, slice]]:
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
    blocks: Iterable[tuple[slice, slice]],
    xs: Sequence[Array],
    ys: Sequence[Array] | None,
    kernels: Sequence[Callable[[Array, Array], Array]],
    offsets: tuple[Sequence[Array], Sequence[Array]],
    *,
    start: tuple[int, int] = (0, 0),
) -> BlockSums:
    """Sums over blocks of the Gram matrices of several layers, or of the part of them that some examples make.

    Parameters
    ----------
    blocks : iterable of pairs of slices
        Of the rows of `xs` and of `ys`: see `block_pairs`.
    xs : sequence of arrays, shapes (r, p_l)
        Some examples of each layer, as its kernel takes them (`simkit.statistics.hsic_sums.features_for`).
    ys : sequence of arrays, shapes (c, p_l), optional
        Other examples. Default: the same, and blocks of which both slices are one are on the diagonal.
    kernels : sequence of callables
        One for each layer, fitted.
    offsets : pair of sequences of arrays, shapes (r,) and (c,)
        A number g_i for each example of both sides, for each layer; K_ij - g_i - g_j is summed.
    start : (int, int)
        The first example of both sides.
    """

    def of(a: slice, b: slice) -> BlockSums:
        left, above, beside = [x[a, :] for x in xs], [g[a] for g in offsets[0]], [h[b] for h in offsets[1]]
        right = None if ys is None and a == b else [y[b, :] for y in (xs if ys is None else ys)]
        return _block_sums(left, right, kernels, (above, beside), (start[0] + a.start, start[1] + b.start))

    return BlockSums.merged(of(a, b) for a, b in blocks)


def _block_sums(
    xs: Sequence[Array],
    ys: Sequence[Array] | None,
    kernels: Sequence[Callable[[Array, Array], Array]],
    offsets: tuple[Sequence[Array], Sequence[Array]],
    start: tuple[int, int],
) -> BlockSums:
    """Sums over one block, which is on the diagonal where `ys` is None."""
    xp = namespace_of(xs[0])
    along, down, diagonal, whole = [], [], [], []
    for kernel, x, y, g, h in zip(kernels, xs, xs if ys is None else ys, *offsets, strict=True):
        k = kernel(x, y) - g[:, None]
        k -= h[None, :]
        if ys is None:
            diagonal.append(widen(xp.linalg.diagonal(k), xp))
            k = without_diagonal(k, xp)
        else:
            down.append(widen(xp.sum(k, axis=0), xp))
        along.append(widen(xp.sum(k, axis=1), xp))
        whole.append(k)
    inner = inner_products(whole, whole, xp)
    rows = {start[0]: xp.stack(along)}
    if ys is None:
        return BlockSums(inner, rows, {start[0]: xp.stack(diagonal)})
    return BlockSums(2 * inner, rows | {start[1]: xp.stack(down)}, {})


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
    """

    defined: tuple[str, ...]
    noise: tuple[float, ...]
    inner: Array
    rows: Array | None
    diagonal: Array | None
    scales: Array

    arrays_named: ClassVar[tuple[str, ...]] = ("inner", "rows", "diagonal", "scales")

    @classmethod
    def finished(
        cls, values: ValueCheck, defined: tuple[str, ...], blocks: BlockSums, scales: Sequence[Array], noise: Iterable[float]
    ) -> KernelSums:
        """From the sums over all blocks."""
        xp = namespace_of(blocks.inner)
        rows, diagonal = (xp.concat([part[a] for a in sorted(part)], axis=1) for part in (blocks.rows, blocks.diagonal))
        return cls(values, defined, tuple(noise), blocks.inner, rows, diagonal, xp.stack(list(scales)))

    @classmethod
    def empty(cls, values: ValueCheck) -> KernelSums:
        """Of no layer that is defined."""
        nothing = widen(values.first[0][0, :0], namespace_of(values.first[0]))
        return cls(values, (), (), nothing[:, None], nothing[:, None], nothing[:, None], nothing)

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
        kept = [name for name in shapes if name in fields or name in {"inner", "scales"}]
        noise = tuple(float(eps) for eps in fields.reals("noise", (count,)))
        arrays = dict.fromkeys(shapes) | {name: fields.reals(name, shapes[name]) for name in kept}
        return cls(values, defined, noise, **arrays)

    def scores(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str]) -> Array:
        """Scores of layers by name, shape (rows, columns), in the accumulation precision, for an index of HSIC sums."""
        score = index.from_sums(*self.sums(rows, columns, kernel_estimator_of(index).estimator))
        xp = namespace_of(self.inner)
        across, down = (xp.take(self.scales, self._places(side), axis=0) for side in (rows, columns))
        return index.rescaled(score, across[:, None] * down[None, :])

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
