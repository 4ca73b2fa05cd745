"""What the command line prints, and how: strings are data, of a network's layers or of a plugin, and never markup."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from simkit.matrix import SimilarityMatrix
from simkit.text import printable, shortened

__all__ = ["console", "one_line", "print_json", "print_matrix", "say", "tell"]

_LONGEST_LINE = 3000  # characters of a message; a list of ten thousand layers is cut in the middle


class PlainConsole(Console):
    """Rich's console for strings as data: no markup, no codes of emojis, visible escapes for what is not printable.

    Styles are given by `rich.text.Text`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as Rich prints it."""
        return super().render_str(printable(text), **(options | {"markup": False, "emoji": False}))

    def on_broken_pipe(self) -> None:
        """Leave it to `simkit.cli.app.run`."""
        raise BrokenPipeError


# What goes into a file or a pipe keeps its columns.
console = PlainConsole() if sys.stdout is not None and sys.stdout.isatty() else PlainConsole(width=140)


def say(line: object) -> None:
    """Print one line on standard output, of any length."""
    print(printable(line))


def tell(what: str, style: str, line: str) -> None:
    """Print a line that begins with a word in a style."""
    console.print(Text.assemble((what, style), " ", printable(line)), highlight=False)


def one_line(message: object) -> str:
    """A message, perhaps of many lines, as one that can be printed."""
    return shortened(printable(" ".join(str(message).split())), _LONGEST_LINE)


def print_json(record: Any) -> None:
    """Print one JSON document on standard output; its strings are escaped as JSON does it, and exact."""
    print(json.dumps(record, indent=1, allow_nan=False))


def print_matrix(matrix: SimilarityMatrix) -> None:
    """Print a matrix as a table."""
    rows, columns = (tuple(map(shortened, names)) for names in (matrix.rows, matrix.columns))
    table = Table(title=f"{matrix.index}, n = {matrix.n}", title_justify="left")
    table.add_column("", no_wrap=True, min_width=min(12, max(map(len, rows))))
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for name, line in zip(rows, matrix.to_numpy(), strict=True):
        best = line.max() if len(line) > 1 else None
        table.add_row(name, *(Text(f"{value:.3f}", "bold" if value == best else "") for value in line))
    widths = [cell_len(printable(name)) for name in columns]
    needed = 12 + max(cell_len(printable(name)) for name in rows) + sum(max(8, width + 3) for width in widths)
    wide = console if console.is_terminal else PlainConsole(width=max(console.width, needed))
    wide.print(table, crop=False)
