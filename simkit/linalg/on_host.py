"""What the Array API standard has no operation for: assignment, transport and ranks, by SciPy on the host."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from simkit.arrays import Array, to_numpy

__all__ = ["assignment", "concordance", "transport"]

_COPIES = 8  # an assignment grows with the cube of the copies, a linear program faster still


@contextmanager
def _needed_for(what: str) -> Iterator[None]:
    """Say what SciPy is imported for, where it is not installed."""
    try:
        yield
    except ImportError:
        raise ImportError(f"{what} needs SciPy: pip install scipy") from None


def assignment(weights: Array) -> np.ndarray:
    """0/1 matrix of the one-to-one assignment of rows to columns with the largest sum of weights; SciPy, on the host.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    with _needed_for("Matching neurons"):
        from scipy.optimize import linear_sum_assignment
    host = to_numpy(weights)
    chosen = np.zeros(host.shape)
    chosen[linear_sum_assignment(host, maximize=True)] = 1.0
    return chosen


def transport(gains: Array, rows: Array, columns: Array) -> np.ndarray:
    """Optimal transport plan with the largest sum of plan * gains; SciPy, on the host.

    Parameters
    ----------
    gains : array, shape (p1, p2)
    rows, columns : array, shapes (p1,) and (p2,)
        1 or 0: which rows and columns take part. The former share the mass 1 equally, and so do the latter.

    Returns
    -------
    ndarray, shape (p1, p2)
        Zero if no row or no column takes part.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    with _needed_for("Matching neurons"):
        from scipy.optimize import linear_sum_assignment, linprog
        from scipy.sparse import eye_array, kron, vstack
    host = to_numpy(gains)
    where = np.ix_(np.flatnonzero(to_numpy(rows)), np.flatnonzero(to_numpy(columns)))
    plan, part = np.zeros(host.shape), host[where]
    p, q = part.shape
    if not part.size or not np.isfinite(part).all():
        return plan
    copies = math.lcm(p, q)
    if copies <= _COPIES * max(p, q):  # the plan is then the mean of an assignment of copies of rows to copies of columns
        repeated = np.repeat(np.repeat(part, copies // p, axis=0), copies // q, axis=1)
        i, j = linear_sum_assignment(repeated, maximize=True)
        np.add.at(plan, (where[0].ravel()[i // (copies // p)], where[1].ravel()[j // (copies // q)]), 1 / copies)
        return plan
    margins = vstack([kron(eye_array(p), np.ones((1, q))), kron(np.ones((1, p)), eye_array(q))])
    masses = np.concatenate([np.full(p, 1 / p), np.full(q, 1 / q)])
    found = linprog(-part.ravel(), A_eq=margins.tocsr()[:-1], b_eq=masses[:-1], bounds=(0, None), method="highs")
    plan[where] = found.x.reshape(p, q)
    return plan


def concordance(a: Array, b: Array) -> float:
    """Kendall's tau-a of two vectors, (concordant - discordant) / all pairs of entries; SciPy in O(m log m), on the host.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    with _needed_for("Kendall's tau"):
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
