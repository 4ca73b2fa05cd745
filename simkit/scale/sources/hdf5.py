"""HDF5: every dataset of a file that has examples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simkit.scale.sources.rows import Missing, Rows, report_missing, stamp_of

__all__ = ["open_hdf5"]


@dataclass(frozen=True)
class HDF5(Rows):
    """Rows of a dataset."""

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        import h5py

        with h5py.File(self.path, "r") as file:
            return file[self.name][start:stop]


def open_hdf5(path: Path, missing: Missing) -> dict[str, Rows]:
    """The datasets of a file by name."""
    import h5py

    def rows(name: str, dataset: Any) -> Rows:
        if missing != "ignore":
            absent, total = _absent(dataset, path)
            report_missing(path, name, missing, absent=absent, total=total, fill=dataset.fillvalue)
        return HDF5(str(path), name, stamp, dataset.shape, dataset.dtype, dataset.chunks[0] if dataset.chunks else 1)

    names: list[str] = []
    stamp = stamp_of(path)
    with h5py.File(path, "r") as file:
        file.visit(names.append)
        items = {name: file[name] for name in names}
        return {name: rows(name, item) for name, item in items.items() if isinstance(item, h5py.Dataset) and item.ndim}


def _absent(dataset: Any, path: Path) -> tuple[int, int]:
    """How many chunks, or sources of a virtual dataset, are not there, of how many."""
    if not dataset.size:
        return 0, 0
    if dataset.is_virtual:
        sources = {source.file_name for source in dataset.virtual_sources()} - {"."}
        return sum(not (path.parent / source).exists() for source in sources), len(sources)
    if dataset.chunks:
        total = math.prod(-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True))
        return total - dataset.id.get_num_chunks(), total
    return int(dataset.id.get_storage_size() == 0 and not dataset.external), 1
