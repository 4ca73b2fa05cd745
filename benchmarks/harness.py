"""Run simkit and its rivals in turn and print ratios."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Case", "matmul_rate", "peak_memory", "report"]


@dataclass
class Case:
    """One problem and the ways to solve it; the first way is simkit's.

    `ways` maps labels to functions that return the score(s); `truth` is the score in float64 by the definition; `flops` the
    operations of simkit's algorithm, for the share of the matrix-product rate in `dtype`.
    """

    title: str
    ways: dict[str, Callable[[], object]]
    truth: np.ndarray
    flops: float
    dtype: str = "float32"
    rounds: int = 7
    notes: list[str] = field(default_factory=list)


def matmul_rate(dtype: str, size: int = 2048, rounds: int = 5) -> float:
    """Best floating-point operations per second of a square NumPy matrix product."""
    a = np.random.default_rng(0).standard_normal((size, size)).astype(dtype)
    best = min(_timed(lambda: a @ a.T.copy())[0] for _ in range(rounds))
    return 2 * size**3 / best


def peak_memory(work: Callable[[], object]) -> float:
    """MiB by which the resident memory of this process rises above its level while `work` runs; nan off Linux."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return float("nan")
    gc.collect()
    reset.write_text("5")  # sets the high-water mark back to the present level

    def read(key: str) -> float:
        return float(next(line for line in status.read_text().splitlines() if line.startswith(key)).split()[1]) / 1024

    before = read("VmRSS")
    work()
    return read("VmHWM") - before


def report(case: Case) -> None:
    """Run a case and print its table."""
    rate = matmul_rate(case.dtype)
    results = {label: np.asarray(way(), dtype=np.float64) for label, way in case.ways.items()}  # also the warm-up
    times: dict[str, list[float]] = {label: [] for label in case.ways}
    for _ in range(case.rounds):
        for label, way in case.ways.items():
            times[label].append(_timed(way)[0])
    own = next(iter(case.ways))
    print(f"\n{case.title}    ({case.dtype} matrix products here: {rate / 1e9:.0f} GFLOP/s)")
    print(f"  {'':<34}{'median ms':>10}{'ratio':>8}{'of rate':>9}{'MiB':>8}{'error':>10}")
    for label, way in case.ways.items():
        median = statistics.median(times[label])
        ratio = statistics.median(b / a for a, b in zip(times[own], times[label], strict=True))
        error = float(np.max(np.abs(results[label] - case.truth)))
        share = f"{case.flops / median / rate:>8.0%} "
        print(f"  {label:<34}{median * 1e3:>10.1f}{ratio:>8.2f}{share}{peak_memory(way):>8.0f}{error:>10.1e}")
    for note in case.notes:
        print(f"  {note}")


def machine() -> str:
    """One line on what this ran on."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{versions}, {os.cpu_count()} cores, {platform.machine()}, {sys.platform}"


def _timed(work: Callable[[], object]) -> tuple[float, object]:
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result
