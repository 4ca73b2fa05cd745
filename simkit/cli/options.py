"""Options that several commands take, and what is checked of them before work begins."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from simkit.io import check_writable

__all__ = ["Force", "Json", "MaxBytes", "check_output"]

Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
MaxBytes = Annotated[
    Optional[int],
    typer.Option(help="Refuse files that declare more than this; by default more than the memory.", show_default=False),
]


def check_output(output: Path | None, suffixes: tuple[str, ...], *, force: bool) -> None:
    """Raise before work begins if a result cannot be written there."""
    if output is None:
        return
    if output.suffix.lower() not in suffixes:
        raise ValueError(f"{output}: expected {', '.join(suffixes)}.")
    check_writable(output, force=force)
