"""Streams: what comes in batches scores as if it had come at once."""

from __future__ import annotations

import itertools
import os
import pickle
import subprocess
import sys
import tracemalloc
import warnings

import definitions
import numpy as np
import pytest
from data import OWN_INDEXES, pair
from hypothesis import given
from hypothesis import strategies as st
from test_moments import LINEAR as HSIC

import simkit
from simkit.errors import (
    ConstantInputWarning,
    InvalidArrayError,
    InvalidDtypeError,
    MixedArraysError,
    NeedsAllExamplesError,
    SpecError,
)
from simkit.scale.projection import RandomProjection
from simkit.scale.stream import Stream

LINEAR = [
    *HSIC,
    "cca",
    "cca(summary=rho)",
    "cca(summary=pillai)",
    "svcca(threshold=0.9)",
    "pwcca",
    "pwcca(weights=y, squared=True)",
    "linear_regression",
    "procrustes",
]
X, Y = pair(90, 6, 4)
A = {"conv1": X, "conv 2": np.tanh(X[:, :3]), "it's": Y}
B = {"conv1": Y, "fc": X[:, 1:4] ** 2}


def batches(sizes, *arrays):
    start = 0
    for size in sizes:
        yield tuple(x[start : start + size] for x in arrays)
        start = min(start + size, 90)
    yield tuple(x[start:] for x in arrays)


def of_layers(layers, part):
    return {name: x[part] for name, x in layers.items()}


@pytest.mark.parametrize("spec", LINEAR)
@given(sizes=st.lists(st.integers(0, 40), max_size=6))
def test_any_batches_score_as_all_examples_at_once(spec, sizes):
    stream = simkit.stream(spec)
    for x, y in batches(sizes, X, Y):
        stream.update(x, y)
    found = stream.compute()
    assert (found.shape, found.dtype, stream.n) == ((), np.float64, 90)
    np.testing.assert_allclose(found, simkit.compare(X, Y, spec), rtol=1e-10)


@pytest.mark.parametrize("spec", LINEAR)
def test_one_example_at_a_time(spec):
    stream = simkit.stream(spec)
    for i in range(90):
        stream.update(X[i : i + 1], Y[i : i + 1])
        assert stream.statistic.n == i + 1  # makes it take in each example by itself
    np.testing.assert_allclose(stream.compute(), simkit.compare(X, Y, spec), rtol=1e-10)


@pytest.mark.parametrize("spec", LINEAR)
@pytest.mark.parametrize("other", [None, B])
def test_all_pairs_in_one_pass(spec, other):
    stream = simkit.stream(spec)
    for part in (slice(0, 50), slice(50, 50), slice(50, 90)):
        stream.update(of_layers(A, part), None if other is None else of_layers(other, part))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = stream.compute()
    expected = simkit.pairwise(A, other, spec)
    assert (found.rows, found.columns, found.n, found.index) == (expected.rows, expected.columns, 90, expected.index)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-10)


@pytest.mark.parametrize("spec", ["cka(estimator=unbiased)", "procrustes", "cka(estimator=minibatch)"])
def test_every_library(spec, backend):
    stream = simkit.stream(spec)
    x, y = (backend.asarray(a, "float32") for a in (X, Y))
    for a, b in ((0, 30), (30, 60), (60, 90)):
        stream.update(x[a:b, :], y[a:b, :])
    found = stream.compute()
    assert type(found) is type(x[0, 0])
    assert found.dtype == backend.dtype("float32")
    again = simkit.stream(spec)
    for a, b in ((0, 30), (30, 60), (60, 90)):
        again.update(X[a:b], Y[a:b])
    np.testing.assert_allclose(backend.to_numpy(found), again.compute(), rtol=2e-5)


def test_a_torch_dataloader_of_graphs_and_changing_memory():
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader, TensorDataset

    weights = torch.nn.Linear(6, 4)
    data = TensorDataset(torch.from_numpy(X).float())
    stream = simkit.stream("cka", estimator="unbiased")
    hidden = []
    for (batch,) in DataLoader(data, batch_size=32):
        h = weights(batch)
        stream.update(batch, h)
        hidden.append(h.detach().clone())
        h.detach().relu_()  # in place, as networks do
    found = stream.compute()
    assert not found.requires_grad
    expected = simkit.compare(X, torch.cat(hidden).double().numpy(), "cka(estimator=unbiased)")
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_activations_of_more_axes():
    maps = X.reshape(90, 2, 3, 1)
    with pytest.raises(InvalidArrayError, match=r"X of batch 0.*no silent default"):
        simkit.stream().update(maps, Y)
    stream = simkit.stream(flatten=True)
    stream.update(maps[:40], Y[:40])
    stream.update(maps[40:], Y[40:])
    assert stream.compute() == pytest.approx(float(simkit.compare(X, Y)))
    layers = {"a": maps, "b": maps + maps**2}
    positions = simkit.stream()
    for part in (slice(0, 40), slice(40, 90)):
        batch = {name: x[part] for name, x in layers.items()}
        positions.update(simkit.examples(batch, "positions", channels="first"))
    expected = simkit.pairwise(simkit.examples(layers, "positions", channels="first"))
    np.testing.assert_allclose(positions.compute().values, expected.values, rtol=1e-12)


# --- merging and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["cka(estimator=unbiased)", "pwcca", "cka(estimator=minibatch, kernel=rbf(sigma=2.0))"])
def test_streams_of_parts_merge(spec, tmp_path):
    whole, parts = simkit.stream(spec), []
    for a, b in ((0, 30), (30, 60), (60, 90)):
        parts.append(simkit.stream(spec))
        parts[-1].update(X[a:b], Y[a:b])
        whole.update(X[a:b], Y[a:b])
    expected = whole.compute()
    for one, two, three in ((0, 1, 2), (2, 0, 1)):
        assert parts[one].merge(parts[two]).merge(parts[three]).compute() == pytest.approx(float(expected), rel=1e-12)
        assert parts[one].merge(parts[two].merge(parts[three])).compute() == pytest.approx(float(expected), rel=1e-12)
    assert simkit.stream(spec).merge(whole).compute() == pytest.approx(float(expected), rel=1e-12)
    assert whole.merge(simkit.stream(spec)).n == whole.n == 90
    parts[0].save(tmp_path / "part.npz")
    loaded = Stream.load(tmp_path / "part.npz")
    for stream in (loaded, pickle.loads(pickle.dumps(parts[0]))):
        stream.update(X[30:60], Y[30:60])
        assert stream.merge(parts[2]).compute() == pytest.approx(float(expected), rel=1e-12)
        assert parts[2].merge(stream).compute() == pytest.approx(float(expected), rel=1e-12)


def test_a_checkpoint_resumes_layers_flattening_projection_and_framework(tmp_path):
    torch = pytest.importorskip("torch")
    projection = RandomProjection(2, seed=3)
    stream = simkit.stream("cka", flatten=True, projection=projection)
    maps = {"m": torch.from_numpy(X).reshape(90, 2, 1, 3), 'it\'s "n"': torch.from_numpy(Y)}
    stream.update(of_layers(maps, slice(0, 40)))
    stream.save(tmp_path / "pass.npz")
    with pytest.raises(FileExistsError):
        stream.save(tmp_path / "pass.npz")
    loaded = Stream.load(tmp_path / "pass.npz")
    assert repr(loaded) == repr(stream) == "<Stream of cka: 40 examples, 2 x 2 pairs>"
    for each in (stream, loaded):
        each.update(of_layers(maps, slice(40, 90)))
    assert isinstance(loaded.compute().values, torch.Tensor)
    assert loaded.compute().rows == ("m", 'it\'s "n"')
    np.testing.assert_allclose(loaded.compute().values, stream.compute().values, rtol=1e-13)


def test_a_checkpoint_before_the_first_batch(tmp_path):
    simkit.stream("cca(summary=rho)").save(tmp_path / "empty.npz")
    stream = Stream.load(tmp_path / "empty.npz")
    stream.update(X, Y)
    assert stream.compute() == pytest.approx(float(simkit.compare(X, Y, "cca(summary=rho)")))
    np.savez(tmp_path / "other.npz", a=np.zeros(1))
    with pytest.raises(ValueError, match="no saved stream"):
        Stream.load(tmp_path / "other.npz")


def test_results_on_the_way():
    stream = simkit.stream("cka(estimator=unbiased)")
    for stop, start in ((20, 0), (55, 20), (90, 55)):
        stream.update(X[start:stop], Y[start:stop])
        for _ in range(2):
            expected = simkit.compare(X[:stop], Y[:stop], "cka(estimator=unbiased)")
            assert stream.compute() == pytest.approx(float(expected), rel=1e-10)


# --- the minibatch estimator --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cka", "hsic"])
@pytest.mark.parametrize(("kernel", "fraction"), [("linear", None), ("rbf", 0.8)])
def test_the_minibatch_estimator_sums_before_the_ratio(name, kernel, fraction):
    """Nguyen et al. 2021, equation 3; the bandwidth is that of each batch."""
    parameters = {} if fraction is None else {"fraction": fraction}
    spec = kernel if fraction is None else f"rbf(fraction={fraction})"
    sums = np.zeros(3)
    stream = simkit.stream(name, estimator="minibatch", kernel=spec)
    edges = [0, 20, 24, 60, 90]
    for a, b in itertools.pairwise(edges):
        stream.update(X[a:b] * 3.0, Y[a:b])
        sums += [
            definitions.hsic(u, v, kernel, "unbiased", **parameters)
            for u, v in ((X[a:b] * 3.0, Y[a:b]), (X[a:b] * 3.0, X[a:b] * 3.0), (Y[a:b], Y[a:b]))
        ]
    stream.update(X[:0], Y[:0])
    expected = sums[0] / np.sqrt(sums[1] * sums[2]) if name == "cka" else sums[0] / 4
    assert stream.compute() == pytest.approx(expected, rel=1e-10)


def test_in_memory_there_is_one_batch():
    for index in ("cka", "hsic"):
        for kernel in ("linear", "rbf"):
            one = simkit.compare(X, Y, index, kernel=kernel, estimator="minibatch")
            assert one == pytest.approx(float(simkit.compare(X, Y, index, kernel=kernel, estimator="unbiased")), rel=1e-14)


def test_the_diagonal_of_minibatch_cka_is_one():
    stream = simkit.stream("cka(estimator=minibatch)")
    for a, b in ((0, 30), (30, 90)):
        stream.update(of_layers(A, slice(a, b)))
    np.testing.assert_allclose(np.diag(stream.compute().values), 1, rtol=1e-14)


def test_short_batches_are_refused_by_the_minibatch_estimator():
    stream = simkit.stream("cka(estimator=minibatch)")
    stream.update(X[:50], Y[:50])
    with pytest.raises(InvalidArrayError, match=r"3 examples.*drop_last"):
        stream.update(X[50:53], Y[50:53])
    assert stream.n == 50


# --- complaints ---------------------------------------------------------------------------------------------------------


def test_indexes_that_cannot_be_streamed_say_so_at_once():
    with pytest.raises(NeedsAllExamplesError, match=r"rbf.*estimator=minibatch"):
        simkit.stream("cka(kernel=rbf)")
    for name in OWN_INDEXES:
        index = simkit.get_index(name)
        if index.facts.statistic == "examples":
            with pytest.raises(NeedsAllExamplesError, match="all examples at once"):
                simkit.stream(index)


def test_every_index_of_moments_can_be_streamed():
    """Also those that were added after this file was written."""
    positive = {"x": np.exp(X / 9), "y": np.exp(Y / 9)}
    found = []
    for name in OWN_INDEXES:
        index = simkit.get_index(name)
        if index.facts.statistic != "moments":
            continue
        stream = simkit.stream(index)
        for part in (slice(0, 40), slice(40, 90)):
            stream.update(positive["x"][part], positive["y"][part])
        np.testing.assert_allclose(stream.compute(), simkit.compare(positive["x"], positive["y"], index), rtol=1e-8)
        found.append(name)
    assert len(found) >= 6


def test_a_bad_batch_is_named_and_changes_nothing():
    stream = simkit.stream("cka")
    stream.update(X[:30], Y[:30])
    before = stream.compute()
    bad = X[30:60].copy()
    bad[4, 2] = np.nan
    complaints = [
        (
            (bad, Y[30:60]),
            InvalidArrayError,
            "X of batch 1 has 1 of 180 values that are nan or inf, the first at row 4, column 2",
        ),
        ((X[30:60], Y[30:59]), InvalidArrayError, "30 and 29 examples"),
        ((X[30:60, :5], Y[30:60]), InvalidArrayError, "'X': 6.*'X': 5"),
        ((X[30:60].astype(complex), Y[30:60]), InvalidDtypeError, "X of batch 1 has dtype complex"),
        (({"a": X[30:60]}, {"a": Y[30:60]}), InvalidArrayError, "other layers than those before"),
        ((X[30:60], {"a": Y[30:60]}), InvalidArrayError, "two of a kind"),
        ((X[30:60],), InvalidArrayError, "needs both"),
        (({},), InvalidArrayError, "empty"),
    ]
    for arguments, error, match in complaints:
        with pytest.raises(error, match=match):
            stream.update(*arguments)
        assert stream.n == 30
    assert stream.compute() == before


def test_frameworks_are_not_mixed():
    torch = pytest.importorskip("torch")
    stream = simkit.stream("cka")
    with pytest.raises(MixedArraysError, match="Y of batch 0"):
        stream.update(X, torch.from_numpy(Y))
    stream.update(X, Y)
    with pytest.raises(MixedArraysError, match=r"the batches before.*X of batch 1"):
        stream.update(torch.from_numpy(X), torch.from_numpy(Y))


def test_lazy_batches_are_refused():
    da = pytest.importorskip("dask.array")
    with pytest.raises(InvalidArrayError, match=r"Give Dask arrays to simkit\.compare"):
        simkit.stream().update(da.from_array(X), da.from_array(Y))


def test_nothing_to_compute_yet():
    stream = simkit.stream("cka(estimator=unbiased)")
    with pytest.raises(InvalidArrayError, match="No batch yet"):
        stream.compute()
    stream.update(X[:0], Y[:0])
    with pytest.raises(InvalidArrayError, match="0 examples in all"):
        stream.compute()
    stream.update(X[:3], Y[:3])
    with pytest.raises(InvalidArrayError, match="at least 4"):
        stream.compute()
    unchecked = simkit.stream(check_finite=False)
    unchecked.update(np.full_like(X, np.inf), Y)
    with pytest.raises(InvalidArrayError, match="540 in X"):
        unchecked.compute()


def test_a_constant_layer_is_undefined():
    stream = simkit.stream()
    for part in (slice(0, 1), slice(1, 90)):
        stream.update(X[part], np.full((90, 2), 0.1)[part])
    with pytest.warns(ConstantInputWarning, match="constant"):
        assert np.isnan(stream.compute())


def test_streams_of_different_things_do_not_merge():
    a, b = simkit.stream("cka"), simkit.stream("cca")
    a.update(X, Y)
    b.update(X, Y)
    with pytest.raises(InvalidArrayError, match="different index"):
        a.merge(b)
    c = simkit.stream("cka")
    c.update(X, Y[:, :2])
    with pytest.raises(InvalidArrayError, match="different widths"):
        a.merge(c)
    d = simkit.stream("cka", projection=RandomProjection(3))
    with pytest.raises(InvalidArrayError, match="different projection"):
        a.merge(d)


# --- wide layers --------------------------------------------------------------------------------------------------------


def test_layers_that_are_too_wide_are_told_what_would_fit():
    stream = simkit.stream(max_bytes=8 * 50**2)
    wide = np.ones((4, 40))
    with pytest.raises(
        InvalidArrayError, match=r"80 features in all.*allows 50 features.*RandomProjection\(25\).*max_bytes=51200"
    ):
        stream.update(wide, wide)
    assert stream.n == 0
    stream.update(wide[:, :25], wide[:, :25])
    projected = simkit.stream(max_bytes=8 * 50**2, projection=RandomProjection(25))
    projected.update(wide, wide)
    assert projected.n == 4


@pytest.mark.parametrize("kind", ["gaussian", "sparse"])
def test_the_error_of_a_random_projection_is_the_stated_one(kind, rng):
    """Over many seeds: E K^ = K, and the root mean square of |K^ - K|/|K| is sqrt((1 + d)/k), for sparse entries at most."""
    import array_api_compat.numpy as xp

    Z = pair(30, 200, 5, noise=0.3)[0]
    Z = Z - Z.mean(axis=0)
    K = Z @ Z.T
    participation = np.trace(K) ** 2 / np.linalg.norm(K) ** 2
    draws = [RandomProjection(40, seed, kind)(Z, xp) for seed in range(300)]
    grams = np.array([z @ z.T for z in draws])
    stated = RandomProjection(40).gram_error(participation)
    found = np.sqrt(np.mean(np.linalg.norm(grams - K, axis=(1, 2)) ** 2)) / np.linalg.norm(K)
    assert found < 1.05 * stated
    assert found > 0.9 * stated
    assert np.linalg.norm(grams.mean(axis=0) - K) / np.linalg.norm(K) < 3 * stated / np.sqrt(300)


def test_distances_keep_the_stated_bound():
    import array_api_compat.numpy as xp

    Z = np.random.default_rng(0).standard_normal((40, 3000))
    projection = RandomProjection(500)
    bound = projection.distance_error(examples=40)
    ratios = definitions.distances(projection(Z, xp)) ** 2 / (definitions.distances(Z) ** 2 + np.eye(40))
    off = ~np.eye(40, dtype=bool)
    assert np.abs(ratios[off] - 1).max() < bound < 0.5
    assert RandomProjection(5).distance_error(examples=40) == np.inf


def test_projected_streams_approximate_and_merge():
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((400, 4))
    P, Q = (Z @ rng.standard_normal((4, 2000)) + 0.5 * rng.standard_normal((400, 2000)) for _ in range(2))
    projection = RandomProjection(600, seed=5)
    parts = [simkit.stream("cka", projection=projection) for _ in range(2)]
    for stream, part in zip(parts, (slice(0, 100), slice(100, 400)), strict=True):
        stream.update({"p": P[part], "same": P[part], "q": Q[part], "narrow": Z[part]})
    found = parts[0].merge(parts[1]).compute()
    exact = simkit.pairwise({"p": P, "same": P, "q": Q, "narrow": Z}).to_numpy()
    assert np.abs(found.values - exact).max() < 0.05
    assert found["p", "same"] == pytest.approx(1)


def test_a_projection_is_refused_where_it_says_nothing():
    for spec in ("cca", "linear_regression", "pwcca"):
        with pytest.raises(SpecError, match="not to all invertible transforms"):
            simkit.stream(spec, projection=RandomProjection(10))
    for parameters in ({"features": 0}, {"features": 5, "kind": "dense"}, {"features": 5, "seed": -1}):
        with pytest.raises(SpecError):
            RandomProjection(**parameters)


# --- memory -------------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_number_of_examples():
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((1000, 64)).astype(np.float32)

    def peak(count):
        stream = simkit.stream("cka", estimator="unbiased")
        tracemalloc.start()
        for _ in range(count):
            batch = pool + rng.standard_normal(64).astype(np.float32)
            stream.update(batch, batch[:, ::2])
        stream.compute()
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return high

    few, many = peak(10), peak(60)
    assert many < 1.2 * few
    assert many < 15 * 2**20  # 60 batches hold 23 MB, and the stream less than a block of 4096 rows and its copies


HARD_LIMIT = """
import resource
import numpy as np, simkit

rng = np.random.default_rng(0)
pool = rng.standard_normal((4096, 128)).astype(np.float32)
cka, cca = simkit.stream("cka", estimator="unbiased"), simkit.stream("cca")
X = rng.standard_normal((12_000, 16)).astype(np.float32)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 192 * 2**20,) * 2)
for i in range(120):  # half a million examples, 252 MB
    batch = pool + np.float32(i)
    cka.update(batch, batch[:, ::2])
    cca.update(batch, batch[:, ::2])
print(cka.compute(), cca.compute(), cka.n)
print(simkit.compare(X, X[:, :8], "cka(kernel=rbf)", tiles="exact"))
try:
    np.ones((12_000, 12_000), dtype=np.float32)  # what one Gram matrix would take
except MemoryError:
    print("the limit holds")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and limits the address space")
def test_half_a_million_examples_under_a_hard_limit():
    """192 MB of address space above what the interpreter and the libraries have."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", HARD_LIMIT], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert "491520" in done.stdout
    assert "the limit holds" in done.stdout


def test_a_reset_stream_is_as_it_was_made():
    torch = pytest.importorskip("torch")
    X, Y = pair(60, 5, 4)
    stream = simkit.stream("cka", estimator="unbiased", flatten=True)
    stream.update({"a": X}, {"b": Y})
    sums = stream.statistic
    stream.reset()
    assert (stream.n, stream.batches, stream.rows, stream.statistic, stream.like) == (0, 0, (), None, None)
    assert repr(stream) == "<Stream of cka(estimator=unbiased): no batch yet>"
    with pytest.raises(InvalidArrayError, match="call update first"):
        stream.compute()
    stream.update(torch.tensor(X[:, :3, None]), torch.tensor(Y))  # other layers, another framework, the same settings
    assert isinstance(stream.compute(), torch.Tensor)
    assert float(stream.compute()) == pytest.approx(
        float(simkit.compare(X[:, :3], Y, "cka", estimator="unbiased")), rel=1e-12
    )
    assert sums.n == 60  # what others hold stays


def test_a_reset_heals_an_interrupted_stream(monkeypatch):
    from simkit.scale.batches import Batches

    X, Y = pair(60, 5, 4)
    stream = simkit.stream("cka")

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    stream.update(X, Y)
    with monkeypatch.context() as patch:
        patch.setattr(Batches, "_hold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.update(X, Y)
    with pytest.raises(InvalidArrayError, match="interrupted"):
        stream.compute()
    stream.reset()
    stream.update(X, Y)
    assert float(stream.compute()) == pytest.approx(float(simkit.compare(X, Y)), rel=1e-12)
