"""Elementwise operations on large intermediates of simkit's own: written over where they are arrays of NumPy.

The standard has no word for that. A new array of some megabytes costs more than the operation; other libraries differentiate
through these, or keep freed memory for the next array.
"""

from __future__ import annotations

import numpy as np

from simkit.arrays import Array, Namespace
from simkit.linalg.pairs import without_diagonal
from simkit.linalg.safe import root

__all__ = ["along", "exponential", "less_sides", "roots", "split_diagonal", "times"]


def times(x: Array, factor: Array, xp: Namespace) -> Array:
    """`x` times a 0-d array."""
    if isinstance(x, np.ndarray):
        return np.multiply(x, x.dtype.type(factor), out=x)
    return x * xp.astype(factor, x.dtype, copy=False)


def exponential(x: Array, xp: Namespace) -> Array:
    """e to the power of `x`."""
    return np.exp(x, out=x) if isinstance(x, np.ndarray) else xp.exp(x)


def roots(x: Array, xp: Namespace) -> Array:
    """Square roots of what is not below zero, with the gradient 0 at 0."""
    return np.sqrt(x, out=x) if isinstance(x, np.ndarray) else root(x, xp)


def less_sides(k: Array, above: Array, beside: Array) -> Array:
    """A matrix (r, c) less a number for each row and one for each column."""
    if isinstance(k, np.ndarray):
        np.subtract(k, above[:, None], out=k)
        return np.subtract(k, beside[None, :], out=k)
    return k - above[:, None] - beside[None, :]


def split_diagonal(square: Array, xp: Namespace) -> tuple[Array, Array]:
    """A square matrix with zeros on its diagonal, and that diagonal."""
    diagonal = xp.linalg.diagonal(square)
    if not isinstance(square, np.ndarray):
        return without_diagonal(square, xp), diagonal
    diagonal = diagonal.copy()
    np.fill_diagonal(square, 0.0)
    return square, diagonal


def along(k: Array, axis: int, xp: Namespace) -> Array:
    """Sums of a matrix with some hundred rows and columns along one axis, in its precision; by BLAS, five times as fast."""
    if not isinstance(k, np.ndarray):
        return xp.sum(k, axis=axis)
    ones = np.ones(k.shape[axis], dtype=k.dtype)
    return k @ ones if axis else ones @ k
