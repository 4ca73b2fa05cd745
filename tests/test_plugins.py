"""`simkit plugins` and `simkit new-plugin`, as an author of a plugin meets them."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from test_registry import distribution

import simkit

pytest.importorskip("typer")
pytest.importorskip("rich")

# A plugin of each kind: right, wrong, and broken in every way that there is.
CODE = """
import math
from dataclasses import dataclass
import simkit
from simkit.indexes import CKA
from simkit.kernels import Linear
from simkit.properties import Facts

@dataclass(frozen=True)
class Doubled(Linear):
    "k(x, y) = 2 x'y."
    name = "doubled"
    def __call__(self, X, Y):
        return 2 * (X @ Y.mT)

@dataclass(frozen=True)
class Growing(Linear):
    "k(x, y) = n x'y."
    name = "growing"
    homogeneous = False
    def __call__(self, X, Y):
        return X.shape[0] * (X @ Y.mT)

@dataclass(frozen=True)
class Undecided(CKA):
    name = "undecided"
    facts = property(lambda self: Facts(symmetric=True))

@dataclass(frozen=True)
class Silent(simkit.Index):
    name = "silent"
    def prepare(self, representation): ...
    def score(self, x, y): ...

@dataclass(frozen=True)
class Demanding(Linear):
    width: int
    name = "demanding"
"""


@pytest.fixture
def run(tmp_path):
    def call(*arguments, code=0, **environment):
        done = subprocess.run(
            [sys.executable, "-c", "from simkit.cli import main; main()", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(tmp_path / "installed")} | environment,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def good(tmp_path):
    distribution(tmp_path / "installed", "good-plugin", {"doubled": "good_plugin:Doubled"}, module="good_plugin", code=CODE)


@pytest.fixture
def wrong(tmp_path):
    distribution(
        tmp_path / "installed", "wrong-plugin", {"growing": "wrong_plugin:Growing"}, module="wrong_plugin", code=CODE
    )


@pytest.fixture
def broken(tmp_path):
    folder = tmp_path / "installed"
    kernels = {
        "absent": "no_such_module:K",
        "leaving": "leaves:K",
        "other": "broken_plugin:Facts",
        "demanding": "broken_plugin:Demanding",
        "not-a-name": "broken_plugin:Doubled",
    }
    distribution(folder, "broken", kernels, module="broken_plugin", code=CODE)
    with (folder / "broken-1.2.dist-info" / "entry_points.txt").open("a") as points:
        points.write("[simkit.indexes]\nundecided = broken_plugin:Undecided\nsilent = broken_plugin:Silent\n")
    (folder / "leaves.py").write_text("import sys; sys.exit('no licence')")
    distribution(folder, "newer", {"late": "broken_plugin:Doubled"}, requires=["simkit-similarity>=99"])
    distribution(folder, "twin", {"doubled": "broken_plugin:Doubled", "rbf": "broken_plugin:Doubled"})


# --- simkit plugins -------------------------------------------------------------------------------------------------------


def test_without_plugins(run):
    record = json.loads(run("plugins", "--json", SIMKIT_PLUGINS="").stdout)
    (own,) = [row for row in record["distributions"] if row["distribution"] == "simkit-similarity"]
    assert (own["version"], own["broken"]) == (simkit.__version__, 0)
    assert own["location"] == str(Path(simkit.__file__).parent)
    assert set(own["indexes"]) >= {"cka", "cca"}
    assert "checks" not in record


def test_listing_says_where_everything_comes_from(run, good, tmp_path):
    text = " ".join(run("plugins").stdout.split())
    for word in ("simkit-similarity", simkit.__version__, "good-plugin", "1.2", "doubled"):
        assert word in text
    (row,) = json.loads(run("plugins", "--json", "good-plugin").stdout)["distributions"]
    assert (row["kernels"], row["indexes"], row["version"]) == (["doubled"], [], "1.2")
    assert row["location"] == str(tmp_path / "installed")


def test_plugins_are_code_and_that_is_said(run):
    for arguments in (["plugins"], ["plugins", "--help"]):
        text = " ".join(run(*arguments).stdout.replace("│", " ").split())
        assert "it runs with all your rights" in text
        assert "SIMKIT_PLUGINS=off" in text


def test_everything_that_is_broken_is_listed_and_breaks_nothing_else(run, good, broken):
    record = json.loads(run("plugins", "--json").stdout)
    rows = {(row["distribution"], row["name"]): row for row in record["entries"]}
    expected = {
        ("broken", "absent"): "ModuleNotFoundError: No module named 'no_such_module'",
        ("broken", "leaving"): "SystemExit: no licence",
        ("broken", "other"): "it is not a subclass of simkit.Kernel",
        ("broken", "demanding"): "missing 1 required positional argument: 'width'",
        ("broken", "not-a-name"): "is not an identifier",
        ("broken", "undecided"): "missing 3 required keyword-only arguments: 'range', 'invariances', and 'statistic'",
        ("broken", "silent"): "it does not define facts",
        ("newer", "late"): "it needs simkit-similarity>=99",
    }
    for key, text in expected.items():
        assert text in rows[key]["error"], key
        assert rows[key]["version"] == "1.2"
    assert rows["twin", "doubled"]["error"] is rows["good-plugin", "doubled"]["error"] is None
    assert rows["twin", "doubled"]["clash"] == "the name alone is an error; say good-plugin:doubled or twin:doubled"
    assert rows["twin", "rbf"]["clash"] == "the name alone means the one of simkit-similarity"
    assert rows["simkit-similarity", "rbf"]["clash"] is None
    assert all(row["error"] is None for (owner, _), row in rows.items() if owner in ("simkit-similarity", "good-plugin"))
    counts = {row["distribution"]: row["broken"] for row in record["distributions"]}
    assert counts.items() >= {"simkit-similarity": 0, "good-plugin": 0, "broken": 7, "newer": 1, "twin": 0}.items()

    text = " ".join(run("plugins").stdout.split())
    assert "broken: kernel leaving of broken 1.2:" in text
    assert "same name: kernel doubled of twin 1.2" in text
    listed = {row["name"]: row["error"] for row in json.loads(run("indexes", "--json").stdout)}
    assert listed["cka"] is None
    assert "'statistic'" in listed["undecided"]
    run("plugins", "--check", "good-plugin", "broken", code=1)


def test_what_may_not_load_is_said_and_is_no_failure(run, good, wrong):
    done = run("plugins", "--check", "--json", SIMKIT_PLUGINS="nobody")
    record = json.loads(done.stdout)
    assert record["checks"] == []
    (row,) = [row for row in record["entries"] if row["name"] == "doubled"]
    assert row["blocked"]
    assert "SIMKIT_PLUGINS='nobody'" in row["error"]
    assert "may not load: kernel doubled of good-plugin 1.2" in run("plugins", SIMKIT_PLUGINS="off").stdout


def test_check(run, good, wrong):
    done = run("plugins", "--check", code=1, SIMKIT_PLUGINS="good-plugin,wrong-plugin")  # not all that may be installed
    text = " ".join(done.stdout.replace("│", " ").split())
    assert "passes doubled kernel good-plugin 1.2" in text
    assert "fails growing kernel wrong-plugin 1.2" in text
    assert "failed: growing tiles: a tile of shape" in text
    assert "failed: growing homogeneous: scaling X only multiplies HKH by a constant" in text
    record = json.loads(run("plugins", "--check", "--json", "doubled").stdout)
    (report,) = record["checks"]
    assert (report["subject"], report["kind"], report["distribution"]) == ("doubled", "kernel", "good-plugin")
    assert "positive_semidefinite" in report["passed"]
    assert report["failed"] == []


def test_check_what_is_named(run, good, broken):
    """A distribution, a name, or a name with parameters; a name that two offer is checked of both."""
    record = json.loads(run("plugins", "--check", "--json", "polynomial(degree=2)", "twin:doubled").stdout)
    assert [report["subject"] for report in record["checks"]] == ["polynomial(degree=2)", "twin:doubled"]
    assert {row["distribution"] for row in record["distributions"]} == {"simkit-similarity", "twin"}
    assert "Did you mean good-plugin" in run("plugins", "god-plugin", code=2).stderr
    record = json.loads(run("plugins", "--check", "--json", "hsic(estimator=none)", code=1).stdout)
    assert "expected one of biased" in record["checks"][0]["failed"][0]["message"]


# --- simkit new-plugin ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rbf", "simkit-similarity already offers the kernel 'rbf'"),
        ("simkit-cka", "simkit-similarity already offers the index 'cka'"),
        ("rv", "another name of the index 'cka'"),
        ("ntk", "simkit-nngp"),
        ("similarity", "already"),
        ("doubled", "good-plugin already offers the kernel 'doubled'"),
        ("Soft-Cosine", "expected lower-case letters"),
        ("1st", "expected lower-case letters"),
        ("two words", "expected lower-case letters"),
        ("../up", "expected lower-case letters"),
        ("lambda", "no keyword"),
        ("simkit-", "expected lower-case letters"),
    ],
)
def test_names_that_cannot_be(run, good, tmp_path, name, message):
    assert message in run("new-plugin", name, "--kind", "kernel", code=2).stderr
    assert {path.name for path in tmp_path.iterdir()} == {"installed"}


def test_bad_options(run, tmp_path):
    assert "'both' is not one of 'kernel', 'index'" in run("new-plugin", "soft", "--kind", "both", code=2).stderr
    assert "--kind" in run("new-plugin", "soft", code=2).stderr
    assert "does not exist" in run("new-plugin", "soft", "--kind", "index", "--output", "no/where", code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(run, tmp_path):
    folder = tmp_path / "mine"
    run("new-plugin", "simkit-soft-cosine", "--kind", "kernel", "--output", folder)
    module = folder / "src" / "simkit_soft_cosine" / "__init__.py"
    assert "class SoftCosine(simkit.Kernel)" in module.read_text()
    module.write_text("precious")
    (folder / "notes.txt").write_text("precious")
    assert "--force" in run("new-plugin", "soft_cosine", "--kind", "kernel", "-o", folder, code=2).stderr
    assert module.read_text() == "precious"
    run("new-plugin", "soft_cosine", "--kind", "kernel", "-o", folder, "--force")
    assert "class SoftCosine" in module.read_text()
    assert (folder / "notes.txt").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]


def test_declared_range_of_versions(run, tmp_path):
    run("new-plugin", "soft-cosine", "--kind", "index")
    project = tomllib.loads((tmp_path / "simkit-soft-cosine" / "pyproject.toml").read_text())["project"]
    major, minor = simkit.__version__.split(".")[:2]
    assert project["name"] == "simkit-soft-cosine"
    assert project["dependencies"] == [f"simkit-similarity>={major}.{minor},<{major}.{int(minor) + 1}"]
    assert project["entry-points"] == {"simkit.indexes": {"soft_cosine": "simkit_soft_cosine:SoftCosine"}}


@pytest.fixture(scope="module")
def author(tmp_path_factory):
    """Two new plugins, built by pip and installed in an environment of their own that sees everything of this one."""
    home = tmp_path_factory.mktemp("author")
    environment = home / "environment"
    venv.create(environment, with_pip=False)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    paths = {"base": str(environment), "platbase": str(environment)}
    outer, inner = sysconfig.get_path("purelib"), sysconfig.get_path("purelib", "venv", vars=paths)
    (Path(inner) / "outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")  # with its editable installs

    def call(*arguments, cwd=home):
        done = subprocess.run([str(python), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    simkit_command = ("-c", "from simkit.cli import main; main()")
    call(*simkit_command, "new-plugin", "soft-angle", "--kind", "index")
    call(*simkit_command, "new-plugin", "soft-cosine", "--kind", "kernel")
    # Hatchling from here if it is here; otherwise pip fetches it.
    offline = ["--no-index", "--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install", "-q", *offline]
    folders = [str(home / "simkit-soft-angle"), str(home / "simkit-soft-cosine")]
    done = subprocess.run([*pip, *folders], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return call, home


@pytest.mark.parametrize("name", ["soft-angle", "soft-cosine"])
def test_a_new_plugin_passes_its_own_tests(author, name):
    call, home = author
    report = call("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=home / f"simkit-{name}")
    assert " passed" in report
    assert "failed" not in report


def test_new_plugins_pass_the_check_and_compare(author):
    call, _ = author
    code = """
import json, numpy as np, simkit
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((40, 4)), rng.standard_normal((40, 6))
entries = {str(entry): entry.distribution for entry in (*simkit.list_indexes(), *simkit.list_kernels())}
angle = simkit.compare(X, Y, "soft_angle(unit=degrees)")
print(json.dumps([entries["soft_angle"], entries["soft_cosine"], float(angle), float(simkit.compare(X, Y, "cka")),
                  float(simkit.compare(X, X, "cka(kernel=soft_cosine(alpha=2.0))"))]))
"""
    index, kernel, angle, cka, one = json.loads(call("-c", code))
    assert (index, kernel) == ("simkit-soft-angle", "simkit-soft-cosine")
    assert angle == pytest.approx(180 / math.pi * math.acos(cka))
    assert one == pytest.approx(1)
    checked = json.loads(
        call("-c", "from simkit.cli import main; main()", "plugins", "--check", "--json", "soft_angle", "soft_cosine")
    )
    assert [(report["subject"], report["failed"]) for report in checked["checks"]] == [
        ("soft_angle", []),
        ("soft_cosine", []),
    ]
