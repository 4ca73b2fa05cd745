"""The kernels are their definitions: Gaussian expectations by quadrature, random networks, gradients of wide networks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.special import erf

import simkit

X = np.random.default_rng(0).standard_normal((6, 4)) + 0.3
Y = np.random.default_rng(1).standard_normal((5, 4)) - 0.2


def expectation(f, kxx, kxy, kyy):
    """E[f(u) f(v)] of two Gaussian variables, by a sum over radii (exact for powers) and angles (split where f has a kink).

    With u = a'z, v = b'z for z ~ N(0, I_2), |a|^2 = kxx, a'b = kxy, |b|^2 = kyy.
    """
    a = np.array([np.sqrt(kxx), 0.0])
    b = np.array([kxy / a[0], np.sqrt(max(kyy - (kxy / a[0]) ** 2, 0.0))])
    across = [np.arctan2(*v[::-1]) + s * np.pi / 2 for v in (a, b) for s in (1, -1)]
    kinks = np.sort(np.mod(across, 2 * np.pi))
    edges = np.concatenate([[0.0], kinks, [2 * np.pi]])
    nodes, weights = np.polynomial.legendre.leggauss(60)
    radii, radial = np.polynomial.legendre.leggauss(120)
    r, wr = 5.5 * (radii + 1), 5.5 * radial  # 0 to 11 standard deviations
    total = 0.0
    for low, high in itertools.pairwise(edges):
        t = (high - low) / 2 * nodes + (high + low) / 2
        z = r[:, None, None] * np.stack([np.cos(t), np.sin(t)], axis=-1)[None]
        density = r * np.exp(-(r**2) / 2) / (2 * np.pi)
        total += (high - low) / 2 * np.einsum("r,t,rt->", wr * density, weights, f(z @ a) * f(z @ b))
    return total


def relu(u):
    return np.maximum(u, 0)


def step(u):
    return (u > 0) * 1.0


def erf_slope(u):
    return 2 / math.sqrt(math.pi) * np.exp(-(u**2))


@pytest.mark.parametrize(("order", "h"), [(0, step), (1, relu), (2, lambda u: relu(u) ** 2)])
def test_arc_cosine_is_an_expectation(order, h):
    found = simkit.get_kernel("arccos", order=order)(X, Y)
    for i, x in enumerate(X):
        for j, y in enumerate(Y):
            assert found[i, j] == pytest.approx(2 * expectation(h, x @ x, x @ y, y @ y), rel=1e-9)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_arc_cosine_by_many_random_units(order):
    w = np.random.default_rng(2).standard_normal((4, 200_000))
    a, b = ((np.maximum(z @ w, 0) ** order) * (z @ w > 0) for z in (X, Y))
    products = 2 * a[:, None, :] * b[None, :, :]
    mean, error = products.mean(axis=-1), products.std(axis=-1) / np.sqrt(w.shape[1])
    assert np.all(np.abs(simkit.get_kernel("arccos", order=order)(X, Y) - mean) < 5 * error)


def recursion(x, y, depth, activation, sw, sb):
    """NNGP and NTK of a pair by the definition, with expectations by quadrature."""
    f, slope = {"relu": (relu, step), "erf": (erf, erf_slope)}[activation]
    k = {name: sb + sw * (a @ b) / len(x) for name, a, b in (("xx", x, x), ("xy", x, y), ("yy", y, y))}
    tangent = k["xy"]
    for _ in range(depth):
        inner = sw * expectation(slope, k["xx"], k["xy"], k["yy"])
        k = {
            "xx": sb + sw * expectation(f, k["xx"], k["xx"], k["xx"]),
            "yy": sb + sw * expectation(f, k["yy"], k["yy"], k["yy"]),
            "xy": sb + sw * expectation(f, k["xx"], k["xy"], k["yy"]),
        }
        tangent = k["xy"] + inner * tangent
    return k["xy"], tangent


@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize(("depth", "sw", "sb"), [(1, 2.0, 0.0), (3, 1.5, 0.1)])
def test_recursions(activation, depth, sw, sb):
    parameters = {"depth": depth, "activation": activation, "weight_variance": sw, "bias_variance": sb}
    nngp, ntk = (simkit.get_kernel(name, **parameters)(X, Y) for name in ("nngp", "ntk"))
    for i, j in ((0, 0), (1, 3), (4, 2)):
        expected = recursion(X[i], Y[j], depth, activation, sw, sb)
        assert nngp[i, j] == pytest.approx(expected[0], rel=1e-8)
        assert ntk[i, j] == pytest.approx(expected[1], rel=1e-8)


def test_one_hidden_layer_of_rectified_units_is_an_arc_cosine_kernel():
    """K^1 = weight_variance / 2 times the arc-cosine kernel of order 1 of sqrt(weight_variance / p) x."""
    scale = np.sqrt(2.0 / 4)
    expected = simkit.get_kernel("arccos")(scale * X, scale * Y)
    np.testing.assert_allclose(simkit.get_kernel("nngp(depth=1)")(X, Y), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_outputs_of_wide_random_networks_have_this_covariance(activation):
    """Of many networks with 200 hidden units in each of two layers; the width moves the mean by some percent."""
    rng, width, count, sw, sb = np.random.default_rng(3), 200, 3000, 1.6, 0.2
    f = {"relu": relu, "erf": erf}[activation]
    z = np.concatenate([X[:3], Y[:2]])
    outputs = []
    for _ in range(count):
        h = z @ rng.standard_normal((4, width)) * np.sqrt(sw / 4) + np.sqrt(sb) * rng.standard_normal(width)
        h = f(h) @ rng.standard_normal((width, width)) * np.sqrt(sw / width) + np.sqrt(sb) * rng.standard_normal(width)
        outputs.append(f(h) @ rng.standard_normal(width) * np.sqrt(sw / width) + np.sqrt(sb) * rng.standard_normal())
    outputs = np.array(outputs)
    products = outputs[:, :, None] * outputs[:, None, :]
    mean, error = products.mean(axis=0), products.std(axis=0) / np.sqrt(count)
    kernel = simkit.get_kernel("nngp", depth=2, activation=activation, weight_variance=sw, bias_variance=sb)
    assert np.all(np.abs(kernel(z, z) - mean) < 5 * error + 0.02 * np.abs(mean))


def test_gradients_of_a_wide_network_have_these_products():
    torch = pytest.importorskip("torch")
    sw, sb, width, seeds = 1.5, 0.3, 512, 8
    z = torch.tensor(np.concatenate([X[:2], Y[:2]]))
    found = []
    for seed in range(seeds):
        g = torch.Generator().manual_seed(seed)

        def normal(*shape, g=g):
            return torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True)

        parameters = [normal(4, width), normal(width), normal(width, width), normal(width), normal(width, 1), normal(1)]
        h = z
        for k in (0, 2, 4):
            h = h @ parameters[k] * (sw / parameters[k].shape[0]) ** 0.5 + sb**0.5 * parameters[k + 1]
            h = torch.relu(h) if k < 4 else h
        rows = []
        for i in range(4):
            grads = torch.autograd.grad(h[i, 0], parameters, retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in grads]))
        rows = torch.stack(rows)
        found.append((rows @ rows.T).numpy())
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / np.sqrt(seeds)
    kernel = simkit.get_kernel("ntk", depth=2, weight_variance=sw, bias_variance=sb)
    assert np.all(np.abs(kernel(z.numpy(), z.numpy()) - mean) < 6 * error + 0.03 * np.abs(mean))


@pytest.mark.parametrize("spec", ["arccos(order=1)", "arccos(order=2)", "nngp", "ntk(activation=erf)"])
def test_parallel_and_zero_examples_have_finite_values_and_gradients(spec):
    torch = pytest.importorskip("torch")
    x = torch.tensor([[1.0, 2.0], [2.0, 4.0], [-1.0, -2.0], [0.0, 0.0], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    k = simkit.get_kernel(spec)(x, x)
    assert torch.isfinite(k).all()
    (gradient,) = torch.autograd.grad(k.sum(), x)
    assert torch.isfinite(gradient).all()


def test_parallel_examples_are_exact():
    x = np.array([[0.1, 0.7, -0.3]])
    assert simkit.get_kernel("arccos(order=0)")(x, 3 * x)[0, 0] == pytest.approx(1, abs=1e-15)
    assert simkit.get_kernel("arccos(order=0)")(x, -x)[0, 0] == pytest.approx(0, abs=1e-15)
    assert simkit.get_kernel("arccos(order=1)")(x, x)[0, 0] == pytest.approx(np.sum(x**2), rel=1e-14)
    assert simkit.get_kernel("arccos(order=2)")(x, x)[0, 0] == pytest.approx(3 * np.sum(x**2) ** 2, rel=1e-14)


def test_whole_numbers_may_be_written_with_a_point():
    x = np.random.default_rng(0).standard_normal((4, 3))
    for name in ("nngp", "ntk"):
        dotted, plain = (simkit.get_kernel(f"{name}(depth={depth})")(x, x) for depth in ("2.0", "2"))
        np.testing.assert_array_equal(dotted, plain)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("arccos(order=3)", "expected one of 0, 1, 2"),
        ("nngp(depth=0)", "depth=0; expected a number >= 1"),
        ("nngp(depth=1.5)", "whole number"),
        ("ntk(activation=tanh)", "expected one of relu, erf"),
        ("ntk(weight_variance=0)", "weight_variance=0"),
        ("nngp(bias_variance=-1)", "bias_variance=-1"),
    ],
)
def test_bad_parameters(spec, message):
    with pytest.raises(simkit.SimkitError, match=message):
        simkit.get_kernel(spec)
