"""Dask arrays: lazy in, lazy out.

The score of Dask arrays is a 0-d Dask array (a lazy matrix for `simkit.pairwise`). Shapes, dtypes and frameworks are
checked at once; values when the result is computed, since a lazy array is never computed for a check. The
representations are brought together in one task that runs the index on the chunks' own framework, so they must fit into
one worker's memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed
from dask.base import tokenize

from simkit.arrays import Array
from simkit.index import Index
from simkit.spec import Specified

__all__ = ["compare", "pairwise"]


def compare(index: Index[Any], x: Array, y: Array, *, check_finite: bool) -> Array:
    """Similarity of two Dask matrices with the same, known number of rows, as a lazy 0-d array."""
    task = delayed(_compare, pure=True)(index, x, y, check_finite, dask_key_name=_key("compare", index, x, y, check_finite))
    dtype = np.result_type(x.dtype, y.dtype)
    return da.from_delayed(task, shape=(), dtype=dtype, meta=_meta(x, 0, dtype))


def pairwise(
    index: Index[Any], rows: Mapping[str, Array], columns: Mapping[str, Array] | None, *, check_finite: bool
) -> Array:
    """Similarities of all pairs of Dask matrices as a lazy array, shape (rows, columns)."""
    right = rows if columns is None else columns
    key = _key("pairwise", index, list(rows.items()), None if columns is None else list(columns.items()), check_finite)
    second = None if columns is None else dict(columns)
    task = delayed(_pairwise, pure=True)(index, dict(rows), second, check_finite, dask_key_name=key)
    everything = [*rows.values(), *right.values()]
    dtype = np.result_type(*(x.dtype for x in everything))
    return da.from_delayed(task, shape=(len(rows), len(right)), dtype=dtype, meta=_meta(everything[0], 2, dtype))


def _compare(index: Index[Any], x: Array, y: Array, check_finite: bool) -> Array:
    return index(x, y, check_finite=check_finite)


def _pairwise(index: Index[Any], rows: dict[str, Array], columns: dict[str, Array] | None, check_finite: bool) -> Array:
    from simkit.comparison import pairwise as in_memory

    return in_memory(rows, columns, index, check_finite=check_finite, progress=False).values


def _key(what: str, index: Specified, *arguments: Any) -> str:
    """Deterministic, so that the same question asked twice is answered once."""
    return f"simkit-{what}-{index.name}-{tokenize(str(index), *arguments)}"


def _meta(like: Array, ndim: int, dtype: Any) -> Any:
    """An empty array of the chunks' own framework."""
    return np.zeros_like(like._meta, shape=(0,) * ndim, dtype=dtype)
