"""Division, roots and scaling that stay in range and keep finite gradients: at zero, and where squares would overflow."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from simkit.arrays import Array, Namespace, constant_of, detach, is_at_hand, library_of, on_host

__all__ = ["in_one", "is_ordinary", "power_at_hand", "power_of_two", "powers_of_two", "ratio", "root"]


def in_one(function: Callable[..., Array], *arrays: Array) -> Array:
    """``function(*arrays)``, in JAX compiled into one operation: each that is called by itself costs as much as all."""
    return _compiled(function)(*arrays) if library_of(arrays[0]) == "jax" else function(*arrays)


@lru_cache
def _compiled(function: Callable[..., Array]) -> Callable[..., Array]:
    compiled: Callable[..., Array] = sys.modules["jax"].jit(function)
    return compiled


def ratio(a: Array, b: Array, xp: Namespace) -> Array:
    """a / b, and nan without a warning or an infinite gradient where b is 0."""
    if library_of(b) == "numpy":  # of which nobody asks for gradients
        return a / np.where(b == 0, np.nan, b)
    zero = b == 0
    return xp.where(zero, float("nan"), a / xp.where(zero, 1.0, b))


def root(x: Array, xp: Namespace) -> Array:
    """Square root of max(x, 0) whose gradient at 0 is 0 instead of infinite."""
    if library_of(x) == "numpy":
        return np.sqrt(np.fmax(x, 0.0))
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, 1.0)), 0.0)


def power_of_two(x: Array, xp: Namespace) -> Array:
    """A power of two near the largest absolute entry, a 0-d array; 1 if all are zero or the largest is not finite.

    Division by it is exact, and after it squares neither overflow nor vanish.
    """
    power = power_at_hand(x, xp)
    if power is not None:
        return constant_of(power, x, xp)
    x = detach(x)
    return powers_of_two(xp.max(xp.stack([xp.max(x), -xp.min(x)])), xp)


def power_at_hand(x: Array, xp: Namespace) -> float | None:
    """`power_of_two` as a number, where a look at the values of `x` costs nothing; None elsewhere."""
    if not is_at_hand(x):
        return None
    host = on_host(x)
    low, high = xp.aminmax(detach(x)) if library_of(host) == "torch" else (host.min(), host.max())
    return _power_of_two(max(float(high), -float(low)), x.dtype, xp)


def powers_of_two(largest: Array, xp: Namespace) -> Array:
    """Powers of two at or just below non-negative numbers; 1 for those that are zero or not finite."""
    largest = detach(largest)
    if largest.ndim == 0 and is_at_hand(largest):
        return constant_of(_power_of_two(float(largest), largest.dtype, xp), largest, xp)
    usable = xp.logical_and(largest > 0, xp.isfinite(largest))
    exponent = xp.floor(xp.log2(xp.where(usable, largest, 1.0)))
    return xp.clip(xp.pow(constant_of(2.0, largest, xp), exponent), min=float(xp.finfo(largest.dtype).smallest_normal))


def _power_of_two(largest: float, dtype: Any, xp: Namespace) -> float:
    """`powers_of_two` of a number."""
    if not 0 < largest < math.inf:
        return 1.0
    return max(math.ldexp(0.5, math.frexp(largest)[1]), float(xp.finfo(dtype).smallest_normal))


def is_ordinary(scale: Array, xp: Namespace) -> Array:
    """Whether fourth powers of numbers near `scale`, and sums of very many of them, are in range."""
    limit = float(xp.finfo(scale.dtype).max) ** 0.2
    return xp.logical_and(scale <= limit, scale >= 1 / limit)
