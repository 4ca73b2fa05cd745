"""Waiting for clusters that cannot do the work: what is said, when, and that what it advises helps."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import simkit
from simkit.errors import ClusterError, ClusterWarning

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")
import dask  # noqa: E402
from distributed.comm import CommClosedError  # noqa: E402

from simkit.scale.dask import compute  # noqa: E402
from simkit.scale.waiting import _Watch  # noqa: E402

X = np.random.default_rng(0).standard_normal((60, 4))
SCORE = float(simkit.compare(X, X[:, :2] + X[:, 2:]))


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Waits in tenths of a second."""
    monkeypatch.setattr("simkit.scale.cluster._ANSWER", 0.5)
    monkeypatch.setattr("simkit.scale.waiting._LOOK", 0.2)


def lazily():
    x = da.from_array(X, chunks=(20, 4))
    return simkit.compare(x, x[:, :2] + x[:, 2:])


def threads(**options):
    """A cluster in this process, which takes no time to start."""
    return distributed.LocalCluster(processes=False, threads_per_worker=1, dashboard_address=None, **options)


@pytest.fixture
def scheduler(tmp_path):
    """The process of a scheduler, and a client of it."""
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    process = subprocess.Popen([*command, "--scheduler-file", str(file)], stderr=subprocess.DEVNULL)
    try:
        client = distributed.Client(scheduler_file=str(file), timeout="20s")
        yield process, client
    finally:
        client.close()
        process.kill()
        process.wait()


def test_no_workers():
    with threads(n_workers=0) as cluster, distributed.Client(cluster):
        address = cluster.scheduler_address
        with pytest.warns(ClusterWarning, match=rf"{address} has no workers\..*'dask worker {address}'.*Nothing could be"):
            lazy = lazily()
        with (
            pytest.warns(ClusterWarning, match=r"has no workers\..* given up in \d seconds\."),
            pytest.raises(ClusterError, match=rf"Gave up after \d seconds .* {address} has no workers"),
        ):
            compute(lazy, progress=False, timeout=1)
        helped = threading.Timer(1, cluster.scale, (2,))  # the advice
        helped.start()
        with pytest.warns(ClusterWarning, match="has no workers"):
            (value,) = compute(lazy, progress=False, timeout=None)
        helped.join()
        assert float(value) == pytest.approx(SCORE, rel=1e-12)


def test_workers_without_memory():
    with (
        dask.config.set({"distributed.worker.memory.pause": 1e-4}),
        threads(n_workers=1, memory_limit="1GiB") as cluster,
        distributed.Client(cluster) as client,
    ):
        while next(iter(client.scheduler_info()["workers"].values()))["status"] != "paused":
            time.sleep(0.05)
        with (
            pytest.warns(ClusterWarning, match=r"All 1 workers are paused, .* \(1024 MiB for .*Rechunk .* memory_limit"),
            pytest.raises(ClusterError, match=r"Gave up after \d seconds .* paused"),
        ):
            compute(lazily(), progress=False, timeout=1)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_scheduler_that_stops_and_one_that_dies(scheduler):
    process, client = scheduler
    address = client.scheduler.address
    with pytest.warns(ClusterWarning, match="no workers"):
        lazy = lazily()
    threading.Timer(0.5, process.send_signal, (signal.SIGSTOP,)).start()
    with (
        pytest.warns(ClusterWarning),
        pytest.raises(ClusterError, match=rf"Gave up .* The scheduler {address} did not answer within 0 seconds"),
    ):
        compute(lazy, progress=False, timeout=3)
    with pytest.raises(ClusterError, match="did not answer"):
        lazily()
    process.send_signal(signal.SIGCONT)
    client.sync(client.scheduler.identity)
    threading.Timer(2, process.kill).start()
    with pytest.warns(ClusterWarning), pytest.raises(ClusterError, match=rf"lost its connection to the scheduler {address}"):
        compute(lazy, progress=False)
    begin = time.monotonic()
    for again in (lazily, lambda: compute(lazy)):  # Dask itself would wait for half a minute
        with pytest.raises(
            ClusterError, match=r"lost its connection .* compute in this process: dask\.config\.set\(scheduler='threads'\)"
        ):
            again()
    assert time.monotonic() - begin < 5
    with dask.config.set(scheduler="threads"):  # the advice
        assert float(lazily()) == pytest.approx(SCORE, rel=1e-12)
    client.close()
    assert float(compute(lazily(), progress=False)[0]) == pytest.approx(SCORE, rel=1e-12)


def test_a_scheduler_that_dies_while_it_is_asked(scheduler, monkeypatch):
    process, client = scheduler
    identity = client.scheduler.identity

    async def dies():
        process.kill()
        process.wait()
        return await identity()

    monkeypatch.setattr(client.scheduler, "identity", dies, raising=False)
    with pytest.raises(ClusterError, match="lost its connection"):
        lazily()


def test_a_connection_that_is_closed_while_the_scheduler_lives(monkeypatch):
    with threads(n_workers=1) as cluster, distributed.Client(cluster) as client:
        identity, asked = client.scheduler.identity, []

        async def closed_once():
            asked.append(1)
            if len(asked) == 1:
                raise CommClosedError
            return await identity()

        monkeypatch.setattr(client.scheduler, "identity", closed_once, raising=False)
        assert float(compute(lazily(), progress=False)[0]) == pytest.approx(SCORE, rel=1e-12)
        assert len(asked) > 1


def test_the_command_line_says_one_line_of_each(scheduler, tmp_path):
    process, client = scheduler
    np.save(tmp_path / "x.npy", X)
    call = ["compare", "x.npy", "x.npy", "--scheduler", client.scheduler.address]
    with subprocess.Popen(
        [sys.executable, "-c", "from simkit.cli import main; main()", *call], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as running:
        said = [running.stderr.readline()]
        time.sleep(0.5)
        process.kill()
        said += running.stderr.readlines()
    assert running.returncode == 2
    assert len(said) == 2
    assert said[0].startswith("simkit: warning: The scheduler tcp://")
    assert said[1].startswith("simkit: The client has lost its connection to the scheduler tcp://")


def test_a_client_that_was_closed_in_its_own_block():
    with threads(n_workers=1) as cluster:
        with distributed.Client(cluster) as client:
            lazy = lazily()
            client.close()
            for work in (lazily, lambda: compute(lazy)):
                with pytest.raises(ClusterError, match=r"lost its connection"):
                    work()
            with dask.config.set(scheduler="threads"):  # the advice
                assert float(lazily()) == float(compute(lazy)[0]) == pytest.approx(SCORE, rel=1e-12)
        assert float(compute(lazy, progress=False)[0]) == pytest.approx(SCORE, rel=1e-12)
        dask.config.set(scheduler=None)  # distributed leaves this behind


def test_work_that_somebody_else_cancels():
    with threads(n_workers=1) as cluster, distributed.Client(cluster) as client:
        x = da.from_array(X, chunks=(20, 4)).map_blocks(lambda block: time.sleep(1) or block, meta=X[:0])
        threading.Timer(
            0.5, lambda: client.cancel([distributed.Future(key, client) for key in list(client.futures)])
        ).start()
        with pytest.raises(ClusterError, match=r"The work was cancelled on the cluster, .* Compute it again\."):
            compute(simkit.compare(x, x), progress=False)
        assert float(compute(lazily(), progress=False)[0]) == pytest.approx(SCORE, rel=1e-12)  # the advice


def test_errors_of_tasks_stay_what_they_are():
    with threads(n_workers=1) as cluster, distributed.Client(cluster):
        x = da.from_array(np.where(np.arange(60)[:, None] == 33, np.nan, X), chunks=(20, 4))
        with pytest.raises(simkit.errors.InvalidArrayError, match="33"):
            compute(simkit.compare(x, x), progress=False)


def test_two_results_together_and_a_bar_on_standard_error(capsys):
    with threads(n_workers=1) as cluster, distributed.Client(cluster):
        x = da.from_array(X, chunks=(20, 4))
        one, matrix = compute(lazily(), simkit.pairwise({"a": x, "b": x[:, :2]}).values, progress=True)
    assert float(one) == pytest.approx(SCORE, rel=1e-12)
    np.testing.assert_allclose(matrix, simkit.pairwise({"a": X, "b": X[:, :2]}).values, rtol=1e-12)
    shown = capsys.readouterr()
    assert "100% Completed" in shown.err
    assert shown.out == ""


def test_a_heartbeat_counts_by_its_change_whatever_the_clock_of_the_scheduler_says(monkeypatch):
    now = 0.0
    monkeypatch.setattr("simkit.scale.waiting.time", SimpleNamespace(monotonic=lambda: now))
    watch = _Watch(SimpleNamespace(scheduler=SimpleNamespace(address="tcp://s:1")), timeout=None)
    about = {"last_seen": 5e9, "status": "running", "memory_limit": 2**30}
    workers = {"tcp://a:1": dict(about), "tcp://b:2": dict(about)}
    assert watch._trouble(workers) == ("", False)
    now = 60.0
    workers["tcp://b:2"]["last_seen"] += 1e-3
    trouble, at_rest = watch._trouble(workers)
    assert trouble.startswith("Worker tcp://a:1 (1 of 2) has not been heard of for 60 seconds")
    assert not at_rest
    workers["tcp://b:2"]["status"] = "paused"
    assert watch._trouble(workers)[1]
    assert watch._trouble({})[1]


def test_what_lasts_is_said_again_but_not_at_every_look(monkeypatch):
    now = 0.0
    monkeypatch.setattr("simkit.scale.waiting.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("simkit.scale.waiting.workers_of", lambda _: {})
    watch = _Watch(SimpleNamespace(scheduler=SimpleNamespace(address="tcp://a:1")), timeout=70)
    said, texts = [], set()
    for now in range(0, 70, 5):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watch.look()
        said += [now] * len(caught)
        texts |= {str(each.message) for each in caught}
    assert said == [5, 20, 35, 50, 65]
    assert len(texts) == 5  # Python shows the same text once
    now = 70
    with pytest.raises(ClusterError, match="Gave up after 70 seconds"):
        watch.look()
