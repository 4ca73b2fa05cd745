"""Scores inside the transformations of JAX and PyTorch, as a loss is written: also where one layer is closed over."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from backends import THOROUGH
from data import OWN_INDEXES, able, pair

import simkit

MORE = ["cka(kernel=rbf)", "cka(kernel=cosine)", "cka(estimator=unbiased)", "cca(summary=rho)", "procrustes(alpha=0.5)"]
SPECS = [*OWN_INDEXES, *MORE]
JIT, VMAP = able("jit", SPECS), able("vmap", SPECS)
GRADIENTS = able("gradients", VMAP)
COMPILED = JIT if THOROUGH else JIT[::4]  # for a second each; test_facts.py traces each index


@pytest.fixture
def layers():
    return pair(40, 6, 5)


@pytest.fixture
def jax():
    module = pytest.importorskip("jax")
    with module.enable_x64(True):
        yield module


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("spec", COMPILED)
def test_jit_with_a_layer_closed_over(jax, layers, spec):
    x, y = map(jax.numpy.asarray, layers)
    expected = float(simkit.compare(*layers, spec))
    assert float(jax.jit(lambda a: simkit.compare(a, y, spec))(x)) == pytest.approx(expected, rel=1e-9)
    assert float(jax.jit(lambda b: simkit.compare(x, b, spec))(y)) == pytest.approx(expected, rel=1e-9)
    assert float(jax.jit(lambda: simkit.compare(x, y, spec))()) == pytest.approx(expected, rel=1e-9)
    unchecked = jax.jit(lambda a: simkit.compare(a, y, spec, check_finite=False))
    assert float(unchecked(x)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("spec", COMPILED)
def test_jit_of_all_pairs(jax, layers, spec):
    x, y = map(jax.numpy.asarray, layers)
    matrix = jax.jit(lambda a: simkit.pairwise({"a": a, "b": y}, {"b": y}, spec).values)(x)
    expected = simkit.pairwise({"a": layers[0], "b": layers[1]}, {"b": layers[1]}, spec).to_numpy()
    np.testing.assert_allclose(np.asarray(matrix), expected, rtol=1e-9, atol=1e-12)


def test_what_is_not_traced_is_still_checked(jax, layers):
    """Outside of jit values are there, also under grad, and nan is an error."""
    x = jax.numpy.asarray(layers[0]).at[3, 2].set(jax.numpy.nan)
    with pytest.raises(simkit.errors.InvalidArrayError, match="row 3, column 2"):
        simkit.compare(x, jax.numpy.asarray(layers[1]))


@pytest.mark.parametrize("spec", VMAP)
def test_vmap(torch, layers, spec):
    X, Y = layers
    many = torch.tensor(np.stack([X, X + Y[:, :1], X**2]))
    y = torch.tensor(Y)
    scores = torch.func.vmap(lambda a: simkit.compare(a, y, spec))(many)
    for score, x in zip(scores, many, strict=True):
        assert float(score) == pytest.approx(float(simkit.compare(x.numpy(), Y, spec)), rel=1e-9)
    both = torch.func.vmap(lambda a, b: simkit.compare(a, b, spec))(many, torch.stack([y, y + 1, y]))
    torch.testing.assert_close(both[::2], scores[::2], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spec", GRADIENTS)
def test_vmap_of_gradients(torch, layers, spec):
    X, Y = layers
    many, y = torch.tensor(np.stack([X, X**2])), torch.tensor(Y)

    def score(a):
        return simkit.compare(a, y, spec)

    gradients = torch.func.vmap(torch.func.grad(score))(many)
    for gradient, x in zip(gradients, many, strict=True):
        alone = x.clone().requires_grad_()
        score(alone).backward()
        torch.testing.assert_close(gradient, alone.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "spec", ["cka", "cka(estimator=unbiased)", "cka(kernel=rbf)", "cka(kernel=rbf(sigma=2.0))", "hsic", "procrustes", "cca"]
)
def test_compile_with_gradients(torch, layers, spec):
    """That each index makes one graph where it says so is in test_facts.py. aot_eager traces value and gradient as every backend does, and needs no C++ compiler."""
    torch._dynamo.reset()
    x, y = (torch.tensor(layer, dtype=torch.float32, requires_grad=True) for layer in layers)
    index = simkit.get_index(spec)
    score = simkit.compare(x, y, spec)
    expected = torch.autograd.grad(score, (x, y))
    for loss in (lambda a, b: simkit.compare(a, b, spec), index)[: 2 if spec == "cka" else 1]:
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")(x, y)
        torch.testing.assert_close(compiled, score)
        for found, gradient in zip(torch.autograd.grad(compiled, (x, y)), expected, strict=True):
            torch.testing.assert_close(found, gradient)


def test_compile_with_parameters_and_all_pairs(torch, layers):
    torch._dynamo.reset()
    x, y = map(torch.tensor, layers)

    def loss(a, b):
        matrix = simkit.pairwise({"a": a, "b": b}, index="cca")
        return simkit.compare(a, b, "cka", estimator="unbiased") + matrix.values[0, 1]

    found = torch.compile(loss, fullgraph=True, backend="aot_eager")(x, y)
    torch.testing.assert_close(found, loss(x, y))


def test_compiled_again_for_other_data(torch, layers):
    """The graph holds the formula, not the values that it was traced with."""
    torch._dynamo.reset()
    x, y = map(torch.tensor, layers)
    compiled = torch.compile(lambda a, b: simkit.compare(a, b, "cca"), fullgraph=True, backend="aot_eager")
    with contextlib.suppress(torch._dynamo.exc.RecompileError):
        for factor in (1.0, 2.0):
            z = x + factor * y[:, :1]
            torch.testing.assert_close(compiled(z, y), simkit.compare(z, y, "cca"))
