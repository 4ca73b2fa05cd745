"""All pairs are the pairs one by one, with the right labels."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from data import OWN_INDEXES

import simkit
from simkit.errors import InvalidArrayError


def layers(rng, n, widths, prefix):
    return {f"{prefix}{i}": rng.standard_normal((n, p)) + rng.standard_normal((n, 1)) for i, p in enumerate(widths)}


@pytest.mark.parametrize(
    "spec", [*map(str, OWN_INDEXES), "cka(estimator=unbiased)", "hsic(kernel=rbf)", "cka(estimator=lange)"]
)
@pytest.mark.parametrize("n", [200, 24], ids=["features", "Gram matrices"])
def test_equals_compare(backend, rng, spec, n):
    a, b = layers(rng, n, (3, 12, 6), "a"), layers(rng, n, (5, 9), "b")
    x, y = ({name: backend.asarray(v) for name, v in side.items()} for side in (a, b))
    matrix = simkit.pairwise(x, y, spec)
    assert matrix.shape == (3, 2)
    assert (matrix.rows, matrix.columns, matrix.n) == (("a0", "a1", "a2"), ("b0", "b1"), n)
    values = backend.to_numpy(matrix.values)
    for i, name in enumerate(a):
        for j, other in enumerate(b):
            assert values[i, j] == pytest.approx(float(simkit.compare(a[name], b[other], spec)), rel=1e-9)
    assert float(matrix["a2", "b1"]) == values[2, 1]


@pytest.mark.parametrize("spec", ["cka", "linear_regression", "cka(kernel=rbf)", "cka(estimator=unbiased)"])
def test_with_itself(rng, spec):
    a = layers(rng, 20, (3, 30, 6), "a")
    once, twice = simkit.pairwise(a, index=spec), simkit.pairwise(a, a, spec)
    np.testing.assert_allclose(once.to_numpy(), twice.to_numpy(), rtol=1e-9)
    np.testing.assert_allclose(np.diag(once.to_numpy()), 1, rtol=1e-12)
    assert once.rows == once.columns


def test_float32_heatmap_is_accurate(rng):
    a, b = layers(rng, 700, (300, 900, 64), "a"), layers(rng, 700, (128, 1500), "b")
    exact = simkit.pairwise(a, b).to_numpy()
    narrow = [{name: x.astype(np.float32) for name, x in side.items()} for side in (a, b)]
    found = simkit.pairwise(*narrow).to_numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_each_layer_is_prepared_once(rng):
    prepared, scored = [], []

    class Counting(simkit.indexes.LinearRegression):
        def prepare(self, representation):
            prepared.append(representation.name)
            return super().prepare(representation)

        def score(self, x, y):
            scored.append((x, y))
            return super().score(x, y)

    simkit.pairwise(layers(rng, 30, (2, 3, 4), "a"), layers(rng, 30, (2, 3), "b"), Counting())
    assert prepared == ["A['a0']", "A['a1']", "A['a2']", "B['b0']", "B['b1']"]
    assert len(scored) == 6


def test_sequences_keep_their_order(rng):
    a = [rng.standard_normal((9, p)) for p in range(1, 13)]
    matrix = simkit.pairwise(a)
    assert matrix.rows == tuple(map(str, range(12)))
    assert matrix[10, 2] == pytest.approx(simkit.compare(a[10], a[2]))


def test_bad_layers(rng):
    a = layers(rng, 20, (3, 4), "a")
    with pytest.raises(InvalidArrayError, match=r"A\['a0'\] has shape \(20, 3\) and B\['b'\] \(19, 2\)"):
        simkit.pairwise(a, {"b": np.ones((19, 2))})
    with pytest.raises(InvalidArrayError, match=r"A\['a1'\] has 1 of 80"):
        a["a1"][0, 0] = np.nan
        simkit.pairwise(a)
    with pytest.raises(InvalidArrayError, match=r"use simkit\.compare"):
        simkit.pairwise(np.ones((4, 2)))
    with pytest.raises(InvalidArrayError, match="at least one layer"):
        simkit.pairwise({})


def test_no_layer_is_lost_to_a_name(rng):
    x, y = rng.standard_normal((9, 2)), rng.standard_normal((9, 3))
    assert simkit.pairwise({1: x, "a": y}).rows == ("1", "a")
    with pytest.raises(InvalidArrayError, match=r"A has layers whose names are equal as strings: 1, '1'"):
        simkit.pairwise({1: x, "1": y})


def test_positions_of_any_integer_type(rng):
    matrix = simkit.pairwise([rng.standard_normal((9, p)) for p in (1, 2, 3)])
    assert matrix[np.int64(0), "2"] == matrix[0, -1] == matrix.to_numpy()[0, 2]
    with pytest.raises(TypeError):
        matrix[0.0, 1]


def test_values_hold_gradients():
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(np.random.default_rng(p).standard_normal((9, p)), requires_grad=True) for p in (2, 3))
    simkit.pairwise({"x": x, "y": y}).values[0, 1].backward()
    (expected,) = torch.autograd.grad(simkit.compare(x, y), x)
    torch.testing.assert_close(x.grad, expected)


def test_traced_layers():
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    a = {"x": rng.standard_normal((9, 2)), "y": rng.standard_normal((9, 3))}
    values = jax.jit(lambda layers: simkit.pairwise(layers, index="cka(kernel=rbf)").values)(
        {name: jax.numpy.asarray(x) for name, x in a.items()}
    )
    np.testing.assert_allclose(values, simkit.pairwise(a, index="cka(kernel=rbf)").to_numpy(), rtol=1e-10)


def test_labelled_forms(rng):
    matrix = simkit.pairwise(layers(rng, 20, (3, 4), "a"), layers(rng, 20, (2, 5, 3), "b"), "svcca", threshold=0.9)
    values = matrix.to_numpy()
    pytest.importorskip("pandas")
    frame = matrix.to_pandas()
    assert frame.loc["a1", "b2"] == values[1, 2]
    assert frame.attrs == {
        "index": "svcca(threshold=0.9)",
        "n": 20,
        "details": matrix.details,
        "chance": matrix.chance.tolist(),
    }
    pytest.importorskip("xarray")
    array = matrix.to_xarray()
    assert array.dims == ("row", "column")
    assert float(array.sel(row="a1", column="b2")) == values[1, 2]
    np.testing.assert_array_equal(np.asarray(matrix), values)
    assert repr(matrix) == "<SimilarityMatrix 2 x 3, svcca(threshold=0.9), n = 20>"
    with pytest.raises(KeyError, match="no row is called 'z'"):
        matrix["z", "b1"]


def test_html_is_escaped_and_complete(rng):
    matrix = simkit.pairwise({"<script>": rng.standard_normal((9, 2))}, {"a&b": rng.standard_normal((9, 2))})
    text = matrix._repr_html_()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "a&amp;b" in text
    assert f"{matrix.to_numpy()[0, 0]:.3f}" in text
    assert "cka, n = 9" in text


def test_no_progress_bar_where_nobody_looks():
    code = "import simkit, numpy; simkit.pairwise([numpy.arange(5.0)[:, None]] * 3, progress=None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == done.stderr == ""
