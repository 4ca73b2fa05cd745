"""Headers of ``.npy`` files and of the members of ``.npz`` files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.paths import check_file

__all__ = ["NpyHeader", "check_numbers", "read_header", "whole_header"]


@dataclass(frozen=True)
class NpyHeader:
    """What an array in NumPy's format declares.

    Attributes
    ----------
    shape : tuple of int
    fortran : bool
        Its columns stand one after another, not its rows.
    dtype : numpy.dtype
    offset : int
        Bytes before the first number.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    offset: int

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], size: int, path: Path, name: str = "") -> NpyHeader:
    """The header of an array that fills `size` bytes, which are checked against it.

    Parameters
    ----------
    file : file
        At the beginning of the array.
    path, name : path, str
        What messages call the file, and the member of it.
    """
    where = f"{path}: {name!r}" if name else str(path)
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise InvalidArrayError(
            f"{where} does not begin as a .npy file does: damaged, or another kind of file under this name."
        ) from None
    # Version 3 differs from 2 in the names of the fields of records, which are no activations.
    parse = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = parse(file)
    header = NpyHeader(tuple(map(int, shape)), fortran and len(shape) > 1, dtype, file.tell())
    if dtype.hasobject:
        raise InvalidArrayError(
            f"{path} holds pickled Python objects, which can run code when they are read. Save arrays of numbers instead: "
            f"numpy.savez({path.with_suffix('.npz').name!r}, **layers), or numpy.save for a single one."
        )
    if dtype.subdtype is not None:
        raise InvalidArrayError(f"{where} declares numbers of dtype {dtype}, arrays themselves: the file is damaged.")
    if not all(0 <= length < 2**63 for length in header.shape):
        raise InvalidArrayError(
            f"{where} declares the shape {header.shape!r:.99}, negative or too large: the file is damaged."
        )
    check_numbers(header, size, where)
    return header


def check_numbers(header: NpyHeader, size: int, where: str) -> None:
    """Raise unless the numbers that `header` declares end where the file ends."""
    there = size - header.offset
    if there == header.nbytes:
        return
    declared = f"{where} declares {header.nbytes} bytes of numbers (shape {header.shape}, {header.dtype})"
    if there < header.nbytes:
        raise InvalidArrayError(f"{declared} and holds {there}: it is cut off or damaged.")
    raise InvalidArrayError(
        f"{declared} and holds {there}: damaged, or several arrays in one file. numpy.load(path) reads the first; save "
        "each in a file of its own."
    )


def whole_header(path: Path) -> NpyHeader:
    """The header of a ``.npy`` file."""
    size = check_file(path)
    with path.open("rb") as file:
        return read_header(file, size, path)
