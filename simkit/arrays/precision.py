"""The precision of values: that which they were given in, that which is computed in, and that of sums."""

from __future__ import annotations

import math
import re
import sys
from functools import lru_cache
from typing import Any

import numpy as np

from simkit.arrays.conversion import as_array, numpy_dtype
from simkit.arrays.integers import check_exact, outside, width_of
from simkit.arrays.libraries import Array, Namespace, dtype_name, is_instance, is_lazy, library_of, namespace_of
from simkit.arrays.refusals import expression
from simkit.errors import InvalidDtypeError

__all__ = ["accumulation_dtype", "as_floating", "in_one_precision", "in_precision_of", "rounding_of"]

_DOUBLE = np.dtype(np.float64)


def as_floating(x: Array, name: str, xp: Namespace) -> Array:
    """`x` in float32 or float64: integers and bools to the namespace's default float, half precision to float32."""
    dtype = dtype_name(x)
    if dtype in ("float32", "float64"):  # as NumPy writes it, with bytes in the order of this machine
        return x
    if isinstance(x, np.ndarray) and not x.dtype.isnative:  # from a file written on another machine, say
        return as_floating(x.astype(x.dtype.newbyteorder("=")), name, xp)
    if dtype in ("float16", "bfloat16") or dtype.startswith("float8"):
        return x.astype(np.float32) if isinstance(x, np.ndarray) else xp.astype(x, xp.float32)
    if dtype in ("float128", "float96", "longdouble"):
        return xp.astype(x, xp.float64)  # LAPACK stops at double precision
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return _from_integers(x, name, xp)
    code = expression(name)
    hint = {
        "complex": f"Compare {code}.real and {code}.imag, or stack them: concatenate([{code}.real, {code}.imag], axis=1).",
        "object": f"Convert it: numpy.asarray({code}, dtype=float).",
    }.get(dtype.rstrip("0123456789"), "Representations are matrices of numbers.")
    raise InvalidDtypeError(f"{name} has dtype {dtype}; expected real numbers (floating, integer or bool). {hint}")


def _from_integers(x: Array, name: str, xp: Namespace) -> Array:
    """Integers and bools in the default precision, or in float64 where that would round them.

    Raises
    ------
    InvalidDtypeError
        Some are rounded in every precision there is.
    """
    default = xp.__array_namespace_info__().default_dtypes()["real floating"]
    if dtype_name(x) == "bool" or is_lazy(x) or (library_of(x) == "torch" and "uint" in dtype_name(x)):
        return xp.astype(x, default)
    wide = xp.__array_namespace_info__().dtypes(kind="real floating").get("float64", default)
    digits = _digits(default, xp)
    if digits < _digits(wide, xp) and width_of(x) > digits and bool(xp.any(outside(x, 2**digits))):
        default = wide
    check_exact(x, name, _digits(default, xp), xp)
    return xp.astype(x, default)


def _digits(dtype: Any, xp: Namespace) -> int:
    """Binary digits that a floating-point dtype holds."""
    return 1 - round(math.log2(float(xp.finfo(dtype).eps)))


def in_one_precision(*arrays: Array) -> list[Array]:
    """Floating arrays of one framework in their common precision: float64 if any of them is."""
    if len({x.dtype for x in arrays}) == 1:
        return list(arrays)
    xp = namespace_of(*arrays)
    dtype = xp.result_type(*(x.dtype for x in arrays))
    return [xp.astype(x, dtype, copy=False) for x in arrays]


def in_precision_of(y: Array, x: Array, xp: Namespace) -> Array:
    """`y` in the precision that `x` was given in; `y` itself if that is of integers or bools."""
    if dtype_name(x).startswith(("int", "uint", "bool")):
        return y
    return y.astype(x.dtype, copy=False) if isinstance(y, np.ndarray) else xp.astype(y, x.dtype, copy=False)


def accumulation_dtype(x: Array, xp: Namespace) -> Any:
    """dtype for sums and for p x p algebra: float64 where the framework and the device of `x` have it."""
    library = library_of(x)
    if library in ("numpy", "cupy", "dask"):
        return _DOUBLE
    if library == "torch":
        return x.dtype if x.device.type == "mps" else xp.float64
    if library == "jax":
        return sys.modules["jax"].dtypes.canonicalize_dtype(_DOUBLE)  # float32, unless the user has enabled float64
    return xp.__array_namespace_info__().dtypes(kind="real floating").get("float64", x.dtype)


def rounding_of(x: Any) -> float:
    """The relative rounding error (eps) of values as they were given; 0 if unknown, or if they are exact (integers).

    To be asked before `as_matrix`, which brings half precision to float32, and before layers are brought to one precision.
    Of columns of several precisions the coarsest counts.
    """
    if is_instance("pandas", "DataFrame", x):
        return max((_eps(numpy_dtype(column)) for column in x.dtypes), default=0.0)
    if library_of(x) != "other":
        return _known_eps(x.dtype)
    return _eps(x.dtype if hasattr(x, "dtype") else as_array(x, "X").dtype)


def _eps(dtype: Any) -> float:
    """2 to the minus the bits of the mantissa, the leading one not counted; 0 for what is no floating type up to float64."""
    name = dtype.name if isinstance(dtype, np.dtype) else str(dtype).rpartition(".")[2]  # not ">f4"
    known = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    small = re.match(r"float8_e\d+m(\d+)", name)
    bits = int(small[1]) if small else known.get(name)
    return 0.0 if bits is None else 2.0**-bits


_known_eps = lru_cache(256)(_eps)
