"""Distances between many networks, as points on a map and as a tree need them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simkit.errors import InvalidArrayError, SpecError
from simkit.plot.scales import drawable, values_of
from simkit.registry import get_index, list_indexes
from simkit.text import printable, shortened

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix

__all__ = ["distances_of"]

_ALSO = ("procrustes(summary=angular)", "rsm_norm(similarity=inner)", "bures(summary=angle)")
_ROUNDING = 1e-6  # of the largest distance, by which two of one pair may differ


def distances_of(matrix: SimilarityMatrix, what: str) -> np.ndarray:
    """Distances, symmetric and 0 on the diagonal, float64 of shape (networks, networks).

    Raises
    ------
    SpecError
        The index is no metric, or is not installed.
    InvalidArrayError
        The matrix is not of some networks with themselves, or a distance is undefined.
    """
    matrix = drawable(matrix, what)
    spec = printable(shortened(matrix.index))
    if matrix.facts is None:
        raise SpecError(
            f"{what} needs a metric; the index {spec} of this matrix is not installed, so it is not known to be one."
        )
    if not matrix.facts.metric:
        raise SpecError(
            f"{what} needs distances that obey the triangle inequality; {spec} is {_kind(matrix)}. "
            f"Indexes that are metrics: {', '.join(_metrics())}. Compute the matrix with one of them: "
            'simkit.pairwise(networks, index="procrustes(summary=angular)").'
        )
    if matrix.rows != matrix.columns:
        raise InvalidArrayError(
            f"{what} needs all distances among some networks or layers, rows and columns the same; here are "
            f"{len(matrix.rows)} rows and {len(matrix.columns)} columns that differ. Put all into one dictionary: "
            "simkit.pairwise({**first, **second}, index=...), with names that tell them apart."
        )
    if len(matrix.rows) < 2:
        raise InvalidArrayError(f"{what} needs at least two networks or layers; there is one.")
    values = values_of(matrix)
    if not np.isfinite(values).all():
        i, j = (int(k) for k in np.argwhere(~np.isfinite(values))[0])
        raise InvalidArrayError(
            f"{what}: the distance of {printable(shortened(matrix.rows[i]))} and {printable(shortened(matrix.columns[j]))} "
            f"is {values[i, j]}. Leave out what has no distance."
        )
    largest = np.abs(values).max()
    if np.abs(values - values.T).max() > _ROUNDING * largest:
        raise InvalidArrayError(f"{what}: the distances are not symmetric, as those of a metric are.")
    distances = (values + values.T) / 2
    np.fill_diagonal(distances, 0.0)
    return np.maximum(distances, 0.0)


def _kind(matrix: SimilarityMatrix) -> str:
    return "a distance that need not" if matrix.is_distance else "a similarity"


def _metrics() -> list[str]:
    """Written forms of the indexes that are metrics, of all that are installed."""
    found = []
    for spec in (*list_indexes(), *_ALSO):
        try:
            if get_index(spec).facts.metric:
                found.append(spec)
        except SpecError:  # of a plugin that is not installed
            continue
    return sorted(set(found))
