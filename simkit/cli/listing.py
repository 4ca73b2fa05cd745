"""`simkit indexes` and `simkit kernels`: the paper's Table 1, with the origin of each row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Optional

import typer
from rich.table import Table
from rich.text import Text

from simkit.cli.completion import index_names, kernel_names
from simkit.cli.console import console, measured, print_json, print_table, say_note, tell
from simkit.cli.details import details_of, print_details
from simkit.cli.options import Json
from simkit.discovery import Entry
from simkit.errors import SimkitError
from simkit.loading import error_of
from simkit.properties import CAPABILITIES
from simkit.registry import Registry, get_index, get_kernel
from simkit.registry import indexes as index_registry
from simkit.registry import kernels as kernel_registry
from simkit.spec import parse

# Invariances, and the headings of their columns.
_OF_INDEXES = {"invertible_linear": "invertible", "orthogonal": "orthogonal", "isotropic_scaling": "scaling"}
_OF_KERNELS = {"orthogonal": "orthogonal", "translation": "offset", "isotropic_scaling": "scaling"}


def describe(kind: str, entry: Entry, spec: str | None = None) -> dict[str, Any]:
    """One row: what an index or a kernel declares, with default parameters or those of a spec, or its error."""
    row: dict[str, Any] = {"name": entry.name, "distribution": entry.distribution, "version": entry.version, "error": None}
    error = error_of(entry)
    if error:
        return row | {"error": error}
    try:
        return row | (_facts_of_index if kind == "index" else _facts_of_kernel)(spec or entry.spec)
    except SimkitError as error:
        return row | {"error": str(error)}
    except Exception as error:  # a plugin may fail in any way it likes
        return row | {"error": f"What it declares cannot be read: {type(error).__name__}: {error}"}


def _facts_of_index(spec: str) -> dict[str, Any]:
    index = get_index(spec)
    facts = index.facts
    row: dict[str, Any] = {}
    for invariance in _OF_INDEXES:
        in_x, in_y = invariance in facts.invariances.x, invariance in facts.invariances.y
        row[invariance] = "yes" if in_x and in_y else "X" if in_x else "Y" if in_y else "no"
    low, high = facts.range
    return row | {
        "symmetric": facts.symmetric,
        "range": [bound if math.isfinite(bound) else None for bound in (low, high)],
        "statistic": facts.statistic,
        "generic": facts.generic,
        "capabilities": [name for name in CAPABILITIES if name in facts.capabilities],
        "reference": str(type(index).reference),
    }


def _facts_of_kernel(spec: str) -> dict[str, Any]:
    kernel = get_kernel(spec)
    row: dict[str, Any] = {name: "yes" if name in kernel.invariances else "no" for name in _OF_KERNELS}
    return row | {
        "capabilities": [name for name in CAPABILITIES if name in kernel.capabilities],
        "formula": str(type(kernel).__doc__ or "").split("\n")[0],
        "reference": str(type(kernel).reference),
    }


def _mark(value: str) -> Text | str:
    yes, no = ("yes", "no") if console.options.ascii_only else ("✓", "✗")
    return {"yes": Text(yes, "green"), "no": Text(no, "dim")}.get(value, f"{value} only")


def _interval(bounds: list[float | None]) -> str:
    low, high = bounds
    infinity = "inf" if console.options.ascii_only else "∞"
    return f"{f'(-{infinity}' if low is None else f'[{low:g}'}, {f'{infinity})' if high is None else f'{high:g}]'}"


def _origin(row: dict[str, Any]) -> str:
    return f"{row['distribution']} {row['version']}".strip()


_CENTRED = {*_OF_INDEXES.values(), *_OF_KERNELS.values(), "symmetric"}
_FORMULA = 28  # columns of text on a terminal
_LESS_IMPORTANT = ("reference", "from", "needs", "symmetric", "range", "scaling", "offset", "orthogonal")


def _list(
    kind: str, registry: Registry[Any], title: str, cells: Callable[[dict[str, Any]], dict[str, Text | str]], as_json: bool
) -> None:
    """Print every entry of a registry; `cells` are those of a row, by heading.

    On a narrow terminal columns are left out, the least important first, and a line says so.
    """
    rows = [describe(kind, entry) for _, same in sorted(registry.entries().items()) for entry in same]
    if as_json:
        print_json(rows)
        return
    shown = [cells(row) for row in rows if row["error"] is None]
    header = list(shown[0] if shown else {})
    left_out = [name for name in _LESS_IMPORTANT if name in header]
    omitted: list[str] = []
    while (needed := measured(table := _table(title, header, shown))) > console.width and console.is_terminal and left_out:
        omitted.append(left_out.pop(0))
        header.remove(omitted[-1])
    print_table(table, needed)
    if omitted:
        command = "indexes" if kind == "index" else "kernels"
        say_note(f"Left out: {', '.join(omitted)}. `simkit {command} NAME`, a wider terminal or --json has them.")
    for row in rows:
        if row["error"] is not None:
            tell("broken:", "red", f"{row['name']} of {_origin(row)}: {row['error']}")


def _table(title: str, header: list[str], rows: list[dict[str, Text | str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in header:
        room = _FORMULA if name == "formula" and console.is_terminal else None
        table.add_column(name, justify="center" if name in _CENTRED else "left", overflow="fold", max_width=room)
    for row in rows:
        table.add_row(*(row[name] for name in header))
    return table


def _tell(kind: str, registry: Registry[Any], spec: str, as_json: bool) -> None:
    """Print everything about one of a registry."""
    entry = registry.find(parse(spec).name)
    print_details(details_of(registry, spec, describe(kind, entry, spec)), as_json)


def indexes(
    name: Annotated[
        Optional[str],
        typer.Argument(
            metavar="NAME",
            help="Everything about one: parameters, formula, facts and sources. A spec such as 'cka(kernel=rbf)' will do.",
            show_default=False,
            autocompletion=index_names,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the similarity indexes and what each is invariant to (Table 1 of the paper), or describe one."""
    if name is not None:
        _tell("index", index_registry, name, as_json)
        return

    def cells(row: dict[str, Any]) -> dict[str, Text | str]:
        return {
            "name": row["name"],
            **{heading: _mark(row[invariance]) for invariance, heading in _OF_INDEXES.items()},
            "symmetric": _mark("yes" if row["symmetric"] else "no"),
            "range": _interval(row["range"]),
            "needs": row["statistic"],
            "reference": row["reference"],
            "from": _origin(row),
        }

    title = "Similarity indexes and the transformations of the features that leave them unchanged"
    _list("index", index_registry, title, cells, as_json)


def kernels(
    name: Annotated[
        Optional[str],
        typer.Argument(
            metavar="NAME",
            help="Everything about one: parameters, formula, facts and sources.",
            show_default=False,
            autocompletion=kernel_names,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the kernels for HSIC and CKA, or describe one."""
    if name is not None:
        _tell("kernel", kernel_registry, name, as_json)
        return

    def cells(row: dict[str, Any]) -> dict[str, Text | str]:
        return {
            "name": row["name"],
            "formula": row["formula"],
            **{heading: _mark(row[invariance]) for invariance, heading in _OF_KERNELS.items()},
            "reference": row["reference"],
            "from": _origin(row),
        }

    title = "Kernels and the transformations of the features that leave their centred Gram matrix unchanged"
    _list("kernel", kernel_registry, title, cells, as_json)
