"""Procrustes, matching of neurons and distance correlation against their definitions in float64."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import cdist

import simkit
from simkit.indexes import Procrustes
from simkit.representation import Representation

SHAPES = [(30, 4, 6), (30, 6, 6), (12, 20, 5), (10, 15, 18), (9, 1, 1)]


def pair(rng, n, p, q):
    x = rng.standard_normal((n, p)) * rng.uniform(0.5, 2, p) + 3
    return x, x @ rng.standard_normal((p, q)) / np.sqrt(p) + rng.standard_normal((n, q))


def centred(x):
    return x - x.mean(axis=0)


def padded(x, y):
    """Zeros appended to the narrower one."""
    p = max(x.shape[1], y.shape[1])
    return (np.pad(a, ((0, 0), (0, p - a.shape[1]))) for a in (x, y))


def close(backend, index, x, y, expected):
    score = simkit.compare(backend.asarray(x), backend.asarray(y), index)
    assert float(score) == pytest.approx(expected, rel=1e-10, abs=1e-12)
    half = simkit.compare(backend.asarray(x, dtype="float32"), backend.asarray(y, dtype="float32"), index)
    assert half.dtype == backend.dtype("float32")
    assert float(half) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_procrustes_by_the_best_rotation(backend, rng, shape):
    x, y = pair(rng, *shape)
    a, b = padded(centred(x), centred(y))
    rotation, _ = orthogonal_procrustes(a, b)
    close(backend, "procrustes(summary=distance)", x, y, np.sum((b - a @ rotation) ** 2))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    rotation, _ = orthogonal_procrustes(a, b)
    similarity = np.sum(b * (a @ rotation))
    close(backend, "procrustes", x, y, similarity)
    close(backend, "procrustes(summary=angular)", x, y, np.arccos(min(similarity, 1)))


def test_procrustes_never_below_any_rotation(rng):
    x, y = map(centred, pair(rng, 20, 3, 3))
    best = simkit.compare(x, y, "procrustes(summary=distance)")
    for _ in range(200):
        rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        assert np.sum((y - x @ rotation) ** 2) >= best - 1e-9


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_the_angle_is_a_metric(seed, p):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((12, p))
    x, y, z = (base + rng.uniform(0, 2) * rng.standard_normal((12, p)) for _ in range(3))
    xy, yz, xz = (simkit.compare(a, b, "procrustes(summary=angular)") for a, b in ((x, y), (y, z), (x, z)))
    assert xz <= xy + yz + 1e-9
    assert xy == pytest.approx(simkit.compare(y, x, "procrustes(summary=angular)"), abs=1e-9)
    rotation, _ = np.linalg.qr(rng.standard_normal((p, p)))
    assert simkit.compare(x, 7 * x @ rotation + 1, "procrustes(summary=angular)") == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("index", ["procrustes", "procrustes(summary=distance)", "semi_match", "bipartite_match"])
def test_second_moments_suffice(rng, index):
    """The root R of the joint scatter, R'R = [Sxx Sxy; Syx Syy], scores like the examples themselves."""
    x, y = map(centred, pair(rng, 40, 4, 3))
    joint = np.concatenate([x, y], axis=1)
    r = np.linalg.cholesky(joint.T @ joint).T
    chosen = simkit.get_index(index)
    states = [chosen.prepare(Representation(part, examples=40, is_centred=True)) for part in (r[:, :4], r[:, 4:])]
    assert chosen.score(*states) == pytest.approx(simkit.compare(x, y, index), rel=1e-9)


def test_wide_layers_are_turned_not_cut(rng):
    x = rng.standard_normal((8, 100))
    state = Procrustes().prepare(Representation(x))
    assert state.x.shape == (8, 8)
    np.testing.assert_allclose(state.x.full @ state.x.full.T * float(state.scale) ** 2, centred(x) @ centred(x).T, atol=1e-9)


def correlations(x, y):
    return np.array([[np.corrcoef(a, b)[0, 1] for b in y.T] for a in x.T])


@pytest.mark.parametrize("shape", [(20, 3, 4), (20, 4, 4), (15, 5, 3), (4, 5, 6)], ids=str)
def test_matching_by_trying_all(backend, rng, shape):
    x, y = pair(rng, *shape)
    c = correlations(x, y)
    close(backend, "semi_match", x, y, np.mean(c.max(axis=1)))
    if c.shape[0] > c.shape[1]:
        c = c.T
    best = max(sum(c[i, j] for i, j in enumerate(order)) for order in itertools.permutations(range(c.shape[1]), c.shape[0]))
    close(backend, "bipartite_match", x, y, best / c.shape[0])


def test_signs_count(rng):
    x = rng.standard_normal((20, 1))
    assert simkit.compare(x, -x, "semi_match") == pytest.approx(-1)
    assert simkit.compare(x, -x, "bipartite_match") == pytest.approx(-1)


@pytest.mark.parametrize("index", ["semi_match", "bipartite_match"])
def test_dead_neurons_take_no_part(backend, rng, index):
    x, y = pair(rng, 20, 4, 5)
    dead = np.full((20, 2), 7.0)
    expected = float(simkit.compare(x, y, index))
    wider_x, wider_y = np.concatenate([dead, x], axis=1), np.concatenate([y, dead, dead], axis=1)
    assert float(simkit.compare(backend.asarray(wider_x), backend.asarray(wider_y), index)) == pytest.approx(expected)
    worst = np.concatenate([-x, dead], axis=1)  # a dead neuron is no better partner than an opposed one
    only = x[:, :1]
    assert float(simkit.compare(only, worst[:, [0, 4]], index)) == pytest.approx(-1)


def distance_correlation(x, y):
    a, b = cdist(x, x), cdist(y, y)
    n = len(a)
    h = np.eye(n) - 1 / n
    a, b = h @ a @ h, h @ b @ h
    return np.sqrt(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))


def bias_corrected(x, y):
    """Szekely & Rizzo 2014, with U-centred distance matrices."""

    def u_centred(x):
        d = cdist(x, x)
        n = len(d)
        row = d.sum(axis=1)
        u = d - row[:, None] / (n - 2) - row[None, :] / (n - 2) + d.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(u, 0)
        return u

    a, b = u_centred(x), u_centred(y)
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_distance_correlation(backend, rng, shape):
    x, y = pair(rng, *shape)
    close(backend, "distance_correlation", x, y, distance_correlation(x, y))
    close(backend, "distance_correlation(squared=True)", x, y, distance_correlation(x, y) ** 2)
    close(backend, "distance_correlation(estimator=unbiased)", x, y, bias_corrected(x, y))


def test_distance_covariance_is_hsic(rng):
    """Sejdinovic et al. 2013: the squared distance covariance is (n - 1)^2 / n^2 of HSIC with the kernel -|x - y|."""
    x, y = pair(rng, 25, 3, 4)
    a, b = cdist(x, x), cdist(y, y)
    h = np.eye(25) - 1 / 25
    covariance = np.sum((h @ a @ h) * (h @ b @ h)) / 25**2
    assert simkit.compare(x, y, "hsic(kernel=distance)") * (24 / 25) ** 2 == pytest.approx(covariance, rel=1e-12)


def test_induced_kernel_gives_the_same(rng):
    """k(x, y) = (|x - z| + |y - z| - |x - y|) / 2 for any z has half the centred Gram matrix of -|x - y|."""
    x = centred(pair(rng, 25, 3, 4)[0])
    z = rng.standard_normal((1, 3))
    k = (cdist(x, z) + cdist(z, x) - cdist(x, x)) / 2
    h = np.eye(25) - 1 / 25
    own = simkit.get_kernel("distance")(x, x)
    np.testing.assert_allclose(h @ own @ h, 2 * h @ k @ h, atol=1e-10)


@pytest.mark.parametrize(
    "index", ["procrustes", "procrustes(summary=distance)", "semi_match", "distance_correlation", "cka(kernel=distance)"]
)
@pytest.mark.parametrize("shape", [(9, 3, 4), (5, 7, 2)], ids=str)
def test_gradients(rng, index, shape):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(a, requires_grad=True) for a in pair(rng, *shape))
    assert torch.autograd.gradcheck(lambda a, b: simkit.compare(a, b, index), (x, y), atol=1e-6)
