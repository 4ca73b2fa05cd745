"""The door: any framework's array in, a checked real matrix of n examples out.

The design must satisfy:

- frameworks are recognised without being imported (``array_api_compat`` looks in ``sys.modules``);
- what enters as float32 on a GPU is still float32 on that GPU afterwards;
- every complaint is made here, before any work starts, and says what to do about it;
- a lazy array (Dask, a JAX tracer) is never computed for the sake of a check.

This file is the only one that knows frameworks by name, besides ``refusals.py``, ``chunks.py``, ``linalg.py``,
``scale/dask.py`` and ``torch/``.
"""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import array_api_compat
import numpy as np

from simkit.chunks import as_declared
from simkit.errors import ConstantInputWarning, InvalidArrayError, InvalidDtypeError, MixedArraysError, SimkitError
from simkit.forks import is_forked, threads_are_missing
from simkit.integers import first_inexact, outside, width_of
from simkit.labels import check_labels
from simkit.refusals import expression, refuse
from simkit.text import printable

__all__ = [
    "Array",
    "Channels",
    "Maps",
    "Namespace",
    "accumulation_dtype",
    "as_examples",
    "as_floating",
    "as_matrix",
    "as_pair",
    "check_one_rule",
    "check_same_examples",
    "check_same_framework",
    "check_values",
    "constant_of",
    "describe",
    "detach",
    "in_one_precision",
    "is_compiling",
    "is_constant",
    "is_dask",
    "is_lazy",
    "is_undefined",
    "namespace_of",
    "nan_if_constant",
    "placement",
    "rounding_of",
    "to_numpy",
    "undefined_score",
    "warn_caller",
]

# The Array API standard defines protocols, not classes; a static name for "an array of any framework" does not exist yet.
Array: TypeAlias = Any
Namespace: TypeAlias = Any
Maps: TypeAlias = Literal["flatten", "mean", "spatial"]
Channels: TypeAlias = Literal["first", "last"]


# --- recognising frameworks --------------------------------------------------------------------------------------------


def namespace_of(*arrays: Array) -> Namespace:
    """Array API namespace shared by `arrays`, wrapped by array-api-compat where the library itself deviates."""
    return array_api_compat.array_namespace(*arrays)


def is_dask(x: Array) -> bool:
    """Whether `x` is a Dask array."""
    return array_api_compat.is_dask_array(x)


def is_lazy(x: Array) -> bool:
    """Whether reading a value of `x` would start a computation or fail: Dask arrays, JAX tracers, torch under transforms."""
    if array_api_compat.is_dask_array(x):
        return True
    if array_api_compat.is_jax_array(x):
        # Under jax.jit every operation is traced, also one of arrays that the traced function closes over.
        tracer = sys.modules["jax"].core.Tracer
        return isinstance(x, tracer) or isinstance(x[(0,) * x.ndim] if 0 not in x.shape else x, tracer)
    if array_api_compat.is_torch_array(x):
        torch = sys.modules["torch"]
        return is_compiling() or x.is_meta or _is_batched(x, torch._C._functorch)
    return False


def is_compiling() -> bool:
    """Whether torch.compile is tracing the caller."""
    return "torch" in sys.modules and bool(sys.modules["torch"].compiler.is_compiling())


def _is_batched(x: Array, functorch: Any) -> bool:
    """Whether a tensor stands for many under torch.func.vmap, perhaps inside another transform."""
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


def detach(x: Array) -> Array:
    """`x` as a constant for automatic differentiation; `x` itself where the framework has none."""
    if array_api_compat.is_torch_array(x):
        return x.detach()
    if array_api_compat.is_jax_array(x):
        return sys.modules["jax"].lax.stop_gradient(x)
    return x


def wants_gradients(x: Array) -> bool:
    """Whether derivatives with respect to `x` may be asked for: PyTorch says so, JAX traces (`is_lazy`)."""
    if not array_api_compat.is_torch_array(x):
        return False
    torch = sys.modules["torch"]
    return bool(x.requires_grad) or torch._C._functorch.is_functorch_wrapped_tensor(x) or _is_dual(x, torch)


def _is_dual(x: Array, torch: Any) -> bool:
    return torch.autograd.forward_ad.unpack_dual(x).tangent is not None if torch.is_grad_enabled() else False


def unwritable(x: Array) -> Array:
    """The values of `x` in an array through which `x` cannot be written into: a read-only view, or else a copy."""
    if array_api_compat.is_numpy_array(x):
        view = x.view()
        view.flags.writeable = False
        return view
    if array_api_compat.is_torch_array(x):
        return x.clone()  # gradients flow through it
    if array_api_compat.is_jax_array(x) or is_dask(x):
        return x
    return namespace_of(x).asarray(x, copy=True)


def accumulation_dtype(x: Array, xp: Namespace) -> Any:
    """dtype for sums and for p x p algebra: float64 where the framework and the device of `x` have it."""
    if array_api_compat.is_torch_array(x) and x.device.type == "mps":
        return x.dtype
    return xp.__array_namespace_info__().dtypes(kind="real floating").get("float64", x.dtype)


def placement(like: Array) -> dict[str, Any]:
    """Keyword arguments that create an array on the device of `like`; none for a lazy array that has no device yet."""
    known = array_api_compat.is_torch_array(like) or not is_lazy(like)
    return {"device": array_api_compat.device(like)} if known else {}


def constant_of(value: float | Sequence[Any] | np.ndarray, like: Array, xp: Namespace) -> Array:
    """`value` as an array in the namespace and dtype and on the device of `like`."""
    return xp.asarray(value, dtype=like.dtype, **placement(like))


def to_numpy(x: Array) -> np.ndarray:
    """Copy an array of any framework and device to NumPy on the host (a Dask array is computed)."""
    if isinstance(x, np.ndarray):
        return x
    if array_api_compat.is_torch_array(x):
        return x.detach().cpu().numpy()
    if array_api_compat.is_cupy_array(x):
        return x.get()
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    return np.asarray(x)


def describe(x: Array) -> str:
    """How a user would name this array: ``torch.Tensor on cuda:0``."""
    kind = type(x)
    if array_api_compat.is_jax_array(x):
        name = "jax.Array"
    elif array_api_compat.is_dask_array(x):
        name = "dask.array.Array"
    else:
        name = f"{kind.__module__.split('.')[0]}.{kind.__qualname__}"
    if is_lazy(x) or array_api_compat.is_numpy_array(x):
        return name
    return f"{name} on {array_api_compat.device(x)}"


# --- one array -----------------------------------------------------------------------------------------------------------


def _as_array(x: Any, name: str) -> Array:
    """`x` as an array of its own framework; lists, data frames and other array-likes become NumPy arrays."""
    if not is_compiling():
        refuse(x, name)
    if isinstance(x, np.matrix):
        return np.asarray(x)
    if array_api_compat.is_dask_array(x):
        return as_declared(x, name)
    if array_api_compat.is_array_api_obj(x):
        return x
    if _is("xarray", "DataArray", x):
        return _as_array(x.data, name)  # a Dask array stays one
    try:
        if _is("pandas", "DataFrame", x):
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
        if isinstance(x, list | tuple) and x and array_api_compat.is_torch_array(x[0]):
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


def _is(module: str, kind: str, x: Any) -> bool:
    """Whether `x` is of a class of a library that is perhaps not installed, and not imported for the question."""
    return module in sys.modules and isinstance(x, getattr(sys.modules[module], kind))


def _as_numpy(frame: Any, name: str) -> np.ndarray:
    """A data frame as one array of numbers, also where NumPy makes objects: nullable columns, bools among numbers."""
    dtypes = [_numpy_dtype(column) for column in frame.dtypes]
    array: np.ndarray = np.asarray(frame)
    if array.dtype.kind == "f":  # pandas has rounded integers beside floats
        for place, dtype in enumerate(dtypes):
            column = frame.iloc[:, place]
            if dtype is not None and dtype.kind in "iu" and not column.isna().any():
                _check_exact(column.to_numpy(dtype=dtype), f"column {frame.columns[place]!r} of {name}", 53, np)
    if array.dtype != object or not all(dtype is not None and dtype.kind in "biuf" for dtype in dtypes):
        return array
    if bool(frame.isna().to_numpy().any()):
        return frame.to_numpy(dtype=np.result_type(np.float32, *dtypes), na_value=np.nan)
    return frame.to_numpy(dtype=np.result_type(*dtypes))


def _numpy_dtype(column: Any) -> np.dtype | None:
    """NumPy's dtype for a dtype of pandas: itself, or that of nullable or Arrow numbers or of the values of a sparse one."""
    found = getattr(column, "numpy_dtype", getattr(column, "subtype", column))
    return found if isinstance(found, np.dtype) else None


def _dtype_name(x: Array) -> str:
    return str(x.dtype).removeprefix("torch.").removeprefix("array_api_strict.")


def as_floating(x: Array, name: str, xp: Namespace) -> Array:
    """`x` in float32 or float64: integers and bools to the namespace's default float, half precision to float32."""
    if isinstance(x, np.ndarray) and not x.dtype.isnative:  # from a file written on another machine, say
        x = x.astype(x.dtype.newbyteorder("="))
    dtype = _dtype_name(x)
    if dtype in ("float32", "float64"):
        return x
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
    if _dtype_name(x) == "bool" or is_lazy(x) or (array_api_compat.is_torch_array(x) and "uint" in _dtype_name(x)):
        return xp.astype(x, default)
    wide = xp.__array_namespace_info__().dtypes(kind="real floating").get("float64", default)
    digits = _digits(default, xp)
    if digits < _digits(wide, xp) and width_of(x) > digits and bool(xp.any(outside(x, 2**digits))):
        default = wide
    _check_exact(x, name, _digits(default, xp), xp)
    return xp.astype(x, default)


def _digits(dtype: Any, xp: Namespace) -> int:
    """Binary digits that a floating-point dtype holds."""
    return 1 - round(math.log2(float(xp.finfo(dtype).eps)))


def _check_exact(x: Array, name: str, digits: int, xp: Namespace) -> None:
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


def rounding_of(x: Any) -> float:
    """The relative rounding error (eps) of values as they were given; 0 if unknown, or if they are exact (integers).

    To be asked before `as_matrix`, which brings half precision to float32, and before layers are brought to one precision.
    Of columns of several precisions the coarsest counts.
    """
    if _is("pandas", "DataFrame", x):
        return max((_eps(_numpy_dtype(column)) for column in x.dtypes), default=0.0)
    return _eps(x.dtype if hasattr(x, "dtype") else _as_array(x, "X").dtype)


def _eps(dtype: Any) -> float:
    """2 to the minus the bits of the mantissa, the leading one not counted; 0 for what is no floating type up to float64."""
    name = dtype.name if isinstance(dtype, np.dtype) else str(dtype).rpartition(".")[2]  # not ">f4"
    known = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}
    small = re.match(r"float8_e\d+m(\d+)", name)
    bits = int(small[1]) if small else known.get(name)
    return 0.0 if bits is None else 2.0**-bits


def as_matrix(
    x: Any,
    name: str = "X",
    *,
    flatten: bool = False,
    maps: Maps | None = None,
    channels: Channels | None = None,
) -> Array:
    """Turn one array into a real floating matrix of examples by features, without looking at its values.

    Parameters
    ----------
    x : array of any framework, or array-like
        Shape ``(n, p)``; or ``(n, ...)`` with one of the rules below.
    name : str
        How error messages call it.
    flatten : bool
        Short for ``maps="flatten"``.
    maps : {"flatten", "mean", "spatial"}, optional
        The rule for arrays of more than two dimensions, such as convolution maps ``(n, h, w, c)``:

        - ``"flatten"``: ``(n, h*w*c)``, every unit at every position is a feature, as in the paper (section 6);
        - ``"mean"``: ``(n, c)``, the mean over positions (global average pooling);
        - ``"spatial"``: ``(n*h*w, c)``, every position of every example counts as an example.
    channels : {"first", "last"}, optional
        Where the channel axis is: ``"first"`` for ``(n, c, h, w)`` as in PyTorch, ``"last"`` for ``(n, h, w, c)``.
        Needed by ``"mean"`` and ``"spatial"``; flattening does not depend on it.

    Returns
    -------
    array, shape (n, p)
        float32 or float64, in the namespace and on the device of `x`.

    Raises
    ------
    InvalidArrayError
        The array is not a matrix and no rule says how to make it one, or it has no features.
    InvalidDtypeError
        The array holds complex numbers, objects, strings or dates.

    Warns
    -----
    RuntimeWarning
        The process was forked from one that used torch, so that torch may wait for ever.
    """
    given, x = x, _as_array(x, name)
    xp = namespace_of(x)
    if is_forked() and threads_are_missing(x):
        warn_caller(
            "This process was forked from one that had loaded torch. If torch has computed there with several threads, it "
            "will wait for them here for ever. Call torch.set_num_threads(1) first in each forked process, or start "
            'processes with multiprocessing.get_context("spawn").',
            RuntimeWarning,
        )
    if flatten and maps not in (None, "flatten"):
        raise InvalidArrayError(f"flatten=True contradicts maps={maps!r}; give one of the two.")
    rule = "flatten" if flatten else maps
    if rule is not None and rule not in get_args(Maps):
        raise InvalidArrayError(f"maps={rule!r} is not a rule; expected one of {', '.join(map(repr, get_args(Maps)))}.")
    if channels is not None and channels not in get_args(Channels):
        raise InvalidArrayError(f"channels={channels!r}; expected 'first' (n, c, h, w) or 'last' (n, h, w, c).")
    if x.ndim < 2:
        as_floating(x, name, xp)  # sentences are no numbers, whatever their shape
        label, name = name, expression(name)
        if not (hasattr(given, "reshape") or array_api_compat.is_array_api_obj(given)):  # lists, data frames
            name = f"{name}.data" if _is("xarray", "DataArray", given) else f"numpy.asarray({name})"
        how = f"{name}.reshape(-1, 1) for n examples of one feature" if x.ndim == 1 else "an array of n examples"
        raise InvalidArrayError(
            f"{label} has shape {tuple(x.shape)}; expected (n, p), n examples by p features. "
            f"Pass {how}" + (f", or {name}.reshape(1, -1) for one example." if x.ndim == 1 else ".")
        )
    x = as_floating(x, name, xp)
    if x.ndim > 2:
        x = _flatten_maps(x, name, rule, channels, xp)
    if x.shape[1] == 0:
        raise InvalidArrayError(f"{name} has shape {tuple(x.shape)}: it has no features. Expected (n, p) with p >= 1.")
    return x


def _flatten_maps(x: Array, name: str, rule: str | None, channels: str | None, xp: Namespace) -> Array:
    shape = tuple(x.shape)
    if rule is None:
        raise InvalidArrayError(
            f"{name} has shape {shape}; expected (n, p). There is no silent default for maps: choose maps='flatten' "
            "(positions and channels are features, as in the paper; short: flatten=True), maps='mean' (average over "
            "positions) or maps='spatial' (every position counts as an example); the last two also need "
            "channels='first' or channels='last'."
        )
    if rule == "flatten":
        return xp.reshape(x, (shape[0], math.prod(shape[1:])))
    if channels is None:
        raise InvalidArrayError(
            f"{name} has shape {shape}: maps={rule!r} needs to know the channel axis. Give channels='first' "
            f"({shape[1]} channels) or channels='last' ({shape[-1]} channels)."
        )
    if channels == "first":
        x = xp.moveaxis(x, 1, -1)
    if rule == "mean":
        return xp.mean(x, axis=tuple(range(1, x.ndim - 1)))
    return xp.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def as_examples(x: Array, name: str = "X", *, min_examples: int = 2, check_finite: bool = True) -> Array:
    """Check the values of a matrix from `as_matrix`: enough examples, finite.

    Parameters
    ----------
    x : array, shape (n, p)
        Real floating matrix.
    name : str
        How error messages call it.
    min_examples : int
        The fewest examples that the index is defined for.
    check_finite : bool
        Look for nan and inf. Lazy arrays are never computed for this.

    Returns
    -------
    array, shape (n, p)
        `x` itself.

    Raises
    ------
    InvalidArrayError
        Too few examples, or values that are not finite: how many, and where the first is.
    """
    n = x.shape[0]
    if n < min_examples:
        raise InvalidArrayError(
            f"{name} has shape {tuple(x.shape)}: {n} example{'s' * (n != 1)}. "
            f"This index needs at least {min_examples} (rows are examples, columns are features)."
        )
    if is_lazy(x):
        return x
    if check_finite:
        check_values(x, name)
    return x


def check_values(x: Array, name: str, start: int | None = None) -> None:
    """Raise `InvalidArrayError` if a matrix holds nan or inf: how many, and where the first is.

    `start` is the row of `name` at which `x` begins, where `x` is only a part of it.
    """
    xp = namespace_of(x)
    # A finite sum has finite terms, so the entries are looked at one by one only where something is wrong.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not bool(xp.isfinite(xp.sum(x)))
    if suspicious and not bool(xp.all(xp.isfinite(x))):
        bad = xp.logical_not(xp.isfinite(x))
        flat = xp.reshape(xp.astype(bad, xp.int32), (-1,))
        row, column = divmod(int(xp.argmax(flat)), x.shape[1])
        offset = start or 0
        where = "" if start is None else f" in rows {offset} to {offset + x.shape[0] - 1}"
        raise InvalidArrayError(
            f"{name} has {int(xp.sum(flat))} of {math.prod(x.shape)} values{where} that are nan or inf, the first at "
            f"row {offset + row}, column {column}. Remove those examples or find out where they come from "
            "(half precision overflows at 65504); check_finite=False lets them through."
        )


def in_one_precision(*arrays: Array) -> list[Array]:
    """Floating arrays of one framework in their common precision: float64 if any of them is."""
    xp = namespace_of(*arrays)
    dtype = xp.result_type(*(x.dtype for x in arrays))
    return [xp.astype(x, dtype, copy=False) for x in arrays]


def is_undefined(x: Array, *, checked: bool) -> bool:
    """Whether every similarity to a matrix is nan: all examples are the same, or, unless `checked`, some are not finite.

    Indexes are not asked then, since linear algebra libraries answer nan with exceptions. False for a lazy array.
    """
    if is_lazy(x):
        return False
    xp = namespace_of(x)
    if not checked and not bool(xp.all(xp.isfinite(x))):
        return True
    return bool(is_constant(x[:2, :])) and bool(is_constant(x))


def undefined_score(x: Array, y: Array) -> Array:
    """nan as a 0-d array, in the namespace and on the device of both matrices, and a function of both for autograd."""
    return x[0, 0] * float("nan") + y[0, 0] * float("nan")


def nan_if_constant(score: Array, x: Array, y: Array) -> Array:
    """`score`; or of lazy matrices, whose values nobody has looked at, a score that will be nan if one is constant."""
    xp = namespace_of(x, y)
    for matrix in (x, y):
        if is_lazy(matrix):
            score = xp.where(is_constant(matrix), float("nan"), score)
    return score


def is_constant(x: Array) -> Array:
    """Whether all examples are the same, as a 0-d boolean array."""
    return namespace_of(x).all(x == x[: min(1, x.shape[0]), :])


def warn_caller(message: str, category: type[Warning] = ConstantInputWarning) -> None:
    """Give a warning that points at the first line outside simkit, so that each line of a user warns."""
    level, frame = 1, sys._getframe()
    # functools calls the cached properties of ours.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("simkit", "functools"):
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message, keep="\n"), category, stacklevel=level)


# --- two arrays ------------------------------------------------------------------------------------------------------------

_TO_NUMPY = {
    "torch": "{0}.numpy(force=True)",
    "torch in float32": "{0}.float().numpy(force=True)",  # NumPy has no bfloat16
    "cupy": "{0}.get()",
    "jax": "numpy.array({0})",
    "jax in float32": "numpy.array({0}, dtype='float32')",
    "dask": "{0}.compute()",
    "numpy": "{0}",
}
_FROM_NUMPY = {
    "torch": "torch.from_numpy({0})",
    "cupy": "cupy.asarray({0})",
    "jax": "jax.numpy.asarray({0})",
    "dask": "dask.array.from_array({0})",
    "numpy": "{0}",
}


def _framework(x: Array) -> str:
    return describe(x).split(".")[0].split(" ")[0]


def check_same_framework(x: Array, y: Array, names: tuple[str, str] = ("X", "Y")) -> None:
    """Raise `MixedArraysError` unless both arrays are of one framework and on one device."""
    if namespace_of(x) is not namespace_of(y):
        source, target = _framework(y), _framework(x)
        how = _TO_NUMPY.get(f"{source} in {_dtype_name(y)}", _TO_NUMPY.get(source, "numpy.asarray({0})"))
        on_host = how.format(names[1])
        fix = _FROM_NUMPY.get(target, f"{target}.asarray({{0}})").format(on_host)
        raise MixedArraysError(
            f"{names[0]} is a {describe(x)} and {names[1]} a {describe(y)}: the arrays must be of one framework. "
            f"Convert one, for example {names[1]} = {fix}."
        )
    if (is_lazy(x) or is_lazy(y)) and not array_api_compat.is_torch_array(x):  # tensors know their device without values
        return
    here, there = array_api_compat.device(x), array_api_compat.device(y)
    if here != there:
        for name, device in zip(names, (here, there), strict=True):
            if str(device) == "meta":
                raise MixedArraysError(
                    f"{name} is a tensor on the device meta, which has a shape and no values. Load the values, or run the "
                    "model on a real device."
                )
        move = f"{names[1]}.to('{here}')" if _framework(x) == "torch" else f"move {names[1]} to {here}"
        raise MixedArraysError(f"{names[0]} is on {here} and {names[1]} on {there}: both must be on one device. Try {move}.")


def as_pair(
    X: Any,
    Y: Any,
    *,
    names: tuple[str, str] = ("X", "Y"),
    min_examples: int = 2,
    check_finite: bool = True,
    flatten: bool = False,
    maps: Maps | None = None,
    channels: Channels | None = None,
    ids: Any = None,
) -> tuple[Array, Array]:
    """Two matrices of the same examples, checked; see `as_matrix`, `as_examples` and `check_labels` for the rules.

    Raises
    ------
    MixedArraysError
        Two frameworks or two devices: both are named, with the conversion to make.
    InvalidArrayError
        Different numbers of examples: both shapes are given; labels that differ; one rule for maps of different rank; or
        what `as_matrix` and `as_examples` complain about.
    """
    x = as_matrix(X, names[0], flatten=flatten, maps=maps, channels=channels)
    y = as_matrix(Y, names[1], flatten=flatten, maps=maps, channels=channels)
    check_one_rule(dict(zip(names, (X, Y), strict=True)), maps)
    check_same_framework(x, y, names)
    check_labels({names[0]: X}, {names[1]: Y}, ids=ids)
    check_same_examples(x, y, names)
    x = as_examples(x, names[0], min_examples=min_examples, check_finite=check_finite)
    y = as_examples(y, names[1], min_examples=min_examples, check_finite=check_finite)
    x, y = in_one_precision(x, y)
    return x, y


def check_same_examples(x: Array, y: Array, names: tuple[str, str] = ("X", "Y")) -> None:
    """Raise `InvalidArrayError` unless both matrices have the same, known number of rows."""
    n, m = x.shape[0], y.shape[0]
    if any(size is None or math.isnan(size) for size in (n, m)):  # nan: Dask does not know the length
        raise InvalidArrayError(
            f"The number of examples is unknown: {names[0]} has shape {tuple(x.shape)}, {names[1]} {tuple(y.shape)}. "
            "Rows could be paired wrongly. Call .compute_chunk_sizes() on the Dask array first."
        )
    if n != m:
        raise InvalidArrayError(
            f"{names[0]} has shape {tuple(x.shape)} and {names[1]} {tuple(y.shape)}: {n} and {m} examples. Row i of both "
            "must be the same example."
            + (" Are they transposed? Rows are examples, columns are features." if x.shape[1] == y.shape[1] else "")
        )


def check_one_rule(layers: Mapping[str, Any], maps: str | None) -> None:
    """Raise `InvalidArrayError` if one rule would average, or unfold, other axes of one layer than of another.

    `layers` are arrays as they were given, accepted by `as_matrix`. Matrices, which need no rule, may stand beside maps.
    """
    if maps not in ("mean", "spatial"):
        return
    shapes = {name: tuple(x.shape) if hasattr(x, "shape") else np.shape(x) for name, x in layers.items()}
    ranked = [name for name in shapes if len(shapes[name]) > 2]
    for name in ranked[1:]:
        if len(shapes[name]) != len(shapes[ranked[0]]):
            low = min(ranked[0], name, key=lambda layer: len(shapes[layer]))
            raise InvalidArrayError(
                f"{ranked[0]} has shape {shapes[ranked[0]]} and {name} {shapes[name]}: maps={maps!r} is one rule for layers "
                "of different rank, whose axes mean different things. Make one of them a matrix yourself: for example, if "
                f"the last axis of {low} holds its features, {low} = {_by_hand(layers[low], low, shapes[low], maps)}; or "
                "choose maps='flatten'."
            )


def _by_hand(x: Any, name: str, shape: tuple[int, ...], maps: str) -> str:
    """The expression for what a rule does to a layer whose last axis is that of the features."""
    library = type(x).__module__.partition(".")[0] if array_api_compat.is_array_api_obj(x) else "numpy"
    if maps == "mean":
        axes = 1 if len(shape) == 3 else tuple(range(1, len(shape) - 1))
        return f"{name}.mean(axis={axes})" if hasattr(x, "mean") else f"{library}.mean({name}, axis={axes})"
    if _is("xarray", "DataArray", x):
        name, x = f"{name}.data", x.data
    return f"{name}.reshape(-1, {shape[-1]})" if hasattr(x, "reshape") else f"{library}.reshape({name}, (-1, {shape[-1]}))"
