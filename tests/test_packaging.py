"""What is installed, and what importing it costs."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import subprocess
import sys

import pytest
from data import OWN_INDEXES, OWN_KERNELS

import simkit

DISTRIBUTION = importlib.metadata.distribution("simkit-similarity")
REQUIREMENTS = DISTRIBUTION.requires or []


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements}


def test_core_needs_three_packages():
    assert names(line for line in REQUIREMENTS if "extra ==" not in line) == {"numpy", "array-api-compat", "array-api-extra"}


def test_extras():
    extras = set(DISTRIBUTION.metadata.get_all("Provides-Extra"))
    assert {"torch", "dask", "jax", "cupy", "plot", "cli", "test", "docs", "all"} <= extras


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
