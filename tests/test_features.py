"""Activations on disk: whole at every moment, continued where they stopped, and read as they were or not at all."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import simkit
from simkit.errors import InvalidArrayError, InvalidDtypeError
from simkit.features import ActivationWriter, open_activations
from simkit.formats.manifest import _checksum, keys_of, manifest_file, read_manifest
from simkit.io import read_activations

pytest.importorskip("zarr")

SUFFIXES = ("zarr", "safetensors")
RNG = np.random.default_rng(3)
INPUTS = RNG.standard_normal((50, 4)).astype(np.float32)
HOSTILE = (
    "a/../b",
    "..",
    "/etc/passwd",
    "\ud800",
    "",
    "con",
    "Conv",
    "conv",
    "zarr.json",
    "é" * 300,
    "\x1b[31m",
    "c/0",
    "__x",
)


def layers_of(inputs):
    """What a small network gives, to the bit the same for an example in any batch."""
    hidden = inputs[:, [0, 1, 2, 3, 0, 1]] * np.linspace(-1, 1, 6, dtype=np.float32)
    return {"hidden": hidden, "map": hidden.reshape(-1, 2, 3).astype(np.float64), "sign": hidden > 0}


def write(path, inputs=INPUTS, *, size=8, stop=None, make=layers_of, rules=None, **options):
    """Write all batches, or stop before one."""
    with ActivationWriter(path, **{"buffer": 600} | options) as store:
        for number, start in enumerate(range(0, len(inputs), size)):
            if number == stop:
                raise KeyboardInterrupt
            batch = inputs[start : start + size]
            if not store.skip(batch):
                store.append(make(batch), rules=rules)
    return store


def interrupted(path, stop=3, **options):
    with pytest.raises(KeyboardInterrupt):
        write(path, stop=stop, **options)


def content(path):
    """All files of a folder but the manifest; and the manifest."""
    files = {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}
    del files[manifest_file(path).name]
    return files, read_manifest(path)


def check_content(path, inputs=INPUTS, make=layers_of):
    found, expected = open_activations(path), make(inputs)
    assert list(found) == list(expected)
    for name, x in expected.items():
        assert found.shape(name) == x.shape
        assert (found[name].dtype, found[name].shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(found[name], x)
    return found


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"features.{request.param}"


# --- written and read -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 8, 50, 80])
@pytest.mark.parametrize("buffer", [1, 600, 10**9])
def test_written_and_read(path, size, buffer):
    write(path, size=size, buffer=buffer, model="Net", weights="ab", rules={"hidden": "as it is"})
    found = check_content(path)
    manifest = found.manifest
    assert manifest.complete
    assert (manifest.examples, manifest.model, manifest.weights) == (50, "Net", "ab")
    assert len(manifest.batches) == -(-50 // size)
    assert found.details["rules"] == {"hidden": "as it is", "map": "", "sign": ""}
    assert {"simkit-similarity", "numpy"} <= manifest.versions.keys()
    lazy = simkit.open_source(path, chunks=13)
    assert list(lazy) == list(found)
    for name, x in layers_of(INPUTS).items():
        np.testing.assert_array_equal(lazy[name].compute(scheduler="synchronous"), x)
        np.testing.assert_array_equal(lazy[name][11:45].compute(scheduler="synchronous"), x[11:45])
    assert lazy.details == found.details == read_activations(path).layers.details
    assert not list(path.rglob(".simkit-*"))


def test_the_fingerprint_is_that_of_the_data_however_it_is_cut(tmp_path):
    stores = [
        write(tmp_path / f"{k}.{suffix}", size=size) for k, (size, suffix) in enumerate(zip((8, 50), SUFFIXES, strict=True))
    ]
    assert len({store.manifest.fingerprint for store in stores}) == 1
    assert write(tmp_path / "other.zarr", INPUTS[::-1]).manifest.fingerprint != stores[0].manifest.fingerprint


def test_the_libraries_of_the_formats_read_it_too(tmp_path):
    zarr, safetensors = pytest.importorskip("zarr"), pytest.importorskip("safetensors.numpy")
    write(tmp_path / "a.zarr", rules={"hidden": "as it is"})
    write(tmp_path / "a.safetensors")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert set(group.array_keys()) == set(layers_of(INPUTS))
    assert group["hidden"].attrs["rule"] == "as it is"
    shards = [safetensors.load_file(file) for file in sorted((tmp_path / "a.safetensors").glob("*.safetensors"))]
    assert len(shards) > 1
    for name, x in layers_of(INPUTS).items():
        np.testing.assert_array_equal(group[name][:], x)
        np.testing.assert_array_equal(np.concatenate([shard[name] for shard in shards]), x)


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_low_precision_without_loss(path, kind):
    torch = pytest.importorskip("torch")
    low = torch.from_numpy(INPUTS).to(getattr(torch, kind))
    with ActivationWriter(path) as store:
        for rows in (slice(0, 30), slice(30, 50)):
            assert not store.skip(INPUTS[rows])
            store.append({"x": low[rows]})
    found = open_activations(path)
    assert found.manifest.layers[0].dtype == kind
    np.testing.assert_array_equal(found["x"], low.float().numpy())
    assert found["x"].dtype == np.float32
    if path.suffix == ".safetensors":
        safetensors = pytest.importorskip("safetensors.torch")
        assert safetensors.load_file(path / "shard-000001.safetensors")["x"].dtype == low.dtype


def test_every_dtype(path):
    kinds = ("bool", "int8", "int64", "uint8", "uint64", "float16", "float64")
    write(path, make=lambda x: {kind: (100 * np.abs(x)).astype(kind) for kind in kinds})
    check_content(path, make=lambda x: {kind: (100 * np.abs(x)).astype(kind) for kind in kinds})


def test_a_layer_of_zeros_is_whole(path):
    """Zarr leaves out chunks of zeros unless it is told not to, and a chunk that is not there counts as lost."""
    write(path, make=lambda x: {"dead": np.zeros_like(x)}, buffer=1)
    check_content(path, make=lambda x: {"dead": np.zeros_like(x)})


def test_what_is_given_is_copied(path):
    x = np.zeros((5, 2))
    with ActivationWriter(path) as store:
        for value in (1.0, 2.0):
            x[:] = value
            store.skip(np.full((5, 1), value))
            store.append({"x": x})
    np.testing.assert_array_equal(open_activations(path)["x"][:, 0], np.repeat([1.0, 2.0], 5))


def test_names_are_no_paths(path):
    def make(x):
        return {name: x + k for k, name in enumerate(HOSTILE)}

    write(path, make=make)
    check_content(path, make=make)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]
    matrix = simkit.pairwise(simkit.open_source(path))
    assert matrix.rows == HOSTILE


def test_keys():
    keys = keys_of([*HOSTILE, "blocks.0.attn#2", "layer_3", "escaped_2"])
    assert len({key.lower() for key in keys.values()}) == len(keys)
    assert (keys["Conv"], keys["blocks.0.attn#2"], keys["layer_3"]) == ("Conv", "blocks.0.attn#2", "layer_3")
    assert [keys[name] for name in ("conv", "..", "con", "escaped_2")] == [
        "escaped_7",
        "escaped_1",
        "escaped_5",
        "escaped_15",
    ]


def test_layers_may_have_rows_of_their_own(path):
    """Positions as examples, for a layer with more positions than another."""
    write(path, make=lambda x: {"few": x[:, :2].reshape(-1, 1), "many": x.reshape(-1, 1)})
    found = open_activations(path)
    assert (found.shape("few"), found.shape("many")) == ((100, 1), (200, 1))
    np.testing.assert_array_equal(found["many"][:, 0], INPUTS.ravel())


# --- interrupted --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", range(7))
def test_resumed_after_an_error(path, tmp_path, stop):
    write(whole := tmp_path / f"whole{path.suffix}", buffer=1)
    interrupted(path, stop, buffer=1)
    if stop:
        assert len(read_manifest(path).batches) == stop  # what waited has been written
    write(path, buffer=1)
    assert content(path) == content(whole)
    check_content(path)


KILLED = """
    import os, sys
    sys.path.insert(0, {tests!r})
    import test_features as tests
    import simkit.features.layouts, simkit.formats.manifest, simkit.files

    left = {left}

    def dying(function):
        def wrapped(*args, **options):
            global left
            left -= 1
            if left == 0 and {before}:
                os._exit(9)
            result = function(*args, **options)
            if left == 0:
                os._exit(9)
            return result
        return wrapped

    import pathlib
    {hooks}
    tests.write(pathlib.Path({path!r}))
    print("finished")
"""
HOOKS = {
    "zarr": "import zarr.storage._local as local; local._put = dying(local._put); os.fsync = dying(os.fsync)",
    "safetensors": "os.fsync = dying(os.fsync); os.link = dying(os.link); pathlib.Path.replace = dying(pathlib.Path.replace)",
}


def killed_at(path, left, before):
    """Whether a writer that dies at the `left`-th write finished before."""
    code = textwrap.dedent(KILLED).format(
        tests=str(Path(__file__).parent), left=left, before=before, hooks=HOOKS[path.suffix[1:]], path=str(path)
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 9 or "finished" in done.stdout, done.stderr
    return done.returncode == 9


def test_killed_at_any_write(path, tmp_path):
    write(whole := tmp_path / f"whole{path.suffix}")
    chance = random.Random(path.suffix)
    deaths = []
    for _ in range(4):
        deaths.append(killed_at(path, chance.randint(1, 12), chance.random() < 0.5))
        manifest = read_manifest(path)
        if manifest is not None and manifest.complete:  # it died after its last write; threads of Zarr write in any order
            break
    assert any(deaths)
    manifest = read_manifest(path)
    if manifest is not None and not manifest.complete:
        with pytest.raises(InvalidArrayError, match="is not finished"):
            open_activations(path)
        if manifest.batches:
            part = open_activations(path, partial=True)
            for name, x in layers_of(INPUTS[: manifest.examples]).items():
                np.testing.assert_array_equal(part[name], x)
    if manifest is None or not manifest.complete:
        write(path)
    check_content(path)
    assert not list(path.rglob("*.partial"))
    if path.suffix == ".zarr":
        files, other = content(path)[0], content(whole)[0]
        assert files == other


def test_other_data_are_refused(path):
    interrupted(path)
    before = content(path)
    for inputs, options in ((INPUTS[::-1], {}), (INPUTS, {"size": 7}), (INPUTS + 1, {}), (INPUTS.astype(np.float64), {})):
        with pytest.raises(InvalidArrayError, match=r"batch 1 of the data .* is not the one that was stored"):
            write(path, inputs, **options)
    changed = INPUTS.copy()
    changed[17] += 1
    with pytest.raises(InvalidArrayError, match=r"batch 3 of the data \(examples 16 to 23\)"):
        write(path, changed)
    with pytest.raises(InvalidArrayError, match="holds 3 batches, and the data ended after 2"):
        write(path, INPUTS[:16])
    assert content(path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "Net2"}, "a model of class 'Net', and is to be continued with 'Net2'"),
        ({"weights": "cd"}, "weights with the fingerprint 'ab'"),
        ({"settings": {"pool": "max"}}, "the setting pool: 'mean'"),
        ({"settings": {"pool": "mean", "more": 1}}, "the setting more: None"),
    ],
)
def test_another_model_is_refused(path, options, message):
    first = {"model": "Net", "weights": "ab", "settings": {"pool": "mean", "sizes": (3, 4)}}
    interrupted(path, **first)
    with pytest.raises(InvalidArrayError, match=message):
        write(path, **first | options)
    write(path, **first)
    check_content(path)


def test_other_layers_are_refused(path):
    interrupted(path, rules={"hidden": "mean"})
    for make, kind, message in (
        (lambda x: {"hidden": layers_of(x)["hidden"]}, InvalidArrayError, "missing: "),
        (lambda x: layers_of(x) | {"more": x}, InvalidArrayError, "missing: none; new: 'more'"),
        (lambda x: layers_of(x) | {"map": x}, InvalidArrayError, r"'map': examples of shape \(4,\), and of shape \(2, 3\)"),
        (lambda x: layers_of(x) | {"sign": x[:, :1] * np.ones((1, 6))}, InvalidDtypeError, "dtype float64, and bool before"),
    ):
        with pytest.raises(kind, match=message):
            write(path, make=make)
    with pytest.raises(InvalidArrayError, match="rule 'max', and by 'mean' before"):
        write(path, rules={"hidden": "max"})
    write(path)
    check_content(path)


def test_what_is_there_is_not_written_over(path):
    interrupted(path)
    with pytest.raises(FileExistsError, match=r"3 batches\. Pass resume=True"):
        write(path, resume=False)
    write(path)
    before = content(path)
    with pytest.raises(FileExistsError, match=r"finished activations of 50 examples\. .*force=True"):
        write(path)
    with pytest.raises(ZeroDivisionError):
        write(path, make=lambda x: 1 / 0, force=True)  # before there is anything to put in its place
    assert content(path) == before
    write(path, INPUTS[:20], force=True)
    check_content(path, INPUTS[:20])


def test_what_is_no_store_is_never_replaced(path):
    path.mkdir()
    (path / "thesis.txt").write_text("years of work")
    for options in ({}, {"force": True}):
        with pytest.raises(FileExistsError, match="no store of activations"):
            write(path, **options)
    assert (path / "thesis.txt").read_text() == "years of work"
    (path / "thesis.txt").unlink()
    path.rmdir()
    path.write_text("a file")
    for options in ({}, {"force": True}):
        with pytest.raises(FileExistsError, match="no store of activations"):
            write(path, **options)


def test_one_writer_at_a_time(path):
    first = ActivationWriter(path)
    first.skip(INPUTS)
    first.append(layers_of(INPUTS))
    for options in ({}, {"force": True}):
        with pytest.raises(InvalidArrayError, match="being written by another process"):
            write(path, **options)
    first.finish()
    first.close()
    check_content(path)


def test_before_the_first_batch(tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.zarr or \.safetensors; got \.h5"):
        ActivationWriter(tmp_path / "x.h5")
    with pytest.raises(FileNotFoundError, match="make it first"):
        ActivationWriter(tmp_path / "no" / "x.zarr")
    for suffix in SUFFIXES:
        with pytest.raises(InvalidArrayError, match="the data gave no batch"):
            write(tmp_path / f"x.{suffix}", INPUTS[:0])
        with pytest.raises(InvalidDtypeError, match="complex64"):
            write(tmp_path / f"x.{suffix}", make=lambda x: {"x": x + 1j})
        with pytest.raises(InvalidArrayError, match="no layers"):
            write(tmp_path / f"x.{suffix}", make=lambda x: {})
        with pytest.raises(InvalidArrayError, match="no fingerprint"):
            write(tmp_path / f"x.{suffix}", [object()])
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="JSON"):
        ActivationWriter(tmp_path / "x.zarr", settings={"pool": object()})
    store = ActivationWriter(tmp_path / "x.zarr")
    with pytest.raises(ValueError, match="call that first"):
        store.append(layers_of(INPUTS))
    assert not store.skip(INPUTS)
    with pytest.raises(ValueError, match="twice for one batch"):
        store.skip(INPUTS)


def test_an_old_zarr_is_refused(tmp_path, monkeypatch):
    import zarr

    monkeypatch.setattr(zarr, "__version__", "3.1.2")
    with pytest.raises(ImportError, match=r"Zarr 3\.1\.3 or newer: pip install .*x\.safetensors can be written"):
        ActivationWriter(tmp_path / "x.zarr")


# --- damaged ------------------------------------------------------------------------------------------------------------------


def forged(path, change):
    """The store with another manifest, whose checksum is right."""
    document = json.loads(manifest_file(path).read_text())
    content = document["attributes"]["simkit_features"] if path.suffix == ".zarr" else document
    change(content)
    content["sha256"] = _checksum(content)
    manifest_file(path).write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(simkit_features=2),
        lambda m: m.update(layout="hdf5"),
        lambda m: m.update(complete=1),
        lambda m: m.update(layers=[]),
        lambda m: m.update(layers=3),
        lambda m: m.update(layers=[3]),
        lambda m: m.pop("layers"),
        lambda m: m["layers"][0].update(key="../../x"),
        lambda m: m["layers"][0].update(key="zarr.json"),
        lambda m: m["layers"][0].update(key=m["layers"][1]["key"]),
        lambda m: m["layers"][0].update(name=m["layers"][1]["name"]),
        lambda m: m["layers"][0].update(name=None),
        lambda m: m["layers"][0].update(dtype="object"),
        lambda m: m["layers"][0].update(dtype="float64"),
        lambda m: m["layers"][0].update(features=[7]),
        lambda m: m["layers"][0].update(features=[-1]),
        lambda m: m["layers"][0].update(features=[True]),
        lambda m: m["layers"][0].update(n=49),
        lambda m: m["layers"][0].update(n=10**15),
        lambda m: m["layers"][0].update(n=10**30),
        lambda m: m.update(batches=[[8]]),
        lambda m: m.update(batches=[[-8, "0" * 16]]),
        lambda m: m.update(batches=[]),
        lambda m: m["batches"][-1].__setitem__(1, "0" * 16),
        lambda m: m.update(fingerprint="x" * 64),
        lambda m: m.update(model=3),
        lambda m: m.update(settings=[]),
        lambda m: [shard.update(file="../shard-000001.safetensors") for shard in m["shards"]] or m.pop("complete"),
        lambda m: [shard.update(size=3) for shard in m["shards"]] or m.pop("complete"),
        lambda m: [shard.update(rows=[1]) for shard in m["shards"]] or m.pop("complete"),
        lambda m: [shard.update(rows=[8, 8, 9]) for shard in m["shards"]] or m.pop("complete"),
        lambda m: m["shards"].reverse() or m.pop("complete"),
    ],
)
def test_a_manifest_that_contradicts_itself(path, change):
    write(path)
    forged(path, change)
    for read in (open_activations, simkit.open_source, read_activations):
        with pytest.raises(InvalidArrayError, match=path.name):
            read(path)
    with pytest.raises((InvalidArrayError, FileExistsError)):
        write(path)
    write(path, force=True)
    check_content(path)


def test_a_manifest_cut_off_or_flipped(path):
    write(path)
    file = manifest_file(path)
    whole, manifest = file.read_bytes(), read_manifest(path)
    for place in range(0, len(whole), 29):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            try:
                found = read_manifest(path)
            except InvalidArrayError as error:
                found, complaint = None, str(error)
            else:
                complaint = ""
            assert str(file) in complaint or found in (None, manifest)  # None: the mark of a store itself is gone


def test_files_that_are_gone_or_changed(path):
    write(path, buffer=10**9)
    whole, manifest = content(path)
    for name, data in whole.items():
        if name.endswith("zarr.json"):
            continue
        for damaged in (None, data[:-1], data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]):
            if path.suffix == ".safetensors" and damaged and len(damaged) == len(data):
                continue  # numbers have no checksum there
            (path / name).unlink(missing_ok=True)
            if damaged is not None:
                (path / name).write_bytes(damaged)
            with pytest.raises(InvalidArrayError, match=path.name):
                dict(open_activations(path))
            with pytest.raises(InvalidArrayError, match=path.name):
                [x.compute(scheduler="synchronous") for x in simkit.open_source(path).values()]
        (path / name).write_bytes(data)
    assert content(path) == (whole, manifest)
    check_content(path)


def test_arrays_that_are_gone(tmp_path):
    write(path := tmp_path / "x.zarr")
    (path / "hidden" / "zarr.json").rename(tmp_path / "kept")
    with pytest.raises(InvalidArrayError, match="its array is gone"):
        open_activations(path)
    (path / "hidden" / "zarr.json").write_text("{}")
    with pytest.raises(InvalidArrayError, match="cannot be opened"):
        open_activations(path)


def test_a_store_that_is_written_again_while_it_is_read(path):
    write(path)
    lazy, found = simkit.open_source(path), open_activations(path)
    write(path, INPUTS[:20], force=True)
    with pytest.raises((InvalidArrayError, FileNotFoundError), match="changed|no such file"):
        lazy["hidden"].compute(scheduler="synchronous")
    with pytest.raises((InvalidArrayError, FileNotFoundError), match="changed|no such file"):
        found["hidden"]


def test_what_is_no_store(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_activations(tmp_path / "x.zarr")
    import zarr

    zarr.create_array(str(tmp_path / "x.zarr"), data=INPUTS)
    with pytest.raises(InvalidArrayError, match="no store of activations"):
        open_activations(tmp_path / "x.zarr")
    (tmp_path / "y.safetensors").mkdir()
    for read in (open_activations, simkit.open_source, read_activations):
        with pytest.raises(InvalidArrayError, match="no store of activations|folder"):
            read(tmp_path / "y.safetensors")
    assert simkit.open_source(tmp_path / "x.zarr").shape == (50, 4)


# --- compared -----------------------------------------------------------------------------------------------------------------


def test_an_unfinished_store_may_be_read_on_request(path):
    interrupted(path)
    for read in (open_activations, simkit.open_source, read_activations):
        with pytest.raises(InvalidArrayError, match=r"3 batches \(24 examples\) are whole"):
            read(path)
    lazy = simkit.open_source(path, missing="ignore")
    np.testing.assert_array_equal(lazy["hidden"].compute(), layers_of(INPUTS[:24])["hidden"])
    assert "not finished" in repr(open_activations(path, partial=True))
