"""How alike corresponding layers are: the diagonal of a matrix as a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.plot.curves import Curve, draw_curves, place_names
from simkit.plot.figures import COLOURS, axes_of, plain, set_title, titled, width_of
from simkit.plot.scales import chance_of, drawable, facts_of, meaning, panels_of, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


__all__ = ["diagonal"]


def diagonal(
    matrices: Any, ax: Axes | None = None, *, title: str | None = None, chance: bool = True, **options: Any
) -> Axes:
    """Draw the scores of corresponding layers, the first row with the first column and so on, as one line for each matrix.

    Parameters
    ----------
    matrices : SimilarityMatrix, or mapping of names to them, or sequence of them
        With as many rows as columns. Results of `simkit.interval`, `simkit.bootstrap` and `simkit.jackknife` of mappings of
        layers can be given as well, and are drawn with their intervals as bands.
    ax : matplotlib Axes, optional
    title : str, optional
        By default the spec of the index and the number of examples, where they are the same for all.
    chance : bool
        Draw the scores by chance, dotted, where ``matrix.chance`` is known.
    **options
        For ``Axes.plot``, of all lines.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidArrayError
        A matrix has not as many rows as columns, or matrices have different numbers of layers.
    """
    several = isinstance(matrices, Mapping | Sequence)
    panels = panels_of(matrices, "diagonal", _checked) if several else {"": _checked(matrices, "diagonal")}
    curves = {name: _diagonal(name, matrix) for name, matrix in panels.items()}
    first = next(iter(panels.values()))
    count = len(first.rows)
    for name, curve in curves.items():
        if len(curve.values) != count:
            raise InvalidArrayError(
                f"diagonal: {name!r} has {len(curve.values)} layers, {next(iter(panels))!r} has {count}; "
                "they must be as many."
            )
    ax = plain(axes_of(ax, min(9.0, max(4.6, 0.3 * count + 2.0)), 3.6 + 0.6 * width_of(first.rows)))
    draw_curves(ax, curves, np.arange(count), **options)
    by_chance = {name: _chance(matrix) for name, matrix in panels.items()} if chance else {}
    known = {name: line for name, line in by_chance.items() if line is not None and np.isfinite(line).any()}
    same = all(np.array_equal(line, next(iter(known.values())), equal_nan=True) for line in known.values())
    for place, (name, line) in enumerate(known.items()):
        colour = "0.35" if same else COLOURS[list(panels).index(name) % len(COLOURS)]
        ax.plot(np.arange(count), line, color=colour, linestyle=":", linewidth=1.2, label="_" if place else "by chance")
        if same:
            break
    if known or any(curves):
        ax.legend(frameon=False, fontsize=8)
    place_names(ax, first.rows)
    indexes, sizes = {matrix.index for matrix in panels.values()}, {matrix.n for matrix in panels.values()}
    _scale(ax, indexes)
    titles = {getattr(matrix, "title", f"{matrix.index}, n = {matrix.n}") for matrix in panels.values()}
    if len(titles) > 1:
        shared = ([first.index] if len(indexes) == 1 else []) + ([f"n = {first.n}"] if len(sizes) == 1 else [])
        titles = {", ".join(shared)}
    set_title(ax, title, list(titles), 4.0)
    return ax


def _checked(matrix: Any, what: str) -> Any:
    """A matrix, or a result of many pairs of layers."""
    if not (hasattr(matrix, "interval") and hasattr(matrix, "score")):
        return drawable(matrix, what)
    if not matrix.rows:
        raise InvalidArrayError(f"{what}: a result of one pair of layers has no diagonal; give mappings of layers.")
    return matrix


def _diagonal(name: str, matrix: Any) -> Curve:
    if len(matrix.rows) != len(matrix.columns):
        of = f" of {name!r}" if name else ""
        raise InvalidArrayError(
            f"diagonal: the matrix{of} has {len(matrix.rows)} rows and {len(matrix.columns)} columns; layers correspond one "
            "by one only if they are as many. simkit.plot.best_matches shows which layers match."
        )
    if hasattr(matrix, "interval"):
        low, high = (np.diagonal(np.asarray(end, dtype=np.float64)) for end in matrix.interval)
        return Curve(np.diagonal(np.asarray(matrix.score, dtype=np.float64)), low, high)
    return Curve(np.diagonal(values_of(matrix)))


def _chance(matrix: Any) -> np.ndarray | None:
    chance = chance_of(matrix) if hasattr(matrix, "chance") else None
    return None if chance is None else np.diagonal(chance)


def _scale(ax: Axes, indexes: set[str]) -> None:
    """What the scores are, from 0 to 1 where that is the scale of all."""
    facts = [facts_of(spec) for spec in indexes]
    low, high = ax.get_ylim()
    if all(one is not None and one.range[1] == 1.0 and one.identity != 0 for one in facts):
        ax.set_ylim(min(0.0, low), max(1.02, high if high > 1.06 else 0.0))
    ax.set_ylabel(titled(meaning(next(iter(indexes))), 3.2) if len(indexes) == 1 else "score")
