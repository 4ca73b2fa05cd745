"""Change files and specs at random, and look for raw exceptions, crashes, endless work and numbers that are wrong.

``python -m benchmarks.fuzz --seconds 60`` goes through all kinds in turn and ends with exit code 1 if there was a finding,
which it keeps with the input, made as small as it got. Each round is a process of its own, with limits of memory and time.
A crash of one is counted and is no finding: the C library of HDF5 crashes on some damaged files.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.fuzz.checks import Finding, check_file, check_spec, write
from benchmarks.fuzz.inputs import KINDS, inputs, specs

ROUND = 5  # seconds of one kind at a time
PATIENCE = 30  # seconds after which a round hangs
MEMORY = 4 * 2**30  # bytes


@dataclass
class Tally:
    """What became of the inputs of one kind."""

    inputs: int = 0
    crashes: int = 0
    findings: list[str] = field(default_factory=list)


def main() -> int:
    """Run for as long as was asked; 1 if there was a finding."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32, help="by default another one each time")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs with findings")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    _import_all()
    end, number = time.monotonic() + options.seconds, 0
    tallies = {kind: Tally() for kind in options.kinds}
    seconds = min(ROUND, options.seconds / len(options.kinds))
    while time.monotonic() < end or number < len(options.kinds):  # each has its turn, however slow the machine
        kind = options.kinds[number % len(options.kinds)]
        _round(kind, tallies[kind], options.seed + number, seconds, options.keep)
        number += 1
    for kind, tally in tallies.items():
        crashes = f", {tally.crashes} crashes or hangs of its library" if tally.crashes else ""
        print(f"{kind:14}{tally.inputs:8} inputs{crashes}, {len(tally.findings)} findings")
    return int(any(tally.findings for tally in tallies.values()))


def _import_all() -> None:
    """What the rounds need, so that a fork has it."""
    for name in ("dask.array", "h5py", "pyarrow.parquet", "safetensors.torch", "torch", "zarr", "simkit.scale.sources"):
        importlib.import_module(name)


def _round(kind: str, tally: Tally, number: int, seconds: float, keep: Path) -> None:
    """One process that tries inputs of one kind."""
    with tempfile.TemporaryDirectory() as folder:
        process = multiprocessing.get_context("fork").Process(target=_work, args=(kind, number, seconds, Path(folder)))
        process.start()
        process.join(seconds + PATIENCE)
        hangs = process.is_alive()
        if hangs:
            process.kill()
            process.join()
        found = json.loads(report.read_text()) if (report := Path(folder) / "report.json").exists() else {}
        tally.inputs += int(found.get("inputs", 0))
        finding = found.get("finding") or (f"no end after {PATIENCE} seconds" if hangs else None)
        if hangs and kind == ".h5" and _library_hangs(Path(folder) / f"input{kind}"):
            tally.crashes += 1
            print(f"{kind}: HDF5 itself does not come to an end, seed {number}", flush=True)
        elif finding is None and process.exitcode:
            tally.crashes += 1
            print(f"{kind}: crash with exit code {process.exitcode}, seed {number}", flush=True)
        elif finding is not None:
            tally.findings.append(finding)
            print(f"{kind}: {finding} (kept in {_kept(kind, number, Path(folder), keep)})", flush=True)


def _library_hangs(path: Path) -> bool:
    """Whether HDF5, which loops for ever over some damaged files, does so without simkit."""
    look = "import sys, h5py; h5py.File(sys.argv[1]).visititems(lambda name, item: None)"
    try:
        subprocess.run([sys.executable, "-c", look, str(path)], timeout=PATIENCE / 3, check=False, capture_output=True)
    except subprocess.TimeoutExpired:
        return True
    return False


def _kept(kind: str, number: int, folder: Path, keep: Path) -> Path:
    """The input of a finding, copied where it outlasts the run."""
    keep.mkdir(parents=True, exist_ok=True)
    source = folder / ("input.txt" if kind == "spec" else f"input{kind}")
    target = keep / f"{number}{source.suffix}"
    shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, target)
    return target


def _work(kind: str, number: int, seconds: float, folder: Path) -> None:
    """Try inputs until the time is up or there is a finding, and write what was found."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  (libraries complain at length)
    os.dup2(sys.stderr.fileno(), 2)
    warnings.simplefilter("ignore")
    end, count = time.monotonic() + seconds, 0
    finding: str | None = None

    def tell() -> None:
        (folder / "report.json").write_text(json.dumps({"inputs": count, "finding": finding}))

    def attempt(data: Any) -> None:
        nonlocal count, finding
        if time.monotonic() > end and finding is None:
            return
        count += 1
        try:
            _try(kind, data, folder)
        except Finding as error:
            finding = str(error)
            tell()  # making it smaller may take long
            raise

    while time.monotonic() < end and finding is None:
        with contextlib.suppress(Finding):
            _OPTIONS(seed(number)(given(specs() if kind == "spec" else inputs(kind))(attempt)))()
        number += 10**6
    tell()


_OPTIONS = settings(
    max_examples=200,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)


def _try(kind: str, data: Any, folder: Path) -> None:
    if kind == "spec":
        (folder / "input.txt").write_text(data, encoding="utf-8", errors="surrogatepass")
        check_spec(data)
    else:
        write(data, folder / f"input{kind}")
        check_file(folder / f"input{kind}")


if __name__ == "__main__":
    raise SystemExit(main())
