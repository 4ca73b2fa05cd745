"""Figures in the paper's layout, and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["heatmaps", "markdown", "percent", "sheet", "show"]

DPI = 160  # of print


def sheet(rows: int, columns: int, size: tuple[float, float] = (2.5, 2.4), **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure that needs no display, and its axes (rows, columns)."""
    figure = Figure(figsize=(columns * size[0], rows * size[1]), dpi=DPI, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def show(ax: Axes, values: np.ndarray, title: str = "", limits: tuple[float, float] | None = None) -> Any:
    """A heatmap of layers numbered from 1, the first in the upper left corner."""
    low, high = limits if limits else (None, None)
    image = ax.imshow(values, cmap="magma", vmin=low, vmax=high, interpolation="nearest", aspect="auto")
    for count, axis in zip(values.shape, (ax.yaxis, ax.xaxis), strict=True):
        step = next(s for s in (1, 2, 3, 5, 10, 20, 50) if count / s <= 7)
        ticks = np.arange(step, count + 1, step)
        axis.set_ticks(ticks - 1, [str(tick) for tick in ticks])
    ax.tick_params(length=0, labelsize=8)
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=9)
    return image


def heatmaps(
    panels: Sequence[tuple[str, np.ndarray]],
    columns: int,
    *,
    labels: tuple[str, str] = ("Layer", "Layer"),
    limits: tuple[float, float] | None = None,
    bar: str = "Similarity",
) -> Figure:
    """Heatmaps in rows of `columns`: with common `limits` one colour bar, else one each, as in the paper."""
    rows = -(-len(panels) // columns)
    figure, axes = sheet(rows, columns, (2.3 if limits else 2.7, 2.2))
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for i, (ax, (title, values)) in enumerate(zip(axes.flat, panels, strict=False)):
        image = show(ax, values, title, limits)
        if i % columns == 0:
            ax.set_ylabel(labels[0])
        if i // columns == rows - 1:
            ax.set_xlabel(labels[1])
        if limits is None:
            small(figure.colorbar(image, ax=ax, fraction=0.05, pad=0.03))
    if limits is not None:
        small(figure.colorbar(image, ax=axes, fraction=0.02, pad=0.02), bar)
    return figure


def small(bar: Any, label: str = "") -> None:
    """A colour bar in small print."""
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label(label, fontsize=8)


def percent(value: float, digits: int = 1) -> str:
    """0.993 -> 99.3."""
    return "" if value is None or np.isnan(value) else f"{100 * value:.{digits}f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table, its columns padded so that it can be read on a terminal too; all but the first to the right."""
    lines = [list(map(str, line)) for line in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [
        [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [cells[0], rule, *cells[1:]])
