"""Representational similarity analysis against its definition: SciPy's distances, ranks and taus, and an explicit V."""

from __future__ import annotations

import importlib
import itertools
import warnings

import numpy as np
import pytest
import scipy.stats
from data import pair
from scipy.spatial.distance import pdist

import simkit
from simkit.errors import AccuracyWarning, ConstantInputWarning, SpecError
from simkit.indexes import RSA
from simkit.linalg import pair_vectors
from simkit.linalg.ranks import ranks
from simkit.representation import Representation

ranking = importlib.import_module("simkit.linalg.ranks")  # simkit.linalg has a function of that name
N = 14  # in all tests on JAX, which compiles for each number of examples
SHAPES = [(N, 6, 9), (N, 20, 4)]
DISSIMILARITIES = ("correlation", "euclidean", "squared_euclidean", "cosine", "mahalanobis")
COMPARISONS = ("pearson", "spearman", "kendall", "cosine", "whitened_cosine")


def rdm(X, dissimilarity):
    X = np.asarray(X, dtype=np.float64)
    if dissimilarity == "mahalanobis":
        precision = np.linalg.pinv(np.atleast_2d(np.cov(X.T)), rcond=1e-10)
        return np.array([np.sqrt((a - b) @ precision @ (a - b)) for a, b in itertools.combinations(X, 2)])
    return pdist(X, {"squared_euclidean": "sqeuclidean"}.get(dissimilarity, dissimilarity))


def tau_a(d, e):
    i, j = np.triu_indices(len(d), 1)
    return np.mean(np.sign(d[i] - d[j]) * np.sign(e[i] - e[j]))


def whitened_cosine(d, e):
    """With the covariance of the entries of an RDM of independent noise, Diedrichsen et al. 2021: (CC')^2 by entry."""
    n = round((1 + np.sqrt(1 + 8 * len(d))) / 2)
    C = np.zeros((len(d), n))
    for row, (i, j) in enumerate(itertools.combinations(range(n), 2)):
        C[row, i], C[row, j] = 1, -1
    inverse = np.linalg.inv((C @ C.T) ** 2)
    return d @ inverse @ e / np.sqrt((d @ inverse @ d) * (e @ inverse @ e))


COMPARE = {
    "pearson": lambda d, e: scipy.stats.pearsonr(d, e).statistic,
    "spearman": lambda d, e: scipy.stats.spearmanr(d, e).statistic,
    "kendall": tau_a,
    "cosine": lambda d, e: d @ e / np.sqrt((d @ d) * (e @ e)),
    "whitened_cosine": whitened_cosine,
}


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize(
    ("shape", "dissimilarity"),
    [(s, d) for s in SHAPES for d in DISSIMILARITIES if d != "mahalanobis" or s[1] < s[0] - 1],  # it is constant
    ids=str,
)
def test_definition(backend, shape, dissimilarity, comparison):
    X, Y = pair(*shape)
    expected = COMPARE[comparison](rdm(X, dissimilarity), rdm(Y, dissimilarity))
    index = RSA(dissimilarity, comparison)
    score = simkit.compare(backend.asarray(X), backend.asarray(Y), index)
    assert score.shape == ()
    assert float(score) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    score = simkit.compare(backend.asarray(X), backend.asarray(Y), index)
    assert score.dtype == backend.dtype("float32")
    expected = COMPARE[comparison](rdm(X, dissimilarity), rdm(Y, dissimilarity))
    assert float(score) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_dissimilarities_in_their_units(dissimilarity):
    X = 1e3 * pair(12, 6, 1)[0] + 1e4
    square = RSA(dissimilarity).dissimilarities(Representation(X))
    np.testing.assert_allclose(square[np.triu_indices(12, 1)], rdm(X, dissimilarity), rtol=1e-9)
    np.testing.assert_array_equal(np.diag(square), 0)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_ties(backend, comparison):
    """Features of few whole numbers: many dissimilarities are equal, and the library must see that they are."""
    rng = np.random.default_rng(5)
    X, Y = (rng.integers(0, 3, (N, 4)).astype(float) for _ in range(2))
    assert len(np.unique(rdm(X, "squared_euclidean"))) < 20
    for dissimilarity in ("euclidean", "squared_euclidean"):
        expected = COMPARE[comparison](rdm(X, dissimilarity), rdm(Y, dissimilarity))
        score = simkit.compare(
            backend.asarray(X), backend.asarray(Y), "rsa", dissimilarity=dissimilarity, comparison=comparison
        )
        assert float(score) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("comparison", ["pearson", "spearman", "kendall"])
@pytest.mark.parametrize("dissimilarity", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("kind", ["ordinary", "whole"])
def test_an_outlier_blurs_nobody_else(backend, kind, dissimilarity, comparison):
    """Wherever it is, the dissimilarities of the others keep their order, and their ties."""
    rng = np.random.default_rng(2)
    X, Y = pair(N, 5, 4) if kind == "ordinary" else [rng.integers(0, 3, (N, 4)).astype(float) for _ in range(2)]
    X[0] = 1e8 * (X[0] + 1)
    expected = COMPARE[comparison](rdm(X, dissimilarity), rdm(Y, dissimilarity))
    for row in (0, 7, N - 1):
        order = np.roll(np.arange(N), row)
        score = RSA(dissimilarity, comparison)(backend.asarray(X[order]), backend.asarray(Y[order]))
        assert float(score) == pytest.approx(expected, rel=1e-7 if comparison == "pearson" else 1e-12)


@pytest.mark.parametrize("comparison", ["spearman", "kendall"])
@pytest.mark.parametrize("dissimilarity", ["euclidean", "squared_euclidean", "cosine"])
def test_ties_survive_rotation_and_scale(backend, dissimilarity, comparison):
    rng = np.random.default_rng(3)
    X, Y = ((rng.random((N, p)) < 0.5).astype(float) for p in (6, 5))
    X[:, 0] = Y[:, 0] = 1
    X[4] *= 1e8
    rotation = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    order = rng.permutation(N)
    index = RSA(dissimilarity, comparison)
    expected = float(index(X, Y))
    for moved, other in ((X @ rotation, Y), (2.7 * X, Y), (X[order] @ rotation, Y[order])):
        assert float(index(backend.asarray(moved), backend.asarray(other))) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_equal_directions_are_no_order(comparison):
    """All examples on one ray: what is left of their cosines is rounding, which must not be compared."""
    rng = np.random.default_rng(4)
    X = rng.random((12, 1)) @ rng.standard_normal((1, 6))
    score = RSA("cosine", comparison)
    with pytest.warns((ConstantInputWarning, AccuracyWarning)):
        assert float(score(X, pair(12, 3, 4)[1])) == 0 if comparison == "kendall" else np.isnan(score(X, pair(12, 3, 4)[1]))


@pytest.mark.parametrize("comparison", ["spearman", "kendall"])
@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_repeated_examples_tie(backend, dissimilarity, comparison):
    """As in a bootstrap: equal dissimilarities are computed with unequal rounding, which must not be ranked."""
    rows = np.array([0, 0, 1, 2, 3, 3, 3, 4, 5, 6, 7, 8, 9, 9])
    assert len(rows) == N
    X, Y = (layer[rows] for layer in pair(10, 3, 4))
    expected = COMPARE[comparison](*(np.round(rdm(layer, dissimilarity), 9) for layer in (X, Y)))
    index = RSA(dissimilarity, comparison)
    assert float(index(backend.asarray(X), backend.asarray(Y))) == pytest.approx(expected, rel=1e-10)


def test_tau_a_is_below_one_where_entries_are_tied():
    X = np.random.default_rng(5).integers(0, 3, (14, 4)).astype(float)
    score = simkit.compare(X, X, "rsa", dissimilarity="euclidean", comparison="kendall")
    assert score == pytest.approx(tau_a(*[rdm(X, "euclidean")] * 2))
    assert score < 0.95


def test_whitened_squared_distances_are_linear_cka(rng):
    X, Y = pair(25, 6, 40)
    score = simkit.compare(X, Y, "rsa", dissimilarity="squared_euclidean", comparison="whitened_cosine")
    assert score == pytest.approx(float(simkit.compare(X, Y, "cka")), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_scale_does_not_matter(dissimilarity, scale):
    X, Y = pair(20, 6, 5)
    for comparison in COMPARISONS:
        index = RSA(dissimilarity, comparison)
        assert index(X * scale, Y / scale) == pytest.approx(index(X, Y), rel=1e-9)


def test_features_are_taken_as_given():
    """Centring the columns changes correlations between examples, so it must not happen."""
    X, Y = pair(15, 6, 7, offset=3)
    centred = RSA()(X - X.mean(axis=0), Y - Y.mean(axis=0))
    assert abs(RSA()(X, Y) - centred) > 1e-3


@pytest.mark.parametrize("comparison", ["pearson", "spearman"])
def test_equal_dissimilarities_are_no_order(backend, comparison):
    """p >= n - 1: all Mahalanobis distances are the same; rounding must not be ranked."""
    X, Y = (backend.asarray(layer) for layer in pair(N, 20, 30))
    with pytest.warns(ConstantInputWarning):
        assert np.isnan(float(simkit.compare(X, Y, "rsa", dissimilarity="mahalanobis", comparison=comparison)))


def test_an_example_without_direction():
    X, Y = pair(10, 5, 6)
    X[3] = 2.5
    d = np.ones(45)
    keep = [3 not in (i, j) for i, j in itertools.combinations(range(10), 2)]
    d[keep] = rdm(X[[i for i in range(10) if i != 3]], "correlation")
    assert RSA()(X, Y) == pytest.approx(scipy.stats.spearmanr(d, rdm(Y, "correlation")).statistic)


@pytest.mark.parametrize("comparison", ["pearson", "cosine", "whitened_cosine"])
@pytest.mark.parametrize("dissimilarity", ["correlation", "euclidean", "squared_euclidean", "cosine"])
def test_gradients(dissimilarity, comparison):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(layer, requires_grad=True) for layer in pair(7, 4, 3))
    assert torch.autograd.gradcheck(RSA(dissimilarity, comparison), (x, y), atol=1e-6)


@pytest.mark.parametrize("comparison", ["pearson", "spearman", "cosine", "whitened_cosine"])
def test_under_jit(comparison):
    jax = pytest.importorskip("jax")
    X, Y = pair(8, 5, 4)
    index = RSA(comparison=comparison)
    assert float(jax.jit(index)(jax.numpy.asarray(X), jax.numpy.asarray(Y))) == pytest.approx(float(index(X, Y)))


def hard_vectors():
    rng = np.random.default_rng(0)
    return {
        "ordinary": rng.standard_normal(3000),
        "whole": rng.integers(-5, 6, 3000).astype(float),
        "one value": np.full(50, 7.0),
        "close": 1 + 2.0**-50 * rng.integers(0, 500, 3000),  # more digits than there is room for beside their places
        "far apart": np.concatenate([[0.0, -0.0, 1e300, -1e300, 5e-324, -5e-324], rng.standard_normal(99) * 1e-200]),
        "descending": np.arange(300.0)[::-1],
        "two": np.array([2.0, 1.0]),
        "one": np.array([3.0]),
    }


@pytest.mark.parametrize("kind", hard_vectors())
def test_ranks(monkeypatch, backend, kind):
    values = hard_vectors()[kind]
    if backend.name == "jax":
        values = values[(values == 0) | (abs(values) > 1e-307)]  # which it takes for zero
    before = values.copy()
    found = backend.to_numpy(ranks(backend.asarray(values), backend.xp))
    np.testing.assert_array_equal(found, scipy.stats.rankdata(values))
    np.testing.assert_array_equal(values, before)
    monkeypatch.setattr(ranking, "is_on_host", lambda x: False)  # as on an accelerator
    found = backend.to_numpy(ranks(backend.asarray(values), backend.xp))
    np.testing.assert_array_equal(found, scipy.stats.rankdata(values))


@pytest.mark.parametrize("host", [True, False])
def test_ranks_of_a_chain_are_cut(monkeypatch, backend, host):
    """Entries of which each is near the next, over a long way: not all are equal, but those near each other may be."""
    monkeypatch.setattr(ranking, "is_on_host", lambda x: host)
    values = np.random.default_rng(0).permutation(np.arange(100) * 0.5)
    near = backend.to_numpy(ranks(backend.asarray(values), backend.xp, backend.xp.ones_like))
    np.testing.assert_array_equal(near, scipy.stats.rankdata(np.round(values)))
    short = np.array([5.0, 1.0, 1.5, 2.5, 9.0, 9.9])
    found = backend.to_numpy(ranks(backend.asarray(short), backend.xp, backend.xp.ones_like))
    np.testing.assert_array_equal(found, [4, 2, 2, 2, 5.5, 5.5])


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_all_pairs_and_other_orders(backend, comparison):
    """Many RDMs at once have the scores of each pair; a state in another order is that of the layer in it."""
    layers = [layer for seed in (1, 2) for layer in pair(N, 6, 9, seed=seed)]
    index = RSA(comparison=comparison)
    states = [index.prepare(Representation(backend.asarray(layer))) for layer in layers]
    for columns in (states, states[1:3]):
        expected = [[float(index.score(x, y)) for y in columns] for x in states]
        np.testing.assert_allclose(backend.to_numpy(index.scores(states, columns)), expected, rtol=1e-12, atol=1e-14)
    order = np.random.default_rng(0).permutation(N)
    moved = index.permuted(states[0], backend.asarray(order))
    again = index.prepare(Representation(backend.asarray(layers[0][order])))
    assert float(index.score(moved, states[1])) == pytest.approx(float(index.score(again, states[1])), rel=1e-10)


def test_blocks_of_the_upper_half_are_the_whole(monkeypatch):
    """In NumPy no matrix over all pairs is made, in blocks of however many rows."""
    X, Y = pair(150, 6, 7)
    for dissimilarity in DISSIMILARITIES:
        index = RSA(dissimilarity, "pearson")
        expected = COMPARE["pearson"](rdm(X, dissimilarity), rdm(Y, dissimilarity))
        for size in (1, 150 * 40, 10**9):
            monkeypatch.setattr(pair_vectors, "_BLOCK", size)
            assert index(X, Y) == pytest.approx(expected, rel=1e-10)


def test_wrong_parameters():
    with pytest.raises(SpecError, match="expected one of correlation"):
        RSA("corelation")
    with pytest.raises(SpecError, match="expected one of pearson"):
        simkit.get_index("rsa(comparison=tau)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="at least 3"):
            RSA()(np.eye(2), np.eye(2))


@pytest.mark.parametrize("comparison", ["pearson", "spearman", "kendall", "cosine", "whitened_cosine"])
def test_layers_that_were_permuted_are_pooled_in_their_order(comparison, rng):
    index = simkit.get_index("rsa", comparison=comparison)
    states = [index.prepare(Representation(rng.standard_normal((12, 4)))) for _ in range(3)]
    first, then = rng.permutation(12), rng.permutation(12)
    moved = [index.permuted(index.permuted(state, first), then) for state in states]
    expected = index.permuted(index.permuted(index.pool(states), first), then)
    np.testing.assert_allclose(index.pool(moved).vector, expected.vector, atol=1e-14)
    np.testing.assert_allclose(moved[0].rdm, index.permuted(states[0], first[then]).rdm)
