"""`simkit report`: activation files in, one page in HTML out."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from simkit.cli.console import say
from simkit.cli.examples import Examples
from simkit.cli.options import (
    Chunks,
    FileA,
    FileB,
    Force,
    IndexSpecs,
    LabelColumn,
    MaxBytes,
    Missing,
    NoLabels,
    Scheduler,
    Timeout,
    result_file,
)
from simkit.cli.reading import read_sides
from simkit.matrix import SimilarityMatrix
from simkit.page.contents import PAGES, check_page
from simkit.registry import get_index
from simkit.report import Report, of_layers


def report(
    context: typer.Context,
    a: FileA,
    b: FileB = None,
    index: IndexSpecs = None,
    output: Annotated[Path, result_file("The page to write:", PAGES)] = Path("report.html"),
    examples: Examples = None,
    title: Annotated[Optional[str], typer.Option(help="Headline of the page.", show_default=False)] = None,
    intervals: Annotated[bool, typer.Option(help="Confidence intervals; not of files that are read in chunks.")] = True,
    confidence: Annotated[float, typer.Option(help="Of the intervals, between 0 and 1.")] = 0.95,
    subsamples: Annotated[
        int, typer.Option(help="How often an index is computed, at the most, for the interval of a pair.")
    ] = 50,
    seed: Annotated[int, typer.Option(help="Of the subsamples.")] = 0,
    chunks: Chunks = None,
    scheduler: Scheduler = None,
    ids: LabelColumn = None,
    no_ids: NoLabels = False,
    missing: Missing = "warn",
    max_bytes: MaxBytes = None,
    timeout: Timeout = 600.0,
    force: Force = False,
) -> None:
    """Compare two files of layers, and write one page: heatmap, best matches, intervals, settings, what to cite."""
    check_page(output, force=force)
    chosen = [get_index(spec) for spec in index or ("cka",)]
    rows, columns, _ = read_sides(
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
    made = of_layers(
        rows,
        columns,
        chosen,
        intervals=intervals,
        confidence=confidence,
        subsamples=subsamples,
        seed=seed,
        timeout=timeout,
        title=title,
        labels=_labels(a, b or a),
    )
    of_a = _side(a)
    _with_sides(made, rows=of_a, columns=of_a if b is None else _side(b)).write(output, force=force)
    say(f"Written to {output}")


def _labels(a: Path, b: Path) -> tuple[str, str]:
    """The names of the files, or, of files of one name, their paths."""
    return (a.stem, b.stem) if a.stem != b.stem or a == b else (str(a), str(b))


def _side(path: Path) -> dict[str, str]:
    """What a report says of a file."""
    side = {"file": str(path)}
    if path.is_file():
        side["fingerprint"] = f"{_sha256(path)} (SHA-256 of the file)"
    return side


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_sides(report: Report, **files: dict[str, str]) -> Report:
    """The report, whose settings name the files."""

    def told(matrix: SimilarityMatrix) -> SimilarityMatrix:
        known = {side: matrix.details.get(side, {}) | of_file for side, of_file in files.items()}
        return replace(matrix, details={**matrix.details, **known})

    return replace(report, entries=tuple(replace(entry, matrix=told(entry.matrix)) for entry in report.entries))
