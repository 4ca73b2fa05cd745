"""A similarity matrix as HTML, for notebooks: a table of numbers, each on its colour.

Styles stand in the elements, since some viewers of notebooks drop style sheets. Cells have their own background and ink,
legible in light and dark; all else takes those of the page.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import numpy as np

from simkit.arrays import to_numpy
from simkit.display.colours import Colour, Scale, ink_on, scale_of
from simkit.display.digits import written
from simkit.display.excerpt import excerpt, unknown
from simkit.options import option
from simkit.text import printable, shortened

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix

__all__ = ["table"]

_TITLE = 200  # characters of a name that is shown when the pointer rests on it
_CROWDED = 6  # characters of the name of a column from which on the names stand upright
_UPRIGHT = "writing-mode:vertical-rl;transform:rotate(180deg);white-space:nowrap;text-align:left;vertical-align:bottom"
_CELL = "text-align:right;padding:.25em .5em;font-variant-numeric:tabular-nums"
_UNDEFINED = "background:repeating-linear-gradient(45deg,#fff 0 3px,#ddd 3px 6px);color:#000"


def table(matrix: SimilarityMatrix) -> str:
    """The table; of a lazy matrix what is known without computing it."""
    if note := unknown(matrix.values):
        n, m = matrix.shape
        return f"<table><caption>{_text(matrix.title)}<br>{n} x {m}, {note}</caption></table>"
    return _Page(matrix).table()


class _Page:
    """The parts of the table of a matrix."""

    def __init__(self, matrix: SimilarityMatrix) -> None:
        self.matrix = matrix
        self.values = to_numpy(matrix.values)
        self.chance = None if matrix.chance is None else to_numpy(matrix.chance)
        self.scale = scale_of(matrix.facts, self.values)
        self.write = written(self.scale.size, option("decimals"))
        self.rows, self.columns = (excerpt(names, option("max_shown")) for names in (matrix.rows, matrix.columns))

    def table(self) -> str:
        body = [self.row(i) for i in self.rows.positions]
        if self.rows.hidden:
            across = len(self.columns.positions) + bool(self.columns.hidden)
            more = f'<td colspan="{across}" style="text-align:center">{self.rows.hidden} more rows</td>'
            body.insert(len(self.rows.first), f'<tr><th scope="row">&#8942;</th>{more}</tr>')
        return f"<table>{self.caption()}<thead>{self.head()}</thead><tbody>{''.join(body)}</tbody></table>"

    def caption(self) -> str:
        lines = [_text(self.matrix.title)]
        if self.chance is not None and np.isfinite(self.chance).any():
            least, mean, most = (self.write(f(self.chance)) for f in (np.nanmin, np.nanmean, np.nanmax))
            lines.append(f"by chance {mean}" if least == most else f"by chance {mean} on average ({least} to {most})")
        below, above = self.scale.beyond(self.values)
        low = self.write(self.scale.low) + " or less" * below
        high = self.write(self.scale.high) + " or more" * above
        colours = ",".join(map(_css, self.scale.anchors))
        bar = f'<span style="display:inline-block;width:8em;height:.8em;background:linear-gradient(90deg,{colours})"></span>'
        alike = " (0 is the same)" if self.scale.kind == "reversed" else ""
        lines.append(f"{self.scale.label} {low} {bar} {high}{alike}")
        notes = [note for note in (self.rows.note("rows"), self.columns.note("columns")) if note]
        if notes:
            lines.append(f"{' and '.join(notes)} shown; simkit.set_options(max_shown=...) changes that")
        return f"<caption>{'<br>'.join(lines)}</caption>"

    def head(self) -> str:
        names, labels = self.matrix.columns, self.columns.labels
        upright = max((len(labels[j]) for j in self.columns.positions), default=0) > _CROWDED
        style = f' style="{_UPRIGHT}"' if upright else ""
        cells = [
            f'<th scope="col"{style} title="{_title(names[j])}">{_text(labels[j])}</th>' for j in self.columns.positions
        ]
        if self.columns.hidden:
            cells.insert(len(self.columns.first), f'<th scope="col" title="{self.columns.hidden} more columns">&#8943;</th>')
        return f"<tr><td></td>{''.join(cells)}</tr>"

    def row(self, i: int) -> str:
        cells = [self.cell(i, j) for j in self.columns.positions]
        if self.columns.hidden:
            cells.insert(len(self.columns.first), "<td>&#8943;</td>")
        name = f'<th scope="row" title="{_title(self.matrix.rows[i])}">{_text(self.rows.labels[i])}</th>'
        return f"<tr>{name}{''.join(cells)}</tr>"

    def cell(self, i: int, j: int) -> str:
        value = float(self.values[i, j])
        about = f"{self.rows.labels[i]}, {self.columns.labels[j]}: {value:.6g}"
        if self.chance is not None:
            about += f", by chance {float(self.chance[i, j]):.3g}"
        return f'<td style="{_CELL};{_paint(self.scale, value)}" title="{_text(about)}">{self.write(value)}</td>'


def _paint(scale: Scale, value: float) -> str:
    colour = scale.colour(value)
    if colour is None:
        return _UNDEFINED
    return f"background:{_css(colour)};color:{_css(ink_on(colour))}"


def _css(colour: Colour) -> str:
    return f"#{bytes(colour).hex()}"


def _text(text: str) -> str:
    return html.escape(printable(text))


def _title(name: str) -> str:
    return _text(shortened(name, _TITLE))
