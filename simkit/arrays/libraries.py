"""Which library an array is of, and what it is called in messages; libraries are recognised without being imported.

``array_api_compat`` looks in ``sys.modules``.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import array_api_compat

__all__ = [
    "Array",
    "Namespace",
    "describe",
    "dtype_name",
    "is_compiling",
    "is_dask",
    "is_instance",
    "is_lazy",
    "is_traced",
    "namespace_of",
    "wants_gradients",
]


# The Array API standard defines protocols, not classes; a static name for "an array of any library" does not exist yet.
Array: TypeAlias = Any
Namespace: TypeAlias = Any


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
        return is_traced(x) or is_traced(x[(0,) * x.ndim] if 0 not in x.shape else x)
    if array_api_compat.is_torch_array(x):
        return is_compiling() or x.is_meta or is_traced(x)
    return False


def is_traced(x: Array) -> bool:
    """Whether `x` itself stands for values of a transformation of JAX or of ``torch.func.vmap``, and has none."""
    if array_api_compat.is_jax_array(x):
        return isinstance(x, sys.modules["jax"].core.Tracer)
    if array_api_compat.is_torch_array(x) and not is_compiling():
        return _is_batched(x, sys.modules["torch"]._C._functorch)
    return False


def wants_gradients(x: Array) -> bool:
    """Whether derivatives with respect to `x` may be asked for: PyTorch says so, JAX traces (`is_lazy`)."""
    if is_compiling():
        return True
    if not array_api_compat.is_torch_array(x):
        return False
    torch = sys.modules["torch"]
    if x.requires_grad or torch._C._functorch.is_functorch_wrapped_tensor(x):
        return True
    return torch.is_grad_enabled() and torch.autograd.forward_ad.unpack_dual(x).tangent is not None


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


def is_instance(module: str, kind: str, x: Any) -> bool:
    """Whether `x` is of a class of a library that is perhaps not installed, and not imported for the question."""
    return module in sys.modules and isinstance(x, getattr(sys.modules[module], kind))


def dtype_name(x: Array) -> str:
    """The name of the dtype of an array of any library, such as ``float32``."""
    return str(x.dtype).removeprefix("torch.").removeprefix("array_api_strict.")


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
