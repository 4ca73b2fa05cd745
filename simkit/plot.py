"""Heatmaps of similarity matrices, with matplotlib."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.errors import SimkitError
from simkit.files import whole_file
from simkit.registry import get_index
from simkit.text import escaped, printable, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simkit.matrix import SimilarityMatrix

__all__ = ["TITLE", "figure", "heatmap", "label", "plain_axes", "room_for", "save", "save_heatmap"]

_CELL = 0.42  # inches
_LONGEST = 40  # characters of a label
TITLE = 120  # and of a title
_WIDE = 0.12  # inches of a character
_MOST_NUMBERS = 14  # rows or columns up to which the values stand in the cells
_MOST_LABELS = 100  # rows or columns up to which each has its label


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
        raise ImportError('Plots need matplotlib: pip install "simkit-similarity[plot]"') from None
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def plain_axes(width: float, height: float) -> Axes:
    """Axes alone in a figure of a size in inches, without lines above and to the right."""
    axes = figure(width, height).add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def save(axes: Axes, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write the figure of some axes as a picture.

    Raises
    ------
    FileExistsError
        The file exists and `force` is false.
    """
    with whole_file(path, force=force) as temporary:
        axes.get_figure(root=True).savefig(temporary)  # type: ignore[union-attr]


def label(text: str, limit: int = _LONGEST) -> str:
    """`text` for matplotlib to draw as it is: no mathematics between dollars, escapes for what the font lacks."""
    drawable = _drawable()
    plain = "".join(c if ord(c) in drawable else escaped(c) for c in printable(shortened(text, limit)))
    return shortened(plain, limit).replace("$", r"\$")


def room_for(labels: Iterable[str]) -> float:
    """Inches that the longest label needs beyond what is there for the usual ones."""
    return _WIDE * max(0, max(map(len, labels)) - 16)


def _drawable() -> set[int]:
    """The characters of the fonts that matplotlib would draw text in."""
    try:
        from matplotlib.font_manager import FontProperties, findfont, get_font
    except ImportError:
        raise ImportError('Plots need matplotlib: pip install "simkit-similarity[plot]"') from None
    files = [findfont(FontProperties(family=[name])) for name in FontProperties().get_family()]
    return set().union(*(get_font(file).get_charmap() for file in files))


def heatmap(
    matrix: SimilarityMatrix,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    labels: tuple[str, str] | None = None,
    numbers: bool | None = None,
    **options: Any,
) -> Axes:
    """Draw a similarity matrix: rows downwards, columns to the right, a colour bar from 0 to 1.

    Parameters
    ----------
    matrix : SimilarityMatrix
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure that needs no display. Its figure is ``ax.figure``.
    title : str, optional
        By default the spec of the index and the number of examples.
    labels : (str, str), optional
        What the rows and the columns are.
    numbers : bool, optional
        Write the values into the cells; by default up to 14 rows and columns.
    **options
        For ``Axes.imshow``: ``cmap``, ``vmin``, ``vmax``.

    Returns
    -------
    matplotlib Axes

    Notes
    -----
    The scale is that of the index where it is [0, 1], so that two heatmaps can be compared by eye; it is widened to the
    data where values lie outside. Of more than a hundred rows or columns only some have labels, at equal distances, and a
    picture grows no more.
    """
    values = np.asarray(matrix.to_numpy(), dtype=float)
    n_rows, n_columns = values.shape
    rows, columns = (list(map(label, names)) for names in (matrix.rows, matrix.columns))
    if ax is None:
        width = max(4.4, _CELL * min(n_columns, _MOST_LABELS) + 2.4) + room_for(rows)
        height = max(3.4, _CELL * min(n_rows, _MOST_LABELS) + 1.6) + room_for(columns)
        ax = figure(width, height).add_subplot()
    low, high = _limits(matrix.index, values)
    shown: dict[str, Any] = {
        "cmap": "magma",
        "vmin": low,
        "vmax": high,
        "aspect": "equal",
        "interpolation": "nearest",
    } | options
    image = ax.imshow(values, **shown)
    longest = max(map(len, columns))
    crowded = longest > 4
    across, down = (range(0, count, -(-count // _MOST_LABELS)) for count in (n_columns, n_rows))
    names = [columns[j] for j in across]
    ax.set_xticks(across, names, rotation=45 if crowded else 0, ha="right" if crowded else "center")
    if crowded:
        for tick in ax.get_xticklabels():
            tick.set_rotation_mode("anchor")
    ax.set_yticks(down, [rows[i] for i in down])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if labels is not None:
        ax.set_ylabel(labels[0])
        ax.set_xlabel(labels[1])
    ax.set_title(label(f"{matrix.index}, n = {matrix.n}", TITLE) if title is None else title)
    if numbers is None:
        numbers = max(n_rows, n_columns) <= _MOST_NUMBERS
    if numbers:
        _write_numbers(ax, image, values)
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_label("similarity")
    return ax


def _limits(spec: str, values: np.ndarray) -> tuple[float, float]:
    """0 to 1 for indexes that live there (or in [-1, 1]), wider where the data are; the range of the data for others."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    try:
        bounded = max(map(abs, get_index(spec).facts.range)) == 1.0
    except SimkitError:  # a matrix can be plotted where the plugin that made it is absent
        bounded = low >= 0.0 and high <= 1.0
    return (min(0.0, low), 1.0) if bounded else (low, high if high > low else low + 1.0)


def _write_numbers(ax: Axes, image: Any, values: np.ndarray) -> None:
    for i, j in np.ndindex(values.shape):
        value = values[i, j]
        red, green, blue, _ = image.cmap(image.norm(value))
        bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        text = "nan" if np.isnan(value) else f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"
        ax.text(j, i, text, ha="center", va="center", fontsize=7, color="black" if bright else "white")


def save_heatmap(matrix: SimilarityMatrix, path: str | os.PathLike[str], *, force: bool = False, **options: Any) -> None:
    """Write the heatmap as a picture, by default 150 dots per inch; `options` as for `heatmap`.

    Raises
    ------
    FileExistsError
        The file exists and `force` is false.
    """
    save(heatmap(matrix, **options), path, force=force)
