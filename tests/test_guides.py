"""Pages and notebooks that the build of the documentation executes: what can be seen of them without executing them.

That their code runs, and that the numbers in their prose are so, the build sees to: each has hidden cells that assert it.
"""

from __future__ import annotations

import ast
import json

import pytest
from pages import DOCS, cells_in
from pages import PAGES as ALL

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
PAGES = [DOCS / "quickstart.md", *(DOCS / "guides" / f"{name}.md" for name in ("vision", "language", "brain", "tokens"))]
EXECUTED = [path for path in ALL if cells_in(path.read_text(encoding="utf-8"))]


def named(path):
    return path.stem


def cells(path):
    """The tags and the code of each cell."""
    if path.suffix == ".md":
        return cells_in(path.read_text(encoding="utf-8"))
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [
        (",".join(cell["metadata"].get("tags", [])), "".join(cell["source"]))
        for cell in found
        if cell["cell_type"] == "code"
    ]


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=named)
def test_cells_can_be_read_and_hidden_ones_assert(path):
    assert len(cells(path)) > 5
    for _, code in cells(path):
        ast.parse(code)
    hidden = "\n".join(code for tags, code in cells(path) if "remove-cell" in tags)
    assert sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(hidden))) >= 3
    shown = "\n".join(code for tags, code in cells(path) if "remove-cell" not in tags)
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(shown)))


@pytest.mark.parametrize("path", EXECUTED, ids=named)
def test_pages_with_cells_are_executed(path):
    assert path.read_text(encoding="utf-8").startswith("---\nfile_format: mystnb\n")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_notebooks_are_kept_without_their_output(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert path.stat().st_size < 20_000
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_notebooks_can_be_downloaded_from_their_page_and_from_the_list(path):
    first = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    assert f"<{path.name}>`" in first
    index = (DOCS / "notebooks" / "index.md").read_text(encoding="utf-8")
    assert f"]({path.name})" in index
    assert f"<{path.name}>`" in index
    assert path.stem in index.split("```{toctree}")[1]


def test_there_are_three_notebooks():
    assert len(NOTEBOOKS) == 3
