"""A similarity matrix as a heatmap."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from simkit.display import Scale
from simkit.notebook import showing_nothing
from simkit.plot.figures import axes_of, fit, inches_of, models_of, names_of, save, set_title, width_of
from simkit.plot.scales import chance_of, common_scale, drawable, name_of_all, values_of, writer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simkit.matrix import SimilarityMatrix

__all__ = ["heatmap", "notes", "save_heatmap", "shape_of"]

_CELL, _LARGEST_CELL = 0.42, 1.0  # inches
_SIDE = 2.0  # inches of a side that cells grow to where they are few
_LONGEST = 8.0  # inches of a side, however many layers there are
_THINNEST = 0.8  # inches of a side, however few
_FLAT = 1.4  # inches of a height under which the colour bar stands below
_ROUGH = 0.32  # inches of a cell that a number fits into
_MOST_NUMBERS = 14  # rows or columns up to which the values stand in the cells


class Shape(NamedTuple):
    """Inches of the cells of a matrix together, and whether they are squares."""

    width: float
    height: float
    square: bool


def shape_of(rows: int, columns: int) -> Shape:
    """How large to draw a matrix: squares of a fixed size, smaller if there are many; oblong cells in very flat ones."""
    most = max(rows, columns)
    cell = min(max(_CELL, min(_SIDE / most, _LARGEST_CELL)), _LONGEST / most)
    width, height = (max(cell * count, _THINNEST) for count in (columns, rows))
    return Shape(width, height, width == cell * columns and height == cell * rows)


def notes(values: np.ndarray, chance: np.ndarray | None, scale: Scale) -> list[str]:
    """What is to be said under the title: scores by chance, and what hatched cells are."""
    said = []
    if chance is not None:
        known = chance[np.isfinite(chance)]
        write = writer(scale)
        low, high = write(float(known.min())), write(float(known.max()))
        both = f"{low}{' to ' if '-' in low + high else '-'}{high}"
        said.append(f"chance {low if low == high else both}")
    if np.isnan(values).any():
        said.append("hatched: undefined (nan)")
    return ["; ".join(said)] if said else []


def heatmap(
    matrix: SimilarityMatrix,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    labels: tuple[str, str] | None = None,
    numbers: bool | None = None,
    bar: bool = True,
    **options: Any,
) -> Axes:
    """Draw a similarity matrix: rows downwards, columns to the right, and a colour bar that says what is shown.

    Parameters
    ----------
    matrix : SimilarityMatrix
    ax : matplotlib Axes, optional
        Where to draw; by default a new figure that needs no display. Its figure is ``ax.figure``.
    title : str, optional
        By default the spec of the index and the number of examples; below them what the scores are by chance, if
        ``matrix.chance`` is known, and what is hatched. A title that is given is read by matplotlib as it is, with
        mathematics between dollars.
    labels : (str, str), optional
        What the rows and the columns are; by default the models in ``matrix.details``, if they are there.
    numbers : bool, optional
        Write the values into the cells, all with the same decimals; by default up to 14 rows and columns.
    bar : bool
        Draw the colour bar.
    **options
        For ``Axes.imshow``: ``cmap``, ``vmin``, ``vmax``, ``norm`` and others.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    InvalidArrayError
        `matrix` is no SimilarityMatrix, or has no rows or columns.
    TypeError
        `ax` is no Axes.

    Notes
    -----
    Colours follow the facts of the index. Similarities in [0, 1] are shown from 0 to 1, so that two heatmaps can be
    compared by eye, and bright is alike; distances on the reversed map, so that bright is alike there too. Scores that go
    below 0 by more than a tenth of the scale are shown on a diverging map whose white is 0; those only a little below 0, as
    estimates without bias of unrelated layers, have the colour of 0. A scale ends where the index does, else at the largest
    finite score; the colour bar is pointed where scores lie outside. Undefined scores (nan) are hatched.

    Names are shortened by the parts that all have in common. Of many layers only so many are named as there is room for,
    and the picture grows no more than to about 8 inches. A mark at the colour bar shows what the scores are by chance.
    """
    matrix = drawable(matrix, "heatmap")
    values, chance = values_of(matrix), chance_of(matrix)
    rows, columns = names_of(matrix.rows), names_of(matrix.columns)
    scale, shape = common_scale([matrix]), shape_of(*values.shape)
    room = width_of(rows, 9), 0.8 * width_of(columns, 9)
    drawn = axes_of(ax, shape.width + 1.6 + room[0], shape.height + 2.0 + room[1])
    inches = (shape.width, shape.height) if ax is None else inches_of(drawn)
    flat = shape.height < _FLAT < shape.width and inches[1] < _FLAT
    from simkit.plot import cells

    square = shape.square and not {"aspect", "extent"} & set(options)
    image = cells.draw_cells(drawn, values, scale, **{"aspect": "auto" if ax is None or not square else "equal"} | options)
    cells.name_cells(drawn, rows, columns, inches)
    names = labels if labels is not None else models_of(matrix)
    if names is not None:
        drawn.set_ylabel(names[0])
        drawn.set_xlabel(names[1])
    set_title(drawn, title, [matrix.title, *notes(values, chance, scale)], inches[0])
    if numbers is None:
        fits = min(inches[0] / len(columns), inches[1] / len(rows)) > _ROUGH
        numbers = max(values.shape) <= _MOST_NUMBERS and fits
    if numbers:
        cells.number_cells(drawn, image, values, writer(scale), inches)
    if bar:
        beside = cells.colour_bar(image, drawn, name_of_all([matrix]), values, inches, flat=flat)
        if chance is not None:
            cells.mark_chance(beside, chance)
    if ax is None:
        fit(drawn, *inches)
        if square:
            drawn.set_aspect("equal")
    return drawn


def save_heatmap(matrix: SimilarityMatrix, path: str | os.PathLike[str], *, force: bool = False, **options: Any) -> None:
    """Write the heatmap as a picture, by default 150 dots per inch; `options` as for `heatmap`.

    Raises
    ------
    FileExistsError
        The file exists and `force` is false.
    ValueError
        The name does not end like a picture.
    """
    with showing_nothing():
        drawn = heatmap(matrix, **options)
    save(drawn, path, force=force)
