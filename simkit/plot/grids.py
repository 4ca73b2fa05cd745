"""Many matrices beside each other, in one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.plot.figures import grid_of, inches_of, names_of, set_title, width_of
from simkit.plot.heat import notes, shape_of
from simkit.plot.scales import chance_of, common_scale, name_of_all, panels_of, values_of
from simkit.spec import check_whole

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix

__all__ = ["heatmaps"]

_PANEL = 2.6  # inches of the longer side of a panel
_LABEL = 0.25  # of what the rows or the columns are


def heatmaps(
    matrices: Mapping[str, SimilarityMatrix] | Sequence[SimilarityMatrix],
    ax: Any = None,
    *,
    columns: int = 3,
    shared: bool = True,
    labels: tuple[str, str] | None = None,
    **options: Any,
) -> np.ndarray:
    """Draw heatmaps of many matrices, all in the same colours and with one colour bar, as in Figure 2 of the paper.

    Parameters
    ----------
    matrices : mapping of titles to SimilarityMatrix, or sequence of them
        Of one index for many networks, or of many indexes. Titles of a sequence are what the indexes are called.
    ax : array of matplotlib Axes, optional
        At least as many as matrices; by default a new figure.
    columns : int
        Panels in a row.
    shared : bool
        One scale and one colour bar for all, so that colours can be compared; else each has its own, as suits its index.
    labels : (str, str), optional
        What the rows and the columns are.
    **options
        For ``Axes.imshow``: ``cmap``, ``vmin``, ``vmax`` and others.

    Returns
    -------
    ndarray of matplotlib Axes, shape (panels,)

    Raises
    ------
    SpecError
        The indexes have no scale in common: similarities and distances, or different indexes without bounds.
    InvalidArrayError
        There are no matrices, or something is none.

    References
    ----------
    Kornblith et al. 2019, Figure 2.
    """
    panels = panels_of([matrices] if hasattr(matrices, "rows") else matrices, "heatmaps")
    check_whole("heatmaps", "columns", columns, at_least=1)
    common = common_scale(list(panels.values())) if shared else None
    first = next(iter(panels.values()))
    alike = all((matrix.rows, matrix.columns) == (first.rows, first.columns) for matrix in panels.values())
    shape = max((shape_of(*matrix.shape) for matrix in panels.values()), key=lambda one: (one.width, one.height))
    share = _PANEL / max(shape.width, shape.height)
    size = max(1.2, share * shape.width), max(0.6, share * shape.height)
    sides = zip(*((matrix.rows, matrix.columns) for matrix in panels.values()), strict=True)
    room = [max(width_of(names_of(layers), 9) for layers in side) for side in sides]
    across = min(columns, len(panels))
    share = 1 / across if alike else 1.0  # of one panel in the names that stand at the margin
    wide = size[0] + 0.4 + share * room[0] + (0.2 if shared else 0.9)
    named = 0.0 if labels is None else _LABEL
    high = size[1] + 0.7 + (0.4 if alike else 0.8) * room[1] + named
    grid = grid_of(ax, len(panels), columns, (wide + share * named, high))
    axes = grid.ravel()[: len(panels)]
    from simkit.plot import cells

    image = None
    for place, (one, (title, matrix)) in enumerate(zip(axes, panels.items(), strict=True)):
        values, chance = values_of(matrix), chance_of(matrix)
        scale = common or common_scale([matrix])
        inches = size if ax is None else inches_of(one)
        square = shape_of(*matrix.shape).square
        image = cells.draw_cells(one, values, scale, **{"aspect": "equal" if square else "auto"} | options)
        edge = ax is not None or not alike
        left, below = edge or place % across == 0, edge or place + across >= len(panels)
        cells.name_cells(one, names_of(matrix.rows), names_of(matrix.columns), inches, down=left, across=below)
        set_title(one, None, [title, *notes(values, chance, scale)], inches[0], 9)
        if labels is not None:
            one.set(ylabel=labels[0] if left else "", xlabel=labels[1] if below else "")
        if common is None:
            drawn = cells.colour_bar(image, one, name_of_all([matrix]), values, inches)
            if chance is not None:
                cells.mark_chance(drawn, chance)
    if common is not None:
        everything = np.concatenate([values_of(matrix).ravel() for matrix in panels.values()])
        rows = -(-len(panels) // across)
        whole = (size[0] * across, size[1] * rows)
        cells.colour_bar(
            image,
            list(axes) if ax is not None else list(grid.ravel()),
            name_of_all(list(panels.values())),
            everything,
            whole,
        )
    return axes
