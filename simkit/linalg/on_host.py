"""What the Array API standard has no operation for: assignment and ranks, by SciPy on the host."""

from __future__ import annotations

import numpy as np

from simkit.arrays import Array, to_numpy
from simkit.optional import needed_for

__all__ = ["assignment", "concordance"]


def assignment(weights: Array) -> np.ndarray:
    """0/1 matrix of the one-to-one assignment of rows to columns with the largest sum of weights; SciPy, on the host.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    with needed_for("Matching neurons", "SciPy", "scipy"):
        from scipy.optimize import linear_sum_assignment
    host = to_numpy(weights)
    chosen = np.zeros(host.shape)
    chosen[linear_sum_assignment(host, maximize=True)] = 1.0
    return chosen


def concordance(a: Array, b: Array) -> float:
    """Kendall's tau-a of two vectors, (concordant - discordant) / all pairs of entries; SciPy in O(m log m), on the host.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    with needed_for("Kendall's tau", "SciPy", "scipy"):
        from scipy.stats import kendalltau
    x, y = to_numpy(a), to_numpy(b)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    every = len(x) * (len(x) - 1) // 2
    # tau-b divides by the root of the pairs that are not tied in x times those that are not tied in y
    untied = [every - sum(int(c) * (int(c) - 1) // 2 for c in np.unique(v, return_counts=True)[1] if c > 1) for v in (x, y)]
    if min(untied) == 0:
        return 0.0
    tau_b = float(kendalltau(x, y, method="asymptotic").statistic)
    return tau_b * float(np.sqrt(untied[0])) * float(np.sqrt(untied[1])) / every
