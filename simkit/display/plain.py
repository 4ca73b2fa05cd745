"""A similarity matrix as plain text, for ``print``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from simkit.display.colours import scale_of
from simkit.display.digits import written
from simkit.display.excerpt import Excerpt, excerpt, unknown, width
from simkit.options import option

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix

__all__ = ["table"]

_GAP = "  "
_NAME, _HEAD = 28, 14  # characters of a row's and of a column's name
_MORE = "..."


def table(matrix: SimilarityMatrix) -> str:
    """The line of ``repr``, and below it the scores, no wider than the terminal; of a lazy matrix that line alone."""
    if note := unknown(matrix.values):
        return f"{matrix!r}\n{note}"
    values = matrix.to_numpy()
    write = written(scale_of(matrix.facts, values).size, option("decimals"))
    rows = excerpt(matrix.rows, option("max_shown"), longest=_NAME)
    room = shutil.get_terminal_size().columns
    for most in range(min(option("max_shown"), len(matrix.columns)), 0, -1):
        columns = excerpt(matrix.columns, most, longest=_HEAD)
        cells = [[write(values[i, j]) for j in columns.positions] for i in rows.positions]
        lines = _lines(rows, columns, cells)
        if max(map(width, lines)) <= room:
            break
    notes = [note for note in (rows.note("rows"), columns.note("columns")) if note]
    return "\n".join([repr(matrix), *lines, *([f"{', '.join(notes)} shown"] if notes else [])])


def _lines(rows: Excerpt, columns: Excerpt, cells: list[list[str]]) -> list[str]:
    body = [[rows.labels[i], *line] for i, line in zip(rows.positions, cells, strict=True)]
    grid = [["", *(columns.labels[j] for j in columns.positions)], *body]
    if columns.hidden:
        grid = [[*line[: 1 + len(columns.first)], _MORE, *line[1 + len(columns.first) :]] for line in grid]
    if rows.hidden:
        grid.insert(1 + len(rows.first), [_MORE] * len(grid[0]))
    widths = [max(map(width, column)) for column in zip(*grid, strict=True)]
    return [
        _GAP.join(_padded(text, size, k) for k, (text, size) in enumerate(zip(line, widths, strict=True))) for line in grid
    ]


def _padded(text: str, size: int, column: int) -> str:
    space = " " * (size - width(text))
    return text + space if column == 0 else space + text
