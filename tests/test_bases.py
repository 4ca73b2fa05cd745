"""Bases of column spaces and nuclear norms: the short ways give what the definitions give, and are taken where they are certain."""

from __future__ import annotations

import tracemalloc
import warnings

import definitions
import numpy as np
import pytest
from data import conditioned, orthogonal, pair

import simkit
from simkit.arrays import namespace_of
from simkit.errors import AccuracyWarning
from simkit.linalg import Factored, cosines, decompositions, nuclear_norm, orthonormal_basis, squared_cosines
from simkit.linalg.decompositions import inverse_of_triangle, singular_values
from simkit.representation import Representation

EPS = float(np.finfo(np.float64).eps)
SHAPES = [(300, 20), (61, 60), (60, 60), (60, 61), (40, 120), (5, 3), (3, 5)]


def basis_of(x, xp=None, tolerance=None, **options):
    tolerance = max(x.shape) * EPS if tolerance is None else tolerance
    return orthonormal_basis(x, tolerance, xp or namespace_of(x), **options)


def spread(n, p, condition, rng):
    """A centred layer with all directions that it can have, whose singular values fall from 1 to 1/condition."""
    rank = min(n - 1, p)
    u = np.linalg.qr(definitions.centred(rng.standard_normal((n, rank))))[0]
    return u * np.geomspace(1, 1 / condition, rank) @ np.linalg.qr(rng.standard_normal((p, rank)))[0].T


# --- orthonormal bases ------------------------------------------------------------------------------------------------------


def check_space(x, is_centred, backend=None):
    """QQ' projects onto the left singular vectors."""
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    u = u[:, s > max(x.shape) * EPS * s[0]]
    basis = basis_of(x if backend is None else backend.asarray(x), backend and backend.xp, is_centred=is_centred)
    q = basis.q if backend is None else backend.to_numpy(basis.q)
    assert int(basis.rank) == u.shape[1] == np.count_nonzero(q.any(axis=0))
    np.testing.assert_allclose(q @ q.T, u @ u.T, atol=50 * EPS * s[0] / s[len(u.T) - 1] + 1e-13)
    gram = q.T @ q
    np.testing.assert_allclose(gram, np.diag(np.diag(gram).round()), atol=1e-10)


@pytest.mark.parametrize("condition", [1.0, 30.0, 1e3, 1e5, 1e7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("is_centred", [True, False])
def test_the_space_of_the_columns(shape, condition, is_centred, rng):
    """Whatever the way to it, also with dead columns beside the others."""
    x = spread(*shape, condition, rng)
    x[:, 1] = 0.0 if shape[1] > 4 else x[:, 1]
    check_space(x, is_centred)


@pytest.mark.parametrize(("shape", "condition"), [((30, 6), 3.0), ((30, 6), 1e4), ((12, 20), 10.0)], ids=str)
def test_the_space_of_the_columns_on_every_library(backend, shape, condition, rng):
    check_space(spread(*shape, condition, rng), True, backend)


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-4])
@pytest.mark.parametrize("tolerance", [1e-14, 1e-6])
@pytest.mark.parametrize("shape", [(200, 16), (12, 30)], ids=str)
def test_the_rank_is_the_number_of_singular_values_above_the_threshold(shape, tolerance, noise, rng):
    """Near it and far from it, on either side; the smallest lie between values that a short way could overlook."""
    for smallest in np.geomspace(1e-12, 1, 25) * 1.3:
        x = spread(*shape, 1 / min(smallest, 1.0), rng)
        s = np.linalg.svd(x, compute_uv=False)
        threshold = max(tolerance * s[0], noise)
        if np.min(np.abs(np.log(s[s > 1e-15] / threshold))) < 1e-2:
            continue  # rounding decides
        basis = basis_of(x, tolerance=tolerance, noise=noise, is_centred=True)
        assert int(basis.rank) == np.count_nonzero(s > threshold), smallest


def test_scales_are_divided_by_first(rng):
    x = rng.standard_normal((50, 6))
    scales = 2.0 ** np.arange(-3, 3)
    divided, given = basis_of(x / scales), basis_of(x, scales=scales)
    np.testing.assert_allclose(given.q, divided.q, atol=1e-14)
    wide = rng.standard_normal((6, 50))
    scales = 2.0 ** rng.integers(-30, 30, 50)
    assert basis_of(wide, scales=scales, noise=1e-3).rank == basis_of(wide / scales, noise=1e-3).rank == 6


def test_no_second_matrix_of_the_size_of_a_well_conditioned_layer(rng):
    """Its basis is the centred layer, made once, and a triangle; it holds two layers of this size if it is not."""
    x, y = pair(4000, 100, 80, noise=2.0)
    layer = Representation(x)
    assert layer.basis.columns.x is layer.columns.x
    assert (
        Representation(x @ np.diag(np.geomspace(1, 1e-3, 100)) @ orthogonal(100, rng)).basis.columns.x is not layer.columns.x
    )
    simkit.compare(x, y, "cca")
    tracemalloc.start()
    simkit.compare(x, y, "cca")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * (x.nbytes + y.nbytes)


# --- layers that span everything ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 60), (30, 40), (2, 9)], ids=str)
def test_wide_layers_span_everything(shape, rng):
    """Seen from the numbers: of centred layers all that sums to 0, of others all."""
    x = rng.standard_normal(shape) + 3
    for layer, rank in ((Representation(x), shape[0] - 1), (Representation(x, is_centred=True), shape[0])):
        basis, q = layer.basis, layer.basis.q
        assert basis.is_whole
        assert int(basis.rank) == rank == q.shape[1]
        np.testing.assert_allclose(q.T @ q, np.eye(rank), atol=1e-13)
        if rank < shape[0]:
            np.testing.assert_allclose(q.sum(axis=0), 0, atol=1e-13)


def test_wide_layers_that_do_not(rng):
    """A direction is missing, or may be rounding."""
    x = rng.standard_normal((30, 90))
    missing = x.copy()
    missing[7] = missing[3]
    doubtful = (spread(30, 90, 1e9, rng) + 1e-3).astype(np.float32)
    low = rng.standard_normal((30, 12)) @ rng.standard_normal((12, 90))
    assert Representation(x).basis.is_whole
    for layer, rank in ((missing, 28), (low, 12)):
        basis = Representation(layer).basis
        assert not basis.is_whole
        assert basis.rank == rank
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        assert not Representation(doubtful).basis.is_whole


@pytest.mark.parametrize(
    "spec", ["cca", "cca(summary=rho)", "linear_regression", "eigenspace_overlap(centre=True)", "pwcca"]
)
def test_theorem_1(spec, rng):
    """A layer of rank n - 1 explains every other, and a narrow one its share of it."""
    wide, other, narrow = (rng.standard_normal((25, p)) for p in (40, 30, 6))
    share = 6 / 24 if "eigenspace" in spec else 1.0
    of_wide = definitions.linear_regression(wide, narrow) if "regression" in spec else share
    assert simkit.compare(wide, other, spec) == pytest.approx(1.0, rel=1e-12)
    assert simkit.compare(narrow, wide, spec) == pytest.approx(share, rel=1e-12)
    assert simkit.compare(wide, narrow, spec) == pytest.approx(of_wide, rel=1e-12)


@pytest.mark.parametrize("shapes", [((20, 30), (20, 5)), ((20, 30), (20, 40)), ((50, 5), (50, 7))], ids=str)
def test_cosines_of_principal_angles(shapes, rng):
    x, y = (Representation(rng.standard_normal(shape)) for shape in shapes)
    expected = np.linalg.svd(x.basis.q.T @ y.basis.q, compute_uv=False)
    found = cosines(x.basis, y.basis, np)
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-13)
    assert squared_cosines(x.basis, y.basis, np) == pytest.approx(np.sum(expected**2), rel=1e-12)


# --- products kept as products ---------------------------------------------------------------------------------------------


def test_products(backend, rng):
    x, w, v, y, u = (rng.standard_normal(shape) for shape in ((9, 5), (5, 4), (4, 3), (9, 6), (6, 2)))
    a, b = Factored(*map(backend.asarray, (x, w))), Factored(*map(backend.asarray, (y, u)))

    def check(found, expected):
        assert found.shape == expected.shape
        np.testing.assert_allclose(backend.to_numpy(getattr(found, "full", found)), expected, atol=1e-13)

    check(a, x @ w)
    check(a.cross(b), (x @ w).T @ (y @ u))
    check(a.cross(Factored(b.x)), (x @ w).T @ y)
    check(Factored(a.x).cross(b), x.T @ y @ u)
    check(a.times(backend.asarray(v)), x @ w @ v)
    check(Factored(a.x).times(a.w), x @ w)
    order = np.random.default_rng(0).permutation(9)
    check(a.permuted(backend.asarray(order)), (x @ w)[order])
    assert a.for_products(1) is a
    assert a.for_products(9).w is None
    check(a.for_products(9), x @ w)


@pytest.mark.parametrize("spec", ["cca(summary=rho)", "svcca", "pwcca", "gulp", "canonical_ridge", "procrustes"])
def test_many_layers_score_as_pairs(spec, rng):
    """Where bases are formed once for many partners, and where they are not."""
    layers = [z + 0.3 * rng.standard_normal(z.shape) for k in range(4) for z in pair(40, 8, 6, seed=k)]
    matrix = simkit.pairwise(layers, layers[:5], spec).to_numpy()
    for i, x in enumerate(layers):
        for j, y in enumerate(layers[:5]):
            assert matrix[i, j] == pytest.approx(float(simkit.compare(x, y, spec)), rel=1e-10)


def test_inverse_of_a_triangle(backend, rng):
    for p in (1, 5, 64, 65, 150):
        lower = np.tril(rng.standard_normal((p, p))) / p + np.eye(p)
        found = backend.to_numpy(inverse_of_triangle(backend.asarray(lower), backend.xp))
        np.testing.assert_allclose(found @ lower, np.eye(p), atol=1e-13)


# --- gradients ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e5])
@pytest.mark.parametrize("spec", ["cca", "cca(summary=rho)", "linear_regression", "gulp", "procrustes(alpha=0)"])
def test_gradients_whatever_the_condition(spec, condition, rng):
    """With a Cholesky factor, with two, and with dead units beside: slopes of the function itself."""
    torch = pytest.importorskip("torch")
    x, y = conditioned(60, 6, condition, rng), rng.standard_normal((60, 4))
    y[:, 0] += x[:, 0] * 3
    x[:, 2] = 0.0
    variable = torch.tensor(x, requires_grad=True)
    simkit.compare(variable, torch.tensor(y), spec).backward()
    direction = rng.standard_normal((60, 60)) @ x / 60  # in the space of small directions they may be small
    ends = [float(simkit.compare(x + step * direction, y, spec)) for step in (1e-5, -1e-5)]
    slope = float((variable.grad.numpy() * direction).sum())
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-9)


def test_gradients_are_waited_for_where_they_are_zero(rng):
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(rng.standard_normal((8, p)), requires_grad=True) for p in (12, 3))
    simkit.compare(x, y, "cca").backward()
    assert float(x.grad.abs().max()) < 1e-9
    assert float(y.grad.abs().max()) < 1e-9


# --- nuclear norms -----------------------------------------------------------------------------------------------------------


def product(kind, rng, p=40):
    a = rng.standard_normal((p, p))
    if kind == "low rank":
        return a[:, :3] @ a[:3]
    if kind == "dead":
        return a * (np.arange(p) % 4 > 0) * (np.arange(p) % 3 > 0)[:, None]
    if kind == "dead columns":
        return a * (np.arange(p) % 4 > 0)
    if kind == "falling":
        return orthogonal(p, rng) * np.geomspace(1, 1e-9, p) @ orthogonal(p, rng)
    return a[:, :15] if kind == "tall" else a[:15] if kind == "wide" else 0 * a if kind == "zero" else a


@pytest.mark.parametrize("kind", ["square", "tall", "wide", "dead", "dead columns", "low rank", "falling", "zero"])
@pytest.mark.parametrize("precision", [0.0, 1e-8])
def test_nuclear_norms(backend, kind, precision, rng):
    a = product(kind, rng)
    exact = np.linalg.svd(a, compute_uv=False).sum()
    found = float(nuclear_norm(backend.asarray(a), backend.xp, precision=precision))
    assert found == pytest.approx(exact, rel=max(precision, 1e-14))
    below = exact * (1 + 1e-6)
    found = float(
        nuclear_norm(backend.asarray(a), backend.xp, precision=precision, below=backend.asarray(np.asarray(below)))
    )
    assert below - found == pytest.approx(below - exact, rel=max(precision, 1e-8))


def test_where_eigenvalues_tell_the_nuclear_norm(monkeypatch, rng):
    """Singular values are not computed where they are not needed, nor left out where they are."""
    asked = []
    monkeypatch.setattr(decompositions, "singular_values", lambda a, xp: asked.append(a) or singular_values(a, xp))
    for kind, needed in (
        ("square", False),
        ("tall", False),
        ("wide", False),
        ("dead", False),
        ("dead columns", False),
        ("low rank", True),
    ):
        asked.clear()
        nuclear_norm(product(kind, rng), np, precision=1e-8)
        assert bool(asked) == needed, kind
    nuclear_norm(product("square", rng), np)
    assert asked


def rectified(n, p, rng):
    return np.maximum(rng.standard_normal((n, 10)) @ rng.standard_normal((10, p)) + rng.standard_normal((n, p)), 0)


HARD = {
    "noise": lambda n, p, rng: rng.standard_normal((n, p)),
    "rectified": rectified,
    "dead": lambda n, p, rng: rectified(n, p, rng) * (np.arange(p) % 3 > 0),
    "low rank": lambda n, p, rng: rng.standard_normal((n, 4)) @ rng.standard_normal((4, p)),
    "falling": lambda n, p, rng: conditioned(n, p, 1e6, rng),
    "offset": lambda n, p, rng: rng.standard_normal((n, p)) + 1e4,
    "outlier": lambda n, p, rng: rng.standard_normal((n, p)) * np.where(np.arange(n) == 3, 1e6, 1)[:, None],
    "massive": lambda n, p, rng: rng.standard_normal((n, p)) * np.where(np.arange(p) == 3, 1e4, 1),
    "large": lambda n, p, rng: rng.standard_normal((n, p)) * 1e25,
    "small": lambda n, p, rng: rng.standard_normal((n, p)) * 1e-30,
}


@pytest.mark.parametrize("kind", HARD)
def test_similarity_of_float32_layers(kind):
    """As near to that of the very numbers in float64 as float32 has digits."""
    rng = np.random.default_rng(0)
    x = HARD[kind](3000, 60, rng).astype(np.float32)
    y = (x[:, :50] + np.std(x, dtype=np.float64) * HARD["noise"](3000, 50, rng)).astype(np.float32)
    a, b = definitions.centred(x), definitions.centred(y)
    expected = np.linalg.svd(a.T @ b, compute_uv=False).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    assert simkit.compare(x, y, "procrustes") == pytest.approx(expected, rel=7e-8)
    assert simkit.compare(x, x, "procrustes") == pytest.approx(1.0, rel=7e-8)
