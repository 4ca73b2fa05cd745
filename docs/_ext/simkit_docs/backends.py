"""The table of where each index runs, from what the indexes declare and from what the planner answers."""

from __future__ import annotations

from collections.abc import Iterator

import simkit
from simkit.cli.details import details_of
from simkit.cli.listing import describe
from simkit.discovery import OWN
from simkit.registry import indexes, kernels
from simkit_docs import forms

__all__ = ["HEADER", "YES", "cells", "markdown", "specs"]

YES = "✓"
HEADER = (
    "index",
    "NumPy",
    *forms.LIBRARIES.values(),
    "GPU",
    "gradients",
    "`jax.jit`",
    "`vmap`",
    "`torch.compile`",
    "streams",
    "Dask",
)


def cells(spec: str) -> tuple[str, ...]:
    """One row of the table, without the name."""
    facts = simkit.get_index(spec).facts
    works = facts.capabilities
    return (
        YES,
        *(YES if name in works else "" for name in forms.LIBRARIES),
        "in part" if facts.host else YES,
        *(YES if name in works else "" for name in ("gradients", "jit", "vmap", "compile")),
        *(YES if forms.route(spec, source) else "" for source in ("batches", "chunks")),
    )


def specs() -> Iterator[tuple[str, list[str]]]:
    """Each index of simkit's own, and what it is with one choice other than the default in each of its parameters."""
    for name, same in sorted(indexes.entries().items()):
        if same[0].distribution != OWN:
            continue
        record = details_of(indexes, name, describe("index", same[0]))
        variants = []
        for one in record["parameters"]:
            values = [value for value in one["choices"] if value != one["default"]]
            if isinstance(one["default"], bool):
                values = [not one["default"]]
            if one["name"] == "kernel":
                values = [kernel for kernel, found in sorted(kernels.entries().items()) if found[0].distribution == OWN]
            variants += [f"{name}({one['name']}={value})" for value in values]
        yield name, variants


def markdown() -> str:
    """All indexes with default parameters, and below each the choices that change where it runs."""
    lines = [HEADER, ("---", *(":-:" for _ in HEADER[1:]))]
    for name, variants in specs():
        default = cells(name)
        lines.append((f"{{class}}`{name} <{_class(name)}>`", *default))
        others: dict[tuple[str, ...], list[str]] = {}
        for spec in variants:
            if cells(spec) != default:
                others.setdefault(cells(spec), []).append(spec.removeprefix(name))
        lines += [("<br>".join(f"… `{spec}`" for spec in same), *row) for row, same in others.items()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _class(name: str) -> str:
    return f"simkit.indexes.{type(simkit.get_index(name)).__name__}"
