"""Factors of a matrix: its singular values, triangle, a narrow copy, the root of its square."""

from __future__ import annotations

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach, is_lazy
from simkit.linalg.products import widen

_WORTH = 1e3  # how many eps of the computation must be allowed as an error, that it is worth while to try a form with more
_SMALL = 64

__all__ = [
    "cholesky",
    "compact",
    "inverse_of_triangle",
    "nuclear_norm",
    "nuclear_norm_within",
    "singular_values",
    "symmetric_root",
    "triangle",
]


def singular_values(a: Array, xp: Namespace) -> Array:
    """Singular values, descending, in the accumulation precision."""
    return xp.linalg.svdvals(widen(a, xp))


def nuclear_norm(a: Array, xp: Namespace, *, precision: float = 0.0, below: Array | None = None) -> Array:
    """The sum of the singular values, in the accumulation precision; `nuclear_norm_within` says what `precision` saves."""
    quick = nuclear_norm_within(a, xp, precision=precision, below=below)
    return xp.sum(singular_values(a, xp)) if quick is None else quick


def nuclear_norm_within(
    a: Array, xp: Namespace, *, precision: float, below: Array | None = None, noise: Array | float = 0.0
) -> Array | None:
    """The sum of the singular values as that of the roots of the eigenvalues of A'A, in a third of the time.

    Those have errors of some eps of the largest, so that the roots of small ones may be wrong. None if these errors might
    add up to more than is allowed, and where values may not be looked at.

    Parameters
    ----------
    a : array, shape (p, q)
    precision : float
        The error that is allowed, as a share of the sum.
    below : 0-d array, optional
        A number that the sum does not exceed: the share is one of their difference, then.
    noise : 0-d array
        The root mean square of the rounding errors of the entries. Singular values s that are much larger grow by
        noise^2 max(p, q) / s on average, small ones become as large as noise itself makes them.
    """
    a = widen(a, xp)
    eps, width = float(xp.finfo(a.dtype).eps), max(a.shape)
    if precision <= _WORTH * eps or is_lazy(a):
        return None
    gram = a.mT @ a if a.shape[1] <= a.shape[0] else a @ a.mT
    squares = xp.linalg.eigvalsh(gram)
    # Rows and columns of zeros, such as those of dead units, have singular values that are exactly 0.
    zeros = int(xp.count_nonzero(detach(xp.linalg.diagonal(gram)) == 0))
    squares = squares[zeros:]
    if squares.shape[0] == 0 or not bool(squares[0] > 0):
        return None
    values = xp.sqrt(squares)
    found, known = xp.sum(values), detach(values)
    wrong = 4 * eps * width**0.5 * known[-1] ** 2
    error = xp.sum(xp.minimum(wrong / (2 * known), xp.sqrt(wrong)))
    error = error + xp.sum(xp.minimum(width * noise * noise / known, width**0.5 * noise + 0 * known))
    allowed = precision * (detach(found) if below is None else detach(below - found))
    return found if bool(error <= allowed) else None


def cholesky(a: Array, xp: Namespace) -> Array | None:
    """The lower Cholesky factor of a symmetric matrix, or None if it is not positive definite; its values are looked at."""
    if array_api_compat.is_torch_namespace(xp):
        lower, info = xp.linalg.cholesky_ex(a)
        return lower if int(info) == 0 and bool(xp.isfinite(detach(lower)[-1, -1])) else None
    try:
        lower = xp.linalg.cholesky(a)
    except np.linalg.LinAlgError:
        return None
    return lower if bool(xp.isfinite(lower[-1, -1])) else None  # some libraries answer with nan


def inverse_of_triangle(lower: Array, xp: Namespace) -> Array:
    """The inverse of a lower triangular matrix."""
    if array_api_compat.is_torch_namespace(xp):
        return xp.linalg.solve_triangular(lower, xp.eye(lower.shape[0], dtype=lower.dtype, device=lower.device), upper=False)
    p = lower.shape[0]
    if p <= _SMALL or not array_api_compat.is_numpy_namespace(xp):
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
