"""What the precision of the data does to a score: one scale, close layers, and rank decided by the rounding of raw values."""

from __future__ import annotations

import warnings

import definitions
import numpy as np
import pytest
from data import conditioned, orthogonal, pair

import simkit
from simkit.arrays import rounding_of
from simkit.errors import AccuracyWarning
from simkit.representation import Representation


def divided_by_largest(X):
    """Centred, and divided by the largest absolute value, in float32: that value is then 1, a power of two."""
    X = X - X.mean(axis=0)
    return (X / np.max(np.abs(X))).astype(np.float32)


# --- one scale --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_has_one_scale(seed):
    layer = Representation(divided_by_largest(pair(200, 30, 5, seed)[0]))
    np.testing.assert_allclose(layer.precise, layer.unit, atol=1e-6)
    np.testing.assert_allclose(layer.precise * layer.scale, definitions.centred(layer.features), atol=1e-12)


def nuclear(X):
    return np.linalg.svd(X, compute_uv=False).sum()


def mixed(X, alpha):
    """X (alpha I + (1 - alpha) (X'X)^-1/2) by its singular value decomposition."""
    u, s, vt = np.linalg.svd(definitions.centred(X), full_matrices=False)
    return u * (alpha * s + 1 - alpha) @ vt


def procrustes_distance(X, Y, alpha=1.0):
    """Equation 38 at the optimum."""
    X, Y = mixed(X, alpha), mixed(Y, alpha)
    return np.linalg.norm(X) ** 2 + np.linalg.norm(Y) ** 2 - 2 * nuclear(X.T @ Y)


def ridge_parts(X, kappa):
    """Q~ = X (X'X + kappa I)^-1/2, and the eigenvalues of Q~'Q~, largest first, as many as the rank."""
    u, s, _ = np.linalg.svd(definitions.centred(X), full_matrices=False)
    kept = s > max(X.shape) * np.finfo(float).eps * s[0]
    a = (s**2 / (s**2 + kappa))[kept]
    return u[:, kept] * np.sqrt(a), a


def canonical_ridge(X, Y, kappa_x, kappa_y, normalization):
    """Equations 22, and 25 or 26 with the smaller rank."""
    (P, a), (Q, b) = ridge_parts(X, kappa_x), ridge_parts(Y, kappa_y)
    k = min(len(a), len(b))
    a, b = a[:k], b[:k]
    bound = a @ b if normalization == "trace" else np.sqrt(a @ a * (b @ b))
    return np.linalg.norm(Q.T @ P) ** 2 / bound


SCALED = {
    "procrustes(summary=distance)": procrustes_distance,
    "procrustes(alpha=0.5, summary=distance)": lambda X, Y: procrustes_distance(X, Y, 0.5),
    "canonical_ridge(kappa_x=10, kappa_y=10)": lambda X, Y: canonical_ridge(X, Y, 10, 10, "trace"),
    "hsic": definitions.hsic,
}


@pytest.mark.parametrize("spec", SCALED)
@pytest.mark.parametrize("seed", range(4))
def test_indexes_in_units_of_the_features(backend, spec, seed):
    X, Y = (divided_by_largest(Z) for Z in pair(60, 12, 9, seed))
    expected = SCALED[spec](X, Y)
    assert float(simkit.compare(backend.asarray(X), backend.asarray(Y), spec)) == pytest.approx(expected, rel=1e-5)


# --- close layers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [1e-4, 1e-5])
def test_procrustes_of_close_layers(backend, noise):
    """Two checkpoints of one run in float32: the distance is that of these very numbers."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 20)).astype(np.float32)
    Y = (X + noise * rng.standard_normal(X.shape)).astype(np.float32)
    x, y = backend.asarray(X), backend.asarray(Y)
    U, _, Vt = np.linalg.svd(definitions.centred(X).T @ definitions.centred(Y))
    exact = np.linalg.norm(definitions.centred(Y) - definitions.centred(X) @ (U @ Vt)) ** 2  # no difference of large numbers
    assert float(simkit.compare(x, y, "procrustes(summary=distance)")) == pytest.approx(exact, rel=1e-3)
    A, B = (Z / np.linalg.norm(Z) for Z in map(definitions.centred, (X, Y)))
    chord = np.linalg.norm(B - A @ (U @ Vt))
    angle = float(simkit.compare(x, y, "procrustes(summary=angular)"))
    assert angle == pytest.approx(2 * np.arcsin(chord / 2), rel=1e-3)


# --- the precision of a layer among others -----------------------------------------------------------------------------------


def of_rank(n, p, rank, rng, dtype=np.float32):
    return (rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p))).astype(dtype)


@pytest.mark.parametrize("producer", ["memory", "dask"])
@pytest.mark.parametrize(("spec", "same"), [("cca", 1.0), ("gulp(lam=0)", 0.0), ("linear_regression", 1.0)])
def test_a_float64_layer_does_not_change_the_others(spec, same, producer):
    rng = np.random.default_rng(0)
    X = of_rank(300, 40, 5, rng)
    Y = X @ rng.standard_normal((40, 30)).astype(np.float32)
    layers = {"x": X, "y": Y, "z": rng.standard_normal((300, 7))}
    if producer == "dask":
        da = pytest.importorskip("dask.array")
        layers = {name: da.from_array(z, chunks=(100, -1)) for name, z in layers.items()}
    matrix = simkit.pairwise(layers, index=spec)
    assert matrix.to_numpy().dtype == np.float64
    assert float(matrix["x", "y"]) == pytest.approx(same, abs=1e-5)
    assert float(simkit.compare(layers["x"], layers["z"], spec)) == pytest.approx(float(matrix["x", "z"]), rel=1e-9)


# --- rank -------------------------------------------------------------------------------------------------------------------


def test_a_large_feature_does_not_hide_the_others(backend):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 20))
    X[:, 0] *= 1e5
    Y = X[:, 1:] @ rng.standard_normal((19, 10)) + 3 * rng.standard_normal((300, 10))
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    x, y = backend.asarray(X), backend.asarray(Y)
    assert float(simkit.compare(y, x, "linear_regression")) == pytest.approx(definitions.linear_regression(Y, X), rel=1e-5)
    rho = definitions.canonical_correlations(Y, X)
    expected = -np.sum(np.log(1 - rho**2)) / 2
    assert float(simkit.compare(x, y, "mutual_information")) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("condition", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("shape", [(1500, 200), (300, 256)], ids=str)
def test_float32_tells_small_directions_from_noise(shape, condition):
    """In directions that are no features, as the components of a real layer: the score of the same numbers in float64."""
    rng = np.random.default_rng(0)
    X = conditioned(*shape, condition, rng)
    Y = np.linalg.qr(X)[0] @ rng.standard_normal((shape[1], shape[1]))
    Y += np.std(Y) * rng.standard_normal(Y.shape)
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    assert float(simkit.compare(X, Y, "cca")) == pytest.approx(definitions.cca(X, Y), rel=1e-5)


@pytest.mark.parametrize("width", [64, 128, 256, 512])
def test_full_rank_in_float32(backend, width):
    X, Y = (x.astype(np.float32) for x in pair(600, width, width, noise=1.0))
    score = float(simkit.compare(backend.asarray(X), backend.asarray(Y), "cca"))
    assert score == pytest.approx(definitions.cca(X, Y), rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
@pytest.mark.parametrize("rank", [5, 32])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rounding_is_no_direction(rank, offset, dtype):
    """A layer of lower rank, stored in float32 or less: what rounding adds is small next to the raw values, not to the rest."""
    if dtype == "float16" and offset > 100:
        pytest.skip("float16 resolves 8 at 1e4")
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((1000, rank)) @ rng.standard_normal((rank, 200)) + offset).astype(dtype)
    assert float(simkit.compare(X, X, "cca(summary=pillai)")) == pytest.approx(rank, rel=1e-5)


@pytest.mark.parametrize("inner", [32, 128, 512])
def test_products_in_float32_have_their_rank(inner):
    """What float32 products add is noise of several eps, and no direction either."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((2000, inner), dtype=np.float32)
    X = Z @ rng.standard_normal((inner, 700), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)  # where float32 cannot tell, it says so
        assert float(simkit.compare(X, X, "cca(summary=pillai)")) == pytest.approx(inner, rel=1e-5)


def test_a_warning_where_float32_cannot_tell():
    rng = np.random.default_rng(0)
    X, Y = conditioned(400, 60, 1e9, rng).astype(np.float32), rng.standard_normal((400, 10)).astype(np.float32)
    with pytest.warns(AccuracyWarning, match=r"X has \d+ directions? of about the size of the rounding") as caught:
        simkit.compare(X, Y, "cca")
    assert caught[0].filename == __file__
    for remedy in ("cka", "procrustes", "svcca(threshold=0.99)"):
        assert remedy in str(caught[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", simkit.ChanceWarning)  # Y has nothing to do with X
            simkit.compare(X, Y, remedy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", simkit.ChanceWarning)
        simkit.compare(conditioned(400, 60, 1e9, rng), Y, "cca")  # computed in float64
        simkit.compare(*(z.astype(np.float32) for z in pair(400, 60, 10)), "cca")


def test_order_of_magnitude_of_columns_in_float64():
    rng = np.random.default_rng(0)
    X, Y = pair(200, 8, 5)
    score = definitions.cca(X, Y)
    assert simkit.compare(X * np.geomspace(1, 1e-13, 8), Y * np.geomspace(1e10, 1, 5), "cca") == pytest.approx(
        score, rel=1e-9
    )
    assert simkit.compare(X @ orthogonal(8, rng), Y, "cca") == pytest.approx(score, rel=1e-9)


@pytest.mark.parametrize("threshold", [0.9, 0.999, 1 - 1e-9, 1.0])
def test_svcca_keeps_no_noise(threshold):
    rng = np.random.default_rng(0)
    X = of_rank(500, 60, 4, rng)
    kept = float(simkit.compare(X, X, "svcca", threshold=threshold, summary="pillai"))
    assert kept == pytest.approx(min(4, len(definitions.truncated(X, threshold).T)), rel=1e-5)


def test_rounding_of_what_was_given():
    assert rounding_of(np.zeros(3)) == np.finfo(np.float64).eps
    assert rounding_of(np.zeros(3, np.float16)) == np.finfo(np.float16).eps
    assert rounding_of(np.zeros(3, int)) == 0.0  # exact
    torch = pytest.importorskip("torch")
    assert rounding_of(torch.zeros(3, dtype=torch.bfloat16)) == torch.finfo(torch.bfloat16).eps
    assert rounding_of(torch.zeros(3)) == torch.finfo(torch.float32).eps


# --- canonical ridge ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", ["trace", "cauchy_schwarz"])
@pytest.mark.parametrize("kappa", [0.0, 1e-6, 1.0, 10.0, 1e4, 1e9])
@pytest.mark.parametrize("dead", [0, 3])
def test_canonical_ridge_sums_up_to_the_rank(backend, kappa, normalization, dead):
    """Equation 26 counts all directions that there are, however small the penalty makes them, and no others."""
    X, Y = pair(60, 9, 7)
    X[:, :dead] = 2.0
    Y[:, :dead] = 0.0
    expected = canonical_ridge(X, Y, kappa, kappa, normalization)
    score = simkit.compare(
        backend.asarray(X), backend.asarray(Y), "canonical_ridge", kappa_x=kappa, kappa_y=kappa, normalization=normalization
    )
    assert float(score) == pytest.approx(expected, rel=1e-8)
    if kappa == 0:
        assert expected == pytest.approx(definitions.cca(X, Y), rel=1e-10)


@pytest.mark.parametrize(
    "spec", ["cka(kernel=rbf)", "distance_correlation", "cka(estimator=unbiased)", "cka(kernel=cosine)"]
)
def test_layers_that_need_float64_beside_others(backend, spec):
    """A float32 layer with outliers is computed in float64; all pairs are, with each of the others, what they are alone."""
    X, Y = (x.astype(np.float32) for x in pair(40, 6, 5))
    outliers = X.copy()
    outliers[[2, 30]] *= 1e3
    layers = {"x": X, "y": Y, "outliers": outliers}
    matrix = simkit.pairwise({name: backend.asarray(x) for name, x in layers.items()}, index=spec)
    for row, x in layers.items():
        for column, y in layers.items():
            expected = float(simkit.compare(x.astype(np.float64), y.astype(np.float64), spec))
            assert float(matrix[row, column]) == pytest.approx(expected, rel=1e-4)
