"""Figures that need no display, and text of strangers that is drawn as it is."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.files import whole_file
from simkit.notebook import show_after_cell
from simkit.pictures import write_figure
from simkit.provenance import model_of
from simkit.text import escaped, printable, short_names, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simkit.matrix import SimilarityMatrix

__all__ = [
    "COLOURS",
    "DASHES",
    "MARKERS",
    "TITLE",
    "axes_of",
    "figure",
    "fit",
    "grid_of",
    "inches_of",
    "label",
    "models_of",
    "names_of",
    "plain",
    "plain_axes",
    "room_for",
    "save",
    "set_title",
    "thinned",
    "titled",
    "width_of",
]

_NEEDED = 'Plots need matplotlib: pip install "simkit-similarity[plot]"'
_LONGEST = 40  # characters of a label
TITLE = 120  # and of a title
_WIDE = 0.12  # inches of a character
_EM = 0.6 / 72  # inches that a character takes for each point of its size, on average
_STEPS = (1, 2, 5)  # of ticks, times powers of ten

# Okabe & Ito's colours, told apart by people who are colour-blind; with the markers and dashes also in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":")


def figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, which needs no display.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError(_NEEDED) from None
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def plain_axes(width: float, height: float) -> Axes:
    """Axes alone in a figure of a size in inches, without lines above and to the right."""
    return plain(figure(width, height).add_subplot())


def plain(ax: Axes) -> Axes:
    """The axes, without lines above and to the right and without a grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(False)
    return ax


def axes_of(ax: Any, width: float, height: float) -> Axes:
    """`ax`, or axes alone in a new figure of a size in inches, which shows under the cell of a notebook.

    Raises
    ------
    TypeError
        `ax` is something else.
    """
    if ax is None:
        new = figure(width, height)
        show_after_cell(new)
        return new.add_subplot()
    if not hasattr(ax, "imshow"):
        some = (
            "one of them, such as ax=axes[0]" if hasattr(ax, "__len__") else "matplotlib Axes, such as figure.add_subplot()"
        )
        raise TypeError(f"ax is of type {type(ax).__name__}; give {some}.")
    return ax


def grid_of(ax: Any, count: int, columns: int, size: tuple[float, float]) -> np.ndarray:
    """Axes for `count` panels, an array of objects (rows, columns) with empty panels hidden; or those given, (count,).

    Raises
    ------
    TypeError
        `ax` is no array of Axes.
    ValueError
        They are fewer than the panels.
    """
    if ax is not None:
        given = np.array(ax, dtype=object).ravel()
        if not all(hasattr(one, "imshow") for one in given):
            raise TypeError(f"ax is of type {type(ax).__name__}; give an array of matplotlib Axes, one for each panel.")
        if len(given) < count:
            raise ValueError(f"ax has {len(given)} Axes, but there are {count} panels.")
        return given[:count]
    columns = min(columns, count)
    rows = -(-count // columns)
    new = figure(columns * size[0], rows * size[1])
    show_after_cell(new)
    axes = new.subplots(rows, columns, squeeze=False)
    for empty in axes.flat[count:]:
        empty.set_visible(False)
    return axes


def inches_of(ax: Axes) -> tuple[float, float]:
    """Width and height of axes, as far as they are known before the layout is computed."""
    box = ax.get_window_extent()
    dpi = ax.get_figure(root=True).dpi  # type: ignore[union-attr]
    return box.width / dpi, box.height / dpi


def save(axes: Axes, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write the figure of some axes as a picture, in the format that the name ends in: .png, .pdf, .svg and others.

    Raises
    ------
    FileExistsError
        The file exists and `force` is false.
    ValueError
        matplotlib writes no such format.
    """
    shown: Any = axes.get_figure(root=True)
    kind = Path(path).suffix.lower().removeprefix(".")
    formats = shown.canvas.get_supported_filetypes()
    if kind not in formats:
        raise ValueError(
            f"{printable(Path(path).name)} does not end like a picture; "
            f"expected {', '.join(f'.{one}' for one in sorted(formats))}."
        )
    with whole_file(path, force=force) as temporary:
        write_figure(shown, temporary, kind)


def label(text: str, limit: int = _LONGEST) -> str:
    """`text` for matplotlib to draw as it is: no mathematics between dollars, escapes for what the font lacks."""
    drawable = _drawable()
    plain = "".join(c if ord(c) in drawable else escaped(c) for c in printable(shortened(text, limit)))
    return shortened(plain, limit).replace("$", r"\$")


def names_of(names: Sequence[str]) -> list[str]:
    """Names of layers without what they share; to be drawn through `label`."""
    return short_names(list(names))


def models_of(matrix: SimilarityMatrix) -> tuple[str, str] | None:
    """What the sides are called where the matrix came about, to be drawn as it is; None if that is not told of both."""
    rows, columns = (model_of(matrix.details, side) for side in ("rows", "columns"))
    return (label(rows, 60), label(columns, 60)) if rows and columns else None


def titled(text: str, inches: float, size: float = 10) -> str:
    """A title for matplotlib to draw as it is, in lines that fit into so many inches."""
    most = max(12, int(inches / (_EM * size)))
    lines = textwrap.wrap(printable(shortened(text, TITLE)), most, break_on_hyphens=False) or [""]
    return "\n".join(label(line, TITLE) for line in lines)


def set_title(ax: Axes, title: str | None, default: Sequence[str], inches: float, size: float = 10) -> None:
    """The title as given; or lines of text of strangers, broken to be not much wider than the axes."""
    if title is None:
        title = "\n".join(titled(line, max(inches + 1.0, 1.7), size) for line in default if line)
    ax.set_title(title, fontsize=size)


def fit(ax: Axes, width: float, height: float) -> None:
    """Size the figure of axes that are alone in it so that they have a width and a height in inches, whatever is around."""
    shown: Any = ax.get_figure(root=True)
    for _ in range(2):
        shown.draw_without_rendering()
        there = inches_of(ax)
        if abs(there[0] - width) < 0.01 * width and abs(there[1] - height) < 0.01 * height:
            break
        size = shown.get_size_inches() + np.array([width, height]) - there
        shown.set_size_inches(np.maximum(size, 1.0))


def width_of(names: Iterable[str], size: float = 8) -> float:
    """Inches that the longest of some names takes, about."""
    return _EM * size * min(_LONGEST, max(map(len, names), default=0))


def room_for(labels: Iterable[str]) -> float:
    """Inches that the longest label needs beyond what is there for the usual ones."""
    return _WIDE * max(0, max(map(len, labels), default=0) - 16)


def thinned(count: int, most: int) -> range:
    """Places of at most `most` ticks among `count`, at equal distances of 1, 2, 5, 10, ... from the first on."""
    most = max(1, most)
    step = next(k * 10**e for e in range(20) for k in _STEPS if -(-count // (k * 10**e)) <= most)
    return range(0, count, step)


def _drawable() -> frozenset[int]:
    """The characters of the fonts that matplotlib would draw text in."""
    try:
        from matplotlib.font_manager import FontProperties
    except ImportError:
        raise ImportError(_NEEDED) from None
    return _characters(tuple(FontProperties().get_family()))


@lru_cache(8)
def _characters(families: tuple[str, ...]) -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[name])) for name in families]
    return frozenset().union(*(get_font(file).get_charmap() for file in files))
