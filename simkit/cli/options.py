"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

__all__ = ["Json", "MaxBytes"]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
MaxBytes = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Refuse files that declare more than this; by default more than the memory.", show_default=False),
]
