"""Rows of an array in a file: what Dask is given, and the checks that all kinds of files share."""

from __future__ import annotations

import contextlib
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simkit.arrays import warn_caller
from simkit.errors import DataWarning, InvalidArrayError, TooLargeError
from simkit.formats.damage import reading
from simkit.memory import available, in_words
from simkit.text import printable

__all__ = ["Missing", "Rows", "Stamp", "check_stamp", "lazy_array", "report_missing", "stamp_of"]

Missing = Literal["warn", "error", "ignore"]
Stamp = tuple[int, int]

_CHUNK = 2**23  # bytes of a chunk, unless the number of rows is given
_MOST_CHUNKS = 10**6  # Dask holds a few hundred bytes of each


@dataclass(frozen=True)
class Rows:
    """Rows of an array in a file: what `dask.array.from_array` needs, and nothing that is hard to pickle.

    Attributes
    ----------
    path, name : str
        The file, and what the array is called in it.
    stamp : (int, int)
        Time of the last change in nanoseconds, and size: another file is another array.
    shape : tuple of int
    dtype : numpy.dtype
        Of the values that are returned.
    stored : int
        Rows that are stored together.
    """

    path: str
    name: str
    stamp: Stamp
    shape: tuple[int, ...]
    dtype: np.dtype
    stored: int = 1

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one example."""
        return max(1, math.prod(self.shape[1:]) * self.dtype.itemsize)

    def key(self, chunks: int | None) -> str:
        """Deterministic: the same part of the same file is read once."""
        from dask.base import tokenize

        return f"{type(self).__name__.lower()}-{tokenize(self.path, self.name, self.stamp, chunks)}"

    def blocks(self, size: int) -> int | tuple[int, ...]:
        """About `size` rows each: in multiples of what is stored together, which would otherwise be read again and again."""
        return min(max(self.stored, size // self.stored * self.stored), max(self.shape[0], 1))

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise IndexError("rows are read in order")
        return self._checked(start, max(start, stop))[(slice(None), *rest)]

    def _checked(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the file as it was when it was opened."""
        where = f"{self.path}{f': {self.name!r}' if self.name else ''}, rows {start} to {stop}"
        self.check_unchanged(start, stop)
        with reading(f"{where}, cannot be read", "the file is damaged or out of reach"):
            values = self.read(start, stop)
        self.check_unchanged(start, stop)  # what was replaced while it was read
        if values.shape != (stop - start, *self.shape[1:]):
            raise InvalidArrayError(f"{where}: values of shape {values.shape} are stored there; the file is damaged.")
        return values.astype(self.dtype, copy=False)

    def check_unchanged(self, start: int, stop: int) -> None:
        """Raise if what rows `start` to `stop` are read from is not what was opened."""
        check_stamp(Path(self.path), self.stamp)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        raise NotImplementedError


def stamp_of(path: Path) -> Stamp:
    """What changes when a file is written again: the time of its last change, and its size."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def check_stamp(path: Path, stamp: Stamp) -> None:
    """Raise if the file is gone, or another one than that of `stamp`."""
    try:
        now = stamp_of(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{printable(path)}: no such file on the machine that reads it, or not any more.") from None
    if now != stamp:
        raise InvalidArrayError(
            f"{path} has changed since it was opened, so that a score would mix two files. Open it again, with open_source. "
            "(Workers that read a copy need one with the same time of change, as cp -p and rsync -t make.)"
        )


def report_missing(path: Path, name: str, missing: Missing, *, absent: int | None, total: int, fill: Any) -> None:
    """Say in the way that the caller chose how many chunks of an array were never written; None: too many to count."""
    if absent == 0:
        return
    what = f"{'an unknown number' if absent is None else absent} of {total} chunks{f' of {name!r}' if name else ''}"
    text = (
        f"{path}: {what} were never written and read as {fill}. Stores leave out chunks that hold nothing else, and writers "
        "that were stopped leave out the rest."
    )
    if missing == "error":
        raise InvalidArrayError(f"{text} Write them, or open the file with missing='ignore' (--missing ignore).")
    warn_caller(
        f"{text} missing='error' (--missing error) refuses such a file, missing='ignore' is for those that are whole.",
        DataWarning,
    )


def lazy_array(rows: Rows, chunks: int | None) -> Any:
    """`rows` as a Dask array of `chunks` examples per chunk, or about 8 MiB."""
    import dask.array as da

    n, *rest = rows.shape
    blocks = rows.blocks(max(1, _CHUNK // rows.row_bytes)) if chunks is None else min(chunks, max(n, 1))
    _check_blocks(rows, blocks)
    return da.from_array(rows, chunks=(blocks, *rest), name=rows.key(chunks), asarray=False, inline_array=True)


def _room() -> int | None:
    """Bytes of memory that a chunk may take; None on a cluster, where it is not this machine that reads it."""
    distributed = sys.modules.get("distributed")
    if distributed is not None:
        with contextlib.suppress(ValueError):  # there is no client
            distributed.default_client()
            return None
    return available()


def _smaller(rows: Rows, fitting: int) -> str:
    """What to do where only `fitting` rows fit into the memory."""
    if not fitting:
        return "Not one row fits, if the shape is right."
    if fitting < rows.stored:
        return f"So many are stored together; write the file with at most {fitting}."
    return f"Give chunks={fitting // 2 + 1} or less (--chunks)."


def _check_blocks(rows: Rows, blocks: int | tuple[int, ...]) -> None:
    """Raise if a chunk does not fit into the memory, or if there are more than Dask can hold."""
    where = f"{rows.path}{f': {rows.name!r}' if rows.name else ''} has shape {rows.shape}"
    largest, room = max(blocks, default=0) if isinstance(blocks, tuple) else blocks, _room()
    together = max(largest, min(rows.stored, rows.shape[0]))
    if room is not None and together * rows.row_bytes > room:
        raise TooLargeError(
            f"{where}, of which {together} rows are read at once: {in_words(together * rows.row_bytes)}, more than the "
            f"{in_words(room)} of memory that are available. {_smaller(rows, room // rows.row_bytes)}"
        )
    count = len(blocks) if isinstance(blocks, tuple) else -(-rows.shape[0] // blocks)
    if count > _MOST_CHUNKS:
        raise TooLargeError(
            f"{where}, which makes {count} chunks of {largest} rows, and Dask cannot hold more than about a million. Give "
            f"chunks={-(-rows.shape[0] // _MOST_CHUNKS)} or more (--chunks), if the shape is right."
        )
