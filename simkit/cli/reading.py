"""Two files of activations, so that they can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from simkit.formats.torch_file import as_numpy
from simkit.io import Activations

__all__ = ["check_ways", "convert_to_one_library", "label_column", "open_in_chunks"]


def convert_to_one_library(first: Activations, second: Activations) -> None:
    """A .npy and a .pt file may be compared: both are on the host, so tensors become NumPy arrays."""
    kinds = {type(x).__module__.partition(".")[0] for side in (first, second) for x in side.layers.values()}
    if len(kinds) > 1:
        for side in (first, second):
            side.layers.update({name: as_numpy(x) for name, x in side.layers.items()})


def check_ways(in_chunks: bool, missing: str, max_bytes: int | None) -> None:
    """Raise for options of the other way to read."""
    if missing != "warn" and not in_chunks:
        raise ValueError("--missing is about files that are read in chunks (.zarr, .h5, .hdf5), and these are read whole.")
    if in_chunks and max_bytes is not None:
        raise ValueError(
            "--max-bytes is about files that are read whole, and these are read in chunks; --chunks bounds those."
        )


def label_column(ids: str | None, no_ids: bool, files: tuple[Path, ...]) -> str | Literal[False] | None:
    """What `open_source` is told of labels."""
    if (ids or no_ids) and all(path.suffix.lower() != ".parquet" for path in files):
        raise ValueError("--ids and --no-ids are about columns of .parquet files, and no such file is given.")
    if ids and no_ids:
        raise ValueError("--ids and --no-ids contradict each other; give one of the two.")
    return False if no_ids else ids


def open_in_chunks(path: Path, chunks: int | None, ids: str | Literal[False] | None, missing: Any) -> Activations:
    """A file that is read in chunks, as Dask arrays."""
    from simkit.scale.sources import open_source

    found = open_source(path, chunks=chunks, ids=ids if path.suffix.lower() == ".parquet" else None, missing=missing)
    return Activations(found, single=False) if isinstance(found, dict) else Activations({path.stem: found}, single=True)
