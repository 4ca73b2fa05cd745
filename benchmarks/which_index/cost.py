"""Seconds of processor time for one pair of layers in float32, 1000 examples of 256 units: other processes do not count."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from benchmarks.which_index.indexes import score, specs

__all__ = ["measure"]

N, P = 1000, 256


def seconds(spec: str, x: np.ndarray, y: np.ndarray) -> float:
    """The best of three, after one to warm up; of slow ones the first."""
    times: list[float] = []
    for _ in range(4):
        begin = time.process_time()
        score(x, y, spec)
        times.append(time.process_time() - begin)
        if times[0] > 5:
            break
    return min(times)


def measure(quick: bool = False) -> dict[str, Any]:
    """For each index."""
    rng = np.random.default_rng(0)
    n, p = (100, 8) if quick else (N, P)
    x, y = (rng.standard_normal((n, p), dtype=np.float32) for _ in "xy")
    entries = {spec: seconds(spec, x, y) for spec in (["cka"] if quick else specs())}
    print({spec: round(value, 4) for spec, value in entries.items()}, flush=True)
    return entries
