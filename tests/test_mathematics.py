"""The pages of docs/mathematics treat every index, and what they cite exists once. The build of the site runs their cells."""

from __future__ import annotations

import re
import sys

import pytest
from pages import DOCS, cells_in

import simkit
from simkit.page.citation import key_of

PAGES = sorted((DOCS / "mathematics").glob("*.md"))
FAMILIES = [page for page in PAGES if page.stem != "index"]
INDEXES = [str(name) for name in simkit.list_indexes()]


def named(page):
    return page.stem


@pytest.fixture(scope="module")
def keys():
    files = (DOCS / "references.bib", DOCS.parent / "simkit" / "page" / "templates" / "references.bib")
    return [re.findall(r"^@\w+\{(\w+),$", file.read_text(encoding="utf-8"), re.MULTILINE) for file in files]


@pytest.mark.parametrize("page", FAMILIES, ids=named)
def test_a_page_opens_with_a_question_and_says_when_not(page):
    text = page.read_text(encoding="utf-8")
    assert re.search(r"^# .+\n\n\*[^*]+\?\*", text, re.MULTILINE)
    headings = re.findall(r"^## (.*)", text, re.MULTILINE)
    assert {"Definition", "When not", "Cost"} <= set(headings)
    assert page.stem in (DOCS / "mathematics" / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", FAMILIES, ids=named)
def test_a_page_says_how_its_picture_looks_and_holds_its_numbers(page):
    text = page.read_text(encoding="utf-8")
    pictures = text.count("figure:\n    caption:")
    assert pictures >= 1
    assert text.count("image:\n    alt:") == pictures
    assert any("remove-cell" in cell.options and "\nassert " in cell.code for cell in cells_in(text))


def test_every_index_is_compared_with_its_definition():
    cells = [cell for page in FAMILIES for cell in cells_in(page.read_text(encoding="utf-8"))]
    definitions = [cell.code for cell in cells if "The definitions in NumPy" in cell.options]
    checks = "\n".join(code for code in definitions if "assert_allclose" in code)
    searched = {"stochastic_shape"}  # its minimum has no formula
    assert not [name for name in INDEXES if name not in searched and not re.search(rf'"{name}["(]', checks)]


def test_the_table_of_invariances(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "_ext")
    pytest.importorskip("sphinx")
    import invariances

    page = (DOCS / "mathematics" / "index.md").read_text(encoding="utf-8")
    variants = re.search(r"^```\{invariances\}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1].split()
    table = invariances.table(variants)
    rows = [re.match(r"\| (.*) \| (.*) \|$", line).groups() for line in table.splitlines()[2:]]
    for name in INDEXES:
        if simkit.get_index(name).facts is not None:
            assert len(re.findall(rf"`{name}[ `]", table)) == 1, name
            assert "permutation" in simkit.get_index(name).facts.invariances.x & simkit.get_index(name).facts.invariances.y
    assert len({words for words, _ in rows}) == len(rows)  # indexes of one kind share a row
    assert (
        dict(reversed(row) for row in rows)["{class}`ridge_predictivity <simkit.indexes.RidgePredictivity>`"]
        == "rotation of Y only, scale of X only, offset"
    )
    del sys.modules["invariances"]


def test_a_source_stands_in_one_file(keys):
    assert sorted({key for file in keys for key in file}) == sorted(key for file in keys for key in file)


def test_every_source_that_an_index_or_a_kernel_names_is_in_the_bibliography(keys):
    known = {key for file in keys for key in file}
    things = [simkit.get_index(name) for name in INDEXES] + [simkit.get_kernel(name) for name in simkit.list_kernels()]
    sources = {source.strip() for thing in things for source in type(thing).reference.split(";") if source.strip()}
    assert {key_of(source) for source in sources} <= known
