"""How a matrix came about is kept with it, and goes where it goes."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import version

import numpy as np
import pytest

import simkit
from simkit.io import as_record


def layers(n=30):
    rng = np.random.default_rng(0)
    return {"a": rng.standard_normal((n, 3)).astype(np.float32), "b": rng.standard_normal((n, 4)).astype(np.float32)}


def test_what_pairwise_notes(backend):
    a = {name: backend.asarray(x, dtype="float32") for name, x in layers().items()}
    details = simkit.pairwise(a, index="cka(kernel=rbf)").details
    library = type(a["a"]).__module__.partition(".")[0].replace("jaxlib", "jax")
    assert details["library"].split()[0] == library
    module = importlib.import_module(library)
    assert details["library"].split()[1].startswith(module.__version__.partition("+")[0])
    assert ("cuda" if backend.name in ("torch:cuda", "cupy") else "cpu") in details["device"].lower()
    assert details["dtype"] == "float32"
    assert details["versions"] == {"simkit-similarity": simkit.__version__, "numpy": np.__version__}
    assert details["route"] in str(simkit.explain(a, index="cka(kernel=rbf)"))
    assert json.loads(json.dumps(details)) == details


def test_versions_of_plugins():
    pytest.importorskip("simkit_nngp")
    nngp, own = (simkit.pairwise(layers(), index=f"cka(kernel={kernel})").details["versions"] for kernel in ("nngp", "rbf"))
    assert set(nngp) - set(own) == {"simkit-nngp"}
    assert nngp["simkit-nngp"] == version("simkit-nngp")


def test_what_a_stream_notes():
    stream = simkit.stream("cka")
    stream.update(layers())
    details = stream.compute().details
    assert details["route"] == "second moments, from batches (Moments)"
    assert details["library"] == f"numpy {np.__version__}"
    assert details["dtype"] == "float32"


def test_nothing_lazy_is_computed_for_it():
    da = pytest.importorskip("dask.array")

    def fail(block):
        raise AssertionError("computed")

    x = da.ones((20, 3), chunks=(5, 3), dtype=float).map_blocks(fail, meta=np.empty((0, 0)))
    details = simkit.pairwise({"x": x, "y": x + 1}).details
    assert details["route"].endswith("from chunks of Dask arrays (Moments)")
    assert "device" not in details


def test_it_is_written_and_read(tmp_path):
    matrix = simkit.pairwise(layers(), estimator="unbiased")
    matrix.save(tmp_path / "m.npz")
    assert simkit.SimilarityMatrix.load(tmp_path / "m.npz").details == matrix.details
    assert matrix.T[1:].details == matrix.details


CHANCE = np.asarray([[0.5, np.nan], [0.25, 0.125]])
DETAILS = {"library": "numpy", "rows": {"model": "caf\u00e9\ud800"}}


def known():
    return simkit.SimilarityMatrix(np.eye(2), ("a", "b"), ("x", "y"), "cka", 9, CHANCE, DETAILS)


def test_json():
    record = as_record(known())
    assert record["chance"] == [[0.5, None], [0.25, 0.125]]
    assert record["details"] == DETAILS
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(as_record(simkit.SimilarityMatrix(np.eye(1), ("a",), ("x",), "cka", 9))) == {
        "index",
        "n",
        "rows",
        "columns",
        "values",
    }


def test_pandas():
    pytest.importorskip("pandas")
    frame = known().to_pandas()
    np.testing.assert_array_equal(frame.attrs["chance"], CHANCE)
    assert frame.attrs["details"] == DETAILS
    assert frame.copy().attrs.keys() == frame.attrs.keys()


def test_xarray_that_can_be_written(tmp_path):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("scipy")
    array = known().to_xarray()
    np.testing.assert_array_equal(array.coords["chance"], CHANCE)
    assert json.loads(array.attrs["details"]) == DETAILS
    array.to_netcdf(tmp_path / "m.nc", engine="scipy")
    read = xarray.load_dataarray(tmp_path / "m.nc", engine="scipy")
    xarray.testing.assert_identical(read, array)
    assert float(array.sel(row="b", column="x").chance) == 0.25
