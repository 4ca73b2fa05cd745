"""HSIC of resamples by weights against its definition: sums over tuples of different examples, term by term."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from backends import Library, make
from data import pair

import simkit
from simkit.arrays import to_numpy
from simkit.registry import get_index
from simkit.representation import Representation

NUMPY = make(Library.NUMPY)
FAMILY = [
    *(f"cka(estimator={e})" for e in ("biased", "unbiased", "lange")),
    *(f"hsic(estimator={e})" for e in ("biased", "unbiased", "lange")),
    "cka(kernel=rbf(sigma=30.0))",  # all entries near 1: an offset that must cost no digits
    "cka(kernel=rbf(sigma=30.0), estimator=unbiased)",
    "cka(kernel=polynomial, estimator=lange)",
    "hsic(kernel=cosine, estimator=unbiased)",
    "mmd",
    "mmd(estimator=unbiased)",
    "distance_correlation",
    "distance_correlation(estimator=unbiased)",
]
SHAPES = [(9, 3, 2), (9, 20, 11)]
GROUPS = {"examples": None, "pairs and single ones": [0, 0, 1, 2, 2, 3, 4, 4, 5], "mixed": [2, 0, 1, 0, 2, 2, 1, 3, 0]}


def gram(kernel, x):
    """Its n x n kernel matrix, of the features as simkit hands them over."""
    if str(kernel) == "linear":
        return x @ x.T
    return np.asarray(kernel.fit(x)(x, x))


def weight(units, w):
    """Of a tuple of examples: each different unit counts once."""
    return math.prod(w[u] for u in set(units))


def u_centred(K):
    """Szekely & Rizzo 2014, definition 2."""
    n = len(K)
    K = K * (1 - np.eye(n))
    rows = K.sum(axis=1) / (n - 2)
    return (K - rows[:, None] - rows[None, :] + K.sum() / ((n - 1) * (n - 2))) * (1 - np.eye(n))


def u_statistic(K, L, w, unit):
    """Means over different i, j, k, l, weighted, of U-centred matrices."""
    n = len(K)
    K, L = u_centred(K), u_centred(L)
    sums = []
    for size, term in (
        (2, lambda i, j: K[i, j] * L[i, j]),
        (3, lambda i, j, k: K[i, j] * L[i, k]),
        (4, lambda i, j, k, m: K[i, j] * L[k, m]),
    ):
        tuples = [(weight([unit[i] for i in t], w), t) for t in itertools.permutations(range(n), size)]
        sums.append(sum(v * term(*t) for v, t in tuples) / sum(v for v, _ in tuples))
    return sums[0] - 2 * sums[1] + sums[2]


def row_means(K, w, unit):
    """Mean of each row over a resample: copies of another unit count w times, those of the own unit once."""
    n, s = len(K), sum(w[u] for u in unit)
    return np.array([sum((1 if unit[j] == unit[i] else w[unit[j]]) * K[i, j] for j in range(n)) for i in range(n)]) / s


def v_statistic(K, L, w, unit):
    n, each = len(K), np.array([w[u] for u in unit])
    s = each.sum()
    r, t = row_means(K, w, unit), row_means(L, w, unit)
    both = sum(weight([unit[i], unit[j]], w) * K[i, j] * L[i, j] for i in range(n) for j in range(n))
    return both / s**2 - 2 * np.sum(each * r * t) / s + np.sum(each * r) * np.sum(each * t) / s**2


def without_diagonals(K, L, w, unit):
    """Lange et al.: centre, with the means of the resample, then leave out pairs of an example with itself."""
    each = np.array([w[u] for u in unit])
    centred = []
    for M in (K, L):
        r = row_means(M, w, unit)
        centred.append(M - r[:, None] - r[None, :] + np.sum(each * r) / each.sum())
    pairs = [(weight([unit[i], unit[j]], w), i, j) for i, j in itertools.permutations(range(len(K)), 2)]
    return sum(v * centred[0][i, j] * centred[1][i, j] for v, i, j in pairs) / sum(v for v, _, _ in pairs)


def hsic(K, L, w, unit, estimator):
    """In the normalisation of `HSIC`, with as many examples as were drawn, copies counted."""
    s = sum(w[u] for u in unit)
    if estimator == "unbiased":
        return u_statistic(K, L, w, unit)
    if estimator == "biased":
        return v_statistic(K, L, w, unit) * s**2 / (s - 1) ** 2
    return without_diagonals(K, L, w, unit) * (s - 1) / (s - 3)


def expected(index, X, Y, w, unit):
    H = np.eye(len(X)) - 1 / len(X)
    K, L = (H @ gram(index.kernel, x) @ H for x in (X, Y))
    found = [hsic(*matrices, w, unit, index.estimator) for matrices in ((K, L), (K, K), (L, L))]
    if index.name == "hsic":
        return found[0]
    if index.name == "mmd":
        s = sum(w[u] for u in unit)
        return found[0] * ((s - 1) / s) ** 2 if index.estimator == "biased" else found[0]
    if min(found[1:]) <= 0:  # of very few different units the unbiased estimate may be
        return math.nan
    score = found[0] / math.sqrt(found[1] * found[2])
    return math.sqrt(score) if index.name == "distance_correlation" and index.estimator == "biased" else score


def resampled(index, X, Y, weights, unit, backend):
    states = [index.prepare(Representation(backend.asarray(z), tall=len(X) >= X.shape[1] + Y.shape[1])) for z in (X, Y)]
    members = None if unit is None else backend.asarray(np.asarray(unit, dtype=np.int64), dtype="int64")
    weights = backend.asarray(np.asarray(weights, dtype=np.float64))
    return to_numpy(index.resampled([states[0]], [states[1]], weights, members))[:, 0, 0]


def draws(m, count, seed=0):
    """Resamples that hold enough different units, besides one copy of each."""
    rng = np.random.default_rng(seed)
    found = [np.ones(m)]
    while len(found) < count:
        w = np.bincount(rng.integers(0, m, m), minlength=m)
        if np.count_nonzero(w) >= 3:
            found.append(w)
    return np.array(found, dtype=float)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("spec", FAMILY)
def test_weights_are_the_definition(backend, spec, groups):
    index = get_index(spec)
    for X, Y in (pair(*shape) for shape in SHAPES):
        unit = range(9) if groups is None else groups
        weights = draws(max(unit) + 1, 4)
        found = resampled(index, X, Y, weights, groups, backend)
        definition = [expected(index, X, Y, w, unit) for w in weights]
        np.testing.assert_allclose(found, definition, rtol=1e-7, atol=1e-12)
        assert found[0] == pytest.approx(float(simkit.compare(X, Y, index)), rel=1e-9)


@pytest.mark.parametrize("spec", FAMILY)
def test_weights_of_0_and_1_leave_out(backend, spec):
    """The score of the examples that are left, whatever the groups."""
    index = get_index(spec)
    for X, Y in (pair(12, 3, 4), pair(12, 30, 20)):
        for unit in (None, np.arange(12) // 2, np.array([3, 0, 1, 2, 0, 3, 3, 1, 2, 2, 0, 0])):
            m = 12 if unit is None else unit.max() + 1
            kept = [np.arange(12) != u if unit is None else unit != u for u in range(m)]
            found = resampled(index, X, Y, 1 - np.eye(m), unit, backend)
            np.testing.assert_allclose(found, [simkit.compare(X[k], Y[k], index) for k in kept], rtol=1e-8)


@pytest.mark.parametrize("spec", FAMILY)
def test_an_order_of_groups_does_not_matter(spec):
    index, (X, Y) = get_index(spec), pair(12, 5, 4)
    rng = np.random.default_rng(0)
    order, names = rng.permutation(12), rng.permutation(4)
    unit = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3])
    weights = np.array([[2.0, 1, 0, 1], [0, 1, 1, 2]])
    before = resampled(index, X, Y, weights, unit, NUMPY)
    shuffled = np.empty_like(weights)
    shuffled[:, names] = weights
    after = resampled(index, X[order], Y[order], shuffled, names[unit][order], NUMPY)
    np.testing.assert_allclose(after, before, rtol=1e-9)
    alone = resampled(index, X, Y, draws(12, 5), rng.permutation(12) * 0 + np.arange(12), NUMPY)
    np.testing.assert_allclose(alone, resampled(index, X, Y, draws(12, 5), None, NUMPY), rtol=1e-9)


def test_too_few_different_examples():
    index, (X, Y) = get_index("cka(estimator=unbiased)"), pair(6, 2, 2)
    found = resampled(index, X, Y, [[3, 3, 0, 0, 0, 0], [2, 2, 2, 0, 0, 0], [2, 1, 1, 1, 1, 0]], None, NUMPY)
    assert np.isnan(found[:2]).all()
    assert np.isfinite(found[2])


def test_copies_do_not_count_as_pairs():
    """Unrelated wide layers: recomputation on copies says .5, weights say what the sample says."""
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((100, 100)) for _ in range(2))
    index = get_index("cka(estimator=unbiased)")
    weights = draws(100, 200)
    found = resampled(index, X, Y, weights, None, NUMPY)
    rows = np.repeat(np.arange(100), weights[1].astype(int))
    assert float(simkit.compare(X[rows], Y[rows], index)) > 0.4
    assert abs(found.mean() - float(simkit.compare(X, Y, index))) < 0.005
