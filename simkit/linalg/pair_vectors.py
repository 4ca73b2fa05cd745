"""Symmetric matrices over all pairs of examples as vectors over the pairs i < j, row by row."""

from __future__ import annotations

from collections.abc import Callable

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, placement
from simkit.linalg.pairs import without_diagonal

__all__ = ["from_pairs", "over_pairs", "pairs_reordered"]

_BLOCK = 2**18  # entries of a symmetric matrix at a time, which stay in the cache


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
    """A vector over the pairs i < j of n examples, with the examples in another order."""
    i, j = (xp.take(order, xp.asarray(side, **placement(order)), axis=0) for side in np.triu_indices(n, 1))
    return xp.take(vector, _position(i, j, n, xp), axis=0)


def _position(i: Array, j: Array, n: int, xp: Namespace) -> Array:
    """Where the pair of i and j stands among all pairs, row by row."""
    low, high = xp.minimum(i, j), xp.maximum(i, j)
    return low * (2 * n - low - 1) // 2 + high - low - 1
