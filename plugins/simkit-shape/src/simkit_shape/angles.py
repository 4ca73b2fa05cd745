"""From a cosine to a distance: near 1 a cosine has lost half of the digits of its angle, so rounding counts as equal."""

from __future__ import annotations

from simkit.arrays import Array, Namespace

__all__ = ["angle_of", "differs"]


def differs(cosine: Array) -> Array:
    """Whether a cosine is below 1 by more than rounding."""
    return 1 - cosine > 1e-14


def angle_of(cosine: Array, xp: Namespace) -> Array:
    """arccos of a cosine in [0, 1]: exactly 0 for equal shapes, nan stays nan, and the gradient is finite."""
    apart = differs(cosine)
    angle = xp.where(apart, xp.acos(xp.where(apart, cosine, 0.0)), 0.0)
    return xp.where(xp.isnan(cosine), cosine, angle)
