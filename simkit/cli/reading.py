"""Two files of activations, so that they can be compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from simkit.cli.options import IN_CHUNKS
from simkit.formats.torch_file import as_numpy
from simkit.io import Activations, read_activations

__all__ = ["convert_to_one_library", "read_two"]


def read_two(
    a: Path,
    b: Path | None,
    *,
    chunks: int | None,
    clustered: bool,
    ids: str | None,
    no_ids: bool,
    missing: str,
    max_bytes: int | None,
) -> tuple[Activations, Activations]:
    """The activations of two files in one library, in chunks where that is asked for or usual; of `a` twice without `b`.

    Raises
    ------
    ValueError
        Options that contradict each other or the files; one array, and nothing to compare it with.
    SimkitError
        A file that cannot be read.
    """
    other = a if b is None else b
    in_chunks = chunks is not None or clustered or not {a.suffix.lower(), other.suffix.lower()}.isdisjoint(IN_CHUNKS)
    column = _label_column(ids, no_ids, (a, other))
    _check_ways(in_chunks, missing, max_bytes)
    read = (
        partial(_open_in_chunks, chunks=chunks, ids=column, missing=missing)
        if in_chunks
        else partial(read_activations, max_bytes=max_bytes)
    )
    first: Activations = read(a)
    second = first if b is None else read(b)
    if b is None and first.single:
        raise ValueError(f"{a} holds one array, and there is nothing to compare it with; give a second file.")
    convert_to_one_library(first, second)
    return first, second


def convert_to_one_library(first: Activations, second: Activations) -> None:
    """A .npy and a .pt file may be compared: both are on the host, so tensors become NumPy arrays."""
    kinds = {type(x).__module__.partition(".")[0] for side in (first, second) for x in side.layers.values()}
    if len(kinds) > 1:
        for side in (first, second):
            side.layers.update({name: as_numpy(x) for name, x in side.layers.items()})


def _check_ways(in_chunks: bool, missing: str, max_bytes: int | None) -> None:
    """Raise for options of the other way to read."""
    if missing != "warn" and not in_chunks:
        raise ValueError("--missing is about files that are read in chunks (.zarr, .h5, .hdf5), and these are read whole.")
    if in_chunks and max_bytes is not None:
        raise ValueError(
            "--max-bytes is about files that are read whole, and these are read in chunks; --chunks bounds those."
        )


def _label_column(ids: str | None, no_ids: bool, files: tuple[Path, ...]) -> str | Literal[False] | None:
    """What `open_source` is told of labels."""
    if (ids or no_ids) and all(path.suffix.lower() != ".parquet" for path in files):
        raise ValueError("--ids and --no-ids are about columns of .parquet files, and no such file is given.")
    if ids and no_ids:
        raise ValueError("--ids and --no-ids contradict each other; give one of the two.")
    return False if no_ids else ids


def _open_in_chunks(path: Path, chunks: int | None, ids: str | Literal[False] | None, missing: Any) -> Activations:
    """A file that is read in chunks, as Dask arrays."""
    from simkit.scale.sources import open_source

    found = open_source(path, chunks=chunks, ids=ids if path.suffix.lower() == ".parquet" else None, missing=missing)
    return Activations(found, single=False) if isinstance(found, dict) else Activations({path.stem: found}, single=True)
