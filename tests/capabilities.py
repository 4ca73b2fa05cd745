"""The table of docs/compatibility.md that says where each index runs; ``python tests/capabilities.py`` writes it.

It is made from what the indexes declare, which the conformance kit tests (tests/test_facts.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import test_facts

import simkit

PAGE = Path(__file__).parents[1] / "docs" / "compatibility.md"
HEADER = (
    "index",
    "NumPy, PyTorch, JAX, CuPy",
    "a GPU",
    "`jax.jit`",
    "`torch.compile`",
    "`vmap`",
    "gradients",
    "Dask, streams",
)
LIBRARIES = {"torch", "jax", "cupy", "array_api_strict"}


def cells(spec: str) -> tuple[str, ...]:
    """One row of the table, without the name."""
    facts = simkit.get_index(spec).facts
    works = facts.capabilities
    return (
        "yes" if works >= LIBRARIES else "without " + ", ".join(sorted(LIBRARIES - works)),
        "in part on the host" if facts.host else "yes",
        *("yes" if name in works else "" for name in ("jit", "compile", "vmap", "gradients")),
        "" if facts.statistic == "examples" else "yes",
    )


def table() -> str:
    """All indexes with default parameters, and of those with others that are tested the ones that differ, by what they do."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for spec in test_facts.SPECS:
        name = spec.partition("(")[0]
        if spec == name or cells(spec) != cells(name):
            rows.setdefault(cells(spec), []).append(f"`{spec}`")
    lines = [HEADER, ("---",) * len(HEADER), *((", ".join(names), *row) for row, names in rows.items())]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def with_table(page: str) -> str:
    """The page with the table of today in the place of the one that it has."""
    start = re.escape("| " + " | ".join(HEADER[:2]))
    return re.sub(rf"^{start}[^\n]*\n(\|[^\n]*\n)+", lambda found: table() + "\n", page, count=1, flags=re.MULTILINE)


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
