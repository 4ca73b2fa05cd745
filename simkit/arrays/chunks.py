"""Dask arrays whose chunks are what the array declares.

Dask believes what a user says of shapes and dtypes, and cuts, joins and casts by it; a chunk that is anything else gives
another number, or an error from the depth of a worker. So each chunk is looked at when it is computed, in the task that
computes it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import array_api_compat
import numpy as np

from simkit.arrays.integers import first_inexact
from simkit.arrays.libraries import dtype_name
from simkit.errors import InvalidArrayError, InvalidDtypeError

__all__ = ["as_declared"]


def as_declared(x: Any, name: str) -> Any:
    """`x`, a Dask array, with an `InvalidArrayError` for each chunk that has not the declared kind, shape and dtype."""
    import dask.array as da
    from dask.base import tokenize
    from dask.layers import ArrayValuesDep

    if x.name.startswith(_PREFIX):
        return x
    places: list[Any] = []
    axes = tuple(range(x.ndim))
    for axis, sizes in enumerate(x.chunks):
        ends = np.cumsum((0, *sizes))
        values = np.empty(len(sizes), dtype=object)
        values[:] = list(pairwise(ends.tolist()))
        # Constant in size however many chunks there are: a value for each place, not a task argument for each chunk.
        places += [ArrayValuesDep(((1,) * len(sizes),), values), (axis,)]
    return da.blockwise(
        _checked,
        axes,
        x,
        axes,
        *places,
        declared=dtype_name(x),
        name_of_array=name,
        dtype=x.dtype,
        meta=x._meta,
        align_arrays=False,
        name=f"{_PREFIX}{tokenize(x.name)}",
    )


_PREFIX = "simkit-as-declared-"


def _checked(chunk: Any, *ends: tuple[float, float], declared: str, name_of_array: str) -> Any:
    """A chunk that reaches along each axis from one end to the other."""
    wanted = tuple(b - a for a, b in ends)
    where = f"The chunk of {name_of_array} that begins at {tuple(a for a, _ in ends)}"
    if isinstance(chunk, np.ma.MaskedArray) or not array_api_compat.is_array_api_obj(chunk):
        raise InvalidArrayError(
            f"{where} is a {type(chunk).__module__.partition('.')[0]} {type(chunk).__name__}; expected a dense array "
            f"without a mask. Make each chunk one, by {name_of_array}.map_blocks and a function of your own."
        )
    shape = tuple(chunk.shape)
    if len(shape) != len(wanted) or any(a != b and not math.isnan(b) for a, b in zip(shape, wanted, strict=True)):
        raise InvalidArrayError(
            f"{where} has shape {shape}, where {name_of_array} declares {wanted}. Declare what the chunks are: give "
            "map_blocks, from_delayed or from_array the true chunks."
        )
    if dtype_name(chunk) != declared:
        raise InvalidArrayError(
            f"{where} has dtype {chunk.dtype}, where {name_of_array} declares {declared}. Declare what the chunks are: "
            "give map_blocks, from_delayed or from_array the true dtype."
        )
    found = first_inexact(chunk, 53, array_api_compat.array_namespace(chunk)) if "int" in declared else None
    if found is not None:
        raise InvalidDtypeError(
            f"{where} holds integers beyond 2^53, which float64 rounds, the first {found[0]}. Numbers that identify, or "
            "times, are no features: leave that column out. If they are, take off what all have in common first: "
            f"{name_of_array} - {name_of_array}.min(axis=0)."
        )
    return chunk
