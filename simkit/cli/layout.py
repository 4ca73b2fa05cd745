"""How a matrix becomes lines of text of a given width, in which no value and no name is hidden.

It knows nothing of terminals and colours. Of all ways to lay a matrix out (names in full or without what they share, written
over several lines, or replaced by numbers with a list; two or three decimals; rows and columns exchanged; one block of
columns or several), that one is taken which is easiest to read, as `_cost` judges it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from simkit.cli.numerals import writer
from simkit.text import printable, short_names

__all__ = ["Line", "Match", "Piece", "best_lines", "cut", "lay_out"]

MOST_LINES = 400  # that a matrix is printed in; of a larger one the best matches
PRECISE = 6  # decimals where there is no width to keep to
_LONGEST_PART = 8  # characters of a heading that are not broken

Measure: TypeAlias = Callable[[str], int]
Heads: TypeAlias = Literal["line", "broken", "numbers"]
Labels: TypeAlias = Literal["names", "numbers"]
Role: TypeAlias = Literal["value", "name", "number", "note", "title", ""]

_HEADS: tuple[Heads, ...] = ("line", "broken", "numbers")
_LABELS: tuple[Labels, ...] = ("names", "numbers")


class Piece(NamedTuple):
    """Some text of a line.

    Attributes
    ----------
    text : str
    role : {"value", "name", "number", "note", "title", ""}
        A value of the matrix; a name, or a part of it; the number that stands for a name; a remark; space.
    row, column : int, optional
        What it is of, as the matrix has it, also where the text has rows and columns exchanged.
    """

    text: str
    role: Role = ""
    row: int | None = None
    column: int | None = None


Line: TypeAlias = tuple[Piece, ...]


@dataclass(frozen=True)
class _Side:
    """The layers of one side, as they may be shown."""

    full: list[str]
    short: list[str]
    shared: tuple[str, str]  # what all full names have before and after the short ones

    @classmethod
    def of(cls, names: Sequence[str]) -> _Side:
        full, short = ([printable(name) or "''" for name in some] for some in (names, short_names(names)))
        first, brief = full[0], short[0]
        for start in range(len(first) - len(brief) + 1):
            before, after = first[:start], first[start + len(brief) :]
            if all(f"{before}{part}{after}" == name for part, name in zip(short, full, strict=True)):
                return cls(full, short, (before, after))
        return cls(full, full, ("", ""))  # a name that is nothing but the shared parts

    @property
    def has_short(self) -> bool:
        return self.full != self.short

    def names(self, brief: bool) -> list[str]:
        return self.short if brief else self.full


@dataclass(frozen=True)
class _Way:
    """One way to lay the matrix out."""

    brief: bool  # names without what they share
    turned: bool  # rows and columns exchanged
    decimals: int
    heads: Heads
    labels: Labels
    gap: int  # spaces between columns

    def burden(self, beside: bool) -> float:
        """How much harder it is to read than the plainest way, a factor of its lines.

        `beside` is whether numbers of columns stand beside the names of the rows, so that there is no list to look them up.
        """
        return (
            (1.03 if self.brief else 1.0)
            * (1.1 if self.turned else 1.0)
            * (1.05 if self.decimals < 3 else 1.0)
            * {"line": 1.0, "broken": 1.1, "numbers": 1.2 if beside else 1.4}[self.heads]
            * (1.6 if self.labels == "numbers" else 1.0)
            * (1.02 if self.gap < 2 else 1.0)
        )


@dataclass
class _Matrix:
    """What is laid out, and texts that several ways share."""

    values: np.ndarray
    rows: _Side
    columns: _Side
    measure: Measure
    bounded: bool
    same: bool  # both sides are the same layers
    _texts: dict[int, list[list[str]]] = field(default_factory=dict)

    def texts(self, decimals: int, turned: bool) -> list[list[str]]:
        if decimals not in self._texts:
            write = writer(self.values, decimals, bounded=self.bounded, zero=decimals == PRECISE)
            self._texts[decimals] = [[write(value) for value in line] for line in self.values]
        found = self._texts[decimals]
        return [list(column) for column in zip(*found, strict=True)] if turned else found


def lay_out(
    values: np.ndarray,
    rows: Sequence[str],
    columns: Sequence[str],
    width: int | None,
    *,
    bounded: bool = True,
    most: int = MOST_LINES,
    measure: Measure = len,
) -> list[Line] | None:
    """The lines of a matrix, none wider than `width`.

    Parameters
    ----------
    values : array of float, shape (len(rows), len(columns))
    rows, columns : sequence of str
        Names of the layers.
    width : int or None
        At least 40. None for lines of any length: one block, whole names, six decimals.
    bounded : bool
        Scores of the index are at most 1 in size.
    most : int
        The most lines, where there is a width.
    measure : callable
        The width of a text in the font that it will be shown in.

    Returns
    -------
    list of tuples of Piece, or None
        None where it would be more lines than `most`.
    """
    matrix = _Matrix(values, _Side.of(rows), _Side.of(columns), measure, bounded, list(rows) == list(columns))
    if width is None:
        plain = _Way(False, False, PRECISE, "line", "names", 2)
        return list(_Plan(matrix, plain, None).lines())
    if values.size * 3 > width * most:  # a value and its gap take three characters at least
        return None
    brief = (False, True) if matrix.rows.has_short or matrix.columns.has_short else (False,)
    ways = product(brief, (False, True), (3, 2), _HEADS, _LABELS, (2, 1))
    plans = [plan for way in ways if (plan := _Plan(matrix, _Way(*way), width)).fits]
    best = min(plans, key=lambda plan: plan.cost)
    lines = list(best.lines())
    return lines if len(lines) <= most else None


class _Plan:
    """A way to lay a matrix out, measured."""

    def __init__(self, matrix: _Matrix, way: _Way, width: int | None) -> None:
        self.matrix, self.way, self.width = matrix, way, width
        sides = (matrix.columns, matrix.rows) if way.turned else (matrix.rows, matrix.columns)
        self.down, self.across = (side.names(way.brief) for side in sides)
        self.texts = matrix.texts(way.decimals, way.turned)
        measure = matrix.measure
        numbered = way.heads == "numbers" and matrix.same and way.labels == "names"  # rows tell the numbers of columns
        digits = len(str(len(self.down)))
        self.labels = [str(k + 1).rjust(digits) for k in range(len(self.down))] if way.labels == "numbers" else self.down
        self.prefix = digits + 1 if numbered else 0
        self.label_width = self.prefix + max(map(measure, self.labels))
        self.column_widths, self.heads = [], []
        for j, name in enumerate(self.across):
            room = max(len(line[j]) for line in self.texts)
            head = [str(j + 1)] if way.heads == "numbers" else [name]
            if way.heads == "broken":
                parts = _parts(name, measure)
                room = max(room, *map(measure, parts))
                head = _joined(parts, room, measure)
            self.column_widths.append(max(room, *map(measure, head)))
            self.heads.append(head)
        self.fits = width is None or self.label_width + way.gap + max(self.column_widths) <= width
        self.blocks = self._blocks() if self.fits else []

    def _blocks(self) -> list[range]:
        """The columns of each block, as many in each as there can be."""
        count = len(self.across)
        if self.width is None:
            return [range(count)]
        needed = [room + self.way.gap for room in self.column_widths]
        free = self.width - self.label_width
        starts, used = [0], 0
        for j, room in enumerate(needed):
            if used + room > free:
                starts.append(j)
                used = 0
            used += room
        even = -(-count // len(starts))
        if all(sum(needed[j : j + even]) <= free for j in range(0, count, even)):
            starts = list(range(0, count, even))
        return [range(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]

    @property
    def cost(self) -> float:
        """How hard it is to read: the lines to look through, weighed by how they are to be read."""
        count = sum(len(self.down) + max(len(self.heads[j]) for j in block) + 1 for block in self.blocks)
        count += sum(1 + sum(len(self._entry(name, len(names))) for name in names) for _, names, _ in self._lists())
        return count * self.way.burden(self.prefix > 0) * (1 + 0.55 * (len(self.blocks) - 1))

    # --- lines ----------------------------------------------------------------------------------------------------------

    def lines(self) -> Iterator[Line]:
        """All lines: remarks, lists of numbered names, blocks of columns."""
        yield from self._remarks()
        for title, names, is_row in self._lists():
            yield from self._notes(title)
            for k, name in enumerate(names):
                row, column = (k, None) if is_row else (None, k)
                number = str(k + 1).rjust(len(str(len(names))))
                for i, part in enumerate(self._entry(name, len(names))):
                    begin = Piece(number if i == 0 else " " * len(number), "number" if i == 0 else "")
                    yield begin, Piece(" "), Piece(part, "name", row, column)
        for k, block in enumerate(self.blocks):
            if k:
                yield ()
            yield from self._block(block)

    def _remarks(self) -> Iterator[Line]:
        if self.way.turned:
            yield from self._notes("rows and columns are exchanged")
        if not self.way.brief:
            return
        matrix = self.matrix
        alike = matrix.same or matrix.rows.shared == matrix.columns.shared
        sides = [("", matrix.rows)] if alike else [("of rows ", matrix.rows), ("of columns ", matrix.columns)]
        for which, side in sides:
            if side.has_short:
                parts = " and ".join(f"{part!r}" for part in side.shared if part)
                yield from self._notes(f"names {which}without {parts}")

    def _lists(self) -> list[tuple[str, list[str], bool]]:
        """Lists of the names that numbers stand for: a title, the names, whether they are rows of the matrix."""
        found = []
        turned, same = self.way.turned, self.matrix.same
        if self.way.labels == "numbers":
            found.append(("layers:" if same else "columns:" if turned else "rows:", self.down, not turned))
        if self.way.heads == "numbers" and not same:
            found.append(("rows:" if turned else "columns:", self.across, turned))
        return found

    def _entry(self, name: str, count: int) -> list[str]:
        """A name of a list of `count`, over as many lines as it needs."""
        return cut(name, None if self.width is None else self.width - len(str(count)) - 1, self.matrix.measure)

    def _notes(self, text: str) -> Iterator[Line]:
        for part in cut(text, self.width, self.matrix.measure):
            yield (Piece(part, "note"),)

    def _block(self, block: range) -> Iterator[Line]:
        measure, turned = self.matrix.measure, self.way.turned
        label_role: Literal["name", "number"] = "number" if self.way.labels == "numbers" else "name"
        head_role: Literal["name", "number"] = "number" if self.way.heads == "numbers" else "name"
        height = max(len(self.heads[j]) for j in block)
        for i in range(height):
            line = [Piece(" " * self.label_width)]
            for j in block:
                head = self.heads[j]
                k = i - (height - len(head))
                text = head[k] if k >= 0 else ""
                padded = self._padded(text, self.column_widths[j], measure)
                line.append(Piece(padded, head_role if text else "", *((j, None) if turned else (None, j))))
            yield tuple(line)
        for i, label in enumerate(self.labels):
            row, column = (None, i) if turned else (i, None)
            line = [Piece(str(i + 1).rjust(self.prefix - 1) + " ", "number", row, column)] if self.prefix else []
            line.append(Piece(label, label_role, row, column))
            line.append(Piece(" " * (self.label_width - self.prefix - measure(label))))
            for j in block:
                row, column = (j, i) if turned else (i, j)
                line.append(Piece(self._padded(self.texts[i][j], self.column_widths[j], len), "value", row, column))
            yield tuple(line)

    def _padded(self, text: str, room: int, measure: Measure) -> str:
        """Right-aligned in its column, with the gap around it, so that a colour behind it has no holes."""
        after = self.way.gap - 1 if self.width is not None else 0
        return " " * (self.way.gap - after + room - measure(text)) + text + " " * after


def cut(text: str, width: int | None, measure: Measure = len) -> list[str]:
    """`text` in pieces of at most `width`, without losing a character; without a width in one piece."""
    if width is None or measure(text) <= width:
        return [text]
    pieces = [""]
    for character in text:
        if pieces[-1] and measure(pieces[-1] + character) > width:
            pieces.append("")
        pieces[-1] += character
    return pieces


def _parts(name: str, measure: Measure) -> list[str]:
    """A name, cut where it may be broken: after dots, dashes and the like, and within what is very long."""
    parts = [part for part in re.split(r"(?<=[._/\-:\s])", name) if part] or [""]
    return [piece for part in parts for piece in cut(part, _LONGEST_PART, measure)]


def _joined(parts: list[str], room: int, measure: Measure) -> list[str]:
    """Lines of at most `room` made of the parts."""
    lines = [""]
    for part in parts:
        if measure(lines[-1] + part) > room:
            lines.append("")
        lines[-1] += part
    return lines if lines[0] or len(lines) == 1 else lines[1:]


# --- best matches ---------------------------------------------------------------------------------------------------


class Match(NamedTuple):
    """The layer of the other network that is most like one."""

    row: str
    columns: tuple[str, ...]  # several if they are equally alike; none if no score is a number
    value: float
    chance: float | None = None


def best_lines(
    matches: Sequence[Match], width: int | None, *, bounded: bool = True, most: int = MOST_LINES, measure: Measure = len
) -> list[Line]:
    """A line for each match, or for as many as go into `most` lines, and how many are left out."""
    numbers = [match.value for match in matches] + [match.chance for match in matches if match.chance is not None]
    write = writer(np.asarray(numbers, dtype=float), 3, bounded=bounded, zero=False)
    rows = [printable(match.row) or "''" for match in matches]
    values = [write(match.value) for match in matches]
    room, space = max(map(len, values)), max(map(measure, rows))
    lines: list[Line] = []
    for k, (match, row, value) in enumerate(zip(matches, rows, values, strict=True)):
        chance = f"  (chance {write(match.chance)})" if match.chance is not None else ""
        columns = ", ".join(map(printable, match.columns)) or "no layer, as all scores are nan"
        text = f"{row}{' ' * (space - measure(row))}  {value.rjust(room)}{chance}  {columns}"
        if width is not None and measure(text) > width:
            text = f"{row}  {value}{chance}  {columns}"
        told = [(Piece(part, "name"),) for part in cut(text, width, measure)]
        if width is not None and len(lines) + len(told) > most:
            lines.append((Piece(f"and {len(matches) - k} more rows", "note"),))
            break
        lines += told
    return lines
