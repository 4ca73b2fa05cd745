"""Indexes of nearest neighbours against loops over examples and sets."""

from __future__ import annotations

import numpy as np
import pytest
from data import pair

import simkit
from simkit.errors import InvalidArrayError, SpecError
from simkit.indexes import CKNNA, Jaccard, MutualKNN
from simkit.representation import Representation
from simkit.statistics import neighbours as module
from simkit.statistics.neighbours import neighbours

SHAPES = [(30, 6, 9), (12, 20, 2)]


def similarity(X, metric):
    X = np.asarray(X, dtype=np.float64)
    if metric == "euclidean":
        return np.array([[-np.linalg.norm(a - b) for b in X] for a in X])
    if metric == "cosine":
        X = X / np.linalg.norm(X, axis=1, keepdims=True)
    return X @ X.T


def sets(X, k, metric):
    S = similarity(X, metric)
    return [set(sorted((j for j in range(len(S)) if j != i), key=lambda j: -S[i, j])[:k]) for i in range(len(S))]


def mutual_knn(X, Y, k, metric):
    return np.mean([len(a & b) / k for a, b in zip(sets(X, k, metric), sets(Y, k, metric), strict=True)])


def jaccard(X, Y, k, metric):
    return np.mean([len(a & b) / len(a | b) for a, b in zip(sets(X, k, metric), sets(Y, k, metric), strict=True)])


def cknna(X, Y, k, metric):
    """The paper's equation, one pair of examples after the other."""

    def align(A, B):
        K, L, near_a, near_b = similarity(A, metric), similarity(B, metric), sets(A, k, metric), sets(B, k, metric)
        return sum(
            (K[i, j] - K[i].mean()) * (L[i, j] - L[i].mean()) for i in range(len(K)) for j in near_a[i] & near_b[i] if i != j
        )

    return align(X, Y) / np.sqrt(align(X, X) * align(Y, Y))


def cknna_of_the_code(X, Y, k, metric):
    """Song's estimator of masked matrices that are not symmetric, as the authors' programs have it."""

    def mask(A):
        M = np.zeros((len(A), len(A)))
        for i, near in enumerate(sets(A, k, metric)):
            M[i, list(near)] = 1
        return M

    def align(A, B):
        both = mask(A) * mask(B)
        K, L, n = both * similarity(A, metric), both * similarity(B, metric), len(A)
        one = np.ones(n)
        return (
            np.sum(K * L.T) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 * one @ K @ L @ one / (n - 2)
        ) / (n * (n - 3))

    return align(X, Y) / np.sqrt(align(X, X) * align(Y, Y))


CASES = [
    ("mutual_knn", mutual_knn, ("cosine", "inner", "euclidean"), {}),
    ("jaccard", jaccard, ("cosine", "inner", "euclidean"), {}),
    ("cknna", cknna, ("cosine", "inner"), {}),
    ("cknna", cknna_of_the_code, ("cosine", "inner"), {"form": "code"}),
]


@pytest.mark.parametrize("k", [2, 5, 10])
@pytest.mark.parametrize(("name", "definition", "metrics", "more"), CASES, ids=["mutual_knn", "jaccard", "cknna", "code"])
def test_definition(backend, name, definition, metrics, more, k):
    for metric in metrics:
        for shape in SHAPES:
            X, Y = pair(*shape)
            index = simkit.get_index(name, k=k, metric=metric, **more)
            score = index(backend.asarray(X), backend.asarray(Y))
            assert score.shape == ()
            expected = definition(X, Y, k, metric)
            assert float(score) == pytest.approx(expected, rel=1e-10)
            half = index(*(backend.asarray(layer, dtype="float32") for layer in (X, Y)))
            assert half.dtype == backend.dtype("float32")
            assert float(half) == pytest.approx(expected, rel=1e-5)


def test_ties_go_to_the_first(backend):
    """Examples on a grid: many are equally far, and each still has exactly k neighbours."""
    X = np.array([[i, j] for i in range(5) for j in range(5)], dtype=float)
    near = neighbours(Representation(backend.asarray(X)), 3, "euclidean")
    chosen = backend.to_numpy(near.chosen)
    np.testing.assert_array_equal(chosen.sum(axis=1), 3)
    assert [set(np.flatnonzero(row)) for row in chosen] == sets(X, 3, "euclidean")


def test_tiles_change_nothing(monkeypatch, backend):
    X = backend.asarray(pair(33, 5, 1)[0])
    whole = backend.to_numpy(neighbours(Representation(X), 4, "cosine").chosen)
    monkeypatch.setattr(module, "_TILE", 33 * 7)
    np.testing.assert_array_equal(backend.to_numpy(neighbours(Representation(X), 4, "cosine").chosen), whole)


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
