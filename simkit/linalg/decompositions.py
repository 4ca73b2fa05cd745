"""Factors of a matrix: its singular values, triangle, a narrow copy, the root of its square."""

from __future__ import annotations

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach, is_lazy, library_of
from simkit.linalg.products import column_squares, widen

_WORTH = 1e3  # how many eps of the computation must be allowed as an error, that it is worth while to try a form with more
_SMALL = 64

__all__ = [
    "cholesky",
    "compact",
    "inverse_of_triangle",
    "nuclear_norm",
    "singular_values",
    "symmetric_root",
    "triangle",
]


def singular_values(a: Array, xp: Namespace) -> Array:
    """Singular values, descending, in the accumulation precision."""
    return xp.linalg.svdvals(widen(a, xp))


def nuclear_norm(a: Array, xp: Namespace, *, precision: float = 0.0, below: Array | None = None) -> Array:
    """The sum of the singular values, in the accumulation precision.

    Where an error is allowed and values may be looked at, they are the roots of the eigenvalues of A'A, which takes a third
    of the time. Those have errors of some eps of the largest, so that the roots of small ones may be wrong. If these errors
    might add up to more than is allowed, the singular values are computed.

    Parameters
    ----------
    a : array, shape (p, q)
    precision : float
        The error that is allowed, as a share of the sum.
    below : 0-d array, optional
        A number that the sum does not exceed: the share is one of their difference, then.
    """
    a = widen(a, xp)
    if precision > _WORTH * float(xp.finfo(a.dtype).eps) and not is_lazy(a):
        found, error = _by_eigenvalues(a, xp)
        if bool(error <= precision * (detach(found) if below is None else detach(below - found))):
            return found
    return xp.sum(singular_values(a, xp))


def _by_eigenvalues(a: Array, xp: Namespace) -> tuple[Array, Array]:
    """The nuclear norm from the eigenvalues of A'A, and how wrong it may be."""
    gram = a.mT @ a if a.shape[1] <= a.shape[0] else a @ a.mT
    # Rows and columns of zeros, such as those of dead units, have singular values that are exactly 0.
    alive = min(int(xp.count_nonzero(column_squares(z, xp))) for z in (detach(a), detach(a).mT))
    squares = xp.linalg.eigvalsh(gram)[gram.shape[0] - min(alive, gram.shape[0]) :]
    if squares.shape[0] == 0:
        return xp.sum(squares), xp.sum(squares)
    wrong = 4 * float(xp.finfo(a.dtype).eps) * max(a.shape) ** 0.5 * detach(squares)[-1]
    sure = xp.where(detach(squares) > wrong, squares, wrong)
    values = xp.sqrt(xp.where(sure > 0, sure, 1.0))
    return xp.sum(values), xp.sum(xp.where(detach(squares) > wrong, wrong / (2 * detach(values)), float("inf")))


def cholesky(a: Array, xp: Namespace) -> Array | None:
    """The lower Cholesky factor of a symmetric matrix, or None if it is not positive definite; its values are looked at."""
    if library_of(a) == "torch":
        lower, info = xp.linalg.cholesky_ex(a)
        return lower if int(info) == 0 and bool(xp.isfinite(detach(lower)[-1, -1])) else None
    try:
        lower = xp.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return None
    return lower if bool(xp.isfinite(lower[-1, -1])) else None  # some libraries answer with nan


def inverse_of_triangle(lower: Array, xp: Namespace) -> Array:
    """The inverse of a lower triangular matrix."""
    if library_of(lower) == "torch":
        return xp.linalg.solve_triangular(lower, xp.eye(lower.shape[0], dtype=lower.dtype, device=lower.device), upper=False)
    p = lower.shape[0]
    if p <= _SMALL or library_of(lower) != "numpy":
        return xp.linalg.inv(lower)
    half = p // 2  # by blocks: a sixth of the operations of a general inverse, most of them in products
    first, last = (inverse_of_triangle(part, xp) for part in (lower[:half, :half], lower[half:, half:]))
    whole = np.zeros_like(lower)
    whole[:half, :half], whole[half:, half:] = first, last
    whole[half:, :half] = -(last @ (lower[half:, :half] @ first))
    return whole


def triangle(x: Array, xp: Namespace) -> Array:
    """R of a QR decomposition of `x` (n, p), n >= p: p rows with the same inner products of columns, R'R = x'x."""
    if array_api_compat.is_numpy_namespace(xp):  # the standard cannot leave out Q
        return np.linalg.qr(x, mode="r")
    return xp.linalg.qr(x)[1]


def compact(x: Array, xp: Namespace) -> Array:
    """Rotate `x` (n, p) to at most n columns, with the same xx'.

    The rotation is a constant for differentiation: a function of xx' depends on nothing outside the row space of `x`.
    """
    if x.shape[1] <= x.shape[0]:
        return x
    rotation, _ = xp.linalg.qr(detach(x).mT)
    return x @ rotation


def symmetric_root(c: Array, xp: Namespace) -> Array:
    """(CC')^1/2, differentiable also where singular values of `c` (k, m) are equal or 0.

    Its derivative has the entries u_i' d(CC') u_j / (s_i + s_j) in the left singular vectors (Daleckii & Krein 1965). Those
    are constants here, so that value and gradient are right; directions that C does not have stay 0.
    """
    u, s, _ = xp.linalg.svd(detach(c), full_matrices=False)
    sums = s[:, None] + s[None, :]
    present = sums > max(c.shape) * float(xp.finfo(c.dtype).eps) * xp.max(s)
    turned = u.mT @ c
    change = turned @ turned.mT
    change = (change - detach(change)) * xp.where(present, 1.0 / xp.where(present, sums, 1.0), 0.0)
    return (u * s[None, :] + u @ change) @ u.mT
