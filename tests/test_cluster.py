"""A real cluster of separate worker processes: workers that die, lack a plugin, or have too little memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from test_registry import distribution

import simkit
from simkit.errors import ClusterError, ClusterMemoryError, ClusterWarning, PluginError
from simkit.scale.cluster import Recipe, preflight

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
import dask  # noqa: E402

from simkit.scale.dask import compute  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    settings = {
        "distributed.scheduler.allowed-failures": 1,
        "distributed.worker.memory.terminate": 0.95,
        "distributed.comm.timeouts.connect": "10s",
    }
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit="600MiB"
        ) as running,
    ):
        yield running


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as connected:
        connected.wait_for_workers(2, timeout=30)
        yield connected


@pytest.fixture
def pair(rng):
    x = rng.standard_normal((600, 7))
    return x, x[:, :5] + rng.standard_normal((600, 5))


def slowly(block):
    time.sleep(0.1)
    return block


@pytest.mark.parametrize("index", ["cka", "cca", "cka(kernel=rbf(fraction=0.5))"])
def test_the_same_number_as_in_memory(client, pair, index, monkeypatch):
    monkeypatch.setattr("simkit.planner._SMALL", 100)
    monkeypatch.setattr("simkit.scale.kernels._ROWS", 200)
    lazy = simkit.compare(da.from_array(pair[0], chunks=(100, 4)), da.from_array(pair[1], chunks=(70, 5)), index)
    assert float(lazy) == pytest.approx(float(simkit.compare(*pair, index)), rel=1e-10)


def test_a_killed_worker_changes_nothing(client, pair):
    x = da.from_array(pair[0], chunks=(20, 7)).map_blocks(slowly, meta=pair[0][:0])
    y = da.from_array(pair[1], chunks=(20, 5))
    lazy = {index: simkit.compare(x, y, index) for index in ("cka(estimator=unbiased)", "cca")}
    running = client.compute(list(lazy.values()))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not any("simkit" in key for key in _in_memory(client)):
        time.sleep(0.02)
    victim = next(worker for worker, keys in client.has_what().items() if any("simkit" in str(key) for key in keys))
    pid = client.run(os.getpid, workers=[victim])[victim]
    assert not any(future.done() for future in running)
    os.kill(pid, 9)
    values = client.gather(running)
    assert pid not in client.run(os.getpid).values()
    for value, index in zip(values, lazy, strict=True):
        assert float(value) == pytest.approx(float(simkit.compare(*pair, index)), rel=1e-10)


def _in_memory(client):
    return [str(key) for keys in client.has_what().values() for key in keys]


PLUGIN = """
from dataclasses import dataclass
from simkit.indexes.cka import CKA
from simkit.kernels.linear import Linear

@dataclass(frozen=True)
class Elsewhere(CKA):
    name = "elsewhere"

@dataclass(frozen=True)
class Doubled(Linear):
    name = "doubled"

    def __call__(self, X, Y):
        return 2 * super().__call__(X, Y)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module that this process can import and the workers, which run already, cannot."""
    (tmp_path / "only_on_the_client.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_on_the_client

    yield only_on_the_client
    del sys.modules["only_on_the_client"]


def test_a_plugin_that_the_workers_lack(client, pair, plugin):
    x, y = (da.from_array(a, chunks=(100, 5)) for a in pair)
    begin = time.monotonic()
    with pytest.raises(PluginError, match=r"Worker tcp://.* cannot import only_on_the_client:Elsewhere .*1 more worker"):
        simkit.compare(x, y, plugin.Elsewhere())
    with pytest.raises(PluginError, match=r"only_on_the_client:Doubled"):
        simkit.compare(x, y, "cka", kernel=plugin.Doubled())
    assert time.monotonic() - begin < 10
    assert float(simkit.compare(x, y)) == pytest.approx(float(simkit.compare(*pair)))  # no worker was lost


def test_a_plugin_that_a_worker_lacks_when_it_is_too_late_to_ask(client, pair, plugin, monkeypatch):
    """A worker that joined after the question: an error of the task, no dropped workers, no hang."""
    monkeypatch.setattr("simkit.scale.dask.preflight", lambda *_, **__: None)
    lazy = simkit.compare(da.from_array(pair[0], chunks=(100, 7)), da.from_array(pair[1]), plugin.Elsewhere())
    begin = time.monotonic()
    with pytest.raises(PluginError, match=r"Worker tcp://.* cannot import only_on_the_client:Elsewhere"):
        lazy.compute()
    assert time.monotonic() - begin < 15
    assert len(client.run(os.getpid)) == 2


def test_a_worker_has_another_version_of_a_plugin(client, pair, tmp_path, monkeypatch):
    """The number would come, and might be another one."""
    for version, folder in (("1.0", tmp_path / "workers"), ("2.0", tmp_path / "here")):
        distribution(folder, "in-two-versions", {"doubled": "in_two_versions:Doubled"}, version, "in_two_versions", PLUGIN)
    client.run(exec, f"import sys; sys.path.insert(0, {str(tmp_path / 'workers')!r})")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    simkit.registry.refresh()
    x, y = (da.from_array(a, chunks=(100, 5)) for a in pair)
    try:
        with pytest.raises(PluginError, match=r"Worker tcp://.* has in-two-versions 1\.0; .* with 2\.0.*1 more worker"):
            simkit.compare(x, y, "cka(kernel=doubled)")
        client.run(exec, f"import sys, importlib; sys.path[0] = {str(tmp_path / 'here')!r}; importlib.invalidate_caches()")
        assert float(simkit.compare(x, y, "hsic(kernel=doubled)")) == pytest.approx(4 * float(simkit.compare(*pair, "hsic")))
    finally:
        client.run(exec, f"import sys; sys.path.remove({str(tmp_path / 'here')!r}); sys.modules.pop('in_two_versions')")
        sys.modules.pop("in_two_versions")
        monkeypatch.undo()
        simkit.registry.refresh()


def test_an_index_written_in_a_notebook(client, pair):
    """A class that no module offers travels as its code."""
    from dataclasses import dataclass

    from simkit.indexes.cka import CKA

    @dataclass(frozen=True)
    class Mine(CKA):
        name = "mine"

        def from_sums(self, xy, xx, yy):
            return 2 * super().from_sums(xy, xx, yy)

    lazy = simkit.compare(da.from_array(pair[0], chunks=(100, 7)), da.from_array(pair[1]), Mine())
    assert float(lazy) == pytest.approx(2 * float(simkit.compare(*pair)))


def test_one_task_needs_more_memory_than_a_worker_has(client):
    wide = da.zeros((20_000, 9_000), chunks=(4000, 9_000))  # moments of 2.6 GB
    with pytest.raises(MemoryError, match=r"needs about \d+ MiB, but worker tcp://.* may use 600 MiB \(and 1 more worker\)"):
        simkit.compare(wide, wide + 1)


def eat(block):
    hoard = [np.ones(2**24) for _ in range(100)]  # 13 GB
    return block + len(hoard) * 0


def test_a_task_that_outgrows_its_worker_fails_and_does_not_hang(client, pair):
    x = da.from_array(pair[0], chunks=(600, 7)).map_blocks(eat, meta=pair[0][:0])
    begin = time.monotonic()
    with pytest.raises(
        ClusterMemoryError, match=r"Task \S*simkit\S* ended 2 workers .* the last tcp://\S+: .*\(600 MiB\)\. Rechunk"
    ):
        compute(simkit.compare(x, da.from_array(pair[1], chunks=(600, 5))), progress=False)
    assert time.monotonic() - begin < 60
    client.wait_for_workers(2, timeout=30)


def end_once(block, file):
    return block if file.exists() else os._exit(1)


def test_a_task_that_ends_its_worker_in_another_way_and_the_run_after_it(client, pair, tmp_path):
    """The second run has the very tasks of the first, whose error must not outlive it."""
    file = tmp_path / "mended"
    x = da.from_array(pair[0], chunks=(300, 7)).map_blocks(end_once, file=file, meta=pair[0][:0])
    lazy = simkit.compare(x, da.from_array(pair[1], chunks=(300, 5)))
    with pytest.raises(ClusterError, match=r"ended 2 workers .* Most often that is memory: .* Otherwise the log") as kept:
        compute(lazy, progress=False)
    file.touch()
    assert float(compute(lazy, progress=False)[0]) == pytest.approx(float(simkit.compare(*pair)), rel=1e-10)
    assert not isinstance(kept.value, MemoryError)  # alive, as it is in a notebook, with all that it refers to
    client.wait_for_workers(2, timeout=30)


@pytest.fixture
def impatient(monkeypatch):
    """The waits of preflight and compute, in tenths of a second."""
    monkeypatch.setattr("simkit.scale.cluster._ANSWER", 1.0)
    monkeypatch.setattr("simkit.scale.waiting._LOOK", 0.3)
    monkeypatch.setattr("simkit.scale.waiting._SILENCE", 2.0)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_workers_that_are_stopped(client, pair, impatient):
    """Named before the work and while it waits; the number comes as soon as they go on."""
    x, y = (da.from_array(a, chunks=(100, a.shape[1])) for a in pair)
    pids = client.run(os.getpid)
    first, second = pids
    try:
        os.kill(pids[first], signal.SIGSTOP)
        with pytest.warns(ClusterWarning, match=rf"Worker {first} did not answer within 1 seconds, so nothing was checked"):
            lazy = simkit.compare(x, y)
        os.kill(pids[second], signal.SIGSTOP)
        with pytest.raises(ClusterError, match=r"Worker \S+ \(and 1 more worker\) did not answer .* there is no other"):
            simkit.compare(x, y)
        continuing = [threading.Timer(4, os.kill, (pid, signal.SIGCONT)) for pid in pids.values()]
        for timer in continuing:
            timer.start()
        with pytest.warns(
            ClusterWarning, match=r"\(2 of 2\) has not been heard of for \d+ seconds; .* given up in \d+ seconds"
        ):
            (value,) = compute(lazy, progress=False)
        assert float(value) == pytest.approx(float(simkit.compare(*pair)), rel=1e-10)
    finally:
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)


def test_a_client_that_disconnects(cluster, pair):
    """Work without an owner is dropped; the next client finds a cluster that works, and the same number."""
    x = da.from_array(pair[0], chunks=(20, 7)).map_blocks(slowly, meta=pair[0][:0])
    y = da.from_array(pair[1], chunks=(20, 5))
    with distributed.Client(cluster) as first:
        future = first.compute(simkit.compare(x, y))
        time.sleep(0.3)
    assert future.status == "cancelled"
    with distributed.Client(cluster) as second:
        assert float(simkit.compare(x[:100], y[:100])) == pytest.approx(float(simkit.compare(pair[0][:100], pair[1][:100])))
        assert second.status == "running"


class Workers:
    """Answers of workers, by their addresses, in place of a client."""

    status = "running"

    def __init__(self, answers):
        self.answers, self.scheduler = answers, self

    def sync(self, function, **_):
        return asyncio.run(function())

    async def identity(self):
        return {"workers": dict.fromkeys(self.answers)}

    async def run(self, function, *arguments, workers, on_error):
        assert function.__module__ == "importlib.metadata"  # nothing of simkit's own before simkit is known to be there
        return {worker: self.answers[worker] for worker in workers}


def test_preflight_of_workers_without_simkit(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", _version)
    lacks = ModuleNotFoundError("No package metadata was found")
    with pytest.raises(PluginError, match="Worker tcp://b:2 does not have simkit; this process has 0.1.0"):
        preflight(Workers({"tcp://a:1": "0.1.0", "tcp://b:2": lacks}))
    with pytest.raises(PluginError, match=r"Worker tcp://a:1 has simkit 0\.0\.9 \(and 1 more worker\)"):
        preflight(Workers({"tcp://a:1": "0.0.9", "tcp://b:2": "0.0.9"}))


def _version(name):
    return "0.1.0"


_version.__module__ = "importlib.metadata"


def test_recipes():
    index = simkit.get_index("cka(kernel=rbf(fraction=0.4), estimator=unbiased)")
    recipe = Recipe.of(index)
    assert recipe.source is None
    assert (recipe.module, recipe.qualname) == ("simkit.indexes.cka", "CKA")
    assert recipe.make() == index
    assert Recipe.of(simkit.get_index("distance_correlation")).make() == simkit.get_index("distance_correlation")
    with pytest.raises(PluginError, match=r"This process cannot import no_such_module:Index .*PipInstall"):
        Recipe("no_such_module", "Index", ()).make()


def test_the_command_line_on_a_cluster(cluster, tmp_path, pair):
    for name, array in zip("xy", pair, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    program = "from simkit.cli import main; main()"
    call = [sys.executable, "-c", program, "compare", "x.npy", "y.npy", "--chunks", "100"]
    done = subprocess.run(
        [*call, "--scheduler", cluster.scheduler_address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(simkit.compare(*pair)), rel=1e-5)
