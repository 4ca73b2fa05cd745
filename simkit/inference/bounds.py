"""Confidence intervals as numbers: their ends, their confidence, quantiles of the normal and of Student's t distribution."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from simkit.errors import SpecError
from simkit.spec import check_number

__all__ = ["NORMAL", "Interval", "check_confidence", "percent", "t_quantile"]

NORMAL = NormalDist()
_EXACT = 200  # degrees of freedom up to which the t distribution is summed


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def check_confidence(confidence: float) -> None:
    """Raise `SpecError` unless 0 < confidence < 1."""
    check_number("inference", "confidence", confidence, above=0)
    if confidence >= 1:
        raise SpecError(f"inference: confidence={confidence!r}; expected a number below 1, such as 0.95.")


def percent(confidence: float) -> str:
    """0.95 as ``95 %``."""
    return f"{100 * confidence:g} %"


def t_quantile(probability: float, freedom: int) -> float:
    """The quantile above 1/2 of Student's t distribution with a whole number of degrees of freedom.

    By bisection of the finite sums in Abramowitz & Stegun 26.7.3 and 26.7.4; or by Fisher's expansion where these are long.
    """
    z = NORMAL.inv_cdf(probability)
    if freedom > _EXACT:
        terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
    low, high, wanted = 0.0, 2.0, 2 * probability - 1
    while _inside(high, freedom) < wanted:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < wanted else (low, middle)
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """The probability between -t and t."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine2 = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    series = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine2 * (k - 1) / k
        series += term
    return 2 / math.pi * (angle + math.sin(angle) * series) if odd else math.sin(angle) * series
