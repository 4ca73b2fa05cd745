"""What the README and the docstrings show is true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pages
import pytest
from data import pair

import simkit

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(simkit.__path__, "simkit.") if not module.name.startswith("simkit.cli")
)


def test_python_examples_run(monkeypatch):
    """On the reader's models, data and arrays."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    import small_models

    x, y = pair(50, 6, 5)
    space = {"model_a": small_models.Net(), "model_b": small_models.Net(), "data": torch.randn(40, 3, 8, 8), "X": x, "Y": y}
    models, arrays = pages.python_in(TEXT)
    assert len(models.splitlines()) == 4
    assert len(arrays.splitlines()) == 3
    for block in (models, arrays):
        pages.run(block, space)
    assert space["matrix"].shape == (7, 7)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    failures, _ = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert failures == 0


def test_table_of_indexes_is_what_the_indexes_declare():
    table = TEXT.split("## Which index?")[1].split("\n\n")[1]
    rows = {}
    for line in table.splitlines()[2:]:
        _, names, ignored = (cell.strip() for cell in line.strip("|").split("|"))
        rows |= dict.fromkeys(re.findall(r"`(\w+)`", names), ignored.partition(";")[0])
    own = {str(entry) for entry in simkit.list_indexes() if entry.distribution == "simkit-similarity"}
    assert set(rows) == own
    for name, ignored in rows.items():
        kept = dict(zip("XY", simkit.get_index(name).facts.invariances, strict=True))
        invertible = {side for side in "XY" if "invertible_linear" in kept[side]}  # which rotations are, and scaling
        rotations = {side for side in "XY" if "orthogonal" in kept[side]} - invertible
        scale = {side for side in "XY" if "isotropic_scaling" in kept[side]} if len(invertible) < 2 else set()
        found = {"invertible maps": invertible, "rotations": rotations, "scale": scale}
        said = [word if len(sides) == 2 else f"{word} of {min(sides)}" for word, sides in found.items() if sides]
        assert ignored == ", ".join(said), name


def test_commands_are_the_ones_that_are_tested():
    """The continuous integration runs the README's own test command."""
    commands = re.findall(r"```sh\n(.*?)\n```", TEXT, flags=re.DOTALL)
    assert len(commands) == 2
    script = README.parent / ".ci" / "run"
    assert commands[1] in script.read_text(encoding="utf-8")
