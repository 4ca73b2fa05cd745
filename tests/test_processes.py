"""Streams and scores among threads, forks, spawned processes, coroutines and interrupts: right, or a clear error."""

from __future__ import annotations

import asyncio
import copy
import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from data import pair

import simkit
from simkit.arrays import as_matrix
from simkit.errors import InvalidArrayError
from simkit.scale.stream import Stream

SPECS = ["cka(estimator=unbiased)", "cca", "cka(estimator=minibatch, kernel=rbf(sigma=3.0))"]
POSIX = pytest.mark.skipif(os.name != "posix", reason="fork and signals")
SIZE, BATCHES = 20, 24
X, Y = pair(SIZE * BATCHES, 5, 3)
PARTS = [slice(i * SIZE, (i + 1) * SIZE) for i in range(BATCHES)]


@pytest.fixture
def hurry():
    """Threads take turns as often as they can, so that a race is seen."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def stream_of(spec, parts=PARTS):
    stream = simkit.stream(spec)
    for part in parts:
        stream.update({"x": X[part], "y": Y[part]})
    return stream


def on_the_way(spec):
    """n -> the score after n examples in order."""
    stream, found = simkit.stream(spec), {}
    for part in PARTS:
        stream.update({"x": X[part], "y": Y[part]})
        found[stream.n] = float(stream.compute()["x", "y"])
    return found


# --- threads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS)
def test_many_threads_update_one_stream(spec, hurry):
    expected = float(stream_of(spec).compute()["x", "y"])
    for _ in range(3):
        stream = simkit.stream(spec)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(stream.update, [{"x": X[part], "y": Y[part]} for part in PARTS]))
        assert (stream.n, stream.batches) == (len(X), BATCHES)
        assert float(stream.compute()["x", "y"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spec", SPECS)
def test_results_saves_and_copies_while_another_thread_updates(spec, hurry, tmp_path):
    expected, stream, seen = on_the_way(spec), stream_of(spec, PARTS[:1]), []

    def look(what):
        n = 0
        while n < len(X):
            n = stream.n
            if what == "compute":
                found = stream.compute()
            elif what == "save":
                stream.save(tmp_path / "pass.npz", force=True)
                found = Stream.load(tmp_path / "pass.npz").compute()
            else:
                found = (copy.deepcopy(stream) if what == "copy" else stream.merge(simkit.stream(spec))).compute()
            seen.append((what, found.n, float(found["x", "y"])))

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(look, what) for what in ("compute", "save", "copy", "merge")]
        for part in PARTS[1:]:
            stream.update({"x": X[part], "y": Y[part]})
            time.sleep(0.002)
        for job in jobs:
            job.result()
    assert {what for what, _, _ in seen} == {"compute", "save", "copy", "merge"}
    for what, n, score in seen:
        assert score == pytest.approx(expected[n], rel=1e-9), (what, n)


def test_merging_both_ways_at_once_does_not_deadlock(hurry):
    a, b = stream_of("cka", PARTS[:3]), stream_of("cka", PARTS[3:])
    with ThreadPoolExecutor(4) as pool:
        merged = list(pool.map(lambda i: a.merge(b) if i % 2 else b.merge(a), range(40)))
    expected = float(stream_of("cka").compute()["x", "y"])
    assert {stream.n for stream in merged} == {len(X)}
    assert all(float(stream.compute()["x", "y"]) == pytest.approx(expected, rel=1e-12) for stream in merged)
    assert a.merge(a).n == 2 * a.n


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda stream: pickle.loads(pickle.dumps(stream))])
def test_copies_are_independent(spec, twin):
    stream = stream_of(spec, PARTS[:5])
    other = twin(stream)
    assert other._lock is not stream._lock
    for part in PARTS[5:]:
        other.update({"x": X[part], "y": Y[part]})
    assert (stream.n, other.n) == (5 * SIZE, len(X))
    assert float(other.compute()["x", "y"]) == pytest.approx(float(stream_of(spec).compute()["x", "y"]), rel=1e-12)
    assert stream.without_batches()._lock is not stream._lock


def test_coroutines():
    stream = simkit.stream("cca")

    async def feed(parts):
        for part in parts:
            await asyncio.to_thread(stream.update, {"x": X[part], "y": Y[part]})

    async def everything():
        await asyncio.gather(feed(PARTS[::3]), feed(PARTS[1::3]), feed(PARTS[2::3]))
        return await asyncio.to_thread(stream.compute)

    assert float(asyncio.run(everything())["x", "y"]) == pytest.approx(
        float(stream_of("cca").compute()["x", "y"]), rel=1e-12
    )


# --- processes ----------------------------------------------------------------------------------------------------------


def go_on(stream, layers, spec):
    """What a child does: finish a stream that it was given, and compare in memory."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # as the warning of the next test says
    for part in PARTS[4:]:
        stream.update({name: x[part] for name, x in layers.items()})
    matrix = simkit.pairwise(layers, index=spec.replace("minibatch", "biased"))
    return float(stream.compute()["x", "y"]), float(matrix["x", "y"]), stream.n


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("method", [pytest.param("fork", marks=POSIX), "spawn"])
def test_children_go_on_with_what_they_are_given(method, library):
    layers = {"x": X, "y": Y}
    if library == "torch":
        torch = pytest.importorskip("torch")
        layers = {name: torch.from_numpy(x) for name, x in layers.items()}
        if method == "spawn":
            pytest.skip("tensors travel through shared memory, which is torch's")
    spec = SPECS[1]
    stream = simkit.stream(spec)
    for part in PARTS[:4]:
        stream.update({name: x[part] for name, x in layers.items()})
    stream.compute()
    simkit.pairwise(layers, index=spec)  # the parent has used its threads
    with multiprocessing.get_context(method).Pool(1) as pool:
        streamed, in_memory, n = pool.apply_async(go_on, (stream, layers, spec)).get(timeout=300)
    assert (stream.n, n) == (4 * SIZE, len(X))
    expected = float(simkit.compare(X, Y, spec))
    assert streamed == pytest.approx(expected, rel=1e-9)
    assert in_memory == pytest.approx(expected, rel=1e-9)


def count_warnings(x):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            as_matrix(x)
    return [str(warning.message) for warning in caught]


@POSIX
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_is_warned_of_threads_that_it_does_not_have(threads):
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = [pool.apply_async(count_warnings, (x,)).get(timeout=300) for x in (X, torch.from_numpy(X))]
    finally:
        torch.set_num_threads(before)
    assert found[0] == []
    assert len(found[1]) == (threads > 1)
    assert all("torch.set_num_threads(1) first in each forked process" in message for message in found[1])
    assert count_warnings(torch.from_numpy(X)) == []


@POSIX
def test_a_fork_while_a_thread_holds_the_stream():
    """The lock of the thread, which is not in the child, does not hang it."""
    stream, held, done = stream_of("cka"), threading.Event(), threading.Event()

    def hold():
        with stream._lock.here:
            held.set()
            done.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        os._exit(0 if stream.n == len(X) else 1)
    _, status = os.waitpid(child, 0)
    done.set()
    thread.join()
    assert status == 0
    assert stream.n == len(X)


# --- interrupts ---------------------------------------------------------------------------------------------------------


@contextmanager
def interrupted_after(seconds):
    """KeyboardInterrupt at some moment of the block, in seconds of its own work; and again, if Python ignored it.

    As it does where it cannot raise, in the callback of a weak reference say.
    """

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds, 5.0)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@POSIX
@pytest.mark.parametrize("spec", SPECS)
def test_an_interrupted_update_is_whole_or_refused(spec, monkeypatch):
    """At random moments, of sums that are taken in with each batch."""
    monkeypatch.setattr("simkit.statistics.moments._ROWS", 8)
    monkeypatch.setattr("simkit.statistics.roots._ROWS", 8)
    expected, refused = on_the_way(spec), 0
    for pause in np.random.default_rng(1).uniform(1e-4, 0.02, 25):
        stream = simkit.stream(spec)
        with interrupted_after(pause):
            for part in itertools.chain(PARTS, itertools.repeat(slice(0, 0))):
                stream.update({"x": X[part], "y": Y[part]})
        if not stream.n:
            continue
        try:
            found, complaint = float(stream.compute()["x", "y"]), ""
        except InvalidArrayError as error:
            found, complaint = np.nan, str(error)
            refused += 1
        assert complaint or found == pytest.approx(expected[stream.n], rel=1e-9), stream.n
        assert "interrupted" in complaint or not complaint
    assert refused < 25


@pytest.mark.parametrize("spec", SPECS[:2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_sums_that_were_interrupted_are_not_used(spec, error, monkeypatch, tmp_path):
    stream = stream_of(spec, PARTS[:3])
    stream.save(tmp_path / "pass.npz")
    expected = stream.compute()["x", "y"]
    name = "moments.Moments._sum" if spec == SPECS[0] else "roots.Roots._merged"

    def fails(*_):
        raise error

    stream.update({"x": X[PARTS[3]], "y": Y[PARTS[3]]})
    with monkeypatch.context() as patch:
        patch.setattr(f"simkit.statistics.{name}", fails)
        with pytest.raises(error):
            stream.compute()
    uses = [
        stream.compute,
        lambda: stream.update({"x": X[PARTS[4]], "y": Y[PARTS[4]]}),
        lambda: stream.save(tmp_path / "pass.npz", force=True),
        lambda: pickle.dumps(stream),
        lambda: stream.merge(stream_of(spec, PARTS[:1])),
        lambda: stream_of(spec, PARTS[:1]).merge(stream),
    ]
    for use in uses:
        with pytest.raises(InvalidArrayError, match=r"interrupted.*Go on from the last checkpoint .Stream.load"):
            use()
    resumed = Stream.load(tmp_path / "pass.npz")
    assert resumed.compute()["x", "y"] == expected
    assert resumed.n == 3 * SIZE


@POSIX
@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf)", "procrustes", "rsa"])
def test_an_interrupted_comparison_leaves_nothing_broken(spec):
    layers = {f"layer{i}": X[:, i : i + 3] + i * Y[:, :1] for i in range(3)} | {"y": Y}
    expected = simkit.pairwise(layers, index=spec).to_numpy()
    for pause in np.random.default_rng(2).uniform(1e-5, 0.02, 6):
        with interrupted_after(pause):
            while True:
                simkit.pairwise(layers, index=spec)
    np.testing.assert_array_equal(simkit.pairwise(layers, index=spec).to_numpy(), expected)


LONG = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which jobs in the background ignore
import numpy as np, simkit
rng = np.random.default_rng(0)
stream = simkit.stream("cca")
while True:
    X = rng.standard_normal((50, 4))
    stream.update(X, X[:, :2] ** 2)
    if stream.batches % 5 == 0:
        stream.save(sys.argv[1], force=True)
        print(stream.n, float(stream.compute()), flush=True)
"""


@POSIX
def test_long_work_that_is_interrupted_keeps_what_was_saved(tmp_path):
    path = tmp_path / "pass.npz"
    work = subprocess.Popen([sys.executable, "-c", LONG, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [work.stdout.readline()]
    time.sleep(0.1)
    work.send_signal(signal.SIGINT)
    out, problems = work.communicate(timeout=30)
    lines += out.splitlines(keepends=True)
    assert work.returncode != 0
    assert "KeyboardInterrupt" in problems
    scores = dict(map(float, line.split()) for line in lines if line.endswith("\n"))
    resumed = Stream.load(path)
    assert resumed.n in (max(scores), max(scores) + 250)  # it may have been interrupted between saving and saying so
    assert resumed.n not in scores or float(resumed.compute()) == scores[resumed.n]
    assert [entry.name for entry in tmp_path.iterdir()] == ["pass.npz"]
    resumed.update(np.ones((1, 4)), np.ones((1, 2)))
