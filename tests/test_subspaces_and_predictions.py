"""Eigenspace overlap, GULP, the norm of the difference of similarity matrices and ridge predictivity, by definition."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from data import invertible, orthogonal, pair
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.errors import ConstantInputWarning, SpecError
from simkit.indexes import GULP, EigenspaceOverlap, RidgePredictivity, RSMNorm
from simkit.indexes.ridge_predictivity import _left_out_error
from simkit.representation import Representation
from simkit.testing.gradients import gradient_in_jax, gradient_in_torch

linear_model = pytest.importorskip("sklearn.linear_model")
Ridge, RidgeCV = linear_model.Ridge, linear_model.RidgeCV
r2_score = pytest.importorskip("sklearn.metrics").r2_score
KFold = pytest.importorskip("sklearn.model_selection").KFold

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
    wrong = (
        {"alpha": -1},
        {"alpha": ()},
        {"alpha": (1, -1)},
        {"folds": 1},
        {"folds": 2.5},
        {"seed": -1},
        {"measure": "mse"},
    )
    for parameters in wrong:
        with pytest.raises(SpecError, match=next(iter(parameters))):
            RidgePredictivity(**parameters)
    with pytest.raises(ValueError, match="at least 15"):
        RidgePredictivity()(*pair(14, 3, 3))


HARD = ("plain", "wide", "dead", "equal", "sparse", "repeated", "thin")


def hard(kind, n=24, p=5, q=4):
    """A layer to be predicted and one to predict from, whose rank may be less than its width or differ from fold to fold."""
    rng = np.random.default_rng(5)
    Z = rng.standard_normal((n, 3))
    X = Z @ rng.standard_normal((3, q)) + 0.5 * rng.standard_normal((n, q))
    p = 2 * n if kind == "wide" else p
    Y = Z @ rng.standard_normal((3, p)) + 0.5 * rng.standard_normal((n, p)) + 2.0
    if kind == "dead":
        Y[:, 1], Y[:, 3] = 0.0, 0.1
    elif kind == "equal":
        Y[:, 1], Y[:, 4] = Y[:, 0], -2 * Y[:, 2]
    elif kind == "sparse":  # alive in one example
        Y[:, 2] = 0.0
        Y[7, 2] = 3.0
    elif kind == "repeated":
        X[1::2], Y[1::2] = X[::2], Y[::2]
    elif kind == "thin":
        Y[:, 3] *= 1e-5
    return X, Y


def folds_of(n, folds=4):
    parts = np.array_split(np.random.default_rng(0).permutation(n), folds)
    return [(np.concatenate([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts)]


def least_squares(Y, X, alpha):
    """Coefficients of ridge regression as least squares with the rows sqrt(alpha) I below; of minimum norm."""
    tall, targets = Y, X
    if alpha:
        tall = np.concatenate([Y, np.sqrt(alpha) * np.eye(Y.shape[1])])
        targets = np.concatenate([X, np.zeros((Y.shape[1], X.shape[1]))])
    return np.linalg.lstsq(tall, targets, rcond=max(Y.shape) * np.finfo(float).eps)[0]


def fitted(train_Y, train_X, test_Y, alpha):
    centre = train_Y.mean(axis=0)
    return (test_Y - centre) @ least_squares(train_Y - centre, train_X - train_X.mean(axis=0), alpha) + train_X.mean(axis=0)


def left_out_error(Y, X, alpha):
    """By leaving each example out."""
    return sum(
        np.sum((X[i] - fitted(np.delete(Y, i, 0), np.delete(X, i, 0), Y[i : i + 1], alpha)) ** 2) for i in range(len(X))
    )


def by_least_squares(X, Y, alphas, measure="r"):
    values = []
    for train, test in folds_of(len(X)):
        errors = [left_out_error(Y[train], X[train], alpha) for alpha in alphas] if len(alphas) > 1 else [0.0]
        guess = fitted(Y[train], X[train], Y[test], alphas[int(np.argmin(errors))])
        if measure == "r":
            values.append([np.corrcoef(a, b)[0, 1] for a, b in zip(guess.T, X[test].T, strict=True)])
        else:
            values.append(1 - np.sum((X[test] - guess) ** 2, 0) / np.sum((X[test] - X[test].mean(0)) ** 2, 0))
    return np.median(np.mean(values, axis=0))


@pytest.mark.parametrize("kind", HARD)
def test_ridge_of_any_penalty(backend, kind):
    X, Y = hard(kind)
    for alpha in (0, 1e-300, 1e-14, 1e-8, 1e-3, 1.0, 1e6):
        for measure in ("r", "r2"):
            index = RidgePredictivity(alpha=alpha, folds=4, measure=measure)
            score = float(index(backend.asarray(X), backend.asarray(Y)))
            expected = by_least_squares(X, Y, (alpha,), measure)
            tolerance = 1e-7 if 0 < alpha < 1e-3 else 1e-9
            assert score == pytest.approx(expected, rel=tolerance, abs=tolerance), (alpha, measure)
            if alpha >= 1e-3 and kind != "thin":
                sklearns = ridge_predictivity(X, Y, measure=measure, alpha=alpha, folds=4)
                assert score == pytest.approx(sklearns, rel=1e-8)


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("alphas", [(0, 1e-6), (0.1, 0), (0, 1e-3, 1.0, 100.0)], ids=str)
def test_ridge_leaves_examples_out_exactly(kind, alphas):
    X, Y = hard(kind)
    for train, test in folds_of(len(X)):
        state = RidgePredictivity(alpha=alphas, folds=4).prepare(Representation(Y))
        (regressions,) = [
            r for r, (rows, _) in zip(state.regressions, state.splits, strict=True) if np.array_equal(rows, train)
        ]
        targets = X[train] - X[train].mean(axis=0)
        for alpha, regression in zip(alphas, regressions, strict=True):
            error = float(_left_out_error(targets, regression, state.xp))
            assert error == pytest.approx(left_out_error(Y[train], X[train], alpha), rel=1e-6), alpha
            guess = fitted(Y[train], targets, Y[test], alpha)
            np.testing.assert_allclose(regression.predict(targets), guess, rtol=1e-7, atol=1e-9)
    expected = by_least_squares(X, Y, alphas)
    assert float(RidgePredictivity(alpha=alphas, folds=4)(X, Y)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("size", [1e-160, 1e160])
def test_ridge_of_features_of_any_size(size):
    X, Y = hard("plain")
    for alpha in (0, 1e6, (0, 1.0)):
        score = float(RidgePredictivity(alpha=alpha)(X * size, Y * size))
        assert np.isfinite(score)
        if alpha == 0:
            assert score == pytest.approx(float(RidgePredictivity(alpha=0)(X, Y)), rel=1e-9)


@pytest.mark.backends("torch", "jax")
@pytest.mark.parametrize("alpha", [0, 1e-20, 1e-3, 10.0, (0, 0.1, 10.0)], ids=str)
@pytest.mark.parametrize("kind", HARD)
def test_ridge_gradients_with_dead_and_equal_units(backend, kind, alpha):
    """Along directions that keep the rank: features mixed, and in full rank any."""
    module = pytest.importorskip(backend.name)
    find = gradient_in_torch if backend.name == "torch" else gradient_in_jax
    X, Y = hard(kind)
    index = RidgePredictivity(alpha=alpha, folds=4, measure="r2", summary="mean")
    gradients = find(module, index, X, Y)
    assert all(np.isfinite(g).all() for g in gradients)
    rng = np.random.default_rng(0)
    mixed = Y @ (0.3 * rng.standard_normal((Y.shape[1], Y.shape[1])))
    directions = [(rng.standard_normal(X.shape), 0 * Y), (0 * X, mixed)]
    if kind in {"plain", "wide"} or alpha in {1e-3, 10.0}:
        directions.append((0 * X, rng.standard_normal(Y.shape)))
    for dx, dy in directions:
        if kind == "thin":
            dy = dy * np.array([1, 1, 1, 1e-5, 1])
        step = 1e-5
        ends = [float(index(X + t * dx, Y + t * dy)) for t in (step, -step)]
        slope = np.sum(gradients[0] * dx) + np.sum(gradients[1] * dy)
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6)


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
