"""What the documentation takes from the code is all of it, and true: the API's pages, where indexes run, the command line."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import numpy as np
import public_api
import pytest
from data import OWN_INDEXES, pair

import simkit

pytest.importorskip("sphinx")
sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "_ext"))
from simkit_docs import api, backends, commands, equations, facts, forms, names, signatures

SPECS = [spec for name, variants in backends.specs() for spec in (name, *variants)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    api.write(folder)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.rst")}


def test_every_public_name_has_its_place(pages):
    """A page of its own if it is a function or a class, and a line in one group; on every system of files."""
    listed = [f"{module}.{name}" for module, some in public_api.modules().items() for name in some]
    found = names.of_object()
    groups = {group.page: pages[group.page] for group in api.GROUPS}
    for full in listed:
        item = found.get(full)
        if item is None:
            assert full in {"simkit." + name for name in dir(simkit) if not callable(getattr(simkit, name))}, full
            continue
        page = groups[api.group_of(item).page]
        if item.is_data:
            assert f"autodata:: {item.full}\n" in page
        else:
            assert f"<{names.page_of(item)}>\n" in page
            assert re.search(rf"^\.\. auto(function|class):: {item.name}$", pages[names.page_of(item)], re.MULTILINE)
    assert len({page.lower() for page in pages}) == len(pages) > 200


def test_what_no_group_names_is_an_error():
    with pytest.raises(LookupError, match=r"simkit\.compare_all is public but in no group"):
        api.group_of(names.Public("simkit", "compare_all", simkit.compare))


def test_pages_of_names_that_are_gone_are_removed(tmp_path):
    (tmp_path / "simkit.gone.rst").write_text("old", encoding="utf-8")
    api.write(tmp_path, pages=False)
    assert [path.name for path in tmp_path.iterdir()] == ["index.rst"]


def test_members_are_those_that_are_promised(pages):
    for member in ("plot", "best_matches", "to_pandas", "save"):
        assert f":: SimilarityMatrix.{member}\n" in pages["simkit.SimilarityMatrix"]
    assert "autoproperty:: SimilarityMatrix.shape" in pages["simkit.SimilarityMatrix"]
    assert "automethod" not in pages["simkit.indexes.CKA"]  # those of every index are on the page of Index


@pytest.mark.parametrize("name", [*map(str, OWN_INDEXES)])
def test_facts_of_an_index_are_on_its_page(name, pages):
    index = simkit.get_index(name)
    page = pages[f"simkit.indexes.{type(index).__name__}"]
    row = dict(re.findall(r"^   \* - (.+)\n     - (.+)$", page, re.MULTILINE))
    low, high = index.facts.range
    assert row["range"] == facts.written_range([low if np.isfinite(low) else None, high if np.isfinite(high) else None])
    assert row["symmetric"].startswith("yes" if index.facts.symmetric else "no")
    assert ("rotation or reflection" in row["unchanged by"]) is any("orthogonal" in side for side in index.facts.invariances)
    assert row.get("holds only if", "") == index.facts.generic
    assert all(f"``{field.name}``" in page for field in dataclasses.fields(index) if field.init)
    assert f":class:`{name} <simkit.indexes.{type(index).__name__}>`" in pages["indexes"]


@pytest.mark.parametrize("spec", SPECS)
def test_streams_and_dask_take_what_the_table_says(spec):
    """The planner's answer for large layers is what happens with small ones."""
    x, y = pair(40, 5, 4)
    if forms.route(spec, "batches"):
        stream = simkit.stream(spec)
        stream.update(x[:20], y[:20])
        stream.update(x[20:], y[20:])
        expected = stream.compute()
        if "minibatch" not in spec:
            np.testing.assert_allclose(expected, simkit.compare(x, y, spec), rtol=1e-6, atol=1e-9)
    else:
        with pytest.raises(simkit.errors.NeedsAllExamplesError):
            simkit.stream(spec).update(x, y)
    da = pytest.importorskip("dask.array")
    lazy = [da.from_array(array, chunks=(20, -1)) for array in (x, y)]
    if forms.route(spec, "chunks"):
        simkit.compare(*lazy, spec)
    else:
        with pytest.raises(simkit.errors.NeedsAllExamplesError):
            simkit.compare(*lazy, spec)


def test_the_table_has_every_index_and_says_what_it_declares():
    table = backends.markdown().splitlines()
    assert {line.count("|") for line in table} == {len(backends.HEADER) + 1}
    rows = {line.split("`")[1].partition(" ")[0]: line.split(" | ")[1:] for line in table[2:] if "{class}" in line}
    assert set(rows) == set(map(str, OWN_INDEXES))
    for name, row in rows.items():
        found = dict(zip(backends.HEADER[1:], (cell.strip(" |") for cell in row), strict=True))
        declared = simkit.get_index(name).facts
        for key, heading in {**forms.LIBRARIES, "gradients": "gradients", "jit": "`jax.jit`", "vmap": "`vmap`"}.items():
            assert found[heading] == (backends.YES if key in declared.capabilities else "")
        assert found["GPU"] == ("in part" if declared.host else backends.YES)
    for variant in ("kernel=rbf", "comparison=kendall", "squared=True", "centre=True"):
        assert f"… `({variant})`" in backends.markdown()


def test_the_command_line_is_there_in_full():
    typer = pytest.importorskip("typer")
    from simkit.cli.app import app

    text = commands.markdown()
    for name, command in typer.main.get_command(app).commands.items():
        section = text.split(f"## `simkit {name}`")[1].split("\n## ")[0]
        for parameter in command.params:
            written = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar or parameter.name]
            assert all(option.lower() in section.lower() for option in written), (name, parameter.name)
    assert r"'conv\*=mean:first'" in text  # no emphasis
    assert "`simkit indexes` lists them" in text


def test_equations_stand_by_themselves():
    def shown(thing):
        lines = (thing.__doc__ or "").split("\n")
        lines = [lines[0], *(line.removeprefix("    ") for line in lines[1:])]
        equations.set_apart(None, "class", "", thing, None, lines)
        return "\n".join(lines)

    without = {
        name for name in map(str, OWN_INDEXES) if ":class: simkit-equation" not in shown(type(simkit.get_index(name)))
    }
    assert without == {"svcca", "rsa", "ridge_predictivity"}  # in words
    text = shown(simkit.indexes.CKA)
    assert ".. code-block:: none\n   :class: simkit-equation\n\n   CKA(K, L) = HSIC(K, L) / sqrt(" in text
    assert r"it is \|Y'X\|^2 / (\|X'X\| \|Y'Y\|), the RV" in text
    assert equations.escaped("``a|b`` and |x|, X* and *this*") == r"``a|b`` and \|x\|, X\* and *this*"
    assert "Parameters\n----------\nsummary : {" in shown(simkit.indexes.SoftMatch)


def test_signatures_name_choices():
    arguments = "(kernel: ~simkit.kernel.Kernel = <factory>, estimator: Estimator = 'biased')"
    found, _ = signatures.spelled_out(None, "class", "", simkit.indexes.CKA, None, arguments, None)
    assert "estimator: Literal['biased', 'unbiased', 'lange', 'minibatch'] = 'biased'" in found
    assert "Kernel = 'linear'" in found
    bases = [type(simkit.get_index("cka")).__mro__[1]]
    signatures.public_bases(None, "", simkit.indexes.CKA, None, bases)
    assert bases == [simkit.Index]
