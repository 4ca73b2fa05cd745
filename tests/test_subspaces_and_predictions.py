"""Eigenspace overlap, GULP, the norm of the difference of similarity matrices and ridge predictivity, by definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from data import invertible, orthogonal, pair
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

import simkit
from simkit.errors import ConstantInputWarning, SpecError
from simkit.indexes import GULP, EigenspaceOverlap, RidgePredictivity, RSMNorm

SHAPES = [(30, 6, 9), (12, 20, 5), (40, 4, 4)]


def check(backend, index, X, Y, expected, loose=1e-4):
    score = index(backend.asarray(X), backend.asarray(Y))
    assert score.shape == ()
    assert float(score) == pytest.approx(expected, rel=1e-9, abs=1e-10)
    half = index(backend.asarray(X, dtype="float32"), backend.asarray(Y, dtype="float32"))
    assert half.dtype == backend.dtype("float32")
    assert float(half) == pytest.approx(expected, rel=loose, abs=loose)


# --- eigenspace overlap ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_eigenspace_overlap(backend, shape, centre):
    X, Y = pair(*shape)
    A, B = (X - X.mean(axis=0), Y - Y.mean(axis=0)) if centre else (X, Y)
    u, v = (np.linalg.svd(M)[0][:, : np.linalg.matrix_rank(M)] for M in (A, B))
    expected = np.linalg.norm(u.T @ v) ** 2 / max(u.shape[1], v.shape[1])
    check(backend, EigenspaceOverlap(centre=centre), X, Y, expected)


def test_eigenspace_overlap_counts_the_rank():
    X, Y = pair(30, 4, 5)
    copies = np.concatenate([X, X @ np.ones((4, 3))], axis=1)
    assert EigenspaceOverlap()(copies, Y) == pytest.approx(EigenspaceOverlap()(X, Y))
    assert EigenspaceOverlap(centre=True)(X, Y) * 5 == pytest.approx(simkit.compare(X, Y, "cca(summary=pillai)"))


# --- GULP ------------------------------------------------------------------------------------------------------------------


def normalised(X):
    X = X - X.mean(axis=0)
    return X / np.sqrt(np.mean(np.sum(X**2, axis=1)))


def gulp_squared(X, Y, lam):
    """The three traces of the paper."""
    X, Y = normalised(X), normalised(Y)
    n = len(X)
    sxx, syy, sxy = X.T @ X / n, Y.T @ Y / n, X.T @ Y / n
    inverse = [np.linalg.pinv(s + lam * np.eye(len(s)), rcond=1e-12) for s in (sxx, syy)]
    return (
        np.trace(inverse[0] @ sxx @ inverse[0] @ sxx)
        + np.trace(inverse[1] @ syy @ inverse[1] @ syy)
        - 2 * np.trace(inverse[0] @ sxy @ inverse[1] @ sxy.T)
    )


@pytest.mark.parametrize("lam", [0, 1e-6, 0.01, 1.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gulp(backend, shape, lam):
    X, Y = pair(*shape)
    check(backend, GULP(lam), X, Y, np.sqrt(gulp_squared(X, Y, lam)), loose=1e-3)


def test_gulp_bounds_the_disagreement_of_predictions():
    rng = np.random.default_rng(1)
    X, Y = pair(40, 5, 6)
    lam, n = 0.05, 40
    hats = [Z @ np.linalg.solve(Z.T @ Z + n * lam * np.eye(Z.shape[1]), Z.T) for Z in (normalised(X), normalised(Y))]
    difference = hats[0] - hats[1]
    noise = rng.standard_normal((n, 20000))
    d = float(GULP(lam)(X, Y))
    assert np.mean(np.sum((difference @ noise) ** 2, axis=0)) == pytest.approx(d**2, rel=0.02)
    targets = noise / np.linalg.norm(noise, axis=0)
    assert np.max(np.linalg.norm(difference @ targets, axis=0)) <= d


def test_gulp_without_penalty_is_cca():
    X, Y = pair(50, 5, 7)
    pillai = simkit.compare(X, Y, "cca(summary=pillai)")
    assert GULP(0)(X, Y) ** 2 == pytest.approx(12 - 2 * pillai)
    rng = np.random.default_rng(0)
    assert GULP(0)(X, X @ invertible(5, rng)) == pytest.approx(0, abs=1e-6)


def test_gulp_with_a_large_penalty_is_cka():
    """lam d -> the distance of the normalised covariances: lam^2 d^2 -> |S_X|^2 + |S_Y|^2 - 2 |S_XY|^2."""
    X, Y = pair(30, 5, 7)
    A, B = normalised(X), normalised(Y)
    limit = (np.linalg.norm(A.T @ A) ** 2 + np.linalg.norm(B.T @ B) ** 2 - 2 * np.linalg.norm(A.T @ B) ** 2) / 30**2
    assert (1e6 * GULP(1e6)(X, Y)) ** 2 == pytest.approx(limit, rel=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.0, 1e-3, 1.0]))
def test_gulp_is_a_metric(seed, p, lam):
    rng = np.random.default_rng(seed)
    X, Y, Z = (rng.standard_normal((15, p)) for _ in range(3))
    d = GULP(lam)
    assert d(X, Z) <= d(X, Y) + d(Y, Z) + 1e-9
    assert d(X, 3 * X @ orthogonal(p, rng) + 1) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_gulp_ignores_scale(scale):
    X, Y = pair(20, 4, 5)
    assert GULP()(X * scale, Y) == pytest.approx(GULP()(X, Y), rel=1e-9)


# --- norm of the difference of similarity matrices -----------------------------------------------------------------------


@pytest.mark.parametrize("similarity", ["cosine", "inner", "correlation"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rsm_norm(backend, shape, similarity):
    X, Y = pair(*shape)

    def matrix(X):
        if similarity == "correlation":
            return np.corrcoef(X)
        if similarity == "cosine":
            X = X / np.linalg.norm(X, axis=1, keepdims=True)
        return X @ X.T

    expected = np.sqrt(sum((a - b) ** 2 for a, b in zip(matrix(X).flat, matrix(Y).flat, strict=True)))
    assert expected > (1 + 1e-6) * np.linalg.norm(matrix(X) - matrix(Y), 2)  # not the spectral norm
    check(backend, RSMNorm(similarity), X, Y, expected)


# --- ridge predictivity ----------------------------------------------------------------------------------------------------


def ridge_predictivity(X, Y, measure="r", summary="median", alpha=1.0, folds=5, seed=0):
    order = np.arange(len(X)) if seed is None else np.random.default_rng(seed).permutation(len(X))
    X, Y = X[order], Y[order]
    values = []
    for train, test in KFold(folds).split(X):
        if isinstance(alpha, tuple):
            model = RidgeCV(alphas=alpha).fit(Y[train], X[train])
        else:
            model = Ridge(alpha=alpha).fit(Y[train], X[train])
        predicted = model.predict(Y[test]).reshape(len(test), -1)
        if measure == "r":
            pairs = zip(predicted.T, X[test].T, strict=True)
            values.append([scipy.stats.pearsonr(a, b).statistic for a, b in pairs])
        else:
            values.append(r2_score(X[test], predicted, multioutput="raw_values"))
    return getattr(np, summary)(np.mean(values, axis=0))


@pytest.mark.parametrize("summary", ["median", "mean"])
@pytest.mark.parametrize("measure", ["r", "r2"])
@pytest.mark.parametrize("alpha", [0.3, (0.01, 1.0, 100.0, 1e4)], ids=["one", "grid"])
@pytest.mark.parametrize("shape", [(40, 5, 6), (23, 4, 40), (30, 6, 1)], ids=str)
def test_ridge_predictivity(backend, shape, alpha, measure, summary):
    X, Y = pair(*shape)
    folds, seed = (5, 0) if measure == "r" else (4, 7)
    parameters = {"measure": measure, "summary": summary, "alpha": alpha, "folds": folds, "seed": seed}
    expected = ridge_predictivity(X, Y, **parameters)
    score = RidgePredictivity(**parameters)(backend.asarray(X), backend.asarray(Y))
    assert float(score) == pytest.approx(expected, rel=1e-8)


def test_ridge_predictivity_other_ways():
    X, Y = pair(23, 4, 6)
    assert RidgePredictivity(predict="y")(Y, X) == RidgePredictivity()(X, Y)
    assert RidgePredictivity(seed=None)(X, Y) == pytest.approx(ridge_predictivity(X, Y, seed=None))


def test_each_fold_chooses_its_penalty(backend):
    """A case in which the folds do not agree on one."""
    X, Y = pair(30, 2, 12, shared=1, noise=3.0)
    grid = (1.0, 30.0, 100.0, 300.0, 1000.0)
    parts = np.array_split(np.random.default_rng(0).permutation(30), 5)
    chosen = {RidgeCV(alphas=grid).fit(np.delete(Y, part, axis=0), np.delete(X, part, axis=0)).alpha_ for part in parts}
    assert len(chosen) > 1
    expected = ridge_predictivity(X, Y, alpha=grid)
    assert float(RidgePredictivity(alpha=grid)(backend.asarray(X), backend.asarray(Y))) == pytest.approx(expected)


def test_noise_cannot_be_predicted():
    """In-sample regression says 1 here; held out there is nothing."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 30)), rng.standard_normal((60, 100))
    assert simkit.compare(X, Y, "linear_regression") == pytest.approx(1)
    assert abs(RidgePredictivity()(X, Y)) < 0.15
    assert RidgePredictivity(measure="r2")(X, Y) < 0.1


def test_neurons_that_do_not_vary_take_no_part(backend):
    X, Y = pair(30, 4, 5)
    wider = np.concatenate([X, np.full((30, 3), 0.1)], axis=1)
    for measure in ("r", "r2"):
        for summary in ("median", "mean"):
            index = RidgePredictivity(measure=measure, summary=summary)
            assert float(index(backend.asarray(wider), backend.asarray(Y))) == pytest.approx(float(index(X, Y)))
    sparse = X.copy()
    fold = np.array_split(np.random.default_rng(0).permutation(30), 5)[2]
    sparse[fold, 1] = 0.1  # constant in one fold: the mean is over the other four
    r = []
    for i, test in enumerate(np.array_split(np.random.default_rng(0).permutation(30), 5)):
        train = np.setdiff1d(np.arange(30), test)
        predicted = Ridge(alpha=1.0).fit(Y[train], sparse[train]).predict(Y[test])
        r.append([np.nan if i == 2 and j == 1 else np.corrcoef(predicted[:, j], sparse[test, j])[0, 1] for j in range(4)])
    assert RidgePredictivity(summary="mean")(sparse, Y) == pytest.approx(np.mean(np.nanmean(r, axis=0)))


def test_a_predictor_that_does_not_vary():
    X, _ = pair(30, 4, 5)
    with pytest.warns(ConstantInputWarning):
        assert np.isnan(RidgePredictivity()(X, np.ones((30, 2))))


def test_ridge_parameters():
    assert RidgePredictivity(alpha=[1, 2]) == RidgePredictivity(alpha=(1, 2))
    assert simkit.get_index("ridge_predictivity(alpha=(0.1, 1.0), folds=10)").alphas == (0.1, 1.0)
    wrong = ({"alpha": 0}, {"alpha": ()}, {"alpha": (1, -1)}, {"folds": 1}, {"folds": 2.5}, {"seed": -1}, {"measure": "mse"})
    for parameters in wrong:
        with pytest.raises(SpecError, match=next(iter(parameters))):
            RidgePredictivity(**parameters)
    with pytest.raises(ValueError, match="at least 15"):
        RidgePredictivity()(*pair(14, 3, 3))


# --- all of them -----------------------------------------------------------------------------------------------------------

DIFFERENTIABLE = [
    EigenspaceOverlap(),
    EigenspaceOverlap(centre=True),
    GULP(),
    GULP(0),
    RSMNorm(),
    RSMNorm("inner"),
    RSMNorm("correlation"),
    RidgePredictivity(folds=2),
    RidgePredictivity(folds=2, measure="r2", summary="mean", alpha=(0.1, 10.0)),
]


@pytest.mark.parametrize("index", DIFFERENTIABLE, ids=str)
def test_gradients(index):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(layer, requires_grad=True) for layer in pair(9, 4, 3))
    assert torch.autograd.gradcheck(index, (x, y), atol=1e-6)


@pytest.mark.parametrize("index", DIFFERENTIABLE, ids=str)
def test_under_jit(index):
    jax = pytest.importorskip("jax")
    X, Y = pair(12, 4, 3)
    assert float(jax.jit(index)(jax.numpy.asarray(X), jax.numpy.asarray(Y))) == pytest.approx(float(index(X, Y)))
