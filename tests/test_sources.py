"""Files larger than memory: every format gives the rows that were written, in chunks, and embeds none of them."""

from __future__ import annotations

import json
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest

import simkit
from simkit.cli.app import run
from simkit.errors import InvalidArrayError
from simkit.scale.sources import open_source

da = pytest.importorskip("dask.array")


@pytest.fixture
def layers(rng):
    x = rng.standard_normal((1003, 6)).astype(np.float32)
    return {"conv1": x, "conv2": (x[:, :4] + rng.standard_normal((1003, 4))).astype(np.float64)}


def write_npy(folder, layers):
    np.save(folder / "a.npy", layers["conv1"])
    return "a.npy", "conv1"


def write_fortran(folder, layers):
    np.save(folder / "f.npy", np.asfortranarray(layers["conv1"]))
    return "f.npy", "conv1"


def write_big_endian(folder, layers):
    np.save(folder / "b.npy", layers["conv2"].astype(">f8"))
    return "b.npy", "conv2"


def write_zarr_array(folder, layers):
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(folder / "one.zarr"), data=layers["conv1"], chunks=(128, 6))
    return "one.zarr", "conv1"


def write_zarr(folder, layers):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(folder / "many.zarr"), mode="w")
    for name, x in layers.items():
        group.create_array(name, data=x, chunks=(128, 2))
    return "many.zarr", None


def write_hdf5(folder, layers):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "many.h5", "w") as file:
        for name, x in layers.items():
            file.create_dataset(name, data=x, chunks=(100, 3))
    return "many.h5", None


def write_safetensors(folder, layers):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(layers, folder / "many.safetensors", metadata={"made": "by a test"})
    return "many.safetensors", None


def write_parquet_lists(folder, layers):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "conv1": pa.FixedSizeListArray.from_arrays(pa.array(layers["conv1"].ravel()), 6),
        "conv2": pa.array(list(layers["conv2"])),
        "label": pa.array(range(1003)),
    }
    pq.write_table(pa.table(columns), folder / "many.parquet", row_group_size=170)
    return "many.parquet", None


def write_parquet_folder(folder, layers):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (folder / "parts.parquet").mkdir()
    for k, part in enumerate(np.array_split(layers["conv1"], 3)):
        table = pa.table({f"unit{j}": part[:, j] for j in range(6)})
        pq.write_table(table, folder / "parts.parquet" / f"{k}.parquet", row_group_size=100)
    return "parts.parquet", "conv1"


WRITERS = [
    write_npy,
    write_fortran,
    write_big_endian,
    write_zarr_array,
    write_zarr,
    write_hdf5,
    write_safetensors,
    write_parquet_lists,
    write_parquet_folder,
]


@pytest.mark.parametrize("chunks", [None, 1, 97, 5000])
@pytest.mark.parametrize("write", WRITERS)
def test_every_format(tmp_path, layers, write, chunks):
    name, single = write(tmp_path, layers)
    found = open_source(tmp_path / name, chunks=chunks)
    opened = {single: found} if single else found
    assert set(opened) == ({single} if single else set(layers))
    for key, lazy in opened.items():
        assert isinstance(lazy, da.Array)
        assert (lazy.shape, lazy.dtype) == (layers[key].shape, layers[key].dtype)
        assert lazy.numblocks[1] == 1
        if chunks:
            assert lazy.chunks[0][0] == min(chunks, 1003)
        rows = slice(200, 500) if chunks == 1 else slice(None)
        np.testing.assert_array_equal(lazy[rows].compute(scheduler="synchronous"), layers[key][rows])


def test_the_default_chunk_is_bounded_and_whole(tmp_path):
    np.lib.format.open_memmap(tmp_path / "big.npy", mode="w+", dtype="float32", shape=(10**6, 256))  # a hole on the disk
    lazy = open_source(tmp_path / "big.npy")
    assert lazy.chunks[0][0] == 2**23 // (256 * 4)
    zarr = pytest.importorskip("zarr")
    zarr.create_array(str(tmp_path / "z.zarr"), shape=(10**6, 256), chunks=(5000, 256), dtype="float32")
    assert open_source(tmp_path / "z.zarr").chunks[0][0] % 5000 == 0


def test_parquet_is_read_by_whole_row_groups(tmp_path, layers):
    name, _ = write_parquet_lists(tmp_path, layers)
    assert open_source(tmp_path / name)["conv1"].chunks[0] == (1003,)
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    wide = pa.table({f"u{j}": np.zeros(9000, np.float64) for j in range(512)})
    pq.write_table(wide, tmp_path / "wide.parquet", row_group_size=1500)
    assert open_source(tmp_path / "wide.parquet").chunks[0] == (1500,) * 6


def test_bfloat16(tmp_path):
    values = np.array([[1.0, -2.5], [3.140625, 2.0**-20]], dtype="<f4")
    raw = (values.view("<u4") >> 16).astype("<u2").tobytes()
    header = json.dumps({"x": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, len(raw)]}}).encode()
    (tmp_path / "b.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + raw)
    np.testing.assert_array_equal(open_source(tmp_path / "b.safetensors")["x"].compute(), values)


def test_graphs_hold_paths_not_data(tmp_path, rng):
    np.save(tmp_path / "a.npy", rng.standard_normal((100_000, 8)))
    lazy = simkit.compare(open_source(tmp_path / "a.npy", chunks=1000), open_source(tmp_path / "a.npy", chunks=1000))
    assert len(pickle.dumps(dict(lazy.__dask_graph__()))) < 10**6


def test_keys_follow_the_file(tmp_path, layers):
    write_npy(tmp_path, layers)
    before = open_source(tmp_path / "a.npy").name
    assert open_source(tmp_path / "a.npy").name == before
    assert open_source(tmp_path / "a.npy", chunks=10).name != before
    np.save(tmp_path / "a.npy", layers["conv2"])
    assert open_source(tmp_path / "a.npy").name != before


def test_complaints(tmp_path, layers):
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_source(tmp_path / "a.npy")
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(InvalidArrayError, match=r"cannot read \.txt in chunks; expected \.npy"):
        open_source(tmp_path / "a.txt")
    np.savez(tmp_path / "a.npz", **layers)
    with pytest.raises(InvalidArrayError, match="read as a whole"):
        open_source(tmp_path / "a.npz")
    pytest.importorskip("h5py"), pytest.importorskip("pyarrow")
    for suffix in (".npy", ".h5", ".parquet", ".safetensors"):
        (tmp_path / f"bad{suffix}").write_bytes(b"\x93NUMPY, but not really")
        with pytest.raises(InvalidArrayError, match="bad"):
            open_source(tmp_path / f"bad{suffix}")
    np.save(tmp_path / "o.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(InvalidArrayError, match="Python objects"):
        open_source(tmp_path / "o.npy")
    with pytest.raises(ValueError, match="chunks=0"):
        open_source(tmp_path / "a.txt", chunks=0)


def test_a_file_that_is_cut_off_is_no_zeros(tmp_path, layers):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"conv1": layers["conv1"]}, tmp_path / "c.safetensors")
    whole = (tmp_path / "c.safetensors").read_bytes()
    (tmp_path / "c.safetensors").write_bytes(whole[:-100])
    with pytest.raises(InvalidArrayError, match="cut off"):
        open_source(tmp_path / "c.safetensors")["conv1"].compute()


def test_lists_of_different_lengths(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"x": pa.array([[1.0, 2.0], [3.0]])}), tmp_path / "x.parquet")
    with pytest.raises(InvalidArrayError, match="not all of length 2"):
        open_source(tmp_path / "x.parquet")["x"].compute()
    pq.write_table(pa.table({"x": pa.array([1.0, None])}), tmp_path / "n.parquet")
    with pytest.raises(InvalidArrayError, match="1 missing values"):
        open_source(tmp_path / "n.parquet").compute()
    pq.write_table(pa.table({"x": [1.0], "id": ["a"]}), tmp_path / "s.parquet")
    with pytest.raises(InvalidArrayError, match="columns id do not hold numbers"):
        open_source(tmp_path / "s.parquet")


# --- labels of examples ---------------------------------------------------------------------------------------------------


@pytest.fixture
def frames(layers):
    """The same examples in two orders, with names of their own."""
    pd, _ = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    pytest.importorskip("xarray")
    frame = pd.DataFrame(layers["conv1"], columns=[f"unit{j}" for j in range(6)])
    frame.insert(2, "id", [f"image {i}" for i in range(1003)])
    return frame, frame.sample(frac=1, random_state=0)


def test_a_column_of_ids(tmp_path, layers, frames):
    import xarray as xr

    for name, frame in zip("ab", frames, strict=True):
        frame.to_parquet(tmp_path / f"{name}.parquet", row_group_size=170, index=False)
    x, y = (simkit.open_source(tmp_path / f"{name}.parquet", ids="id", chunks=100) for name in "ab")
    assert isinstance(x, xr.DataArray)
    assert isinstance(x.data, da.Array)
    assert (x.dims, x.shape, x.dtype) == (("example", "feature"), (1003, 6), np.float32)
    assert list(x["example"].values) == list(frames[0]["id"])
    np.testing.assert_array_equal(x.data.compute(), layers["conv1"])
    with pytest.raises(InvalidArrayError, match=r"first at position 0: 'image 0' and 'image \d+'.*Y = Y\.sel") as caught:
        simkit.compare(x, y)
    assert "Y = Y.sel({'example': X.indexes['example']})" in str(caught.value)
    assert float(simkit.compare(x, y.sel({"example": x.indexes["example"]}))) == pytest.approx(1, rel=1e-6)
    by_position = float(simkit.compare(layers["conv1"], frames[1].drop(columns="id").to_numpy()))
    assert float(simkit.compare(x, y.data)) == pytest.approx(by_position, rel=1e-5)
    with pytest.raises(InvalidArrayError, match=r"A\['x'\] and B\['y'\] differ"):
        simkit.pairwise({"x": x}, {"y": y})


def test_ids_of_layers_in_lists(tmp_path, layers):
    pytest.importorskip("xarray")
    name, _ = write_parquet_lists(tmp_path, layers)
    found = open_source(tmp_path / name, ids="label")
    assert list(found) == ["conv1", "conv2"]
    for key, x in found.items():
        np.testing.assert_array_equal(x["example"].values, np.arange(1003))
        np.testing.assert_array_equal(x.data.compute(), layers[key])
    truth = simkit.pairwise({name: x.astype(np.float64) for name, x in layers.items()}).to_numpy()
    np.testing.assert_allclose(simkit.pairwise(found).to_numpy(), truth, rtol=1e-6)


@pytest.mark.parametrize("index", ["shuffled", "named", "two levels", "times", "strings", "a range from 10", "missing"])
def test_the_index_that_pandas_stored_is_no_feature(tmp_path, layers, frames, index):
    import pandas as pd

    frame = frames[0].drop(columns="id")
    labels = {
        "shuffled": frames[1].index,
        "named": pd.Index(np.arange(1003)[::-1], name="unit_number"),
        "two levels": pd.MultiIndex.from_arrays([np.arange(1003) // 10, np.arange(1003) % 10], names=["example", None]),
        "times": pd.date_range("2020", periods=1003, freq="h", tz="UTC"),
        "strings": pd.Index([f"image {i}" for i in range(1003)]),
        "a range from 10": pd.RangeIndex(10, 1013),
        "missing": pd.Index([None, *(f"image {i}" for i in range(1002))]),
    }[index]
    frame.set_index(labels).to_parquet(tmp_path / "a.parquet")
    frame.to_parquet(tmp_path / "plain.parquet")
    plain = open_source(tmp_path / "plain.parquet")
    assert isinstance(plain, da.Array)
    found = open_source(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found.data.compute(), layers["conv1"])
    assert found.indexes["example"].equals(labels)
    assert float(simkit.compare(found, plain)) == pytest.approx(1, rel=1e-6)
    without = open_source(tmp_path / "a.parquet", ids=False)
    assert isinstance(without, da.Array)
    np.testing.assert_array_equal(without.compute(), layers["conv1"])


def test_folders_of_frames(tmp_path, layers, frames):
    parts = np.array_split(np.arange(1003), 3)
    frame = frames[0].drop(columns="id")
    for folder, part in (
        ("each.parquet", lambda rows: frame.iloc[rows].reset_index(drop=True)),  # each 0 to n - 1
        ("joined.parquet", lambda rows: frame.iloc[rows]),  # 0 to 1002 in all
        ("reversed.parquet", lambda rows: frame.iloc[::-1].iloc[rows]),  # 1002 to 0
        ("ids.parquet", lambda rows: frames[1].iloc[rows]),
    ):
        (tmp_path / folder).mkdir()
        for k, rows in enumerate(parts):
            part(rows).to_parquet(tmp_path / folder / f"{k}.parquet")
    assert isinstance(open_source(tmp_path / "each.parquet"), da.Array)
    joined, backwards = open_source(tmp_path / "joined.parquet"), open_source(tmp_path / "reversed.parquet")
    assert isinstance(joined, da.Array)
    np.testing.assert_array_equal(backwards["example"].values, np.arange(1003)[::-1])
    ids = open_source(tmp_path / "ids.parquet", ids="id")
    assert list(ids["example"].values) == list(frames[1]["id"])
    np.testing.assert_array_equal(ids.data.compute(), frames[1].drop(columns="id"))


def test_a_range_that_no_longer_holds(tmp_path, frames):
    pq = pytest.importorskip("pyarrow.parquet")
    frames[0].drop(columns="id").iloc[5:].to_parquet(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.take(list(range(0, 900, 2))), tmp_path / "a.parquet")  # the note of pandas is kept
    assert isinstance(open_source(tmp_path / "a.parquet"), da.Array)


@pytest.mark.parametrize("name", ["id", "ID", "image_id", "index", "idx", "uuid", "Unnamed: 0", "__index_level_0__"])
def test_columns_that_are_called_like_labels(tmp_path, layers, name):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("xarray")
    columns = {f"unit{j}": layers["conv1"][:, j] for j in range(6)}
    pq.write_table(pa.table({**columns, name: np.arange(1003)}), tmp_path / "a.parquet")
    with pytest.raises(
        InvalidArrayError, match=rf"column '{name}' is called like a label .* feature of 7.*ids='{name}'.*ids=False"
    ):
        open_source(tmp_path / "a.parquet")
    np.testing.assert_array_equal(open_source(tmp_path / "a.parquet", ids=name).data.compute(), layers["conv1"])
    assert open_source(tmp_path / "a.parquet", ids=False).shape == (1003, 7)


def test_complaints_of_ids(tmp_path, layers, frames):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    write_npy(tmp_path, layers)
    with pytest.raises(InvalidArrayError, match=r"ids='id' names a column of a Parquet file.*ids=\(ids of X, ids of Y\)"):
        open_source(tmp_path / "a.npy", ids="id")
    assert isinstance(open_source(tmp_path / "a.npy", ids=False), da.Array)
    frames[0].to_parquet(tmp_path / "a.parquet")
    with pytest.raises(InvalidArrayError, match="no column ids='name'; its columns are unit0, unit1, id, "):
        open_source(tmp_path / "a.parquet", ids="name")
    with pytest.raises(InvalidArrayError, match=r"columns id do not hold numbers.*open it with ids='id'"):
        open_source(tmp_path / "a.parquet")
    table = pa.table({"id": ["a", None, "b"], "x": [[1.0], [2.0], [3.0]]})
    pq.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(InvalidArrayError, match="ids='id' has 1 missing values"):
        open_source(tmp_path / "b.parquet", ids="id")
    with pytest.raises(InvalidArrayError, match="no column that is a feature"):
        pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "c.parquet")
        open_source(tmp_path / "c.parquet", ids="id")
    with pytest.raises(InvalidArrayError, match="ids='y' holds lists"):
        pq.write_table(pa.table({"y": [[1.0], [2.0]], "x": [[1.0], [2.0]]}), tmp_path / "d.parquet")
        open_source(tmp_path / "d.parquet", ids="y")


def test_labels_need_xarray(tmp_path, frames, monkeypatch):
    frames[0].to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r'needs xarray: pip install "simkit-similarity\[files\]"'):
        open_source(tmp_path / "a.parquet", ids="id")


# --- the command line ---------------------------------------------------------------------------------------------------


@pytest.fixture
def simkit_compare(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["simkit", "compare", *map(str, arguments)])
        code = run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command_line_reads_in_chunks(tmp_path, layers, simkit_compare):
    np.save(tmp_path / "x.npy", layers["conv1"])
    np.save(tmp_path / "y.npy", layers["conv2"])
    code, out, _ = simkit_compare(tmp_path / "x.npy", tmp_path / "y.npy", "--chunks", 100, "--json")
    assert code == 0
    assert json.loads(out)["value"] == pytest.approx(float(simkit.compare(layers["conv1"], layers["conv2"])), rel=1e-5)


def test_the_command_line_reads_layers_in_chunks(tmp_path, layers, simkit_compare):
    name, _ = write_hdf5(tmp_path, layers)
    code, out, _ = simkit_compare(tmp_path / name, "--index", "cca", "--json")
    assert code == 0
    truth = simkit.pairwise({name: x.astype(np.float64) for name, x in layers.items()}, index="cca")
    np.testing.assert_allclose(json.loads(out)["values"], truth.to_numpy(), rtol=1e-6)


def test_the_command_line_knows_ids(tmp_path, layers, frames, simkit_compare):
    for name, frame in zip("ab", frames, strict=True):
        frame.to_parquet(tmp_path / f"{name}.parquet", index=False)
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    code, out, _ = simkit_compare(a, a, "--ids", "id", "--json")
    assert (code, json.loads(out)["value"]) == (0, pytest.approx(1, rel=1e-6))
    code, _, err = simkit_compare(a, b, "--ids", "id")
    assert code == 2
    assert "first at position 0: 'image 0' and" in " ".join(err.split())
    np.save(tmp_path / "x.npy", layers["conv1"])
    code, out, _ = simkit_compare(a, tmp_path / "x.npy", "--ids", "id", "--json")  # one side has labels
    assert (code, json.loads(out)["value"]) == (0, pytest.approx(1, rel=1e-6))
    frames[0].assign(id=range(1003)).to_parquet(a, index=False)
    code, _, err = simkit_compare(a, a)
    assert code == 2
    assert "--no-ids" in err
    code, out, _ = simkit_compare(a, a, "--no-ids", "--json")
    assert (code, json.loads(out)["value"]) == (0, pytest.approx(1, rel=1e-6))
    code, _, err = simkit_compare(a, a, "--no-ids", "--ids", "id")
    assert (code, "contradict" in err) == (2, True)
    code, _, err = simkit_compare(tmp_path / "x.npy", tmp_path / "x.npy", "--ids", "id")
    assert (code, ".parquet" in err) == (2, True)


def test_no_scheduler_there(tmp_path, layers):
    pytest.importorskip("distributed")
    write_npy(tmp_path, layers)
    program = "from simkit.cli import main; main()"
    call = [sys.executable, "-c", program, "compare", "a.npy", "a.npy", "--scheduler", "tcp://127.0.0.1:9"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No Dask scheduler answers at tcp://127.0.0.1:9" in done.stderr
