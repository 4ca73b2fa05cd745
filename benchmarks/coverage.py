"""How often do intervals of 95 % hold what they are for? A table of coverage, from simulated layers.

    python -m benchmarks.coverage run --hours 1          # adds simulations to a file (--file), and may be run again
    python -m benchmarks.coverage run --index cca --n 50 # some cells only
    python -m benchmarks.coverage table                  # prints what has been run

Y is X plus as much noise of the same covariance, so linear CKA of the population is 1/2, by closed form. The truth for other
unbiased estimators is the mean of four samples of 4000; for biased ones it is the mean of the score over samples of the same
size, which is what their intervals are for (docs/topics/intervals.md): over 100 of their own and those that were simulated.
Simulation k of a cell has the seed (k, n, p).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import simkit
from benchmarks.machine import machine
from simkit.errors import InferenceError

SIMULATIONS, RESAMPLES, SAMPLES = 400, 400, 100
FILE = Path(tempfile.gettempdir()) / "simkit-coverage.jsonl"
FEWEST = 20  # simulations that say something
KERNEL = ("cka", "cka(estimator=unbiased)", "cka(kernel=rbf)", "cka(kernel=rbf, estimator=unbiased)")
OTHER = ("cca", "procrustes", "rsa")
SIZES = {
    50: (8, 25, 50, 100),
    100: (8, 50, 100, 200),
    200: (8, 50, 200, 400),
    500: (8, 100, 500, 1000),
    1000: (8, 250, 2000),
}


@dataclass(frozen=True)
class Cell:
    """An index, a size of layers, and their spectrum."""

    index: str
    n: int
    p: int
    spectrum: str = "flat"

    @property
    def work(self) -> float:
        """Rough seconds of its truth: large cells wait until small ones have had as much."""
        return self.n**2 * (self.n + self.p) * (1e-8 if self.index in KERNEL else 3e-8)

    def layers(self, seed: int, n: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """X and Y of n examples, of the covariance I, or with eigenvalues 1 / j."""
        rng = np.random.default_rng([seed, self.n, self.p])
        scale = np.ones(self.p) if self.spectrum == "flat" else np.arange(1, self.p + 1) ** -0.5
        x, noise = (rng.standard_normal((n or self.n, self.p)) * scale for _ in range(2))
        return x, (x + noise) / np.sqrt(2)


def cells(arguments: argparse.Namespace) -> list[Cell]:
    """All cells, or those that were asked for."""
    every = [Cell(index, n, p) for n, widths in SIZES.items() for p in widths for index in (*KERNEL, *OTHER)]
    every += [Cell(index, 200, 400, "decaying") for index in (*KERNEL, *OTHER)]
    return [
        cell
        for cell in every
        if arguments.index in (None, cell.index) and arguments.n in (None, cell.n) and arguments.p in (None, cell.p)
    ]


# --- simulations -----------------------------------------------------------------------------------------------------------


def simulate(cell: Cell, seed: int) -> dict[str, Any]:
    """The score and the intervals of one sample; None for an interval that was refused."""
    x, y = cell.layers(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = simkit.interval(x, y, cell.index)
        intervals: dict[str, Any] = {"interval": tuple(found.interval)}
        if cell.index in KERNEL or (cell.index in ("cca", "procrustes") and cell.p == 8):
            intervals |= _bootstrapped(x, y, cell.index, seed)
    return {"score": found.score, "error": found.standard_error, "method": found.method, "intervals": intervals}


def _bootstrapped(x: np.ndarray, y: np.ndarray, index: str, seed: int) -> dict[str, Any]:
    """The three intervals from one set of resamples, which is the same for all three methods."""
    refused: dict[str, Any] = dict.fromkeys(("percentile", "basic", "bca"))
    for method in ("bca", "percentile"):  # the latter is there where the former is refused
        try:
            found = simkit.bootstrap(x, y, index, resamples=RESAMPLES, rng=seed, method=method)
        except InferenceError:
            continue
        low, high = (float(bound) for bound in np.nanquantile(found.distribution, (0.025, 0.975)))
        bca = tuple(found.interval) if method == "bca" else None
        return {"percentile": (low, high), "basic": (2 * found.score - high, 2 * found.score - low), "bca": bca}
    return refused


def truth(cell: Cell) -> list[float]:
    """Numbers whose mean is what the interval is for; that of biased indexes takes in the simulated scores besides."""
    unbiased = "unbiased" in cell.index
    if unbiased and "rbf" not in cell.index:
        return [0.5]
    count, n = (4, 4000) if unbiased else (SAMPLES, cell.n)
    return [float(simkit.compare(*cell.layers(10**6 + k, n), cell.index)) for k in range(count)]


def run(arguments: argparse.Namespace) -> None:
    """Simulate, next always a cell that has had few seconds for its size, until each has enough or time is up."""
    wanted, end = cells(arguments), time.monotonic() + 3600 * arguments.hours
    known = read(arguments.file)
    seconds = {cell: sum(record["seconds"] for record in known[cell] if "score" in record) for cell in wanted}
    done = {cell: sum("score" in record for record in known[cell]) for cell in wanted}
    has_truth = {cell for cell in wanted if any("truth" in record for record in known[cell])}
    while time.monotonic() < end:
        open_cells = [cell for cell in wanted if done[cell] < arguments.simulations or cell not in has_truth]
        if not open_cells:
            return
        cell = min(open_cells, key=lambda cell: seconds[cell] + cell.work)
        begin = time.perf_counter()
        if cell not in has_truth:
            record: dict[str, Any] = {"truth": truth(cell)}
            has_truth.add(cell)
        else:
            record = {"seed": done[cell]} | simulate(cell, done[cell])
            done[cell] += 1
        record["seconds"] = time.perf_counter() - begin
        seconds[cell] += record["seconds"] if "score" in record else 0.0
        with arguments.file.open("a") as file:
            file.write(json.dumps(vars(cell) | record) + "\n")


def read(path: Path) -> defaultdict[Cell, list[dict[str, Any]]]:
    """What has been run, by cell."""
    found: defaultdict[Cell, list[dict[str, Any]]] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else ():
        record = json.loads(line)
        found[Cell(*(record.pop(name) for name in ("index", "n", "p", "spectrum")))].append(record)
    return found


# --- table -----------------------------------------------------------------------------------------------------------------


def table(arguments: argparse.Namespace) -> Iterator[str]:
    """Lines of Markdown."""
    known, lacking = read(arguments.file), list[str]()
    yield f"{time.strftime('%Y-%m-%d')}, {machine()}; at most {SIMULATIONS} simulations a cell, {RESAMPLES} resamples."
    yield ""
    yield "| index | n | p | true | mean score | s.e. / true s.e. | interval | percentile | basic | bca | simulations |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for cell in cells(arguments):
        simulated = [record for record in known[cell] if "score" in record]
        samples = next((record["truth"] for record in known[cell] if "truth" in record), None)
        if samples is None or len(simulated) < FEWEST:
            lacking.append(f"`{cell.index}` ({cell.n}, {_width(cell)})")
            continue
        scores = np.array([record["score"] for record in simulated])
        value = float(np.mean(samples if "unbiased" in cell.index else [*samples, *scores]))
        spread, errors = np.std(scores, ddof=1), np.array([record["error"] for record in simulated])
        ratio = f"{np.sqrt(np.mean(errors**2)) / spread:.2f}" if spread > 1e-9 else "-"
        covered = " | ".join(_coverage(simulated, method, value) for method in ("interval", "percentile", "basic", "bca"))
        yield (
            f"| `{cell.index}` | {cell.n} | {_width(cell)} | {value:.3f} | {scores.mean():.3f} | {ratio} | {covered} "
            f"| {len(simulated)} |"
        )
    if lacking:
        yield ""
        yield f"Run fewer than {FEWEST} times, or not at all (n, p): {', '.join(lacking)}."


def _width(cell: Cell) -> str:
    return f"{cell.p}" if cell.spectrum == "flat" else f"{cell.p}, {cell.spectrum}"


def _coverage(simulated: list[dict[str, Any]], method: str, value: float) -> str:
    """In per cent of the intervals that there are, and how many were refused."""
    found = [record["intervals"][method] for record in simulated if method in record["intervals"]]
    given = [bounds for bounds in found if bounds is not None]
    if not found:
        return ""
    refused = f" ({len(found) - len(given)} refused)" if len(given) < len(found) else ""
    if not given:
        return "refused"
    hits = np.mean([low - 1e-9 <= value <= high + 1e-9 for low, high in given])
    return f"{100 * hits:.1f}{refused}"


def main() -> None:
    """Run or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--index")
    parser.add_argument("--n", type=int)
    parser.add_argument("--p", type=int)
    parser.add_argument("--file", type=Path, default=FILE)
    arguments = parser.parse_args()
    if arguments.what == "run":
        run(arguments)
    else:
        print(*table(arguments), sep="\n")


if __name__ == "__main__":
    main()
