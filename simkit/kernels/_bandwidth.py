"""Bandwidths that follow the data: a fraction of the median distance between examples."""

from __future__ import annotations

from typing import Protocol

import array_api_compat

from simkit.arrays import Array, namespace_of
from simkit.spec import check_number


class _HasBandwidth(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def fraction(self) -> float: ...
    @property
    def sigma(self) -> object: ...


def check_bandwidth(kernel: _HasBandwidth) -> None:
    """Raise `SpecError` for a bandwidth that is not positive; a fitted one is an array and was found, not given."""
    check_number(kernel.name, "fraction", kernel.fraction, above=0)
    if kernel.sigma is not None and not array_api_compat.is_array_api_obj(kernel.sigma):
        check_number(kernel.name, "sigma", kernel.sigma, above=0)


def bandwidth(median: Array, fraction: float) -> Array:
    """`fraction` times a median distance, a 0-d array; nan if it is 0, as then no scale can be read off the data."""
    return fraction * namespace_of(median).where(median > 0, median, float("nan"))
