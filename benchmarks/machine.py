"""What a benchmark ran on, how fast that is, how quiet it was, and how much memory the work took."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "ONE_THREAD",
    "Others",
    "environment",
    "in_a_process",
    "load",
    "machine",
    "matmul_rate",
    "peak_memory",
    "product_time",
]

# Variables of the environment of a process.
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1")

_LIBRARIES = ("numpy", "scipy", "torch", "jax", "cupy", "dask", "pytorch-cka", "rsatoolbox", "POT")


def machine() -> str:
    """One line on what this ran on."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{versions}, {os.cpu_count()} cores, {platform.machine()}, {sys.platform}"


def environment(command: str) -> dict[str, Any]:
    """Date, command, processor, cores, versions and commit, to be stored beside figures."""
    return {
        "date": date.today().isoformat(),
        "command": command,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "blas": _blas(),
        "versions": {"Python": platform.python_version()} | {name: v for name in _LIBRARIES if (v := _version(name))},
        "commit": _commit(),
    }


def load() -> float:
    """The load average of the last minute: about 0 before a run on a quiet machine."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


class Others:
    """How much of the cores other processes took since this was made: the noise of a machine, as the kernel counts it."""

    def __init__(self) -> None:
        self._begin = self._state()

    def share(self) -> float:
        """From 0 to 1; nan off Linux."""
        wall, busy, own = (after - before for after, before in zip(self._state(), self._begin, strict=True))
        return min(1.0, max(0.0, busy - own) / (wall * (os.cpu_count() or 1)))  # the kernel counts hundredths of a second

    @staticmethod
    def _state() -> tuple[float, float, float]:
        """Seconds: of the clock, of all cores at work, of this process and the children that it waited for."""
        path = Path("/proc/stat")
        if not path.exists():
            return time.perf_counter(), float("nan"), 0.0
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, path.read_text().split(maxsplit=11)[1:11])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, sum(os.times()[:4])


def product_time(size: int = 1024, dtype: str = "float32") -> float:
    """Seconds of one square NumPy matrix product, always the same: how it varies is the noise of the machine."""
    a = np.full((size, size), 0.5, dtype)
    b = np.full((size, size), 0.25, dtype)
    begin = time.perf_counter()
    a @ b
    return time.perf_counter() - begin


def matmul_rate(dtype: str, size: int = 2048, rounds: int = 5) -> float:
    """Floating-point operations per second of the fastest of some square NumPy matrix products."""
    return 2 * size**3 / min(product_time(size, dtype) for _ in range(rounds))


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


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return f"{names[0]} ({platform.machine()})" if names else platform.machine()


def _blas() -> str:
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown"
    return ", ".join(
        sorted(
            {
                f"{p['internal_api']} {p['version']} {p.get('architecture', '')}".strip()
                for p in threadpool_info()
                if p["user_api"] == "blas"
            }
        )
    )


def in_a_process(
    module: str, *arguments: str, variables: Mapping[str, str] | None = None, limit: float | None = None
) -> Any:
    """What `python -m module` prints last, as JSON; {"failed": why} if it fails or does not end within `limit` seconds."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", module, *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | dict(variables or {}),
            timeout=limit,
            cwd=Path(__file__).parents[1],
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no end after {limit:g} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
