"""Options that several commands take, and what is checked of them before work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

from simkit.cli.completion import files, index_names, results
from simkit.files import check_target
from simkit.io import READABLE

__all__ = [
    "IN_CHUNKS",
    "Chunks",
    "FileA",
    "FileB",
    "Force",
    "IndexSpec",
    "IndexSpecs",
    "Json",
    "LabelColumn",
    "MaxBytes",
    "Missing",
    "NoLabels",
    "Scheduler",
    "Timeout",
    "activations_file",
    "check_output",
    "result_file",
]

# Formats that only `simkit compare` and `simkit report` read, but for stores of activations.
IN_CHUNKS = (".zarr", ".h5", ".hdf5", ".parquet")

Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
MaxBytes = Annotated[
    Optional[int],
    typer.Option(
        help="Refuse files whose arrays would take more bytes than this. Default: the memory that is free.",
        show_default=False,
        metavar="BYTES",
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait for a cluster on which nothing can work.")
]
Chunks = Annotated[
    Optional[int],
    typer.Option(
        "--chunks",
        metavar="N",
        help="Read N examples at a time, with Dask. Default: files are read whole, but .zarr, .h5, .parquet in chunks.",
        show_default=False,
    ),
]
Scheduler = Annotated[
    Optional[str],
    typer.Option(
        "--scheduler",
        metavar="ADDRESS",
        help="Compute on a Dask cluster whose workers see the files, such as tcp://head:8786.",
        show_default=False,
    ),
]
LabelColumn = Annotated[
    Optional[str],
    typer.Option(
        "--ids",
        metavar="COLUMN",
        help="The column of .parquet files that holds the labels of the examples.",
        show_default=False,
    ),
]
NoLabels = Annotated[
    bool, typer.Option("--no-ids", help="Every column of .parquet files is a feature, also one called like a label.")
]
Missing = Annotated[
    Literal["warn", "error", "ignore"],
    typer.Option("--missing", help="What to do if chunks of a .zarr or .h5 file were never written."),
]
IndexSpec = Annotated[
    str,
    typer.Option(
        "--index",
        "-i",
        metavar="SPEC",
        help="The index, with parameters in brackets if you like: 'cka(estimator=unbiased)'. `simkit indexes` lists them.",
        autocompletion=index_names,
    ),
]
IndexSpecs = Annotated[
    Optional[list[str]],
    typer.Option(
        "--index",
        "-i",
        metavar="SPEC",
        help="An index, such as 'cka(estimator=unbiased)'; repeat it for several. Default: cka.",
        show_default=False,
        autocompletion=index_names,
    ),
]


def activations_file(metavar: str, help: str, suffixes: tuple[str, ...] = READABLE) -> Any:
    """The argument for a file of activations."""
    return typer.Argument(metavar=metavar, help=help, show_default=False, autocompletion=files(suffixes))


_ANY = (*READABLE, *IN_CHUNKS)
FileA = Annotated[Path, activations_file("A", f"Activations: {', '.join(_ANY)}.", _ANY)]
FileB = Annotated[
    Optional[Path], activations_file("B", "Those of another network for the same examples. Default: A itself.", _ANY)
]


def result_file(help: str, suffixes: tuple[str, ...]) -> Any:
    """The option ``--output`` for a file of one of the suffixes, which its help lists."""
    listed = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}" if len(suffixes) > 1 else suffixes[0]
    return typer.Option(
        "--output", "-o", metavar="FILE", help=f"{help} {listed}.", show_default=False, autocompletion=results(suffixes)
    )


def check_output(output: Path | None, suffixes: tuple[str, ...], *, force: bool) -> None:
    """Raise before work begins if a result cannot be written there."""
    if output is None:
        return
    if output.suffix.lower() not in suffixes:
        raise ValueError(f"{output}: expected {', '.join(suffixes)}.")
    check_target(output, force=force)
