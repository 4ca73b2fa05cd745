"""RBF CKA of 100,000 x 64: over row tiles, with an exact and a sampled median distance, and the Nystroem approximation."""

from __future__ import annotations

import sys
import time

import dask
import dask.array as da
import numpy as np

import simkit
from benchmarks.machine import machine, peak_memory
from simkit.scale.dask import compute
from simkit.scale.nystroem import nystroem_approximation

KERNEL = "rbf(fraction=0.8)"


def main() -> None:
    """Print a table; ``python -m benchmarks.scale.kernels 20000`` for another n."""
    n, p = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000, 64
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, p), dtype=np.float32)
    y = x @ rng.standard_normal((p, p), dtype=np.float32) / 8 + rng.standard_normal((n, p), dtype=np.float32)
    lazy = [da.from_array(a, chunks=(10_000, p)) for a in (x, y)]
    print(machine())
    print(f"n = {n:,}, p = {p}, {KERNEL}: each Gram matrix would take {4 * n * n / 1e9:.0f} GB")

    def tiles(bandwidth: str) -> float:
        with dask.config.set({"simkit.bandwidth": bandwidth}):
            return float(compute(simkit.compare(*lazy, f"cka(kernel={KERNEL})"), progress=False)[0])

    def nystroem() -> float:
        parts = [nystroem_approximation(a, KERNEL, landmarks=512) for a in lazy]
        return float(compute(simkit.compare(*parts), progress=False)[0])

    ways = {
        "tiles, exact median": lambda: tiles("exact"),
        "tiles, sampled": lambda: tiles("sample"),
        "Nystroem, 512": nystroem,
    }
    for label, way in ways.items():
        scores: list[float] = []
        begin = time.perf_counter()
        memory = peak_memory(lambda way=way, scores=scores: scores.append(way()))
        print(f"  {label:<22}{time.perf_counter() - begin:>8.1f} s{memory:>8.0f} MiB   {scores[0]:.6f}")


if __name__ == "__main__":
    main()
