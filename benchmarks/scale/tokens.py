"""Two layers of a language model with very many tokens: time and peak memory of each way to compare them.

``python -m benchmarks.scale.tokens [FOLDER]`` writes two float32 layers for each case to FOLDER (a temporary one by
default: 4.1 GB at a time) and runs each way in a process of its own, `ROUNDS` times; the one with the least processor time
counts, since the machine may be shared: rows a second are those of one core that has nothing else to do. The files are read
once before, so that they come from the page cache where they fit into it. Memory is the peak of the resident set above that
of an interpreter with NumPy and Dask imported; of a cluster, the sum over its workers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ONE_THREAD, load, machine
from benchmarks.scale.one_pass import _resident, _written

CASES = ((100_000, 512), (1_000_000, 512), (100_000, 1024), (300_000, 1024))
# A size is that of the chunks of a layer; by default 8 MiB.
WAYS = ("memory", "files", "files, 64 MiB", "files, unbiased", "zarr", "two workers", "two workers, 64 MiB", "stream")
ROUNDS = 1
BATCH = 4096


def main() -> None:
    """Write the data of each case, run every way, print a row for each."""
    print(machine(), flush=True)
    print(f"{'n':>11}{'p':>6}  {'way':<20}{'seconds':>9}{'core-s':>9}{'rows/core-s':>13}{'MB':>7}{'load':>7}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        for n, p in CASES:
            files = [_written(folder / f"{side}-{n}-{p}.npy", n, p, seed) for seed, side in enumerate("xy")]
            for way in WAYS:
                if way == "zarr" and n > 300_000:  # as large again on disk
                    continue
                runs = [_in_a_process(way, *files) for _ in range(ROUNDS)]
                busy, seconds, memory = min(runs)
                took = f"{seconds:>9.2f}{busy:>9.2f}{n / busy:>13,.0f}{memory:>7.0f}{load():>7.1f}"
                print(f"{n:>11,}{p:>6}  {way:<20}{took}", flush=True)
            for file in files:
                file.unlink()


def _in_a_process(way: str, x: Path, y: Path) -> tuple[float, ...]:
    command = [sys.executable, "-m", "benchmarks.scale.tokens", "--way", way, str(x), str(y)]
    # One thread of BLAS, as simkit sees to on Dask by itself: several wait for each other on a machine that is shared.
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
    return tuple(map(float, done.stdout.split()[-3:]))


def _run(way: str, *paths: Path) -> None:
    import dask.array as da

    import simkit
    from simkit.scale.dask import compute

    some = da.zeros((50, 2)) + np.arange(50)[:, None]
    compute(simkit.compare(some, some), progress=False)
    index = "cka(estimator=unbiased)" if way == "files, unbiased" else "cka"

    def computed(layers: list[Any]) -> float:
        return float(compute(simkit.compare(*layers, index), progress=False)[0])

    p = np.load(paths[0], mmap_mode="r").shape[1]
    chunks = 2**26 // (4 * p) if way.endswith("64 MiB") else None
    if way.startswith("two workers"):
        _on_workers(paths, chunks)
        return
    if way == "zarr":
        with tempfile.TemporaryDirectory(dir=paths[0].parent) as folder:
            _measured(computed, lambda: _zarr(Path(folder), paths))
        return
    for path in paths:  # into the page cache
        with path.open("rb") as file:
            while file.read(2**24):
                pass
    if way == "memory":
        _measured(lambda layers: float(simkit.compare(*layers)), lambda: [np.load(path) for path in paths], whole=True)
    elif way == "stream":
        _measured(_streamed, lambda: paths)
    else:
        _measured(computed, lambda: [simkit.open_source(path, chunks=chunks) for path in paths])


def _measured(work, prepare, *, whole=False) -> None:
    before = _resident("VmHWM")
    layers = prepare()
    if not whole:  # what preparing took is not what comparing takes
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
    begin, busy = time.perf_counter(), time.process_time()
    work(layers)
    print(time.process_time() - busy, time.perf_counter() - begin, _resident("VmHWM") - before)


def _streamed(paths) -> float:
    import simkit

    n, p = np.load(paths[0], mmap_mode="r").shape
    stream = simkit.stream("cka")
    for start in range(0, n, BATCH):
        size = min(BATCH, n - start) * p
        stream.update(*(np.fromfile(path, np.float32, size, offset=128 + 4 * p * start).reshape(-1, p) for path in paths))
    return float(stream.compute())


def _zarr(folder: Path, paths):
    import simkit
    from simkit.features import ActivationWriter

    with ActivationWriter(folder / "layers.zarr") as store:
        x, y = (np.load(path, mmap_mode="r") for path in paths)
        for start in range(0, len(x), BATCH):
            some = {"x": np.array(x[start : start + BATCH]), "y": np.array(y[start : start + BATCH])}
            if not store.skip(some["x"][:, :8]):
                store.append(some)
    return list(simkit.open_source(folder / "layers.zarr").values())


def _on_workers(paths, chunks: int | None) -> None:
    from distributed import Client, LocalCluster

    import simkit
    from simkit.scale.dask import compute

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        layers = [simkit.open_source(path, chunks=chunks) for path in paths]
        some = [layer[:100] for layer in layers]
        compute(simkit.compare(*some), progress=False)  # imports

        def spent() -> tuple[float, float]:
            """Processor time and memory of the workers."""
            return sum(client.run(time.process_time).values()), sum(client.run(_resident, "VmHWM").values())

        (busy, memory), begin = spent(), time.perf_counter()
        compute(simkit.compare(*layers), progress=False)
        seconds, (busy_now, memory_now) = time.perf_counter() - begin, spent()
        print(busy_now - busy, seconds, memory_now - memory)


if __name__ == "__main__":
    if "--way" in sys.argv:
        _run(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
