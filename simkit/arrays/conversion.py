"""What users pass, as an array of its own library: lists, data frames and other array-likes become NumPy arrays."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from simkit.arrays.chunks import as_declared
from simkit.arrays.integers import check_exact
from simkit.arrays.libraries import Array, is_compiling, is_dask, is_instance, library_of
from simkit.arrays.refusals import expression, refuse
from simkit.errors import InvalidArrayError, SimkitError

__all__ = ["as_array", "numpy_dtype"]


def as_array(x: Any, name: str) -> Array:
    """`x` as an array of its own framework; lists, data frames and other array-likes become NumPy arrays."""
    if not is_compiling():
        refuse(x, name)
    if isinstance(x, np.matrix):
        return np.asarray(x)
    if is_dask(x):
        return as_declared(x, name)
    if library_of(x) != "other" or array_api_compat.is_array_api_obj(x):
        return x
    if is_instance("xarray", "DataArray", x):
        return as_array(x.data, name)  # a Dask array stays one
    try:
        if is_instance("pandas", "DataFrame", x):
            array = _as_numpy(x, name)
        elif hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            array = _from_dlpack(x, name)
        else:
            array = np.asarray(x)
    except SimkitError:
        raise
    except Exception as error:  # any class may offer itself as an array, and fail in any way
        reason = " ".join(str(error).split()).rstrip(".")
        hint = "Expected an array or nested lists of shape (n, p)."
        if isinstance(x, list | tuple) and x and library_of(x[0]) == "torch":
            hint = f"Tensors of one shape are put together by torch.stack({expression(name)})."
        raise InvalidArrayError(f"{name} (a {type(x).__name__}) cannot be made into one array: {reason}. {hint}") from None
    if array.ndim == 0 and array.dtype == object:
        raise InvalidArrayError(f"{name} is a {type(x).__name__}; expected an array or nested lists of shape (n, p).")
    return array


def _from_dlpack(x: Any, name: str) -> np.ndarray:
    try:
        return np.from_dlpack(x)
    except (BufferError, RuntimeError) as error:  # not on the host, or of a dtype that NumPy does not have
        raise InvalidArrayError(
            f"{name} (a {type(x).__name__}) offers its memory by DLPack only, and NumPy cannot take it: {error} "
            f"Pass an array of a library that can, such as torch.from_dlpack({name})."
        ) from None


def _as_numpy(frame: Any, name: str) -> np.ndarray:
    """A data frame as one array of numbers, also where NumPy makes objects: nullable columns, bools among numbers."""
    dtypes = [numpy_dtype(column) for column in frame.dtypes]
    array: np.ndarray = np.asarray(frame)
    if array.dtype.kind == "f":  # pandas has rounded integers beside floats
        for place, dtype in enumerate(dtypes):
            column = frame.iloc[:, place]
            if dtype is not None and dtype.kind in "iu" and not column.isna().any():
                check_exact(column.to_numpy(dtype=dtype), f"column {frame.columns[place]!r} of {name}", 53, np)
    if array.dtype != object or not all(dtype is not None and dtype.kind in "biuf" for dtype in dtypes):
        return array
    if bool(frame.isna().to_numpy().any()):
        return frame.to_numpy(dtype=np.result_type(np.float32, *dtypes), na_value=np.nan)
    return frame.to_numpy(dtype=np.result_type(*dtypes))


def numpy_dtype(column: Any) -> np.dtype | None:
    """NumPy's dtype for a dtype of pandas: itself, or that of nullable or Arrow numbers or of the values of a sparse one."""
    found = getattr(column, "numpy_dtype", getattr(column, "subtype", column))
    return found if isinstance(found, np.dtype) else None
