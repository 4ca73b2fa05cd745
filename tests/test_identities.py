"""The paper's identities, and what its peers get wrong."""

from __future__ import annotations

import numpy as np
import pytest
from data import conditioned, invertible, pair
from hypothesis import given
from hypothesis import strategies as st

import simkit

shapes = st.tuples(st.integers(12, 40), st.integers(1, 8), st.integers(1, 8), st.integers(0, 10**6))


def centred(x):
    return x - x.mean(axis=0)


def basis(x):
    return np.linalg.qr(centred(x))[0]


@given(shapes)
def test_pwcca_squared_is_regression(drawn):
    """Equations 5 and 10."""
    n, p1, p2, seed = drawn
    X, Y = pair(n, p1, p2, seed)
    squared = simkit.compare(X, Y, "pwcca(squared=True)")
    assert squared == pytest.approx(simkit.compare(X, Y, "linear_regression"), rel=1e-9)


@given(shapes)
def test_pwcca_sides(drawn):
    n, p1, p2, seed = drawn
    X, Y = pair(n, p1, p2, seed)
    assert simkit.compare(X, Y, "pwcca") == pytest.approx(simkit.compare(Y, X, "pwcca(weights=y)"), rel=1e-9)


@given(shapes)
def test_cca_is_cka_of_bases(drawn):
    """Equation 11: R2_CCA = CKA(Q_X Q_X', Q_Y Q_Y') sqrt(p2 / p1) for p1 <= p2, and its mirror."""
    n, p1, p2, seed = drawn
    X, Y = pair(n, p1, p2, seed)
    alignment = simkit.compare(basis(X), basis(Y), "cka")
    assert simkit.compare(X, Y, "cca") == pytest.approx(alignment * np.sqrt(max(p1, p2) / min(p1, p2)), rel=1e-9)


@given(shapes)
def test_equation_12_is_misprinted(drawn):
    """R2_LR = CKA(XX', Q_Y Q_Y') sqrt(p2) |X'X| / |X|^2: the factor is sqrt(p2), not the sqrt(p1) that is printed."""
    n, p1, p2, seed = drawn
    X, Y = pair(n, p1, p2, seed)
    alignment = simkit.compare(X, basis(Y), "cka")
    Z = centred(X)
    share = np.linalg.norm(Z.T @ Z) / np.linalg.norm(Z) ** 2
    r2 = simkit.compare(X, Y, "linear_regression")
    assert r2 == pytest.approx(alignment * np.sqrt(p2) * share, rel=1e-9)
    if p1 != p2:
        assert r2 != pytest.approx(alignment * np.sqrt(p1) * share, rel=1e-3)


@given(shapes)
def test_cka_by_principal_components(drawn):
    """Equations 13 and 14: sums over pairs of components, weighted by the eigenvalues for CKA and not at all for CCA."""
    n, p1, p2, seed = drawn
    X, Y = pair(n, p1, p2, seed)
    (u, s, _), (v, t, _) = (np.linalg.svd(centred(a), full_matrices=False) for a in (X, Y))
    overlap = (u.T @ v) ** 2
    cka = (s**2) @ overlap @ (t**2) / np.sqrt(np.sum(s**4) * np.sum(t**4))
    assert simkit.compare(X, Y, "cka") == pytest.approx(cka, rel=1e-9)
    assert simkit.compare(X, Y, "cca") == pytest.approx(np.sum(overlap) / min(p1, p2), rel=1e-9)


@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf)", "cka(estimator=unbiased)", "hsic", "svcca", "procrustes"])
@given(drawn=shapes)
def test_proposition_1(spec, drawn):
    """An orthogonally invariant index of an orthonormal basis ignores every invertible transform: s(Q_X, Y) = s(Q_XA, Y)."""
    n, p1, p2, seed = drawn
    X, Y = pair(n, p1, p2, seed)
    A = invertible(p1, np.random.default_rng(seed))
    expected = simkit.compare(basis(X), Y, spec)
    assert simkit.compare(basis(X @ A), Y, spec) == pytest.approx(expected, rel=1e-8)
    if p1 > 1 and spec == "cka":  # without the basis it matters
        assert simkit.compare(X @ A, Y, spec) != pytest.approx(simkit.compare(X, Y, spec), rel=1e-6)


@given(shapes)
def test_regression_explains_what_least_squares_leaves_over(drawn):
    """1 - min_B |X - YB|^2 / |X|^2 by the normal equations, B = (Y'Y)^-1 Y'X, and by each column of X alone."""
    n, p1, p2, seed = drawn
    X, Y = map(centred, pair(n, p1, p2, seed))
    B = np.linalg.solve(Y.T @ Y, Y.T @ X)
    left_over = np.linalg.norm(X - Y @ B) ** 2 / np.linalg.norm(X) ** 2
    r2 = simkit.compare(X, Y, "linear_regression")
    assert r2 == pytest.approx(1 - left_over, rel=1e-8)
    variances = np.sum(X**2, axis=0)
    columns = [simkit.compare(X[:, [j]], Y, "linear_regression") for j in range(p1)]
    assert r2 == pytest.approx(np.average(columns, weights=variances), rel=1e-8)


@pytest.mark.parametrize("spec", ["cca", "cca(summary=rho)", "linear_regression", "pwcca"])
@given(seed=st.integers(0, 10**6), extra=st.integers(0, 5))
def test_theorem_1(spec, seed, extra):
    """With p >= n - 1 an index that ignores invertible transforms sees no difference between any two layers."""
    n = 8
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, n - 1 + extra)), rng.standard_normal((n, n - 1 + extra))
    assert simkit.compare(X, Y, spec) == pytest.approx(1, abs=1e-9)
    assert simkit.compare(X, Y, "cka") < 0.999


def test_unbiased_cka_of_independent_layers_is_zero_on_average():
    """Few examples, many units: the biased estimator is far from 0. Song's is not, and it must be able to be negative."""
    rng = np.random.default_rng(0)
    found = {"biased": [], "unbiased": [], "lange": []}
    for _ in range(300):
        X, Y = rng.standard_normal((10, 30)), rng.standard_normal((10, 40))
        for estimator, values in found.items():
            values.append(float(simkit.compare(X, Y, "cka", estimator=estimator)))
    assert np.mean(found["biased"]) > 0.7
    error = np.std(found["unbiased"]) / np.sqrt(300)
    assert abs(np.mean(found["unbiased"])) < 4 * error
    assert error < 0.01
    assert min(found["unbiased"]) < 0
    # what the others call unbiased is another estimator
    assert abs(np.mean(found["lange"]) - np.mean(found["unbiased"])) > 0


def test_hsic_unbiased_has_the_right_mean():
    """Averaged over many draws of 6 examples it is the HSIC of many examples; the biased estimator is not."""
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((2, 3))

    def draw(n):
        X = rng.standard_normal((n, 2))
        return X, X @ mixing + rng.standard_normal((n, 3))

    truth = float(simkit.compare(*draw(200_000), "hsic"))
    small = [
        [float(simkit.compare(*xy, "hsic", estimator=e)) for e in ("unbiased", "biased")] for xy in map(draw, [6] * 4000)
    ]
    unbiased, biased = np.mean(small, axis=0)
    error = np.std(small, axis=0)[0] / np.sqrt(4000)
    assert abs(unbiased - truth) < 4 * error
    assert biased - truth > 10 * error


@pytest.mark.parametrize("pairs", ["even", "odd"])
def test_bandwidth_is_the_median_of_distances_of_distinct_pairs(backend, pairs):
    n = {"even": 8, "odd": 7}[pairs]  # 28 and 21 pairs
    X = np.random.default_rng(0).standard_normal((n, 3))
    distances = [np.linalg.norm(X[i] - X[j]) for i in range(n) for j in range(i)]
    fitted = simkit.get_kernel("rbf(fraction=0.4)").fit(backend.asarray(X))
    assert float(fitted.sigma) == pytest.approx(0.4 * np.median(distances), rel=1e-12)
    if pairs == "even":  # the two middle ones differ, so the root of the median square is another number
        assert np.sqrt(np.median(np.square(distances))) != pytest.approx(np.median(distances), rel=1e-6)


def test_bandwidth_is_found_for_each_layer():
    X, Y = pair(30, 3, 4)
    assert simkit.compare(X, 100 * Y, "cka(kernel=rbf)") == pytest.approx(simkit.compare(X, Y, "cka(kernel=rbf)"), rel=1e-9)


def test_svcca_thresholds_the_variance():
    """Shares of 0.9, 0.09, 0.01 of the variance; of the singular values 0.7, 0.22, 0.07."""
    X = conditioned(50, 3, 1.0, np.random.default_rng(0))
    u = np.linalg.svd(X, full_matrices=False)[0]
    X = u * np.sqrt([0.9, 0.09, 0.01])
    Y = u[:, :2]  # the two leading components
    for threshold, kept in ((0.85, 1), (0.95, 2), (0.995, 3)):
        # k components of X with two of Y: min(k, 2) of the correlations are 1
        pillai = simkit.compare(X, Y, "svcca", threshold=threshold, summary="pillai")
        expected = {1: 1, 2: 2, 3: 2}[kept]
        assert pillai == pytest.approx(expected if threshold > 0.9 else 1, abs=1e-9)


def test_rotation_is_not_a_permutation_to_pwcca():
    X, Y = pair(30, 4, 5)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    assert simkit.compare(X @ rotation, Y, "pwcca") != pytest.approx(simkit.compare(X, Y, "pwcca"), rel=1e-4)
