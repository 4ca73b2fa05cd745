"""`simkit report`: activation files in, one page in HTML out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from simkit.cli.completion import index_names
from simkit.cli.console import say
from simkit.cli.examples import Examples, matrices, rules_of
from simkit.cli.options import (
    IN_CHUNKS,
    Chunks,
    Force,
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
from simkit.io import READABLE
from simkit.matrix import SimilarityMatrix
from simkit.page.contents import PAGES, check_page
from simkit.registry import get_index
from simkit.report import Report, of_layers
from simkit.scale.cluster import connected


def report(
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
    index: Annotated[
        Optional[list[str]],
        typer.Option(
            "--index",
            "-i",
            metavar="SPEC",
            help="An index, such as 'cka(estimator=unbiased)'; repeat it for several. Default: cka.",
            show_default=False,
            autocompletion=index_names,
        ),
    ] = None,
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
    rules = rules_of(examples, sides)
    found = matrices(examples, sides)
    made = of_layers(
        found[0],
        None if b is None else found[1],
        chosen,
        intervals=intervals,
        confidence=confidence,
        subsamples=subsamples,
        seed=seed,
        timeout=timeout,
        title=title,
        labels=_labels(a, b or a),
    )
    told = [_side(path, rule) for path, rule in zip((a, b or a), (rules * 2)[:2], strict=True)]
    _with_sides(made, told).write(output, force=force)
    say(f"Written to {output}")


def _labels(a: Path, b: Path) -> tuple[str, str]:
    """The names of the files, or, of files of one name, their paths."""
    return (a.stem, b.stem) if a.stem != b.stem or a == b else (str(a), str(b))


def _side(path: Path, rules: dict[str, str]) -> dict[str, Any]:
    """What a report says of a file."""
    side: dict[str, Any] = {"file": str(path), "rules": rules}
    if path.is_file():
        side["fingerprint"] = f"{_sha256(path)} (SHA-256 of the file)"
    return side


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_sides(report: Report, sides: Sequence[dict[str, Any]]) -> Report:
    """The report, whose settings name the files."""

    def told(matrix: SimilarityMatrix) -> SimilarityMatrix:
        known = {}
        for side, of_file in zip(("rows", "columns"), sides, strict=True):
            of_layers = matrix.details.get(side, {})  # of a store of activations
            known[side] = of_layers | of_file | {"rules": of_file["rules"] | of_layers.get("rules", {})}
        return replace(matrix, details={**matrix.details, **known})

    return replace(report, entries=tuple(replace(entry, matrix=told(entry.matrix)) for entry in report.entries))
