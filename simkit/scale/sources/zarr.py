"""Zarr: an array, or every array of a group."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.paths import check_file
from simkit.scale.sources.rows import Missing, Rows, check_stamp, report_missing, stamp_of

__all__ = ["Zarr", "absent_chunks", "metadata_of", "open_zarr"]

_METADATA = ("zarr.json", ".zarray")  # of an array, in versions 3 and 2 of the format
_MOST_COUNTED = 10**6  # chunks; Zarr looks for each of them


@dataclass(frozen=True)
class Zarr(Rows):
    """Rows of an array of a store, `array` by its path in it; its stamp is that of its metadata, since a folder has none."""

    array: str = ""

    def check_unchanged(self, start: int, stop: int) -> None:
        """Raise if the array is another one than that which was opened."""
        check_stamp(metadata_of(Path(self.path), self.array), self.stamp)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        import zarr

        return np.asarray(zarr.open_array(self.path, path=self.array or None, mode="r")[start:stop])


def open_zarr(path: Path, missing: Missing) -> Rows | dict[str, Rows]:
    """The array of a store, or the arrays of its groups by name."""
    import zarr

    def rows(name: str, array: Any) -> Rows:
        file = metadata_of(path, name)
        check_file(file)
        stamp = stamp_of(file)
        if missing != "ignore":
            report_missing(path, name, missing, absent=absent_chunks(array), total=array.nchunks, fill=array.fill_value)
        stored = (getattr(array, "shards", None) or array.chunks)[0]
        return Zarr(str(path), name, stamp, array.shape, array.dtype, stored, name)

    for file in (*path.glob("zarr.json"), *path.glob(".z*")):
        check_file(file)  # a pipe among them would never end
    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        if not node.ndim:
            raise InvalidArrayError(f"{path} holds a single number.")
        return rows("", node)
    return {name: rows(name, node[name]) for name in sorted(_arrays(node)) if node[name].ndim}


def _arrays(group: Any, prefix: str = "") -> list[str]:
    names = [f"{prefix}{name}" for name in group.array_keys()]
    for name in group.group_keys():
        names += _arrays(group[name], f"{prefix}{name}/")
    return names


def absent_chunks(array: Any) -> int | None:
    """How many chunks of an array were never written, or are gone; None if there are too many to look for."""
    return array.nchunks - array.nchunks_initialized if array.nchunks <= _MOST_COUNTED else None


def metadata_of(path: Path, name: str) -> Path:
    """The file that describes an array of a store."""
    files = [path / name / file for file in _METADATA]
    return next((file for file in files if file.exists()), files[0])
