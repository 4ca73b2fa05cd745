"""The array libraries that the tests run on: one name each, one small class for all.

Following array-api-extra, read-only NumPy arrays are a library of their own (they catch code that writes to its input), and
array-api-strict runs with everything off that depends on data. The tests of a library that is not installed, or whose device is
absent, are left out when tests are collected; see conftest.py.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np


class Library(Enum):
    """What a test can be run on."""

    NUMPY = "numpy"
    NUMPY_READONLY = "numpy:readonly"
    ARRAY_API_STRICT = "array_api_strict"
    TORCH = "torch"
    TORCH_CUDA = "torch:cuda"
    JAX = "jax"
    CUPY = "cupy"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Backend:
    """An array library as a test sees it.

    Attributes
    ----------
    name : str
        The value of a `Library`.
    xp : module
        Its array namespace, as array-api-compat wraps it.
    """

    name: str
    xp: Any

    def asarray(self, array: Any, dtype: str | None = None) -> Any:
        """A copy of a NumPy array (or nested list) as an array of this library, on its device."""
        array = np.array(array, dtype=dtype)
        if self.name == "numpy:readonly":
            array.setflags(write=False)
        if self.name.startswith("numpy"):
            return array
        if self.name == "torch:cuda":
            return self.xp.asarray(array, device="cuda")
        return self.xp.asarray(array)

    def to_numpy(self, array: Any) -> np.ndarray:
        """The values on the host."""
        if self.name.startswith("torch"):
            return array.detach().cpu().numpy()
        if self.name == "cupy":
            return array.get()
        return np.asarray(array)

    def dtype(self, name: str) -> Any:
        """The library's own ``"float32"``."""
        return getattr(self.xp, name)

    def __str__(self) -> str:
        return self.name


@cache
def why_absent(library: Library) -> str | None:
    """What keeps tests from running on a library here: it is not installed, or its device is missing. ``None``: nothing."""
    name = library.value.partition(":")[0]
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        return f"{name} is not installed: {error}"
    if library is Library.TORCH_CUDA and not module.cuda.is_available():
        return "PyTorch sees no CUDA device"
    if library is Library.CUPY:
        try:
            module.cuda.runtime.getDeviceCount()
        except module.cuda.runtime.CUDARuntimeError as error:
            return f"CuPy sees no CUDA device: {error}"
    return None


def make(library: Library) -> Backend:
    """The backend of a library that is not absent."""
    module = importlib.import_module(library.value.partition(":")[0])
    if library is Library.ARRAY_API_STRICT:
        module.set_array_api_strict_flags(boolean_indexing=False, data_dependent_shapes=False)
    if library is Library.JAX:
        module.config.update("jax_enable_x64", True)
    import array_api_compat

    return Backend(library.value, array_api_compat.array_namespace(module_array(library, module)))


def module_array(library: Library, module: Any) -> Any:
    """Any array of the library."""
    return module.numpy.zeros(1) if library is Library.JAX else module.zeros(1)
