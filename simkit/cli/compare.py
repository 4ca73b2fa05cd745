"""`simkit compare`: activation files in, a number or a matrix out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import simkit
from simkit.arrays import is_dask
from simkit.cli.console import console, print_json, say, say_note
from simkit.cli.examples import Examples
from simkit.cli.matrix_table import chance_line, print_matrix
from simkit.cli.options import (
    Chunks,
    FileA,
    FileB,
    Force,
    IndexSpec,
    Json,
    LabelColumn,
    MaxBytes,
    Missing,
    NoLabels,
    Scheduler,
    Timeout,
    result_file,
)
from simkit.cli.reading import read_sides
from simkit.io import WRITABLE, as_record, check_writable, write_matrix
from simkit.matrix import SimilarityMatrix
from simkit.progress import is_shown


def compare(
    context: typer.Context,
    a: FileA,
    b: FileB = None,
    index: IndexSpec = "cka",
    output: Annotated[Optional[Path], result_file("Write the scores, or the heatmap:", WRITABLE)] = None,
    examples: Examples = None,
    chunks: Chunks = None,
    scheduler: Scheduler = None,
    ids: LabelColumn = None,
    no_ids: NoLabels = False,
    missing: Missing = "warn",
    max_bytes: MaxBytes = None,
    timeout: Timeout = 600.0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare two networks layer by layer; of two files with one array each, print a number.

    Rows are the layers of A, columns those of B. In each row the best match is bold; of A with itself, the best other layer.
    The table is as wide as the terminal; into a pipe or a file go whole names and six decimals.
    """
    if output is not None:
        check_writable(output, force=force)
    chosen = simkit.get_index(index)
    rows, columns, single = read_sides(
        context,
        a,
        b,
        examples=examples,
        chunks=chunks,
        scheduler=scheduler,
        ids=ids,
        no_ids=no_ids,
        missing=missing,
        max_bytes=max_bytes,
    )
    matrix = simkit.pairwise(rows, columns, chosen)
    if is_dask(matrix.values):
        from simkit.scale.dask import computed

        matrix = computed(matrix, progress=is_shown(), timeout=timeout)
    if output is not None:
        write_matrix(matrix, output, force=force)
    if as_json:
        print_json(_record(matrix) if single else as_record(matrix))
        return
    if single:
        print(f"{float(matrix.to_numpy()[0, 0]):.6g}")
        if matrix.chance is not None and console.is_terminal:
            say_note(chance_line(matrix))
    else:
        print_matrix(matrix, None if b is None else (a.name, b.name))
    if output is not None:
        say(f"Written to {output}")


def _record(matrix: SimilarityMatrix) -> dict[str, Any]:
    """The one score of two arrays, in terms of JSON."""
    record = as_record(matrix)
    found = {"index": record["index"], "n": record["n"], "value": record["values"][0][0]}
    return found | {"chance": record["chance"][0][0]} if "chance" in record else found
