"""The directive ``invariances``: which transformations leave which indexes unchanged, made from the facts that they declare.

It has every index that simkit and the distributions in ``plugins/`` register, with default parameters, and each spec in the
body of the directive. Indexes of equal invariances share a row; those that allow most come first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simkit_docs.facts import unchanged_by
from sphinx.util.docutils import SphinxDirective

import simkit

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

DISTRIBUTIONS = ("simkit-similarity", "simkit-shape", "simkit-topology")
WORDS = {  # of Facts.invariances but for permutations, which every index allows, and what the page calls them
    "orthogonal": "rotation",
    "invertible_linear": "invertible map",
    "isotropic_scaling": "scale",
    "translation": "offset",
}


def linked(spec: str) -> str:
    """The spec, a link to its class where the reference has it."""
    cls = type(simkit.get_index(spec))
    if cls.__module__.startswith("simkit."):
        return f"{{class}}`{spec} <simkit.indexes.{cls.__name__}>`"
    return f"`{spec}`"


def table(variants: list[str]) -> str:
    """The table in Markdown."""
    own = [str(name) for name in simkit.list_indexes() if name.entry.distribution in DISTRIBUTIONS]
    rows: dict[tuple[str, ...], list[str]] = {}
    for spec in sorted((*own, *variants)):
        rows.setdefault(tuple(unchanged_by(spec, WORDS)), []).append(linked(spec))
    ordered = sorted(rows.items(), key=lambda item: (-len(item[0]), " of " in "".join(item[0]), item[1]))
    lines = [
        ("unchanged by", "indexes"),
        ("---", "---"),
        *((", ".join(words), ", ".join(specs)) for words, specs in ordered),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Invariances(SphinxDirective):
    """The table, as nodes of the page."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Parse the table as if it stood in the page."""
        return self.parse_text_to_nodes(table([line for line in self.content if line.strip()]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("invariances", Invariances)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
