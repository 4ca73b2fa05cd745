"""The pages for those who come from other libraries: each figure is what was recorded or what simkit gives, each reason computes."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pages
import pytest

import simkit

FOLDER = pages.DOCS / "coming_from"
MEASURED = json.loads((FOLDER / "measured.json").read_text(encoding="utf-8"))
LIBRARIES = {
    "torch_cka": ["torch-cka"],
    "pytorch_cka": ["pytorch-cka", "ckatorch"],
    "netrep": ["netrep"],
    "rsatoolbox": ["rsatoolbox"],
    "google": ["demo", "svcca"],
    "similarity_repository": ["similarity-repository"],
    "anatome_hyppo": ["anatome", "hyppo"],
    "index": list(MEASURED),
}
PAGES = [name for name in LIBRARIES if name != "index"]


def text(page):
    return (FOLDER / f"{page}.md").read_text(encoding="utf-8")


def rows(page):
    """Cells of the tables with figures: their call, simkit's call, their figure, simkit's figure or None, what is said of them."""
    for table in re.findall(r"(?:^\|.*\n)+", text(page), flags=re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            for line in table.splitlines()
        ]
        if lines[0][-1] == "gives":  # "figure of both: remark" or "theirs and simkit's: remark"
            for calls, own, figures in lines[2:]:
                gave, _, remark = figures.partition(": ")
                gave, _, gives = gave.partition(" and ")
                yield calls, own, gave, gives or (None if own.startswith("none") else gave), remark
        elif lines[0][0] == "name":  # the overview: "figure: library, call" and "figure: spec"
            for _, theirs, ours, remark in lines[2:]:
                gave, _, calls = theirs.partition(": ")
                gives, _, own = ours.partition(": ")
                yield calls, own, gave, gives, remark


def code(cell):
    return re.findall(r"(?<!\})`([^`]+)`", cell)  # not the names of roles


def computed(cell, space):
    """What simkit gives for the code of a cell: a spec, or an expression of calls of `compare`."""
    expression = cell.strip("`")
    if "compare(" not in expression:
        return simkit.compare(space["X"], space["Y"], expression)
    return eval(expression, {**space, "compare": simkit.compare})


def shown(value, figure):
    """The value with as many decimals as the figure."""
    return f"{float(value):.{len(figure.partition('.')[2])}f}"


def of(call, page):
    """What was recorded of a call; of a name without its repository, of all repositories that could compute it."""
    found = []
    for library in LIBRARIES[page]:
        figures = MEASURED[library]["figures"]
        found += [figures[call]] if call in figures else []
        if not found and library == "similarity-repository" and "/" not in call:
            found += [v for name, v in figures.items() if name.partition("/")[2] == call]
    assert found, (page, call)
    return found


@pytest.fixture
def space(monkeypatch):
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    import beside

    X, Y = beside.pair()
    return {"np": np, "simkit": simkit, "X": X, "Y": Y}


@pytest.mark.parametrize("page", PAGES)
def test_reasons_give_the_recorded_figures(page, space):
    """The cells of a page run, those that assert and are not shown among them."""
    pytest.importorskip("scipy")
    if "shape_metric" in text(page):
        pytest.importorskip("simkit_shape")
    for cell in pages.cells_in(text(page)):
        pages.run(cell.code, space)


@pytest.mark.filterwarnings("ignore::simkit.errors.ChanceWarning")
@pytest.mark.parametrize("page", LIBRARIES)
def test_figures_are_those_of_the_calls(page, space):
    pytest.importorskip("scipy")
    found = list(rows(page))
    assert len(found) >= 5 or page == "torch_cka"
    for calls, own, gave, gives, remark in found:
        if "shape_metric" in own:
            pytest.importorskip("simkit_shape")
        theirs = []
        assert code(calls), calls
        for call in code(calls):
            for value in of(call, page):
                if not isinstance(value, str):
                    assert shown(value, gave) == gave or np.isnan(value), (call, value)
                    theirs += [] if np.isnan(value) else [value]
                elif "/" in call or page != "similarity_repository":  # of several, some may not take these layers
                    assert value.startswith(gave), (call, value)
        if gives is None:
            continue
        value = float(computed(own, space))
        assert shown(value, gives) == gives, (own, value)
        if gives == gave:
            assert theirs, calls
            np.testing.assert_allclose(value, theirs, rtol=3e-6)
        if page == "index":
            assert gives != gave
            for cell in code(remark):
                np.testing.assert_allclose(float(computed(cell, space)), theirs[0], rtol=3e-6)


@pytest.mark.parametrize("page", PAGES)
def test_versions_and_dates_are_those_recorded(page):
    for library in LIBRARIES[page]:
        entry = MEASURED[library]
        assert entry.get("version", entry.get("commit")) in text(page)
        assert entry["date"] in text(page)


@pytest.mark.parametrize("page", ["torch_cka", "pytorch_cka", "netrep"])
def test_calls_on_models_run(page, space, monkeypatch):
    """The plain blocks, on the networks that were measured."""
    (block,) = re.findall(r"```python\n(.*?)```", text(page), flags=re.DOTALL)
    if page == "netrep":
        exec(block, space)
        assert space["distances"].shape == (10, 10)
        return
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    import measure

    inputs, (space["model_a"], space["model_b"]) = measure.torch_models(inplace=True)
    space["loader"] = measure.loader(inputs)
    exec(block, space)
    a, b = (sys.modules["beside"].layers(np.asarray(inputs, dtype=float), w) for w in sys.modules["beside"].networks()[1])
    expected = simkit.pairwise(a, b, "cka", estimator="unbiased").to_numpy()
    np.testing.assert_allclose(space["matrix"].to_numpy(), expected, rtol=1e-5)  # whatever is done in place
    exec(block.partition("\n)")[0].replace('"unbiased"', '"minibatch"') + "\n)", space)
    np.testing.assert_allclose(space["matrix"].to_numpy(), MEASURED["torch-cka"]["figures"]["batches of 32"], rtol=1e-5)
