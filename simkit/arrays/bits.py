"""Values on the host as they are stored, those that NumPy has no dtype for as unsigned integers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from simkit.arrays.libraries import Array, dtype_name, library_of
from simkit.arrays.placement import to_numpy

__all__ = ["as_bits"]

_UNSIGNED = {1: np.dtype("u1"), 2: np.dtype("u2")}


def as_bits(x: Array) -> tuple[np.ndarray, str]:
    """The values of `x` as a NumPy array in C order and native byte order, and the name of their dtype.

    Numbers of one or two bytes that NumPy does not have, such as bfloat16, come as unsigned integers of the same bits.
    """
    name = dtype_name(x)
    if library_of(x) == "torch":
        x = x.detach().resolve_conj()
        if name.startswith(("bfloat", "float8")):
            x = x.contiguous().view(getattr(sys.modules["torch"], "uint8" if x.element_size() == 1 else "int16"))
    host: Any = to_numpy(x)
    is_other = host.dtype.kind == "V" or name.startswith(("bfloat", "float8"))  # of ml_dtypes, or integers of PyTorch
    if is_other:
        host = np.ascontiguousarray(host).view(_UNSIGNED[host.dtype.itemsize])
    shape = host.shape  # NumPy makes a vector of a single number
    host = np.ascontiguousarray(host, dtype=host.dtype.newbyteorder("=")).reshape(shape)
    return host, name if is_other else host.dtype.name
