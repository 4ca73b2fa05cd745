"""The three sums of HSIC without each example in turn, all at once: for the jackknife.

Without example i the matrices K and L lose row and column i, so

    inner_i  = inner - 2 (K o L)1_i + K_ii L_ii
    rows_i   = sum over j != i of ((K1)_j - K_ji) ((L1)_j - L_ji)
    totals_i = (1'K1 - 2 (K1)_i + K_ii) (1'L1 - 2 (L1)_i + L_ii)

and nothing of it needs another pass over the data. HSIC centres, so it does not matter that K was centred with example i.
"""

from __future__ import annotations

from typing import NamedTuple

from simkit.arrays import Array
from simkit.linalg import tall_cross, total, widen
from simkit.statistics.hsic_sums import Features, HSICSums, Prepared

__all__ = ["without_each"]


class _Products(NamedTuple):
    """Of two matrices K and L, for each example; `inner` and `rows` are the sums over all."""

    both: Array  # (K o L) 1
    k_of_rows: Array  # K (L1)
    l_of_rows: Array  # L (K1)
    k_diagonal: Array
    l_diagonal: Array
    k_rows: Array  # K1
    l_rows: Array  # L1


def without_each(x: Prepared, y: Prepared) -> HSICSums:
    """The three sums of two layers without each example in turn, as arrays of shape (n,)."""
    xp, n = x.xp, x.n
    p = _in_features(x, y) if isinstance(x, Features) else _in_gram(x, y)
    inner = xp.sum(p.both) - 2 * p.both + p.k_diagonal * p.l_diagonal
    rows = (
        xp.sum(p.k_rows * p.l_rows)
        - p.k_rows * p.l_rows
        - (p.l_of_rows - p.k_rows * p.l_diagonal)
        - (p.k_of_rows - p.l_rows * p.k_diagonal)
        + (p.both - p.k_diagonal * p.l_diagonal)
    )
    k_totals = xp.sum(p.k_rows) - 2 * p.k_rows + p.k_diagonal
    l_totals = xp.sum(p.l_rows) - 2 * p.l_rows + p.l_diagonal
    return HSICSums(inner, rows, k_totals * l_totals, n - 1)


def _in_gram(x: Prepared, y: Prepared) -> _Products:
    xp = x.xp
    k, l_ = widen(x.k, xp), widen(y.k, xp)
    return _Products(
        total(k * l_, xp, axis=1),
        k @ y.rows,
        l_ @ x.rows,
        xp.linalg.diagonal(k),
        xp.linalg.diagonal(l_),
        x.rows,
        y.rows,
    )


def _in_features(x: Features, y: Features) -> _Products:
    """K = xx' with centred columns, so K1 = 0; or, its diagonal a removed, K1 = -a."""
    xp = x.xp
    a, b = total(x.x * x.x, xp, axis=1), total(y.x * y.x, xp, axis=1)
    both = total((widen(x.x, xp) @ tall_cross(x.x, y.x, xp)) * y.x, xp, axis=1)
    if x.diagonal is None or y.diagonal is None:
        zero = xp.zeros_like(a)
        return _Products(both, zero, zero, a, b, zero, zero)
    zero = xp.zeros_like(a)
    k_of_rows = a * b - total(x.x * total(x.x * b[:, None], xp, axis=0)[None, :], xp, axis=1)
    l_of_rows = a * b - total(y.x * total(y.x * a[:, None], xp, axis=0)[None, :], xp, axis=1)
    return _Products(both - a * b, k_of_rows, l_of_rows, zero, zero, -a, -b)
