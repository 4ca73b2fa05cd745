"""Roots of the scatter matrix: what indexes of second moments score from batches, chunks and parts is what they score in memory."""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import subprocess
import sys
import tracemalloc
import typing
import warnings

import numpy as np
import pytest
from data import OWN_INDEXES, conditioned, orthogonal, pair
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.arrays import namespace_of
from simkit.errors import ConstantInputWarning, InvalidArrayError
from simkit.scale.batches import Batches
from simkit.scale.stream import Stream
from simkit.statistics import roots
from simkit.statistics.roots import Roots

EPS = np.finfo(np.float64).eps


def specs():
    """Every index of second moments with every summary, also those that were added after this file was written."""
    found = ["svcca(threshold=0.9)", "pwcca(weights=y, squared=True)", "procrustes(alpha=0.5)"]
    for name in OWN_INDEXES:
        index = simkit.get_index(name)
        if index.facts.statistic == "moments":
            summaries = typing.get_args(typing.get_type_hints(type(index)).get("summary"))
            found += [str(simkit.get_index(name, summary=each)) for each in summaries] or [str(index)]
    return sorted(set(found))


SPECS = specs()
# What is hard, and the condition number: two ways that are both stable differ by about eps times that.
HARD = {
    "ordinary": 1e3,
    "dead": 1e3,
    "duplicates": 1e3,
    "dead duplicates": 1e3,
    "near6": 1e6,
    "dead near9": 1e9,
    "offset": 1e3,
    "offset near6": 1e6,
    "outlier": 1e3,
    "outliers": 1e8,
    "dead duplicates near6 offset outlier": 1e8,
}


@functools.cache
def hard(case, dtype, n=200, p=12, q=9):
    """Rectified layers of 12 and 9 units with dead, duplicated and nearly duplicated ones, an offset or outliers in row 0."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 4)) * [2, 1, 1, 0.5]
    x, y = (np.maximum(z @ rng.standard_normal((4, k)) + 0.7 * rng.standard_normal((n, k)), 0) for k in (p, q))
    if "dead" in case:
        x[:, [1, 5]], y[:, 3], y[:, 0] = 0.1, 0.0, 0.7
    if "duplicates" in case:
        x[:, 2], y[:, 4] = x[:, 3], y[:, 5]
    for word, size in (("near6", 1e-6), ("near9", 1e-9)):
        if word in case:
            x[:, 7] = x[:, 8] + size * rng.standard_normal(n)
            y[:, 6] = y[:, 7] + size * rng.standard_normal(n)
    if "offset" in case:
        x, y = x + 1e4, y - 1e4
    if "outlier" in case:
        x[0, 6] = 1e8
    if "outliers" in case:
        x[0] += 1e8 * (np.ptp(x, axis=0) > 0)
    return x.astype(dtype), y.astype(dtype)


@functools.cache
def in_memory(spec, case, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(simkit.compare(*hard(case, dtype), spec))


def tolerance(case, dtype):
    return 1e-6 if dtype == "float32" else 1e-9 + 2 * EPS * HARD[case]


def gathered(data, parts):
    """The batches of some rows of layers."""
    batches = Batches(Roots, {})
    n = next(iter(data.values())).shape[0]
    for part in parts:
        part = slice(*part.indices(n))
        batches.add({name: x[part, :] for name, x in data.items()}, dict.fromkeys(data, 0.0))
    return batches


def scored(spec, roots):
    return roots.scores(simkit.get_index(spec), ["x"], ["y"])


def parts_of(n, sizes):
    start, each = 0, itertools.cycle(sizes)
    while start < n:
        stop = min(start + next(each), n)
        yield slice(start, stop)
        start = stop


@pytest.fixture
def small_blocks(monkeypatch):
    """Reduce every 2 P rows, so that small data are merged often."""
    monkeypatch.setattr(roots, "_ROWS", 1)


def assert_dead_are_zero(state, data, to_numpy=np.asarray):
    """Exactly, whatever the batches, the order, the library and the precision; and no other unit is."""
    stacked = np.concatenate(list(data.values()), axis=1)
    rows = to_numpy(state.rows)
    np.testing.assert_array_equal(np.any(rows != 0, axis=0), np.ptp(stacked, axis=0) > 0)
    dead = np.ptp(stacked, axis=0) == 0
    np.testing.assert_array_equal(to_numpy(state.mean)[dead], stacked[0, dead])


# --- the scores of all examples in memory ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("sizes", [(1,), (7,), (64,), (1, 7, 0, 64, 3)], ids=str)
@pytest.mark.filterwarnings("ignore::simkit.errors.AccuracyWarning")
def test_streams_score_as_in_memory(case, dtype, sizes, small_blocks):
    x, y = hard(case, dtype)
    roots = gathered({"x": x, "y": y}, parts_of(len(x), sizes)).statistic
    assert_dead_are_zero(roots, {"x": x, "y": y})
    for spec in SPECS:
        assert scored(spec, roots) == pytest.approx(in_memory(spec, case, dtype), rel=tolerance(case, dtype)), spec


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.filterwarnings("ignore::simkit.errors.AccuracyWarning")
def test_streams_merge_in_any_order(spec, small_blocks):
    case = "dead duplicates near6 offset outlier"
    for dtype in ("float32", "float64"):
        x, y = hard(case, dtype)
        streams = []
        for part in parts_of(len(x), (90, 1, 60, 49)):
            streams.append(simkit.stream(spec))
            for piece in parts_of(len(x[part]), (7, 64)):
                streams[-1].update(x[part][piece], y[part][piece])
        for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
            found = functools.reduce(Stream.merge, [streams[k] for k in order]).compute()
            assert found.dtype == dtype
            assert found == pytest.approx(in_memory(spec, case, dtype), rel=tolerance(case, dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["dead duplicates", "dead duplicates near6 offset outlier"])
@pytest.mark.filterwarnings("ignore::simkit.errors.AccuracyWarning")
def test_every_library(backend, case, dtype, small_blocks):
    data = dict(zip("xy", hard(case, dtype), strict=True))
    here = {name: backend.asarray(x) for name, x in data.items()}
    parts = []
    for part in parts_of(200, (98, 1, 52, 49)):  # of batches of four sizes, as JAX compiles for each
        part = slice(part.start, min(part.stop, 200))
        pieces = parts_of(part.stop - part.start, (7, 42))
        parts.append(gathered(here, [slice(part.start + piece.start, part.start + piece.stop) for piece in pieces]))
    for order in ((0, 1, 2, 3), (2, 3, 0, 1)):
        roots = Batches.merged([parts[k] for k in order]).statistic
        assert_dead_are_zero(roots, data, backend.to_numpy)
        for spec in SPECS:
            found = scored(spec, roots)
            assert namespace_of(found) is namespace_of(here["x"])
            assert float(found) == pytest.approx(in_memory(spec, case, dtype), rel=tolerance(case, dtype)), spec
    for name, x in data.items():
        np.testing.assert_array_equal(backend.to_numpy(here[name]), x)


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore::simkit.errors.AccuracyWarning")
def test_dask_scores_as_in_memory(case, dtype, small_blocks):
    dask = pytest.importorskip("dask")
    import dask.array as da

    x, y = hard(case, dtype)
    for rows in (64, 200):
        lazy = [da.from_array(z, chunks=(rows, z.shape[1])) for z in (x, y)]
        found = dask.compute(*(simkit.compare(*lazy, spec) for spec in SPECS), scheduler="synchronous")
        for spec, score in zip(SPECS, found, strict=True):
            assert score == pytest.approx(in_memory(spec, case, dtype), rel=tolerance(case, dtype)), spec


@pytest.mark.parametrize("condition", [1e6, 1e8])
@pytest.mark.parametrize("size", [7, 300])
def test_one_pass_is_as_good_as_qr(condition, size, rng, small_blocks):
    """Against Gram-Schmidt in extended precision; moments would be wrong by eps condition^2, 2e-4 and 2."""
    n, p = 1500, 12
    x = conditioned(n, p, condition, rng)
    u, rho = np.linalg.qr(x)[0], np.linspace(0.1, 0.999, p)
    y = u * rho + conditioned(n, p, 1.0, rng) * np.sqrt(1 - rho**2)
    y = (y @ orthogonal(p, rng) * np.geomspace(1, 1 / condition, p)) @ orthogonal(p, rng) - 7.0
    stream = simkit.stream("cca(summary=rho)")
    for part in parts_of(n, (size,)):
        stream.update(x[part], y[part])
    truth = extended_correlations(x, y).mean()
    assert abs(float(stream.compute()) - truth) < 1e-16 * condition + 1e-13


def extended_correlations(x, y):
    def basis(a):
        a = a.astype(np.longdouble)
        a = a - a.mean(axis=0)
        for _ in range(2):
            for k in range(a.shape[1]):
                a[:, k] /= np.sqrt(a[:, k] @ a[:, k])
                a[:, k + 1 :] -= np.outer(a[:, k], a[:, k] @ a[:, k + 1 :])
        return a

    return np.linalg.svd((basis(x).T @ basis(y)).astype(np.float64), compute_uv=False)


# --- the state -----------------------------------------------------------------------------------------------------------


@given(
    cuts=st.lists(st.integers(0, 120), max_size=6),
    order=st.randoms(),
    dead=st.sets(st.integers(0, 8)),
    dtype=st.sampled_from(["float32", "float64"]),
    value=st.sampled_from([0.0, 0.1, -1e4 / 3, 1e-300]),
)
def test_states_merge_to_the_scatter_of_all_examples(cuts, order, dead, dtype, value):
    data = dict(zip("xy", (z.astype(dtype) for z in pair(120, 5, 4)), strict=True))
    for j in dead:
        data["x" if j < 5 else "y"][:, j % 5] = value
    edges = sorted([0, *cuts, 120])
    parts = [Roots.of({name: x[a:b] for name, x in data.items()}) for a, b in itertools.pairwise(edges)]
    order.shuffle(parts)
    while len(parts) > 1:  # a random tree, of two or three at a time
        some = [parts.pop(order.randrange(len(parts))) for _ in range(min(len(parts), order.choice([2, 3])))]
        parts.append(Roots.merged(some))
    (whole,) = parts
    Z = np.concatenate(list(data.values()), axis=1).astype(np.float64)
    z = Z - Z.mean(axis=0)
    assert whole.n == 120
    assert whole.rows.shape[0] <= 9
    np.testing.assert_allclose(whole.rows.T @ whole.rows, z.T @ z, atol=1e-12 * (np.abs(z.T @ z).max() + 1))
    np.testing.assert_allclose(whole.mean, Z.mean(axis=0), rtol=1e-13, atol=1e-14)
    assert_dead_are_zero(whole, data)
    assert whole.values.constant == {name for name, x in data.items() if not np.ptp(x, axis=0).any()}


def test_the_scatter_matrix_is_kept_while_its_root_is_as_good(rng):
    """The bound on the eigenvalues is one, also after merging; what is ill-conditioned is a triangle."""
    x = rng.standard_normal((4000, 20)) @ rng.standard_normal((20, 20)) + rng.standard_normal(20)
    x[:, 3] = 0.1
    whole = Roots.merged([Roots.of({"x": x[part]}) for part in parts_of(4000, (50, 100, 850))])
    assert whole.scatter is not None
    alive = np.delete(np.arange(20), 3)
    smallest = np.linalg.eigvalsh(np.corrcoef(x[:, alive].T))[0]
    assert 0 < whole.floor <= smallest * (1 + 1e-9)
    z = x - x.mean(axis=0)
    np.testing.assert_allclose(whole.rows.T @ whole.rows, z.T @ z, atol=1e-13 * np.abs(z.T @ z).max())
    for dtype, size in (("float64", 1e-4), ("float32", 1e-5)):
        close = x.copy()
        close[:, 5] = close[:, 6] + size * rng.standard_normal(4000)
        assert Roots.of({"x": close.astype(dtype)}).scatter is None


def test_features_that_come_to_life_together(rng, small_blocks):
    """Dead so far, they do not disturb; then they are nearly the same, and the scatter matrix will not do any more."""
    x = rng.standard_normal((2000, 10))
    x[:1000, 4:6] = 0.25
    x[1000:, 5] = x[1000:, 4] + 1e-9 * rng.standard_normal(1000)
    first = Roots.of({"x": x[:1000]})
    assert first.scatter is not None
    assert not first.rows[:, 4:6].any()
    whole = Roots.merged([first, Roots.of({"x": x[1000:]})])
    assert whole.scatter is None
    z = x - x.mean(axis=0)
    found = np.linalg.norm(whole.rows[:, 4] - whole.rows[:, 5])
    assert found == pytest.approx(np.linalg.norm(z[:, 4] - z[:, 5]), rel=1e-6)


@pytest.mark.parametrize("size", [1e-4, 1e-7, 1e-10])
def test_close_layers_stay_apart(size, rng, small_blocks):
    """Checkpoints of one run: each is well conditioned, and their difference is kept although both together are not."""
    x = rng.standard_normal((500, 8))
    y = x + size * rng.standard_normal((500, 8))
    root = Roots.of({"x": x, "y": y}).rows
    apart = (x - y) - (x - y).mean(axis=0)
    assert np.linalg.norm(root[:, :8] - root[:, 8:]) == pytest.approx(np.linalg.norm(apart), rel=1e-15 / size + 1e-9)


@pytest.mark.parametrize("n", [2, 5, 21, 30, 45])
def test_few_examples(n):
    x, y = (z[:n] for z in hard("dead", "float64"))
    stream = simkit.stream("cca")
    for part in parts_of(n, (2,)):
        stream.update(x[part], y[part])
    assert stream.compute() == pytest.approx(float(simkit.compare(x, y, "cca")), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-170, 1e-120, 1e120, 1e170])
def test_features_whose_squares_leave_the_range(scale, small_blocks):
    """No scatter matrix there; a root has them as the layers in memory have."""
    x, y = pair(200, 6, 4)
    sized = x * np.geomspace(scale, 1, 6)
    for index in ("cca(summary=rho)", "bipartite_match"):
        stream = simkit.stream(index)
        for part in parts_of(200, (30,)):
            stream.update(sized[part], y[part])
        assert stream.compute() == pytest.approx(float(simkit.compare(sized, y, index)), rel=1e-9)
        if 1e-150 < scale < 1e150:
            assert stream.compute() == pytest.approx(float(simkit.compare(x, y, index)), rel=1e-9)


WITHOUT_FLOAT64 = """
import jax.numpy as jnp, numpy as np, simkit
from simkit.statistics.roots import Roots

rng = np.random.default_rng(0)
z = rng.standard_normal((3000, 3))
x, y = (z @ rng.standard_normal((3, p)) + rng.standard_normal((3000, p)) for p in (6, 5))
x[:, 2] = 0.1
stream = simkit.stream("cca")
for a in range(0, 3000, 700):
    stream.update(jnp.asarray(x[a : a + 700], dtype="float32"), jnp.asarray(y[a : a + 700], dtype="float32"))
root = stream.statistic
assert root.origin.dtype == "float32" and root.scatter is None
assert not np.asarray(root.rows)[:, 2].any()
print(float(stream.compute()), float(simkit.compare(x, y, "cca")))
"""


def test_a_device_without_float64():
    """There every reduction is a QR: eps condition^2 would be large in float32."""
    pytest.importorskip("jax")
    environment = {**os.environ, "JAX_ENABLE_X64": "0"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FLOAT64], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    found, expected = map(float, done.stdout.split())
    assert found == pytest.approx(expected, rel=2e-5)


# --- precision, memory, files ---------------------------------------------------------------------------------------------


def test_the_precision_that_layers_were_given_in(backend):
    x, y = (backend.asarray(z, "float32") for z in pair(60, 4, 3))
    half = backend.asarray(np.asarray(pair(60, 4, 3)[0], dtype=np.float16)) if backend.name.startswith("numpy") else None
    stream = simkit.stream("cca")
    stream.update(x[:20, :], y[:20, :])
    stream.update(x[20:40, :], backend.asarray(pair(60, 4, 3)[1][20:40]))
    assert stream.statistic.values.rounding == (2.0**-23, 2.0**-23)
    assert stream.compute().dtype == backend.dtype("float64")
    if half is not None:
        stream.update(half[40:], y[40:, :])
        assert stream.statistic.values.rounding == (2.0**-10, 2.0**-23)
        assert stream.statistic.representations()["X"].rounding == 2.0**-10
        other = simkit.stream("cca")
        other.update(x, y)
        assert other.merge(stream).statistic.values.rounding == (2.0**-10, 2.0**-23)


def test_the_memory_of_a_batch_may_be_used_again():
    x, y = hard("dead", "float64")
    buffer, batches = {"x": np.empty((10, 12)), "y": np.empty((10, 9))}, Batches(Roots, {})
    for part in parts_of(200, (10,)):
        buffer["x"][:], buffer["y"][:] = x[part], y[part]
        batches.add(buffer, dict.fromkeys(buffer, 0.0))
    z = np.concatenate([x, y], axis=1)
    z = z - z.mean(axis=0)
    rows = batches.statistic.rows
    np.testing.assert_allclose(rows.T @ rows, z.T @ z, atol=1e-12)


@pytest.mark.parametrize("case", ["dead", "dead duplicates near6 offset outlier"])
@pytest.mark.filterwarnings("ignore::simkit.errors.AccuracyWarning")
def test_a_checkpoint_resumes(tmp_path, case, backend, small_blocks):
    x, y = (backend.asarray(z) for z in hard(case, "float32"))
    stream = simkit.stream("cca")
    stream.update(x[:120, :], y[:120, :])
    stream.save(tmp_path / "half.npz")
    with np.load(tmp_path / "half.npz", allow_pickle=False) as file:
        assert ("state_scatter" in file) == (case == "dead")
    for resumed in (Stream.load(tmp_path / "half.npz"), pickle.loads(pickle.dumps(stream))):
        resumed.update(x[120:, :], y[120:, :])
        found = resumed.compute()
        assert type(found) is type(x[0, 0])
        assert found.dtype == backend.dtype("float32")
        assert float(found) == pytest.approx(in_memory("cca", case, "float32"), rel=1e-6)
        assert resumed.statistic.values.rounding == (2.0**-23, 2.0**-23)


def test_other_checkpoints_are_refused(tmp_path):
    x, y = hard("ordinary", "float64")
    stream = simkit.stream("cca")
    stream.update(x, y)
    stream.save(tmp_path / "now.npz")
    with np.load(tmp_path / "now.npz") as file:
        saved = dict(file)
    del saved["sha256"]  # which earlier formats did not have
    np.savez(tmp_path / "before.npz", **(saved | {"simkit_stream": np.array(2)}))
    with pytest.raises(ValueError, match=r"earlier simkit, in format 2.*stream the batches again"):
        Stream.load(tmp_path / "before.npz")
    np.savez(tmp_path / "future.npz", **(saved | {"simkit_stream": np.array(9)}))
    with pytest.raises(ValueError, match="newer simkit"):
        Stream.load(tmp_path / "future.npz")


def test_the_state_takes_a_few_matrices():
    rng = np.random.default_rng(0)
    pool = rng.standard_normal((512, 256))
    simkit.compare(pool[:9, :2], pool[:9, 2:4], "cca")  # imports what is imported at first use
    stream = simkit.stream("cca")
    tracemalloc.start()
    for k in range(12):
        stream.update(pool, np.roll(pool, k, axis=0) ** 2)
    stream.statistic
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.2 * 512**2 * 8
    assert peak < 16 * 512**2 * 8  # 2048 rows, widened and centred, and two triangles


# --- undefined -----------------------------------------------------------------------------------------------------------


def test_constant_layers_are_undefined(backend):
    x, y = hard("dead", "float64")
    layers = {"a": x, "still": np.full((200, 3), 0.1), "b": y}
    stream = simkit.stream("cca")
    for part in parts_of(200, (1, 60)):
        stream.update({name: backend.asarray(z[part]) for name, z in layers.items()})
    with pytest.warns(ConstantInputWarning, match=r"A\['still'\] is constant: all 200 examples"):
        values = backend.to_numpy(stream.compute().values)
    np.testing.assert_array_equal(np.isnan(values), [[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    assert values[0, 2] == pytest.approx(float(simkit.compare(x, y, "cca")), rel=1e-9)
    stream = simkit.stream("procrustes")
    stream.update(backend.asarray(np.ones((9, 2))), backend.asarray(np.ones((9, 3))))
    with pytest.warns(ConstantInputWarning, match="constant"):
        assert np.isnan(float(stream.compute()))


def test_values_that_are_not_finite_are_counted(backend):
    x, y = (z.copy() for z in hard("ordinary", "float64"))
    x[3, 1], x[150, 0], y[5, 2] = np.nan, np.inf, -np.inf
    stream = simkit.stream("cca", check_finite=False)
    for part in parts_of(200, (100,)):
        stream.update(backend.asarray(x[part]), backend.asarray(y[part]))
    with pytest.raises(InvalidArrayError, match="2 in X, 1 in Y"):
        stream.compute()


def test_states_of_other_layers_do_not_merge():
    x, y = hard("ordinary", "float64")
    one, other = (gathered(data, [slice(None)]) for data in ({"x": x}, {"y": y}))
    with pytest.raises(InvalidArrayError, match=r"other layers, y \(9\); those before were x \(12\)"):
        Batches.merged([one, other])
    with pytest.raises(InvalidArrayError, match="other layers"):
        one.add({"y": y}, {"y": 0.0})
        one.statistic
