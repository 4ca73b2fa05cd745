"""What is installed, and what importing it costs."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from data import OWN_INDEXES, OWN_KERNELS

import simkit

DISTRIBUTION = importlib.metadata.distribution("simkit-similarity")
REQUIREMENTS = DISTRIBUTION.requires or []
ROOT = Path(__file__).parents[1]
FOLDERS = {folder.name: folder for folder in sorted((ROOT / "plugins").glob("simkit-*"))} | {"simkit-similarity": ROOT}
PROJECTS = {
    name: tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, folder in FOLDERS.items()
}
CHECKS = runpy.run_path(str(ROOT / ".ci" / "distributions.py"))


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements}


def test_core_needs_three_packages():
    assert names(line for line in REQUIREMENTS if "extra ==" not in line) == {"numpy", "array-api-compat", "array-api-extra"}


def extras_of(project):
    return project["optional-dependencies"]


def test_extras():
    """They are few, all but CuPy are in `all`, and what is for users does not bring what is for developers."""
    extras = extras_of(PROJECTS["simkit-similarity"])
    for_developers = {"test", "docs", "dev"}
    (everything,) = extras["all"]
    assert set(re.search(r"\[(.*)\]", everything)[1].split(",")) == set(extras) - for_developers - {"all", "cupy"}
    for name in set(extras) - for_developers:
        assert not for_developers & {part for line in extras[name] for part in re.findall(r"\w+", line)}, name


def test_extras_that_are_named_exist():
    """In messages, docstrings, pages and workflows."""
    extras = set(extras_of(PROJECTS["simkit-similarity"]))
    named = {}
    suffixes = {".py", ".md", ".ipynb", ".yml", ".yaml", ".toml"}
    folders = (ROOT / "simkit", ROOT / "docs", ROOT / "plugins", ROOT / "benchmarks", ROOT / ".github")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes]
    for path in [*files, *ROOT.glob("*.md"), *filter(Path.is_file, (ROOT / ".ci").iterdir())]:
        text = path.read_text(encoding="utf-8")
        for found in re.findall(r"(?:simkit-similarity|-e \"?\.|install (?:-q )?\"?\.)\[([a-z,]+)\]", text):
            named |= dict.fromkeys(found.split(","), path)
    assert named.keys() <= extras, {name: path for name, path in named.items() if name not in extras}
    assert {"cli", "plot", "files", "test"} <= named.keys()


@pytest.mark.parametrize("name", PROJECTS)
def test_metadata(name):
    project = PROJECTS[name]
    core = PROJECTS["simkit-similarity"]
    assert project["version"] == simkit.__version__, "the four are released together"
    assert project["authors"] == [{"name": "simkit contributors"}]
    assert project["urls"] == core["urls"]
    assert [line for line in project["classifiers"] if line.startswith("Programming")] == [
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)),
    ]
    assert (FOLDERS[name] / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert "Version 2.0, January 2004" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in PROJECTS if name != "simkit-similarity"])
def test_plugins_declare_the_range_that_compatibility_promises(name):
    """A change that may break a program raises the second number while the first is 0."""
    major, minor = (int(part) for part in simkit.__version__.split(".")[:2])
    assert f"simkit-similarity>={major}.{minor},<{major}.{minor + 1}" in PROJECTS[name]["dependencies"]


@pytest.mark.parametrize("name", PROJECTS)
def test_readme_on_an_index_has_no_relative_link(name, monkeypatch):
    core = pytest.importorskip("hatchling.metadata.core")
    plugin = pytest.importorskip("hatchling.plugin.manager")
    pytest.importorskip("hatch_fancy_pypi_readme")
    source = (FOLDERS[name] / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(FOLDERS[name])  # as every build frontend does
    made = core.ProjectMetadata(str(FOLDERS[name]), plugin.PluginManager()).core.readme
    assert CHECKS["relative_links"](source), "nothing to do, so nothing is tested"
    assert CHECKS["relative_links"](made) == []
    assert CHECKS["code_and_text"](made)[0] == CHECKS["code_and_text"](source)[0], "code was taken for a link"
    repository = PROJECTS[name]["urls"]["Repository"]
    for kind, target in re.findall(
        rf"{re.escape(repository)}/(raw|blob)/v{re.escape(simkit.__version__)}/([^)#\s\"]+)", made
    ):
        assert (ROOT / target).exists(), target
        assert (kind == "raw") == target.endswith((".png", ".svg", ".gif")), target
    assert made.count(repository) >= len(CHECKS["relative_links"](source))


def test_relative_links_are_found():
    text = """[a](docs/a.md#b) ![b](b.png) [![c](c.svg)](https://d) <img src="e.png"> <a href="f.md">g</a> [h](#i) [j](https://k)
```python
x[0](1)
```
"""
    assert CHECKS["relative_links"](text) == ["docs/a.md#b", "b.png", "c.svg", "e.png", "f.md"]


@pytest.mark.parametrize("name", PROJECTS)
def test_distributions(name, tmp_path, monkeypatch):
    """The wheel and the sdist are small, have what they must, and are the same bytes when they are built again."""
    wheels, sdists = (pytest.importorskip(f"hatchling.builders.{kind}") for kind in ("wheel", "sdist"))
    pytest.importorskip("hatch_fancy_pypi_readme")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.chdir(FOLDERS[name])
    made = []
    for again in ("first", "second"):
        for builder in (wheels.WheelBuilder, sdists.SdistBuilder):
            made += builder(str(FOLDERS[name])).build(directory=str(tmp_path / again), versions=["standard"])
    wheel, sdist, *again = map(Path, made)
    assert [path.read_bytes() for path in (wheel, sdist)] == [path.read_bytes() for path in again]
    assert CHECKS["problems"](wheel) == []
    assert CHECKS["problems"](sdist) == []


def test_every_public_name_is_there():
    folders = {"analysis", "demo", "features", "indexes", "inference", "kernels", "plot", "report", "testing", "torch"}
    assert dir(simkit) == sorted({*simkit.__all__, *folders})
    for name in dir(simkit):
        assert getattr(simkit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'compair'"):
        simkit.compair


def test_versions_agree():
    assert DISTRIBUTION.version == simkit.__version__


def test_types_are_shipped():
    assert (importlib.resources.files("simkit") / "py.typed").is_file()


def test_templates_of_reports_are_shipped():
    templates = importlib.resources.files("simkit.page") / "templates"
    assert all((templates / name).is_file() for name in ("page.html", "page.css", "page.js", "references.bib"))


@pytest.mark.parametrize("entry", [*OWN_INDEXES, *OWN_KERNELS], ids=str)
def test_every_entry_point_loads_and_is_called_by_its_name(entry):
    assert entry.error is None
    assert entry.load().name == entry


def test_names_differ_from_modules():
    """`simkit.compare` is the function, whatever has been imported before."""
    code = (
        "import simkit.indexes, simkit.registry, simkit; x = [[1.0], [2.0]]; simkit.compare(x, x);"
        "import simkit.cli.app; print(callable(simkit.compare), callable(simkit.pairwise))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]


def test_modules_that_import_loads():
    """NumPy is the whole cost; the registry and the indexes wait until they are asked for."""
    code = "import sys, numpy; before = set(sys.modules); import simkit; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.split() if name.startswith("simkit")] == ["simkit"]


def test_conda_recipe():
    """It requires what pyproject.toml does, and what the command line needs."""
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((ROOT / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"] == {"version": simkit.__version__, "python_min": "3.11"}
    assert [output["package"]["name"] for output in recipe["outputs"]] == [
        "simkit-similarity",
        *sorted(set(PROJECTS) - {"simkit-similarity"}),
    ]
    renamed = {"torch": "pytorch", "matplotlib": "matplotlib-base", "POT": "pot"}
    for output in recipe["outputs"]:
        project = PROJECTS[output["package"]["name"]]
        extras = project["optional-dependencies"]
        wanted = [
            *project["dependencies"],
            *(line for name in ("cli", "report", "threads") for line in extras.get(name, ())),
        ]
        wanted = {line.replace(">", " >", 1) for line in wanted if not line.startswith("simkit-similarity[")}
        assert set(output["requirements"]["run"]) == wanted | {"python >=${{ python_min }}"}
        bounds = [line for lines in extras.values() for line in lines]
        for line in output["requirements"].get("run_constraints", ()):
            name, bound = line.split()
            names = {name, *(old for old, new in renamed.items() if new == name)}
            assert any(re.fullmatch(rf"{old}(\[.*\])?{re.escape(bound)}", other) for old in names for other in bounds), line
