"""Arrays on their device and on the host: constants beside an array, copies for NumPy, views that nobody writes into."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

from simkit.arrays.libraries import Array, Namespace, is_dask, is_lazy, is_traced, namespace_of
from simkit.errors import UnsupportedError

__all__ = ["constant_of", "detach", "is_viewable", "placement", "take_rows", "to_numpy", "unwritable"]


def placement(like: Array) -> dict[str, Any]:
    """Keyword arguments that create an array on the device of `like`; none for a lazy array that has no device yet."""
    known = array_api_compat.is_torch_array(like) or not is_lazy(like)
    return {"device": array_api_compat.device(like)} if known else {}


def constant_of(value: float | Sequence[Any] | np.ndarray, like: Array, xp: Namespace) -> Array:
    """`value` as an array in the namespace and dtype and on the device of `like`."""
    return xp.asarray(value, dtype=like.dtype, **placement(like))


def take_rows(x: Array, rows: np.ndarray) -> Array:
    """Some rows of `x`, by their numbers, which may be repeated."""
    xp = namespace_of(x)
    return xp.take(x, rows if is_dask(x) else xp.asarray(rows, **placement(x)), axis=0)


def to_numpy(x: Array) -> np.ndarray:
    """Copy an array of any framework and device to NumPy on the host (a Dask array is computed).

    Raises
    ------
    UnsupportedError
        The array has no values yet: it is traced by JAX or stands for a batch under ``torch.func.vmap``.
    """
    if isinstance(x, np.ndarray):
        return x
    if is_traced(x):
        raise UnsupportedError(
            "Values are needed on the host, where part of this index is computed, but they are not known inside of jax.jit, "
            "jax.vmap, jax.grad and torch.func.vmap. Call it outside of them, on one pair of arrays at a time; "
            "simkit.get_index(name).facts.capabilities says which transformations an index supports."
        )
    if array_api_compat.is_torch_array(x):
        return x.detach().cpu().numpy()
    if array_api_compat.is_cupy_array(x):
        return x.get()
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    return np.asarray(x)


def is_viewable(x: Array) -> bool:
    """Whether `to_numpy` of an array on the host, whose values are known, gives a view and not a copy."""
    if not array_api_compat.is_torch_array(x):
        return array_api_compat.is_numpy_array(x) or hasattr(x, "__dlpack__")
    torch = sys.modules["torch"]  # a subclass may be anything
    return type(x) in {torch.Tensor, torch.nn.Parameter} and not x.is_neg()


def detach(x: Array) -> Array:
    """`x` as a constant for automatic differentiation; `x` itself where the framework has none."""
    if array_api_compat.is_torch_array(x):
        return x.detach()
    if array_api_compat.is_jax_array(x):
        return sys.modules["jax"].lax.stop_gradient(x)
    return x


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
