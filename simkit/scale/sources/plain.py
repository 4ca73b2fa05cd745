"""Numbers that stand in a file as they are: ``.npy`` and ``.safetensors``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.npy import whole_header
from simkit.formats.numbers import Block, dtype_of
from simkit.formats.safetensors import read_blocks
from simkit.scale.sources.rows import Rows, stamp_of

__all__ = ["open_npy", "open_safetensors"]


@dataclass(frozen=True, kw_only=True)
class Plain(Rows):
    """Rows that stand one after another in a file."""

    block: Block

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        return self.block.rows(self.path, start, stop)


@dataclass(frozen=True)
class Fortran(Rows):
    """A ``.npy`` file in Fortran order, whose rows are scattered."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[start:stop])


def open_npy(path: Path) -> Rows:
    """The array of a ``.npy`` file."""
    header, stamp = whole_header(path), stamp_of(path)
    if not header.shape:
        raise InvalidArrayError(f"{path} holds a single number.")
    dtype = header.dtype.newbyteorder("=")
    if header.fortran and header.nbytes:
        return Fortran(str(path), "", stamp, header.shape, dtype)
    return Plain(str(path), "", stamp, header.shape, dtype, block=Block(header.shape, header.dtype.str, header.offset))


def open_safetensors(path: Path) -> dict[str, Rows]:
    """The tensors of a ``.safetensors`` file that have examples."""
    stamp = stamp_of(path)
    return {
        name: Plain(str(path), name, stamp, block.shape, dtype_of(block.stored), block=block)
        for name, block in read_blocks(path).items()
        if block.shape
    }
