"""Which rows and columns of a large matrix are shown, and what they are called there."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from simkit.arrays import Array, is_dask, is_lazy
from simkit.text import printable, short_names, shortened

__all__ = ["Excerpt", "excerpt", "unknown", "width"]


@dataclass(frozen=True)
class Excerpt:
    """The first and the last layers of a side.

    Attributes
    ----------
    first, last : range
        Positions. `last` is empty if all are shown.
    labels : list of str
        Short, printable names of the layers of the whole side, by position.
    count : int
        How many layers the side has.
    """

    first: range
    last: range
    labels: list[str]
    count: int

    @property
    def positions(self) -> tuple[int, ...]:
        """Those that are shown."""
        return (*self.first, *self.last)

    @property
    def hidden(self) -> int:
        """How many are left out, after `first`."""
        return self.count - len(self.positions)

    def note(self, what: str) -> str:
        """``"20 of 48 rows"``; empty if all are shown."""
        return f"{len(self.positions)} of {self.count} {what}" if self.hidden else ""


def excerpt(names: Sequence[str], most: int, *, longest: int = 40) -> Excerpt:
    """At most `most` layers, half of them from either end, with labels of at most `longest` characters."""
    shown = len(names) if len(names) <= most else most
    first = -(-shown // 2) if shown < len(names) else shown
    labels = [shortened(printable(name), longest) for name in short_names(names)]
    return Excerpt(range(first), range(len(names) - (shown - first), len(names)), labels, len(names))


def unknown(values: Array) -> str:
    """Why the scores cannot be shown, in words; empty if they can. Nothing is computed to be shown."""
    if not is_lazy(values):
        return ""
    return "not computed yet; .compute() does" if is_dask(values) else "values are not known inside of a transformation"


def width(text: str) -> int:
    """Cells of a terminal that a printable text takes: two for characters of East Asia, none for combining marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
