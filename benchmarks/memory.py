"""Peak memory of what simkit promises, each case in a process of its own.

    python -m benchmarks.memory [FOLDER]       # a file of 2 GB is written to FOLDER (default: a temporary one)
    python -m benchmarks.memory --only stream  # some cases; the others keep their figures in RESULTS.md
    python -m benchmarks.memory --quick        # a fiftieth of the examples; nothing is written

The peak is that of the resident set above an interpreter with the libraries imported. Each process also has a limit on what
it may allocate (RLIMIT_DATA), 200 MB above the promise, so that one that takes more fails. Linux.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.machine import environment, in_a_process, machine

if sys.platform != "win32":
    import resource

_BATCH = 4096
_QUICK = 50


@dataclass(frozen=True)
class Case:
    """What is measured: megabytes of the data, megabytes that are promised, and the work."""

    data: float
    promise: float
    work: Callable[[str, Path, int], Callable[[], Any]]
    spec: str


def main(arguments: list[str] | None = None) -> None:
    """Run every case, print a table, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--only", default="", help="cases whose names hold this word")
    parser.add_argument("--quick", action="store_true", help="few examples, to see that all cases run; nothing is written")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for memory.json; RESULTS.md is written beside it")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.case:
        _run(options.case, options.folder, _QUICK if options.quick else 1)
        return
    output = options.output or (None if options.quick else results.FOLDER)
    about = environment(" ".join(["python -m benchmarks.memory", *(sys.argv[1:] if arguments is None else arguments)]))
    print(machine())
    print(f"{'case':<58}{'data MB':>9}{'peak MB':>9}{'promise':>9}{'seconds':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for name, case in CASES.items():
            if options.only not in name:
                continue
            quick = ["--quick"] if options.quick else []
            done = in_a_process("benchmarks.memory", str(folder.resolve()), "--case", name, *quick)
            if "failed" in done:
                print(f"{name:<58}{case.data:>9,.0f}   failed: {done['failed']}")
                continue
            peak, seconds = done["peak"], done["seconds"]
            print(f"{name:<58}{case.data:>9,.0f}{peak:>9,.0f}{case.promise:>9,.0f}{seconds:>9.1f}", flush=True)
            if output is not None:
                found = {"data": case.data, "peak": peak, "promise": case.promise, "seconds": seconds, "about": about}
                results.store(output, "memory", {name: found})
    if output is not None:
        results.write(output)


def _run(name: str, folder: Path, divisor: int) -> None:
    """Print peak and seconds of one case."""
    case = CASES[name]
    work = case.work(case.spec, folder, divisor)
    before, begin = _resident("VmRSS"), time.perf_counter()
    resource.setrlimit(resource.RLIMIT_DATA, (int((_resident("VmData") + case.promise + 200) * 1e6),) * 2)
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to the present level
    work()
    print(json.dumps({"peak": _resident("VmHWM") - before, "seconds": time.perf_counter() - begin}))


def _resident(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return float(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) * 1.024e-3


# --- cases: each makes what it needs and imports everything, then returns what is measured -------------------------------


def _stream(spec: str, _: Path, divisor: int) -> Callable[[], Any]:
    """A million examples of 256 features a side, in batches that are made as they are needed."""
    import simkit

    rng = np.random.default_rng(0)
    simkit.stream(spec).update(np.zeros((9, 2)), np.zeros((9, 2)))
    n = 1_000_000 // divisor

    def work() -> None:
        stream = simkit.stream(spec)
        for start in range(0, n, _BATCH):
            x = rng.standard_normal((min(_BATCH, n - start), 256), dtype=np.float32)
            stream.update(x, x[:, ::-1] + 1)
        stream.compute()

    return work


def _file(spec: str, folder: Path, divisor: int) -> Callable[[], Any]:
    """The same from a .npy file of both sides, by Dask."""
    import dask.array as da

    import simkit
    from simkit.scale.dask import compute

    n = 1_000_000 // divisor
    path = folder / f"examples-{n}.npy"
    if not path.exists():
        rng = np.random.default_rng(0)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, 512))
        for start in range(0, n, 50_000):
            file[start : start + 50_000] = rng.standard_normal((min(50_000, n - start), 512), dtype=np.float32)
        file.flush()
    tiny = da.from_array(np.random.default_rng(0).standard_normal((50, 4)), chunks=25)
    compute(simkit.compare(tiny, tiny, spec), progress=False)

    def work() -> None:
        both = simkit.open_source(path)
        compute(simkit.compare(both[:, :256], both[:, 256:], spec), progress=False)

    return work


def _tiles(spec: str, _: Path, divisor: int) -> Callable[[], Any]:
    """Two layers of 50,000 examples, of which one Gram matrix would take 10 or 20 GB."""
    import simkit

    x = np.random.default_rng(0).standard_normal((50_000 // divisor, 16), dtype=np.float32)
    simkit.compare(x[:50], x[:50], spec, tiles="exact")
    return lambda: simkit.compare(x, x[:, ::2] + 1, spec, tiles="exact")


def _layers(count: int, n: int, p: int) -> Callable[[str, Path, int], Callable[[], Any]]:
    """Layers in memory, all pairs."""

    def case(spec: str, _: Path, divisor: int) -> Callable[[], Any]:
        import simkit

        rng = np.random.default_rng(0)
        layers = [rng.standard_normal((n // divisor, p // divisor or 2), dtype=np.float32) for _ in range(count)]
        simkit.pairwise([x[:50, :5] for x in layers[:3]], index=spec)
        return lambda: simkit.pairwise(layers, index=spec)

    return case


CASES = {
    "stream, n = 1e6, p = 256 + 256, cka": Case(2048, 200, _stream, "cka"),
    "stream, n = 1e6, p = 256 + 256, cka(estimator=unbiased)": Case(2048, 200, _stream, "cka(estimator=unbiased)"),
    "stream, n = 1e6, p = 256 + 256, cca": Case(2048, 200, _stream, "cca"),
    "Dask over a .npy, n = 1e6, p = 256 + 256, cka": Case(2048, 200, _file, "cka"),
    "Dask over a .npy, n = 1e6, p = 256 + 256, unbiased": Case(2048, 200, _file, "cka(estimator=unbiased)"),
    "Dask over a .npy, n = 1e6, p = 256 + 256, cca": Case(2048, 200, _file, "cca"),
    "tiles, n = 50,000, cka(kernel=rbf)": Case(5, 100, _tiles, "cka(kernel=rbf(sigma=4.0))"),
    "200 x 200 layers, n = 1000, p = 64, cka": Case(51, 1100, _layers(200, 1000, 64), "cka"),
    "200 x 200 layers, n = 1000, p = 64, procrustes": Case(51, 250, _layers(200, 1000, 64), "procrustes"),
    "50 layers, n = 20,000, p = 128, cka": Case(512, 1100, _layers(50, 20_000, 128), "cka"),
    "50 layers, n = 20,000, p = 128, unbiased": Case(512, 1100, _layers(50, 20_000, 128), "cka(estimator=unbiased)"),
    "50 layers, n = 20,000, p = 128, cca": Case(512, 1600, _layers(50, 20_000, 128), "cca"),
}


if __name__ == "__main__":
    main()
