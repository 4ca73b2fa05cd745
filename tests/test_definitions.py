"""Each index of the core against its definition, on every array library, in float64 and float32, up to real sizes.

The bars: float64 within 1e-10 of the definition; float32 within 1e-5 for HSIC and its kin and 1e-3 for the CCA family at
condition number 1e3.
"""

import functools
import math

import definitions
import numpy as np
import pytest
import scipy.spatial.distance
from data import conditioned, orthogonal, pair

import simkit

ESTIMATORS = ("biased", "unbiased", "lange")
KERNELS = tuple(definitions.KERNELS)
SHAPES = [(40, 6, 9), (12, 30, 20), (15, 4, 40), (4, 1, 2)]  # feature space, Gram matrices, one of each, as small as can be

FLOAT64, FLOAT32_HSIC, FLOAT32_CCA = 1e-10, 1e-5, 1e-3


def score(backend, X, Y, spec, **parameters):
    result = simkit.compare(backend.asarray(X), backend.asarray(Y), spec, **parameters)
    assert result.shape == ()
    assert result.dtype == backend.dtype(str(np.result_type(X, Y)))
    return float(result)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_hsic_and_cka(kernel, estimator, shape, backend):
    X, Y = pair(*shape)
    for name in ("hsic", "cka"):
        expected = getattr(definitions, name)(X, Y, kernel, estimator)
        assert score(backend, X, Y, name, kernel=kernel, estimator=estimator) == pytest.approx(expected, rel=FLOAT64, abs=0)


def test_definition_of_unbiased_hsic_is_the_u_statistic():
    X, Y = pair(7, 3, 2)
    for kernel in KERNELS:
        K, L = definitions.KERNELS[kernel](X), definitions.KERNELS[kernel](Y)
        assert definitions.hsic_unbiased(K, L) == pytest.approx(definitions.hsic_u_statistic(K, L), rel=1e-12)


@pytest.mark.parametrize(
    ("spec", "kernel", "parameters"),
    [
        ("rbf(fraction=0.2)", "rbf", {"fraction": 0.2}),
        ("rbf(sigma=1.5)", "rbf", {"sigma": 1.5}),
        ("laplacian(fraction=0.8)", "laplacian", {"fraction": 0.8}),
        ("laplacian(sigma=3)", "laplacian", {"sigma": 3.0}),
        ("polynomial(degree=2)", "polynomial", {"degree": 2}),
        ("polynomial(degree=4, gamma=0.1, coef0=0)", "polynomial", {"degree": 4, "gamma": 0.1, "coef0": 0.0}),
        ("polynomial(degree=1, coef0=2.5)", "polynomial", {"degree": 1, "coef0": 2.5}),
    ],
)
def test_kernel_parameters(spec, kernel, parameters, backend):
    X, Y = pair(20, 5, 7)
    for estimator in ESTIMATORS:
        expected = definitions.cka(X, Y, kernel, estimator, **parameters)
        assert score(backend, X, Y, "cka", kernel=spec, estimator=estimator) == pytest.approx(expected, rel=FLOAT64)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_regression_and_cca_family(shape, backend):
    X, Y = pair(*shape)
    expected = {
        "linear_regression": definitions.linear_regression(X, Y),
        "pwcca": definitions.pwcca(X, Y),
        "pwcca(weights=y)": definitions.pwcca(Y, X),
        "pwcca(squared=True)": definitions.pwcca(X, Y, squared=True),
        "pwcca(squared=True, weights=y)": definitions.pwcca(Y, X, squared=True),
    }
    for summary in ("r2", "rho", "pillai"):
        expected[f"cca(summary={summary})"] = definitions.cca(X, Y, summary)
        for threshold in (0.5, 0.9, 0.99, 1.0):
            spec = f"svcca(threshold={threshold}, summary={summary})"
            expected[spec] = definitions.svcca(X, Y, threshold, summary)
    for spec, value in expected.items():
        assert score(backend, X, Y, spec) == pytest.approx(value, rel=FLOAT64), spec


def test_svcca_keeps_the_component_that_crosses_the_threshold():
    """Variances 6, 3, 1: 60 % is reached by one component exactly, 61 % needs two, 91 % three."""
    rng = np.random.default_rng(0)
    u = np.linalg.qr(rng.standard_normal((30, 6)))[0]
    u = np.linalg.qr(u - u.mean(axis=0))[0]
    X, Y = u[:, :3] * np.sqrt([6, 3, 1]), u[:, :3] * np.sqrt([6, 3, 1])
    for threshold, kept in [(0.3, 1), (0.599, 1), (0.61, 2), (0.899, 2), (0.91, 3), (1.0, 3)]:
        assert simkit.compare(X, Y, "svcca", threshold=threshold, summary="pillai") == pytest.approx(kept, rel=1e-12)
    # thresholding singular values instead of their squares would keep 2 of 3 at 60 %
    assert simkit.compare(X, u[:, 1:2], "svcca", threshold=0.599, summary="pillai") == pytest.approx(0, abs=1e-20)


# --- accuracy at real sizes -----------------------------------------------------------------------------------------------


@functools.cache
def linear_reference(n, p1, p2, offset):
    """Float32 data and what every estimator of every pair should be, computed block by block in float64."""
    layers = [(Z + offset).astype(np.float32) for Z in pair(n, p1, p2, noise=2.0)]
    X, Y = map(definitions.centred, layers)
    blocks = ((i, X[i : i + 500] @ X.T, Y[i : i + 500] @ Y.T) for i in range(0, n, 500))
    return layers, definitions.estimates(blocks, n)


@functools.cache
def distance_reference(kernel):
    layers = pair(900, 60, 40, noise=2.0, dtype=np.float32)
    matrices = []
    for X in layers:
        distance = scipy.spatial.distance.pdist(np.float64(X))
        sigma = np.median(distance)
        K = np.exp(-(distance**2) / (2 * sigma**2)) if kernel == "rbf" else np.exp(-distance / sigma)
        K = scipy.spatial.distance.squareform(K) + np.eye(len(X))
        centred = K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()
        matrices.append((K, centred))
    plain, centred = zip(*matrices, strict=True)
    n = len(layers[0])
    values = definitions.estimates([(0, *centred)], n)
    for name, value in definitions.estimates([(0, *plain)], n).items():
        values[name]["unbiased"] = value["unbiased"]
    return layers, values


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_block_reference_is_the_definition(estimator):
    X, Y = map(definitions.centred, pair(25, 3, 40))
    K, L = X @ X.T, Y @ Y.T
    values = definitions.estimates([(i, K[i : i + 10], L[i : i + 10]) for i in (0, 10, 20)], 25)
    for name, matrices in (("xy", (K, L)), ("xx", (K, K)), ("yy", (L, L))):
        assert values[name][estimator] == pytest.approx(definitions.HSIC[estimator](*matrices), rel=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("shape", [(10000, 64, 48), (2000, 1500, 1000)], ids=["features", "Gram"])
def test_float32_linear_hsic_and_cka_at_real_sizes(shape, offset, estimator, backend):
    """A mean of 1e4 at a standard deviation near 1 ruins every float32 computation that does not centre carefully."""
    (X, Y), values = linear_reference(*shape, offset)
    xy, xx, yy = (values[name][estimator] for name in ("xy", "xx", "yy"))
    assert score(backend, X, Y, "hsic", estimator=estimator) == pytest.approx(xy, rel=FLOAT32_HSIC)
    assert score(backend, X, Y, "cka", estimator=estimator) == pytest.approx(xy / math.sqrt(xx * yy), rel=FLOAT32_HSIC)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_float32_distance_kernels_at_real_sizes(kernel, estimator, backend):
    (X, Y), values = distance_reference(kernel)
    xy, xx, yy = (values[name][estimator] for name in ("xy", "xx", "yy"))
    assert score(backend, X, Y, "hsic", kernel=kernel, estimator=estimator) == pytest.approx(xy, rel=FLOAT32_HSIC)
    expected = xy / math.sqrt(xx * yy)
    assert score(backend, X, Y, "cka", kernel=kernel, estimator=estimator) == pytest.approx(expected, rel=FLOAT32_HSIC)


CCA_FAMILY = {
    "cca": definitions.cca,
    "cca(summary=rho)": functools.partial(definitions.cca, summary_of="rho"),
    "linear_regression": definitions.linear_regression,
    "svcca": definitions.svcca,
    "svcca(summary=rho)": functools.partial(definitions.svcca, summary_of="rho"),
    "pwcca": definitions.pwcca,
    "pwcca(squared=True)": functools.partial(definitions.pwcca, squared=True),
}


@functools.cache
def conditioned_reference(n, p1, p2, dtype):
    rng = np.random.default_rng(5)
    X = conditioned(n, p1, 1e3, rng)
    # Y sees each direction of X, the weak ones too, through noise
    Y = np.linalg.qr(X)[0][:, :p2] + 0.8 * conditioned(n, p2, 1.0, rng)
    Y = Y @ (orthogonal(p2, rng) * np.geomspace(1, 1e-3, p2) @ orthogonal(p2, rng))
    layers = [np.asarray(Z * 30, dtype=dtype) for Z in (X, Y)]
    return layers, {spec: definition(*layers) for spec, definition in CCA_FAMILY.items()}


@pytest.mark.parametrize("spec", CCA_FAMILY)
@pytest.mark.parametrize("shape", [(10000, 64, 48), (500, 100, 60)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cca_family_at_condition_1e3(dtype, shape, spec, backend):
    (X, Y), values = conditioned_reference(*shape, dtype)
    bar = FLOAT32_CCA if dtype == "float32" else FLOAT64
    assert 0.05 < values[spec] < 0.95
    assert score(backend, X, Y, spec) == pytest.approx(values[spec], rel=bar)


@pytest.mark.parametrize("condition", [1e2, 1e5, 1e8])
@pytest.mark.parametrize("shape", [(300, 20, 15), (25, 40, 15)], ids=["tall", "wide"])
def test_cca_at_high_condition_numbers(condition, shape, backend):
    """QR loses about condition * eps; the products that simkit uses must not lose more."""
    n, p1, p2 = shape
    rng = np.random.default_rng(8)
    X = conditioned(n, min(p1, n - 1), condition, rng)
    X = X @ rng.standard_normal((X.shape[1], p1)) if p1 >= n else X
    Y = np.linalg.qr(X)[0][:, :p2] + 0.7 * conditioned(n, p2, 1.0, rng)
    expected = definitions.canonical_correlations(X, Y)
    tolerance = max(1e-12, 20 * condition * np.finfo(np.float64).eps)
    for summary in ("r2", "rho", "pillai"):
        value = score(backend, X, Y, "cca", summary=summary)
        assert value == pytest.approx(definitions.summary(expected, summary), abs=tolerance * len(expected))
