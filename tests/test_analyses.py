"""Shared subspace, within-class similarity, linear probes, sweeps and principal components against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from data import orthogonal, pair

import simkit
from simkit.analysis import (
    layer_accuracy,
    linear_probe,
    principal_components,
    shared_subspace,
    sweep,
    within_class,
)
from simkit.errors import InvalidArrayError, NeedsAllExamplesError, SpecError

LogisticRegression = pytest.importorskip("sklearn.linear_model").LogisticRegression
StandardScaler = pytest.importorskip("sklearn.preprocessing").StandardScaler


def centred(x):
    return x - x.mean(axis=0)


# --- shared subspace ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 6, 4), (12, 20, 15), (30, 5, 40)], ids=str)
def test_the_action_of_one_rsm_on_the_eigenvectors_of_the_other(backend, shape):
    x, y = pair(*shape)
    k, l_ = (centred(z) @ centred(z).T for z in (x, y))
    values, vectors = np.linalg.eigh(k)
    order = np.argsort(-values)[: np.linalg.matrix_rank(centred(x))]
    values, vectors = values[order], vectors[:, order]
    found = shared_subspace(backend.asarray(x), backend.asarray(y))
    turned = l_ @ vectors
    np.testing.assert_allclose(found.eigenvalues, values / np.linalg.norm(k), rtol=1e-9)
    np.testing.assert_allclose(found.scaling, np.linalg.norm(turned, axis=0) / np.linalg.norm(l_), rtol=1e-8)
    np.testing.assert_allclose(
        found.cosines, np.sum(vectors * turned, axis=0) / np.linalg.norm(turned, axis=0), rtol=1e-8, atol=1e-12
    )
    terms = values * np.sum(vectors * turned, axis=0) / np.linalg.norm(k) / np.linalg.norm(l_)
    np.testing.assert_allclose(found.contributions, terms, rtol=1e-8, atol=1e-12)
    assert found.cka == pytest.approx(float(simkit.compare(x, y, "cka")), rel=1e-10)
    assert found.n == shape[0]


def test_a_layer_shares_everything_with_its_rotation(rng):
    x = rng.standard_normal((50, 6)) * [5, 4, 3, 2, 1, 0.5]
    found = shared_subspace(x, 3 * x @ orthogonal(6, rng) + 1)
    np.testing.assert_allclose(found.scaling, found.eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(found.cosines, 1, rtol=1e-9)
    assert found.cka == pytest.approx(1)


def test_the_effective_rank_counts_equal_directions():
    basis = np.linalg.qr(centred(np.random.default_rng(0).standard_normal((40, 7))))[0]
    falling = 1 - 1e-4 * np.arange(7)  # of equal eigenvalues the eigenvectors are not determined
    found = shared_subspace(basis[:, :5] * falling[:5], basis[:, 2:] * falling[2:])  # three directions in common
    assert found.effective_rank == pytest.approx(3, rel=1e-5)
    assert "shared by 3 of 5" in str(found)
    assert found.to_pandas().shape == (5, 4)


def test_the_figure_of_the_shared_subspace():
    pytest.importorskip("matplotlib")
    left, right = shared_subspace(*pair(40, 6, 4)).plot()
    assert left.get_xscale() == left.get_yscale() == right.get_xscale() == "log"
    assert "effective rank" in right.get_title()


def test_what_has_no_shared_subspace():
    x, y = pair(20, 3, 4)
    with pytest.raises(InvalidArrayError, match="Y is constant"):
        shared_subspace(x, np.ones((20, 2)))
    with pytest.raises(InvalidArrayError, match="20"):
        shared_subspace(x, y[:10])
    da = pytest.importorskip("dask.array")
    with pytest.raises(NeedsAllExamplesError, match="compute"):
        shared_subspace(da.from_array(x), da.from_array(y))


# --- within classes -------------------------------------------------------------------------------------------------------


def test_within_classes(backend):
    rng = np.random.default_rng(0)
    x, y, labels = rng.standard_normal((60, 5)), rng.standard_normal((60, 4)), np.arange(60) % 3
    x[:, 0] += 10 * labels  # both layers separate the classes, and share nothing else
    y[:, 0] += 10 * labels
    found = within_class(backend.asarray(x), backend.asarray(y), labels, "cka")
    expected = [float(simkit.compare(x[labels == c], y[labels == c], "cka")) for c in range(3)]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-10)
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-10)
    assert found.overall == pytest.approx(float(simkit.compare(x, y, "cka")), rel=1e-10)
    assert found.mean < found.overall
    assert (found.classes, found.counts) == ((0, 1, 2), (20, 20, 20))


def test_all_pairs_within_classes():
    x, y = pair(60, 5, 4)
    labels = ["cat"] * 25 + ["dog"] * 35
    layers, others = {"a": x, "b": y}, {"c": x[:, :3]}
    found = within_class(layers, others, labels, "cka", estimator="unbiased")
    expected = [
        simkit.pairwise({k: v[rows] for k, v in layers.items()}, {"c": x[rows, :3]}, "cka(estimator=unbiased)").to_numpy()
        for rows in (slice(25), slice(25, 60))
    ]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-10)
    assert found.mean["b", "c"] == pytest.approx(np.mean([e[1, 0] for e in expected]), rel=1e-10)
    assert within_class(layers, None, labels).overall.shape == (2, 2)


def test_labels_that_do_not_fit():
    x, y = pair(20, 3, 4)
    with pytest.raises(InvalidArrayError, match=r"labels has shape \(19,\); expected one for each of the 20"):
        within_class(x, y, np.zeros(19))
    with pytest.raises(InvalidArrayError, match=r"Class 1 has 2 examples; cka\(estimator=unbiased\) needs at least 4"):
        within_class(x, y, [0] * 18 + [1] * 2, "cka(estimator=unbiased)")
    with pytest.raises(InvalidArrayError, match="nothing to compare"):
        within_class(x, None, [0] * 20)


# --- linear probes --------------------------------------------------------------------------------------------------------


def digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return images[:600], labels[:600]


def test_linear_probes(backend):
    images, labels = digits()
    layers = {"pixels": images, "few": images[:, 20:23]}
    train, test = ({k: backend.asarray(v[rows]) for k, v in layers.items()} for rows in (slice(400), slice(400, 600)))
    found = linear_probe(train, labels[:400], test, labels[400:], C=0.1)
    scaler = StandardScaler().fit(images[:400])
    model = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(images[:400]), labels[:400])
    assert found.accuracy[0] == pytest.approx(np.mean(model.predict(scaler.transform(images[400:])) == labels[400:]))
    assert found.accuracy[0] > 0.8 > 0.6 > found.accuracy[1]
    assert (found.layers, found.n_train, found.n_test, found.C) == (("pixels", "few"), 400, 200, (0.1, 0.1))


def test_probes_hold_examples_out():
    images, labels = digits()
    rng = np.random.default_rng(0)
    noise = linear_probe({"noise": rng.standard_normal((300, 200))}, rng.integers(0, 2, 300))
    assert noise.train_accuracy[0] > 0.95
    assert noise.accuracy[0] < 0.7
    assert (noise.n_train, noise.n_test) == (225, 75)
    chosen = linear_probe({"pixels": images[:, ::3]}, labels, C=None, held_out=0.5)
    assert 1e-4 <= chosen.C[0] <= 1e4
    assert chosen.to_pandas().loc["pixels", "accuracy"] > 0.7


def test_probes_that_cannot_be():
    x = np.random.default_rng(0).standard_normal((20, 3))
    with pytest.raises(InvalidArrayError, match="one label"):
        linear_probe({"x": x}, np.zeros(20))
    with pytest.raises(InvalidArrayError, match="x has 20 examples, but the labels have shape"):
        linear_probe({"x": x}, np.zeros(19))
    with pytest.raises(InvalidArrayError, match="both test_layers and test_labels"):
        linear_probe({"x": x}, np.arange(20) % 2, {"x": x})
    with pytest.raises(InvalidArrayError, match="expected the layers x"):
        linear_probe({"x": x}, np.arange(20) % 2, {"z": x}, np.arange(20) % 2)
    with pytest.raises(InvalidArrayError, match="empty"):
        linear_probe({}, [])
    with pytest.raises(SpecError, match="C=0"):
        linear_probe({"x": x}, np.arange(20) % 2, C=0)


# --- sweeps ---------------------------------------------------------------------------------------------------------------


def networks():
    return [{f"l{i}": layer[:60] for i, layer in enumerate(list(simkit.demo.load(seed).values())[:4])} for seed in (0, 1)]


def test_sweeps_identify_layers_at_each_value():
    nets = networks()
    found = sweep(nets, "svcca", threshold=[0.5, 0.9])
    for value, result in zip(found.values, found.results, strict=True):
        assert result.index == f"svcca(threshold={value})"
        assert result.accuracy == layer_accuracy(nets, "svcca", threshold=value).accuracy
    assert found.best.accuracy == max(found.accuracy)
    assert list(found.to_pandas().index) == ["0.5", "0.9"]
    kernels = sweep(nets, "cka", kernel=["rbf(fraction=0.2)", "linear"])
    assert kernels.results[0].index == "cka(kernel=rbf(fraction=0.2))"
    pytest.importorskip("matplotlib")
    assert [label.get_text() for label in kernels.plot().get_xticklabels()] == ["rbf(fraction=0.2)", "linear"]


def test_sweeps_that_cannot_be():
    for values in ({}, {"threshold": [0.5], "summary": ["rho"]}, {"threshold": 0.5}, {"threshold": []}, {"threshold": [2]}):
        with pytest.raises(SpecError, match="threshold|parameter"):
            sweep(networks(), "svcca", **values)


# --- principal components -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 5), (8, 20)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-20])
def test_principal_components(backend, shape, scale):
    x = pair(*shape, 1)[0] * scale
    found = principal_components(backend.asarray(x), 3)
    values, vectors = np.linalg.eigh(np.cov(x.T / scale))
    expected = centred(x) @ vectors[:, ::-1][:, :3]
    np.testing.assert_allclose(np.abs(found.scores), np.abs(expected), rtol=1e-6, atol=1e-9 * scale)
    np.testing.assert_allclose(found.explained, values[::-1][:3] / values.sum(), rtol=1e-9)
    assert np.all(found.scores[np.abs(found.scores).argmax(axis=0), range(3)] > 0)


def test_components_that_are_not_there():
    x = pair(30, 5, 1)[0]
    with pytest.raises(InvalidArrayError, match="at most 5 principal components"):
        principal_components(x, 6)
    with pytest.raises(InvalidArrayError, match="constant"):
        principal_components(np.ones((5, 3)))
