"""Times in interleaved rounds, peaks of memory, errors: one case, in the process that this is called in."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.machine import Others, load, matmul_rate, peak_memory, product_time
from benchmarks.speed.case import Case, Problem, Way, ratio

__all__ = ["difference", "is_noisy", "memory_of", "times_of"]

_SPREAD, _OTHERS = 0.2, 0.1  # of the fixed product; of the cores, taken by other processes: from there wall times say little
_PAUSE = 0.25  # seconds, in which the threads of one library's pool fall asleep before another's begin
_SECONDS = 6.0  # of the rounds of one case, more or less
_FEWEST, _FEWEST_QUICK = 3, 2


def times_of(case: Case, *, quick: bool, rounds: int | None = None) -> dict[str, Any]:
    """Wall and CPU time of all ways in turn, A B C A B C; errors; the machine's rate and noise in the same run."""
    problem, load_before = case.make(quick), load()
    ready, lacking = _ready(problem)
    truth = _truth(problem)
    pause, size, small = (0.0, 128, 128) if quick else (_PAUSE, 2048, 1024)
    product_time(small)
    rates = [matmul_rate(problem.dtype, size, 3)]
    first, errors = {}, {}
    for name in list(ready):  # the warm-up
        time.sleep(pause)
        try:
            first[name], result = _timed(problem.ways[name], ready[name])
        except Exception as error:  # of a rival, whatever it is
            if name.startswith("simkit"):
                raise
            del ready[name]
            lacking.append(f"{name}: {type(error).__name__}: {error}")
            continue
        errors[name] = difference(result, truth)
    if rounds is None:
        expected = sum(wall / problem.ways[name].times for name, (wall, _) in first.items())
        fewest, most = min(_FEWEST, case.rounds), _FEWEST_QUICK if quick else case.rounds
        rounds = int(np.clip(_SECONDS / expected, min(fewest, most), most))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ready}
    fixed, others = [], Others()
    for _ in range(rounds):
        time.sleep(pause)
        fixed += [product_time(small) for _ in range(3)]
        for name, work in ready.items():
            time.sleep(pause)
            times[name].append(first[name] if case.rounds == 1 else _timed(problem.ways[name], work)[0])
    taken = others.share()
    time.sleep(pause)
    rates.append(matmul_rate(problem.dtype, size, 3))
    fixed.append(product_time(small))
    own = [wall for wall, _ in next(iter(times.values()))]
    return {
        "row": case.row,
        "quick": quick,
        "rounds": rounds,
        "dtype": problem.dtype,
        "rate": max(rates),
        "flops": problem.flops,
        "lacking": lacking,
        "noise": {
            "product": statistics.median(fixed),
            "spread": float(np.subtract(*np.quantile(fixed, (0.9, 0.1)))) / statistics.median(fixed),
            "others": taken,
            "load": load_before,
        },
        "ways": {
            name: {
                "wall": statistics.median(wall for wall, _ in spent),
                "cpu": statistics.median(cpu for _, cpu in spent),
                "walls": [wall for wall, _ in spent],
                "ratio": ratio([wall for wall, _ in spent], own),
                "error": errors[name],
                "exact": problem.ways[name].exact,
                "share": _share(problem, max(rates), spent),
            }
            for name, spent in times.items()
        },
    }


def is_noisy(found: dict[str, Any]) -> bool:
    """Whether wall times of a case say little: a fixed product varied, or other processes took part of the cores."""
    noise = found["noise"]
    return noise["spread"] > _SPREAD or noise["others"] > _OTHERS


def memory_of(case: Case, way: str, *, quick: bool) -> float:
    """MiB by which this process rises above its level before, the data included in the latter, while a way runs once."""
    small, problem = case.make(True), case.make(quick)
    with warnings.catch_warnings(action="ignore"):
        small.ways[way].prepare()()  # imports, and starts pools of threads
    return peak_memory(problem.ways[way].prepare())


def _truth(problem: Problem) -> np.ndarray | None:
    """The score by the definition; None where there is none, or only by a library that is not installed."""
    try:
        return None if problem.truth is None else np.asarray(problem.truth(), dtype=np.float64)
    except ImportError:
        return None


def _ready(problem: Problem) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """The ways that can be gone, and the others."""
    ready, lacking = {}, []
    for name, way in problem.ways.items():
        try:
            ready[name] = way.prepare()
        except ImportError as error:
            lacking.append(f"{name}: {error}")
    return ready, lacking


def _timed(way: Way, work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Wall and CPU seconds, and the result."""
    begin, cpu_begin = time.perf_counter(), time.process_time()
    result = work()
    wall, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
    if way.clock == "own":
        (wall, cpu), result = result, None
    return (wall * way.times, cpu * way.times), result


def difference(result: Any, truth: np.ndarray | None) -> float | None:
    """The largest absolute difference of a result from the definition, None if it has another shape."""
    if truth is None or result is None:
        return None
    found = np.asarray(result, dtype=np.float64)
    return float(np.max(np.abs(found - truth))) if found.shape == truth.shape else None


def _share(problem: Problem, rate: float, spent: list[tuple[float, float]]) -> float | None:
    """Of what the machine's own products would need for the operations of the shortest algorithm."""
    return None if problem.flops is None else problem.flops / rate / statistics.median(wall for wall, _ in spent)
