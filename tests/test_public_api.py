"""What plugins and users rely on does not change in silence."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import public_api
import pytest

import simkit

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def sections():
    """Heading to text, in the order of the file."""
    parts = re.split(r"^## (.+)$", CHANGELOG.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def unmentioned(before, now, text):
    """Names whose signature is not what it was, and that the changelog does not name in backticks."""
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    named = set(re.findall(r"`([\w.]+)`", text))

    def is_named(name):
        parts = name.split(".")
        return any(".".join(parts[i:j]) in named for i in range(len(parts)) for j in range(i + 2, len(parts) + 1)) or (
            parts[-1] in named
        )

    return [f"{name}: {before.get(name, 'absent')} -> {now.get(name, 'absent')}" for name in changed if not is_named(name)]


def test_public_signatures_change_with_a_word_in_the_changelog_only():
    pytest.importorskip("torch")
    pytest.importorskip("dask")
    version, before = public_api.read_snapshot()
    text = "" if version not in sections() else sections().get("Unreleased", "")
    problems = unmentioned(before, public_api.signatures(), text)
    assert not problems, (
        "Name these in CHANGELOG.md under 'Unreleased' (see docs/reference/compatibility.md):\n" + "\n".join(problems)
    )


def test_the_snapshot_is_of_the_last_release():
    """It is written at a release, not to make the other test pass."""
    released = [heading for heading in sections() if heading != "Unreleased"]
    version, before = public_api.read_snapshot()
    assert released[0].split()[0] == version
    assert version == simkit.__version__ or "Unreleased" in sections()
    assert len(before) > 150


def test_a_change_is_noticed():
    before = {"simkit.compare": "(X, Y)", "simkit.indexes.CKA": "(kernel)", "simkit.gone": "()"}
    now = {"simkit.compare": "(X, Y, *, z=1)", "simkit.indexes.CKA": "(kernel)", "simkit.new": "()"}
    assert [line.split(":")[0] for line in unmentioned(before, now, "")] == ["simkit.compare", "simkit.gone", "simkit.new"]
    assert unmentioned(before, now, "`simkit.compare` takes `z`. `gone` is `new`.") == []


def test_the_modules_that_are_called_public_are_there():
    names = public_api.modules()
    assert {"simkit", "simkit.indexes", "simkit.kernels", "simkit.properties", "simkit.testing"} <= set(names)


# Prints the names that cannot be typed after `import simkit`, if nothing has imported more of it.
EACH_ALONE = """
import sys
for name in sys.argv[1:]:
    for module in [module for module in sys.modules if module.split(".")[0] == "simkit"]:
        del sys.modules[module]
    import simkit
    try:
        eval(name)
    except AttributeError as error:
        print(name, error)
"""


def names_in_messages(public):
    """What strings of the source, docstrings left out, name of public modules: in messages above all."""
    found = set()
    for file in Path(simkit.__file__).parent.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        alone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in alone:
                for name in re.findall(r"simkit(?:\.[A-Za-z_]\w*)+", node.value):
                    module = name.rpartition(".")[0]
                    if module in public and module != "simkit" and name != node.value:
                        found.add(name)
    return found


def test_what_is_public_and_what_messages_name_can_be_typed_after_import_simkit():
    pytest.importorskip("torch")
    public = set(public_api.modules())
    said = names_in_messages(public)
    assert {"simkit.io.write_matrix", "simkit.scale.projection.RandomProjection"} <= said
    done = subprocess.run(
        [sys.executable, "-c", EACH_ALONE, *sorted(public | said)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
