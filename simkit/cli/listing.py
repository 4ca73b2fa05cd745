"""`simkit indexes` and `simkit kernels`: the paper's Table 1, with the origin of each row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich.table import Table
from rich.text import Text

from simkit.cli.console import console, print_json, tell
from simkit.cli.options import Json
from simkit.discovery import Entry
from simkit.errors import SimkitError
from simkit.loading import error_of
from simkit.properties import CAPABILITIES
from simkit.registry import Registry, get_index, get_kernel
from simkit.registry import indexes as index_registry
from simkit.registry import kernels as kernel_registry

_COLUMNS = {"invertible_linear": "invertible", "orthogonal": "orthogonal", "isotropic_scaling": "scaling"}


def describe_index(entry: Entry) -> dict[str, Any]:
    """One row: the declared facts of an index with default parameters, or its error."""
    return _described(entry, _facts_of_index)


def describe_kernel(entry: Entry) -> dict[str, Any]:
    """One row: the declared facts of a kernel with default parameters, or its error."""
    return _described(entry, _facts_of_kernel)


def _described(entry: Entry, facts_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": entry.name, "distribution": entry.distribution, "version": entry.version, "error": None}
    error = error_of(entry)
    if error:
        return row | {"error": error}
    try:
        return row | facts_of(entry.spec)
    except SimkitError as error:
        return row | {"error": str(error)}
    except Exception as error:  # a plugin may fail in any way it likes
        return row | {"error": f"What it declares cannot be read: {type(error).__name__}: {error}"}


def _facts_of_index(spec: str) -> dict[str, Any]:
    index = get_index(spec)
    facts = index.facts
    row: dict[str, Any] = {}
    for invariance in _COLUMNS:
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
    row: dict[str, Any] = {
        invariance: "yes" if invariance in kernel.invariances else "no"
        for invariance in ("orthogonal", "translation", "isotropic_scaling")
    }
    row["capabilities"] = [name for name in CAPABILITIES if name in kernel.capabilities]
    return row | {"formula": str(type(kernel).__doc__ or "").split("\n")[0], "reference": str(type(kernel).reference)}


def _everything(registry: Registry[Any]) -> list[Entry]:
    return [entry for _, same in sorted(registry.entries().items()) for entry in same]


def _mark(value: str) -> Text | str:
    yes, no = ("yes", "no") if console.options.ascii_only else ("✓", "✗")
    return {"yes": Text(yes, "green"), "no": Text(no, "dim")}.get(value, f"{value} only")


def _interval(bounds: list[float | None]) -> str:
    low, high = bounds
    infinity = "inf" if console.options.ascii_only else "∞"
    return f"{f'(-{infinity}' if low is None else f'[{low:g}'}, {f'{infinity})' if high is None else f'{high:g}]'}"


def _origin(row: dict[str, Any]) -> str:
    return f"{row['distribution']} {row['version']}".strip()


_CENTRED = {*_COLUMNS.values(), "symmetric", "offset"}
_FOLDED = {"formula", "reference"}


def _print(title: str, header: list[str], rows: list[list[Text | str]], broken: list[dict[str, Any]]) -> None:
    if console.width < 120 and "reference" in header:  # the facts matter more; --json has everything
        k = header.index("reference")
        header, rows = header[:k] + header[k + 1 :], [row[:k] + row[k + 1 :] for row in rows]
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="center" if name in _CENTRED else "left", no_wrap=name not in _FOLDED)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for entry in broken:
        tell("broken:", "red", f"{entry['name']} of {_origin(entry)}: {entry['error']}")


def indexes(as_json: Json = False) -> None:
    """List the similarity indexes: what each is invariant to (Table 1 of the paper), its range, and where it comes from."""
    rows = [describe_index(entry) for entry in _everything(index_registry)]
    if as_json:
        print_json(rows)
        return
    usable = [row for row in rows if row["error"] is None]
    _print(
        "Similarity indexes and the transformations of the features that leave them unchanged",
        ["name", *_COLUMNS.values(), "symmetric", "range", "needs", "reference", "from"],
        [
            [
                row["name"],
                *(_mark(row[invariance]) for invariance in _COLUMNS),
                _mark("yes" if row["symmetric"] else "no"),
                _interval(row["range"]),
                row["statistic"],
                row["reference"],
                _origin(row),
            ]
            for row in usable
        ],
        [row for row in rows if row["error"] is not None],
    )


def kernels(as_json: Json = False) -> None:
    """List the kernels for HSIC and CKA."""
    rows = [describe_kernel(entry) for entry in _everything(kernel_registry)]
    if as_json:
        print_json(rows)
        return
    usable = [row for row in rows if row["error"] is None]
    kept = ("orthogonal", "translation", "isotropic_scaling")
    _print(
        "Kernels and the transformations of the features that leave their centred Gram matrix unchanged",
        ["name", "formula", "orthogonal", "offset", "scaling", "reference", "from"],
        [[row["name"], row["formula"], *(_mark(row[k]) for k in kept), row["reference"], _origin(row)] for row in usable],
        [row for row in rows if row["error"] is not None],
    )
