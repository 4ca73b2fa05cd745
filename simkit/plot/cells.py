"""The parts of a heatmap: coloured cells, hatched where there is no score, their names and numbers, and the colour bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from simkit.display import Scale, ink_on
from simkit.plot.figures import label, thinned, titled, width_of

__all__ = ["FAR", "colour_bar", "draw_cells", "mark_chance", "name_cells", "number_cells", "size_of_labels"]

_RUNS = 20_000  # rows of undefined cells beyond which hatching is not to be seen anyway
_LABELS = 50  # of a side
FAR = 1e300  # what infinities are drawn as
_NUMBER = 7.0  # points
_BAR = 0.18  # inches of the width of a colour bar


def draw_cells(ax: Axes, values: np.ndarray, scale: Scale, *, aspect: str, **options: Any) -> Any:
    """The image of `values` (rows, columns), the first row on top; undefined scores are grey and hatched."""
    shown: dict[str, Any] = {
        "cmap": scale.map,
        "vmin": scale.low,
        "vmax": scale.high,
        "aspect": aspect,
        "interpolation": "antialiased",
        "origin": "upper",
    }
    if "norm" in options:  # which has ends of its own
        del shown["vmin"], shown["vmax"]
    image = ax.imshow(np.clip(values, -FAR, FAR), **shown | options)  # nan stays nan
    image.set_cmap(image.get_cmap().with_extremes(bad="0.87"))
    hatch(ax, np.isnan(values))
    ax.grid(False)
    ax.tick_params(which="both", length=0)
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.6", linewidth=0.5)
    return image


def hatch(ax: Axes, cells: np.ndarray) -> None:
    """Lines over some cells, by one patch: cells beside each other in a row are one rectangle."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    edges = np.diff(np.pad(cells, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (rows, starts), (_, stops) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    if not 0 < len(rows) <= _RUNS:
        return
    left, right, top, bottom = starts - 0.5, stops - 0.5, rows - 0.5, rows + 0.5
    corners = np.stack([left, top, right, top, right, bottom, left, bottom, left, top], axis=1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(rows))
    patch = PathPatch(Path(corners, codes), facecolor="0.87", edgecolor="0.55", hatch="////", linewidth=0)
    ax.add_patch(patch)


def size_of_labels(inches: float) -> float:
    """Points of the labels of cells of a size."""
    return float(np.clip(0.75 * 72 * inches, 6.0, 8.0))


def name_cells(
    ax: Axes,
    rows: Sequence[str],
    columns: Sequence[str],
    inches: tuple[float, float],
    *,
    across: bool = True,
    down: bool = True,
) -> None:
    """Names beside rows and below columns, as many as there is room for on axes of a width and a height in inches."""
    width, height = inches
    size = size_of_labels(height / len(rows))
    places = thinned(len(rows), min(_LABELS, int(height * 72 / (1.2 * size))))
    ax.set_yticks(places, [label(rows[i]) for i in places] if down else [""] * len(places), fontsize=size)
    size = size_of_labels(width / len(columns))
    places = thinned(len(columns), min(_LABELS, int(width * 72 / (1.6 * size))))
    names = [label(columns[j]) for j in places]
    crowded = width_of(names, size) > 0.9 * width / len(places)
    ax.set_xticks(
        places,
        names if across else [""] * len(places),
        fontsize=size,
        rotation=45 if crowded else 0,
        ha="right" if crowded else "center",
        rotation_mode="anchor" if crowded else "default",
    )


def number_cells(
    ax: Axes, image: Any, values: np.ndarray, write: Callable[[float], str], inches: tuple[float, float]
) -> None:
    """The scores in their cells, dark on bright colours and bright on dark ones."""
    texts = [[write(value) for value in line] for line in values]
    longest = max(len(text) for line in texts for text in line)
    size = min(_NUMBER, 72 * 0.9 * inches[0] / values.shape[1] / (0.6 * longest))
    for i, j in np.ndindex(values.shape):
        ink = (0, 0, 0)
        if not np.isnan(values[i, j]):
            red, green, blue, _ = image.to_rgba(float(np.clip(values[i, j], -FAR, FAR)), bytes=True)
            ink = ink_on((int(red), int(green), int(blue)))
        ax.text(j, i, texts[i][j], ha="center", va="center", fontsize=size, color="white" if any(ink) else "black")


def colour_bar(
    image: Any,
    ax: Axes | Sequence[Axes],
    text: str,
    values: np.ndarray,
    inches: tuple[float, float],
    *,
    flat: bool = False,
    **options: Any,
) -> Any:
    """A colour bar that says what the colours are, beside axes that take so many inches, or below flat ones."""
    some = ax if not isinstance(ax, Sequence) else ax[0]
    width, height = inches
    shown: dict[str, Any]
    if flat:
        length = min(width, 3.0)
        shown = {"location": "bottom", "fraction": min(_BAR / height, 1), "pad": 0.1 / height, "shrink": length / width}
    else:
        length = height
        shown = {"location": "right", "fraction": min(_BAR / width, 1), "pad": 0.12 / width}
    low, high = image.get_clim()
    below, above = Scale("sequential", low, high).beyond(values)
    extend = {(True, True): "both", (True, False): "max", (False, True): "min"}.get((above, below), "neither")
    figure: Any = some.get_figure(root=False)
    bar = figure.colorbar(image, ax=ax, **{"extend": extend, **shown, "aspect": length / _BAR} | options)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    bar.set_label(titled(text, max(0.8 * length, 1.2), 9), fontsize=9)
    return bar


def mark_chance(bar: Any, chance: np.ndarray) -> None:
    """A bracket at the colour bar from the least to the most that scores are by chance, and a triangle at the mean."""
    from matplotlib.lines import Line2D

    known = chance[np.isfinite(chance)]
    spread = [float(known.min()), float(known.max())]
    upright = bar.orientation == "vertical"
    beside, mean = ([-0.3, -0.3] if upright else [1.3, 1.3]), [float(known.mean())]
    transform = bar.ax.get_yaxis_transform() if upright else bar.ax.get_xaxis_transform()
    for across, along, style in (
        (beside, spread, {"linewidth": 1.5}),
        (beside[:1], mean, {"marker": ">" if upright else "v", "markersize": 5, "linestyle": ""}),
    ):
        x, y = (across, along) if upright else (along, across)
        mark = Line2D(x, y, color="0.35", transform=transform, clip_on=False, **style)
        mark.set_gid("chance")
        bar.ax.add_line(mark)
