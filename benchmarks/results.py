"""What the benchmarks found: JSON files in results/, and RESULTS.md, which ``python -m benchmarks.results`` draws from them.

Each command stores a file of its own and leaves the others': speed.json (python -m benchmarks), memory.json, growth.json and
gpu.json (python -m benchmarks.memory, .growth, .gpu).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.case import Case, duration
from benchmarks.speed.measuring import is_noisy
from benchmarks.speed.rows import CASES

__all__ = ["FOLDER", "page", "read", "store", "table", "write"]

FOLDER = Path(__file__).parent / "results"


def read(folder: Path, name: str) -> dict[str, Any]:
    """What a command has stored; nothing if it has not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def store(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    """Add to, or replace in, what a command has stored."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = read(folder, name) | dict(found)
    text = json.dumps(dict(sorted(everything.items())), indent=1)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write(folder: Path) -> None:
    """Draw RESULTS.md, beside the folder, from all that is stored in it."""
    (folder.parent / "RESULTS.md").write_text(page(folder), encoding="utf-8")


def page(folder: Path = FOLDER) -> str:
    """The text of RESULTS.md."""
    absent = "Not measured yet. The command:"
    no_card = "No GPU has been at hand. The command, which has been tried on the CPU (`--device cpu --quick`), is"
    sections = (
        ("Speed", "python -m benchmarks", _speed, "speed", absent),
        ("Memory", "python -m benchmarks.memory", _memory, "memory", absent),
        ("Growth", "python -m benchmarks.growth", _growth, "growth", absent),
        ("GPU", "python -m benchmarks.gpu", _gpu, "gpu", no_card),
    )
    lines = [
        "# Results",
        "",
        "Drawn by `python -m benchmarks.results` from the files in [results](results), which the commands below write; "
        "[README.md](README.md) says how they measure.",
    ]
    for title, command, draw, name, absent in sections:
        found = read(folder, name)
        lines += ["", f"## {title}", ""]
        lines += draw(found) if found else [f"{absent} `{command}`."]
    return "\n".join(lines) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


def with_table(page: str, lines: Sequence[str]) -> str:
    """A page of Markdown with this table in the place of the one that begins with the same three columns."""
    start = re.escape(" |".join(lines[0].split(" |")[:3]))
    return re.sub(rf"^{start}[^\n]*\n(\|[^\n]*\n)+", lambda _: "\n".join(lines) + "\n", page, count=1, flags=re.MULTILINE)


def about(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Paragraphs on dates, commands, machines and versions that entries were measured with; mostly one."""
    different = Counter(json.dumps(entry["about"], sort_keys=True) for entry in entries)
    lines = []
    for text, count in different.most_common():
        one = json.loads(text)
        versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        of = "" if len(different) == 1 else f" ({count} of {len(entries)} cases)"
        lines += [
            f"`{one['command']}`, {one['date']}, commit {one['commit']}{of}: {one['processor']}, {one['cores']} cores, "
            f"{one['blas']}; {versions}.",
            "",
        ]
    return lines


# --- speed -----------------------------------------------------------------------------------------------------------------


def _speed(found: Mapping[str, Any]) -> list[str]:
    known = [(case, found[title]) for title, case in CASES.items() if title in found]
    good = [(case, entry) for case, entry in known if "ways" in entry]
    targets = [target.reached(entry["ways"]) for case, entry in good for target in case.targets]
    spreads = [entry["noise"]["spread"] for _, entry in good]
    lines = about([entry for _, entry in known])
    if good:
        noisy = sum(is_noisy(entry) for _, entry in good)
        others = [entry["noise"]["others"] for _, entry in good]
        state = f"noisy in {noisy} of {len(good)} cases (*)" if noisy else "quiet"
        rates = ", ".join(
            f"{max(entry['rate'] for _, entry in good if entry['dtype'] == dtype) / 1e9:.0f} GFLOP/s {dtype}"
            for dtype in ("float32", "float64")
            if any(entry["dtype"] == dtype for _, entry in good)
        )
        lines += [
            f"{targets.count(True)} of {len(targets)} targets reached. The machine was {state}: a fixed matrix product "
            f"varied within a case by {min(spreads):.0%} to {max(spreads):.0%}, other processes took {min(others):.0%} to "
            f"{max(others):.0%} of the cores, and the load average was at most "
            f"{max(entry['noise']['load'] for _, entry in good):.1f}. Matrix products here: {rates}.",
            "",
            "Ratios are the rival's wall time over simkit's, medians over rounds: above 1 simkit is faster. Memory is the "
            "peak of the resident set above its level before, the data in it; errors are against the definition in float64. "
            "The limit is the time that the machine's own products would take for the operations of the shortest algorithm.",
            "",
            *table(
                (
                    "row",
                    "case",
                    "simkit",
                    "rivals: time, ratio",
                    "to reach",
                    "reached",
                    "MiB (rivals)",
                    "error (rivals)",
                    "limit",
                ),
                (_summary(case, entry) for case, entry in good),
            ),
        ]
    lines += ["", *(f"- {case.title}: failed ({entry['failed']})" for case, entry in known if "failed" in entry)]
    lines += [f"- {case.title}: {note}." for case, _ in good for note in case.notes]
    lines += [f"- {case.title}: left out {reason}." for case, entry in good for reason in entry["lacking"]]
    lines += [
        "",
        "### All ways",
        "",
        *table(
            ("row", "case", "way", "wall", "CPU", "CPU, one thread", "ratio", "MiB", "error", "of the limit"),
            (line for case, entry in good for line in _ways(case, entry)),
        ),
    ]
    return lines


def _summary(case: Case, entry: Mapping[str, Any]) -> list[str]:
    """One line for a case."""
    ways = entry["ways"]
    own, rivals = ways["simkit"], {name: way for name, way in ways.items() if not name.startswith("simkit")}
    noisy = " (*)" if is_noisy(entry) else ""
    reached = [(target.found(ways), target.reached(ways)) for target in case.targets]
    return [
        case.row,
        case.title,
        duration(own["wall"]) + noisy,
        "<br>".join(f"{name}: {duration(way['wall'])}, {way['ratio']:.2f}x" for name, way in rivals.items()) or "-",
        "<br>".join(map(str, case.targets)) or "-",
        "<br>".join(
            "not measured" if value is None or is_so is None else f"{'yes' if is_so else '**no**'} ({_value(target, value)})"
            for target, (value, is_so) in zip(case.targets, reached, strict=True)
        )
        or "-",
        _with_rivals(own, rivals, lambda way: _number(way.get("memory"), "{:.0f}")),
        _with_rivals(
            own, {name: way for name, way in rivals.items() if way["exact"]}, lambda way: _number(way["error"], "{:.0e}")
        ),
        _number(own["share"], "{:.0%}"),
    ]


def _with_rivals(own: Mapping[str, Any], rivals: Mapping[str, Any], shown: Any) -> str:
    others = ", ".join(shown(way) for way in rivals.values())
    return f"{shown(own)} ({others})" if others.strip("-, ") else shown(own)


def _value(target: Any, value: float) -> str:
    return {
        "ratio": f"{value:.2f}x",
        "wall": duration(value),
        "cpu": duration(value),
        "memory": f"{value:.0f}",
        "share": f"{value:.0%}",
        "error": f"{value:.0e}",
    }[target.what]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _ways(case: Case, entry: Mapping[str, Any]) -> Iterator[list[str]]:
    """One line for each way."""
    for name, way in entry["ways"].items():
        yield [
            case.row,
            case.title,
            name,
            duration(way["wall"]),
            duration(way["cpu"]),
            _one_thread(way, entry["ways"]["simkit"]),
            f"{way['ratio']:.2f}",
            _number(way.get("memory"), "{:.0f}"),
            _number(way["error"], "{:.1e}" if way["exact"] else "{:.1e} (another definition)"),
            _number(way["share"], "{:.0%}"),
        ]


def _one_thread(way: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """CPU time, and its ratio to simkit's; empty where the machine was quiet."""
    if "cpu_one_thread" not in way:
        return ""
    return f"{duration(way['cpu_one_thread'])}, {way['cpu_one_thread'] / own['cpu_one_thread']:.2f}x"


# --- what other commands found ---------------------------------------------------------------------------------------------


def _memory(found: Mapping[str, Any]) -> list[str]:
    from benchmarks.memory import CASES as promises

    found = {name: found[name] for name in promises if name in found}
    return [
        *about(list(found.values())),
        "Peak of the resident set above an interpreter with the libraries imported, under a limit on what the process may "
        "allocate of 200 MB more than the promise.",
        "",
        *table(
            ("case", "data MB", "peak MB", "promise", "kept", "seconds"),
            (
                [
                    name,
                    f"{one['data']:,.0f}",
                    f"{one['peak']:,.0f}",
                    f"{one['promise']:,.0f}",
                    "yes" if one["peak"] <= one["promise"] else "**no**",
                    _number(one["seconds"], "{:.1f}"),
                ]
                for name, one in found.items()
            ),
        ),
    ]


def _growth(found: Mapping[str, Any]) -> list[str]:
    from benchmarks import growth

    return [
        *about(list(found.values())),
        "Exponents, fitted over the larger half of the sizes; [Speed](../docs/reference/speed.md) has the pictures.",
        "",
        *growth.table(found),
        "",
        *table(
            ("what", "sizes", "seconds", "MiB"),
            (
                [
                    name,
                    f"{found[name]['against']} = {', '.join(map(str, found[name]['sizes']))}",
                    ", ".join(f"{value:.3g}" for value in found[name]["seconds"]),
                    ", ".join(f"{value:.0f}" for value in found[name]["memory"]),
                ]
                for name in growth.CURVES
                if name in found
            ),
        ),
    ]


def _gpu(found: Mapping[str, Any]) -> list[str]:
    cards = {(one["library"], one["device"]): one["rate"] for one in found.values()}
    rates = "; ".join(f"{device} ({library}): {rate / 1e12:.1f} TFLOP/s" for (library, device), rate in cards.items())
    return [
        *about(list(found.values())),
        f"Float32 products: {rates}. Times are of the device; the limit is the time of its float32 products for the "
        "operations of the shortest algorithm. Memory is the peak above the layers.",
        "",
        *table(
            ("case", "way", "device", "wall", "ratio", "MiB", "error", "of the limit"),
            (
                [
                    title,
                    name,
                    duration(way["device"]),
                    duration(way["wall"]),
                    f"{way['ratio']:.2f}",
                    f"{way['memory']:.0f}",
                    _number(way["error"], "{:.1e}" if way["exact"] else "{:.1e} (another definition)"),
                    f"{way['share']:.0%}",
                ]
                for title, one in found.items()
                for name, way in one["ways"].items()
            ),
        ),
    ]


if __name__ == "__main__":
    write(FOLDER)
