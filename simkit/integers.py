"""Integers that floating-point numbers do not hold: numbers that identify, and times, rather than activations."""

from __future__ import annotations

from typing import Any

__all__ = ["first_inexact", "outside", "width_of"]


def width_of(x: Any) -> int:
    """Bits of the dtype of an array of integers."""
    return int("".join(filter(str.isdigit, str(x.dtype).rpartition(".")[2])))


def outside(x: Any, limit: int) -> Any:
    """Which entries of an array of integers are beyond +-`limit`, a number of its dtype; a boolean array."""
    large = x > limit
    return large if "uint" in str(x.dtype) else large | (x < -limit)


def first_inexact(x: Any, digits: int, xp: Any) -> tuple[int, tuple[int, ...]] | None:
    """The first integer that is rounded in a precision of so many binary digits, and its place; None if there is none.

    Parameters
    ----------
    x : array of integers, any shape
    digits : int
        53 for float64, 24 for float32.
    xp : module
        The namespace of `x`.
    """
    width = width_of(x)
    if width <= digits or 0 in x.shape:
        return None
    bad = outside(x, 2**digits)
    if not bool(xp.any(bad)):
        return None
    bad = bad & (x % 2 ** (width - digits) != 0)  # even the largest hold multiples of this
    if not bool(xp.any(bad)):
        return None
    place, at = int(xp.argmax(xp.reshape(xp.astype(bad, xp.int32), (-1,)))), []
    for size in reversed(x.shape):
        place, rest = divmod(place, size)
        at.append(rest)
    where = tuple(reversed(at))
    return int(x[where]), where
