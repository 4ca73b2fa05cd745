"""The Python of the pages: cells, which the build of the site runs, and plain blocks, with the tests that hold those."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# Pages whose blocks need data, other libraries or a closer look: how many blocks, and the tests that hold them. Blocks of
# all other pages are run one after the other, in an empty folder (test_docs.py). A block that is added to a page of this
# table fails until it is counted here, and until the test knows of it.
HELD: dict[str, tuple[int, str]] = {
    # The other libraries' calls were run when their figures were recorded, by docs/coming_from/measure.py.
    "coming_from/netrep.md": (1, "test_coming_from.py::test_calls_on_models_run"),
    "coming_from/pytorch_cka.md": (2, "test_coming_from.py::test_calls_on_models_run"),
    "coming_from/torch_cka.md": (2, "test_coming_from.py::test_calls_on_models_run"),
    "development/plugins.md": (7, "test_docs.py::test_excerpts_are_what_the_plugins_say"),
    "index.md": (2, "test_docs.py::test_the_first_page"),
    "paper/reproducing.md": (1, "test_docs.py::test_equation_12"),
    "reference/speed.md": (1, "test_benchmarks.py::test_explain_on_the_page_on_speed"),
    "topics/activations.md": (1, "test_docs.py::test_activations"),
    "topics/chance.md": (3, "test_chance.py::test_the_page"),
    "topics/clusters.md": (7, "test_docs.py::test_clusters"),
    "topics/features.md": (2, "test_docs.py::test_activations_on_disk"),
    "topics/jax_keras.md": (3, "test_docs.py::test_jax_keras"),
    "topics/models.md": (5, "test_docs.py::test_models"),
    "topics/notebook.md": (5, "test_docs.py::test_the_page_on_notebooks"),
    "topics/report.md": (1, "test_docs.py::test_report"),
    "topics/scale.md": (4, "test_docs.py::test_scale"),
    "topics/streaming.md": (5, "test_docs.py::test_streams"),
    "topics/training.md": (4, "test_docs.py::test_training"),
}


def name_of(page: Path) -> str:
    """Its path under docs/."""
    return page.relative_to(DOCS).as_posix()


def python_in(text: str) -> list[str]:
    """All blocks of Python that a page shows and the build of the site does not execute, also those inside of directives."""
    found: list[str] = []
    for token in MarkdownIt().parse(text):
        info = token.info.strip()
        if token.type != "fence" or info.startswith("{code-cell}"):
            continue
        language = info.removeprefix("{code-block}").strip().partition(" ")[0]
        if language in ("python", "py", "python3", "pycon", "ipython", "ipython3"):
            found.append(token.content)
        elif info.startswith("{"):
            found += python_in(token.content)
    return found


class Cell(NamedTuple):
    """What the build of the site executes: its options, as they stand, and its code."""

    options: str
    code: str


def cells_in(text: str) -> list[Cell]:
    """All cells of a page; each stands at the margin."""
    cell = r"^```\{code-cell\} python\n(---\n.*?^---\n|(?::[^\n]*\n)*)(.*?)^```$"
    found = [Cell(*parts) for parts in re.findall(cell, text, flags=re.DOTALL | re.MULTILINE)]
    assert len(found) == text.count("```{code-cell}"), "a cell that no test sees"
    return found


def blocks(page: str) -> list[str]:
    """The blocks of a page, by its name."""
    return python_in((DOCS / page).read_text(encoding="utf-8"))


def run(block: str, space: dict[str, Any]) -> None:
    """Execute a block in a namespace."""
    exec(compile(block, "a page", "exec"), space)


PAGES = sorted(DOCS.rglob("*.md"))
BLOCKS = {name_of(page): found for page in PAGES if (found := python_in(page.read_text(encoding="utf-8")))}
