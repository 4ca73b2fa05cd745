"""Scores of resamples of an index of HSIC sums, from how often each unit was drawn."""

from __future__ import annotations

import numpy as np

from simkit.arrays import accumulation_dtype, placement, to_numpy
from simkit.indexes._kernel_index import KernelIndex
from simkit.inference.pair import Pair
from simkit.inference.units import Units
from simkit.statistics.weighted_sums import matrices_held

__all__ = ["MEMORY", "fits", "follows_weights", "scores_by_weights"]

MEMORY = 2**32  # bytes of n x n matrices: up to n = 10,362 in float64


def fits(n: int) -> bool:
    """Whether the n x n matrices are few enough for memory."""
    return matrices_held(n) <= MEMORY


def scores_by_weights(pair: Pair, units: Units, weights: np.ndarray) -> np.ndarray:
    """Scores of resamples in which unit u was drawn ``weights[b, u]`` times, shape (B,)."""
    index, xp = pair.index, pair.xp
    assert isinstance(index, KernelIndex)
    wide = pair.widened()
    on = placement(wide.x)
    x, y = wide.prepared(wide.x, "X"), wide.prepared(wide.y, "Y")
    members = None if units.members is None else xp.asarray(units.members, **on)
    found = index.resampled(x, y, xp.asarray(weights, dtype=accumulation_dtype(wide.x, xp), **on), members)
    return to_numpy(found).astype(np.float64)


def follows_weights(score: float, by_weights: float, spread: float) -> bool:
    """Whether weights of 1 give the score itself: False for an index whose `from_sums` looks at more than HSICs."""
    return bool(np.isclose(by_weights, score, rtol=1e-5, atol=1e-3 * spread))
