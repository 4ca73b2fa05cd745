"""Layers at the edge: rank deficient, of extreme scale or offset, a single unit, hardly any examples."""

from __future__ import annotations

import definitions
import numpy as np
import pytest
from data import conditioned, pair

import simkit

CCA_LIKE = [
    "cca",
    "cca(summary=rho)",
    "linear_regression",
    "pwcca",
    "mutual_information",
    "canonical_ridge(kappa_x=0, kappa_y=0, normalization=cauchy_schwarz)",
    "procrustes(alpha=0)",
]
SCALE_FREE = [
    "cka",
    "cka(estimator=unbiased)",
    "cka(kernel=rbf)",
    "cka(kernel=laplacian)",
    "cka(kernel=cosine)",
    "svcca",
    "canonical_ridge(relative=True)",
    "soft_match",
    "maximum_match",
    *CCA_LIKE,
]


@pytest.mark.parametrize("spec", CCA_LIKE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_redundant_columns_change_nothing(backend, spec, dtype):
    X, Y = pair(60, 5, 4)
    expected = simkit.compare(X, Y, spec)
    mixing = np.random.default_rng(0).standard_normal((4, 3))
    wider = np.concatenate([Y, Y[:, :2], np.full((60, 1), 3.0), Y @ mixing], axis=1)  # duplicated, constant, dependent
    score = simkit.compare(backend.asarray(X, dtype=dtype), backend.asarray(wider, dtype=dtype), spec)
    assert float(score) == pytest.approx(float(expected), rel=1e-9 if dtype == "float64" else 1e-4)


@pytest.mark.parametrize("spec", SCALE_FREE)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_extreme_scales(backend, spec, dtype, scale):
    X, Y = pair(40, 5, 4)
    expected = simkit.compare(X, Y, spec)
    x, y = backend.asarray(X * scale, dtype=dtype), backend.asarray(Y / scale, dtype=dtype)
    assert float(simkit.compare(x, y, spec)) == pytest.approx(float(expected), rel=1e-9 if dtype == "float64" else 2e-5)


@pytest.mark.backends("numpy", "torch", "array_api_strict")
@pytest.mark.parametrize("spec", [*SCALE_FREE, "procrustes"])
@pytest.mark.parametrize(
    ("dtype", "scale"), [("float32", 1e-40), ("float32", 2e37), ("float64", 1e-310), ("float64", 1e150)]
)
def test_the_ends_of_the_floating_point_range(backend, spec, dtype, scale):
    """Subnormal numbers (which some libraries take for zeros) have few digits left, but no reciprocal."""
    X, Y = pair(40, 5, 4)
    X = np.round(X * 256) / 256  # exact, all the same
    x, y = backend.asarray(X.astype(dtype) * np.asarray(scale, dtype)), backend.asarray(Y, dtype=dtype)
    assert float(simkit.compare(x, y, spec)) == pytest.approx(float(simkit.compare(X, Y, spec)), rel=1e-3)


@pytest.mark.parametrize("spec", ["cka", "cka(estimator=unbiased)", "hsic", "cka(kernel=rbf)", "linear_regression", "cca"])
@pytest.mark.parametrize("shape", [(600, 30, 20), (100, 300, 200)], ids=str)
@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_large_offset_in_float32(backend, spec, shape, offset):
    """Mean 1e4 or 1e6 and standard deviation 1: the score is that of the very same float32 numbers in float64.

    At 1e6 even the mean itself, rounded to float32, would be wrong by a thirtieth of a standard deviation.
    """
    rng = np.random.default_rng(0)
    X = (rng.standard_normal(shape[:2]) + offset).astype(np.float32)
    Y = (0.5 * X[:, : shape[2]] + rng.standard_normal((shape[0], shape[2]))).astype(np.float32)
    truth = simkit.compare(X.astype(np.float64) - offset, Y.astype(np.float64) - offset / 2, spec)
    score = float(simkit.compare(backend.asarray(X), backend.asarray(Y), spec))
    assert score == pytest.approx(float(truth), rel=1e-5)


@pytest.mark.parametrize("spec", [*SCALE_FREE, "hsic", "procrustes", "distance_correlation"])
def test_single_units_and_two_examples(spec):
    X, Y = pair(10, 1, 1)
    assert np.isfinite(simkit.compare(X, Y, spec))
    if spec in {"cca", "linear_regression", "cka"}:
        assert simkit.compare(X, Y, spec) == pytest.approx(np.corrcoef(X.T, Y.T)[0, 1] ** 2, rel=1e-9)
    if "unbiased" not in spec:
        two = simkit.compare(np.array([[0.0], [1.0]]), np.array([[5.0, 1.0], [2.0, 7.0]]), spec)
        assert two == np.inf if spec == "mutual_information" else np.isfinite(two)  # two examples determine each other


@pytest.mark.parametrize("n", [1_000_003])
def test_many_examples(n):
    """One column against itself with noise, in one pass over a million rows; in float32 sums would drift."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 2), dtype=np.float32) + 7
    Y = X[:, :1] + rng.standard_normal((n, 1), dtype=np.float32)
    X64, Y64 = X.astype(np.float64), Y.astype(np.float64)
    for spec in ("cka", "cka(estimator=unbiased)", "cca"):
        assert simkit.compare(X, Y, spec) == pytest.approx(float(simkit.compare(X64, Y64, spec)), rel=1e-5)


def test_rank_of_many_float32_examples():
    """max(n, p) eps of float32 would call these nearly orthogonal columns singular."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400_000, 3), dtype=np.float32) * np.array([1, 0.1, 0.03], dtype=np.float32)
    assert simkit.compare(X, X, "cca(summary=pillai)") == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(300, 60), (100, 300), (40, 5)], ids=str)
@pytest.mark.parametrize("threshold", [1.0, 1 - 1e-13, 0.9999])
def test_svcca_of_rank_deficient_layers(backend, threshold, shape, dtype):
    """What rounding makes of the missing directions is noise, not variance to be kept."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((shape[0], 3)) @ rng.standard_normal((3, shape[1]))
    x = backend.asarray(X, dtype=dtype)
    kept = simkit.compare(x, x, "svcca", threshold=threshold, summary="pillai")
    assert float(kept) == pytest.approx(3, abs=1e-4 if dtype == "float32" else 1e-9)


def test_svcca_of_everything_is_cca():
    X, Y = pair(40, 6, 5)
    X = X * np.geomspace(1, 1e-10, 6)  # variances far below rounding are components all the same
    for summary in ("r2", "rho", "pillai"):
        whole = simkit.compare(X, Y, "svcca", threshold=1.0, summary=summary)
        assert whole == pytest.approx(simkit.compare(X, Y, "cca", summary=summary), rel=1e-12)


@pytest.mark.parametrize("condition", [1e10, 1e13])
@pytest.mark.parametrize("shape", [(300, 20, 15), (25, 40, 15), (60, 300, 20)], ids=str)
def test_nearly_singular_layers(backend, condition, shape):
    """Directions of relative size 1e-13 still have canonical correlations, and no decomposition fails over them."""
    n, p1, p2 = shape
    rng = np.random.default_rng(2)
    rank = min(p1, n // 2)
    X = conditioned(n, rank, condition, rng) @ np.linalg.qr(rng.standard_normal((p1, rank)))[0].T
    Y = np.linalg.qr(X)[0][:, :p2] + 0.7 * conditioned(n, p2, 1.0, rng)
    expected = definitions.cca(X, Y, "pillai")
    score = float(simkit.compare(backend.asarray(X), backend.asarray(Y), "cca(summary=pillai)"))
    assert score == pytest.approx(expected, abs=20 * condition * np.finfo(np.float64).eps)
