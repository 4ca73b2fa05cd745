"""Square matrices over all pairs of examples: their diagonal, their order, their centring."""

from __future__ import annotations

from collections.abc import Sequence

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach, placement
from simkit.linalg.products import inner_products, total

__all__ = ["diagonal", "double_centre", "reordered", "reordered_products", "u_centre", "without_diagonal"]

_FLAT = 16  # roundings of the largest entry of a matrix that centring may leave
_ENTRIES = 2**17  # of a matrix that are put in order together: they stay in the cache


def diagonal(square: Array, xp: Namespace) -> Array:
    """Boolean mask of the diagonal of a square matrix."""
    i = xp.arange(square.shape[0], **placement(square))
    return i[:, None] == i[None, :]


def without_diagonal(square: Array, xp: Namespace) -> Array:
    """A square matrix with zeros on its diagonal."""
    if array_api_compat.is_numpy_namespace(xp):
        square = np.array(square)
        np.fill_diagonal(square, 0)
        return square
    return xp.where(diagonal(square, xp), 0.0, square)


def reordered(square: Array, order: Array, xp: Namespace) -> Array:
    """Rows and columns of a square matrix in another order."""
    return xp.take(xp.take(square, order, axis=0), order, axis=1)


def reordered_products(squares: Sequence[Array], order: Array, others: Sequence[Array], xp: Namespace) -> Array:
    """<P K P', L> of symmetric matrices: `inner_products` of `reordered` ones and others, (len(squares), len(others)).

    In NumPy without the reordered matrices, some rows of their upper halves at a time.
    """
    if not array_api_compat.is_numpy_namespace(xp) or len({a.dtype for a in (*squares, *others)}) > 1:
        return inner_products([reordered(a, order, xp) for a in squares], others, xp)
    n, dtype = order.shape[0], squares[0].dtype
    side = max(16, _ENTRIES // n)
    found = np.zeros((len(squares), len(others)))
    whole, upper = np.empty((side, n), dtype), np.empty(side * n, dtype)
    for start in range(0, n, side):
        stop = min(start + side, n)
        some, ordered = whole[: stop - start], upper[: (stop - start) * (n - start)].reshape(stop - start, n - start)
        for i, a in enumerate(squares):  # "clip" does without a copy of `out`; there is nothing to be clipped
            np.take(a, order[start:stop], axis=0, out=some, mode="clip")
            np.take(some, order[start:], axis=1, out=ordered, mode="clip")
            for j, b in enumerate(others):
                twice = np.sum(np.vecdot(ordered, b[start:stop, start:]), dtype=np.float64)
                once = np.sum(np.vecdot(ordered[:, : stop - start], b[start:stop, start:stop]), dtype=np.float64)
                found[i, j] += 2 * twice - once
    return found


def double_centre(k: Array, xp: Namespace) -> Array:
    """HKH for a symmetric K, with H = I - 11'/n."""
    n = k.shape[0]
    means = total(k, xp, axis=0) / n
    mean = total(means, xp) / n
    return k - xp.astype(means, k.dtype)[None, :] - xp.astype(means - mean, k.dtype)[:, None]


def u_centre(k: Array, xp: Namespace) -> Array:
    """U-centring of a symmetric K (Szekely & Rizzo 2014): zero diagonal and zero row sums, shape (n, n), n >= 3.

    K_ij - r_i / (n - 2) - r_j / (n - 2) + sum(r) / ((n - 1)(n - 2)) off the diagonal, r the row sums without the diagonal.
    <K~, L~> / (n (n - 3)) is the unbiased HSIC, without the differences of large sums of its other forms; and what is added
    to whole rows and columns, as by one example that is far from all others, is gone before entries are multiplied.
    Where nothing but rounding is left, as of examples that are all equally far from each other, it is zero.
    """
    if array_api_compat.is_numpy_namespace(xp):
        return _u_centred(k)
    n = k.shape[0]
    k = without_diagonal(k, xp)
    rows = total(k, xp, axis=1) / (n - 2)
    half = rows - xp.sum(rows) / (2 * (n - 1))
    shift = xp.astype(half, k.dtype)
    centred = without_diagonal(k - shift[None, :] - shift[:, None], xp)
    noise = _FLAT * float(xp.finfo(k.dtype).eps) * xp.max(xp.abs(detach(k)))
    return xp.where(xp.max(xp.abs(detach(centred))) > noise, centred, 0.0 * centred)


def _u_centred(k: np.ndarray) -> np.ndarray:
    """`u_centre` of NumPy arrays, with one new matrix."""
    n = k.shape[0]
    k = without_diagonal(k, np)
    noise = _FLAT * float(np.finfo(k.dtype).eps) * _largest(k)
    rows = np.sum(k, axis=1, dtype=np.float64) / (n - 2)
    shift = (rows - np.sum(rows) / (2 * (n - 1))).astype(k.dtype)
    k -= shift
    k -= shift[:, None]
    np.fill_diagonal(k, 0)
    if _largest(k) <= noise:
        k *= 0
    return k


def _largest(k: np.ndarray) -> np.floating:
    return np.maximum(np.max(k), -np.min(k))
