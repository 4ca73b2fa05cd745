"""How long it takes to build the graph of many chunks, and how many tasks it has."""

from __future__ import annotations

import time

import dask
import dask.array as da

import simkit
from benchmarks.machine import machine


def main() -> None:
    """Print a table for 20,000 chunks."""
    print(machine())
    x = da.zeros((20_000_000, 64), chunks=(1000, 64), dtype="float32")
    cases = {
        "aligned": da.zeros((20_000_000, 32), chunks=(1000, 32), dtype="float32"),
        "700 against 1000 rows": da.zeros((20_000_000, 32), chunks=(700, 32), dtype="float32"),
    }
    for label, y in cases.items():
        for index in ("cka", "cca"):
            begin = time.perf_counter()
            lazy = simkit.compare(x, y, index)
            built = time.perf_counter()
            (optimised,) = dask.optimize(lazy)
            end = time.perf_counter()
            tasks = len(dict(optimised.__dask_graph__()))
            print(f"{label:<24}{index:<6}built {built - begin:5.2f} s, optimised {end - built:5.2f} s, {tasks} tasks")


if __name__ == "__main__":
    main()
