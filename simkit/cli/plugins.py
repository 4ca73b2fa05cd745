"""`simkit plugins`: which distributions offer indexes and kernels, what is wrong with them, and do they pass the kit."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table
from rich.text import Text

from simkit.cli.console import console, print_json, say_note, tell
from simkit.cli.listing import describe
from simkit.cli.options import Json
from simkit.discovery import OWN, Entry
from simkit.errors import SpecError, UnknownNameError
from simkit.progress import track
from simkit.registry import indexes as index_registry
from simkit.registry import kernels as kernel_registry
from simkit.spec import close_matches, parse
from simkit.text import shown

TRUST = (
    "A plugin is code: it runs with all your rights, from the moment that one of its names is used, listed or checked. "
    "SIMKIT_PLUGINS=off, or a list of distributions, limits what may load."
)


@dataclass(frozen=True)
class Offer:
    """One entry of one distribution.

    Attributes
    ----------
    kind : {"index", "kernel"}
    entry : Entry
    rivals : tuple of Entry
        All that offer the same name and may load, if they are several.
    spec : str
        What was asked for; the name, unless with parameters.
    """

    kind: str
    entry: Entry
    rivals: tuple[Entry, ...]
    spec: str

    @property
    def qualified(self) -> str:
        """The spec, with the distribution where the name alone would lead elsewhere."""
        head, bracket, parameters = self.spec.partition("(")
        name = f"{head.rpartition(':')[2]}{bracket}{parameters}"
        return f"{self.entry.distribution}:{name}" if self.rivals else name

    @property
    def clash(self) -> str | None:
        """What the name alone leads to, where several distributions offer it."""
        if not self.rivals:
            return None
        if OWN in {rival.distribution for rival in self.rivals}:
            return f"the name alone means the one of {OWN}"
        return f"the name alone is an error; say {' or '.join(f'{rival.distribution}:{rival}' for rival in self.rivals)}"


def everything() -> list[Offer]:
    """All entries of all distributions."""
    found = []
    for kind, registry in (("index", index_registry), ("kernel", kernel_registry)):
        for _, same in sorted(registry.entries().items()):
            usable = tuple(entry for entry in same if not entry.blocked)
            found += [Offer(kind, entry, usable if len(usable) > 1 else (), entry.name) for entry in same]
    return found


def plugins(
    names: Annotated[
        Optional[list[str]],
        typer.Argument(help="Distributions, names or specs, such as my-plugin or 'ntk(depth=2)'; by default all plugins."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run the conformance kit on them; exit code 1 if one fails.")
    ] = False,
    everyone: Annotated[bool, typer.Option("--all", help="Check what simkit itself offers, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the distributions that offer indexes and kernels, with whatever is wrong with them.

    A plugin is code: it runs with all your rights, from the moment that one of its names is used, listed or checked.
    SIMKIT_PLUGINS=off, or a list of distributions separated by commas, limits what may load.
    """
    offers = everything()
    wanted = _wanted(names, offers) if names else offers
    rows = [_row(offer) for offer in wanted]
    distributions = _distributions(wanted, rows)
    broken = [row for row in rows if row["error"] and not row["blocked"]]
    reports: list[dict[str, Any]] = []
    if check:
        chosen = [
            offer
            for offer, row in zip(wanted, rows, strict=True)
            if not row["error"] and (names or everyone or offer.entry.distribution != OWN)
        ]
        reports = _checked(chosen)
    if as_json:
        print_json({"distributions": distributions, "entries": rows} | ({"checks": reports} if check else {}))
    else:
        _print_distributions(distributions, rows)
        if check:
            _print_checks(reports)
        say_note(TRUST)
    if check and (broken or any(report["failed"] for report in reports)):
        raise typer.Exit(1)


def _wanted(names: list[str], offers: list[Offer]) -> list[Offer]:
    """What the arguments name: a distribution, a name, or a name with parameters."""
    found: list[Offer] = []
    for name in names:
        same = [offer for offer in offers if offer.entry.distribution == name.lower().replace("_", "-")]
        if not same:
            try:
                distribution, _, plain = parse(name).name.rpartition(":")
            except SpecError:  # the name of a distribution that is not there
                distribution, plain = "", name
            same = [
                Offer(offer.kind, offer.entry, offer.rivals, name)
                for offer in offers
                if offer.entry.name == plain and distribution in ("", offer.entry.distribution)
            ]
        if not same:
            known = sorted({offer.entry.name for offer in offers} | {offer.entry.distribution for offer in offers})
            raise UnknownNameError(f"No distribution, index or kernel is called {shown(name)}.{close_matches(name, known)}")
        found += same
    return found


def _row(offer: Offer) -> dict[str, Any]:
    entry = offer.entry
    return {
        "name": entry.name,
        "kind": offer.kind,
        "distribution": entry.distribution,
        "version": entry.version,
        "value": entry.value,
        "blocked": bool(entry.blocked),
        "clash": offer.clash if entry.distribution != OWN else None,
        "error": describe(offer.kind, entry)["error"],
    }


def _distributions(offers: list[Offer], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One record for each distribution, simkit's own first."""
    records: dict[str, dict[str, Any]] = {}
    for offer, row in zip(offers, rows, strict=True):
        same = {key: row[key] for key in ("distribution", "version")} | {"location": _location(offer.entry)}
        new = same | {"indexes": [], "kernels": [], "broken": 0, "blocked": row["blocked"]}
        record = records.setdefault(row["distribution"], new)
        record["indexes" if offer.kind == "index" else "kernels"].append(row["name"])
        record["broken"] += bool(row["error"]) and not row["blocked"]
    return sorted(records.values(), key=lambda record: (record["distribution"] != OWN, record["distribution"]))


def _location(entry: Entry) -> str:
    """The folder that the code comes from: that of its module, without importing it, or of the distribution."""
    package = entry.value.partition(":")[0].partition(".")[0]
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    if found is not None and found.origin:
        return str(Path(found.origin).parent)
    if isinstance(entry.source, type) or entry.source.dist is None:
        return ""
    return str(entry.source.dist.locate_file(""))


def _checked(offers: list[Offer]) -> list[dict[str, Any]]:
    """A report for each offer."""
    from simkit.testing import examine_index, examine_kernel

    reports = []
    with track(len(offers), "conformance") as advance:
        for offer in offers:
            start = time.perf_counter()
            report = (examine_index if offer.kind == "index" else examine_kernel)(offer.qualified)
            reports.append(
                {
                    "subject": offer.qualified,
                    "kind": offer.kind,
                    "distribution": offer.entry.distribution,
                    "version": offer.entry.version,
                    "passed": list(report.passed),
                    "failed": [finding._asdict() for finding in report.failed],
                    "skipped": [finding._asdict() for finding in report.skipped],
                    "seconds": round(time.perf_counter() - start, 3),
                }
            )
            advance()
    return reports


def _print_distributions(distributions: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    table = Table(title="Distributions that offer indexes and kernels", title_justify="left")
    for name in ("distribution", "version", "indexes", "kernels", "from"):
        table.add_column(name, no_wrap=name == "version", overflow="fold")
    for record in distributions:
        names = (" ".join(record[kind]) for kind in ("indexes", "kernels"))
        table.add_row(record["distribution"], record["version"], *names, record["location"])
    console.print(table)
    for row in rows:
        who = f"{row['kind']} {row['name']} of {row['distribution']} {row['version']}"
        if row["error"]:
            what = ("may not load:", "yellow") if row["blocked"] else ("broken:", "red")
            tell(*what, f"{who}: {row['error']}")
        elif row["clash"]:
            tell("same name:", "yellow", f"{who}: {row['clash']}")
    if all(record["distribution"] == OWN for record in distributions):
        console.print("No plugin is installed. `simkit new-plugin NAME --kind kernel` begins one.", highlight=False)


def _print_checks(reports: list[dict[str, Any]]) -> None:
    if not reports:
        console.print("Nothing to check; --all checks what simkit itself offers.", highlight=False)
        return
    table = Table(title="Conformance", title_justify="left")
    table.add_column("")
    for name in ("what", "kind", "of"):
        table.add_column(name, overflow="fold")
    for name in ("passed", "failed", "skipped", "seconds"):
        table.add_column(name, justify="right")
    for report in reports:
        failed = len({finding["check"] for finding in report["failed"]})
        table.add_row(
            Text("fails", "red") if failed else Text("passes", "green"),
            report["subject"],
            report["kind"],
            f"{report['distribution']} {report['version']}".strip(),
            str(len(report["passed"])),
            str(failed or ""),
            str(len(report["skipped"])),
            f"{report['seconds']:.1f}",
        )
    console.print(table)
    for report in reports:
        for finding in report["failed"]:
            tell("failed:", "red", f"{report['subject']} {finding['check']}: {finding['message']}")
