"""Nothing is computed too early, by array-api-extra's tags for tests.

A tagged function that calls ``compute`` of Dask fails; on JAX it is traced, and what it takes and returns crosses a ``jax.jit``.
"""

from __future__ import annotations

import numpy as np
import pytest
from array_api_extra.testing import lazy_xp_function, patch_lazy_xp_functions
from data import able, pair
from test_facts import SPECS

import simkit
from simkit.representation import Representation

da = pytest.importorskip("dask.array")


def compare(x, y, spec):
    return simkit.compare(x, y, spec)


def pairwise(x, y, spec):
    return simkit.pairwise({"x": x, "y": y}, index=spec).values


def compare_as_a_number(x, y, spec):
    return float(simkit.compare(x, y, spec))


def prepare(index, representation):
    return index.prepare(representation)


def score(index, x, y):
    return index.score(x, y)


for function in (compare, pairwise, compare_as_a_number, prepare, score):
    lazy_xp_function(function)


@pytest.fixture
def dask(request):
    """Two layers in NumPy and in Dask, while no tagged function may compute."""
    layers = pair(40, 6, 5)
    with patch_lazy_xp_functions(request, xp=da):
        yield layers, [da.from_array(layer, chunks=(15, -1)) for layer in layers]


@pytest.mark.parametrize("spec", [spec for spec in SPECS if simkit.get_index(spec).facts.statistic != "examples"])
def test_a_score_of_dask_arrays(dask, spec):
    layers, chunked = dask
    assert float(compare(*chunked, spec).compute()) == pytest.approx(float(simkit.compare(*layers, spec)), rel=1e-9)


@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf)", "cca", "procrustes", "bipartite_match"])
def test_all_pairs_of_dask_arrays(dask, spec):
    (x, y), chunked = dask
    expected = simkit.pairwise({"x": x, "y": y}, index=spec).to_numpy()
    np.testing.assert_allclose(pairwise(*chunked, spec).compute(), expected, rtol=1e-9)


def test_what_computes_fails(dask):
    with pytest.raises(AssertionError, match="compute"):
        compare_as_a_number(*dask[1], "cka")


@pytest.mark.parametrize("spec", able("jit", ["cka", "cca", "mutual_knn"]))
def test_states_leave_and_enter_a_traced_function(request, spec):
    jax = pytest.importorskip("jax")
    x, y = pair(40, 6, 6)
    index = simkit.get_index(spec)
    with jax.enable_x64(True), patch_lazy_xp_functions(request, xp=jax.numpy):
        states = [prepare(index, Representation(jax.numpy.asarray(z), name)) for z, name in ((x, "X"), (y, "Y"))]
        assert float(score(index, *states)) == pytest.approx(float(index(x, y)), rel=1e-9)


def test_what_cannot_be_traced_fails(request):
    jax = pytest.importorskip("jax")
    index = simkit.get_index("bipartite_match")
    with jax.enable_x64(True), patch_lazy_xp_functions(request, xp=jax.numpy):
        state = index.prepare(Representation(jax.numpy.asarray(pair(40, 6, 6)[0])))
        with pytest.raises(simkit.errors.UnsupportedError):
            score(index, state, state)
