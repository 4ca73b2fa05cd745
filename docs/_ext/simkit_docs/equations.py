"""Equations of docstrings, which are written to be read in a terminal, set apart as they stand.

An equation is a paragraph of one line that does not end a sentence. Bars are norms, never substitutions of reStructuredText;
a star in a formula begins no emphasis.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["escaped", "plain", "set_apart"]

_SIGNS = re.compile(r" = |sum_|[|/^]| {3,}\(")
_SECTION = re.compile(r"^-{3,}$")
_CODE = re.compile(r"(``.*?``|`[^`]*`)")


def set_apart(  # noqa: PLR0917  # as autodoc calls it
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Make literal blocks of the paragraphs that are equations, and plain text of what only looks like markup."""
    found: list[str] = []
    formal = False  # in a section of parameters and the like, where a single line is a name
    for i, line in enumerate(lines):
        below, above = lines[i + 1] if i + 1 < len(lines) else "", lines[i - 1] if i else ""
        if _SECTION.match(below):
            formal = line != "Notes"
        alone = i > 0 and not above.strip() and not below.strip()
        if alone and not formal and not line.startswith((" ", ">", "-", ".")) and _is_equation(line):
            if not _in_block(found):
                found += [".. code-block:: none", "   :class: simkit-equation", ""]
            found += [f"   {_closer(line)}"]
        else:
            found.append(line if line.lstrip().startswith(">>>") else escaped(line))
    lines[:] = found


def escaped(line: str) -> str:
    """A line of prose in which bars and the stars of formulas are themselves."""
    parts = _CODE.split(line)
    return "".join(
        part if part.startswith("`") else re.sub(r"(?<!\\)(\||(?<=[A-Z_^])\*(?=[\s,.)|]))", r"\\\1", part) for part in parts
    )


def plain(line: str) -> str:
    """A line of a docstring for a page where its names mean nothing: names are code."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", escaped(line))


def _is_equation(line: str) -> bool:
    return not line.endswith((".", ":")) and _SIGNS.search(line) is not None


def _in_block(lines: list[str]) -> bool:
    """Whether the last paragraph was an equation too."""
    return (
        len(lines) > 1
        and not lines[-1].strip()
        and lines[-2].startswith("   ")
        and any(line == "   :class: simkit-equation" for line in lines[-40:])
        and _last_unindented(lines) == ".. code-block:: none"
    )


def _last_unindented(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line and not line.startswith(" ")), "")


def _closer(line: str) -> str:
    """The number of an equation stands at the right margin of a terminal, which a page does not have."""
    return re.sub(r" {3,}(?=\()", "     ", line)
