"""HSIC of resamples: examples, or groups of them, with whole-number weights instead of copies.

A resample holds copies, and a pair of copies is not a pair of examples: it adds k(x, x) l(x, x), which for p features is of
order p times a typical product. So each unit u that is drawn (an example, or a group of examples) gets the number w_u of its
copies as a weight, and every tuple of different examples counts as often as its *different* units were drawn together:

    pairs of different units weigh w_u w_v, pairs inside one unit w_u; triples in three units w_u w_v w_t, and so on.

The U-statistic (unbiased, Song et al. 2007) is the mean over different i, j, k, l with these weights,

    HSIC_u(w) = pairs / N2 - 2 triples / N3 + quads / N4,
    pairs = sum K_ij L_ij,  triples = sum K_ij L_ik,  quads = sum K_ij L_kl,  N2, N3, N4 the same sums of ones,

which w = 1 makes Song's estimator. In the V-statistic (biased) an example is paired with itself once, whatever its weight;
with r_i = sum_j K_ij and t_i = sum_j L_ij so weighted, and s = sum of the weights of all examples,

    HSIC_v(w) = sum K_ij L_ij / s^2 - 2 sum_i w_i r_i t_i / s^3 + (sum_i w_i r_i) (sum_i w_i t_i) / s^4

Lange's estimator centres with those row sums, and drops the diagonal afterwards. Weights of 0 and 1 give the HSIC of the
units with 1 exactly, so the same sums serve the jackknife.

Sums over different i, j, k, l are sums over all less those with equal ones, so that all resamples together are a handful of
matrix products of the weights (resamples, units) with matrices of units x units.

K and L are centred first, in the accumulation precision: doubly for V-statistics, and so that the rows add up to 0 without
the diagonal (U-centring, Szekely & Rizzo 2014) for U-statistics, which know none. With w = 1 that changes nothing. With
other weights it does, since pairs, triples and quads of different examples then have different margins: an offset of K would
not cancel but drift with the weights (an RBF kernel of large bandwidth would have CKA .98 for .55).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from simkit.arrays import Array, Namespace, placement
from simkit.linalg import double_centre, total, u_centre, widen, without_diagonal
from simkit.linalg.pairs import diagonal
from simkit.statistics.hsic_sums import Estimator, Gram, HSICSums, Prepared

__all__ = ["weighted_sums"]

_BLOCK = 2**21  # entries of the weights of resamples that are worked on together


def weighted_sums(
    pairs: Sequence[tuple[Prepared, Prepared]], weights: Array, estimator: Estimator, members: Array | None = None
) -> list[HSICSums]:
    """Sums of each pair for each resample, arrays of shape (B,), of which `estimate` makes the HSIC of the resample.

    Parameters
    ----------
    pairs : sequence of (state, state)
        Prepared for `estimator`.
    weights : array, shape (B, m)
        How often each unit was drawn, in the accumulation precision.
    estimator : {"biased", "unbiased", "lange", "minibatch"}
    members : array of n integers, optional
        The unit, from 0 to m - 1, of each example; by default each example is one.

    Returns
    -------
    list of HSICSums
        One for each pair, with the HSIC in `inner` and zeros in `rows` and `totals`; `n` is an array, the number of examples
        of each resample, copies counted.
    """
    xp, n, count = pairs[0][0].xp, pairs[0][0].n, weights.shape[0]
    units = _Units(members, n, weights.shape[1], weights, xp)
    step = max(1, _BLOCK // n)
    draws = [_Draws(weights[start : min(start + step, count), :], units) for start in range(0, count, step)]
    hsic = {"biased": _biased, "lange": _lange}.get(estimator, _unbiased)
    layers: dict[int, _Layer] = {}  # by state, of which all are alive
    found = []
    for pair in pairs:
        for state in pair:
            if id(state) not in layers:
                layers[id(state)] = _layer(_centred(state, estimator), units)
        a, b = layers[id(pair[0])], layers[id(pair[1])]
        both = _both(a, b, units)
        inner = xp.concat([hsic(draw, a, b, both) for draw in draws])
        zero = xp.zeros_like(inner)
        found.append(HSICSums(inner, zero, zero, xp.concat([draw.size for draw in draws])))
    return found


# --- units and weights -----------------------------------------------------------------------------------------------------


class _Units:
    """Which examples are drawn together."""

    def __init__(self, members: Array | None, n: int, m: int, like: Array, xp: Namespace) -> None:
        self.n, self.m, self.xp, self.members = n, m, xp, members
        self.sizes = xp.ones(m, dtype=like.dtype, **placement(like))
        if members is not None:
            every = xp.arange(m, dtype=members.dtype, **placement(members))
            self.indicator = xp.astype(members[:, None] == every[None, :], like.dtype)  # (n, m)
            self.sizes = xp.sum(self.indicator, axis=0)

    def gathered(self, a: Array) -> Array:
        """Sums over the examples of each unit, along the last axis: (..., n) to (..., m)."""
        return a if self.members is None else a @ self.indicator

    def spread(self, a: Array) -> Array:
        """The value of the unit of each example, along the last axis: (..., m) to (..., n)."""
        return a if self.members is None else self.xp.take(a, self.members, axis=a.ndim - 1)

    def apart(self, a: Array) -> tuple[Array, Array]:
        """A matrix of examples by units, (n, m), without what is in the unit of the example; and that, (n,)."""
        if self.members is None:
            return _apart(a, self.xp)
        return a * (1 - self.indicator), total(a * self.indicator, self.xp, axis=1)


def _apart(square: Array, xp: Namespace) -> tuple[Array, Array]:
    return without_diagonal(square, xp), xp.linalg.diagonal(square)


class _Draws:
    """Weights (B, m) of some resamples, and what depends on them."""

    def __init__(self, w: Array, units: _Units) -> None:
        self.w, self.units = w, units
        self._rows: dict[int, Array] = {}

    def rows(self, layer: _Layer) -> Array:
        """Weighted row sums of K over the examples of other units, (B, n), computed once for all pairs of the layer."""
        if id(layer) not in self._rows:
            self._rows[id(layer)] = self.w @ layer.between.mT
        return self._rows[id(layer)]

    @cached_property
    def squares(self) -> Array:
        """w^2."""
        return self.w * self.w

    @cached_property
    def spare(self) -> Array:
        """w^2 - w: what a product of weights has too much where two examples are in one unit."""
        return self.squares - self.w

    @cached_property
    def each(self) -> Array:
        """The weights of the examples, (B, n)."""
        return self.units.spread(self.w)

    @cached_property
    def size(self) -> Array:
        """s, the weights of all examples together, (B,)."""
        return self.w @ self.units.sizes

    @cached_property
    def tuples(self) -> _Tuples:
        """N2, N3 and N4: the sums over different examples of K = L = 1."""
        xp, w, n = self.units.xp, self.w, self.units.sizes
        s, s2, squares = self.size, self.w @ n**2, self.squares @ n**2
        others = s[:, None] - w * n
        own = n * (n - 1)
        rows = s * (self.spare @ n**2) - (w * self.spare) @ n**3
        e11 = s2 * s2 - self.squares @ n**4
        e12 = s2 * squares - (w * self.squares) @ n**4
        e22 = squares * squares - (self.squares * self.squares) @ n**4
        inner = s * s - squares + w @ own
        full = xp.sum(w * n * (others + n - 1) ** 2, axis=1)
        return _of_different(self, inner, full, rows, (e11, e12, e22), ((others * n, own), (others * n, own)))


# --- layers and pairs of layers --------------------------------------------------------------------------------------------


class _Layer(NamedTuple):
    """K, and its sums over units."""

    k: Array  # (n, n)
    between: Array  # (n, m), sum of K_ij over j in another unit v
    within: Array  # (n,), sum of K_ij over j in the unit of i
    units: Array  # (m, m), `between` summed over i in u
    own: Array  # (m,), `within` summed over i in u


class _Both(NamedTuple):
    """Products of K and L, summed over units; one and the same matrix where each example is a unit."""

    inner: Array  # (m, m), sum of K_ij L_ij over i in u, j in v
    own: Array  # (m,), the same inside u
    rows: Array  # (m, m), sum over i in u of the sums of K_ij and of L_ij over j in v, multiplied
    units: Array  # (m, m), sums of K_ij and of L_ij over i in u, j in v, multiplied


class _Tuples(NamedTuple):
    """Weighted sums over pairs, triples and quadruples of different examples, (B,)."""

    pairs: Array
    triples: Array
    quads: Array


def _centred(state: Prepared, estimator: Estimator) -> Array:
    """HKH; for the unbiased estimator K with rows that add up to 0 without the diagonal, which it does not have."""
    xp = state.xp
    if isinstance(state, Gram):
        k = widen(state.k, xp)
    else:
        x = widen(state.x, xp)
        k = x @ x.mT
    if estimator == "biased":
        return double_centre(k, xp)
    if estimator == "lange":  # it was centred before its diagonal was removed: its rows add up to 0
        k = without_diagonal(k, xp)
        return double_centre(xp.where(diagonal(k, xp), -total(k, xp, axis=1)[:, None], k), xp)
    return u_centre(k, xp)


def _layer(k: Array, units: _Units) -> _Layer:
    between, within = units.apart(units.gathered(k))
    sums = between if units.members is None else units.indicator.mT @ between
    return _Layer(k, between, within, sums, units.gathered(within))


def _both(a: _Layer, b: _Layer, units: _Units) -> _Both:
    product = a.k * b.k
    if units.members is None:
        inner, own = _apart(product, units.xp)
        return _Both(inner, own, inner, inner)
    inner, own = _apart(units.indicator.mT @ units.gathered(product), units.xp)
    return _Both(inner, own, units.indicator.mT @ (a.between * b.between), a.units * b.units)


# --- estimators ------------------------------------------------------------------------------------------------------------


def _unbiased(draw: _Draws, a: _Layer, b: _Layer, both: _Both) -> Array:
    """n (n - 3) HSIC_u(w), as `estimate` expects it of a pair without row sums."""
    xp, w = draw.units.xp, draw.w
    r, t = draw.rows(a), draw.rows(b)
    rows = w @ both.inner
    inner = xp.vecdot(rows, w) + w @ both.own
    if both.rows is both.inner:
        by_row = by_unit = rows
    else:
        by_row, by_unit = w @ both.rows, w @ both.units
    squares = draw.squares @ both.units
    e = xp.vecdot(by_unit, w), xp.vecdot(by_unit, draw.squares), xp.vecdot(squares, draw.squares)
    full = xp.sum(draw.each * (r + a.within) * (t + b.within), axis=1)
    gathered = draw.units.gathered
    found = _of_different(draw, inner, full, xp.vecdot(by_row, draw.spare), e, ((gathered(r), a.own), (gathered(t), b.own)))
    n = draw.tuples
    # Too few different examples: 0 / 0, which is nan, without a warning of the library's
    parts = [xp.where(m > 0.5, s / xp.where(m > 0.5, m, 1.0), float("nan")) for s, m in zip(found, n, strict=True)]
    return _beyond_rounding(xp, parts[0], -2 * parts[1], parts[2]) * draw.size * (draw.size - 3)


def _of_different(  # noqa: PLR0917  (the sums of one formula)
    draw: _Draws,
    inner: Array,
    full: Array,
    rows: Array,
    e: tuple[Array, Array, Array],
    margins: tuple[tuple[Array, Array], tuple[Array, Array]],
) -> _Tuples:
    """Sums over different examples from sums over all.

    Parameters
    ----------
    inner : array, shape (B,)
        The pairs.
    full : array, shape (B,)
        sum_i w_i r_i t_i, with weights w_v for the examples of another unit and 1 for those of the same unit.
    rows : array, shape (B,)
        w'D (w^2 - w), D the `rows` of `_Both`: two examples in one other unit were drawn w times, not w^2.
    e : three arrays, shape (B,)
        w'Ew, w'Ew^2 and w^2'Ew^2, E the `units` of `_Both`.
    margins : two pairs of arrays, shapes (B, m) and (m,)
        Weighted sums of K, and of L, over pairs of a unit with the others, and over pairs inside it.
    """
    xp, w, spare = draw.units.xp, draw.w, draw.spare
    (r, k), (t, m) = margins
    triples = full - rows - inner
    inside, outside = (w @ k, w @ m), (xp.vecdot(w, r), xp.vecdot(w, t))
    once, twice, both = e
    everything = (
        (inside[0] + outside[0]) * (inside[1] + outside[1])
        - spare @ (k * m)
        - 2 * xp.vecdot(spare, k * t + m * r)
        - 4 * (xp.vecdot(spare * r, t) - (both - twice))
        - 2 * (both - once)
    )
    return _Tuples(inner, triples, everything - 4 * triples - 2 * inner)


def _biased(draw: _Draws, a: _Layer, b: _Layer, both: _Both) -> Array:
    """s^2 HSIC_v(w)."""
    xp, w, s = draw.units.xp, draw.w, draw.size
    r, t = draw.rows(a) + a.within, draw.rows(b) + b.within
    inner = xp.vecdot(w @ both.inner, w) + w @ both.own
    weighted = draw.each * r
    totals = xp.sum(weighted, axis=1) * xp.vecdot(draw.each, t)
    return _beyond_rounding(xp, inner, -2 * xp.vecdot(weighted, t) / s, totals / s**2)


def _beyond_rounding(xp: Namespace, *terms: Array) -> Array:
    """The sum of terms, 0 where it is but their rounding: the HSIC of a layer that is constant over a resample."""
    together = xp.stack(list(terms))
    summed, size = xp.sum(together, axis=0), xp.sum(xp.abs(together), axis=0)
    return xp.where(xp.abs(summed) > 1e3 * float(xp.finfo(summed.dtype).eps) * size, summed, 0.0)


def _lange(draw: _Draws, a: _Layer, b: _Layer, both: _Both) -> Array:
    """sum over i != j of (K_ij - r_i - r_j + r)(L_ij - t_i - t_j + t), r_i and r the weighted means of rows and of all.

    Over N2, and times s (s - 1), which is N2 without copies.
    """
    xp, units, w, s = draw.units.xp, draw.units, draw.w, draw.size[:, None]
    k, m = xp.linalg.diagonal(a.k), xp.linalg.diagonal(b.k)
    r0, t0 = draw.rows(a) + a.within - k, draw.rows(b) + b.within - m  # without the diagonals
    r, t = (r0 + k) / s, (t0 + m) / s
    mean_r, mean_t = (xp.vecdot(draw.each, means) / draw.size for means in (r, t))
    own_size, own_t = (units.spread(part) for part in (units.sizes + xp.zeros_like(w), units.gathered(t)))
    others = s + (1 - draw.each) * own_size - 1  # the weights of all j != i, seen from i
    others_t = xp.vecdot(draw.each, t)[:, None] + (1 - draw.each) * own_t - t
    pairs = xp.vecdot(draw.each, others)

    def product(u: Array, v: Array) -> Array:
        return xp.sum(draw.each * u * v, axis=1)

    inner = _beyond_rounding(
        xp,
        xp.vecdot(w @ both.inner, w) + w @ both.own - product(k, m),
        -2 * product(r0, t),
        -2 * product(r, t0),
        2 * product(r * t, others) + 2 * product(r, others_t),
        mean_t * (xp.vecdot(draw.each, r0) - 2 * product(r, others)),
        mean_r * (xp.vecdot(draw.each, t0) - 2 * product(t, others)),
        mean_r * mean_t * pairs,
    )
    return inner / xp.where(pairs > 0, pairs, float("nan")) * draw.size * (draw.size - 1)
