"""Section 6.1: identification of corresponding layers."""

from __future__ import annotations

import math

import numpy as np
import pytest

import simkit
from simkit import demo
from simkit.analysis import LayerAccuracy, jackknife_test, layer_accuracy
from simkit.best import found_layers
from simkit.errors import InvalidArrayError


def networks(rng, m=3, noise=0.3):
    """Each layer is a random rotation of what all networks share at that depth, with noise."""
    shared = [rng.standard_normal((60, 5)) for _ in range(4)]
    return [
        {
            f"l{i}": x @ np.linalg.qr(rng.standard_normal((5, 5)))[0] + noise * rng.standard_normal((60, 5))
            for i, x in enumerate(shared)
        }
        for _ in range(m)
    ]


def accuracy_by_loops(nets, score):
    hits = []
    for a in range(len(nets)):
        for b in range(len(nets)):
            if a == b:
                continue
            for name, x in nets[a].items():
                best = max(nets[b], key=lambda other: score(x, nets[b][other]))
                hits.append(best == name)
    return np.mean(hits)


@pytest.mark.parametrize("noise", [0.3, 3.0])
@pytest.mark.parametrize("index", ["cka", "linear_regression", "hsic"])
def test_against_loops(rng, index, noise):
    nets = networks(rng, noise=noise)
    result = layer_accuracy(nets, index)
    assert result.accuracy == pytest.approx(accuracy_by_loops(nets, lambda x, y: simkit.compare(x, y, index)))
    assert np.mean(list(result.by_layer.values())) == pytest.approx(result.accuracy)
    assert (result.n, result.networks, result.layers) == (60, 3, ("l0", "l1", "l2", "l3"))


def test_symmetrised(rng):
    nets = networks(rng, noise=3.0)

    def both(x, y):
        return simkit.compare(x, y, "linear_regression") + simkit.compare(y, x, "linear_regression")

    result = layer_accuracy(nets, "linear_regression", symmetrise=True)
    assert result.accuracy == pytest.approx(accuracy_by_loops(nets, both))


def test_jackknife_by_hand():
    rng = np.random.default_rng(5)
    first, second = (LayerAccuracy("x", ("a", "b"), rng.random((4, 4, 2)) < share, 9) for share in (0.8, 0.4))

    def accuracy(hits, left_out=None):
        who = [i for i in range(4) if i != left_out]
        return np.mean([hits[a, b] for a in who for b in who if a != b])

    left_out = [accuracy(first.hits, i) - accuracy(second.hits, i) for i in range(4)]
    error = math.sqrt(3 / 4 * sum((t - sum(left_out) / 4) ** 2 for t in left_out))
    z, p = jackknife_test(first, second)
    assert z == pytest.approx((accuracy(first.hits) - accuracy(second.hits)) / error)
    assert p == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(abs(z) / math.sqrt(2)))))
    alone = [accuracy(first.hits, i) for i in range(4)]
    assert first.standard_error == pytest.approx(np.std(alone) * math.sqrt(3))
    assert jackknife_test(first, first) == (0.0, 1.0)


def test_two_networks_have_no_standard_error():
    hits = np.ones((2, 2, 3), dtype=bool)
    result = LayerAccuracy("cka", ("a", "b", "c"), hits, 5)
    assert math.isnan(result.standard_error)
    with pytest.raises(InvalidArrayError, match="at least three networks"):
        jackknife_test(result, result)


def test_bad_networks(rng):
    (net,) = networks(rng, m=1)
    with pytest.raises(InvalidArrayError, match="at least two networks"):
        layer_accuracy([net])
    with pytest.raises(InvalidArrayError, match="must be the same"):
        layer_accuracy([net, {"other": net["l0"]}])


def test_bundled_networks_show_the_finding_of_the_paper():
    hidden = [{name: x for name, x in demo.load(i).items() if name != "logits"} for i in (0, 1)]
    found = {index: layer_accuracy(hidden, index).accuracy for index in ("cka", "cca", "svcca", "linear_regression")}
    assert found["cka"] > 0.8
    assert max(found["cca"], found["svcca"], found["linear_regression"]) < 0.3


def test_bundled_activations():
    for network in (0, 1):
        layers = demo.load(network)
        assert list(layers) == [*(f"conv{i}" for i in range(1, 9)), "avgpool", "logits"]
        assert all(x.shape[0] == 200 and x.dtype == np.float32 and np.isfinite(x).all() for x in layers.values())
        assert all((layers[f"conv{i}"] >= 0).all() for i in range(1, 9))  # after ReLU
        # 94.8 % and 93.0 % of all 400 held-out digits are right
        assert np.mean(layers["logits"].argmax(axis=1) == demo.labels()) > 0.9
    with pytest.raises(InvalidArrayError, match="no network 2"):
        demo.load(2)


def test_bundled_layers_belong_together():
    """avgpool is what the logits are an affine function of."""
    for network in (0, 1):
        layers = demo.load(network)
        assert simkit.compare(layers["logits"], layers["avgpool"], "linear_regression") > 0.9999


@pytest.mark.parametrize(
    ("distance", "similarity"),
    [("procrustes(summary=angular)", "procrustes"), ("rsm_norm", None), ("gulp", None)],
)
def test_of_a_distance_the_nearest_layer_counts(distance, similarity):
    rng = np.random.default_rng(0)
    shared = {name: rng.standard_normal((60, 4)) for name in "abc"}
    networks = [{name: x + 0.2 * rng.standard_normal(x.shape) for name, x in shared.items()} for _ in range(2)]
    found = layer_accuracy(networks, distance)
    assert found.accuracy == 1
    if similarity:
        np.testing.assert_array_equal(found.hits[0, 1], layer_accuracy(networks, similarity).hits[0, 1])


# --- ties ------------------------------------------------------------------------------------------------------------------


def shares_by_loops(scores, distance):
    """A tie of m counts 1/m, nan is not found."""
    found = []
    for i, row in enumerate(scores):
        known = [float(s) for s in row if not math.isnan(s)]
        best = (min if distance else max)(known, default=None)
        found.append(1 / known.count(best) if row[i] == best else 0.0)
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", ["cka", "procrustes(summary=angular)"])
def test_a_tie_of_m_counts_one_in_m(index, dtype):
    rng = np.random.default_rng(3)
    nan, inf = np.nan, np.inf
    scores = np.array(
        [
            rng.integers(0, 2, (6, 6)),
            rng.integers(0, 3, (6, 6)),
            np.where(rng.random((6, 6)) < 0.4, nan, rng.integers(0, 2, (6, 6))),
            np.full((6, 6), nan),
            np.full((6, 6), inf),
            np.full((6, 6), -inf),
            np.where(rng.random((6, 6)) < 0.4, inf, 1.0),
            np.zeros((6, 6)),
        ],
        dtype=dtype,
    )
    expected = [shares_by_loops(part, index != "cka") for part in scores]
    smallest = simkit.get_index(index).facts.identity == 0
    found = found_layers(scores, smallest=smallest)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.all(found[3] == 0)
    assert found[4:6] == pytest.approx(1 / 6)
    eps = float(np.finfo(dtype).eps)
    near = (scores[:2] + 1) * (1 + 2 * eps * rng.uniform(-1, 1, (2, 6, 6))).astype(dtype)
    np.testing.assert_allclose(found_layers(near, smallest=smallest), expected[:2], rtol=1e-12)
    apart = np.ones((2, 2), dtype=dtype) + np.diag([100 * eps, -100 * eps]).astype(dtype)
    assert found_layers(apart, smallest=smallest).tolist() == ([1.0, 0.0] if index == "cka" else [0.0, 1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("index", ["cca", "linear_regression", "pwcca", "mutual_information"])
def test_layers_wider_than_the_examples_are_found_by_chance(rng, index, dtype):
    """Theorem 1 of the paper: an index that ignores invertible transforms is the same for any two of them."""
    nets = [{f"l{i}": rng.standard_normal((20, 25 + 5 * i)).astype(dtype) for i in range(4)} for _ in range(3)]
    found = layer_accuracy(nets, index)
    assert found.accuracy == pytest.approx(1 / 4)
    assert list(found.by_layer.values()) == pytest.approx([1 / 4] * 4)
    assert found.standard_error == pytest.approx(0, abs=1e-12)
    assert jackknife_test(found, layer_accuracy(nets, "cca")) == (0.0, 1.0)
