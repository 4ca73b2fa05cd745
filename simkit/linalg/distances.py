"""Euclidean distances of all pairs of rows, by one matrix product."""

from __future__ import annotations

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach
from simkit.linalg.pairs import diagonal
from simkit.linalg.products import vecdot
from simkit.linalg.safe import is_ordinary, power_of_two, root
from simkit.linalg.selection import at_place, few_of, middle_of_pairs

__all__ = [
    "median_of_squares",
    "not_below_zero",
    "robust_origin",
    "scaled_squares",
    "squared_distances",
    "squared_lengths",
]


def robust_origin(x: Array, xp: Namespace) -> Array:
    """A point amid the rows of `x` (n, p), shape (1, p), to be subtracted before distances are computed.

    Distances do not depend on the origin, their rounding does. This is the median, feature by feature, of some hundred rows
    at regular distances: outliers do not carry it away, as they would a mean or a first row, and whole numbers stay whole.
    """
    few = few_of(detach(x))
    return at_place(few, (few.shape[0] - 1) // 2, 0, xp)


def squared_distances(a: Array, b: Array, xp: Namespace) -> Array:
    """Squared Euclidean distances of the rows of `a` (n, p) and `b` (m, p), shape (n, m).

    By the expansion |a|^2 + |b|^2 - 2ab, so rows should be centred first; rounding below zero is clipped, and the
    diagonal is exactly 0 when `b` is the very object `a`.
    """
    squares, scale = scaled_squares(a, b, xp)
    return squares if scale is None else squares * scale * scale


def scaled_squares(a: Array, b: Array, xp: Namespace) -> tuple[Array, Array | None]:
    """Squared distances in the square of a unit, a power of two, and this unit; or None for 1, where nothing is scaled."""
    if array_api_compat.is_numpy_namespace(xp):  # whose values are there to be asked
        aa = squared_lengths(a, xp)
        bb = aa if b is a else squared_lengths(b, xp)
        if bool(is_ordinary(np.sqrt(np.maximum(np.max(aa), np.max(bb))), xp)):
            return _expanded(a, b, aa, bb, xp), None
    scale = power_of_two(a, xp)
    if b is not a:
        other = power_of_two(b, xp)
        scale = xp.where(scale < other, other, scale)
    x = a / scale
    y = x if b is a else b / scale
    return _expanded(x, y, vecdot(x, x, xp), vecdot(y, y, xp), xp), scale


def median_of_squares(squares: Array, scale: Array | None, xp: Namespace) -> Array:
    """The median distance of distinct pairs, a 0-d array, from the squared distances (n, n) in the square of `scale`."""
    low, high = middle_of_pairs(squares, xp)
    median = (root(low, xp) + root(high, xp)) / 2
    return median if scale is None else median * scale


def squared_lengths(x: Array, xp: Namespace) -> Array:
    """|x_i|^2 of the rows, shape (n,), in their precision; perhaps beyond its range."""
    with np.errstate(over="ignore", invalid="ignore"):
        return vecdot(x, x, xp)


def _expanded(a: Array, b: Array, aa: Array, bb: Array, xp: Namespace) -> Array:
    """|a|^2 + |b|^2 - 2ab, not below zero."""
    squares = a @ b.mT  # by BLAS in half the time if b is a
    squares *= -2
    squares += aa[:, None]
    squares += bb[None, :]
    return not_below_zero(squares, xp, itself=b is a)


def not_below_zero(squares: Array, xp: Namespace, *, itself: bool) -> Array:
    """What rounding has put below zero is zero, and so is the diagonal of distances of some rows from `itself`, the same."""
    if array_api_compat.is_numpy_namespace(xp):  # in place, which the standard has no word for
        np.maximum(squares, 0.0, out=squares)
        if itself:
            np.fill_diagonal(squares, 0.0)
        return squares
    squares = xp.clip(squares, min=0.0)
    return xp.where(diagonal(squares, xp), 0.0, squares) if itself else squares
