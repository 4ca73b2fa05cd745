"""Canonical ridge, mutual information, MMD and partial whitening against their definitions in float64, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from data import pair
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power, subspace_angles
from scipy.spatial.distance import cdist, pdist

import simkit
from simkit.errors import SpecError

SHAPES = [(40, 5, 7), (40, 6, 6), (12, 20, 5), (10, 15, 18)]


def centred(x):
    return x - x.mean(axis=0)


def close(backend, index, x, y, expected, rel=1e-10):
    score = simkit.compare(backend.asarray(x), backend.asarray(y), index)
    assert float(score) == pytest.approx(expected, rel=rel, abs=1e-12)
    half = simkit.compare(backend.asarray(x, dtype="float32"), backend.asarray(y, dtype="float32"), index)
    assert half.dtype == backend.dtype("float32")
    assert float(half) == pytest.approx(expected, rel=1e-3, abs=1e-4)


# --- canonical ridge ------------------------------------------------------------------------------------------------------


def ridge_basis(x, kappa):
    """X (X'X + kappa I)^-1/2, by a power of the matrix."""
    return x @ np.real(fractional_matrix_power(x.T @ x + kappa * np.eye(x.shape[1]), -0.5))


def ridge_by_definition(x, y, kx, ky, normalization):
    a, b = ridge_basis(centred(x), kx), ridge_basis(centred(y), ky)
    top = np.linalg.svd(b.T @ a, compute_uv=False) ** 2
    if normalization == "cka":
        return top.sum() / np.linalg.norm(a @ a.T) / np.linalg.norm(b @ b.T)
    ranks = [np.linalg.matrix_rank(centred(z)) for z in (x, y)]
    ours, theirs = (np.sort(np.linalg.eigvalsh(z.T @ z))[::-1][: min(ranks)] for z in (a, b))
    if normalization == "trace":
        return top.sum() / np.sum(ours * theirs)
    return top.sum() / np.sqrt(np.sum(ours**2) * np.sum(theirs**2))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("normalization", ["trace", "cauchy_schwarz", "cka"])
def test_canonical_ridge_by_its_definition(backend, shape, normalization):
    x, y = pair(*shape)
    expected = ridge_by_definition(x, y, 3.0, 0.5, normalization)
    close(backend, f"canonical_ridge(kappa_x=3.0, kappa_y=0.5, normalization={normalization})", x, y, expected)


def test_equations_22_and_25_to_27_in_eigenvectors():
    """As the paper writes them: eigenvalues and eigenvectors of XX' and YY', p1 <= p2."""
    x, y = map(centred, pair(30, 4, 6))
    kx, ky = 2.0, 7.0
    (u, s, _), (v, t, _) = (np.linalg.svd(z, full_matrices=False) for z in (x, y))
    a, b = s**2 / (s**2 + kx), t**2 / (t**2 + ky)
    numerator = a @ (u.T @ v) ** 2 @ b
    bounds = {
        "trace": np.sum(a * b[:4]),
        "cauchy_schwarz": np.sqrt(np.sum(a**2)) * np.sqrt(np.sum(b[:4] ** 2)),
        "cka": np.sqrt(np.sum(a**2)) * np.sqrt(np.sum(b**2)),
    }
    for normalization, bound in bounds.items():
        found = simkit.compare(x, y, "canonical_ridge", kappa_x=kx, kappa_y=ky, normalization=normalization)
        assert found == pytest.approx(numerator / bound, rel=1e-10)


def test_canonical_ridge_correlations_are_the_maxima_of_equation_19():
    """sigma_1 is never exceeded by any pair of weights, and is reached."""
    x, y = map(centred, pair(40, 4, 3))
    top = np.linalg.svd(ridge_basis(y, 2.0).T @ ridge_basis(x, 5.0), compute_uv=False)
    found = simkit.compare(x, y, "canonical_ridge(kappa_x=5.0, kappa_y=2.0, normalization=cka)")
    norms = [np.linalg.norm(b @ b.T) for b in (ridge_basis(x, 5.0), ridge_basis(y, 2.0))]
    assert found * np.prod(norms) == pytest.approx(np.sum(top**2), rel=1e-10)

    def objective(w, v):
        own = (np.sum((x @ w) ** 2) + 5 * w @ w) * (np.sum((y @ v) ** 2) + 2 * v @ v)
        return (x @ w) @ (y @ v) / np.sqrt(own)

    rng = np.random.default_rng(0)
    best = max(objective(rng.standard_normal(4), rng.standard_normal(3)) for _ in range(20_000))
    assert 0.9 * top[0] < best <= top[0] + 1e-12


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_without_a_penalty_it_is_cca(backend, shape):
    x, y = (backend.asarray(z) for z in pair(*shape))
    expected = float(simkit.compare(x, y, "cca"))
    for normalization in ("trace", "cauchy_schwarz"):
        spec = f"canonical_ridge(kappa_x=0, kappa_y=0, normalization={normalization})"
        assert float(simkit.compare(x, y, spec)) == pytest.approx(expected, rel=1e-10)
        small = f"canonical_ridge(kappa_x=1e-9, kappa_y=1e-9, normalization={normalization})"
        assert float(simkit.compare(x, y, small)) == pytest.approx(expected, rel=1e-7)


def test_the_rank_counts_where_columns_repeat():
    x, y = pair(40, 3, 6)
    x = np.concatenate([x, x @ [[1.0], [2.0], [3.0]]], axis=1)
    for kappa in (0, 1e-9):
        spec = f"canonical_ridge(kappa_x={kappa}, kappa_y={kappa}, normalization=cauchy_schwarz)"
        assert simkit.compare(x, y, spec) == pytest.approx(simkit.compare(x, y, "cca"), rel=1e-7)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equation_31_the_limit_of_regression(shape):
    """Where X has no more features than Y, as appendix D.1 assumes."""
    x, y = sorted(pair(*shape), key=lambda layer: layer.shape[1])
    forth = simkit.compare(x, y, "canonical_ridge(kappa_x=1e12, kappa_y=0)")
    assert forth == pytest.approx(simkit.compare(x, y, "linear_regression"), rel=1e-9)
    back = simkit.compare(y, x, "canonical_ridge(kappa_x=0, kappa_y=1e12)")
    assert back == pytest.approx(simkit.compare(x, y, "linear_regression"), rel=1e-9)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equation_36_the_limit_of_linear_cka(shape):
    x, y = pair(*shape)
    for kappa in (1e12, 1e40, 1e150):
        far = simkit.compare(x, y, f"canonical_ridge(kappa_x={kappa}, kappa_y={kappa}, normalization=cka)")
        assert far == pytest.approx(simkit.compare(x, y, "cka"), rel=1e-9)


def test_relative_penalties_are_shares_of_the_largest_eigenvalue():
    x, y = pair(30, 5, 4)
    top = [np.linalg.norm(centred(z), 2) ** 2 for z in (x, y)]
    expected = ridge_by_definition(x, y, 0.1 * top[0], 0.3 * top[1], "trace")
    for scale in (1.0, 1e-20, 1e20):
        found = simkit.compare(scale * x, y, "canonical_ridge(kappa_x=0.1, kappa_y=0.3, relative=True)")
        assert found == pytest.approx(expected, rel=1e-10)


def test_absolute_penalties_have_the_units_of_the_squares():
    x, y = pair(30, 5, 4)
    expected = simkit.compare(x, y, "canonical_ridge(kappa_x=2.0, kappa_y=2.0)")
    for scale in (1e-15, 1e15):
        kappa = 2.0 * scale**2
        spec = f"canonical_ridge(kappa_x={kappa!r}, kappa_y={kappa!r})"
        assert simkit.compare(scale * x, scale * y, spec) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 10**6), st.floats(0, 1e3), st.floats(0, 1e3))
def test_each_normalization_is_an_upper_bound(seed, kx, ky):
    x, y = pair(20, 4, 6, seed)
    trace, cauchy, cka = (
        simkit.compare(x, y, "canonical_ridge", kappa_x=kx, kappa_y=ky, normalization=n)
        for n in ("trace", "cauchy_schwarz", "cka")
    )
    assert 0 <= cka <= cauchy + 1e-12 <= trace + 2e-12 <= 1 + 3e-12


def test_bad_penalties():
    for value in ("-1", "1e200", "big"):
        with pytest.raises(SpecError, match="canonical_ridge: kappa_x="):
            simkit.get_index(f"canonical_ridge(kappa_x={value})")
    with pytest.raises(SpecError, match="expected one of trace, cauchy_schwarz, cka"):
        simkit.get_index("canonical_ridge(normalization=none)")


# --- mutual information ---------------------------------------------------------------------------------------------------


def test_mutual_information_by_determinants(backend):
    """1/2 log(|Sxx| |Syy| / |S|) of the covariance matrices."""
    x, y = pair(60, 5, 4)
    joint = np.cov(np.concatenate([x, y], axis=1).T)
    expected = (np.linalg.slogdet(joint[:5, :5])[1] + np.linalg.slogdet(joint[5:, 5:])[1] - np.linalg.slogdet(joint)[1]) / 2
    close(backend, "mutual_information", x, y, expected)


def test_mutual_information_is_infinite_where_something_is_determined():
    x, y = pair(40, 4, 3)
    assert simkit.compare(x, x, "mutual_information") == np.inf
    assert simkit.compare(x, np.concatenate([y, x[:, :1] + 2], axis=1), "mutual_information") == np.inf
    assert simkit.compare(*pair(10, 6, 5), "mutual_information") == np.inf


# --- MMD and HSIC ---------------------------------------------------------------------------------------------------------


def gaussian(a, b, sigma):
    return np.exp(-(cdist(a, b) ** 2) / (2 * sigma**2))


def test_mmd_between_observed_and_random_pairs(backend):
    """Sejdinovic et al. 2013: HSIC is the squared MMD of the joint distribution and the product of its marginals."""
    x, y = pair(14, 3, 2)
    n = len(x)
    i, j = (index.ravel() for index in np.indices((n, n)))  # all pairs (x_i, y_j)
    sx, sy = (np.median(pdist(z)) for z in (x, y))

    def mean(a, b, c, d):
        """Mean of the product kernel between the pairs (x[a], y[b]) and (x[c], y[d])."""
        return np.mean(gaussian(x[a], x[c], sx) * gaussian(y[b], y[d], sy))

    own = np.arange(n)
    expected = mean(own, own, own, own) - 2 * mean(own, own, i, j) + mean(i, j, i, j)
    close(backend, "mmd(kernel=rbf)", x, y, expected)


def test_mmd_is_hsic_and_distance_covariance():
    x, y = pair(25, 3, 4)
    n = len(x)
    hsic = simkit.compare(x, y, "hsic(kernel=rbf)")
    assert simkit.compare(x, y, "mmd(kernel=rbf)") == pytest.approx(hsic * (n - 1) ** 2 / n**2, rel=1e-12)
    unbiased = simkit.compare(x, y, "hsic(kernel=rbf, estimator=unbiased)")
    assert simkit.compare(x, y, "mmd(kernel=rbf, estimator=unbiased)") == pytest.approx(unbiased, rel=1e-12)
    a, b = (cdist(z, z) for z in (x, y))
    a, b = (d - d.mean(axis=0) - d.mean(axis=1)[:, None] + d.mean() for d in (a, b))
    assert simkit.compare(x, y, "mmd(kernel=distance)") == pytest.approx(np.mean(a * b), rel=1e-10)
    layers = {"x": x, "y": y}
    assert simkit.pairwise(layers, index="mmd(kernel=rbf)")["x", "y"] == pytest.approx(hsic * (n - 1) ** 2 / n**2, rel=1e-12)
    assert simkit.compare(x, y, "mmd(kernel=rbf)", tiles="exact") == pytest.approx(hsic * (n - 1) ** 2 / n**2, rel=1e-9)


def test_mmd_streams():
    x, y = pair(50, 3, 4)
    stream = simkit.stream("mmd")
    for rows in np.array_split(np.arange(50), 7):
        stream.update(x[rows], y[rows])
    assert float(stream.compute()) == pytest.approx(float(simkit.compare(x, y, "mmd")), rel=1e-12)
    with pytest.raises(SpecError, match="expected one of biased, unbiased"):
        simkit.get_index("mmd(estimator=lange)")


# --- Procrustes between rotations and all invertible transforms -----------------------------------------------------------


def whitened(x, alpha):
    x = centred(x)
    return x @ (alpha * np.eye(x.shape[1]) + (1 - alpha) * np.linalg.pinv(np.real(fractional_matrix_power(x.T @ x, 0.5))))


@pytest.mark.parametrize("alpha", [0, 0.25, 0.9])
@pytest.mark.parametrize("shape", [(40, 5, 7), (40, 6, 6)], ids=str)
def test_partial_whitening_by_its_definition(backend, shape, alpha):
    x, y = pair(*shape)
    a, b = whitened(x, alpha), whitened(y, alpha)
    nuclear = np.linalg.norm(a.T @ b, "nuc")
    cosine = nuclear / np.linalg.norm(a) / np.linalg.norm(b)
    close(backend, f"procrustes(alpha={alpha})", x, y, cosine)
    close(backend, f"procrustes(alpha={alpha}, summary=angular)", x, y, np.arccos(cosine), rel=1e-8)
    distance = np.sum(a**2) + np.sum(b**2) - 2 * nuclear
    close(backend, f"procrustes(alpha={alpha}, summary=distance)", x, y, distance)


def test_partial_whitening_ends_at_cca_and_at_procrustes():
    x, y = pair(40, 5, 5)
    cosines = np.cos(subspace_angles(centred(x), centred(y)))
    assert simkit.compare(x, y, "procrustes(alpha=0)") == pytest.approx(cosines.mean(), rel=1e-10)
    assert simkit.compare(x, y, "procrustes(alpha=0)") == pytest.approx(simkit.compare(x, y, "cca(summary=rho)"), rel=1e-10)
    path = [float(simkit.compare(x, y, "procrustes", alpha=a)) for a in (1e-12, 1 - 1e-12)]
    ends = [float(simkit.compare(x, y, "procrustes", alpha=a)) for a in (0, 1)]
    assert path == pytest.approx(ends, rel=1e-9)


def test_partial_whitening_of_wide_and_singular_layers():
    x, y = pair(12, 20, 5)
    a, b = (np.linalg.svd(centred(z), full_matrices=False) for z in (x, y))
    a, b = (u[:, s > 1e-9] * (0.5 * s + 0.5)[s > 1e-9] for u, s, _ in (a, b))
    expected = np.linalg.norm(a.T @ b, "nuc") / np.linalg.norm(a) / np.linalg.norm(b)
    assert simkit.compare(x, y, "procrustes(alpha=0.5)") == pytest.approx(expected, rel=1e-10)
    repeated = np.concatenate([y, y[:, :2]], axis=1)
    u, s, _ = np.linalg.svd(centred(repeated), full_matrices=False)
    b = u[:, :5] * (0.5 * s[:5] + 0.5)
    expected = np.linalg.norm(a.T @ b, "nuc") / np.linalg.norm(a) / np.linalg.norm(b)
    assert simkit.compare(x, repeated, "procrustes(alpha=0.5)") == pytest.approx(expected, rel=1e-9)
