"""`simkit compare`: activation files in, a number or a matrix out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import simkit
from simkit.arrays import is_dask
from simkit.cli.console import console, print_json, say
from simkit.cli.examples import Examples, matrices
from simkit.cli.matrix_table import chance_line, print_matrix
from simkit.cli.options import (
    IN_CHUNKS,
    Chunks,
    Force,
    IndexSpec,
    Json,
    LabelColumn,
    MaxBytes,
    Missing,
    NoLabels,
    Scheduler,
    Timeout,
    activations_file,
    result_file,
)
from simkit.cli.reading import read_two
from simkit.io import READABLE, WRITABLE, as_record, check_writable, write_matrix
from simkit.matrix import SimilarityMatrix
from simkit.scale.cluster import connected


def compare(
    context: typer.Context,
    a: Annotated[
        Path, activations_file("A", f"Activations: {', '.join((*READABLE, *IN_CHUNKS))}.", (*READABLE, *IN_CHUNKS))
    ],
    b: Annotated[
        Optional[Path],
        activations_file(
            "[B]", "Those of another network for the same examples. Default: A itself.", (*READABLE, *IN_CHUNKS)
        ),
    ] = None,
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
    if scheduler is not None:
        context.with_resource(connected(scheduler))
    first, second = read_two(
        a,
        b,
        chunks=chunks,
        clustered=scheduler is not None,
        ids=ids,
        no_ids=no_ids,
        missing=missing,
        max_bytes=max_bytes,
    )
    sides = [(a, first.layers)] if b is None else [(a, first.layers), (b, second.layers)]
    found = matrices(examples, sides)
    rows, columns = found[0], found[1] if b is not None else None
    matrix = simkit.pairwise(rows, columns, chosen)
    matrix = _computed(matrix, timeout)
    if output is not None:
        write_matrix(matrix, output, force=force)
    single = first.single and second.single
    if as_json:
        print_json(_record(matrix) if single else as_record(matrix))
        return
    if single:
        print(f"{float(matrix.to_numpy()[0, 0]):.6g}")
        if matrix.chance is not None and console.is_terminal:
            console.print(chance_line(matrix), style="dim", highlight=False)
    else:
        print_matrix(matrix, None if b is None else (a.name, b.name))
    if output is not None:
        say(f"Written to {output}")


def _record(matrix: SimilarityMatrix) -> dict[str, Any]:
    """The one score of two arrays, in terms of JSON."""
    record = as_record(matrix)
    found = {"index": record["index"], "n": record["n"], "value": record["values"][0][0]}
    return found | {"chance": record["chance"][0][0]} if "chance" in record else found


def _computed(matrix: SimilarityMatrix, timeout: float) -> SimilarityMatrix:
    """The matrix, computed with a progress bar if it is lazy."""
    lazy = {name: array for name in ("values", "chance") if is_dask(array := getattr(matrix, name))}
    if not lazy:
        return matrix
    from simkit.scale.dask import compute

    found = compute(*lazy.values(), progress=sys.stderr.isatty(), timeout=timeout)
    return replace(matrix, **dict(zip(lazy, found, strict=True)))
