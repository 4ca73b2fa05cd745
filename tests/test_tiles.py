"""HSIC over tiles: the sums, the scores and the median distance are those of whole Gram matrices."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc

import definitions
import numpy as np
import pytest
from data import OWN_INDEXES, pair
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit import threads
from simkit.errors import ConstantInputWarning, InvalidArrayError, NeedsAllExamplesError, SpecError
from simkit.kernels import RBF
from simkit.kernels._blocks import blocks_of, rows_for
from simkit.kernels._of_distances import is_of_distances
from simkit.linalg import products
from simkit.linalg.points import Points
from simkit.linalg.selection import few_of
from simkit.scale import blocks
from simkit.statistics import median_distance as median_module
from simkit.statistics.hsic_sums import estimate
from simkit.statistics.kernel_sums import BlockSums, FittedKernel, KernelSums, block_pairs, sums_over
from simkit.statistics.median_distance import Counts, Search, counts_over, fitted, median_distance
from simkit.statistics.values import ValueCheck

SPECS = [
    "cka(kernel=rbf(fraction=0.4))",
    "cka(kernel=rbf, estimator=unbiased)",
    "hsic(kernel=rbf(sigma=2.0), estimator=lange)",
    "cka(kernel=laplacian, estimator=lange)",
    "hsic(kernel=polynomial)",
    "hsic(kernel=polynomial, estimator=unbiased)",
    "cka(kernel=cosine)",
    "hsic(kernel=linear, estimator=unbiased)",
]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 7 x 7, so that a few examples make many of them."""
    monkeypatch.setattr(blocks, "_SIDE", 7)
    monkeypatch.setattr(median_module, "SIDE", 7)
    monkeypatch.setattr(products, "_ENTRIES", 20)


def score_tiles(index, data, rows, columns):
    sides = ({name: data[name] for name in names} for names in (rows, columns))
    return simkit.pairwise(*sides, index, tiles="exact").values


def layers(n=40):
    X, Y = pair(n, 5, 4)
    return {"x": X, "y": Y, "z": np.tanh(X[:, :3])}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("n", [4, 7, 8, 40])
def test_scores_over_tiles_are_those_in_memory(spec, n, small_blocks):
    data = layers(n)
    found = score_tiles(simkit.get_index(spec), data, ["x", "y", "z"], ["y", "x"])
    expected = simkit.pairwise(data, {name: data[name] for name in ("y", "x")}, spec).values
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_every_index_of_hsic_sums_goes_by_tiles(small_blocks):
    """Also those that were added after this file was written."""
    data, found = layers(), []
    for name in OWN_INDEXES:
        index = simkit.get_index(name)
        if index.facts.statistic == "hsic sums":
            expected = simkit.compare(data["x"], data["y"], index)
            np.testing.assert_allclose(score_tiles(index, data, ["x"], ["y"])[0, 0], expected, rtol=1e-10)
            found.append(name)
    assert {"cka", "hsic"} <= set(found)
    with pytest.raises(NeedsAllExamplesError, match="not a function of HSIC sums"):
        score_tiles(simkit.get_index("cca"), data, ["x"], ["y"])


@pytest.mark.parametrize("spec", ["cka(kernel=rbf, estimator=unbiased)", "hsic(kernel=polynomial)"])
@pytest.mark.parametrize("numpy", [True, False])
def test_every_library(spec, backend, small_blocks, numpy, monkeypatch):
    """By NumPy, which takes over what lies in the memory of the host, and in the operations of the library."""
    if not numpy:
        monkeypatch.setattr(simkit.comparison, "_is_for_numpy", lambda *asked: False)
    data = {name: backend.asarray(x) for name, x in layers(20).items()}
    found = score_tiles(simkit.get_index(spec), data, ["x", "y"], ["y"])
    assert type(found) is type(data["x"])
    expected = simkit.pairwise(layers(20), {"y": layers(20)["y"]}, spec).values[:2]
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-10)


@given(cuts=st.lists(st.integers(1, 39), max_size=5, unique=True), order=st.randoms())
def test_tiles_of_any_blocks_merge_in_any_order(cuts, order):
    """What a cluster does: tiles i <= j of uneven blocks, merged as they come."""
    data = [layers()[name] - layers()[name].mean(axis=0) for name in ("x", "y")]
    kernels = [RBF(sigma=1.5), RBF(sigma=2.5)]
    # Any numbers will do.
    offsets = [0.5 * FittedKernel.of(k, few_of(x)).offsets(x, 40) for k, x in zip(kernels, data, strict=True)]
    edges = [0, *sorted(cuts), 40]
    chunks = list(itertools.pairwise(edges))
    found = []
    for i, (a, b) in enumerate(chunks):
        for j, (c, d) in enumerate(chunks):
            if i <= j:
                cut = [slice(a, b)] if i == j else [slice(a, b), slice(c, d)]
                makers = [blocks_of(k, *rows_for(k, *(x[s] for s in cut))) for k, x in zip(kernels, data, strict=True)]
                sides = [g[a:b] for g in offsets], [g[c:d] for g in offsets]
                parts = block_pairs(b - a, None if i == j else d - c, 7)
                found.append(sums_over(parts, makers, sides, start=(a, c), itself=i == j))
    order.shuffle(found)
    half = len(found) // 2  # a tree of merges
    merged = BlockSums.merged([BlockSums.merged(part) for part in (found[:half], found[half:]) if part])
    sums = KernelSums.finished(
        ValueCheck.of(dict(zip("xy", data, strict=True)))[0], ("x", "y"), merged, [np.asarray(1.0)] * 2, [0.0] * 2
    )
    K, L = (
        definitions.rbf(x, sigma=k.sigma) - g[:, None] - g[None, :] for x, k, g in zip(data, kernels, offsets, strict=True)
    )
    grams = [K, L]
    off = [gram - np.diag(np.diag(gram)) for gram in grams]
    for a in range(2):
        np.testing.assert_allclose(sums.rows[a], off[a].sum(axis=1), atol=1e-11)
        np.testing.assert_allclose(sums.diagonal[a], np.diag(grams[a]), atol=1e-13)
        for b in range(2):
            np.testing.assert_allclose(sums.inner[a, b], np.sum(off[a] * off[b]), rtol=1e-11)
    for estimator, by_definition in definitions.HSIC.items():
        for of_pair, a, b in zip(sums.sums("x", "y", estimator), (0, 0, 1), (1, 0, 1), strict=True):
            expected = by_definition(grams[a], grams[b])
            np.testing.assert_allclose(estimate(of_pair, estimator)[0, 0], expected, rtol=1e-10)


def test_float32_sums_over_millions_of_entries():
    """Where float32 sums over whole Gram matrices lose three digits, sums of blocks lose none."""
    X, Y = pair(3000, 6, 5, dtype=np.float32)
    data = {"x": X, "y": Y}
    exact = {name: x.astype(np.float64) for name, x in data.items()}
    for spec in ("cka(kernel=rbf(sigma=30.0), estimator=unbiased)", "cka(kernel=rbf)"):
        index = simkit.get_index(spec)
        found = score_tiles(index, data, ["x"], ["y"])[0, 0]
        assert found.dtype == np.float32
        assert abs(found / score_tiles(index, exact, ["x"], ["y"])[0, 0] - 1) < 2e-5


def test_memory_is_that_of_rows_not_of_gram_matrices():
    X, Y = pair(6000, 8, 8, dtype=np.float32)
    index = simkit.get_index("cka(kernel=rbf)")
    tracemalloc.start()
    score_tiles(index, {"x": X, "y": Y}, ["x"], ["y"])
    _, high = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert high < 20 * 2**20  # one Gram matrix would take 144 MB


KERNELS = [
    "rbf(fraction=0.4)",
    "rbf(sigma=2.5)",
    "laplacian",
    "laplacian(sigma=3.0)",
    "distance",
    "cosine",
    "polynomial(degree=5)",
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_blocks_are_parts_of_the_kernel_matrix(kernel, small_blocks):
    """Of one layer with itself, of two parts of it, and of kept distances; and the rows are not written to."""
    X = pair(20, 5, 4)[0]
    X.setflags(write=False)
    kernel = fitted(simkit.get_kernel(kernel), X)
    whole = kernel(X, X)
    makers = [blocks_of(kernel, *rows_for(kernel, X)), blocks_of(kernel, *rows_for(kernel, X, X))]
    if is_of_distances(kernel):
        makers.append(blocks_of(kernel, Points.of(X).kept(block_pairs(20, None, 7))))
    for made in makers:
        for a, b in block_pairs(20, None, 7):
            np.testing.assert_allclose(made(a, b), whole[a, b], rtol=1e-12, atol=1e-7 if kernel.name == "distance" else 0)
    for a, _ in block_pairs(20, None, 7):
        np.testing.assert_array_equal(np.diagonal(Points.of(X).blocks()(a, a)), 0)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_distances_out_of_range_are_in_range_in_a_unit(size):
    X = pair(20, 5, 4)[0]
    kernel = simkit.kernels.RBF(sigma=2.0 * size)
    expected = definitions.rbf(X, sigma=2.0)
    itself = blocks_of(kernel, *rows_for(kernel, X * size))
    np.testing.assert_allclose(itself(slice(0, 9), slice(9, 20)), expected[:9, 9:], rtol=1e-12)
    others = blocks_of(kernel, *rows_for(kernel, X[:9] * size, X[9:] * size))
    np.testing.assert_allclose(others(slice(0, 9), slice(0, 11)), expected[:9, 9:], rtol=1e-12)
    np.testing.assert_allclose(median_distance(X * size) / size, definitions.median_distance(X), rtol=1e-12)


def test_distances_are_computed_once_where_there_is_room(small_blocks, monkeypatch):
    """For the median and for the kernel; and twice in less memory where there is not, with the same score."""
    data, products = layers(), []
    made = Points.left
    monkeypatch.setattr(threads, "_cores", lambda: 1)  # each thread computes its own left sides
    monkeypatch.setattr(Points, "left", lambda self, *part: products.append(self.n) or made(self, *part))
    # 40 examples of each layer, 7 at a time; and all at once for the offsets.
    spec, all_rows, offsets = "cka(kernel=rbf)", 3 * 6, 3
    expected = simkit.pairwise(data, index=spec)
    found = simkit.pairwise(data, index=spec, tiles="exact")
    assert len(products) == all_rows + offsets
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-11)
    products.clear()
    monkeypatch.setattr(blocks, "KEPT", 0)
    again = simkit.pairwise(data, index=spec, tiles="exact")
    assert len(products) == 2 * all_rows + offsets
    np.testing.assert_allclose(again.values, found.values, rtol=1e-12)


def test_kept_distances_take_half_a_matrix_of_each_layer():
    X, Y = pair(1500, 8, 8, dtype=np.float32)
    tracemalloc.start()
    simkit.compare(X, Y, "cka(kernel=rbf)", tiles="exact")
    _, high = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert high < 14 * 2**20  # two whole ones would take 18 MB


def test_a_constant_layer_is_undefined():
    data = layers() | {"y": np.full((40, 2), 0.3)}
    with pytest.warns(ConstantInputWarning):
        values = score_tiles(simkit.get_index("hsic(kernel=polynomial)"), data, ["x", "y"], ["x"])
    np.testing.assert_array_equal(np.isnan(values), [[False], [True]])


# --- the median distance ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 7, 29, 60])
@pytest.mark.parametrize("collect", [2**21, 20, 1])
def test_the_median_is_exact(n, collect, small_blocks, monkeypatch):
    """Odd and even numbers of pairs; however little may be collected, and so however many passes it takes."""
    monkeypatch.setattr(median_module, "_COLLECTED", collect)
    monkeypatch.setattr(median_module, "_ALL", 400)
    monkeypatch.setattr(median_module, "_MOST", 400)
    monkeypatch.setattr(median_module, "_FEWEST", 20)
    X = pair(n, 5, 4, seed=n)[0]
    median = median_distance(X)
    np.testing.assert_allclose(median, definitions.median_distance(X), rtol=1e-12)


@pytest.mark.parametrize(
    "values", [[0.0], [0.0, 1.0], [0.0] * 9 + [1.0], [0.0] * 6 + [1.0] * 3, [0.0, 1.0, 1.0 + 1e-15, 5.0]]
)
def test_the_median_of_many_equal_distances(values, small_blocks, monkeypatch):
    monkeypatch.setattr(median_module, "_COLLECTED", 5)
    X = np.array([values[i % len(values)] for i in range(40)])[:, None]
    if len(values) == 9:
        X = X[:9]  # 18 of 36 distances are 0, the others 1
    np.testing.assert_allclose(median_distance(X), definitions.median_distance(X), rtol=1e-12)


def test_a_bracket_that_misses_the_median_is_widened(small_blocks):
    X = pair(41, 5, 4)[0]
    squares = sorted(definitions.distances(X)[np.triu_indices(41, 1)] ** 2)
    for low, high in ((0.0, 1e-9), (1e9, 2e9), (squares[409], squares[410]), (squares[409] - 1e-9, squares[409] + 1e-9)):
        search = Search(820, low, high)
        for _ in range(10):
            if search.found is None:
                search = search.after(counts_over(block_pairs(41, None, 7), Points.of(X).blocks(), search))
        np.testing.assert_allclose(search.found, squares[409:411], rtol=1e-12)


def test_distances_that_are_nan_have_no_median():
    X = pair(30, 5, 4)[0]
    X[:16] = np.nan  # most pairs
    assert np.isnan(median_distance(X))
    assert np.isfinite(median_distance(X[16:]))
    assert np.isnan(Search.of(435).after(Counts(0, 0, [], np.inf)).median(X[0, 0]))


@pytest.mark.parametrize("method", ["exact", "sample"])
def test_the_median_on_every_library(method, backend, small_blocks):
    X = pair(30, 4, 3)[0]
    median = median_distance(backend.asarray(X), method=method, pairs=5000)
    expected = definitions.median_distance(X)
    tolerance = 1e-12 if method == "exact" else 0.05
    np.testing.assert_allclose(backend.to_numpy(median), expected, rtol=tolerance)


@pytest.mark.parametrize("n", [2, 3, 12, 40])
def test_a_sample_of_no_fewer_pairs_than_there_are_takes_each_once(n):
    X, Y = pair(n, 5, 4)
    everything = n * (n - 1) // 2
    for pairs in (everything, everything + 1, 10**6):
        median = median_distance(X, method="sample", pairs=pairs)
        np.testing.assert_allclose(median, definitions.median_distance(X), rtol=1e-12)
    expected = definitions.cka(X, Y, "rbf", fraction=0.4)
    assert simkit.compare(X, Y, "cka(kernel=rbf(fraction=0.4))", tiles="sample") == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [100, 101])
def test_the_sample_keeps_its_stated_error(n):
    """The share of distances below the sampled median has at most the stated standard deviation, also of data in groups."""
    X = pair(n, 5, 4)[0] + np.repeat([[0.0], [30.0]], [n // 3, n - n // 3], axis=0)
    distances = np.sort(definitions.distances(X)[np.triu_indices(n, 1)])
    shares = []
    for seed in range(200):
        median = median_distance(X, method="sample", pairs=400, seed=seed)
        shares.append(np.searchsorted(distances, median) / len(distances))
    assert 0.25 / np.sqrt(400) < np.std(shares) < 1.1 * 0.5 / np.sqrt(400)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.01)
    assert median_distance(X, method="sample", seed=1) == median_distance(X, method="sample", seed=1)


def test_a_sample_that_would_take_longer_than_all_distances_is_not_drawn(monkeypatch):
    monkeypatch.setattr(median_module, "_sampled_squares", lambda points, pairs, seed: pytest.fail("a sample was drawn"))
    X = pair(60, 5, 4)[0]  # 1770 pairs
    np.testing.assert_allclose(median_distance(X, method="sample", pairs=400), definitions.median_distance(X), rtol=1e-12)


@pytest.mark.parametrize("n", [8, 9, 21])
def test_sampled_pairs_are_different_and_each_example_is_in_as_many(n):
    """Squared distances of powers of two tell which pairs they are of."""
    X = 2.0 ** np.arange(n)[:, None]
    squares = median_module._sampled_squares(Points.of(X, np.float64(2.0 ** (n // 2))), 3 * n, seed=1) * 4.0 ** (n // 2)
    pairs = {(X[j, 0] - X[i, 0]) ** 2: (i, j) for i in range(n) for j in range(i + 1, n)}
    found = [pairs[min(pairs, key=lambda known: abs(known - square))] for square in squares]
    assert len(found) == len(set(found)) >= min(3, (n - 1) // 2) * n
    np.testing.assert_array_equal(np.bincount(np.ravel(found)), 2 * len(found) // n)


def test_kernels_are_fitted_once_and_by_choice():
    X = pair(50, 5, 4)[0]
    assert fitted(RBF(fraction=0.4), X).sigma == pytest.approx(0.4 * definitions.median_distance(X), rel=1e-12)
    sampled = fitted(RBF(fraction=0.4), X, bandwidth="sample").sigma
    assert sampled == pytest.approx(0.4 * definitions.median_distance(X), rel=0.01)
    assert fitted(RBF(sigma=2.0), X).sigma == 2.0
    assert fitted(simkit.get_kernel("linear"), X) == simkit.get_kernel("linear")
    assert np.isnan(fitted(RBF(), np.repeat(X[:2] - X[0], [49, 1], axis=0)).sigma)  # most examples coincide


def test_a_subclass_of_the_linear_kernel_is_what_it_computes():
    """Feature space is for x'y alone, and a subclass may compute something else."""

    @dataclasses.dataclass(frozen=True)
    class Cubed(simkit.kernels.Linear):
        name = "cubed"

        def __call__(self, X, Y):
            return (X @ Y.mT) ** 3

    x, y = layers()["x"], layers()["y"]
    h = np.eye(len(x)) - 1 / len(x)
    k, l = (h @ ((h @ z) @ (h @ z).T) ** 3 @ h for z in (x, y))
    expected = np.sum(k * l) / np.linalg.norm(k) / np.linalg.norm(l)
    assert simkit.compare(x, y, "cka", kernel=Cubed()) == pytest.approx(expected, rel=1e-10)
    da = pytest.importorskip("dask.array")
    lazy = simkit.compare(da.from_array(x, chunks=(7, 2)), da.from_array(y, chunks=(7, 2)), "cka", kernel=Cubed())
    assert float(lazy) == pytest.approx(expected, rel=1e-10)


# --- for the user ---------------------------------------------------------------------------------------------------------


def test_compare_and_pairwise_by_tiles(small_blocks):
    data = layers()
    for spec in ("cka(kernel=rbf(fraction=0.4), estimator=unbiased)", "hsic(kernel=laplacian)"):
        expected = simkit.pairwise(data, index=spec)
        assert simkit.compare(data["x"], data["y"], spec, tiles="exact") == pytest.approx(
            float(expected["x", "y"]), rel=1e-11
        )
        found = simkit.pairwise(data, index=spec, tiles="exact")
        np.testing.assert_allclose(found.values, expected.values, rtol=1e-11)
        both = simkit.pairwise(data, {"x": data["y"]}, spec, tiles="exact")
        np.testing.assert_allclose(both.values[:, 0], expected.values[:, 1], rtol=1e-11)
        assert (found.rows, found.columns, found.n, both.columns) == (("x", "y", "z"), ("x", "y", "z"), 40, ("x",))
    near = simkit.compare(data["x"], data["y"], "cka(kernel=rbf)", tiles="sample")
    assert near == pytest.approx(float(simkit.compare(data["x"], data["y"], "cka(kernel=rbf)")), rel=0.01)


def test_tiles_are_for_kernels_in_memory():
    data = layers()
    with pytest.raises(NeedsAllExamplesError, match="not a function of HSIC sums"):
        simkit.compare(data["x"], data["y"], "cca", tiles="exact")
    with pytest.raises(SpecError, match="tiles='approximate'; expected one of exact, sample"):
        simkit.compare(data["x"], data["y"], "cka", tiles="approximate")
    da = pytest.importorskip("dask.array")
    with pytest.raises(InvalidArrayError, match="tile by tile anyway"):
        simkit.compare(da.from_array(data["x"]), da.from_array(data["y"]), "cka(kernel=rbf)", tiles="exact")


# --- as a statistic -------------------------------------------------------------------------------------------------------


def sums_of(data, spec="rbf"):
    return blocks.kernel_sums(simkit.get_kernel(spec), data, ValueCheck.of(data)[0])


def test_kernel_sums_are_written_to_plain_arrays_and_read_again():
    data = layers() | {"flat": np.ones((40, 2))}
    sums, index = sums_of(data), simkit.get_index("cka(kernel=rbf, estimator=unbiased)")
    assert (sums.names, sums.defined) == (("x", "y", "z", "flat"), ("x", "y", "z"))
    expected = sums.scores(index, ["x", "z"], ["y"])
    for other in (KernelSums.from_arrays(sums.to_arrays()), sums.without_arrays().with_arrays(sums.arrays, data["x"])):
        np.testing.assert_array_equal(other.scores(index, ["x", "z"], ["y"]), expected)
    assert sums_of({"flat": data["flat"]}).defined == ()


def test_kernel_sums_of_all_examples_are_not_those_of_batches():
    sums = sums_of(layers())
    assert KernelSums.merged([sums]) is sums
    with pytest.raises(NeedsAllExamplesError, match="tiles='exact'"):
        KernelSums.merged([sums, sums])
    with pytest.raises(NeedsAllExamplesError, match="tiles='exact'"):
        sums.extended(layers(), sums.values)


def test_layers_out_of_range_are_named():
    data = layers()
    assert sums_of(data | {"x": data["x"] * 1e30}, "linear").out_of_range(np.float32) == ["x"]
