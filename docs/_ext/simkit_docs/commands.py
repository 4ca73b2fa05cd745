"""The command line, as its own application describes it."""

from __future__ import annotations

import re

import typer.main
from typer.cli import get_docs_for_click

from simkit.cli.app import app

__all__ = ["markdown"]


def markdown() -> str:
    """What `typer utils docs` writes, without its title and with its text made safe for Markdown."""
    command = typer.main.get_command(app)
    context = command.make_context("simkit", [], resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="simkit", title="simkit").partition("\n")[2]
    for name, one in command.commands.items():  # a link and the whole sentence in the list of commands
        first = " ".join((one.help or "").partition("\n\n")[0].split())
        line = f"* [`{name}`](#simkit-{name}): {first}"
        text = re.sub(rf"^\* `{name}`: .*$", line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    return "\n".join(map(_safe, text.splitlines()))


def _safe(line: str) -> str:
    """Globs are not emphasis; what stands in backticks is left alone."""
    if not line.startswith(("* `", "**")):
        return line
    head, code, rest = re.match(r"(\*\*.*|\* )(`[^`]*`)?(.*)", line).groups(default="")  # type: ignore[union-attr]
    parts = re.split(r"(`[^`]*`)", rest)
    return head + code + "".join(part if part.startswith("`") else re.sub(r"([*_<>\[\]])", r"\\\1", part) for part in parts)
