"""Damaged, forged and unusual files: numbers where there are numbers, else one error of simkit's own, whichever way they are read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import CASES, FOLDER, X, files_of

import simkit
from simkit.cli.app import run
from simkit.errors import DataWarning, SimkitError
from simkit.io import read_activations

for library in ("torch", "h5py", "zarr", "pyarrow", "dask.array", "typer"):
    pytest.importorskip(library)

pytestmark = [
    pytest.mark.timeout(20),
    pytest.mark.filterwarnings("ignore::simkit.errors.DataWarning", "ignore::UserWarning"),
]


def read_whole(path):
    return {
        name: np.asarray(x.float() if "bfloat16" in str(x.dtype) else x) for name, x in read_activations(path).layers.items()
    }


def read_chunks(path):
    found = simkit.open_source(path)
    return {
        name: x.compute(scheduler="synchronous") for name, x in (found if isinstance(found, dict) else {"x": found}).items()
    }


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == [], "pickled code ran"


@pytest.mark.parametrize("name", CASES)
def test_the_corpus_is_what_its_script_writes(name):
    kept = {str(file.relative_to(FOLDER)): file.read_bytes() for file in FOLDER.rglob("*") if file.is_file()}
    ours = {part: data for part, data in kept.items() if Path(part).parts[0] == name}
    if CASES[name].foreign:
        assert ours
    else:
        assert ours == dict(files_of(name))


def test_the_corpus_has_no_other_files():
    assert {file.name for file in FOLDER.iterdir()} == set(CASES)
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 200_000


@pytest.mark.parametrize(("read", "way"), [(read_whole, "whole"), (read_chunks, "chunks")], ids=["whole", "chunks"])
@pytest.mark.parametrize("name", CASES)
def test_numbers_or_an_error(name, read, way):
    expected = getattr(CASES[name], way)
    if expected is None:
        assert all(isinstance(x, np.ndarray) for x in read(FOLDER / name).values())
        return
    with pytest.raises(SimkitError, match=expected) as caught:
        read(FOLDER / name)
    message = str(caught.value)
    assert name in message
    assert message.isprintable()
    assert len(message) < 800


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, ()) for name in CASES]
    + [(name, ("--chunks", "5")) for name in CASES if name.endswith((".npy", ".safetensors"))],
)
def test_the_command_line_says_it_in_one_line(name, options, monkeypatch, capsys):
    in_chunks = bool(options) or name.endswith((".zarr", ".h5", ".parquet"))
    monkeypatch.setattr(sys, "argv", ["simkit", "compare", str(FOLDER / name), str(FOLDER / name), *options])
    code = run()
    captured = capsys.readouterr()
    complaints = [line for line in captured.err.splitlines() if not line.startswith("simkit: warning: ")]
    if (CASES[name].chunks if in_chunks else CASES[name].whole) is not None or code:
        assert (code, captured.out, len(complaints)) == (2, "", 1), captured.err
        assert complaints[0].startswith("simkit: ")
    else:
        assert (code, complaints) == (0, [])


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("good.npy", "good", X),
        ("fortran.npy", "fortran", X),
        ("big_endian.npy", "big_endian", X),
        ("good.npz", "b", X[:, :2]),
        ("compressed.npz", "a", X),
        ("good.safetensors", "x", X),
        ("padded.safetensors", "x", X),
        ("two.safetensors", "a", X[:6]),
        ("two.safetensors", "b", X[6:]),
        *((f"{name}.pt", name, X) for name in ("tensor", "parameter", "old_format")),
        ("parameters.pt", "a", X),
        ("ordered_parameters.pt", "a", X),
        ("requires_grad.pt", "requires_grad", X * 2),
        ("negative_bit.pt", "negative_bit", -X),
    ],
)
def test_numbers_read_whole(name, layer, expected):
    np.testing.assert_array_equal(read_whole(FOLDER / name)[layer], expected)


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        ("good.npy", "x", X),
        ("fortran.npy", "x", X),
        ("big_endian.npy", "x", X),
        ("good.safetensors", "x", X),
        ("two.safetensors", "a", X[:6]),
        ("two.safetensors", "b", X[6:]),
        ("good.h5", "net/x", X),
        ("good2.zarr", "x", X),
        ("good3.zarr", "x", X),
        ("group.zarr", "x", X),
        ("chunk_missing.zarr", "x", np.vstack([np.zeros((6, 3)), X[6:]])),
        ("good.parquet", "x", X),
        ("lists.parquet", "x", X),
        ("folder.parquet", "x", np.vstack([X[:, :2], X[:, 1::-1]])),
    ],
)
def test_numbers_read_in_chunks(name, layer, expected):
    np.testing.assert_array_equal(read_chunks(FOLDER / name)[layer], expected)


def test_chunks_that_are_not_there_are_counted():
    with pytest.warns(DataWarning, match=r"chunk_missing\.zarr: 1 of 2 chunks were never written and read as 0"):
        simkit.open_source(FOLDER / "chunk_missing.zarr")
    with pytest.warns(
        DataWarning, match=r"1 of 1 chunks of 'x' were never written"
    ):  # the file that a virtual dataset shows
        simkit.open_source(FOLDER / "no_source.h5")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("sparse_coo", lambda torch, x: x["a"].to_dense()),
        ("sparse_csr", lambda torch, x: x.to_dense()),
        ("quantised", lambda torch, x: x.dequantize()),
        ("nested", lambda torch, x: torch.stack([part.mean(0) for part in x.unbind()])),
        ("dictionary_in_dictionary", lambda torch, x: x["model"]),
        ("lists", lambda torch, x: {name: value for name, value in x.items() if isinstance(value, torch.Tensor)}),
    ],
)
def test_remedies_for_tensors_work(name, remedy, tmp_path):
    import torch

    path = tmp_path / "saved.pt"
    torch.save(remedy(torch, torch.load(FOLDER / f"{name}.pt")), path)
    assert all(x.ndim == 2 for x in read_whole(path).values())
    path.unlink()


IN_LITTLE_MEMORY = """
import resource, warnings
import dask.array, h5py, pyarrow.parquet, torch, zarr
from hostile import CASES, FOLDER
from simkit.errors import SimkitError
from test_hostile import read_chunks, read_whole

warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30,) * 2)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_chunks(FOLDER / "good3.zarr"), read_chunks(FOLDER / "good.parquet"), read_whole(FOLDER / "tensor.pt")
before = peak()
for name in CASES:
    for read in (read_whole, read_chunks):
        try:
            read(FOLDER / name)
        except SimkitError:
            pass
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
@pytest.mark.timeout(600)
def test_no_file_takes_much_memory():
    call = [sys.executable, "-c", IN_LITTLE_MEMORY]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": paths})
    assert int(done.stdout) < 300  # MiB above the libraries; a file declares up to 10^30 bytes


@pytest.mark.parametrize("name", ["two_arrays.npy", "rows_5.npy"])
def test_the_remedy_for_several_arrays_in_one_file_works(name, tmp_path):
    path = tmp_path / "first.npy"
    np.save(path, np.load(FOLDER / name))
    np.testing.assert_array_equal(read_whole(path)["first"], X[: 5 if "5" in name else 12])
    path.unlink()
