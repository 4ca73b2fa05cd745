"""Numbers of a matrix as text: all with as many digits after the point, none hidden, no minus before a zero."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["digits_for", "written"]

_SMALLEST = -4  # powers of ten of the largest number on a scale beyond which numbers have exponents
_LARGEST = 5


def digits_for(size: float, decimals: int = 3) -> int | None:
    """How many digits after the point numbers have on a scale.

    Parameters
    ----------
    size : float
        The largest absolute value that the scale has room for; see `Scale.size`.
    decimals : int
        Digits after the point on a scale of similarities, up to 10. Larger numbers have fewer, smaller ones more.

    Returns
    -------
    int or None
        None where numbers are so large or so small that they are written with exponents.
    """
    if not math.isfinite(size) or size == 0:
        return decimals
    power = math.floor(math.log10(size))
    if not _SMALLEST <= power <= _LARGEST:
        return None
    return max(decimals - power, 0) if power >= 0 else decimals - 1 - power


def written(size: float, decimals: int = 3) -> Callable[[float], str]:
    """A function that writes the numbers of one scale, all alike; arguments as of `digits_for`.

    Examples
    --------
    >>> [written(1.0)(x) for x in (0.5, -0.0001, 1.0, float("nan"))]
    ['0.500', '0.000', '1.000', 'nan']
    >>> [written(312.0)(x) for x in (3.9, 4, 312.04)]
    ['3.9', '4.0', '312.0']
    """
    digits = digits_for(size, decimals)

    def write(value: float) -> str:
        value = float(value)
        if not math.isfinite(value):
            return str(value)
        if digits is None or abs(value) >= 10 ** (_LARGEST + 1):
            return f"{value:.{max(decimals - 1, 0)}e}"
        return f"{round(value, digits) + 0.0:.{digits}f}"  # -0.0 + 0.0 is 0.0

    return write
