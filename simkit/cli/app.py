"""The Typer application and what its commands share."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Annotated, Any

import typer
from rich.console import Console

import simkit
from simkit.errors import SimkitError
from simkit.matrix import SimilarityMatrix

__all__ = ["Json", "app", "console", "print_json", "print_matrix", "run"]

app = typer.Typer(
    name="simkit",
    help="How similar are two neural representations?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
# What goes into a file or a pipe keeps its columns.
console = Console() if sys.stdout.isatty() else Console(width=140)

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def run() -> int:
    """Run the application on the command line's arguments; the exit code."""
    # each adds its commands to `app`
    from simkit.cli import compare, demo, listing, new_plugin, plugins, sanity, significance, subspace  # noqa: F401

    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        return app(standalone_mode=False) or 0
    except typer.Exit as leave:
        return leave.exit_code
    except typer.Abort:
        return 130
    except (SimkitError, OSError, ValueError, ImportError) as error:
        return _complain(str(error))
    except Exception as error:
        # Typer carries its own usage errors; they know how to phrase themselves.
        if hasattr(error, "format_message"):
            return _complain(error.format_message())
        raise


def _complain(message: str) -> int:
    print(f"simkit: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _show_warning(message: Any, *_: Any) -> None:
    print(f"simkit: warning: {message}", file=sys.stderr)


def print_json(record: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(record, indent=1, allow_nan=False))


def print_matrix(matrix: SimilarityMatrix) -> None:
    """Print a matrix as a table."""
    from rich.table import Table

    table = Table(title=f"{matrix.index}, n = {matrix.n}", title_justify="left")
    table.add_column("")
    for name in matrix.columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, line in zip(matrix.rows, matrix.to_numpy(), strict=True):
        best = line.max() if len(line) > 1 else None
        table.add_row(name, *(f"[bold]{value:.3f}[/]" if value == best else f"{value:.3f}" for value in line))
    needed = 12 + max(map(len, matrix.rows)) + sum(max(8, len(name) + 3) for name in matrix.columns)
    console.print(table, width=None if console.is_terminal else max(console.width, needed), crop=False)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        print(f"simkit {simkit.__version__}")
        raise typer.Exit
