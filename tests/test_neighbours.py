"""Indexes of nearest neighbours against loops over examples and sets."""

from __future__ import annotations

import sys
import warnings
from functools import cache

import numpy as np
import pytest
from data import pair

import simkit
from simkit.arrays import to_numpy
from simkit.errors import AccuracyWarning, InvalidArrayError, SpecError
from simkit.indexes import CKNNA, Jaccard, MutualKNN
from simkit.linalg import nearest as blocks
from simkit.representation import Representation
from simkit.statistics import neighbours as module
from simkit.statistics.neighbours import Points, neighbours

SHAPES = [(30, 6, 9), (12, 20, 2)]


def similarity(X, metric):
    X = np.asarray(X, dtype=np.float64)
    if metric == "euclidean":
        return np.array([[-np.linalg.norm(a - b) for b in X] for a in X])
    if metric == "cosine":
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X @ X.T


def shares(X, k, metric):
    """How much of a neighbour of i is j, one example after the other; of m that tie for r places each has r/m."""
    S = np.round(similarity(X, metric), 9)
    A = np.zeros(S.shape)
    for i in range(len(S)):
        others = [j for j in range(len(S)) if j != i]
        last = sorted((S[i, j] for j in others), reverse=True)[k - 1]
        nearer, tied = [j for j in others if S[i, j] > last], [j for j in others if S[i, j] == last]
        A[i, nearer], A[i, tied] = 1, (k - len(nearer)) / len(tied)
    return A


def chosen(backend, X, k, metric):
    """What the library has for `shares`."""
    points = Points.of(Representation(backend.asarray(X)), metric)
    near = neighbours(points, k)
    share = np.zeros(len(X) ** 2)
    share[slice(None) if near.pairs.numbers is None else to_numpy(near.pairs.numbers)] = to_numpy(near.share)
    return share.reshape(len(X), len(X))


def mutual_knn(X, Y, k, metric):
    return np.sum(np.minimum(shares(X, k, metric), shares(Y, k, metric))) / (k * len(X))


def jaccard(X, Y, k, metric):
    A, B = shares(X, k, metric), shares(Y, k, metric)
    return np.mean([sum(map(min, a, b)) / sum(map(max, a, b)) for a, b in zip(A, B, strict=True)])


def cknna(X, Y, k, metric):
    """The paper's equation, one pair of examples after the other."""

    def align(A, B):
        K, L, near_a, near_b = similarity(A, metric), similarity(B, metric), shares(A, k, metric), shares(B, k, metric)
        return sum(
            min(near_a[i, j], near_b[i, j]) * (K[i, j] - K[i].mean()) * (L[i, j] - L[i].mean())
            for i in range(len(K))
            for j in range(len(K))
        )

    return align(X, Y) / np.sqrt(align(X, X) * align(Y, Y))


def cknna_of_the_code(X, Y, k, metric):
    """Song's estimator of masked matrices that are not symmetric, as the authors' programs have it."""

    def align(A, B):
        both = np.minimum(shares(A, k, metric), shares(B, k, metric))
        K, L, n = both * similarity(A, metric), both * similarity(B, metric), len(A)
        one = np.ones(n)
        return (
            np.sum(K * L.T) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 * one @ K @ L @ one / (n - 2)
        ) / (n * (n - 3))

    return align(X, Y) / np.sqrt(align(X, X) * align(Y, Y))


CASES = [
    *(("mutual_knn", mutual_knn, metric) for metric in ("cosine", "inner", "euclidean")),
    *(("jaccard", jaccard, metric) for metric in ("cosine", "inner", "euclidean")),
    *(("cknna", cknna, metric) for metric in ("cosine", "inner")),
    *(("cknna(form=code)", cknna_of_the_code, metric) for metric in ("cosine", "inner")),
]
CASE_IDS = [f"{spec}-{metric}" for spec, _, metric in CASES]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize(("spec", "definition", "metric"), CASES, ids=CASE_IDS)
def test_definition(backend, spec, definition, metric, k, shape):
    X, Y = pair(*shape)
    index = simkit.get_index(spec, k=k, metric=metric)
    score = index(backend.asarray(X), backend.asarray(Y))
    assert score.shape == ()
    expected = definition(X, Y, k, metric)
    assert float(score) == pytest.approx(expected, rel=1e-10)
    half = index(*(backend.asarray(layer, dtype="float32") for layer in (X, Y)))
    assert half.dtype == backend.dtype("float32")
    assert float(half) == pytest.approx(expected, rel=1e-5)


def tied_layers():
    """Layers whose examples are equally similar to many others."""
    rng = np.random.default_rng(7)
    binary = [(rng.random((30, p)) < 0.4).astype(float) for p in (6, 5)]
    for layer in binary:
        layer[:, 0] = 1  # each example has a direction
    whole = [rng.integers(1, 4, (30, p)).astype(float) for p in (4, 3)]
    rows = rng.integers(0, 15, 30)
    repeated = [layer[rows] for layer in pair(15, 6, 5)]
    grid = np.array([[i, j] for i in range(5) for j in range(6)], dtype=float)
    far = [layer.copy() for layer in binary]
    far[0][3] *= 1e8  # one example does not blur the others
    return {
        "binary": binary,
        "whole": whole,
        "repeated": repeated,
        "grid": [grid + 1, grid[rng.permutation(30)] + 2],
        "outlier": far,
    }


@pytest.mark.parametrize("kind", tied_layers())
@pytest.mark.parametrize(("spec", "definition", "metric"), CASES, ids=CASE_IDS)
def test_ties_are_shared(backend, spec, definition, metric, kind):
    """Neither a rotation, nor scale, nor the order of the examples decides who of those equally near is taken."""
    rng = np.random.default_rng(1)
    X, Y = tied_layers()[kind]
    order = rng.permutation(len(X))
    rotation = np.linalg.qr(rng.standard_normal((X.shape[1], X.shape[1])))[0]
    index = simkit.get_index(spec, k=4, metric=metric)

    def score(a, b):
        return float(index(backend.asarray(a), backend.asarray(b)))

    if kind != "outlier":  # where the definition is not right to nine digits
        assert score(X, Y) == pytest.approx(definition(X, Y, 4, metric), rel=1e-9)
    assert score(X, X) == pytest.approx(1, rel=1e-12)
    for moved in (X @ rotation, 2.7 * X):
        assert score(moved, Y) == pytest.approx(score(X, Y), rel=1e-9)
        assert score(moved, X) == pytest.approx(1, rel=1e-9)
    assert score(X[order], Y[order]) == pytest.approx(score(X, Y), rel=1e-9)


def test_shares_add_up(backend):
    """Examples on a grid: many are equally far, and each still has exactly k neighbours."""
    X = np.array([[i, j] for i in range(5) for j in range(5)], dtype=float)
    for metric in ("euclidean", "inner"):
        found = chosen(backend, X, 3, metric)
        np.testing.assert_allclose(found, shares(X, 3, metric), rtol=1e-15)
        np.testing.assert_allclose(found.sum(axis=1), 3, rtol=1e-15)


def test_all_neighbours_alike(backend):
    """One feature of one sign: all cosines are 1, and each example is as much of a neighbour as any other."""
    X = 1 + np.random.default_rng(0).random((20, 1))
    np.testing.assert_allclose(chosen(backend, X, 5, "cosine"), (1 - np.eye(20)) * 5 / 19, rtol=1e-12)


@pytest.mark.parametrize("index", [MutualKNN(metric="euclidean"), Jaccard(metric="euclidean")], ids=str)
def test_an_outlier_may_be_anywhere(backend, index):
    X, Y = pair(40, 5, 5)
    X[0] *= 1e8
    expected = (mutual_knn if isinstance(index, MutualKNN) else jaccard)(X, Y, 10, "euclidean")
    for row in (0, 17, 39):
        order = np.roll(np.arange(40), row)
        assert float(index(backend.asarray(X[order]), backend.asarray(Y[order]))) == pytest.approx(expected, rel=1e-10)


def test_blocks_change_nothing(monkeypatch, backend):
    X = pair(33, 5, 1)[0]
    whole = chosen(backend, X, 4, "cosine")
    monkeypatch.setattr(blocks, "_ROWS", 7)
    monkeypatch.setattr(blocks, "_COLUMNS", 5)
    np.testing.assert_array_equal(chosen(backend, X, 4, "cosine"), whole)
    monkeypatch.setattr(module, "is_on_host", lambda x: False)
    monkeypatch.setattr(module, "_TILE", 33 * 7)
    if "strict" not in backend.name:  # as tests set it up, it has no shapes that depend on data
        np.testing.assert_array_equal(chosen(backend, X, 4, "cosine"), whole)


def directions_to_many_digits(X):
    """-|u_i - u_j|^2 of directions u, their differences in long double: the order of the cosines."""
    X = np.asarray(X, dtype=np.longdouble)
    U = X / np.sqrt(np.sum(X * X, axis=1, keepdims=True))
    U = U - U[0]
    return -np.array([np.sum((U - u) ** 2, axis=1) for u in U])


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is float64 here")
@pytest.mark.parametrize("offset", [1e4, 1e6, 1e8])
def test_cosines_of_features_with_a_large_offset(backend, offset):
    """They differ in their last digits, or not at all; who is near is in the values all the same."""
    X, Y = (layer + offset for layer in pair(80, 8, 7))
    near = []
    for layer in (X, Y):
        S = directions_to_many_digits(layer)
        np.fill_diagonal(S, -np.inf)
        near.append([set(row[:10]) for row in np.argsort(-S, axis=1)])
    expected = np.mean([len(a & b) / 10 for a, b in zip(*near, strict=True)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(MutualKNN()(backend.asarray(X), backend.asarray(Y))) == pytest.approx(expected, rel=1e-12)
        assert float(CKNNA()(backend.asarray(X), backend.asarray(Y))) == pytest.approx(float(CKNNA()(X, Y)), rel=1e-6)
    with pytest.warns(AccuracyWarning, match="large offset"):
        MutualKNN()(backend.asarray(X + 1e12), backend.asarray(Y))


@pytest.mark.parametrize("metric", ["cosine", "inner", "euclidean"])
@pytest.mark.parametrize("kind", ["ordinary", "one direction", "offset", "outliers", "ties", "zeros", "wide", "small"])
def test_screened_in_float32_settled_in_float64(monkeypatch, kind, metric):
    """Whatever float32 can tell: the neighbours are those that float64 has, found for one example after the other."""
    monkeypatch.setattr(blocks, "_COLUMNS", 150)
    rng = np.random.default_rng(3)
    X = rng.standard_normal((400, 12))
    k = 7
    if kind == "one direction":
        X = X * 1e-3 + rng.standard_normal(12)
    elif kind == "offset":
        X = X + 1e4
    elif kind == "outliers":
        X[::40] *= 1e6
    elif kind == "ties":
        X = rng.integers(-1, 2, (400, 5)).astype(float)
        X[:, 0] = 2
    elif kind == "zeros":
        X[::3] = 0
    elif kind == "wide":
        X = rng.standard_normal((150, 900))
    elif kind == "small":
        X, k = X[:9] * 1e-30, 8
    points = Points.of(Representation(X), metric)
    near = neighbours(points, k)
    tile = points.tile(slice(0, len(X)))
    errors = points.errors((slice(None), None), (None, slice(None)), tile)
    np.fill_diagonal(tile, -np.inf)
    expected = blocks.nearest(tile, errors, k, points.xp)
    found = np.zeros(expected.size)
    found[near.pairs.numbers] = near.share
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-12)
    assert (np.diff(near.pairs.numbers) > 0).all()


@pytest.mark.parametrize("spec", ["mutual_knn", "jaccard", "cknna", "cknna(form=code)"])
def test_another_order_of_the_examples(backend, spec):
    """As permutation tests take it: the state moves along, and is what the layer would have in that order."""
    rng = np.random.default_rng(0)
    X, Y = pair(40, 5, 4)
    X[3:9] = X[2]
    index, order = simkit.get_index(spec, k=4), rng.permutation(40)
    x, y, moved = (index.prepare(Representation(backend.asarray(layer))) for layer in (X, Y, X[order]))
    expected = float(index.score(moved, y))
    assert float(index.score(index.permuted(x, backend.asarray(order)), y)) == pytest.approx(expected, rel=1e-12)
    back = index.permuted(index.permuted(x, backend.asarray(order)), backend.asarray(np.argsort(order)))
    assert float(index.score(back, x)) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("spec", ["mutual_knn", "jaccard", "cknna", "cknna(form=code)"])
def test_on_an_accelerator_and_traced(monkeypatch, spec):
    """By tiles on the device; and by masks over all pairs where nothing may depend on values. Both meet the other ways."""
    torch = pytest.importorskip("torch")
    X, Y = (torch.asarray(layer) for layer in pair(50, 5, 4))
    X[10:16] = X[9]
    index = simkit.get_index(spec, k=5)
    expected = float(index(X, Y))
    many = torch.func.vmap(lambda a: simkit.compare(a, Y, index))(X[None])
    assert float(many[0]) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(module, "is_on_host", lambda x: False)
    monkeypatch.setattr(module, "_TILE", 50 * 11)
    assert float(index(X, Y)) == pytest.approx(expected, rel=1e-12)
    many = torch.func.vmap(lambda a: simkit.compare(a, Y, index))(X[None])
    assert float(many[0]) == pytest.approx(expected, rel=1e-12)


def test_all_neighbours_leave_cka_without_the_diagonal():
    X, Y = pair(20, 6, 5)
    K, L = similarity(X, "inner"), similarity(Y, "inner")
    K, L = (S - S.mean(axis=1, keepdims=True) for S in (K, L))
    off = ~np.eye(20, dtype=bool)
    expected = np.sum((K * L)[off]) / np.sqrt(np.sum((K * K)[off]) * np.sum((L * L)[off]))
    assert CKNNA(k=19, metric="inner")(X, Y) == pytest.approx(expected)


def test_unrelated_layers_score_as_by_chance():
    rng = np.random.default_rng(0)
    scores = [MutualKNN(k=5)(rng.standard_normal((60, 8)), rng.standard_normal((60, 8))) for _ in range(40)]
    assert np.mean(scores) == pytest.approx(5 / 59, abs=0.01)


def test_a_large_offset_does_not_hide_who_is_near():
    X, Y = pair(40, 5, 5)
    index = MutualKNN(metric="euclidean")
    assert index(X + 1e7, Y) == index(X, Y)


SINGLE = ["mutual_knn", "mutual_knn(metric=inner)", "jaccard", "cknna", "cknna(form=code)"]
SINGLE += ["rsm_norm", "rsm_norm(similarity=inner)", "rsm_norm(similarity=correlation)", "rsa(dissimilarity=cosine)"]


def far_from_the_origin(what):
    X, Y = pair(60, 8, 7)
    if what == "offset":
        return (X + 1e4).astype(np.float32), (Y + 1e4).astype(np.float32)
    X[:, 2] = Y[:, 2] = 15000
    return X.astype(np.float32), Y.astype(np.float32)


@cache
def compiled(spec):
    """A comparison that JAX compiles once, whatever the values."""
    return sys.modules["jax"].jit(lambda x, y: simkit.compare(x, y, spec))


@pytest.mark.parametrize("what", ["offset", "massive activation"])
@pytest.mark.parametrize("spec", [*SINGLE, "rsa"])
def test_without_float64_an_offset_is_warned_of(spec, what):
    """What the metric sees, float32 may not resolve; in float64 the same numbers score without a word."""
    jax = pytest.importorskip("jax")
    X, Y = far_from_the_origin(what)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = float(simkit.compare(X, Y, spec))
        ordinary = [layer.astype(np.float32) for layer in pair(60, 8, 7)]
        with jax.enable_x64(False):
            assert np.isfinite(float(simkit.compare(*map(jax.numpy.asarray, ordinary), spec)))
            compiled(spec)(*map(jax.numpy.asarray, (X, Y)))
    with warnings.catch_warnings(record=True) as caught, jax.enable_x64(False):
        warnings.simplefilter("always")
        found = float(simkit.compare(*map(jax.numpy.asarray, (X, Y)), spec))
    warned = [str(warning.message) for warning in caught if issubclass(warning.category, AccuracyWarning)]
    assert all("jax_enable_x64" in message for message in warned)
    assert warned or found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("what", ["offset", "massive activation"])
@pytest.mark.parametrize(
    "spec", ["mutual_knn(metric=euclidean)", "jaccard(metric=euclidean)", "rsa(dissimilarity=euclidean)"]
)
def test_without_float64_distances_do_not_see_an_offset(spec, what):
    jax = pytest.importorskip("jax")
    X, Y = far_from_the_origin(what)
    expected = float(simkit.compare(X, Y, spec))
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(simkit.compare(*map(jax.numpy.asarray, (X, Y)), spec)) == pytest.approx(expected, rel=1e-3)


def test_gradients_of_cknna():
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(layer, requires_grad=True) for layer in pair(9, 4, 3))
    assert torch.autograd.gradcheck(CKNNA(k=4), (x, y), atol=1e-6)
    assert torch.autograd.gradcheck(CKNNA(k=4, form="code"), (x, y), atol=1e-6)


@pytest.mark.parametrize("index", [MutualKNN(), Jaccard(k=3, metric="euclidean"), CKNNA(), CKNNA(form="code")], ids=str)
def test_under_jit(index):
    jax = pytest.importorskip("jax")
    X, Y = pair(15, 5, 4)
    assert float(jax.jit(index)(jax.numpy.asarray(X), jax.numpy.asarray(Y))) == pytest.approx(float(index(X, Y)))


@pytest.mark.parametrize("name", ["mutual_knn", "jaccard", "cknna"])
def test_wrong_parameters(name):
    for k in (0, 2.5, -1, "ten", True):
        with pytest.raises(SpecError, match="k="):
            simkit.get_index(name, k=k)
    with pytest.raises(SpecError, match="expected one of cosine"):
        simkit.get_index(name, metric="manhattan")
    with pytest.raises(InvalidArrayError, match="at least 11"):
        simkit.compare(*pair(10, 3, 3), name)
