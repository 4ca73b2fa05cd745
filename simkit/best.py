"""The best match of each layer, and one rule of when two are equally good."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Match", "best", "found_layers"]

_ROUNDING = 16  # scores that differ by less than so many eps of their precision are tied


class Match(NamedTuple):
    """A pair of layers, of which at least one has no better match.

    Attributes
    ----------
    row, column : str
        Names of the layers.
    value : float
        Their score.
    """

    row: str
    column: str
    value: float


def best(scores: np.ndarray, *, smallest: bool) -> np.ndarray:
    """Where the best score of each row is, and those that are equal to it up to rounding.

    Parameters
    ----------
    scores : ndarray of float, shape (..., rows, columns)
        Integers, which files may hold, count as float64.
    smallest : bool
        The smallest score is the best, as of distances.

    Returns
    -------
    ndarray of bool, shape (..., rows, columns)
        True for the best of each row and for those that differ from it by no more than 16 eps of their dtype times the
        largest absolute score of the row. nan is never the best; a row that holds nothing else has none.
    """
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)
    similarity = -scores if smallest else scores
    top = np.max(np.where(np.isnan(similarity), -np.inf, similarity), axis=-1, keepdims=True)
    size = np.max(np.abs(np.where(np.isfinite(scores), scores, 0.0)), axis=-1, keepdims=True)
    tied: np.ndarray = similarity >= top - _ROUNDING * np.finfo(scores.dtype).eps * size  # nan is not
    return tied


def found_layers(scores: np.ndarray, *, smallest: bool) -> np.ndarray:
    """1 where the most similar layer is the one in the same place, (..., layers) from scores (..., layers, layers).

    Of m layers that are equally similar, by the rule of `best`, each counts 1/m; nan is not found.
    """
    tied = best(scores, smallest=smallest)
    same = np.diagonal(tied, axis1=-2, axis2=-1)
    found: np.ndarray = same / np.maximum(np.sum(tied, axis=-1), 1)
    return found
