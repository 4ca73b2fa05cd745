"""`simkit compare`: activation files in, a number or a matrix out."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import numpy as np
import typer

import simkit
from simkit.arrays import is_dask
from simkit.cli.console import print_json, print_matrix, say
from simkit.cli.examples import Examples, matrices
from simkit.cli.options import Force, Json, MaxBytes
from simkit.cli.reading import convert_to_one_library
from simkit.io import Activations, as_record, check_writable, read_activations, write_matrix
from simkit.matrix import SimilarityMatrix
from simkit.scale.cluster import connected

_READABLE = 100  # layers a side up to which a matrix that goes into a file is shown, too
_LARGE = {".zarr", ".h5", ".hdf5", ".parquet"}  # formats that are read in chunks unasked


def compare(
    context: typer.Context,
    a: Annotated[
        Path, typer.Argument(help="Activations: .npy, .npz, .safetensors, .pt, .zarr, .h5 or .parquet.", show_default=False)
    ],
    b: Annotated[Optional[Path], typer.Argument(help="More; by default A with itself.", show_default=False)] = None,
    index: Annotated[str, typer.Option("--index", "-i", help="Spec, such as 'cka(kernel=rbf(fraction=0.4))'.")] = "cka",
    output: Annotated[
        Optional[Path], typer.Option("--output", "-o", help="Write .csv, .json, .npz or .png.", show_default=False)
    ] = None,
    examples: Examples = None,
    chunks: Annotated[
        Optional[int],
        typer.Option(help="Read this many examples at a time; by default everything, but not of .zarr, .h5, .parquet."),
    ] = None,
    scheduler: Annotated[
        Optional[str],
        typer.Option(help="Compute on a Dask cluster, such as tcp://head:8786, that sees the files.", show_default=False),
    ] = None,
    ids: Annotated[
        Optional[str],
        typer.Option(help="Column of .parquet files that holds the labels of the examples.", show_default=False),
    ] = None,
    no_ids: Annotated[bool, typer.Option("--no-ids", help="Columns called like labels are features.")] = False,
    missing: Annotated[
        str, typer.Option(help="If chunks of .zarr and .h5 files were never written: warn, error or ignore.")
    ] = "warn",
    max_bytes: MaxBytes = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which a cluster on which nothing can work is given up.")
    ] = 600.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare two files: of one array each, a number; of many layers, a matrix (rows A, columns B)."""
    if output is not None:
        check_writable(output, force=force)
    chosen = simkit.get_index(index)
    if scheduler is not None:
        context.with_resource(connected(scheduler))
    in_chunks = (
        chunks is not None or scheduler is not None or not {a.suffix.lower(), (b or a).suffix.lower()}.isdisjoint(_LARGE)
    )
    column = _column(ids, no_ids, (a, b or a))
    _check_ways(in_chunks, missing, max_bytes)
    read = (
        partial(_open_activations, chunks=chunks, ids=column, missing=missing)
        if in_chunks
        else partial(read_activations, max_bytes=max_bytes)
    )
    first = read(a)
    second = first if b is None else read(b)
    if b is None and first.single:
        raise ValueError(f"{a} holds one array, and there is nothing to compare it with; give a second file.")
    convert_to_one_library(first, second)
    sides = [(a, first.layers)] if b is None else [(a, first.layers), (b, second.layers)]
    found = matrices(examples, sides)
    rows, columns = found[0], found[1] if b is not None else None
    if first.single and second.single:
        (x,), (y,) = rows.values(), (columns or rows).values()
        value = float(_computed(simkit.compare(x, y, chosen), timeout))
        n = int(x.shape[0])
        if output is not None:
            matrix = SimilarityMatrix(np.array([[value]]), (a.stem,), ((b or a).stem,), str(chosen), n)
            write_matrix(matrix, output, force=force)
        if as_json:
            print_json({"index": str(chosen), "n": n, "value": value if math.isfinite(value) else None})
        else:
            print(f"{value:.6g}")
        return
    matrix = simkit.pairwise(rows, columns, chosen)
    matrix = replace(matrix, values=_computed(matrix.values, timeout))
    if output is not None:
        write_matrix(matrix, output, force=force)
    if as_json:
        print_json(as_record(matrix))
    else:
        if output is None or max(map(len, (matrix.rows, matrix.columns))) <= _READABLE:
            print_matrix(matrix)
        if output is not None:
            say(f"Written to {output}")


def _check_ways(in_chunks: bool, missing: str, max_bytes: int | None) -> None:
    """Raise for options of the other way to read."""
    if missing != "warn" and not in_chunks:
        raise ValueError("--missing is about files that are read in chunks (.zarr, .h5, .hdf5), and these are read whole.")
    if in_chunks and max_bytes is not None:
        raise ValueError(
            "--max-bytes is about files that are read whole, and these are read in chunks; --chunks bounds those."
        )


def _column(ids: str | None, no_ids: bool, files: tuple[Path, ...]) -> str | Literal[False] | None:
    """What `open_source` is told of labels."""
    if (ids or no_ids) and all(path.suffix.lower() != ".parquet" for path in files):
        raise ValueError("--ids and --no-ids are about columns of .parquet files, and no such file is given.")
    if ids and no_ids:
        raise ValueError("--ids and --no-ids contradict each other; give one of the two.")
    return False if no_ids else ids


def _open_activations(path: Path, chunks: int | None, ids: str | Literal[False] | None, missing: Any) -> Activations:
    """A file that is read in chunks, as Dask arrays."""
    from simkit.scale.sources import open_source

    found = open_source(path, chunks=chunks, ids=ids if path.suffix.lower() == ".parquet" else None, missing=missing)
    return Activations(found, single=False) if isinstance(found, dict) else Activations({path.stem: found}, single=True)


def _computed(values: Any, timeout: float) -> Any:
    """`values`, computed with a progress bar if they are lazy."""
    if not is_dask(values):
        return values
    from simkit.scale.dask import compute

    return compute(values, progress=sys.stderr.isatty(), timeout=timeout)[0]
