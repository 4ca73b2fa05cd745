"""Functions of the angle between two examples, safe where they are parallel.

The derivative of acos is infinite at +-1, where rounding puts every example and itself. Within rounding of +-1 the functions
below are therefore their Taylor polynomials in the cosine, whose values and derivatives are those of the limit.
"""

from __future__ import annotations

import math

from simkit.arrays import Array, Namespace
from simkit.linalg import root, vecdot

__all__ = ["cosine_of", "j0", "j1", "j2", "squared_lengths"]


def squared_lengths(x: Array, xp: Namespace) -> Array:
    """|x_i|^2 of the rows."""
    return vecdot(x, x, xp)


def cosine_of(inner: Array, a: Array, b: Array, xp: Namespace) -> Array:
    """inner_ij / sqrt(a_i b_j), in [-1, 1]; 0 where a length is 0, which leaves the angle at a right one."""
    lengths = root(a, xp)[:, None] * root(b, xp)[None, :]
    return xp.clip(xp.where(lengths > 0, inner / xp.where(lengths > 0, lengths, 1.0), 0.0), min=-1.0, max=1.0)


def _apart(c: Array, xp: Namespace) -> tuple[Array, Array, Array]:
    """Where neither parallel nor opposite, the cosine there (0 elsewhere), and the sine."""
    apart = xp.abs(c) < 1 - 4 * float(xp.finfo(c.dtype).eps)
    safe = xp.where(apart, c, 0.0)
    return apart, safe, xp.sqrt(1 - safe * safe)


def j0(c: Array, xp: Namespace) -> Array:
    """pi - theta, for theta = acos(c)."""
    apart, safe, _ = _apart(c, xp)
    return xp.where(apart, math.pi - xp.acos(safe), math.pi * xp.astype(c > 0, c.dtype))


def j1(c: Array, xp: Namespace) -> Array:
    """sin(theta) + (pi - theta) cos(theta); pi c near c = 1, and 0 near c = -1."""
    apart, safe, sine = _apart(c, xp)
    return xp.where(apart, sine + (math.pi - xp.acos(safe)) * safe, xp.where(c > 0, math.pi * c, 0.0))


def j2(c: Array, xp: Namespace) -> Array:
    """3 sin(theta) cos(theta) + (pi - theta)(1 + 2 cos(theta)^2); pi (1 + 2 c^2) near c = 1, and 0 near c = -1."""
    apart, safe, sine = _apart(c, xp)
    inside = 3 * sine * safe + (math.pi - xp.acos(safe)) * (1 + 2 * safe * safe)
    return xp.where(apart, inside, xp.where(c > 0, math.pi * (1 + 2 * c * c), 0.0))
