"""Dask arrays: the score is lazy, and what it computes to is the score in memory."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from data import conditioned, orthogonal
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.errors import (
    ConstantInputWarning,
    InvalidArrayError,
    MixedArraysError,
    NeedsAllExamplesError,
    SimkitError,
    SpecError,
)
from simkit.scale.nystroem import nystroem_approximation

da = pytest.importorskip("dask.array")
import dask  # noqa: E402

import simkit.scale.dask as lazily  # noqa: E402
from simkit.scale import kernels  # noqa: E402
from simkit.statistics import median_distance  # noqa: E402

LINEAR = [
    "cka",
    "cka(estimator=unbiased)",
    "cka(estimator=lange)",
    "hsic",
    "hsic(estimator=unbiased)",
    "cca",
    "cca(summary=rho)",
    "svcca(threshold=0.9)",
    "pwcca",
    "linear_regression",
    "canonical_ridge(kappa_x=2.0, kappa_y=0.1, normalization=cauchy_schwarz)",
    "procrustes",
    "procrustes(alpha=0.5)",
    "mutual_information",
    "mmd",
    "bipartite_match",
    "semi_match",
    "soft_match",
    "maximum_match",
]
KERNELS = [
    "cka(kernel=rbf(fraction=0.5))",
    "cka(kernel=rbf, estimator=unbiased)",
    "cka(kernel=laplacian, estimator=lange)",
    "cka(kernel=cosine)",
    "hsic(kernel=polynomial)",
    "hsic(kernel=rbf(sigma=2.0), estimator=unbiased)",
    "distance_correlation",
]


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


# --- the same number, however the data are cut ---------------------------------------------------------------------------


def cuts(n):
    """Chunk sizes that add up to n: some of 1, some empty."""
    return st.lists(st.integers(0, n), max_size=8).map(lambda ends: tuple(np.diff([0, *sorted(ends), n]).tolist()))


def columns(p):
    return st.lists(st.integers(1, p - 1), max_size=3, unique=True).map(
        lambda ends: tuple(np.diff([0, *sorted(ends), p]).tolist())
    )


@pytest.mark.parametrize("index", LINEAR)
@given(x_rows=cuts(60), y_rows=cuts(60), x_columns=columns(7), y_columns=columns(5), seed=st.integers(0, 9))
def test_any_chunks(index, x_rows, y_rows, x_columns, y_columns, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 7)) + 100 * rng.standard_normal(7)
    y = x[:, :5] + rng.standard_normal((60, 5))
    lazy = simkit.compare(da.from_array(x, chunks=(x_rows, x_columns)), da.from_array(y, chunks=(y_rows, y_columns)), index)
    assert float(lazy.compute(scheduler="synchronous")) == pytest.approx(float(simkit.compare(x, y, index)), rel=1e-10)


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 16 examples, cut into parts of 7, so that 60 examples are many."""
    monkeypatch.setattr("simkit.planner._SMALL", 10)
    monkeypatch.setattr(kernels, "_ROWS", 16)
    monkeypatch.setattr(kernels, "_SIDE", 7)
    monkeypatch.setattr(kernels, "SIDE", 7)
    monkeypatch.setattr(kernels, "_FAN", 3)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("index", KERNELS)
def test_kernels_over_tiles(small_tiles, pair, index, dtype):
    x, y = (a.astype(dtype) for a in pair)
    for chunks in ((60, 7), (13, 3), ((0, 1, 59), 7)):
        lazy = simkit.compare(da.from_array(x, chunks=chunks), da.from_array(y, chunks=(25, 2)), index)
        assert any(str(key[0]).startswith("simkit-tile") for key in lazy.__dask_graph__() if isinstance(key, tuple))
        assert lazy.dtype == dtype
        truth = float(simkit.compare(x, y, index))
        assert float(lazy.compute(scheduler="synchronous")) == pytest.approx(
            truth, rel=1e-10 if dtype == "float64" else 1e-5
        )


def test_wide_layers_by_tiles(small_tiles, rng):
    x, y = rng.standard_normal((40, 90)), rng.standard_normal((40, 70))
    for index in ("cka", "cka(estimator=unbiased)", "cca", "procrustes"):
        lazy = simkit.compare(da.from_array(x, chunks=(7, 50)), da.from_array(y, chunks=(9, 70)), index)
        assert float(lazy) == pytest.approx(float(simkit.compare(x, y, index)), rel=1e-10)


def test_mixed_precision_over_tiles(small_tiles, pair):
    x, y = pair[0], pair[1].astype(np.float32)
    index = "cka(kernel=rbf(fraction=0.5))"
    lazy = simkit.compare(da.from_array(x, chunks=(13, 7)), da.from_array(y, chunks=(13, 5)), index)
    assert lazy.dtype == np.float64
    assert float(lazy) == pytest.approx(float(simkit.compare(x, y, index)), rel=1e-6)


@pytest.mark.parametrize("collected", [2**21, 200])
def test_the_median_is_exact(small_tiles, rng, collected, monkeypatch):
    """By counting, against a sort of all distances; also where they are too many to be collected at once."""
    monkeypatch.setattr(median_distance, "_ALL", 300)
    monkeypatch.setattr(median_distance, "_MOST", 300)
    monkeypatch.setattr(median_distance, "_FEWEST", 30)
    monkeypatch.setattr(median_distance, "_COLLECTED", collected)
    for n in (11, 12, 13, 40):
        x = rng.standard_normal((n, 2)) * rng.choice([1e-3, 1, 1e3], size=(n, 1))
        y = x[:, :1]
        i, j = np.triu_indices(n, 1)
        grams = []
        for z in (x, y):
            sigma = float(np.median(np.linalg.norm(z[i] - z[j], axis=1)))
            grams.append(simkit.get_kernel("rbf", sigma=sigma)(z, z))
        h = np.eye(n) - 1 / n
        expected = np.sum((h @ grams[0] @ h) * grams[1]) / (n - 1) ** 2
        found = simkit.compare(da.from_array(x), da.from_array(y), "hsic(kernel=rbf)").compute(scheduler="synchronous")
        assert float(found) == pytest.approx(expected, rel=1e-8)


def test_a_median_that_is_not_found_in_time(small_tiles, rng, monkeypatch):
    monkeypatch.setattr(median_distance, "_COLLECTED", 1)
    monkeypatch.setattr(kernels, "_PASSES", 1)
    x = da.from_array(rng.standard_normal((60, 5)))
    with pytest.raises(SimkitError, match=r"not found in 1 passes.*simkit\.bandwidth"):
        simkit.compare(x, x[:, :3], "cka(kernel=rbf)").compute(scheduler="synchronous")


def test_a_sampled_median(small_tiles, pair, monkeypatch):
    monkeypatch.setattr(kernels, "PAIRS", 220)  # of 1770
    x, y = map(da.from_array, pair)
    index = "cka(kernel=rbf(fraction=0.5))"
    exact = simkit.compare(x, y, index)
    with dask.config.set({"simkit.bandwidth": "sample"}):
        sampled = simkit.compare(x, y, index)
    with dask.config.set({"simkit.bandwidth": "sample", "simkit.seed": 1}):
        other = simkit.compare(x, y, index)
    assert len({exact.name, sampled.name, other.name}) == 3
    assert 0 < abs(float(sampled) - float(exact)) < 0.03
    assert float(sampled) != float(other)
    monkeypatch.setattr(kernels, "PAIRS", 250)  # too many to be worth it: each once
    with dask.config.set({"simkit.bandwidth": "sample"}):
        assert float(simkit.compare(x, y, index)) == pytest.approx(float(simkit.compare(*pair, index)), rel=1e-10)
    with dask.config.set({"simkit.bandwidth": "guess"}), pytest.raises(SpecError, match="simkit.bandwidth is 'guess'"):
        simkit.compare(x, y, index)


# --- accuracy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("condition", "error"), [(1e2, 1e-12), (1e4, 1e-11), (1e6, 1e-10), (1e8, 5e-9)])
def test_canonical_correlations_of_ill_conditioned_layers(rng, condition, error):
    """One pass, and yet as good as a QR decomposition: eps * condition^2 would be wrong by 2 at 1e8."""
    n, p = 3000, 16
    x = conditioned(n, p, condition, rng)
    q = np.linalg.qr(x)[0]
    rho = np.linspace(0.1, 0.999, p)
    y = q * rho + conditioned(n, p, 1.0, rng) * np.sqrt(1 - rho**2)
    y = (y @ orthogonal(p, rng) * np.geomspace(1, 1 / condition, p)) @ orthogonal(p, rng)
    truth = correlations(x, y)
    for chunks in (n, 500, 37):
        lazy = simkit.compare(da.from_array(x, chunks=(chunks, p)), da.from_array(y, chunks=(chunks, p)), "cca(summary=rho)")
        assert abs(float(lazy.compute(scheduler="synchronous")) - truth.mean()) < error


def correlations(x, y):
    """Canonical correlations, from QR decompositions in extended precision (modified Gram-Schmidt, twice)."""

    def basis(a):
        a = a.astype(np.longdouble)
        a = a - a.mean(axis=0)
        for _ in range(2):
            for k in range(a.shape[1]):
                a[:, k] /= np.sqrt(a[:, k] @ a[:, k])
                a[:, k + 1 :] -= np.outer(a[:, k], a[:, k] @ a[:, k + 1 :])
        return a

    return np.linalg.svd((basis(x).T @ basis(y)).astype(np.float64), compute_uv=False)


@pytest.mark.parametrize("index", ["cka", "cka(estimator=unbiased)", "cca", "linear_regression"])
def test_float32_with_a_large_mean(rng, index):
    x = rng.standard_normal((20_000, 6))
    y = x[:, :4] + rng.standard_normal((20_000, 4))
    x, y = (x + 1e4).astype(np.float32), (y - 1e4).astype(np.float32)
    lazy = simkit.compare(da.from_array(x, chunks=(3000, 6)), da.from_array(y, chunks=(3000, 4)), index)
    truth = float(simkit.compare(x.astype(np.float64), y.astype(np.float64), index))
    assert float(lazy) == pytest.approx(truth, rel=1e-4)


def test_nystroem_says_it_is_approximate_and_is(rng):
    x = rng.standard_normal((700, 3))
    y = x[:, :2] + 0.3 * rng.standard_normal((700, 2))
    kernel = "rbf(fraction=0.8)"
    truth = float(simkit.compare(x, y, f"cka(kernel={kernel})"))
    lazy = [nystroem_approximation(da.from_array(a, chunks=(200, 2)), kernel, landmarks=150, seed=3) for a in (x, y)]
    assert [a.shape for a in lazy] == [(700, 150)] * 2
    near = float(simkit.compare(*lazy))
    assert near == pytest.approx(truth, abs=0.01)
    eager = [nystroem_approximation(a, kernel, landmarks=150, seed=3) for a in (x, y)]
    assert float(simkit.compare(*eager)) == pytest.approx(near, rel=1e-8)
    everything = [nystroem_approximation(a, kernel, landmarks=700) for a in (x, y)]
    assert float(simkit.compare(*everything)) == pytest.approx(truth, abs=1e-6)


# --- each chunk is read once ----------------------------------------------------------------------------------------------


def test_each_chunk_is_read_once_for_all_pairs(pair, rng):
    layers = [Reads(a) for a in (*pair, rng.standard_normal((60, 4)))]
    arrays = [da.from_array(a, chunks=(20, a.shape[1])) for a in layers]
    for index in ("cka", "pwcca"):
        simkit.pairwise(arrays, index=index).to_numpy()
        assert [a.count for a in layers] == [3, 3, 3]
        simkit.pairwise(arrays[:2], arrays, index=index).to_numpy()  # two stand on both sides
        assert [a.count for a in layers] == [6, 6, 6]
        for a in layers:
            a.count = 0


def test_indexes_computed_together_read_once(pair):
    x, y = map(Reads, pair)
    arrays = da.from_array(x, chunks=(20, 7)), da.from_array(y, chunks=(20, 5))
    scores = dask.compute(*(simkit.compare(*arrays, index) for index in ("cka", "hsic", "cca", "linear_regression")))
    assert (x.count, y.count) == (3, 3)
    assert scores[2] == pytest.approx(float(simkit.compare(*pair, "cca")))


def test_rows_are_aligned_without_a_shuffle():
    """Each block of X meets at most three chunks of Y; the unified chunks of Dask would be 1600 fragments."""
    x, y = da.zeros((10**7, 8), chunks=(10_000, 8)), da.zeros((10**7, 8), chunks=(7_000, 8))
    graph = dict(simkit.compare(x, y).__dask_graph__())
    looked_at = x.numblocks[0] + y.numblocks[0]  # each chunk, whether it is what its array declares
    assert len(graph) < 8 * 1000 + looked_at
    aligned = lazily._aligned({"X": x, "Y": y}, 16)
    assert aligned["X"] is x
    assert aligned["Y"].chunks[0] == x.chunks[0]


def test_tiny_chunks_are_joined():
    blocks = lazily._aligned({"X": da.zeros((1000, 50), chunks=(1, 50))}, 50)
    assert 5 <= blocks["X"].numblocks[0] <= 25


@pytest.mark.parametrize("index", ["cka", "cca"])
def test_building_a_large_graph_is_quick(index):
    x, y = (da.zeros((20_000 * 1000, p), chunks=(1000, p), dtype="float32") for p in (64, 32))
    begin = time.process_time()
    lazy = simkit.compare(x, y, index)
    (optimised,) = dask.optimize(lazy)
    assert time.process_time() - begin < 6  # 2 s where nothing else runs
    assert len(dict(optimised.__dask_graph__())) < 21_500  # reading and reducing a block is one task


def test_numpy_inputs_do_not_mix(pair):
    x, y = pair
    with pytest.raises(MixedArraysError, match="numpy"):
        simkit.compare(da.from_array(x), y)
    with pytest.raises(MixedArraysError, match="dask"):
        simkit.pairwise({"x": x}, {"y": da.from_array(y)})


def test_tasks_hold_names_not_classes(pair):
    lazy = simkit.compare(*(da.zeros((100, 3), chunks=(10, 3)) for _ in range(2)), "svcca")
    graph = pickle.dumps(dict(lazy.__dask_graph__()))
    assert b"SVCCA" in graph
    assert b"Basis" not in graph


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_an_index_of_all_examples():
    x = da.zeros((1000, 3), chunks=(100, 3))
    with pytest.raises(NeedsAllExamplesError, match="needs all examples at once"):
        simkit.compare(x, x, "rsa")


def test_one_example():
    x = da.zeros((1, 3))
    with pytest.raises(InvalidArrayError, match="at least 2"):
        simkit.compare(x, x)


def test_unknown_features():
    x = da.ones((50, 4), chunks=(10, 4))
    with pytest.raises(InvalidArrayError, match="unknown number of features"):
        simkit.compare(x[:, x[0] > 0], x)


@pytest.mark.parametrize("index", ["cka", "cca", "cka(kernel=rbf)"])
def test_where_values_are_not_finite(small_tiles, pair, index):
    x, y = pair[0].copy(), pair[1]
    x[47, 3], x[50, 0] = np.inf, np.nan
    lazy = simkit.compare(da.from_array(x, chunks=(16, 4)), da.from_array(y, chunks=(16, 5)), index)
    with pytest.raises(InvalidArrayError, match=r"X has \d of \d+ values in rows \d+ to \d+ .* row (47|50), column"):
        lazy.compute()
    layers = {"x": da.from_array(x), "y": da.from_array(y), "c": da.ones((60, 2))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        values = simkit.pairwise(layers, index=index, check_finite=False).values.compute(scheduler="synchronous")
    assert np.isnan(values[[0, 2]]).all()
    assert np.isnan(values[:, [0, 2]]).all()
    assert values[1, 1] == pytest.approx(1)


def test_constant_input_warns(pair):
    with pytest.warns(ConstantInputWarning, match="X is constant: all 60 examples"):
        value = simkit.compare(da.ones((60, 2)), da.from_array(pair[1]), "cca").compute(scheduler="synchronous")
    assert np.isnan(value)


# --- memory ---------------------------------------------------------------------------------------------------------------

LIMITED = """
import resource, sys
import dask.array as da, numpy as np
import simkit, simkit.scale.dask

def random(n, p, chunk, seed=0):
    return da.random.default_rng(seed).standard_normal((n, p), chunks=(chunk, p), dtype="float32")

warm = simkit.compare(random(5000, 4, 1000), random(5000, 4, 1000), sys.argv[4]).compute()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(float(sys.argv[5])), resource.RLIM_INFINITY))
n, p, chunk = map(int, sys.argv[1:4])
x = random(n, p, chunk)
y = x + random(n, p, chunk, seed=1)
print(float(simkit.compare(x, y, sys.argv[4])))
try:
    x.compute()
except MemoryError:
    print("the data do not fit")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("n", "p", "chunk", "index", "limit"),
    [
        (1_000_000, 64, 8192, "cka", 160e6),  # two layers of 256 MB each
        (1_000_000, 64, 8192, "cca", 160e6),
        (16_000, 16, 4000, "cka(kernel=rbf(sigma=4.0))", 300e6),  # two Gram matrices of 1 GB each
    ],
)
def test_a_hard_limit_of_memory(n, p, chunk, index, limit):
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, (n, p, chunk, index, limit))],
        capture_output=True,
        text=True,
        check=False,
        env={"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    score, *fits = done.stdout.splitlines()
    assert 0.3 < float(score) < 0.8
    if "rbf" not in index:
        assert fits == ["the data do not fit"]


# --- sizes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["cka", "cka(estimator=unbiased)", "cca", "cka(kernel=rbf)"])
def test_dask_knows_how_large_a_state_is(rng, spec):
    """A worker that takes a state of 100 kB for 8 bytes moves the wrong things and never spills."""
    from dask.sizeof import sizeof

    x = rng.standard_normal((6000, 100))
    lazy = simkit.compare(da.from_array(x, chunks=(3000, 100)), da.from_array(x[:, :20] ** 2, chunks=(3000, 20)), spec)
    graph = dict(lazy.__dask_graph__())
    keys = [key for key in graph if str(key[0] if isinstance(key, tuple) else key).startswith("simkit-")]
    states = dask.get(graph, keys)
    sizes = [sizeof(state) for state in states]
    floats = 120 * 120 if "rbf" not in spec else 2 * 2 * 6000  # the scatter matrix; row sums and diagonals of two layers
    # The data; or the distances of two layers among which the median is.
    others = 6000 * 120 if "rbf" not in spec else 2 * median_distance._COLLECTED // 2
    assert 8 * floats < max(sizes) < 8 * floats * 2 + 8 * others
    if "rbf" not in spec:
        assert sum(size > 8 * floats for size in sizes) >= 3  # of two chunks and of both together
