"""Which layer of one network matches which of another: arrows between two columns of layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.best import best
from simkit.plot.figures import axes_of, inches_of, label, models_of, names_of, set_title, thinned, width_of
from simkit.plot.scales import common_scale, drawable, name_of_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simkit.matrix import SimilarityMatrix

__all__ = ["best_matches"]

_LAYER, _LONGEST, _BETWEEN = 0.28, 8.0, 2.6  # inches: of a layer, of all, between the columns


def best_matches(
    matrix: SimilarityMatrix,
    ax: Axes | None = None,
    *,
    title: str | None = None,
    labels: tuple[str, str] | None = None,
    bar: bool = True,
    **options: Any,
) -> Axes:
    """Draw an arrow from each row, on the left, to the column that is most like it, on the right.

    Where several columns are equally alike, up to rounding, there is an arrow to each. Rows without a score have none.
    Arrows that do not cross say that later layers match later ones.

    Parameters
    ----------
    matrix : SimilarityMatrix
        Of a distance, the smallest is the best.
    ax : matplotlib Axes, optional
    title : str, optional
        By default the spec of the index and the number of examples.
    labels : (str, str), optional
        What the rows and the columns are; by default the models in ``matrix.details``, if they are there.
    bar : bool
        Draw the colour bar. Dark arrows are alike.
    **options
        For ``matplotlib.patches.FancyArrowPatch``.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidArrayError
        `matrix` is no SimilarityMatrix, or has no rows or columns.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from matplotlib.patches import FancyArrowPatch

    from simkit.plot import cells

    matrix = drawable(matrix, "best_matches")
    names = names_of(matrix.rows), names_of(matrix.columns)
    most = max(map(len, names))
    height = min(_LONGEST, max(1.6, _LAYER * most))
    drawn = axes_of(ax, _BETWEEN + sum(width_of(side) for side in names) + (1.4 if bar else 0.4), height + 0.6)
    inches = (_BETWEEN, height) if ax is None else inches_of(drawn)
    scale = common_scale([matrix])
    # On white, ink is for what is alike: the pale end of a map would be lost.
    named = {"sequential": "YlGnBu", "reversed": "YlGnBu_r", "diverging": scale.map}[scale.kind]
    ends_of_map = {"sequential": (0.25, 1.0), "reversed": (0.0, 0.75), "diverging": (0.0, 1.0)}[scale.kind]
    inks = ListedColormap(colormaps[named](np.linspace(*ends_of_map, 256)))
    colours = ScalarMappable(Normalize(scale.low, scale.high), inks)
    # Both columns from top to bottom, whatever their numbers, so that matches in order are level.
    places = [np.linspace(0, 1, len(side)) if len(side) > 1 else np.array([0.5]) for side in names]
    values = matrix.to_numpy()  # in their own precision, which says what is a tie
    matches = np.argwhere(best(values, smallest=matrix.is_distance))
    width = float(np.clip(72 * inches[1] / most / 12, 0.6, 1.6))
    found = values[tuple(matches.T)].astype(np.float64)
    for (i, j), colour in zip(matches, colours.to_rgba(np.clip(found, -cells.FAR, cells.FAR)), strict=True):
        ends = (0.0, places[0][i]), (1.0, places[1][j])
        style: dict[str, Any] = {
            "arrowstyle": f"-|>,head_length={1.5 + width},head_width={0.6 + 0.6 * width}",
            "color": colour,
            "linewidth": width,
            "shrinkA": 3,
            "shrinkB": 3,
        }
        drawn.add_patch(FancyArrowPatch(*ends, **style | options))
    most_names = max(1, int(72 * inches[1] / 9))
    for side, (across, align) in enumerate(((0.0, "right"), (1.0, "left"))):
        drawn.plot(np.full(len(places[side]), across), places[side], "o", color="0.35", markersize=3 if most < 60 else 1.5)
        for i in thinned(len(names[side]), most_names):
            drawn.annotate(
                label(names[side][i]),
                (across, places[side][i]),
                xytext=(-6 if align == "right" else 6, 0),
                textcoords="offset points",
                ha=align,
                va="center",
                fontsize=8,
                annotation_clip=False,
            )
    drawn.set(xlim=(-0.02, 1.02), ylim=(1.03, -0.03), xticks=[], yticks=[])
    drawn.spines[:].set_visible(False)
    drawn.grid(False)
    sides = labels if labels is not None else models_of(matrix)
    if sides is not None:
        drawn.set_xticks([0, 1], sides)
        drawn.tick_params(length=0)
    set_title(drawn, title, [matrix.title], inches[0] + 1.0)
    if bar:
        cells.colour_bar(colours, drawn, name_of_all([matrix]), found, inches, pad=0.02)
    return drawn
