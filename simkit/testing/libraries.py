"""The array libraries that an index must work on; each is imported when a check asks for it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

from simkit.arrays import Array, namespace_of
from simkit.testing.report import Skipped

__all__ = ["LIBRARIES", "Library", "problems_of_array"]


@dataclass(frozen=True)
class Library:
    """One array library, on one device.

    Attributes
    ----------
    name : str
        As in the name of its check.
    module : str
        What is imported.
    """

    name: str
    module: str

    def __str__(self) -> str:
        return self.name.replace("_cuda", " on a GPU").replace("numpy_readonly", "read-only numpy")

    def require(self) -> Any:
        """The module.

        Raises
        ------
        Skipped
            It is not installed, or it has no device.
        """
        if importlib.util.find_spec(self.module) is None:
            raise Skipped(f"{self.module} is not installed")
        try:
            module = importlib.import_module(self.module)
        except ImportError as error:
            raise Skipped(f"{self.module} is installed, but cannot be imported: {error}") from None
        if self.name == "torch_cuda" and not module.cuda.is_available():
            raise Skipped("PyTorch sees no CUDA device")
        if self.name == "cupy":
            try:
                module.cuda.runtime.getDeviceCount()
            except module.cuda.runtime.CUDARuntimeError as error:
                raise Skipped(f"CuPy sees no CUDA device: {error}") from None
        return module

    @contextmanager
    def active(self) -> Iterator[Any]:
        """The module, in the mode that the checks need, for a ``with`` statement: JAX in float64, the strictest standard."""
        module = self.require()
        if self.name == "jax":
            with _float64(module):
                yield module
        elif self.name == "array_api_strict":
            with module.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
                yield module
        else:
            yield module

    def asarray(self, x: np.ndarray) -> Array:
        """A copy of a NumPy array as an array of this library, on its device."""
        x = np.array(x)
        if self.name == "numpy_readonly":
            x.setflags(write=False)
            return x
        module = self.require()
        if self.module == "numpy":
            return x
        if self.module == "torch":
            return module.asarray(x, device="cuda" if self.name == "torch_cuda" else "cpu")
        return module.numpy.asarray(x) if self.module == "jax" else module.asarray(x)


def _float64(jax: Any) -> Any:
    """A context in which JAX has float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return importlib.import_module("jax.experimental").enable_x64()


LIBRARIES = {
    name: Library(name, module)
    for name, module in {
        "numpy": "numpy",
        "numpy_readonly": "numpy",
        "torch": "torch",
        "jax": "jax",
        "array_api_strict": "array_api_strict",
        "torch_cuda": "torch",
        "cupy": "cupy",
        "dask": "dask",
    }.items()
}


def problems_of_array(found: Any, like: Array, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> Iterator[str]:
    """How a result differs from an array of the library and the device of `like`, of this shape and one of these dtypes."""
    if not array_api_compat.is_array_api_obj(found):
        yield f"is a {type(found).__name__}; expected an array of {_library_of(like)}"
    elif namespace_of(found) is not namespace_of(like):
        yield f"is an array of {_library_of(found)}; expected one of {_library_of(like)}"
    else:
        if tuple(found.shape) != shape:
            yield f"has shape {tuple(found.shape)}; expected {shape}"
        dtype = str(found.dtype).rpartition(".")[2]
        if dtype not in dtypes:
            yield f"has dtype {dtype}; expected {' or '.join(dtypes)}"
        if array_api_compat.device(found) != array_api_compat.device(like):
            yield f"is on {array_api_compat.device(found)}; expected {array_api_compat.device(like)}"


def _library_of(x: Any) -> str:
    return type(x).__module__.partition(".")[0]
