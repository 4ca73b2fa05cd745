"""Sums and products, accumulated in float64 where the device has it; large products stay in the precision of their operands.

A float32 sum over n^2 entries is where accuracy is lost.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, dtype_name, is_lazy, library_of, placement
from simkit.linalg.safe import in_one
from simkit.memory import is_on_host

__all__ = [
    "column_squares",
    "cross",
    "identity",
    "inner",
    "inner_products",
    "side_by_side",
    "squared_norm",
    "sums_as_given",
    "tall_cross",
    "total",
    "vecdot",
    "widen",
]

_ROWS = 8192  # of a float32 product
_FEW = 64  # pairs of matrices
_ENTRIES = 2**16  # of a matrix at a time: short enough for float32 sums, long enough for a matrix product
_COPIED = 2**14  # values of which a copy takes less time than PyTorch takes to begin a few operations
_AT_ONCE = 2**27  # of all matrices, in one call


def total(x: Array, xp: Namespace, axis: int | None = None) -> Array:
    """Sum of entries, accumulated in float64 where the device has it."""
    return xp.sum(x, axis=axis, dtype=accumulation_dtype(x, xp))


def sums_as_given(x: Array) -> bool:
    """Whether sums over the rows of `x` are as accurate in its own precision, and those in another cost a copy of it.

    Those of PyTorch, which copies for gradients as well; for few values it takes longer to begin the operations.
    """
    return library_of(x) == "torch" and x.shape[0] * x.shape[1] > _COPIED


def widen(x: Array, xp: Namespace) -> Array:
    """`x` in the accumulation precision (float64 where the device has it)."""
    wide = accumulation_dtype(x, xp)
    return x if x.dtype == wide else xp.astype(x, wide)


def side_by_side(parts: Sequence[Array], less: Array, xp: Namespace) -> Array:
    """Matrices (n, p_k) minus `less` (P,), in the wider precision of both, as one new matrix (n, P)."""
    ends = list(itertools.accumulate((x.shape[1] for x in parts), initial=0))
    slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
    if not array_api_compat.is_numpy_namespace(xp):
        return xp.concat([x - less[s] for x, s in zip(parts, slices, strict=True)], axis=1)
    whole = np.empty((parts[0].shape[0], ends[-1]), dtype=np.result_type(*parts, less))  # the standard needs a second pass
    for x, s in zip(parts, slices, strict=True):
        np.subtract(x, less[s], out=whole[:, s])
    return whole


def vecdot(a: Array, b: Array, xp: Namespace) -> Array:
    """Dot products along the last axis."""
    if array_api_compat.is_torch_namespace(xp):  # that of the compatibility layer cannot be mapped by torch.func.vmap
        found: Array = sys.modules["torch"].linalg.vecdot(a, b)
        return found
    return in_one(xp.vecdot, a, b)


def inner(a: Array, b: Array, xp: Namespace) -> Array:
    """Frobenius inner product <a, b>: dot products along rows in the working precision, their sum in float64."""
    if a.dtype != b.dtype:
        a, b = widen(a, xp), widen(b, xp)
    if dtype_name(a) == "float64":
        return vecdot(xp.reshape(a, (-1,)), xp.reshape(b, (-1,)), xp)
    return total(vecdot(a, b, xp), xp)


def inner_products(xs: Sequence[Array], ys: Sequence[Array], xp: Namespace) -> Array:
    """Frobenius inner products of matrices of one shape, each of `xs` with each of `ys`, shape (len(xs), len(ys)).

    Some thousand entries of all matrices at a time, in one product that reads each of them once, where a loop over pairs
    would read each as often as it has partners; the sum of these products is in float64.
    """
    common = xp.result_type(*(x.dtype for x in (*xs, *ys)))  # a layer may have needed float64
    left = [xp.reshape(x, (-1,)) for x in xs]
    right = left if ys is xs else [xp.reshape(y, (-1,)) for y in ys]

    def stacked(vectors: Sequence[Array], part: slice, pieces: int) -> Array:
        rows = xp.stack([xp.astype(v[part], common, copy=False) for v in vectors])
        if pieces == 1:
            return rows
        return xp.permute_dims(xp.reshape(rows, (len(vectors), pieces, -1)), (1, 0, 2))

    if array_api_compat.is_numpy_namespace(xp) and len(left) * len(right) <= _FEW:
        a, b = ([v.astype(common, copy=False) for v in vectors] for vectors in (left, right))
        return _by_pairs(a, b, symmetric=right is left)
    # On an accelerator, and where operations are traced, a call costs more than what it does: many products are one call.
    at_once = max(1, _AT_ONCE // (_ENTRIES * (len(left) + len(right)))) if _in_few_calls(left[0]) else 1
    size, start, products = left[0].shape[0], 0, []
    while start < size:
        pieces = min(at_once, (size - start) // _ENTRIES) or 1
        part = slice(start, min(start + pieces * _ENTRIES, size))
        a = stacked(left, part, pieces)
        product = a @ (a if right is left else stacked(right, part, pieces)).mT
        products.append(product if pieces == 1 else total(product, xp, axis=0))
        start = part.stop
    return total(xp.stack([widen(product, xp) for product in products]), xp, axis=0)


def _in_few_calls(x: Array) -> bool:
    return is_lazy(x) or not is_on_host(x)


def _by_pairs(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray], *, symmetric: bool) -> np.ndarray:
    """`inner_products` of vectors, pair by pair: of few, BLAS takes longer for one thin product than for all dots."""
    found = np.empty((len(xs), len(ys)))
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            if symmetric and j < i:
                found[i, j] = found[j, i]
            else:
                parts = range(0, x.shape[0], _ENTRIES)
                found[i, j] = sum(float(np.dot(x[a : a + _ENTRIES], y[a : a + _ENTRIES])) for a in parts)
    return found


def squared_norm(a: Array, xp: Namespace) -> Array:
    """Squared Frobenius norm."""
    return inner(a, a, xp)


def column_squares(x: Array, xp: Namespace) -> Array:
    """Sums of squares of the columns of a matrix in the accumulation precision."""
    if array_api_compat.is_numpy_namespace(xp):  # no second matrix for the squares
        return np.einsum("ij,ij->j", x, x)
    return xp.sum(x * x, axis=0)


def cross(a: Array, b: Array) -> Array:
    """a'b."""
    return a.mT @ b


def tall_cross(a: Array, b: Array, xp: Namespace) -> Array:
    """a'b in the accumulation precision: products of some thousand rows in the precision of `a` and `b`, summed in float64.

    A product of a million float32 rows at once is wrong by 1e-5.
    """
    n = a.shape[0]
    if a.dtype != b.dtype:
        a, b = widen(a, xp), widen(b, xp)
    step = max(_ROWS, -(-n // 64))
    if n <= step or a.dtype == accumulation_dtype(a, xp):
        return widen(cross(a, b), xp)
    whole = widen(cross(a[:step, :], b[:step, :]), xp)
    for start in range(step, n, step):
        rows = slice(start, min(start + step, n))
        whole = whole + widen(cross(a[rows, :], b[rows, :]), xp)
    return whole


def identity(n: int, like: Array, xp: Namespace) -> Array:
    """n x n identity in the dtype and on the device of `like`."""
    return xp.eye(n, dtype=like.dtype, **placement(like))
