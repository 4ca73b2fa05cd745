"""Gradients flow, and are right; JAX compiles."""

from __future__ import annotations

import numpy as np
import pytest
from data import OWN_INDEXES, OWN_KERNELS, able, pair

import simkit

VARIANTS = [
    *(f"cka(kernel={k}, estimator={e})" for k in OWN_KERNELS for e in ("biased", "unbiased", "lange")),
    *(f"hsic(estimator={e})" for e in ("biased", "unbiased", "lange")),
    "hsic(kernel=rbf)",
    "cca",
    "cca(summary=rho)",
    "cca(summary=pillai)",
    "linear_regression",
    "pwcca(squared=True)",
    "svcca(threshold=0.9)",
    *(f"canonical_ridge(normalization={n})" for n in ("trace", "cauchy_schwarz", "cka")),
    "canonical_ridge(kappa_x=0, kappa_y=0.2, relative=True)",
    "mutual_information",
    "mmd(kernel=rbf)",
    "procrustes",
    "procrustes(alpha=0)",
    "procrustes(alpha=0.5)",
    "distance_correlation",
]


@pytest.mark.parametrize("spec", dict.fromkeys([*able("gradients", OWN_INDEXES), *VARIANTS]))
def test_gradcheck(spec):
    torch = pytest.importorskip("torch")
    n = max(12, simkit.get_index(spec).facts.min_examples)
    x, y = (torch.tensor(a, requires_grad=True) for a in pair(n, 3, 4))
    assert torch.autograd.gradcheck(lambda a, b: simkit.compare(a, b, spec), (x, y), fast_mode=True)


@pytest.mark.parametrize("spec", ["cka", "cka(estimator=unbiased)", "cka(kernel=rbf)", "procrustes"])
def test_gradcheck_wide(spec):
    """More units than examples: the Gram form."""
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(a, requires_grad=True) for a in pair(6, 9, 8))
    assert torch.autograd.gradcheck(lambda a, b: simkit.compare(a, b, spec), (x, y), fast_mode=True)


@pytest.mark.parametrize("spec", ["cca", "cca(summary=rho)", "linear_regression"])
def test_invariant_indexes_are_flat_where_they_are_one(spec):
    """Theorem 1: with p >= n they are 1 whatever happens, so the gradient is 0 and not nan."""
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(a, requires_grad=True) for a in pair(6, 9, 8))
    simkit.compare(x, y, spec).backward()
    assert float(x.grad.abs().max()) < 1e-9
    assert float(y.grad.abs().max()) < 1e-9


@pytest.mark.parametrize("spec", ["cca", "cca(summary=rho)", "linear_regression", "cka", "hsic", "cka(kernel=rbf)"])
def test_duplicated_columns_have_finite_gradients(spec):
    torch = pytest.importorskip("torch")
    a, b = pair(12, 3, 4)
    x, y = (torch.tensor(np.concatenate([z, z[:, :2]], axis=1), requires_grad=True) for z in (a, b))
    simkit.compare(x, y, spec).backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(y.grad).all()


@pytest.mark.parametrize("spec", VARIANTS)
def test_jax_compiles_and_differentiates(spec):
    jax = pytest.importorskip("jax")
    x, y = map(jax.numpy.asarray, pair(12, 3, 4))

    def score(a, b):
        return simkit.compare(a, b, spec)

    assert float(jax.jit(score)(x, y)) == pytest.approx(float(score(x, y)), rel=1e-9)
    gradient = np.asarray(jax.jit(jax.grad(score))(x, y))
    direction = np.random.default_rng(0).standard_normal(x.shape)
    step = 1e-5
    numeric = (float(score(x + step * direction, y)) - float(score(x - step * direction, y))) / (2 * step)
    assert np.sum(gradient * direction) == pytest.approx(numeric, rel=1e-5, abs=1e-7)


def test_jax_maps_over_a_batch():
    jax = pytest.importorskip("jax")
    x, y = pair(12, 3, 4)
    batch = np.stack([x, 2 * x + y[:, :3], y[:, :3]])
    scores = jax.vmap(lambda a: simkit.compare(a, jax.numpy.asarray(y)))(jax.numpy.asarray(batch))
    np.testing.assert_allclose(scores, [simkit.compare(a, y) for a in batch], rtol=1e-10)
