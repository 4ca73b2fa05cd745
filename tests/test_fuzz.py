"""The fuzzer finds what it is for; a few of its inputs run with every other test, the others in `python -m benchmarks.fuzz`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from benchmarks.fuzz import checks
from benchmarks.fuzz.inputs import FILES, inputs, specs

for library in ("torch", "h5py", "zarr", "pyarrow", "dask.array", "safetensors.torch"):
    pytest.importorskip(library)

FEW = settings(max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("suffix", sorted(set(FILES) - {".h5"}))  # the C library of HDF5 may take the interpreter with it
@pytest.mark.filterwarnings("ignore")
def test_a_few_damaged_files(tmp_path, suffix):
    @FEW
    @given(inputs(suffix))
    def attempt(parts):
        checks.write(parts, tmp_path / f"x{suffix}")
        checks.check_file(tmp_path / f"x{suffix}")

    attempt()
    assert [path.name for path in tmp_path.iterdir()] == [f"x{suffix}"]


@FEW
@given(specs())
def test_a_few_damaged_specs(text):
    assert checks.check_spec(text) is None


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(3))
    checks.check_file(tmp_path / "x.npy")
    return tmp_path / "x.npy"


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"": np.eye(3) + 1e-16}, "other numbers"),
        ({"": np.eye(4)}, "other numbers"),
        ({"y": np.eye(3)}, "does not know"),
        (None, "own library refuses"),
    ],
)
def test_numbers_that_differ_are_found(path, monkeypatch, theirs, message):
    monkeypatch.setitem(checks._LIBRARIES, ".npy", lambda _: theirs)
    with pytest.raises(checks.Finding, match=message):
        checks.check_file(path)


@pytest.mark.parametrize("way", ["simkit.open_source", "benchmarks.fuzz.checks.read_activations", "simkit.get_index"])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("k"), "builtins.KeyError"),
        (RuntimeError(), "RuntimeError"),
        (FileNotFoundError("\x1b"), "cannot be printed|FileNotFound"),
    ],
)
def test_raw_exceptions_are_found(path, monkeypatch, way, error, message):
    def fails(*_, **__):
        raise error

    monkeypatch.setattr(way, fails)
    with pytest.raises(checks.Finding, match=message):
        checks.check_spec("cka") if way.endswith("get_index") else checks.check_file(path)
