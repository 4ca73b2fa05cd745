"""Factors of a matrix: its singular values, triangle, a narrow copy, the root of its square."""

from __future__ import annotations

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach
from simkit.linalg.products import widen

__all__ = ["compact", "singular_values", "symmetric_root", "triangle"]


def singular_values(a: Array, xp: Namespace) -> Array:
    """Singular values, descending, in the accumulation precision."""
    return xp.linalg.svdvals(widen(a, xp))


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
