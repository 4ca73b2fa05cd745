"""Scores as lines, with bands for what is not certain about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.plot.figures import COLOURS, DASHES, MARKERS, axes_of, label, names_of, plain, thinned, width_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Curve", "draw_curves", "lines", "place_names"]

_MOST_MARKERS = 40  # points of a line that have a marker each
_MOST_LABELS = 40
_MOST_TICKS = 12
_IN_COLUMN = 16  # names of a legend below each other


@dataclass(frozen=True)
class Curve:
    """A line: scores (k,), and the ends of the band around them, or None."""

    values: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def lines(
    curves: Mapping[str, Any],
    x: Sequence[Any] | None = None,
    ax: Axes | None = None,
    *,
    errors: Mapping[str, Any] | None = None,
    ordered: bool = False,
    log: bool = False,
    xlabel: str = "",
    ylabel: str = "",
    **options: Any,
) -> Axes:
    """Draw scores as lines with error bands: over widths, depths, numbers of examples, layers, as in Figure 6 of the paper.

    Parameters
    ----------
    curves : mapping of str to sequence of k
        Each line by its name: numbers, or results of `simkit.interval`, `simkit.bootstrap` or `simkit.jackknife` of a pair
        of layers, whose intervals are then the band.
    x : sequence of k numbers or str, optional
        Where the points stand; by default 1 to k. Names are shortened by what all have in common.
    ax : matplotlib Axes, optional
    errors : mapping of str to array, shape (k,) or (2, k), optional
        Half the height of the band of some lines, or how far it reaches down and up.
    ordered : bool
        The lines have an order, such as layers from first to last: colours go from dark to bright instead of being told
        apart.
    log : bool
        Logarithmic x-axis, with ticks where the points are if these are few.
    xlabel, ylabel : str
    **options
        For ``Axes.plot``, of all lines.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidArrayError
        There is no line, or lines, `x` and `errors` have different lengths.

    References
    ----------
    Kornblith et al. 2019, Figure 6.
    """
    if not isinstance(curves, Mapping) or not curves:
        raise InvalidArrayError("lines draws a dictionary of lines by their names, each a sequence of numbers or results.")
    drawn = {str(name): _curve(name, points) for name, points in curves.items()}
    for name, error in (errors or {}).items():
        if str(name) not in drawn:
            raise InvalidArrayError(f"lines: errors has {name!r}, which is no line.")
        drawn[str(name)] = _with_errors(str(name), drawn[str(name)], error)
    count = len(next(iter(drawn.values())).values)
    for name, curve in drawn.items():
        if len(curve.values) != count:
            raise InvalidArrayError(
                f"lines: {name!r} has {len(curve.values)} points, {next(iter(drawn))!r} has {count}; they must be as many."
            )
    if log and x is not None and not all(isinstance(one, str) or one > 0 for one in x):
        raise InvalidArrayError("lines: a logarithmic axis needs x above 0.")
    if x is not None and len(x) != count:
        raise InvalidArrayError(f"lines: x has {len(x)} values, the lines have {count} points.")
    named = x is not None and any(isinstance(one, str) for one in x)
    places = np.arange(1, count + 1) if x is None or named else np.asarray(x, dtype=np.float64)
    names = [str(one) for one in x] if x is not None and named else []
    below = 0.6 * width_of(names)
    ax = plain(axes_of(ax, 4.6 + (width_of(drawn) + 0.4) * -(-len(drawn) // _IN_COLUMN), 3.6 + below))
    draw_curves(ax, drawn, places, ordered=ordered, **options)
    if any(drawn):
        _legend(ax, len(drawn))
    if log:
        ax.set_xscale("log")
        if count <= _MOST_TICKS:
            ax.set_xticks(places, [f"{place:g}" for place in places])
            ax.minorticks_off()
    if named:  # last, since a scale sets its own ticks
        place_names(ax, names, start=1)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    return ax


def draw_curves(ax: Axes, curves: Mapping[str, Curve], places: np.ndarray, *, ordered: bool = False, **options: Any) -> None:
    """Lines and bands; lines that have a name are there for a legend."""
    from matplotlib import colormaps

    marked = len(places) <= _MOST_MARKERS
    for i, (name, curve) in enumerate(curves.items()):
        turn = i // len(COLOURS)
        colour = colormaps["viridis"](0.92 * i / max(1, len(curves) - 1)) if ordered else COLOURS[i % len(COLOURS)]
        style: dict[str, Any] = {
            "color": colour,
            "linewidth": 1.4,
            "linestyle": "-" if ordered else DASHES[turn % len(DASHES)],
            "marker": (MARKERS[(i + turn) % len(MARKERS)] if not ordered else ".") if marked else "",
            "markersize": 4,
            "label": label(name) if name else "_",
        }
        (line,) = ax.plot(places, curve.values, **style | options)
        if curve.low is not None and curve.high is not None:
            ax.fill_between(places, curve.low, curve.high, color=line.get_color(), alpha=0.2, linewidth=0)


def _legend(ax: Axes, count: int) -> None:
    """Beside the axes where there is a layout that makes room for it."""
    if count > 1 and ax.get_figure(root=True).get_layout_engine() is not None:  # type: ignore[union-attr]
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8, ncols=-(-count // _IN_COLUMN))
    else:
        ax.legend(frameon=False, fontsize=8)


def place_names(ax: Axes, names: Sequence[str], start: int = 0) -> None:
    """Names below the axes, as many as there is room for."""
    places = thinned(len(names), _MOST_LABELS)
    short = names_of(names)
    shown = [label(short[i]) for i in places]
    crowded = width_of(shown, 8) > 4.0 / len(shown)
    size = 8 if len(shown) <= 24 else 7 if len(shown) <= 32 else 6
    ax.set_xticks([start + i for i in places], shown, fontsize=size)
    if crowded:
        for tick in ax.get_xticklabels():
            tick.set(rotation=45, ha="right", rotation_mode="anchor")


def _curve(name: Any, points: Any) -> Curve:
    """Numbers, or results with their intervals."""
    if hasattr(points, "to_numpy"):
        points = points.to_numpy()
    points = list(points) if isinstance(points, Sequence | np.ndarray) and not isinstance(points, str) else [points]
    if points and all(hasattr(point, "score") and hasattr(point, "interval") for point in points):
        if any(np.ndim(point.score) for point in points):
            raise InvalidArrayError(
                f"lines: {name!r} holds results of many pairs; take one of each, as in result['conv1', 'conv1'], or draw "
                "them with simkit.plot.diagonal."
            )
        low, high = (np.array([float(point.interval[end]) for point in points]) for end in (0, 1))
        return Curve(np.array([float(point.score) for point in points]), low, high)
    try:
        values = np.asarray([float(point) for point in points], dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidArrayError(
            f"lines: {name!r} is no sequence of numbers, nor of results of simkit.interval, bootstrap or jackknife."
        ) from None
    if not len(values):
        raise InvalidArrayError(f"lines: {name!r} has no points.")
    return Curve(values)


def _with_errors(name: str, curve: Curve, error: Any) -> Curve:
    reach = np.asarray(error, dtype=np.float64)
    if reach.shape not in (curve.values.shape, (2, *curve.values.shape)):
        raise InvalidArrayError(
            f"lines: errors of {name!r} have shape {reach.shape}; "
            f"expected ({len(curve.values)},) or (2, {len(curve.values)})."
        )
    down, up = (reach, reach) if reach.ndim == 1 else reach
    if (reach < 0).any():
        raise InvalidArrayError(f"lines: an error of {name!r} is negative; expected how far the band reaches from the line.")
    return Curve(curve.values, curve.values - down, curve.values + up)
