"""The tables of docs/which_index.md, from what is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import simkit
from benchmarks import results
from benchmarks.which_index import components, distances, finding, neurons, optimised, synthetic

__all__ = ["PAGE", "filled", "tables", "write"]

PAGE = Path(__file__).parents[2] / "docs" / "which_index.md"


def write(page: Path = PAGE) -> None:
    """Into the page, in the places of the tables with the same headers."""
    page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


def filled(text: str) -> str:
    """The page with the tables of today."""
    for lines in tables(results.read(results.FOLDER, "which_index")):
        text = results.with_table(text, lines)
    return text


def tables(found: dict[str, Any]) -> Iterator[list[str]]:
    """Those whose parts have been measured."""
    for part, draw in _DRAWN.items():
        if part in found:
            yield draw({name: entry["measured"] for name, entry in found.items()})


def _number(value: float, digits: int = 2) -> str:
    return "" if math.isnan(value) else f"{value + 0.0:.{digits}f}".replace("-0.00", "0.00")


def _time(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.2g} s"


def _found(measured: dict[str, Any]) -> list[str]:
    """The best first; one decision in nine is right by chance."""
    entries = measured["finding"]
    most = str(max(finding.EXAMPLES))
    order = sorted(entries, key=lambda spec: (-entries[spec][most]["share"], spec))
    rows = []
    for spec in order:
        error = entries[spec][most]["error"]
        shares = [f"{entries[spec][str(n)]['share']:.0%}" if str(n) in entries[spec] else "" for n in finding.EXAMPLES]
        seconds = measured.get("cost", {}).get(spec)
        uncertain, decisions = "" if math.isnan(error) else f"{error:.0%}", str(entries[spec][most]["decisions"])
        rows.append([f"`{spec}`", *shares, uncertain, decisions, _time(seconds) if seconds else ""])
    header = ("index", *(f"n = {n}" for n in finding.EXAMPLES), f"s.e. at {most}", "decisions", "CPU time")
    return results.table(header, rows)


def _made(measured: dict[str, Any]) -> list[str]:
    """Indexes with an upper bound, then distances."""
    entries = measured["synthetic"]
    bounded = [spec for spec in entries if simkit.get_index(spec).facts.range[1] == 1]
    apart = [spec for spec in ("gulp", "rsm_norm") if spec in entries]
    rows = [[f"`{spec}`", *(_number(entries[spec][case]) for case in synthetic.CASES)] for spec in bounded]
    rows += [[f"`{spec}`, a distance", *(_number(entries[spec][case]) for case in synthetic.CASES)] for spec in apart]
    return results.table(("index", *synthetic.CASES), rows)


def _components(measured: dict[str, Any]) -> list[str]:
    rows = []
    for name, entry in measured["components"].items():
        scores = (_number(entry["scores"][spec]) for spec in components.INDEXES)
        rows.append([name, f"{entry['variance']:.0%}", f"{entry['probe']:.1%}", *scores])
    return results.table(("components", "variance", "probe", *(f"`{spec}`" for spec in components.INDEXES)), rows)


def _neurons(measured: dict[str, Any]) -> list[str]:
    rows = [
        [f"`{spec}`", *(_number(entries[str(q)]["mean"]) for q in neurons.UNITS)]
        for spec, entries in measured["neurons"].items()
    ]
    return results.table(("index", *(f"{q} units" for q in neurons.UNITS)), rows)


def _optimised(measured: dict[str, Any]) -> list[str]:
    entries = measured["optimised"]
    rows = []
    for level in ("start", *map(str, optimised.LEVELS)):
        row = [level]
        for spec in optimised.INDEXES:
            at = entries[spec].get(level)
            row += [f"{at['probe']:.1%}", _number(at["components"][0]), _number(at["components"][9])] if at else ["", "", ""]
        rows.append(row)
    header = ["score reached"]
    for spec in optimised.INDEXES:
        header += [f"`{spec}`: probe", "component 1", "component 10"]
    return results.table(header, rows)


def _distances(measured: dict[str, Any]) -> list[str]:
    entries = measured["distances"]
    rows = [[f"`{name}`", f"{entries[name]:.1%}"] for name in distances.DISTANCES if name in entries]
    return results.table(("distance", "ways that are shorter"), rows)


_DRAWN = {
    "finding": _found,
    "synthetic": _made,
    "components": _components,
    "neurons": _neurons,
    "optimised": _optimised,
    "distances": _distances,
}
