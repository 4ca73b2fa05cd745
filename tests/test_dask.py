"""Dask arrays: the score is lazy, and what it computes to is the score in memory."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError, MixedArraysError

da = pytest.importorskip("dask.array")


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((60, 7))
    return x, x[:, :5] + rng.standard_normal((60, 5))


class Reads:
    """An array-like that counts how often it is read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim, self.count = array, array.shape, array.dtype, 2, 0

    def __getitem__(self, key):
        part = self.array[key]
        self.count += part.size > 0  # Dask looks at the type of an empty part
        return part


@pytest.mark.parametrize("index", ["cka", "cka(estimator=unbiased)", "cka(kernel=rbf)", "hsic", "cca", "svcca", "pwcca"])
@pytest.mark.parametrize("chunks", [((60,), (7,)), ((20, 20, 20), (3, 4)), ((1,) * 60, (7,))])
def test_equals_the_score_in_memory(pair, index, chunks):
    x, y = pair
    lazy = simkit.compare(da.from_array(x, chunks=chunks), da.from_array(y, chunks=(25, 2)), index)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == ((), np.float64)
    assert float(lazy) == pytest.approx(float(simkit.compare(x, y, index)), rel=1e-12)


def test_float32_stays_float32(pair):
    x, y = (a.astype(np.float32) for a in pair)
    lazy = simkit.compare(da.from_array(x), da.from_array(y))
    assert lazy.dtype == np.float32
    assert lazy.compute().dtype == np.float32


def test_nothing_is_read_before_it_is_computed(pair):
    x, y = map(Reads, pair)
    lazy = simkit.compare(da.from_array(x, chunks=(20, 7)), da.from_array(y, chunks=(20, 5)))
    matrix = simkit.pairwise({"x": da.from_array(x, chunks=(20, 7))}, {"y": da.from_array(y, chunks=(20, 5))})
    assert x.count == y.count == 0
    lazy.compute()
    assert (x.count, y.count) == (3, 3)
    assert repr(matrix) == "<SimilarityMatrix 1 x 1, cka, n = 60>"
    assert (x.count, y.count) == (3, 3)


def test_pairwise(pair):
    x, y = pair
    lazy = simkit.pairwise({"x": da.from_array(x, chunks=(20, 7)), "y": da.from_array(y, chunks=(30, 5))}, index="cca")
    assert isinstance(lazy.values, da.Array)
    np.testing.assert_allclose(lazy.to_numpy(), simkit.pairwise({"x": x, "y": y}, index="cca").to_numpy(), rtol=1e-12)


def test_the_same_question_has_the_same_key(pair):
    x, y = map(da.from_array, pair)
    assert simkit.compare(x, y).name == simkit.compare(x, y).name
    assert simkit.compare(x, y).name != simkit.compare(x, y, "cca").name
    assert simkit.compare(x, y).name != simkit.compare(y, x).name


def test_shapes_are_checked_at_once(pair):
    x, y = map(da.from_array, pair)
    with pytest.raises(InvalidArrayError, match="60 and 59 examples"):
        simkit.compare(x, y[:59])
    with pytest.raises(InvalidArrayError, match="compute_chunk_sizes"):
        simkit.compare(x[x[:, 0] > 0], y[x[:, 0] > 0])
    with pytest.raises(MixedArraysError, match=r"dask\.array"):
        simkit.compare(x, pair[1])


def test_values_are_checked_when_computed(pair):
    x, y = pair
    x = x.copy()
    x[4, 2] = np.nan
    lazy = simkit.compare(da.from_array(x, chunks=(20, 7)), da.from_array(y))
    with pytest.raises(InvalidArrayError, match="row 4, column 2"):
        lazy.compute()
    constant = simkit.compare(da.ones((60, 2)), da.from_array(y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        assert np.isnan(constant.compute(scheduler="synchronous"))
