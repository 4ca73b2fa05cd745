"""``python -m benchmarks.which_index``: measure, store, and write the tables of the page."""

from __future__ import annotations

import argparse

from benchmarks import results
from benchmarks.machine import environment
from benchmarks.which_index import components, cost, distances, drift, finding, neurons, optimised, synthetic, tables

PARTS = {
    "finding": finding.measure,
    "synthetic": synthetic.measure,
    "components": components.measure,
    "neurons": neurons.measure,
    "drift": drift.measure,
    "optimised": optimised.measure,
    "distances": distances.measure,
    "cost": cost.measure,
}


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.which_index", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="in small, nothing is written")
    parser.add_argument("--draw", action="store_true", help="measure nothing, write the tables from what is stored")
    options = parser.parse_args(arguments)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; the parts are {', '.join(PARTS)}")
    for part in () if options.draw else options.parts or PARTS:
        measured = PARTS[part](quick=options.quick)
        if not options.quick:
            command = f"python -m benchmarks.which_index {part}"
            results.store(results.FOLDER, "which_index", {part: {"about": environment(command), "measured": measured}})
    if not options.quick:
        tables.write()


if __name__ == "__main__":
    main()
