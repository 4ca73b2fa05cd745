"""A similarity matrix on a terminal: laid out for its width, with the colours that the index has everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from rich._palettes import EIGHT_BIT_PALETTE
from rich.cells import cell_len
from rich.color import Color as RichColour
from rich.style import Style
from rich.text import Text

from simkit.arrays import to_numpy
from simkit.best import best
from simkit.cli.console import console
from simkit.cli.layout import Line, Match, Piece, best_lines, cut, lay_out
from simkit.cli.numerals import spread, writer
from simkit.display import Scale, ink_on, scale_of
from simkit.matrix import SimilarityMatrix
from simkit.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["chance_line", "is_bounded", "print_matrix"]

_NARROWEST = 20  # columns; on a narrower terminal lines are wrapped by it
_MANY_COLOURS = {"256", "truecolor", "windows"}  # colour systems on which neighbours of a scale differ


def print_matrix(matrix: SimilarityMatrix, sides: tuple[str, str] | None = None, *, on: Console = console) -> None:
    """Print a matrix: on a terminal as wide as that, else with whole names and six decimals in lines of any length.

    Parameters
    ----------
    matrix : SimilarityMatrix
    sides : (str, str), optional
        Where the rows and the columns are from; None for a network compared with itself.
    on : rich Console
    """
    values = np.asarray(matrix.to_numpy(), dtype=float)
    width = max(on.width, _NARROWEST) if on.is_terminal else None
    scale = scale_of(matrix.facts, values)
    alone = sides is None and matrix.rows == matrix.columns  # a layer is not told that it is most like itself
    compared = matrix.to_numpy()  # in their own precision, which says what is a tie
    if alone:
        compared = np.where(np.eye(len(values), dtype=bool), np.nan, compared)
    tied = best(compared, smallest=matrix.is_distance)
    bounded = is_bounded(matrix)
    _print(on, _head(matrix, sides, width))
    lines = lay_out(values, matrix.rows, matrix.columns, width, bounded=bounded, measure=cell_len)
    if lines is None:
        matches = _matches(matrix, values, tied)
        found = best_lines(matches, width, bounded=bounded, measure=cell_len)
        other = ", other than itself" if alone else ""
        told = f"the best match of each row{other}; all {values.size} scores: --output m.csv, --json, or | less -S"
        _print(on, (*_notes(told, width), *found))
    else:
        shaded = on.is_terminal and not on.no_color and on.color_system in _MANY_COLOURS
        for line in lines:
            _print(on, [line], values, tied if len(matrix.columns) > 1 else None, scale if shaded else None)
    if matrix.chance is not None:
        _print(on, _notes(chance_line(matrix, 3 if width else 6), width))


def is_bounded(matrix: SimilarityMatrix) -> bool:
    """Whether all scores of the index are at most 1 in size; of an index that is not installed these scores decide."""
    if matrix.facts is None:
        return bool(np.all(np.abs(np.nan_to_num(matrix.to_numpy(), nan=0.0)) <= 1))
    return max(map(abs, matrix.facts.range)) <= 1


def chance_line(matrix: SimilarityMatrix, decimals: int = 3) -> str:
    """What unrelated layers would score: the range of `matrix.chance`, which is not None."""
    chance = np.asarray(to_numpy(matrix.chance), dtype=float)
    write = writer(chance, decimals, bounded=is_bounded(matrix), zero=decimals > 3)
    return f"chance: {spread(chance.ravel(), write)} (what unrelated layers score on average)"


def _head(matrix: SimilarityMatrix, sides: tuple[str, str] | None, width: int | None) -> list[Line]:
    told = [f"{matrix.index}, n = {matrix.n}"]
    if sides is not None:
        told.append(f"rows: {sides[0]}, columns: {sides[1]}")
    return [line for text in told for line in _notes(text, width, role="title" if text is told[0] else "note")]


def _notes(text: str, width: int | None, role: str = "note") -> list[Line]:
    return [(Piece(part, role),) for part in cut(printable(text), width, cell_len)]  # type: ignore[arg-type]


def _matches(matrix: SimilarityMatrix, values: np.ndarray, tied: np.ndarray) -> list[Match]:
    chance = None if matrix.chance is None else np.asarray(to_numpy(matrix.chance), dtype=float)
    found = []
    for i, row in enumerate(matrix.rows):
        at = np.flatnonzero(tied[i])
        value, expected = (float(x[i, at[0]]) if len(at) else np.nan for x in (values, values if chance is None else chance))
        columns = tuple(matrix.columns[j] for j in at)
        found.append(Match(row, columns, value, None if chance is None else expected))
    return found


def _print(
    on: Console,
    lines: Iterable[Line],
    values: np.ndarray | None = None,
    tied: np.ndarray | None = None,
    scale: Scale | None = None,
) -> None:
    for line in lines:
        text = Text()
        for piece in line:
            text.append(piece.text, _style(piece, values, tied, scale, on.color_system == "256"))
        if scale is None:
            text.rstrip()
        on.print(text, soft_wrap=True, highlight=False)


def _style(piece: Piece, values: np.ndarray | None, tied: np.ndarray | None, scale: Scale | None, few: bool) -> Style | str:
    if piece.role != "value" or values is None:
        return {"note": "dim", "number": "dim", "title": "bold"}.get(piece.role, "")
    place = piece.row, piece.column
    bold = bool(tied is not None and tied[place])
    colour = scale.colour(float(values[place])) if scale is not None else None
    if colour is None:
        return Style(bold=bold)
    behind = _shown(colour, few)
    return Style(bold=bold, color=_shown(ink_on(tuple(behind.get_truecolor())), few), bgcolor=behind)


@cache
def _shown(colour: tuple[int, int, int], few: bool) -> RichColour:
    """A colour, or the nearest of the 256 that a terminal has: nearest in hue above all, as the scales are told by it."""
    if not few:
        return RichColour.from_rgb(*colour)

    def distance(number: int) -> float:
        red, green, blue = (a - b for a, b in zip(EIGHT_BIT_PALETTE[number], colour, strict=True))
        return red**2 + green**2 + blue**2 + 3 * (red - green) ** 2 + 3 * (green - blue) ** 2

    return RichColour.from_ansi(min(range(16, 256), key=distance))  # the first 16 are whatever the user has made of them
