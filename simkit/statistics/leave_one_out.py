"""The three sums of HSIC without each example in turn, all at once: for the jackknife.

Without example i the matrices K and L lose row and column i, so

    inner_i  = inner - 2 (K o L)1_i + K_ii L_ii
    rows_i   = sum over j != i of ((K1)_j - K_ji) ((L1)_j - L_ji)
    totals_i = (1'K1 - 2 (K1)_i + K_ii) (1'L1 - 2 (L1)_i + L_ii)

and nothing of it needs another pass over the data. HSIC centres, so it does not matter that K was centred with example i.
"""

from __future__ import annotations

from dataclasses import replace

from simkit.arrays import Array
from simkit.linalg import tall_cross, total, vecdot, widen
from simkit.statistics.hsic_sums import Gram, HSICSums, Prepared

__all__ = ["without_each"]


def without_each(x: Prepared, y: Prepared) -> HSICSums:
    """The three sums of two layers without each example in turn, as arrays of shape (n,)."""
    xp = x.xp
    if isinstance(x, Gram):
        x, y = (replace(layer, k=widen(layer.k, xp)) for layer in (x, y))
    both = _products(x, y)
    (k, k_rows), (m, m_rows) = _diagonal_and_rows(x), _diagonal_and_rows(y)
    inner = xp.sum(both) - 2 * both + k * m
    rows = (
        xp.sum(k_rows * m_rows)
        - k_rows * m_rows
        - (_times_rows(y, k_rows) - k_rows * m)
        - (_times_rows(x, m_rows) - m_rows * k)
        + (both - k * m)
    )
    k_totals, m_totals = xp.sum(k_rows) - 2 * k_rows + k, xp.sum(m_rows) - 2 * m_rows + m
    return HSICSums(inner, rows, k_totals * m_totals, x.n - 1)


# K is a Gram matrix, or xx' of centred features, with K1 = 0; or that without its diagonal a, with K1 = -a.


def _products(x: Prepared, y: Prepared) -> Array:
    """(K o L) 1."""
    xp = x.xp
    if isinstance(x, Gram):
        return vecdot(x.k, y.k, xp)
    both = vecdot(widen(x.x, xp) @ tall_cross(x.x, y.x, xp), widen(y.x, xp), xp)
    return both if x.diagonal is None else both - x.diagonal * y.diagonal


def _diagonal_and_rows(x: Prepared) -> tuple[Array, Array]:
    """The diagonal of K, and K1."""
    xp = x.xp
    if isinstance(x, Gram):
        return xp.linalg.diagonal(x.k), x.rows
    a = total(x.x * x.x, xp, axis=1) if x.diagonal is None else x.diagonal
    return (a, xp.zeros_like(a)) if x.diagonal is None else (xp.zeros_like(a), -a)


def _times_rows(x: Prepared, rows: Array) -> Array:
    """K times the row sums of the other layer, which are 0 where those of K are."""
    if isinstance(x, Gram):
        return x.k @ rows
    if x.diagonal is None:
        return rows
    return total(x.x * total(x.x * rows[:, None], x.xp, axis=0)[None, :], x.xp, axis=1) - x.diagonal * rows
