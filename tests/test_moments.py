"""Mergeable moments against sums written out over all examples, and HSIC from them against HSIC in memory."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc

import numpy as np
import pytest
from data import pair
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError, NeedsAllExamplesError
from simkit.linalg import scatter
from simkit.planner import Question, plan
from simkit.scale.batches import Batches
from simkit.scoring import scores
from simkit.sides import Sides
from simkit.statistics.moments import Moments

LINEAR = [f"{name}(estimator={e})" for name in ("cka", "hsic") for e in ("biased", "unbiased", "lange")]


def layers(n=60, seed=0, dtype=np.float64):
    X, Y = pair(n, 5, 4, seed, dtype=dtype)
    return {"x": X, "y": Y, "z": np.tanh(X[:, :3] + Y[:, :3])}


def batched(data, sizes, **options):
    """Moments of the examples in batches of the given sizes, the rest in one."""
    batches, start = Batches(Moments, options), 0
    n = data["x"].shape[0]
    for size in [*sizes, n]:
        batches.add({name: x[start : min(start + size, n), :] for name, x in data.items()}, dict.fromkeys(data, 0.0))
        start = min(start + size, n)
    return batches.statistic


def needed(index):
    """The options of the moments of an index."""
    chosen = plan(Question(index, "batches", None, (1,), (1,)))
    assert chosen.statistic is Moments
    return chosen.options


def scored(spec, moments, rows, columns):
    """What the one way out says of all pairs."""
    sides = Sides("layers of two", tuple(rows), tuple(columns))
    called = zip((*sides.row_names, *sides.column_names), (*rows, *columns), strict=True)
    return scores(simkit.get_index(spec), moments, sides, dict(called))


def by_definition(data):
    """Count, mean, scatter, sums of a_k z and of a_k a_l, about the mean of all examples, one example at a time."""
    Z = np.concatenate(list(data.values()), axis=1).astype(np.float64)
    mean = Z.sum(axis=0) / len(Z)
    ends = np.cumsum([0, *(x.shape[1] for x in data.values())])
    scatter, third, fourth = np.zeros((len(mean),) * 2), np.zeros((len(data), len(mean))), np.zeros((len(data),) * 2)
    for row in Z:
        z = row - mean
        a = np.array([z[i:j] @ z[i:j] for i, j in itertools.pairwise(ends)])
        scatter += np.outer(z, z)
        third += np.outer(a, z)
        fourth += np.outer(a, a)
    return len(Z), mean, scatter, third, fourth


def assert_moments(moments, data, relative=1e-12):
    n, *expected = by_definition(data)
    assert moments.n == n
    found = [moments.mean, moments.scatter, moments.third, moments.fourth]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=relative * np.abs(theirs).max())


@given(sizes=st.lists(st.integers(0, 25), max_size=12), offset=st.sampled_from([0.0, 3.0, 100.0]))
def test_any_batches_give_the_sums_of_all_examples(sizes, offset):
    data = {name: x + offset for name, x in layers().items()}
    assert_moments(batched(data, sizes, third_order=True), data, 1e-11)


@given(cuts=st.lists(st.integers(0, 60), max_size=5), order=st.randoms())
def test_states_merge_in_any_order_to_the_sums_of_all_examples(cuts, order):
    data = layers()
    edges = sorted([0, *cuts, 60])
    parts = [Moments.of({name: x[a:b] for name, x in data.items()}, third_order=True) for a, b in itertools.pairwise(edges)]
    parts.append(Moments.of({name: x[:0] for name, x in data.items()}, third_order=True))  # one without examples
    order.shuffle(parts)
    while len(parts) > 1:  # a random tree
        a, b = parts.pop(order.randrange(len(parts))), parts.pop(order.randrange(len(parts)))
        before = a.n, b.n
        parts.append(Moments.merged([a, b]))
        assert (a.n, b.n) == before
    assert_moments(parts[0], data)


@pytest.mark.backends("numpy:readonly", "torch", "jax", "array_api_strict")
def test_no_batch_and_no_state_is_written_to(backend):
    """Batches of more rows than a block, whose slices an in-place operation would reach."""
    data = {name: np.tile(x, (80, 1)) for name, x in layers().items()}
    one = {"x": backend.asarray(data["x"])}
    Moments.of(one)
    np.testing.assert_array_equal(backend.to_numpy(one["x"]), data["x"])
    a, b = (Moments.of({name: backend.asarray(x[s]) for name, x in layers().items()}) for s in (slice(0, 9), slice(9, 60)))
    before = [np.array(backend.to_numpy(m.scatter)) for m in (a, b)]
    Moments.merged([a, b])
    Moments.merged([Moments.merged([a]), b], reuse=True)
    for moments, expected in zip((a, b), before, strict=True):
        np.testing.assert_array_equal(backend.to_numpy(moments.scatter), expected)
    Moments.merged([a, b], reuse=True)
    np.testing.assert_array_equal(backend.to_numpy(b.scatter), before[1])


def test_merging_leaves_both_states_as_they_were():
    data = layers()
    a = Moments.of({name: x[:30] for name, x in data.items()}, third_order=True)
    b = Moments.of({name: x[30:] for name, x in data.items()}, third_order=True)
    scatter = a.scatter.copy(), b.scatter.copy()
    merged = Moments.merged([Moments.merged([a, b]), b])
    assert merged.n == 90
    for part, before in zip((a, b), scatter, strict=True):
        np.testing.assert_array_equal(part.scatter, before)
    assert_moments(Moments.merged([a, b], reuse=True), data)
    assert not np.shares_memory(Moments.merged([a]).joint, a.joint)


def test_the_memory_of_a_batch_may_be_used_again():
    data = layers()
    buffer = {name: np.empty((10, x.shape[1])) for name, x in data.items()}
    batches = Batches(Moments, {"third_order": True})
    for start in range(0, 60, 10):
        for name, x in data.items():
            buffer[name][:] = x[start : start + 10]
        batches.add(buffer, dict.fromkeys(buffer, 0.0))
    assert_moments(batches.statistic, data)


@pytest.mark.parametrize("spec", ["cka(estimator=unbiased)", "hsic"])
def test_indexes_from_moments_are_those_in_memory(spec, backend):
    data = layers(200)
    index = simkit.get_index(spec)
    here = {name: backend.asarray(x) for name, x in data.items()}
    found = scored(index, batched(here, [1, 0, 89], **needed(index)), ["x", "y", "z"], ["x", "y"])
    assert type(found) is type(here["x"])
    assert found.dtype == backend.dtype("float64")
    expected = np.asarray(simkit.pairwise(data, {name: data[name] for name in ("x", "y")}, index).values)
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spec", LINEAR)
def test_moments_are_enough(spec):
    """One pair alone, one pair among others, and a layer with itself."""
    data, index = layers(), simkit.get_index(spec)
    moments = Moments.of(data, **needed(index))
    for a, b in (("x", "y"), ("z", "x"), ("y", "y")):
        expected = simkit.compare(data[a], data[b], index)
        np.testing.assert_allclose(scored(index, moments, [a], [b])[0, 0], expected, rtol=1e-10)


def test_more_features_than_examples():
    X, Y = pair(20, 30, 25)
    moments = Moments.of({"x": X, "y": Y}, third_order=True)
    for spec in ("cka", "cka(estimator=unbiased)"):
        index = simkit.get_index(spec)
        np.testing.assert_allclose(scored(index, moments, ["x"], ["y"]), simkit.compare(X, Y, index), rtol=1e-9)


# --- accuracy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4])
def test_large_means_in_float32(offset):
    """Mean 1e4, standard deviation 1: relative errors of 1e-7, where raw moments in float32 are wrong by 1e5."""
    X, Y = (x + np.float32(offset) for x in pair(20_000, 8, 6, dtype=np.float32))
    moments = batched({"x": X, "y": Y}, [777] * 25)
    Z = np.concatenate([X, Y], axis=1).astype(np.float64)
    Z -= Z.mean(axis=0)
    error = np.linalg.norm(moments.scatter - Z.T @ Z) / np.linalg.norm(Z.T @ Z)
    assert error < 1e-6
    X, Y = Z[:, :8], Z[:, 8:]
    cka = np.linalg.norm(X.T @ Y) ** 2 / (np.linalg.norm(X.T @ X) * np.linalg.norm(Y.T @ Y))
    found = scored("cka", moments, ["x"], ["y"])[0, 0]
    assert found.dtype == np.float32
    assert abs(found / cka - 1) < 2e-7


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e25])
def test_very_small_and_very_large_float32_layers(scale):
    """Their squares leave the range of float32; products of scaled columns do not."""
    X, Y = pair(100, 5, 4, dtype=np.float32)
    expected = scored("cka(estimator=unbiased)", Moments.of({"x": X, "y": Y}, third_order=True), "x", "y")
    moments = Moments.of({"x": X * np.float32(scale), "y": Y}, third_order=True)
    found = scored("cka(estimator=unbiased)", moments, "x", "y")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("place", [0, 30])
def test_no_example_is_special(backend, dtype, place):
    """An outlier leaves of the others what centring leaves, in the first row as anywhere; constant units stay constant."""
    data = layers(60, dtype=dtype)
    data["x"][place] = 1e8
    data["y"][:, 2] = 0.1
    expected = Moments.of(data, third_order=True)
    moments = Moments.of({name: backend.asarray(x) for name, x in data.items()}, third_order=True)
    scatter = backend.to_numpy(moments.scatter)
    assert not scatter[7].any()
    Z = np.concatenate(list(data.values()), axis=1).astype(np.float64)
    Z -= Z.mean(axis=0)
    sizes = np.linalg.norm(Z, axis=0) + (np.ptp(Z, axis=0) == 0)
    error = np.abs(scatter - Z.T @ Z) / sizes[:, None] / sizes[None, :]
    assert error.max() < (1e-5 if dtype == np.float32 else 1e-13)
    assert not expected.scatter[7].any()


# --- plain arrays -------------------------------------------------------------------------------------------------------


def test_plain_arrays_and_back(backend):
    data = {name: backend.asarray(x) for name, x in layers().items()}
    half = Moments.of({name: x[:25, :] for name, x in data.items()}, third_order=True)
    read = Moments.from_arrays(half.to_arrays(), like=data["x"])
    assert type(read.scatter) is type(data["x"])
    whole = Moments.merged([read, Moments.of({name: x[25:, :] for name, x in data.items()}, third_order=True)], reuse=True)
    found, expected = (
        scored("cka(estimator=unbiased)", m, ["x"], ["y"]) for m in (whole, Moments.of(data, third_order=True))
    )
    np.testing.assert_allclose(backend.to_numpy(found), backend.to_numpy(expected), rtol=1e-12)
    here = pickle.loads(pickle.dumps(Moments.from_arrays(half.to_arrays())))
    assert_moments(here, {name: x[:25] for name, x in layers().items()})


# --- complaints ---------------------------------------------------------------------------------------------------------


def test_what_moments_cannot_do():
    data = layers()
    with pytest.raises(NeedsAllExamplesError, match="third_order=True"):
        scored("cka(estimator=unbiased)", Moments.of(data), ["x"], ["y"])
    with pytest.raises(NeedsAllExamplesError, match="not a function of HSIC sums"):
        scored("cca", Moments.of(data), ["x"], ["y"])


def test_values_that_are_not_finite_travel_with_the_state(backend):
    data = {name: x.copy() for name, x in layers().items()}
    data["x"][3, 1], data["x"][40, 0], data["z"][5, 2] = np.nan, np.inf, -np.inf
    here = {name: backend.asarray(x) for name, x in data.items()}
    parts = [Moments.of({name: x[a:b, :] for name, x in here.items()}) for a, b in ((0, 30), (30, 60))]
    whole = Moments.merged(parts)
    with pytest.raises(InvalidArrayError, match="2 in x, 1 in z"):
        whole.values.check(2)
    found = backend.to_numpy(scored("cka", whole, ["x", "y"], ["y", "z"]))
    np.testing.assert_array_equal(np.isnan(found), [[True, True], [False, True]])
    assert found[1, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("spec", ["cka", "hsic", "cka(estimator=unbiased)"])
def test_a_constant_layer_is_undefined(spec):
    data = layers() | {"y": np.full((60, 4), 0.1)}
    index = simkit.get_index(spec)
    moments = batched(data, [1, 13, 0, 20], **needed(index))
    with pytest.warns(ConstantInputWarning, match="y is constant: all 60 examples are the same"):
        values = scored(index, moments, ["x", "y"], ["x", "y"])
    np.testing.assert_array_equal(np.isnan(values), [[False, True], [True, True]])


def test_layers_must_stay_the_same():
    data = layers()
    moments = Moments.of(data)
    for other in ({"x": data["x"]}, data | {"x": data["x"][:, :2]}):
        with pytest.raises(InvalidArrayError, match=r"other layers, x \([25]\).*those before were x \(5\)"):
            Moments.merged([moments, Moments.of(other)])
    with pytest.raises(KeyError, match="no layer is called 'w'"):
        moments.hsic_sums("x", "w")


@pytest.mark.parametrize("factors", [(1.0, 1.0), (2.0**-700, 2.0**700), (1.0, 2.0**600), (2.0**-500, 2.0**-700)])
def test_parts_of_different_orders_of_magnitude(factors):
    """Each part has a unit of its own; the sum is in the largest, and is that of all examples in it."""
    data = layers()
    parts = [
        {name: x[rows] * factor for name, x in data.items()}
        for factor, rows in zip(factors, (slice(20), slice(20, None)), strict=True)
    ]
    found = Moments.merged([Moments.of(part, third_order=True) for part in parts])
    unit = max(factors)
    whole = Moments.of({n: np.concatenate([part[n] / unit for part in parts]) for n in data}, third_order=True)
    for names in itertools.product(data, repeat=2):
        ours, theirs = (state.hsic_sums(*names, "unbiased") for state in (found, whole))
        scale = np.prod([float(found.units([name])[0]) / unit for name in names]) ** 2
        np.testing.assert_allclose(np.asarray(ours[:3]) * scale, theirs[:3], rtol=1e-9)


@pytest.mark.parametrize("drift", [0.0, 30.0, 1e18])
@pytest.mark.parametrize("sizes", [(4096, 700), (90, 4096), (5000,)])
def test_blocks_of_wide_layers_in_float32(sizes, drift, monkeypatch):
    """The scatter by blocks of features, in threads, about the mean of the first rows; later ones may lie elsewhere."""
    monkeypatch.setattr(scatter, "_WIDE", 4)
    monkeypatch.setattr(scatter, "_SIDE", 5)
    data = layers(6000, dtype=np.float32)
    data["x"] = data["x"] + np.float32(drift) * (np.arange(6000) > 4096)[:, None].astype(np.float32)
    assert_moments(batched(data, sizes, third_order=True), data, 3e-6 if drift == 0 else 5e-8)


def test_a_constant_feature_stays_exactly_zero_in_blocks(monkeypatch):
    monkeypatch.setattr(scatter, "_WIDE", 4)
    monkeypatch.setattr(scatter, "_SIDE", 5)
    data = layers(5000, dtype=np.float32)
    data["y"][:, 2] = 0.1
    moments = batched(data, [4096], third_order=True)
    assert not moments.joint[7].any()
    assert not moments.joint[:, 7].any()
    np.testing.assert_array_equal(moments.joint, moments.joint.T)


def test_sums_of_wide_layers_take_little_memory():
    """The scatter matrix, 36 MB, and the rows of one block, 36 MB; one more matrix would be as much again."""
    rng = np.random.default_rng(0)
    data = {name: rng.standard_normal((4200, 1060), dtype=np.float32) for name in "xy"}
    batches = Batches(Moments, {"third_order": True})
    tracemalloc.start()
    batches.add(data, dict.fromkeys(data, 0.0), finite=True)
    assert batches.statistic.n == 4200
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2120**2 + 3 * 4 * 4096 * 2120
