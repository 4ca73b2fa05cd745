"""One pass over files larger than memory: time and peak memory, against the bare matrix products of the same chunks.

``python -m benchmarks.scale.one_pass [FOLDER]`` writes the data to FOLDER (a temporary one by default: 3.4 GB) and runs each
way in a process of its own, `ROUNDS` times in turn. Memory is the peak of the resident set, above that of an interpreter
with NumPy and Dask imported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine

CASES = ((100_000, 256), (1_000_000, 256), (10_000_000, 16))
WAYS = ("bare", "cka", "cka(estimator=unbiased)", "cca", "naive")
ROUNDS = 3


def main() -> None:
    """Write the data, run every way on every case, print a table."""
    print(machine())
    print(f"{'n':>11}{'p':>5}  {'way':<26}{'seconds':>9}{'of bare':>9}{'MB':>7}{'score':>12}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        for n, p in CASES:
            x, y = (_written(folder / f"{side}-{n}-{p}.npy", n, p, seed) for seed, side in enumerate("xy"))
            results: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
            for _ in range(ROUNDS):
                for way in WAYS:
                    results[way].append(_in_a_process(way, x, y))
            for way, runs in results.items():
                seconds, ratio = (statistics.median(v) for v in ([run[0] for run in runs], _ratios(runs, results["bare"])))
                print(f"{n:>11,}{p:>5}  {way:<26}{seconds:>9.2f}{ratio:>9.2f}{runs[0][1]:>7.0f}{runs[0][2]:>12.6f}")


def _ratios(runs: list[tuple[float, float, float]], bare: list[tuple[float, float, float]]) -> list[float]:
    return [run[0] / other[0] for run, other in zip(runs, bare, strict=True)]


def _written(path: Path, n: int, p: int, seed: int) -> Path:
    """Float32 numbers with something in common between x and y."""
    if not path.exists():
        rng, shared = np.random.default_rng(seed), np.random.default_rng(9)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, p))
        for start in range(0, n, 100_000):
            rows = min(100_000, n - start)
            file[start : start + rows] = rng.standard_normal((rows, p), dtype=np.float32)
            file[start : start + rows, : p // 4] += 2 * shared.standard_normal((rows, p // 4), dtype=np.float32)
        file.flush()
    return path


def _in_a_process(way: str, x: Path, y: Path) -> tuple[float, float, float]:
    command = [sys.executable, "-m", "benchmarks.scale.one_pass", "--way", way, str(x), str(y)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, score = map(float, done.stdout.split())
    return seconds, megabytes, score


def _run(way: str, x: Path, y: Path) -> None:
    """Print the seconds, the peak memory and the score of one way."""
    import dask.array as da

    import simkit
    from simkit.scale.dask import compute
    from simkit.scale.sources import open_source

    compute(
        simkit.compare(da.zeros((50, 2)) + np.arange(50)[:, None], da.ones((50, 2)) * np.arange(50)[:, None]), progress=False
    )
    before, begin = _resident("VmHWM"), time.perf_counter()
    if way == "bare":
        score = _bare(x, y)
    elif way == "naive":
        score = float(_naive(open_source(x), open_source(y)))
    else:
        score = float(compute(simkit.compare(open_source(x), open_source(y), way), progress=False)[0])
    print(time.perf_counter() - begin, _resident("VmHWM") - before, score)


def _bare(x: Path, y: Path) -> float:
    """The three products of chunks of 8 MiB and nothing else: in two threads, each with one thread of BLAS, like Dask."""
    n, p = np.load(x, mmap_mode="r").shape
    rows = 2**23 // (4 * p)

    def products(start: int) -> tuple[np.ndarray, ...]:
        u, v = (
            np.fromfile(path, np.float32, min(rows, n - start) * p, offset=128 + 4 * p * start).reshape(-1, p)
            for path in (x, y)
        )
        return u.T @ u, u.T @ v, v.T @ v

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        sums = [np.zeros((p, p))] * 3
        for parts in pool.map(products, range(0, n, rows)):
            sums = [total + part for total, part in zip(sums, parts, strict=True)]
    xx, xy, yy = sums
    return float(np.sum(xy**2) / np.sqrt(np.sum(xx**2) * np.sum(yy**2)))


def _naive(x: object, y: object) -> object:
    """What one would write with dask.array: the means must be known before any chunk can be dropped."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, xy, yy = x.T @ x, x.T @ y, y.T @ y
    return (xy**2).sum() / ((xx**2).sum() * (yy**2).sum()) ** 0.5


def _resident(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) / 1000


if __name__ == "__main__":
    if "--way" in sys.argv:
        _run(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
