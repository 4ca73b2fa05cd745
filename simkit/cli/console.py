"""What the command line prints, and how: strings are data, of a network's layers or of a plugin, and never markup."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from simkit.text import printable, shortened

__all__ = ["console", "measured", "one_line", "print_json", "print_table", "say", "say_note", "tell"]

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


def say_note(line: str) -> None:
    """Print a remark, such as one below a table."""
    console.print(line, style="dim", highlight=False)


def measured(table: Table) -> int:
    """How many columns of text a table needs if nothing in it is to be wrapped."""
    return Measurement.get(console, console.options.update(max_width=10**5), table).maximum


def print_table(table: Table, needed: int) -> None:
    """Print a table that `needed` columns of text were `measured` for: folded on a terminal, whole into a pipe or a file."""
    on = console if console.is_terminal or needed <= console.width else PlainConsole(width=needed)
    on.print(table)
