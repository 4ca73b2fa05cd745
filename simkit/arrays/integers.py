"""Integers that floating-point numbers do not hold: numbers that identify, and times, rather than activations."""

from __future__ import annotations

from typing import Any

from simkit.arrays.refusals import expression
from simkit.errors import InvalidDtypeError

__all__ = ["check_exact", "first_inexact", "outside", "width_of"]


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


def check_exact(x: Any, name: str, digits: int, xp: Any) -> None:
    """Raise `InvalidDtypeError` if an integer is rounded in a precision of so many binary digits."""
    found = first_inexact(x, digits, xp)
    if found is None:
        return
    value, where = found
    code, place = expression(name), f"row {where[0]}" + (f", column {where[1]}" if len(where) == 2 else "")
    raise InvalidDtypeError(
        f"{name} holds integers beyond 2^{digits}, which float{64 if digits == 53 else 32} rounds, the first {value} at "
        f"{place}. Numbers that identify, or times, are no features: leave that column out. If they are, take off what all "
        f"have in common first: {code} - {code}.min(axis=0)."
    )
