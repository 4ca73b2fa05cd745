"""Square matrices over all pairs of examples: their diagonal, their order, their centring."""

from __future__ import annotations

from collections.abc import Callable

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach, placement
from simkit.linalg.products import total

__all__ = [
    "diagonal",
    "double_centre",
    "from_pairs",
    "over_pairs",
    "pairs_reordered",
    "reordered",
    "u_centre",
    "without_diagonal",
]

_BLOCK = 2**18  # entries of a symmetric matrix at a time, which stay in the cache
_FLAT = 16  # roundings of the largest entry of a matrix that centring may leave


def diagonal(square: Array, xp: Namespace) -> Array:
    """Boolean mask of the diagonal of a square matrix."""
    i = xp.arange(square.shape[0], **placement(square))
    return i[:, None] == i[None, :]


def without_diagonal(square: Array, xp: Namespace) -> Array:
    """A square matrix with zeros on its diagonal."""
    return xp.where(diagonal(square, xp), 0.0, square)


def reordered(square: Array, order: Array, xp: Namespace) -> Array:
    """Rows and columns of a square matrix in another order."""
    return xp.take(xp.take(square, order, axis=0), order, axis=1)


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
    n = k.shape[0]
    k = without_diagonal(k, xp)
    rows = total(k, xp, axis=1) / (n - 2)
    half = rows - xp.sum(rows) / (2 * (n - 1))
    shift = xp.astype(half, k.dtype)
    centred = without_diagonal(k - shift[None, :] - shift[:, None], xp)
    noise = _FLAT * float(xp.finfo(k.dtype).eps) * xp.max(xp.abs(detach(k)))
    return xp.where(xp.max(xp.abs(detach(centred))) > noise, centred, 0.0 * centred)


def over_pairs(entries: Callable[[slice, slice], Array], n: int, xp: Namespace) -> Array:
    """The entries i < j of a symmetric matrix as a vector, row by row, shape (n (n - 1) / 2,).

    Parameters
    ----------
    entries : callable
        Gives the part of the matrix that belongs to some rows and columns. NumPy asks for blocks of the upper half, so that
        the matrix is never in memory as a whole; every other library for all at once.
    """
    if not array_api_compat.is_numpy_namespace(xp):
        square = entries(slice(0, n), slice(0, n))
        rows, columns = np.triu_indices(n, 1)
        return xp.take(xp.reshape(square, (-1,)), xp.asarray(rows * n + columns, **placement(square)), axis=0)
    found, step, start = None, max(16, _BLOCK // n), 0
    for first in range(0, n - 1, step):
        block = entries(slice(first, min(first + step, n)), slice(first, n))
        found = np.empty(n * (n - 1) // 2, dtype=block.dtype) if found is None else found
        for i, row in enumerate(block):
            found[start : start + len(row) - i - 1] = row[i + 1 :]
            start += len(row) - i - 1
    return found


def from_pairs(vector: Array, n: int, xp: Namespace) -> Array:
    """The symmetric matrix with zeros on its diagonal of a vector over the pairs i < j."""
    if array_api_compat.is_numpy_namespace(xp):
        square = np.zeros((n, n), dtype=vector.dtype)
        start = 0
        for i in range(n - 1):
            square[i, i + 1 :] = vector[start : start + n - i - 1]
            start += n - i - 1
        return square + square.T
    k = xp.arange(n, **placement(vector))
    positions = xp.clip(_position(k[:, None], k[None, :], n, xp), min=0)
    return without_diagonal(xp.reshape(xp.take(vector, xp.reshape(positions, (-1,)), axis=0), (n, n)), xp)


def pairs_reordered(vector: Array, n: int, order: Array, xp: Namespace) -> Array:
    """A vector over the pairs i < j of n examples, or some of them side by side, with the examples in another order."""
    i, j = (xp.take(order, xp.asarray(side, **placement(order)), axis=0) for side in np.triu_indices(n, 1))
    return xp.take(vector, _position(i, j, n, xp), axis=-1)


def _position(i: Array, j: Array, n: int, xp: Namespace) -> Array:
    """Where the pair of i and j stands among all pairs, row by row."""
    low, high = xp.minimum(i, j), xp.maximum(i, j)
    return low * (2 * n - low - 1) // 2 + high - low - 1
