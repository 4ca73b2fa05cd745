"""What happens on a cluster when something fails in the middle of a pass: the exact number or a clear error, in time.

``python -m benchmarks.faults`` starts clusters of separate processes on this machine, kills, stops, starves and disconnects
what it can, and prints a table: how many runs gave the number of `simkit.compare` in memory to 1e-10, how many an error of
simkit's own, how long they took, and the longest time in which nothing was said (`ClusterWarning`) nor ended, the work
itself included. It ends with code 1 if a run was wrong, gave another error, or was silent for 30 seconds longer than a pass
takes.

    python -m benchmarks.faults --kills 50 --seed 0           # all cases, some 20 minutes
    python -m benchmarks.faults --cases kill starve --json
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import logging
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import simkit
from benchmarks.machine import machine
from simkit.errors import ClusterError, ClusterMemoryError, ClusterWarning, PluginError
from simkit.scale.dask import compute

INDEXES = ("cka(estimator=unbiased)", "cca", "cka(kernel=rbf(fraction=0.5))")  # moments, roots, kernel sums
N, CHUNK, SILENCE, LIMIT, WORKERS = 4000, 100, 30.0, 150.0, 2
EXACT = "exact"


@dataclass
class Run:
    """One computation that something happened to."""

    case: str
    index: str
    outcome: str
    seconds: float
    silent: float  # the longest time without a word
    words: list[str]
    as_hoped: bool


@dataclass
class Soak:
    """Runs things and writes down what came of them."""

    random: random.Random
    kills: int
    runs: list[Run] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)
    usual: dict[str, float] = field(default_factory=dict)  # seconds of a pass that nothing happens to

    def run(self, case: str, index: str, work: Callable[[], float], *hoped: str) -> Run:
        """Do some work, for at most 150 seconds; `hoped` are the outcomes that are right, by default the exact number."""
        found: list[str] = []
        self.said.clear()

        def attempt() -> None:
            try:
                found.append(judged(work(), index))
            except Exception as error:
                found.append(f"{type(error).__name__}: {error}")

        begin = time.monotonic()
        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(LIMIT)
        end = time.monotonic()
        times = [begin, *(at for at, _ in self.said), end]
        silent = max(b - a for a, b in itertools.pairwise(times))
        outcome = found[0] if found else f"no end after {LIMIT:.0f} s"
        name = outcome.partition(":")[0]
        good = name in (hoped or (EXACT,)) and silent < SILENCE + self.usual.get(index, 0.0)
        self.runs.append(Run(case, index, outcome, end - begin, silent, [words for _, words in self.said], good))
        print(
            f"  {case}, {index}: {outcome[:150]} ({end - begin:.1f} s, silent {silent:.1f} s)", file=sys.stderr, flush=True
        )
        return self.runs[-1]

    def hear(self, message: Any, category: type[Warning], *_: Any) -> None:
        """In place of `warnings.showwarning`."""
        if issubclass(category, ClusterWarning):
            self.note(str(message))

    def note(self, words: str) -> None:
        """Write down what was said, and when."""
        self.said.append((time.monotonic(), words))

    def later(self, seconds: float, work: Callable[..., Any], *arguments: Any) -> None:
        """Call a function in a while; it may find that there is nothing left to do."""

        def attempt() -> None:
            with suppress(OSError):
                work(*arguments)

        timer = threading.Timer(seconds, attempt)
        timer.daemon = True
        timer.start()


# --- data and clusters --------------------------------------------------------------------------------------------------


@functools.cache
def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 16))
    return x, x[:, :8] + rng.standard_normal((N, 8))


@functools.cache
def truth(index: str) -> float:
    return float(simkit.compare(*arrays(), index))


def judged(value: float, index: str) -> str:
    error = abs(value / truth(index) - 1)
    return EXACT if error < 1e-10 else f"wrong by {error:.1e}"


def slowly(block: np.ndarray, seconds: float = 0.08) -> np.ndarray:
    time.sleep(seconds)
    return block


def hungry(block: np.ndarray) -> np.ndarray:
    hoard = [np.ones(2**22) for _ in range(400)]  # 13 GB, in steps that the nanny sees
    return block + 0 * len(hoard)


def lazily(index: Any, doing: Callable[[np.ndarray], np.ndarray] = slowly) -> Any:
    """A score whose blocks take their time."""
    x, y = arrays()
    left = da.from_array(x, chunks=(CHUNK, 16)).map_blocks(doing, meta=x[:0])
    return simkit.compare(left, da.from_array(y, chunks=(CHUNK, 8)), index)


def score(index: Any, doing: Callable[[np.ndarray], np.ndarray] = slowly, timeout: float = 60.0) -> float:
    return float(compute(lazily(index, doing), progress=False, timeout=timeout)[0])


@contextmanager
def cluster(workers: int = WORKERS, **options: Any) -> Iterator[Client]:
    """A client of a new cluster of separate processes."""
    # By default LocalCluster gives up a worker that happens to be starting 15 s after it was lost before.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1 hour"}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=60, **options
        ) as running,
        Client(running) as client,
    ):
        yield client


@contextmanager
def head(workers: int = WORKERS, **environments: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], Client]]:
    """A scheduler in a process of its own, and workers beside it: so many, or one for each environment."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "scheduler.json")

        def started(kind: str, *options: str, **environment: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", file, "--no-dashboard"]
            return subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL, env=os.environ | environment)

        scheduler = started("scheduler", "--port", "0")
        client = Client(scheduler_file=file, timeout="30s")
        crew = [
            started("worker", "--nthreads", "1", "--name", name, **environment)
            for name, environment in (environments or {f"worker-{k}": {} for k in range(workers)}).items()
        ]
        try:
            if crew:
                client.wait_for_workers(len(crew), timeout=30)
            yield scheduler, client
        finally:
            client.close()
            for process in (*crew, scheduler):
                process.kill()
                process.wait()


def processes(client: Client) -> list[int]:
    """The processes of the workers, in the order of their names."""
    return list(client.run(os.getpid).values())


# --- cases ----------------------------------------------------------------------------------------------------------------


def nothing(soak: Soak) -> None:
    """Passes that nothing happens to."""
    with cluster():
        for index in INDEXES:
            soak.usual[index] = soak.run("nothing", index, lambda index=index: score(index)).seconds


def kill(soak: Soak) -> None:
    """A worker killed at a random moment of a pass, with a new cluster every five, or if a worker does not come back."""
    done = 0
    while done < soak.kills:
        with cluster() as client:
            for _ in range(min(5, soak.kills - done)):
                try:
                    client.wait_for_workers(WORKERS, timeout=30)
                except TimeoutError:
                    break
                index = INDEXES[done % len(INDEXES)]
                soak.later(soak.random.uniform(0, 2.5), os.kill, soak.random.choice(processes(client)), signal.SIGKILL)
                soak.run("a worker is killed", index, lambda index=index: score(index))
                done += 1


def stop(soak: Soak) -> None:
    """A worker stopped in the middle of a pass, and continued later."""
    for index in INDEXES:
        with cluster() as client:
            pid = soak.random.choice(processes(client))
            soak.later(1.0, os.kill, pid, signal.SIGSTOP)
            soak.later(40.0, os.kill, pid, signal.SIGCONT)
            soak.run("a worker is stopped, and goes on after 40 s", index, lambda index=index: score(index))


def freeze(soak: Soak) -> None:
    """A worker stopped for good, which the scheduler gives up after 45 seconds."""
    for index in INDEXES:
        with dask.config.set({"distributed.scheduler.worker-ttl": "45s"}), cluster() as client:
            pid = soak.random.choice(processes(client))
            soak.later(1.0, os.kill, pid, signal.SIGSTOP)
            soak.run("a worker is stopped for good (worker-ttl 45 s)", index, lambda index=index: score(index))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def starve(soak: Soak) -> None:
    """A task that needs more memory than a worker may use; then a small one on the same cluster."""
    with cluster(memory_limit="600MiB") as client:
        for index in INDEXES:
            soak.run(
                "a task outgrows its workers", index, lambda index=index: score(index, hungry), ClusterMemoryError.__name__
            )
            soak.run("the next run on that cluster", index, lambda index=index: score(index))
        client.wait_for_workers(1, timeout=30)


def pause(soak: Soak) -> None:
    """Workers whose memory is full before they begin."""
    with dask.config.set({"distributed.worker.memory.pause": 1e-4}), cluster(memory_limit="1GiB"):
        time.sleep(1)
        soak.run("all workers are out of memory", "cca", lambda: score("cca", timeout=40), ClusterError.__name__)


def behead(soak: Soak) -> None:
    """The scheduler killed, and the scheduler stopped."""
    for sign, name in ((signal.SIGKILL, "the scheduler is killed"), (signal.SIGSTOP, "the scheduler is stopped")):
        for index in INDEXES:
            with head() as (scheduler, _):
                soak.later(2.0, scheduler.send_signal, sign)
                soak.run(name, index, lambda index=index: score(index, timeout=40), ClusterError.__name__)


def leave(soak: Soak) -> None:
    """A client that disconnects in the middle, and the next one on the same cluster."""
    with cluster() as client:
        for index in INDEXES:
            with Client(client.scheduler.address, set_as_default=False) as other:
                future = other.compute(lazily(index))
                time.sleep(1.0)
                del future
            soak.run("after a client disconnected", index, lambda index=index: score(index))


def two(soak: Soak) -> None:
    """Two clients at once, while a worker is killed."""
    with cluster() as client, Client(client.scheduler.address, set_as_default=False) as other:
        for index in INDEXES:
            client.wait_for_workers(WORKERS, timeout=30)
            beside: list[str] = []

            def attempt(index: str = index, beside: list[str] = beside) -> None:
                with other.as_current():
                    beside.append(judged(score(index), index))

            thread = threading.Thread(target=attempt, daemon=True)
            soak.later(soak.random.uniform(0, 2.5), os.kill, soak.random.choice(processes(client)), signal.SIGKILL)
            thread.start()
            run = soak.run("two clients at once, a worker is killed", index, lambda index=index: score(index))
            thread.join(LIMIT)
            run.as_hoped &= beside == [EXACT]


def desert(soak: Soak) -> None:
    """No workers: until some start, and for ever."""
    with cluster(workers=0) as client:
        soak.later(15.0, client.cluster.scale, WORKERS)
        soak.run("no workers for 15 s", "cca", lambda: score("cca"))
    with cluster(workers=0):
        soak.run("no workers", "cca", lambda: score("cca", timeout=40), ClusterError.__name__)


PLUGIN = """
from dataclasses import dataclass
from simkit.indexes.cka import CKA

@dataclass(frozen=True)
class Elsewhere(CKA):
    name = "elsewhere"
"""


def write_plugin(folder: Path, version: str) -> str:
    """An installed distribution that offers an index; the folder to put on the path."""
    about = folder / f"simkit_elsewhere-{version}.dist-info"
    about.mkdir(parents=True)
    (folder / "simkit_elsewhere.py").write_text(PLUGIN)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: simkit-elsewhere\nVersion: {version}\n")
    (about / "entry_points.txt").write_text("[simkit.indexes]\nelsewhere = simkit_elsewhere:Elsewhere\n")
    return str(folder)


def plugin(soak: Soak) -> None:
    """One of two workers lacks a plugin, or has another version of it."""
    with tempfile.TemporaryDirectory() as folder:
        new, old = (write_plugin(Path(folder, version), version) for version in ("2.0", "1.0"))
        path = os.environ.get("PYTHONPATH", "")
        sys.path.insert(0, new)
        simkit.registry.refresh()
        try:
            for name, other in (
                ("one worker lacks a plugin", path),
                ("one worker has another version of it", f"{old}:{path}"),
            ):
                with head(right={"PYTHONPATH": f"{new}:{path}"}, wrong={"PYTHONPATH": other}):
                    soak.run(name, INDEXES[0], lambda: score("elsewhere(estimator=unbiased)"), PluginError.__name__)
        finally:
            sys.path.remove(new)
            simkit.registry.refresh()


def torch(soak: Soak) -> None:
    """Processes of `torch.distributed` that do not do what the others do."""
    from benchmarks.faults_torch import CASES as torch_cases
    from benchmarks.faults_torch import outcomes

    for name, (misdeed, hoped) in torch_cases.items():
        for index in ("cka(estimator=unbiased)", "cca"):
            soak.run(name, index, lambda index=index, misdeed=misdeed: outcomes(misdeed, index, arrays(), soak.note), hoped)


CASES: dict[str, Callable[[Soak], None]] = {
    case.__name__: case for case in (nothing, kill, stop, freeze, starve, pause, behead, leave, two, desert, plugin, torch)
}


# --- the table ------------------------------------------------------------------------------------------------------------


def table(runs: list[Run]) -> str:
    """The runs of each case in one line of Markdown."""
    lines = ["| what happens | runs | exact | clear error | else | seconds, median and most | longest silence, s |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for case in dict.fromkeys(run.case for run in runs):
        of = [run for run in runs if run.case == case]
        good = [run for run in of if run.as_hoped]
        exact = sum(run.outcome == EXACT for run in good)
        names = ", ".join(sorted({f"`{run.outcome.partition(':')[0]}`" for run in good if run.outcome != EXACT}))
        errors = f"{len(good) - exact} {names}".strip()
        seconds = [run.seconds for run in of]
        lines.append(
            f"| {case} | {len(of)} | {exact} | {errors} | {len(of) - len(good)} | {statistics.median(seconds):.1f}, "
            f"{max(seconds):.1f} | {max(run.silent for run in of):.1f} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run cases and print what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--kills", type=int, default=50, help="how many workers the case 'kill' kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print every run")
    options = parser.parse_args()
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # it writes down every failure as it happens
    soak = Soak(random.Random(options.seed), options.kills)
    warnings.simplefilter("always", ClusterWarning)
    warnings.showwarning = soak.hear  # type: ignore[assignment]
    for index in INDEXES:
        truth(index)
    for name in dict.fromkeys(["nothing", *options.cases]):
        CASES[name](soak)
    if options.json:
        print(json.dumps({"machine": machine(), "runs": [asdict(run) for run in soak.runs]}, indent=1))
    else:
        print(f"{machine()}\n\n{table(soak.runs)}")
    return int(not all(run.as_hoped for run in soak.runs))


if __name__ == "__main__":
    sys.exit(main())
