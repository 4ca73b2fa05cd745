"""What is asked of a file before and after its numbers are read: its kind, its size, whether it has changed, whether it is whole."""

from __future__ import annotations

import os
import re
import socket
import sys
import zipfile

import numpy as np
import pytest

import simkit
from simkit.cli.app import run
from simkit.errors import DataWarning, InvalidArrayError, SimkitError, TooLargeError
from simkit.formats.damage import reading
from simkit.io import read_activations
from simkit.scale.sources.rows import Rows, stamp_of

pytest.importorskip("dask.array")


def computed(x):
    return x.compute(scheduler="synchronous")


@pytest.fixture
def simkit_compare(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["simkit", "compare", *map(str, arguments)])
        code = run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


# --- what can be opened at all -------------------------------------------------------------------------------------------


def pipe(path):
    os.mkfifo(path)


def sock(path):
    os.chdir(path.parent)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)


def loop(path):
    path.symlink_to(path)


def loop_of_two(path):
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


def device(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


def file(path):
    path.write_bytes(b"")


def below_a_file(path):
    path.parent.rmdir()
    path.parent.write_bytes(b"")


def dangling(path):
    path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt", ".h5", ".zarr", ".parquet"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "is a pipe"),
        (sock, "is a socket"),
        (device, "is a device"),
        (loop, "symbolic links"),
        (loop_of_two, "symbolic links"),
        (below_a_file, "cannot be opened: Not a directory"),
        (folder, r"is a folder; expected a \.\w+ file|without \.parquet files|No group found|cannot read"),
        (file, "is a file; expected a .zarr folder|does not begin|cannot be read|tensors only|cannot read"),
        (dangling, "no such file"),
    ],
)
@pytest.mark.skipif(os.name != "posix", reason="pipes, sockets, links and devices of POSIX")
@pytest.mark.parametrize("read", [read_activations, simkit.open_source])
@pytest.mark.timeout(20)
def test_what_is_no_file(tmp_path, monkeypatch, read, make, message, suffix):
    if (suffix in {".pt", ".npz"} and read is simkit.open_source) or (
        suffix in {".h5", ".zarr", ".parquet"} and read is read_activations
    ):
        message += "|read as a whole|cannot read"
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "folder" / f"x{suffix}"
    path.parent.mkdir()
    make(path)
    with pytest.raises((SimkitError, FileNotFoundError), match=message):
        read(path)


@pytest.mark.parametrize("name", ["x\0.npy", "x" * 5000 + ".npy"])
@pytest.mark.parametrize("read", [read_activations, simkit.open_source])
def test_names_that_no_file_has(tmp_path, read, name):
    with pytest.raises(InvalidArrayError, match="cannot be opened: (embedded null|File name too long)"):
        read(tmp_path / name)


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("inside", ["a.parquet", "zarr.json", ".zarray"])
@pytest.mark.timeout(20)
def test_pipes_inside_folders(tmp_path, inside):
    pytest.importorskip("zarr"), pytest.importorskip("pyarrow")
    path = tmp_path / ("x.parquet" if inside.endswith("parquet") else "x.zarr")
    path.mkdir()
    os.mkfifo(path / inside)
    with pytest.raises(InvalidArrayError, match="is a pipe"):
        simkit.open_source(path)


@pytest.mark.parametrize("read", [read_activations, simkit.open_source])
def test_no_right_to_read(tmp_path, monkeypatch, read):
    np.save(tmp_path / "x.npy", np.eye(3))
    (tmp_path / "x.npy").chmod(0)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # who is root may read everything
    with pytest.raises(InvalidArrayError, match="permission denied"):
        read(tmp_path / "x.npy")


@pytest.mark.parametrize("rows", [0, None])
def test_empty_files_on_the_command_line(tmp_path, simkit_compare, rows):
    path = tmp_path / "x.npy"
    path.write_bytes(b"") if rows is None else np.save(path, np.empty((rows, 3)))
    for options in ((), ("--chunks", 10)):
        code, out, err = simkit_compare(path, path, *options)
        assert (code, out) == (2, "")
        assert err.startswith("simkit: ")
        assert len(err.splitlines()) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_program_is_no_damage(stop):
    with pytest.raises(stop), reading("x cannot be read"):
        raise stop


@pytest.mark.parametrize(
    "error", [RecursionError("x"), UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), KeyError("a\x1b[2J\n")]
)
def test_every_exception_of_a_library_is_damage(error):
    with pytest.raises(InvalidArrayError, match="^x cannot be read: ") as caught, reading("x cannot be read"):
        raise error
    assert str(caught.value).isprintable()
    assert caught.value.__cause__ is error


def test_too_little_memory_is_no_damage():
    with (
        pytest.raises(TooLargeError, match="^x cannot be read: the memory does not suffice"),
        reading("x cannot be read", "damage"),
    ):
        raise MemoryError


# --- files that change ---------------------------------------------------------------------------------------------------


def save_npy(path, x):
    np.save(path, x)
    return path


def save_fortran(path, x):
    np.save(path, np.asfortranarray(x))
    return path


def save_safetensors(path, x):
    pytest.importorskip("safetensors.numpy").save_file({"x": x}, path)
    return path


def save_hdf5(path, x):
    with pytest.importorskip("h5py").File(path, "w") as opened:
        opened["x"] = x
    return path


def save_zarr3(path, x):
    pytest.importorskip("zarr").create_array(str(path), data=x, overwrite=True)
    return path / "zarr.json"


def save_zarr2(path, x):
    pytest.importorskip("zarr").create_array(str(path), data=x, overwrite=True, zarr_format=2)
    return path / ".zarray"


def save_parquet(path, x):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({f"unit{j}": x[:, j] for j in range(x.shape[1])}), path)
    return path


def save_parquet_folder(path, x):
    path.mkdir(exist_ok=True)
    save_parquet(path / "0.parquet", x[:3])
    return save_parquet(path / "1.parquet", x[3:])


SAVE = [
    (save_npy, ".npy"),
    (save_fortran, ".npy"),
    (save_safetensors, ".safetensors"),
    (save_hdf5, ".h5"),
    (save_zarr3, ".zarr"),
    (save_zarr2, ".zarr"),
    (save_parquet, ".parquet"),
    (save_parquet_folder, ".parquet"),
]


@pytest.mark.parametrize(("save", "suffix"), SAVE)
def test_a_file_that_changed_since_it_was_opened(tmp_path, rng, save, suffix):
    x, y = rng.standard_normal((2, 8, 3))
    path = tmp_path / f"x{suffix}"

    def opened():
        found = simkit.open_source(path)
        return found["x"] if isinstance(found, dict) else found

    save(path, x)
    before = opened()
    np.testing.assert_array_equal(computed(before), x)
    score = simkit.compare(before, before * 2)
    stamped = save(path, y)
    os.utime(stamped, ns=(0, stamped.stat().st_mtime_ns + 10**9))  # the clock of the file system may be coarse
    for lazy in (before, score):
        with pytest.raises(
            InvalidArrayError, match=rf"(0\.parquet|{stamped.name}) has changed since it was opened.*Open it again"
        ):
            computed(lazy)
    np.testing.assert_array_equal(computed(opened()), y)
    again = opened()
    stamped.unlink()
    with pytest.raises(
        FileNotFoundError, match=f"({stamped.name}|zarr.json): no such file on the machine that reads it, or not any more"
    ):
        computed(again)


def test_a_file_that_changes_while_it_is_read(tmp_path, rng, monkeypatch):
    path = save_npy(tmp_path / "x.npy", rng.standard_normal((8, 3)))
    lazy, fromfile = simkit.open_source(path), np.fromfile

    def slow(*arguments, **options):
        found = fromfile(*arguments, **options)
        os.utime(path, ns=(0, 1))
        return found

    monkeypatch.setattr(np, "fromfile", slow)
    with pytest.raises(InvalidArrayError, match="has changed since it was opened"):
        computed(lazy)


def test_rows_that_are_not_there(tmp_path):
    class Short(Rows):
        def read(self, start, stop):
            return np.zeros((stop - start - 1, 3))

    path = save_npy(tmp_path / "x.npy", np.zeros((8, 3)))
    with pytest.raises(InvalidArrayError, match=r"x\.npy, rows 2 to 6: values of shape \(3, 3\) are stored there"):
        Short(str(path), "", stamp_of(path), (8, 3), np.dtype(float))[2:6]


def test_other_files_of_a_folder_may_change(tmp_path, rng):
    x = rng.standard_normal((8, 3))
    changed = save_parquet_folder(tmp_path / "x.parquet", x)
    lazy = simkit.open_source(tmp_path / "x.parquet", chunks=3)
    os.utime(changed, ns=(0, 1))
    np.testing.assert_array_equal(computed(lazy[:3]), x[:3])
    with pytest.raises(InvalidArrayError, match=r"1\.parquet has changed"):
        computed(lazy[3:])


# --- chunks that were never written ---------------------------------------------------------------------------------------


def make_zarr(**options):
    def make(path, written):
        array = pytest.importorskip("zarr").create_array(str(path), shape=(40, 4), chunks=(5, 4), dtype="f4", **options)
        array[:written] = 1

    return make


def make_hdf5(path, written):
    with pytest.importorskip("h5py").File(path, "w") as opened:
        opened.create_dataset("net/x", (40, 4), "f4", chunks=(5, 4))[:written] = 1


def make_hdf5_in_one_piece(path, written):
    with pytest.importorskip("h5py").File(path, "w") as opened:
        dataset = opened.create_dataset("net/x", (40, 4), "f4")
        if written:
            dataset[:written] = 1


@pytest.mark.parametrize(
    ("make", "suffix", "written", "count"),
    [
        *(
            (make_zarr(zarr_format=version), ".zarr", written, (40 - written) // 5)
            for version in (2, 3)
            for written in (0, 10, 40)
        ),
        (make_zarr(shards=(20, 4)), ".zarr", 20, 4),
        (make_zarr(shards=(20, 4)), ".zarr", 40, 0),
        *((make_hdf5, ".h5", written, (40 - written) // 5) for written in (0, 10, 40)),
        (make_hdf5_in_one_piece, ".h5", 0, 1),
        (make_hdf5_in_one_piece, ".h5", 40, 0),
    ],
)
@pytest.mark.filterwarnings("error::simkit.errors.DataWarning")
def test_chunks_that_were_never_written(tmp_path, make, suffix, written, count):
    path = tmp_path / f"x{suffix}"
    make(path, written)
    said = rf"{count} of (8|1) chunks.* were never written and read as 0"
    simkit.open_source(path, missing="ignore")
    if not count:
        simkit.open_source(path)
        simkit.open_source(path, missing="error")
        return
    with pytest.warns(DataWarning, match=said) as caught:
        simkit.open_source(path)
    assert caught[0].filename == __file__
    with pytest.raises(InvalidArrayError, match=said):
        simkit.open_source(path, missing="error")


def test_files_that_a_virtual_dataset_shows(tmp_path):
    h5py = pytest.importorskip("h5py")
    layout = h5py.VirtualLayout((4, 3), "f8")
    for k in range(2):
        layout[2 * k : 2 * k + 2] = h5py.VirtualSource(f"{k}.h5", "x", (2, 3))
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        opened.create_virtual_dataset("x", layout)
    save_hdf5(tmp_path / "0.h5", np.ones((2, 3)))
    with pytest.warns(DataWarning, match="1 of 2 chunks of 'x'"):
        simkit.open_source(tmp_path / "x.h5")
    save_hdf5(tmp_path / "1.h5", np.ones((2, 3)))
    np.testing.assert_array_equal(computed(simkit.open_source(tmp_path / "x.h5", missing="error")["x"]), np.ones((4, 3)))


def test_missing_chunks_on_the_command_line(tmp_path, simkit_compare):
    make_hdf5(tmp_path / "x.h5", 10)
    for way, said in (("warn", "simkit: warning: "), ("ignore", ""), ("error", "simkit: /")):
        code, _, err = simkit_compare(tmp_path / "x.h5", "--missing", way)
        assert code == (2 if way == "error" else 0)
        assert err.startswith(said)
        assert ("6 of 8 chunks of 'net/x'" in err) == (way != "ignore")
    code, _, err = simkit_compare(tmp_path / "x.h5", "--missing", "perhaps")
    assert (code, err) == (2, "simkit: Invalid value for '--missing': 'perhaps' is not one of 'warn', 'error', 'ignore'.\n")


def test_too_many_chunks_to_count(tmp_path, monkeypatch):
    make_zarr()(tmp_path / "x.zarr", 40)
    monkeypatch.setattr("simkit.scale.sources.zarr._MOST_COUNTED", 7)
    with pytest.warns(DataWarning, match="an unknown number of 8 chunks"):
        simkit.open_source(tmp_path / "x.zarr")


# --- files larger than the memory ----------------------------------------------------------------------------------------


def save_npz(path, x):
    np.savez(path, x=x)


def save_pt(path, x):
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(x), path)


@pytest.mark.parametrize(
    ("save", "suffix"), [(save_npy, ".npy"), (save_npz, ".npz"), (save_safetensors, ".safetensors"), (save_pt, ".pt")]
)
def test_files_larger_than_the_memory(tmp_path, monkeypatch, simkit_compare, save, suffix):
    x, path = np.random.default_rng(0).standard_normal((1000, 30)), tmp_path / f"x{suffix}"
    save(path, x)
    monkeypatch.setattr("simkit.formats.room.available", lambda: 100_000)
    with pytest.raises(
        TooLargeError, match=r"declares arrays of 24\d,?\d* bytes|declares arrays of 0\.2 MB.*100000 bytes of memory"
    ) as caught:
        read_activations(path)
    allowed = int(re.search(r"max_bytes=(\d+) \(--max-bytes \1\)", str(caught.value)).group(1))
    found = read_activations(path, max_bytes=allowed).layers
    np.testing.assert_array_equal(np.asarray(next(iter(found.values()))), x)
    with pytest.raises(TooLargeError, match=f"more than max_bytes={allowed - 1000}"):
        read_activations(path, max_bytes=allowed - 1000)
    assert simkit_compare(path, path)[0] == 2
    assert simkit_compare(path, path, "--max-bytes", allowed)[0] == 0
    if suffix in (".npy", ".safetensors"):
        assert "--chunks 8192" in str(caught.value)
        assert simkit_compare(path, path, "--chunks", 8192)[0] == 0
        assert simkit_compare(path, path, "--chunks", 8192, "--max-bytes", allowed)[0] == 2
    with pytest.raises(ValueError, match="max_bytes=0; expected"):
        read_activations(path, max_bytes=0)


def test_compressed_files_may_be_large_up_to_a_limit(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros((3000, 1000), np.float32))  # 12 MB in 12 kB
    assert read_activations(path).layers["x"].shape == (3000, 1000)
    monkeypatch.setattr("simkit.formats.room._SUSPICIOUS_SIZE", 10**7)
    with pytest.raises(
        TooLargeError, match=r"declares arrays of 12\.0 MB, more than the 10\.0 MB that a file of 1\d+ bytes may"
    ):
        read_activations(path)
    assert read_activations(path, max_bytes=13 * 10**6).layers["x"].shape == (3000, 1000)


def test_a_hole_on_the_disk_is_not_read_into_memory(tmp_path, simkit_compare):
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype="float32", shape=(10**9, 1000))  # 4 TB
    with pytest.raises(TooLargeError, match=r"declares arrays of 4,000\.0 GB"):
        read_activations(tmp_path / "x.npy")
    code, _, err = simkit_compare(tmp_path / "x.npy", tmp_path / "x.npy")
    assert (code, len(err.splitlines())) == (2, 1)


def test_chunks_larger_than_the_memory(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((10_000, 30)))
    monkeypatch.setattr("simkit.scale.sources.rows.available", lambda: 10**6)
    with pytest.raises(
        TooLargeError, match=r"of which 10000 rows are read at once: 2\.4 MB, more than the 1\.0 MB"
    ) as caught:
        simkit.open_source(tmp_path / "x.npy")
    chunks = int(re.search(r"Give chunks=(\d+) or less", str(caught.value)).group(1))
    assert simkit.open_source(tmp_path / "x.npy", chunks=chunks).shape == (10_000, 30)
    pytest.importorskip("zarr").create_array(str(tmp_path / "x.zarr"), data=np.zeros((10_000, 30)), chunks=(10_000, 30))
    with pytest.raises(TooLargeError, match="So many are stored together; write the file with at most 4166"):
        simkit.open_source(tmp_path / "x.zarr", chunks=10)
    monkeypatch.setattr("simkit.scale.sources.rows.available", lambda: 100)
    with pytest.raises(TooLargeError, match="Not one row fits"):
        simkit.open_source(tmp_path / "x.npy", chunks=1)


def test_on_a_cluster_it_is_the_memory_of_the_workers_that_counts(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    np.save(tmp_path / "x.npy", np.zeros((100, 30)))
    monkeypatch.setattr("simkit.scale.sources.rows.available", lambda: 100)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
        assert simkit.open_source(tmp_path / "x.npy").shape == (100, 30)
    with pytest.raises(TooLargeError, match="Not one row fits"):
        simkit.open_source(tmp_path / "x.npy")


def test_more_chunks_than_dask_holds(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((10_000, 3)))
    monkeypatch.setattr("simkit.scale.sources.rows._MOST_CHUNKS", 1000)
    with pytest.raises(TooLargeError, match="makes 5000 chunks of 2 rows.*Give chunks=10 or more"):
        simkit.open_source(tmp_path / "x.npy", chunks=2)
    assert simkit.open_source(tmp_path / "x.npy", chunks=10).numblocks == (1000, 1)


# --- numbers that NumPy does not have ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2", "bfloat16"])
def test_every_number_of_small_types(tmp_path, kind):
    torch, saver = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    bits = torch.arange(2**16).to(torch.uint16) if kind == "bfloat16" else torch.arange(256).to(torch.uint8)
    x = bits.view(getattr(torch, kind)).reshape(-1, 8)
    saver.save_file({"x": x}, tmp_path / "x.safetensors")
    torch.save(x, tmp_path / "x.pt")
    expected = x.float().numpy()
    for found in (
        read_activations(tmp_path / "x.safetensors").layers["x"],
        computed(simkit.open_source(tmp_path / "x.safetensors", chunks=7)["x"]),
        read_activations(tmp_path / "x.pt").layers["x"].float().numpy(),
    ):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


def test_archives_of_folders_and_other_suffixes(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.mkdir("net") if sys.version_info >= (3, 11) else None
        with archive.open("net/conv1.npy", "w") as opened:
            np.lib.format.write_array(opened, np.eye(3))
    assert list(read_activations(tmp_path / "x.npz").layers) == ["net/conv1"]


def test_a_dtype_of_arrays_in_a_header(tmp_path):
    """NumPy reads '8f4' as eight numbers in each place; no writer makes it."""
    path = tmp_path / "x.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "8f4", "fortran_order": False, "shape": (12, 0)})
    for read in (read_activations, simkit.open_source):
        with pytest.raises(InvalidArrayError, match=r"arrays themselves: the file is damaged"):
            read(path)
