"""Division, roots and scaling that stay in range and keep finite gradients: at zero, and where squares would overflow."""

from __future__ import annotations

from simkit.arrays import Array, Namespace, constant_of, detach

__all__ = ["is_ordinary", "power_of_two", "powers_of_two", "ratio", "root"]


def ratio(a: Array, b: Array, xp: Namespace) -> Array:
    """a / b, and nan without a warning or an infinite gradient where b is 0."""
    zero = b == 0
    return xp.where(zero, float("nan"), a / xp.where(zero, 1.0, b))


def root(x: Array, xp: Namespace) -> Array:
    """Square root of max(x, 0) whose gradient at 0 is 0 instead of infinite."""
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, 1.0)), 0.0)


def power_of_two(x: Array, xp: Namespace) -> Array:
    """A power of two near the largest absolute entry, a 0-d array; 1 if all are zero or the largest is not finite.

    Division by it is exact, and after it squares neither overflow nor vanish.
    """
    return powers_of_two(detach(xp.max(xp.stack([xp.max(x), -xp.min(x)]))), xp)


def powers_of_two(largest: Array, xp: Namespace) -> Array:
    """Powers of two at or just below non-negative numbers; 1 for those that are zero or not finite."""
    usable = xp.logical_and(largest > 0, xp.isfinite(largest))
    exponent = xp.floor(xp.log2(xp.where(usable, largest, 1.0)))
    return xp.clip(xp.pow(constant_of(2.0, largest, xp), exponent), min=float(xp.finfo(largest.dtype).smallest_normal))


def is_ordinary(scale: Array, xp: Namespace) -> Array:
    """Whether fourth powers of numbers near `scale`, and sums of very many of them, are in range."""
    limit = float(xp.finfo(scale.dtype).max) ** 0.2
    return xp.logical_and(scale <= limit, scale >= 1 / limit)
