"""Files: what goes in comes out, nothing is written over, nothing is unpickled."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest

import simkit
from simkit.errors import InvalidArrayError
from simkit.files import whole_file
from simkit.io import read_activations, write_matrix

LAYERS = {"conv2": np.arange(6.0).reshape(3, 2), "conv10": np.eye(3, dtype=np.float32), "a": np.ones((3, 1))}


@pytest.fixture
def matrix() -> simkit.SimilarityMatrix:
    rng = np.random.default_rng(0)
    a = {"x<1>": rng.standard_normal((9, 2)), "x2": rng.standard_normal((9, 3))}
    b = {"y1": rng.standard_normal((9, 2)), "y2": a["x2"], "y3": rng.standard_normal((9, 4))}
    return simkit.pairwise(a, b, "cka(estimator=unbiased)")


def test_npz_keeps_names_and_order(tmp_path):
    np.savez(tmp_path / "layers.npz", **LAYERS)
    found = read_activations(tmp_path / "layers.npz")
    assert not found.single
    assert list(found.layers) == list(LAYERS)
    for name, x in LAYERS.items():
        np.testing.assert_array_equal(found.layers[name], x)


def test_npy_is_one_array_called_by_its_file(tmp_path):
    np.save(tmp_path / "conv1.npy", LAYERS["a"])
    found = read_activations(str(tmp_path / "conv1.npy"))
    assert found.single
    assert list(found.layers) == ["conv1"]


def test_safetensors(tmp_path):
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    safetensors_numpy.save_file(LAYERS, tmp_path / "layers.safetensors")
    found = read_activations(tmp_path / "layers.safetensors").layers
    assert set(found) == set(LAYERS)
    np.testing.assert_array_equal(found["conv10"], LAYERS["conv10"])


def test_bfloat16_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    x = torch.arange(6.0).reshape(3, 2)
    safetensors_torch.save_file({"a": x.bfloat16()}, tmp_path / "half.safetensors")
    found = read_activations(tmp_path / "half.safetensors").layers["a"]
    np.testing.assert_array_equal(np.asarray(found, dtype=np.float32), x.numpy())


def test_torch_files_hold_tensors_only(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.ones(3, 2), tmp_path / "one.pt")
    assert read_activations(tmp_path / "one.pt").single
    torch.save({"a": torch.ones(3, 2), "b": torch.zeros(3, 1)}, tmp_path / "two.pt")
    assert list(read_activations(tmp_path / "two.pt").layers) == ["a", "b"]
    torch.save({"a": [1, 2]}, tmp_path / "list.pt")
    with pytest.raises(InvalidArrayError, match="expected a tensor or a dictionary of tensors"):
        read_activations(tmp_path / "list.pt")


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_nothing_is_unpickled(tmp_path, suffix):
    path, mark = tmp_path / f"evil{suffix}", tmp_path / "mark"
    trap = Trap(mark)
    if suffix == ".pt":
        pytest.importorskip("torch").save({"a": trap}, path)
        message = "tensors only"
    else:
        objects = np.array([trap], dtype=object)
        np.save(path, objects, allow_pickle=True) if suffix == ".npy" else np.savez(path, a=objects, allow_pickle=True)
        message = "pickled Python objects"
    with pytest.raises(InvalidArrayError, match=message):
        read_activations(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_to_do_about_python_objects_works(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    layers = {"a": np.ones((3, 2)), "b": np.zeros((3, 1))}
    np.save(f"net{suffix}", layers, allow_pickle=True) if suffix == ".npy" else np.savez("net.npz", a=np.array([layers]))
    with pytest.raises(InvalidArrayError, match="pickled Python objects") as caught:
        read_activations(f"net{suffix}")
    call = re.search(r"numpy\.savez\(.*?\*\*layers\)", str(caught.value)).group()
    assert call == "numpy.savez('net.npz', **layers)"
    eval(call, {"numpy": np, "layers": layers})
    assert list(read_activations("net.npz").layers) == ["a", "b"]


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_activations(tmp_path / "absent.npy")
    (tmp_path / "layers.txt").write_text("1 2")
    with pytest.raises(InvalidArrayError, match=r"cannot read \.txt; expected \.npy"):
        read_activations(tmp_path / "layers.txt")
    for suffix in (".npy", ".npz", ".safetensors"):
        (tmp_path / f"broken{suffix}").write_bytes(b"not what it says")
        with pytest.raises(InvalidArrayError, match=r"does not begin as a|cannot be read as \.safetensors"):
            read_activations(tmp_path / f"broken{suffix}")
    np.savez(tmp_path / "empty.npz")
    with pytest.raises(InvalidArrayError, match="holds no arrays"):
        read_activations(tmp_path / "empty.npz")


def test_written_matrices_read_back(tmp_path, matrix):
    values = matrix.to_numpy()
    for suffix in (".csv", ".json", ".npz", ".png"):
        write_matrix(matrix, tmp_path / f"m{suffix}")
    with (tmp_path / "m.csv").open(newline="") as file:
        head, *lines = csv.reader(file)
    assert head == ["", *matrix.columns]
    assert [line[0] for line in lines] == list(matrix.rows)
    np.testing.assert_array_equal(np.array([line[1:] for line in lines], dtype=float), values)
    record = json.loads((tmp_path / "m.json").read_text())
    assert (record["index"], record["n"], record["rows"]) == (matrix.index, 9, list(matrix.rows))
    np.testing.assert_array_equal(record["values"], values)
    again = simkit.SimilarityMatrix.load(tmp_path / "m.npz")
    assert (again.rows, again.columns, again.index, again.n) == (matrix.rows, matrix.columns, matrix.index, 9)
    np.testing.assert_array_equal(again.values, values)
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")


def test_nan_is_null_in_json(tmp_path):
    matrix = simkit.SimilarityMatrix(np.array([[np.nan, 1.0]]), ("a",), ("b", "c"), "cka", 5)
    write_matrix(matrix, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["values"] == [[None, 1.0]]


@pytest.mark.parametrize("suffix", [".csv", ".json", ".npz", ".png"])
def test_nothing_is_written_over(tmp_path, matrix, suffix):
    path = tmp_path / f"m{suffix}"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="force"):
        write_matrix(matrix, path)
    assert path.read_text() == "precious"
    write_matrix(matrix, path, force=True)
    assert path.read_bytes() != b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_nothing(tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    path.write_text("whole")
    with pytest.raises(ZeroDivisionError), whole_file(path, force=True) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "whole"


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(FileExistsError), whole_file(path) as temporary:
        temporary.write_text("ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"


def test_wrong_names(tmp_path, matrix):
    with pytest.raises(ValueError, match=r"cannot write \.xlsx"):
        write_matrix(matrix, tmp_path / "m.xlsx")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        write_matrix(matrix, tmp_path / "nowhere" / "m.csv")
    np.savez(tmp_path / "other.npz", a=np.eye(2))
    with pytest.raises(ValueError, match="holds no saved SimilarityMatrix"):
        simkit.SimilarityMatrix.load(tmp_path / "other.npz")
