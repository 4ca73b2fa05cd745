"""simkit against its rivals, and against the machine: all rows of the table in RESULTS.md.

    python -m benchmarks                       # all cases; writes results/speed.json and RESULTS.md
    python -m benchmarks --only e              # a row, or cases whose titles hold a word; the others keep their figures
    python -m benchmarks --quick               # small sizes: that everything runs. Nothing is written

Each case has a process of its own, in which all ways run in turn (A B C A B C ...), with pauses, so that what disturbs the
machine disturbs all alike and no library's threads spin while another's work. Each way runs once more in a process of its
own for its peak of memory. One and the same product of two matrices is timed in every round: where it varies by more than a
fifth, or other processes take more than a tenth of the cores, the case is called noisy and runs again with all libraries
limited to one thread, for CPU time (`--one-thread` does it always, `--no-one-thread` never).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.machine import ONE_THREAD, environment, in_a_process, load
from benchmarks.speed.case import Case, duration
from benchmarks.speed.measuring import is_noisy, memory_of, times_of
from benchmarks.speed.rows import CASES

_in_a_process = partial(in_a_process, "benchmarks", limit=900)  # seconds
_AT_ONCE = 2  # processes whose memory is measured


def main(arguments: list[str] | None = None) -> None:
    """Run the cases, print, and write what was measured."""
    options = _options(arguments)
    if options.case:
        case = CASES[options.case]
        found = (
            memory_of(case, options.way, quick=options.quick)
            if options.way
            else times_of(case, quick=options.quick, rounds=options.rounds)
        )
        print(json.dumps(found))
        return
    chosen = [case for case in CASES.values() if _is_chosen(case, options.only)]
    if not chosen:
        raise SystemExit(f"No row and no title holds {options.only!r}. The cases: {'; '.join(CASES)}.")
    folder = options.output or (None if options.quick else results.FOLDER)
    command = " ".join(["python -m benchmarks", *(arguments if arguments is not None else sys.argv[1:])])
    about = environment(command)
    print(f"{about['processor']}, {about['cores']} cores, load {load():.2f}", flush=True)
    for case in chosen:
        begin = time.perf_counter()
        found = _measured(case.title, options)
        found["about"] = about
        found["seconds"] = time.perf_counter() - begin
        print(*_lines(case.title, found), sep="\n", flush=True)
        if folder is not None:
            results.store(folder, "speed", {case.title: found})
    if folder is not None:
        results.write(folder)


def _is_chosen(case: Case, word: str) -> bool:
    return word == case.row or (len(word) != 1 and word.lower() in case.title.lower())


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORD", help="a row (a to k), or a word in the titles of the cases")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all cases run; nothing is written")
    parser.add_argument("--rounds", type=int, help="by default as many as fit into some seconds, 3 to 9")
    parser.add_argument("--one-thread", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="peaks of memory")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="for the JSON files; RESULTS.md is written beside it")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _measured(title: str, options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one case."""
    quick = ["--quick"] if options.quick else []
    given = [*quick, *(["--rounds", str(options.rounds)] if options.rounds else [])]
    found = _in_a_process("--case", title, *given)
    if "failed" in found:
        return found
    if CASES[title].memory and options.memory:
        with ThreadPoolExecutor(_AT_ONCE) as pool:  # a peak does not depend on who else is at work
            peaks = list(pool.map(lambda way: _in_a_process("--case", title, "--way", way, *given), found["ways"]))
        for figures, peak in zip(found["ways"].values(), peaks, strict=True):
            figures["memory"] = None if isinstance(peak, dict) else peak
    if options.one_thread or (is_noisy(found) and options.one_thread is None and not options.quick):
        again = _in_a_process("--case", title, *quick, "--rounds", "3", variables=ONE_THREAD)
        for way, figures in again.get("ways", {}).items():
            found["ways"][way]["cpu_one_thread"] = figures["cpu"]
    return found


def _lines(title: str, found: dict[str, Any]) -> list[str]:
    """What is printed of a case."""
    if "failed" in found:
        return [f"\n{title}: failed: {found['failed']}"]
    noise = found["noise"]
    machine = f"{found['dtype']} products {found['rate'] / 1e9:.0f} GFLOP/s, a fixed one varies by {noise['spread']:.0%}"
    machine += f", others took {noise['others']:.0%}" + (": noisy" if is_noisy(found) else "")
    lines = [f"\n{found['row']}. {title}    ({machine}; {found['rounds']} rounds, {found['seconds']:.0f} s)"]
    for name, way in found["ways"].items():
        parts = [f"{duration(way['wall']):>9}", f"CPU {duration(way['cpu']):>9}"]
        parts += [f"on one thread {duration(way['cpu_one_thread']):>9}"] if "cpu_one_thread" in way else []
        parts += [f"ratio {way['ratio']:6.2f}"]
        parts += [f"{way['share']:5.0%} of limit"] if way["share"] is not None else []
        parts += [f"{way['memory']:6.0f} MiB"] if way.get("memory") is not None else []
        if way["error"] is not None:
            parts += [f"{'error' if way['exact'] else 'differs'} {way['error']:.1e}"]
        lines.append(f"  {name:<30} {'  '.join(parts)}")
    lines += [f"  left out: {reason}" for reason in found["lacking"]]
    for target in CASES[title].targets:
        value, reached = target.found(found["ways"]), target.reached(found["ways"])
        verdict = "not measured" if reached is None else f"{'reached' if reached else 'NOT reached'} ({value:.3g})"
        lines.append(f"  {target}: {verdict}")
    return lines


if __name__ == "__main__":
    main()
