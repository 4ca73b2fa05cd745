"""How a matrix came about, in terms of JSON: for reports, and for whoever finds the file a year later."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import array_api_compat
import numpy as np

from simkit import __version__
from simkit.arrays import Array, dtype_name, is_compiling, is_lazy, written_library
from simkit.discovery import OWN, distribution_of

if TYPE_CHECKING:
    from simkit.planner import Plan

__all__ = ["origin"]


def origin(plan: Plan, arrays: Iterable[Array]) -> dict[str, Any]:
    """The general part of `SimilarityMatrix.details`; it takes microseconds, and no value is read.

    Parameters
    ----------
    plan : Plan
        How the scores are computed.
    arrays : iterable of array
        What they are computed from: the layers, or of batches that are gone the scores.
    """
    if is_compiling():
        return {}
    arrays = tuple(arrays)
    first = arrays[0]
    kernel = plan.index.kernel_estimator
    found = {
        "library": written_library(type(first)),  # type: ignore[arg-type]  # classes are hashable
        "dtype": ", ".join(dict.fromkeys(map(dtype_name, arrays))),
        "versions": dict(_versions(type(plan.index), type(None if kernel is None else kernel.kernel))),  # type: ignore[arg-type]
        "route": plan.route,
    }
    if not is_lazy(first):
        found["device"] = str(array_api_compat.device(first))
    return found


@lru_cache(256)
def _versions(*classes: type) -> dict[str, str]:
    """Of simkit, of NumPy, and of the distributions that offer these classes."""
    offered = map(distribution_of, classes)
    return {OWN: __version__, "numpy": np.__version__} | dict(sorted(found for found in offered if found is not None))
