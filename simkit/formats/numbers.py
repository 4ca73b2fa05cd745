"""Numbers that stand one after another in a file, those that NumPy has no dtype for included."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simkit.errors import InvalidArrayError

__all__ = ["Block", "decoded", "dtype_of", "size_of"]


def _bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype("<u4") << 16).view("<f4")  # the upper half of a float32


def _float8_e5m2(bits: np.ndarray) -> np.ndarray:
    return (bits.astype("<u2") << 8).view("<f2").astype("<f4")  # the upper half of a float16


def _table_of_e4m3() -> np.ndarray:
    """All values of float8_e4m3fn: exponents from -6, no infinity, one nan per sign."""
    exponent, mantissa = np.divmod(np.arange(128), 8)
    values = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10))
    values[127] = np.nan
    return np.concatenate([values, -values]).astype("<f4")


_E4M3 = _table_of_e4m3()
# What NumPy cannot hold is read as float32: how its bits are stored, and what they say.
_DECODERS: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "bfloat16": ("<u2", _bfloat16),
    "float8_e4m3": ("|u1", _E4M3.take),
    "float8_e5m2": ("|u1", _float8_e5m2),
}


def dtype_of(stored: str) -> np.dtype:
    """The dtype in which numbers stored as `stored` are given, a dtype of NumPy's or one that it has not."""
    return np.dtype("f4") if stored in _DECODERS else np.dtype(stored).newbyteorder("=")


def decoded(values: np.ndarray, stored: str) -> np.ndarray:
    """Numbers whose bits are stored as `stored`, in the dtype of `dtype_of`."""
    decoder = _DECODERS.get(stored)
    return decoder[1](values) if decoder else values


def size_of(stored: str) -> int:
    """Bytes of one number."""
    return np.dtype(_DECODERS[stored][0] if stored in _DECODERS else stored).itemsize


@dataclass(frozen=True)
class Block:
    """An array in C order, somewhere in a file.

    Attributes
    ----------
    shape : tuple of int
    stored : str
        The dtype, as `dtype_of` knows it.
    offset : int
        Where it begins.
    """

    shape: tuple[int, ...]
    stored: str
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * size_of(self.stored)

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """All of it."""
        return self._numbers(path, self.offset, self.shape)

    def rows(self, path: str | os.PathLike[str], start: int, stop: int) -> np.ndarray:
        """From row `start` to row `stop`."""
        width = math.prod(self.shape[1:]) * size_of(self.stored)
        return self._numbers(path, self.offset + start * width, (stop - start, *self.shape[1:]))

    def _numbers(self, path: str | os.PathLike[str], offset: int, shape: tuple[int, ...]) -> np.ndarray:
        decoder = _DECODERS.get(self.stored)
        dtype = np.dtype(decoder[0] if decoder else self.stored)
        # Read, not mapped: mapped pages would count as memory of this process.
        values = np.fromfile(path, dtype, math.prod(shape), offset=offset)
        if values.size < math.prod(shape):
            raise InvalidArrayError(f"{os.fspath(path)} is cut off: it ends amid the numbers that it declares.")
        return decoded(values, self.stored).reshape(shape).astype(dtype_of(self.stored), copy=False)
