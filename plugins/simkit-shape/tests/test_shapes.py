"""Each distance is its definition, keeps the axioms of a metric, and passes simkit's conformance kit."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import eigvalsh, fractional_matrix_power, orthogonal_procrustes, sqrtm

import simkit
import simkit.testing
from simkit.errors import InvalidArrayError, SpecError

NETREP = ["shape_metric(alpha=0.5, form=netrep)", "shape_metric(alpha=0.5, angular=False, form=netrep)"]
METRICS = [
    *NETREP,
    "shape_metric",
    "shape_metric(angular=False)",
    "shape_metric(alpha=0.5)",
    "bures(summary=angular)",
    "riemannian",
]


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
COSTLY = ("compiled_by_torch", "gradient_in_jax")
DEFAULTS = ["shape_metric", "bures", "riemannian", "stochastic_shape"]


@simkit.testing.parametrize(*DEFAULTS)
def test_conformance(check):
    check()


@simkit.testing.parametrize(
    *(spec for spec in METRICS if spec not in DEFAULTS),
    "shape_metric(alpha=0)",
    "shape_metric(alpha=0, form=netrep)",
    "shape_metric(angular=False, form=netrep)",
    "bures(summary=distance)",
    "riemannian(shrinkage=0.5)",
    "stochastic_shape(repeats=3, noise=0.5)",
    skip={} if THOROUGH else dict.fromkeys(COSTLY, "compiles as the default, for seconds"),
)
def test_conformance_of_variants(check):
    check()


def pair(n=30, p=5, q=4, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, 3))
    return tuple(z @ rng.standard_normal((3, k)) + 0.5 * rng.standard_normal((n, k)) + 1 for k in (p, q))


def centred(x):
    return x - x.mean(axis=0)


def padded(x, y):
    p = max(x.shape[1], y.shape[1])
    return [np.pad(z, ((0, 0), (0, p - z.shape[1]))) for z in (x, y)]


def whitened(x, alpha):
    x = centred(x) / np.linalg.norm(centred(x))
    x = x @ (alpha * np.eye(x.shape[1]) + (1 - alpha) * np.real(fractional_matrix_power(x.T @ x, -0.5)))
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_shape_metric_by_the_best_rotation(alpha):
    x, y = pair()
    a, b = padded(whitened(x, alpha), whitened(y, alpha))
    rotation, _ = orthogonal_procrustes(a, b)
    angle, distance = np.arccos(np.sum(b * (a @ rotation))), np.linalg.norm(a @ rotation - b)
    assert simkit.compare(x, y, "shape_metric", alpha=alpha) == pytest.approx(angle, rel=1e-9)
    assert simkit.compare(x, y, "shape_metric", alpha=alpha, angular=False) == pytest.approx(distance, rel=1e-9)


def netrep_whitened(x, alpha):
    """Partly whitened in its own units, then scaled to the norm that it had."""
    x = centred(x)
    values, v = np.linalg.eigh(x.T @ x)
    z = x @ (v * (alpha + (1 - alpha) / np.sqrt(values))) @ v.T
    return z * np.linalg.norm(x) / np.linalg.norm(z)


@pytest.mark.parametrize("alpha", [0, 0.3, 0.9, 1])
@pytest.mark.parametrize("size", [0.01, 1.0, 30.0])
def test_netreps_form(alpha, size):
    x, y = pair()
    a, b = padded(netrep_whitened(size * x, alpha), netrep_whitened(y, alpha))
    rotation, _ = orthogonal_procrustes(a, b)
    a = a @ rotation
    angle, distance = np.arccos(np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)), np.linalg.norm(a - b)
    parameters = {"alpha": alpha, "form": "netrep"}
    assert simkit.compare(size * x, y, "shape_metric", **parameters) == pytest.approx(angle, rel=1e-9)
    assert simkit.compare(size * x, y, "shape_metric", angular=False, **parameters) == pytest.approx(distance, rel=1e-9)
    if alpha in {0.3, 0.9}:
        ours = simkit.compare(size * x, y, "shape_metric", alpha=alpha)
        assert ours != pytest.approx(angle, rel=1e-4)


@pytest.mark.parametrize("angular", [True, False])
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_netreps_form_has_finite_gradients(alpha, angular):
    torch = pytest.importorskip("torch")
    x, y = pair()
    x[:, 1], y[:, 2] = 0.0, y[:, 0]
    index = simkit.get_index("shape_metric", alpha=alpha, angular=angular, form="netrep")
    rng = np.random.default_rng(0)
    mixed = x @ (0.3 * rng.standard_normal((5, 5)))
    gradients = []
    for other in (y, x):
        given = [torch.tensor(z, requires_grad=True) for z in (x, other)]
        index(*given).backward()
        gradients.append([z.grad.numpy() for z in given])
    assert np.isfinite([*gradients[0][0], *gradients[1][0], *gradients[1][1]]).all()
    assert np.isfinite(gradients[0][1]).all()
    ends = [float(index(x + t * mixed, y)) for t in (1e-5, -1e-5)]
    assert np.sum(gradients[0][0] * mixed) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-7)


def test_shape_metric_has_no_units():
    x, y = pair()
    for spec in ("shape_metric(alpha=0.3)", "riemannian", "bures"):
        assert simkit.compare(1e12 * x, y, spec) == pytest.approx(float(simkit.compare(x, y, spec)), rel=1e-9)


def test_bures_by_roots_of_gram_matrices():
    x, y = pair(12)
    k, l_ = (centred(z) @ centred(z).T for z in (x, y))
    root = np.real(sqrtm(k))
    fidelity = np.trace(np.real(sqrtm(root @ l_ @ root)))
    assert simkit.compare(x, y, "bures") == pytest.approx(fidelity / np.sqrt(np.trace(k) * np.trace(l_)), rel=1e-6)
    distance = np.sqrt(np.trace(k) + np.trace(l_) - 2 * fidelity)
    assert simkit.compare(x, y, "bures(summary=distance)") == pytest.approx(distance, rel=1e-5)
    assert simkit.compare(x, y, "bures") == pytest.approx(simkit.compare(x, y, "procrustes"), rel=1e-12)


def test_riemannian_by_generalised_eigenvalues():
    x, y = pair(12)
    k, l_ = (0.8 * centred(z) @ centred(z).T / np.sum(centred(z) ** 2) + 0.2 * np.eye(12) / 12 for z in (x, y))
    expected = np.sqrt(np.sum(np.log(eigvalsh(l_, k)) ** 2))
    assert simkit.compare(x, y, "riemannian(shrinkage=0.2)") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spec", METRICS)
@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_triangles(spec, seed):
    x, y = pair(12, seed=seed)
    z = x[:, :4] + y
    xy, yz, xz = (float(simkit.compare(a, b, spec)) for a, b in ((x, y), (y, z), (x, z)))
    assert xz <= xy + yz + 1e-9


@pytest.mark.parametrize("spec", ["shape_metric(alpha=0.5)", "bures(summary=angular)"])
def test_dask_and_streams(spec):
    da = pytest.importorskip("dask.array")
    x, y = pair(200)
    expected = float(simkit.compare(x, y, spec))
    lazy = simkit.compare(*(da.from_array(z, chunks=(64, z.shape[1])) for z in (x, y)), spec)
    assert float(lazy) == pytest.approx(expected, rel=1e-9)
    stream = simkit.stream(spec)
    for rows in np.array_split(np.arange(200), 5):
        stream.update(x[rows], y[rows])
    assert float(stream.compute()) == pytest.approx(expected, rel=1e-9)


# --- stochastic -----------------------------------------------------------------------------------------------------------


def repeated(seed=0, m=8, r=6, p=3, noise=0.4):
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((m, p))
    spread = rng.standard_normal((m, p, p)) * noise
    return np.concatenate([mean + rng.standard_normal((r, p)) @ s for mean, s in zip(means, spread, strict=True)])


def objective(x, y, q, r, noise=1.0):
    """The definition, for one rotation."""
    scaled = [centred(z) / np.sqrt(np.mean(np.sum(centred(z) ** 2, axis=1))) for z in (x, y)]
    groups = [z.reshape(-1, r, z.shape[1]) for z in scaled]
    total = 0.0
    for a, b in zip(*groups, strict=True):
        s, t = np.cov(a.T, bias=True), q @ np.cov(b.T, bias=True) @ q.T
        root = np.real(sqrtm(s))
        bures = np.trace(s) + np.trace(t) - 2 * np.trace(np.real(sqrtm(root @ t @ root)))
        total += np.sum((a.mean(axis=0) - q @ b.mean(axis=0)) ** 2) + noise * bures
    return total / len(groups[0])


def test_no_rotation_is_better_than_the_one_found():
    x, y = repeated(0), repeated(1)
    rng = np.random.default_rng(2)
    found = float(simkit.compare(x, y, "stochastic_shape(repeats=6)")) ** 2
    angles = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(1500)]
    values = [objective(x, y, q, 6) for q in angles]
    assert found <= min(values) + 1e-9
    assert found > 0.7 * min(values)  # and it is a value of the objective, not below all of them


def test_stochastic_shapes_of_rotated_noise_are_equal():
    x = repeated()
    rng = np.random.default_rng(1)
    q = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert simkit.compare(x, 3 * x @ q + 1, "stochastic_shape(repeats=6)") == pytest.approx(0, abs=1e-6)
    y = repeated(4)
    forth, back, turned = (
        float(simkit.compare(a, b, "stochastic_shape(repeats=6)")) for a, b in ((x, y), (y, x), (x @ q, y))
    )
    assert forth == pytest.approx(back, rel=1e-6)
    assert forth == pytest.approx(turned, rel=1e-6)


def test_noise_counts():
    x, quiet = repeated(0, noise=0.6), repeated(0, noise=0.05)
    assert (
        simkit.compare(x, quiet, "stochastic_shape(repeats=6)") > simkit.compare(x, x, "stochastic_shape(repeats=6)") + 0.05
    )
    wider = np.concatenate([x, np.zeros((len(x), 2))], axis=1)
    assert simkit.compare(x, wider, "stochastic_shape(repeats=6)") == pytest.approx(0, abs=1e-6)
    means_only = float(simkit.compare(x, quiet, "stochastic_shape(repeats=6, noise=0)")) ** 2
    a, b = (
        (centred(z) / np.sqrt(np.mean(np.sum(centred(z) ** 2, axis=1)))).reshape(-1, 6, 3).mean(axis=1) for z in (x, quiet)
    )
    rotation, _ = orthogonal_procrustes(b, a)
    assert means_only == pytest.approx(np.sum((a - b @ rotation) ** 2) / len(a), rel=1e-9)


def test_repeats_are_resampled_together():
    x, y = repeated(), repeated(1)
    spec = "stochastic_shape(repeats=6)"
    found = simkit.jackknife(x, y, spec, groups=np.arange(48) // 6)
    without_first = float(simkit.compare(x[6:], y[6:], spec))
    assert found.distribution[0] == pytest.approx(without_first, rel=1e-9)
    for infer in (simkit.jackknife, simkit.bootstrap):
        with pytest.raises(InvalidArrayError, match=r"pass groups=numpy.arange\(n\) // 6"):
            infer(x, y, spec)


def test_conditions_are_permuted_whole():
    x, y = repeated(m=4), repeated(1, m=4)
    spec = "stochastic_shape(repeats=6)"
    found = simkit.permutation_test(x, y, spec, permutations=30)
    orders = list(itertools.permutations(range(4)))[1:]
    expected = [float(simkit.compare(x.reshape(4, 6, 3)[list(order)].reshape(24, 3), y, spec)) for order in orders]
    assert found.exact
    np.testing.assert_allclose(sorted(found.distribution), sorted(expected), rtol=1e-9)
    halves = simkit.permutation_test(x, y, spec, within=np.repeat([0, 1], 12))
    assert len(halves.distribution) == 3
    with pytest.raises(InvalidArrayError, match=r"within changes inside a group of 6 rows \(row 6\)"):
        simkit.permutation_test(x, y, spec, within=np.repeat([0, 1], [9, 15]))


def test_whole_numbers_may_be_written_with_a_point():
    x, y = repeated(), repeated(1)
    plain = simkit.compare(x, y, "stochastic_shape(repeats=6, steps=50)")
    assert simkit.compare(x, y, "stochastic_shape(repeats=6.0, steps=50.0)") == plain


def test_bad_input():
    with pytest.raises(InvalidArrayError, match="48 rows, not a multiple of repeats=5"):
        simkit.compare(repeated(), repeated(1), "stochastic_shape(repeats=5)")
    for spec in (
        "stochastic_shape(repeats=1)",
        "shape_metric(alpha=2)",
        "shape_metric(form=paper)",
        "riemannian(shrinkage=1)",
        "bures(summary=angle)",
    ):
        with pytest.raises(SpecError):
            simkit.get_index(spec)
