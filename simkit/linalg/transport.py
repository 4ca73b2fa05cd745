"""Optimal transport between two sets of equal shares, on the host: assignment, network simplex, or linear program."""

from __future__ import annotations

import importlib.util
import math

import numpy as np

from simkit.arrays import Array, to_numpy
from simkit.optional import needed_for

__all__ = ["transport"]

# An assignment grows with the cube of the copies: what it takes longer for than the network simplex, or the linear program.
_COPIES, _COPIES_WITHOUT_SIMPLEX = 2, 8
_STEPS = 2**31 - 1  # of the network simplex, which ends long before


def transport(gains: Array, rows: Array, columns: Array) -> np.ndarray:
    """Optimal transport plan with the largest sum of plan * gains, on the host.

    By SciPy's assignment where the numbers are equal, or copies of the one make them so. Else by the network simplex of POT
    where that is installed (``pip install "simkit-similarity[transport]"``), and as a linear program by SciPy where it is
    not, which takes a hundred times as long for the same sum.

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
    host = to_numpy(gains)
    where = np.ix_(np.flatnonzero(to_numpy(rows)), np.flatnonzero(to_numpy(columns)))
    plan, part = np.zeros(host.shape), host[where]
    p, q = part.shape
    if not part.size or not np.isfinite(part).all():
        return plan
    copies, has_simplex = math.lcm(p, q), importlib.util.find_spec("ot") is not None
    if copies <= (_COPIES if has_simplex else _COPIES_WITHOUT_SIMPLEX) * max(p, q):
        units = _by_assignment(part, copies // p, copies // q)
    elif has_simplex:
        units = _by_network_simplex(part, copies // p, copies // q)
    else:
        units = _by_linear_program(part, copies // p, copies // q)
    plan[where] = units / copies
    return plan


def _by_assignment(gains: np.ndarray, supply: int, demand: int) -> np.ndarray:
    """The sum of an assignment of copies of rows to copies of columns."""
    with needed_for("Matching neurons", "SciPy", "scipy"):
        from scipy.optimize import linear_sum_assignment
    copied = gains if supply == demand else np.repeat(np.repeat(gains, supply, axis=0), demand, axis=1)
    i, j = linear_sum_assignment(copied, maximize=True)
    units = np.zeros(gains.shape)
    np.add.at(units, (i // supply, j // demand), 1.0)
    return units


def _by_network_simplex(gains: np.ndarray, supply: int, demand: int) -> np.ndarray:
    """The plan of POT, whose masses are whole numbers here and so exact."""
    from ot.lp import emd

    p, q = gains.shape
    return np.asarray(emd(np.full(p, float(supply)), np.full(q, float(demand)), 1.0 - gains, numItermax=_STEPS))


def _by_linear_program(gains: np.ndarray, supply: int, demand: int) -> np.ndarray:
    """The plan of SciPy's solver of linear programs, for which every unit is an unknown: slow, and large."""
    with needed_for("Matching neurons", "SciPy", "scipy"):
        from scipy.optimize import linprog
        from scipy.sparse import eye_array, kron, vstack
    p, q = gains.shape
    margins = vstack([kron(eye_array(p), np.ones((1, q))), kron(np.ones((1, p)), eye_array(q))])
    masses = np.concatenate([np.full(p, float(supply)), np.full(q, float(demand))])
    # The last margin follows from the others.
    found = linprog(-gains.ravel(), A_eq=margins.tocsr()[:-1], b_eq=masses[:-1], bounds=(0, None), method="highs")
    return np.asarray(found.x).reshape(p, q)
