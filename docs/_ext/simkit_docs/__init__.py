"""What the documentation takes from the code: the API pages, facts of indexes, where they run, and the command line.

Pages of the API are written before Sphinx looks for sources, so that a new public name needs no page. Tables stand in pages
written by hand, where a line ``% simkit: backends`` or ``% simkit: commands`` says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simkit_docs import api, backends, commands, equations, mathjax, references, signatures

_TABLES: dict[str, Callable[[], str]] = {"backends": backends.markdown, "commands": commands.markdown}
_PLACE = re.compile(r"^% simkit: (\w+)$", re.MULTILINE)


def setup(app: Any) -> dict[str, Any]:
    """Register everything with Sphinx."""
    app.connect("builder-inited", _write_pages, priority=900)  # after the gallery, to which pages link
    app.connect("source-read", _fill_in)
    app.connect("autodoc-process-docstring", equations.set_apart, priority=100)  # before numpydoc sorts the sections
    app.connect("autodoc-process-signature", signatures.spelled_out)
    app.connect("autodoc-process-bases", signatures.public_bases)
    references.setup(app)
    mathjax.setup(app)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _write_pages(app: Any) -> None:
    folder = Path(app.srcdir) / "reference" / "api"
    api.write(folder, pages=os.environ.get("SIMKIT_DOCS_API", "on") != "off")


def _fill_in(app: Any, docname: str, source: list[str]) -> None:
    """Put generated tables in their places."""
    source[0] = _PLACE.sub(lambda place: _TABLES[place[1]](), source[0])
