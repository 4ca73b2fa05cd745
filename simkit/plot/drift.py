"""How layers change in training: epochs by layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.plot.heat import heatmap
from simkit.plot.scales import chance_of, drawable, values_of
from simkit.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simkit.matrix import SimilarityMatrix

__all__ = ["over_epochs"]


def over_epochs(
    drift: SimilarityMatrix | Mapping[Any, Any],
    ax: Axes | None = None,
    *,
    index: str | None = None,
    n: int | None = None,
    labels: tuple[str, str] = ("layer", "epoch"),
    **options: Any,
) -> Axes:
    """Draw how alike each layer is to what it is compared with, from epoch to epoch: layers downwards, epochs to the right.

    Parameters
    ----------
    drift : mapping of epochs to SimilarityMatrix or to mappings of layers to scores, or SimilarityMatrix
        By epoch, either the matrix of the network at that epoch (rows) with a reference (columns), of which the diagonal is
        taken, or the score of each layer. A matrix is drawn as it is: rows layers, columns epochs.
    ax : matplotlib Axes, optional
    index : str, optional
        The spec of the index, where scores are given by layer.
    n : int, optional
        The number of examples, likewise.
    labels : (str, str)
    **options
        As in `heatmap`.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    InvalidArrayError
        There is no epoch, or epochs have different layers, indexes, or more rows than columns.
    """
    matrix: Any = drift if hasattr(drift, "rows") else _gathered(drift, index, n)
    return heatmap(matrix, ax, labels=labels, **options)


def _gathered(drift: Any, index: str | None, n: int | None) -> SimilarityMatrix:
    """One matrix of layers by epochs."""
    from simkit.matrix import SimilarityMatrix

    if not isinstance(drift, Mapping) or not drift:
        raise InvalidArrayError(
            "over_epochs draws a dictionary of epochs, each with a SimilarityMatrix or a dictionary of scores; "
            f"got {type(drift).__name__ if drift or not isinstance(drift, Mapping) else 'an empty one'}."
        )
    columns: list[np.ndarray] = []
    chances: list[np.ndarray | None] = []
    layers: tuple[str, ...] = ()
    for epoch, found in drift.items():
        names, scores, chance, spec, count = _at(epoch, found, index, n)
        if columns and names != layers:
            raise InvalidArrayError(
                f"over_epochs: epoch {epoch} has the layers {_few(names)}, the first {_few(layers)}; they must be the same."
            )
        if index is not None and spec != index:
            raise InvalidArrayError(f"over_epochs: epoch {epoch} is of the index {spec}, the first is of {index}.")
        layers, index, n = names, spec, count if n is None else n
        columns.append(scores)
        chances.append(chance)
    known = [chance for chance in chances if chance is not None]
    return SimilarityMatrix(
        np.stack(columns, axis=1),
        layers,
        tuple(str(epoch) for epoch in drift),
        index or "",
        n or 0,
        np.stack(known, axis=1) if len(known) == len(columns) else None,
    )


def _at(
    epoch: Any, found: Any, index: str | None, n: int | None
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray | None, str, int]:
    """Layers, scores, scores by chance, index and number of examples of one epoch."""
    if isinstance(found, Mapping):
        if index is None or n is None:
            raise InvalidArrayError(
                'over_epochs: for scores by layer say what they are: over_epochs(drift, index="cka", n=200).'
            )
        return tuple(map(str, found)), np.array([float(score) for score in found.values()]), None, index, n
    found = drawable(found, "over_epochs")
    if len(found.rows) != len(found.columns):
        raise InvalidArrayError(
            f"over_epochs: the matrix of epoch {epoch} has {len(found.rows)} rows and {len(found.columns)} columns; layers "
            "correspond one by one only if they are as many."
        )
    chance = chance_of(found)
    return found.rows, np.diagonal(values_of(found)), None if chance is None else np.diagonal(chance), found.index, found.n


def _few(names: Sequence[str]) -> str:
    return ", ".join(shown(name, 30) for name in names[:4]) + (", ..." if len(names) > 4 else "")
