"""Numbers of a matrix for columns of text: as short as their range allows, and none of them a zero that is not one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from simkit.display import written

__all__ = ["Writer", "spread", "writer"]

Writer: TypeAlias = Callable[[float], str]

_LARGEST = 6  # digits before the point up to which numbers are written out
_NOTHING = 0.005  # scores bounded by 1 that are all smaller than this would look like zeros


def writer(values: np.ndarray, decimals: int, *, bounded: bool = False, zero: bool = True) -> Writer:
    """A function that writes the numbers of one matrix.

    All have the same number of decimals, fewer where the largest is larger than 10. Where some would be nothing but zeros
    then, or the largest would need an exponent, each has `decimals` significant digits instead.

    Parameters
    ----------
    values : array of float
        All that will be written.
    decimals : int
        Digits after the point of numbers below 10, at least 1.
    bounded : bool
        Scores of this index are at most 1 in size, so that what is rounded to 0 there is next to nothing, and may be.
    zero : bool
        Keep the zero before the point.
    """
    sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    least, largest = (float(sizes.min()), float(sizes.max())) if sizes.size else (1.0, 1.0)
    write = written(1.0 if bounded else largest, decimals)
    hidden = largest < _NOTHING if bounded else float(write(least)) == 0
    if hidden or "e" in write(largest):
        write = _significant(decimals)
    return write if zero else lambda value: _without_zero(write(value))


def _significant(digits: int) -> Writer:
    def write(value: float) -> str:
        value = float(value)
        if value == 0 or not math.isfinite(value):
            return "0" if value == 0 else str(value)
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        power = int(exponent)
        if -3 <= power < _LARGEST:
            return f"{value:.{max(digits - 1 - power, 0)}f}"
        return f"{mantissa}e{power}"

    return write


def _without_zero(number: str) -> str:
    return number.replace("0.", ".", 1) if number.startswith(("0.", "-0.")) else number


def spread(values: Sequence[float] | np.ndarray, write: Writer) -> str:
    """The range of some numbers, such as ``.12 to .80``, or the one that they all are."""
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if not known.size:
        return "nan"
    least, most = write(float(known.min())), write(float(known.max()))
    return least if least == most else f"{least} to {most}"
