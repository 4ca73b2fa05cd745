"""What the README and the docstrings show is true."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import re
from pathlib import Path

import pytest

import simkit

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(simkit.__path__, "simkit.") if not module.name.startswith("simkit.cli")
)


def test_python_examples_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("torch")
    pytest.importorskip("pandas")
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 5
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), space)
    assert space["a"].grad.shape == (500, 64)
    assert list(space["matrix"].rows) == list(space["first"])
    assert (tmp_path / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failures, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failures == 0


def test_table_of_indexes_is_what_the_indexes_declare():
    table = TEXT.split("## Indexes")[1].split("\n\n")[2]
    rows = {}
    for line in table.splitlines()[2:]:
        names, *facts = (cell.strip() for cell in line.strip("|").split("|"))
        rows |= dict.fromkeys(re.findall(r"`(\w+)`", names), facts)
    own = {str(entry) for entry in simkit.list_indexes() if entry.distribution == "simkit-similarity"}
    assert set(rows) == own
    for name, (*marks, score, parameters) in rows.items():
        index = simkit.get_index(name)
        x, y = index.facts.invariances
        for mark, invariance in zip(marks, ("invertible_linear", "orthogonal", "isotropic_scaling"), strict=True):
            kept = {(True, True): "yes", (True, False): "X only", (False, True): "Y only", (False, False): ""}
            assert mark == kept[invariance in x, invariance in y], (name, invariance)
        assert (f"Only if {index.facts.generic}" in parameters) == bool(index.facts.generic), name
        low, high = index.facts.range
        assert score == {(0, 1): "0 to 1", (-1, 1): "-1 to 1", (0, math.inf): "0 and up"}[low, high], name
        for parameter in re.findall(r"`(\w+)`", parameters):
            assert parameter in index.__dataclass_fields__, (name, parameter)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (README.parent / target).exists(), target


def test_commands_are_the_ones_that_are_tested():
    """The continuous integration runs the README's own test command."""
    commands = re.findall(r"```sh\n(.*?)\n```", TEXT, flags=re.DOTALL)
    assert len(commands) == 2
    script = README.parent / ".ci" / "run"
    assert commands[1] in script.read_text(encoding="utf-8")
