"""Which library an array is of, and what it is called in messages; libraries are recognised without being imported.

``array_api_compat`` looks in ``sys.modules``. What depends on the class of an array alone is found once for each class,
since every operation asks for it.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType
from typing import Any, Literal, TypeAlias

import array_api_compat
import numpy as np

__all__ = [
    "Array",
    "Namespace",
    "describe",
    "dtype_name",
    "is_at_hand",
    "is_compiling",
    "is_dask",
    "is_instance",
    "is_lazy",
    "is_plain",
    "is_traced",
    "library_of",
    "namespace_of",
    "wants_gradients",
    "written_library",
]


# The Array API standard defines protocols, not classes; a static name for "an array of any library" does not exist yet.
Array: TypeAlias = Any
Namespace: TypeAlias = Any


# Those that are told apart; all others follow the Array API standard, or are no arrays.
Library: TypeAlias = Literal["numpy", "torch", "jax", "cupy", "dask", "other"]


def library_of(x: Any) -> Library:
    """The library that `x` is an array of; "other" for any other library, and for what is no array."""
    return _library_of_class(type(x))  # type: ignore[arg-type]  # classes are hashable


@lru_cache(256)
def _library_of_class(cls: type) -> Library:
    homes: tuple[tuple[Library, str, str], ...] = (
        ("numpy", "numpy", "ndarray"),
        ("numpy", "numpy", "generic"),
        ("torch", "torch", "Tensor"),
        ("jax", "jax", "Array"),
        ("jax", "jax.core", "Tracer"),
        ("cupy", "cupy", "ndarray"),
        ("dask", "dask.array", "Array"),
    )
    for library, module, name in homes:
        if module in sys.modules and issubclass(cls, getattr(sys.modules[module], name)):
            return library
    return "other"


def namespace_of(*arrays: Array) -> Namespace:
    """Array API namespace shared by `arrays`, wrapped by array-api-compat where the library itself deviates."""
    library = library_of(arrays[0])
    for x in arrays[1:]:
        if library_of(x) != library:
            library = "other"
    if library == "other":
        return array_api_compat.array_namespace(*arrays)
    return _namespace_of_library(library)


class _NumPy(ModuleType):
    """NumPy itself, which follows the standard but for a few functions.

    These are those of ``array_api_compat.numpy``, which takes longer to import than a first comparison otherwise takes.
    """

    def __getattr__(self, name: str) -> Any:
        if name in ("argsort", "nonzero", "sign", "sort"):
            import array_api_compat.numpy

            value = getattr(array_api_compat.numpy, name)
        else:
            value = getattr(np, name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return dir(np)

    def __reduce__(self) -> tuple[Any, ...]:
        return _namespace_of_library, ("numpy",)


_numpy = _NumPy("numpy")


@lru_cache
def _namespace_of_library(library: Library) -> Namespace:
    if library == "numpy" and hasattr(np, "unstack"):  # since 2.1
        return _numpy
    if library == "jax":
        return sys.modules["jax"].numpy
    if library == "dask":
        import array_api_compat.dask.array

        return array_api_compat.dask.array
    if library == "cupy":
        import array_api_compat.cupy

        return array_api_compat.cupy
    if library == "torch":
        import array_api_compat.torch

        return array_api_compat.torch
    import array_api_compat.numpy

    return array_api_compat.numpy


def is_dask(x: Array) -> bool:
    """Whether `x` is a Dask array."""
    return library_of(x) == "dask"


def is_lazy(x: Array) -> bool:
    """Whether reading a value of `x` would start a computation or fail: Dask arrays, JAX tracers, torch under transforms."""
    library = library_of(x)
    if library == "numpy":
        return False
    if library == "torch":
        return is_compiling() or x.is_meta or _is_batched(x, sys.modules["torch"]._C._functorch)
    if library == "jax":
        # Under jax.jit every operation is traced, also one of arrays that the traced function closes over, or of none.
        return is_traced(x) or is_traced(sys.modules["jax"].numpy.negative(0.0))
    return library == "dask"


def is_at_hand(x: Array) -> bool:
    """Whether reading a value of `x` costs nothing: all are known, and they are in the memory of the host."""
    library = library_of(x)
    if library == "torch":
        return x.device.type == "cpu" and not is_lazy(x)
    if library == "jax":
        return not is_traced(x) and all(device.platform == "cpu" for device in x.devices()) and not is_lazy(x)
    return library == "numpy"


def is_traced(x: Array) -> bool:
    """Whether `x` itself stands for values of a transformation of JAX or of ``torch.func.vmap``, and has none."""
    library = library_of(x)
    if library == "jax":
        return isinstance(x, sys.modules["jax"].core.Tracer)
    if library == "torch" and not is_compiling():
        return _is_batched(x, sys.modules["torch"]._C._functorch)
    return False


def wants_gradients(x: Array) -> bool:
    """Whether derivatives with respect to `x` may be asked for: PyTorch says so, JAX traces (`is_lazy`)."""
    if is_compiling():
        return True
    if library_of(x) != "torch":
        return False
    torch = sys.modules["torch"]
    if x.requires_grad or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return True
    return torch.is_grad_enabled() and torch.autograd.forward_ad.unpack_dual(x).tangent is not None


def is_compiling() -> bool:
    """Whether torch.compile is tracing the caller."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.compiler.is_compiling())


def is_plain(x: Array) -> bool:
    """Whether a tensor is nothing else than memory of the host: of no other class, and within no function of torch.func."""
    torch = sys.modules["torch"]
    if is_compiling() or type(x) not in (torch.Tensor, torch.nn.Parameter) or x.device.type != "cpu":
        return False
    return torch._C._functorch.peek_interpreter_stack() is None


def _is_batched(x: Array, functorch: Any) -> bool:
    """Whether a tensor stands for many under torch.func.vmap, perhaps inside another transform."""
    while functorch.is_functorch_wrapped_tensor(x):
        if functorch.is_batchedtensor(x):
            return True
        x = functorch.get_unwrapped(x)
    return False


def is_instance(module: str, kind: str, x: Any) -> bool:
    """Whether `x` is of a class of a library that is perhaps not installed, and not imported for the question."""
    return module in sys.modules and isinstance(x, getattr(sys.modules[module], kind))


@lru_cache(256)
def written_library(cls: type) -> str:
    """The library of a class of arrays and its version: ``torch 2.13.0``."""
    library: str = _library_of_class(cls)
    name = cls.__module__.partition(".")[0] if library == "other" else library
    version = getattr(sys.modules.get(name), "__version__", "")
    return f"{name} {version}".rstrip()


def dtype_name(x: Array) -> str:
    """The name of the dtype of an array of any library, such as ``float32``."""
    return _written(x.dtype) if library_of(x) == "other" else _written_once(x.dtype)


def _written(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.").removeprefix("array_api_strict.")


_written_once = lru_cache(256)(_written)  # NumPy takes its time


def describe(x: Array) -> str:
    """How a user would name this array: ``torch.Tensor on cuda:0``."""
    kind = type(x)
    library = library_of(x)
    if library == "jax":
        name = "jax.Array"
    elif library == "dask":
        name = "dask.array.Array"
    else:
        name = f"{kind.__module__.split('.')[0]}.{kind.__qualname__}"
    if library == "numpy" or is_lazy(x):
        return name
    return f"{name} on {array_api_compat.device(x)}"
