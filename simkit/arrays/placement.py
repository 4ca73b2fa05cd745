"""Arrays on their device and on the host: constants beside an array, copies for NumPy, views that nobody writes into."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import array_api_compat
import numpy as np

from simkit.arrays.libraries import (
    Array,
    Namespace,
    dtype_name,
    is_dask,
    is_lazy,
    is_plain,
    is_traced,
    library_of,
    namespace_of,
)
from simkit.errors import UnsupportedError

__all__ = [
    "all_to_numpy",
    "constant_of",
    "detach",
    "is_viewable",
    "number_of",
    "on_host",
    "placement",
    "take_rows",
    "to_numpy",
    "unwritable",
]

_FEW = 2**14  # values that NumPy looks through in the time that PyTorch takes to begin


def placement(like: Array) -> dict[str, Any]:
    """Keyword arguments that create an array on the device of `like`; none for a lazy array that has no device yet."""
    library = library_of(like)
    if library == "numpy" or (
        library == "jax" and (is_traced(like) or not like.committed)
    ):  # JAX moves what is bound nowhere
        return {}
    if library == "torch":
        return {"device": like.device}
    return {} if is_lazy(like) else {"device": array_api_compat.device(like)}


def constant_of(value: float | Sequence[Any] | np.ndarray, like: Array, xp: Namespace) -> Array:
    """`value` as an array in the namespace and dtype and on the device of `like`."""
    return xp.asarray(value, dtype=like.dtype, **placement(like))


def take_rows(x: Array, rows: np.ndarray, *, axis: int = 0) -> Array:
    """Some rows of `x`, by their numbers, which may be repeated; or what there is along another axis."""
    xp = namespace_of(x)
    return xp.take(x, rows if is_dask(x) else xp.asarray(rows, **placement(x)), axis=axis)


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
    library = library_of(x)
    if library == "torch":
        return x.detach().cpu().resolve_neg().numpy()
    if library == "cupy":
        return x.get()
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        return np.from_dlpack(x)
    return np.asarray(x)


def all_to_numpy(*arrays: Array | None) -> tuple[np.ndarray | None, ...]:
    """`to_numpy` of each array that is there; Dask computes them together, so that what they share is computed once."""
    if any(x is not None and is_dask(x) for x in arrays):
        import dask

        arrays = dask.compute(*arrays)
    return tuple(None if x is None else to_numpy(x) for x in arrays)


def is_viewable(x: Array) -> bool:
    """Whether `to_numpy` of an array on the host, whose values are known, gives a view and not a copy."""
    if library_of(x) == "torch":
        return is_plain(x) and not x.is_neg()
    return isinstance(x, np.ndarray) or hasattr(x, "__dlpack__")


def number_of(x: Array) -> Any:
    """A 0-d array whose value is known as a number of NumPy, in its precision."""
    library = library_of(x)
    if library == "torch":
        return np.dtype(dtype_name(x)).type(x.item())
    return x[()] if library == "numpy" else np.asarray(to_numpy(x))[()]


def on_host(x: Array) -> Array:
    """`x`, whose values are known, for a look at them: NumPy's view, where they lie on the host, and NumPy begins faster."""
    library = library_of(x)
    if library == "jax" and all(device.platform == "cpu" for device in x.devices()):
        return np.asarray(x)
    if library == "torch" and x.numel() <= _FEW and is_viewable(x):
        return x.detach().numpy()
    return x


def detach(x: Array) -> Array:
    """`x` as a constant for automatic differentiation; `x` itself where the framework has none."""
    library = library_of(x)
    if library == "torch":
        return x.detach()
    if library == "jax":
        return sys.modules["jax"].lax.stop_gradient(x)
    return x


def unwritable(x: Array) -> Array:
    """The values of `x` in an array through which `x` cannot be written into: a read-only view, or else a copy."""
    library = library_of(x)
    if library == "numpy":
        view = x.view()
        view.flags.writeable = False
        return view
    if library == "torch":
        return x.clone()  # gradients flow through it
    if library in ("jax", "dask"):
        return x
    return namespace_of(x).asarray(x, copy=True)
