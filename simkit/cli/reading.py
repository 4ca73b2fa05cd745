"""Two files of activations, so that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import typer

from simkit.cli.examples import matrices
from simkit.cli.options import IN_CHUNKS
from simkit.formats.torch_file import as_numpy
from simkit.io import Activations, read_activations
from simkit.provenance import check_same_data
from simkit.scale.cluster import connected

__all__ = ["read_sides", "read_whole"]


class Read(NamedTuple):
    """Two files as `simkit.pairwise` takes them.

    Attributes
    ----------
    rows, columns : mapping of names to arrays
        Layers; `columns` is None for a network with itself.
    single : bool
        Each file holds one array.
    """

    rows: dict[str, Any]
    columns: dict[str, Any] | None
    single: bool


def read_sides(
    context: typer.Context,
    a: Path,
    b: Path | None,
    *,
    examples: Sequence[str] | None,
    chunks: int | None,
    scheduler: str | None,
    ids: str | None,
    no_ids: bool,
    missing: str,
    max_bytes: int | None,
) -> Read:
    """The layers of two files, or of one, as matrices of one library, in chunks where that is asked for or usual.

    Until the command ends, `context` keeps the connection to the cluster of a scheduler.

    Raises
    ------
    ValueError
        Options that contradict each other or the files; one array, and nothing to compare it with.
    SimkitError
        A file that cannot be read, or no cluster.
    """
    if scheduler is not None:
        context.with_resource(connected(scheduler))
    files = (a,) if b is None else (a, b)
    by_suffix = any(path.suffix.lower() in IN_CHUNKS for path in files)
    in_chunks = chunks is not None or scheduler is not None or by_suffix
    column = _label_column(ids, no_ids, files)
    _check_ways(in_chunks, missing, max_bytes)
    read = (
        partial(_open_in_chunks, chunks=chunks, ids=column, missing=missing)
        if in_chunks
        else partial(read_activations, max_bytes=max_bytes)
    )
    found: list[Activations] = [read(path) for path in files]
    single = all(side.single for side in found)
    if single and b is None:
        raise ValueError(f"{a} holds one array, and there is nothing to compare it with; give a second file.")
    _convert_to_one_library(*found)
    rows, *columns = matrices(examples, [(path, side.layers) for path, side in zip(files, found, strict=True)])
    return Read(rows, columns[0] if columns else None, single)


def read_whole(a: Path, b: Path, *, max_bytes: int | None) -> tuple[Activations, Activations]:
    """The activations of two files in one library, in memory; warns if they say that they are of different inputs."""
    first, second = (read_activations(path, max_bytes=max_bytes) for path in (a, b))
    check_same_data({str(path): getattr(side.layers, "details", None) for path, side in ((a, first), (b, second))})
    _convert_to_one_library(first, second)
    return first, second


def _convert_to_one_library(*files: Activations) -> None:
    """A .npy and a .pt file may be compared: both are on the host, so tensors become NumPy arrays."""
    kinds = {type(x).__module__.partition(".")[0] for side in files for x in side.layers.values()}
    if len(kinds) > 1:
        for side in files:
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
