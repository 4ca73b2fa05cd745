"""Saved files are read as they were written, or not at all: damage, other kinds, other versions."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from data import pair

import simkit
from simkit.checkpoint import Format, _checksum
from simkit.errors import CheckpointError, InvalidArrayError, UnknownNameError
from simkit.fields import text_array
from simkit.kernels import Linear
from simkit.scale.projection import RandomProjection
from simkit.scale.stream import Stream
from simkit.statistics.layers import Layers
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.moments import Moments
from simkit.statistics.roots import Roots

X, Y = pair(40, 3, 2)


def saved_stream(spec, **options):
    stream = simkit.stream(spec, **options)
    if spec.startswith("cka(estimator=unbiased"):
        stream.update({"a": X, "b": Y}, {"c": Y})
    else:
        stream.update(X, Y)
    return stream


# kind -> (what to save, how to read it)
KINDS = {
    "moments": (lambda: saved_stream("cka"), Stream.load),
    "third order": (lambda: saved_stream("cka(estimator=unbiased)"), Stream.load),
    "root": (lambda: saved_stream("cca"), Stream.load),
    "minibatch": (lambda: saved_stream("cka(estimator=minibatch, kernel=rbf(sigma=2.0))"), Stream.load),
    "projection": (lambda: saved_stream("cka", projection=RandomProjection(2, seed=3)), Stream.load),
    "no batch": (lambda: simkit.stream("cka"), Stream.load),
    "matrix": (lambda: simkit.pairwise({"a": X, "b": Y}), simkit.SimilarityMatrix.load),
}


def state_of(thing):
    """Everything that is kept, as bytes."""
    if isinstance(thing, Stream):
        return _checksum(thing._arrays())
    return pickle.dumps((np.asarray(thing.values).tobytes(), thing.rows, thing.columns, thing.index, thing.n))


@pytest.fixture(params=KINDS)
def saved(request, tmp_path):
    """A file, how to read it, and what it holds."""
    make, load = KINDS[request.param]
    thing, path = make(), tmp_path / "saved.npz"
    thing.save(path)
    assert state_of(load(path)) == state_of(thing)
    return path, load, state_of(thing)


def members(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def sign(arrays):
    """Arrays with the checksum that they should have."""
    rest = {name: x for name, x in arrays.items() if name != "sha256"}
    return rest | {"sha256": np.array(_checksum(rest))}


def check(path, load, state, what):
    """The file is refused in words of simkit's own, or it holds what was saved."""
    before = path.read_bytes()
    try:
        found, complaint = load(path), ""
    except CheckpointError as error:
        complaint = str(error)
    assert path.read_bytes() == before
    assert str(path) in complaint or not complaint, what
    assert complaint or state_of(found) == state, f"{what}: other values, and no error"
    return bool(complaint)


def flips(size, every):
    """Places and bits: each byte of a small file, some of a large one."""
    rng = np.random.default_rng(7)
    return [(place, 1 << int(rng.integers(8))) for place in range(0, size, every)]


@pytest.mark.parametrize("kind", ["no batch", "matrix"])
def test_every_byte_flipped(kind, tmp_path):
    make, load = KINDS[kind]
    thing, path = make(), tmp_path / "saved.npz"
    thing.save(path)
    whole, state, refused = path.read_bytes(), state_of(thing), 0
    for place, bit in flips(len(whole), 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        refused += check(path, load, state, f"bit {bit} of byte {place}")
    assert refused > len(whole) / 2


def test_flipped_bits(saved):
    path, load, state = saved
    whole = path.read_bytes()
    for place, bit in flips(len(whole), 23):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        check(path, load, state, f"bit {bit} of byte {place}")


def test_cut_off_anywhere(saved):
    path, load, state = saved
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 31), *range(40), len(whole) - 1}:
        path.write_bytes(whole[:length])
        assert check(path, load, state, f"{length} bytes")


def test_any_value_may_not_change(saved):
    """Whole archives with right checksums of their own, of other values: only the checksum of simkit's tells."""
    path, load, state = saved
    arrays = members(path)
    for name, x in arrays.items():
        if not x.size:
            continue
        other = np.array(x)
        if x.dtype.kind == "U":
            other = np.char.add(other, "x")
        else:
            other.reshape(-1)[0] = not other.reshape(-1)[0] if x.dtype.kind == "b" else other.reshape(-1)[0] + 1
        np.savez(path, **(arrays | {name: other}))
        assert check(path, load, state, name)


def test_fields_that_are_missing_or_too_many(saved):
    path, load, state = saved
    arrays = members(path)
    for name in arrays:
        np.savez(path, **{key: x for key, x in arrays.items() if key != name})
        assert check(path, load, state, f"without {name}")
        if name != "sha256":
            np.savez(path, **sign({key: x for key, x in arrays.items() if key != name}))
            refused = check(path, load, state, f"without {name}, with a checksum")
            assert refused or name == "projection"
    np.savez(path, **sign(arrays | {"extra": np.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"do not belong there, 'extra'"):
        load(path)


def test_fields_of_another_shape_or_type(saved):
    path, load, state = saved
    arrays = members(path)
    for name, x in arrays.items():
        for what, other in {
            "one dimension more": x[None],
            "longer": np.concatenate([np.atleast_1d(x), np.atleast_1d(x)]),
            "complex": np.ones(x.shape, complex),
            "dates": np.zeros(x.shape, "M8[s]"),
            "raw": np.zeros(x.shape, "V4"),
        }.items():
            if other.size or what == "one dimension more":
                np.savez(path, **(sign(arrays | {name: other}) if name != "sha256" else arrays | {name: other}))
                assert check(path, load, state, f"{name}: {what}")


def test_objects_are_never_unpickled(saved, tmp_path):
    path, load, state = saved
    mark = tmp_path / "ran"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    arrays = members(path)
    for name in arrays:
        bomb = np.empty((), dtype=object)
        bomb[()] = Bomb()
        np.savez(path, **(arrays | {name: bomb}))
        assert check(path, load, state, name)
    assert not mark.exists()


def test_members_of_one_name(saved):
    path, load, _ = saved
    arrays = members(path)
    name, buffer = list(arrays)[-2], io.BytesIO()
    np.save(buffer, arrays[name])
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(f"{name}.npy", buffer.getvalue())
    with pytest.raises(CheckpointError, match=f"two of its arrays have one name .'{name}'"):
        load(path)


def test_declared_sizes_are_checked_before_memory_is_taken(saved):
    """A header of 8 TB in a file of some hundred bytes."""
    path, load, state = saved
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    arrays = members(path)
    for name in arrays:
        with zipfile.ZipFile(path, "w") as archive:
            for other, x in arrays.items():
                buffer = io.BytesIO()
                np.save(buffer, x)
                archive.writestr(f"{other}.npy", header.getvalue() if other == name else buffer.getvalue())
        assert check(path, load, state, name)


FOREIGN = {
    "empty": b"",
    "text": b"not a zip file at all",
    "zip of nothing": b"PK\x05\x06" + 18 * b"\0",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_bytes(saved, content):
    path, load, state = saved
    path.write_bytes(content)
    assert check(path, load, state, content)


def test_each_kind_refuses_the_others(tmp_path):
    for kind, (make, _) in KINDS.items():
        make().save(tmp_path / f"{kind}.npz")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3), b=np.zeros(2))
    for kind in (*KINDS, "foreign"):
        for load in {load for _, load in KINDS.values()} - ({KINDS[kind][1]} if kind in KINDS else set()):
            with pytest.raises(CheckpointError, match=f"{kind}.npz holds no saved .* it holds '"):
                load(tmp_path / f"{kind}.npz")


def test_newer_formats(saved):
    path, load, _ = saved
    arrays = members(path)
    mark = next(name for name in arrays if name.startswith("simkit_"))
    np.savez(path, **{mark: np.array(99), "something": np.zeros(3)})
    with pytest.raises(CheckpointError, match=r"newer simkit, in format 99; .* up to format \d\. Update simkit"):
        load(path)
    np.savez(path, **(arrays | {mark: np.array(-1)}))
    with pytest.raises(CheckpointError, match="negative"):
        load(path)


def test_matrices_of_earlier_versions(tmp_path):
    """The first had no checksum, the first two nothing but the scores, their names and n."""
    make, load = KINDS["matrix"]
    matrix, path = make(), tmp_path / "saved.npz"
    matrix.save(path)
    arrays = members(path)
    mark = next(name for name in arrays if name.startswith("simkit_"))
    arrays |= {mark: np.array(1)}
    for name in ("sha256", "details", "knows_chance", "chance"):
        arrays.pop(name)
    np.savez(path, **arrays)
    assert state_of(load(path)) == state_of(matrix)
    for name in arrays.keys() - {mark}:
        np.savez(path, **{key: x for key, x in arrays.items() if key != name})
        with pytest.raises(CheckpointError, match=f"lacks '{name}'"):
            load(path)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("kind", ["moments", "root", "minibatch", "no batch"])
def test_streams_of_earlier_versions_are_refused(kind, version, tmp_path):
    """They held other sums; the third had a checksum."""
    path = tmp_path / "saved.npz"
    KINDS[kind][0]().save(path)
    arrays = {**members(path), "simkit_stream": np.array(version)}
    np.savez(path, **(sign(arrays) if version == 3 else {name: x for name, x in arrays.items() if name != "sha256"}))
    with pytest.raises(
        CheckpointError, match=rf"saved\.npz was written by an earlier simkit, in format {version}, .* again"
    ):
        Stream.load(path)


# --- what contradicts itself --------------------------------------------------------------------------------------------

LIES = {
    "another index": ({"index": np.array("cca")}, CheckpointError, "lacks 'state_low'"),
    "another estimator": (
        {"index": np.array("cka(estimator=unbiased)")},
        CheckpointError,
        "gathered with third_order=False, and cka.* needs True",
    ),
    "no index": ({"index": np.array("cka(")}, CheckpointError, "is damaged or was changed"),
    "an index that is not here": ({"index": np.array("nobody_has_it")}, UnknownNameError, "nobody_has_it"),
    "other layers": ({"state_names": np.array(["X", "Z"])}, CheckpointError, "its sums are of other layers"),
    "equal layers": ({"state_names": np.array(["X", "X"])}, CheckpointError, "has equal entries"),
    "other widths": ({"layer_widths": np.array([3, 3])}, CheckpointError, "its sums are of other layers"),
    "another kind": ({"kind": np.array("sky")}, CheckpointError, "'kind' is 'sky'"),
    "layers, not a pair": ({"kind": np.array("layers")}, CheckpointError, "not those of 'layers'"),
    "a projection": ({"projection": np.array(["-3", "0", "gaussian"])}, CheckpointError, "'projection' holds"),
    "no layers": (
        {f"state_{name}": np.zeros(0, dtype) for name, dtype in (("names", "U1"), ("widths", int), ("dtypes", "U1"))},
        CheckpointError,
        "of no layers",
    ),
    "a precision": ({"state_dtypes": np.array(["float32", "int8"])}, CheckpointError, "'dtypes' holds"),
    "more examples of the first": ({"state_n": np.array(0)}, CheckpointError, r"'state_first'.*of shape \(0, 5\)"),
    "one that varies": ({"state_varies": np.array([True])}, CheckpointError, r"'state_varies'.*of shape \(2,\)"),
    "a count below zero": ({"state_nonfinite": np.array([-1, 0])}, CheckpointError, "'state_nonfinite' is negative"),
    "less than nothing": ({"state_n": np.array(-4)}, CheckpointError, "'state_n' is negative"),
}


@pytest.mark.parametrize(("change", "error", "match"), LIES.values(), ids=LIES)
def test_contradictions(tmp_path, change, error, match):
    path = tmp_path / "lies.npz"
    saved_stream("cka").save(path)
    np.savez(path, **sign(members(path) | change))
    with pytest.raises(error, match=match):
        Stream.load(path)


MINIBATCH_LIES = {
    "rows that it has not": ({"state_rows": np.array(["Z"])}, "it compares"),
    "rows twice": ({"state_rows": np.array(["X", "X"])}, "has equal entries"),
    "sides turned": (
        {"state_rows": np.array(["Y"]), "state_columns": np.array(["X"])},
        r"gathered with rows=\('Y',\), and cka.* needs \('X',\)",
    ),
    "more rows": ({"state_rows": np.array(["X", "Y"])}, r"'state_xy' .*expected real numbers of shape \(2, 1\)"),
    "batches": ({"state_batches": np.array(-1)}, "'state_batches' is negative"),
    "units": ({"state_across": np.array([1])}, "'state_across' has dtype int64"),
}


@pytest.mark.parametrize(("change", "match"), MINIBATCH_LIES.values(), ids=MINIBATCH_LIES)
def test_contradictions_of_the_minibatch_estimator(tmp_path, change, match):
    path = tmp_path / "lies.npz"
    saved_stream("cka(estimator=minibatch)").save(path)
    np.savez(path, **sign(members(path) | change))
    with pytest.raises(CheckpointError, match=match):
        Stream.load(path)


STATISTICS = {
    "moments": Moments.of,
    "third order": lambda layers: Moments.of(layers, third_order=True),
    "root": Roots.of,
    "minibatch": lambda layers: MinibatchHSIC.of(layers, kernel=Linear(), rows=["x"], columns=["x", "y"]),
    "layers": Layers.of,
}


@pytest.mark.parametrize("kind", STATISTICS)
def test_arrays_of_a_statistic_are_read_as_they_were_written_or_not_at_all(kind):
    for n in (40, 0):
        statistic = STATISTICS[kind]({"x": X[:n], "y": Y[:n].astype(np.float32)})
        arrays = statistic.to_arrays()
        read = type(statistic).from_arrays(arrays)
        assert _checksum(read.to_arrays()) == _checksum(arrays)
        assert (read.names, read.widths, read.n, read.options) == (("x", "y"), (3, 2), n, statistic.options)
        assert read.values.dtypes == ("float64", "float32")
        for name, x in arrays.items():
            without = {key: other for key, other in arrays.items() if key != name}
            with pytest.raises(CheckpointError, match="lacks"):
                type(statistic).from_arrays(without)
            for other in (x[None], x.astype("V1"), np.zeros(x.shape, complex)):
                with pytest.raises(CheckpointError, match=f"'{name}' has dtype .* and shape .*; expected"):
                    type(statistic).from_arrays(arrays | {name: other})


def test_a_resumed_stream_takes_batches_of_its_own_widths_only(tmp_path):
    stream = saved_stream("cka")
    stream.save(tmp_path / "pass.npz")
    resumed = Stream.load(tmp_path / "pass.npz")
    with pytest.raises(InvalidArrayError, match=r"'X': 3.*'X': 2"):
        resumed.update(X[:, :2], Y)
    with pytest.raises(InvalidArrayError, match="other layers than those before"):
        resumed.update({"a": X}, {"b": Y})
    assert resumed.n == 40
    assert resumed.compute() == stream.compute()


def test_names_that_would_not_come_back_are_not_written(tmp_path):
    for name in ("net\0", "\0", "a" * 3 + "\0\0"):
        stream = simkit.stream("cka")
        stream.update({name: X})
        for thing in (stream, simkit.pairwise({name: X})):
            with pytest.raises(CheckpointError, match="NUL.*Rename the layer"):
                thing.save(tmp_path / "named.npz")
    assert list(tmp_path.iterdir()) == []
    names = {"\ud800": X, "\x1b[31m": X, "a\0b": X, " ": X, "": X, "é\u0301": X}
    matrix = simkit.pairwise(names)
    matrix.save(tmp_path / "named.npz")
    assert simkit.SimilarityMatrix.load(tmp_path / "named.npz").rows == tuple(names)


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        Stream.load(tmp_path / "nowhere.npz")
    with pytest.raises(IsADirectoryError):
        Stream.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointError, match="pipe"):
            Stream.load(tmp_path / "pipe")


def test_the_checksum_sees_names_types_and_shapes():
    x = np.arange(6.0)
    variants = [{"a": x}, {"b": x}, {"a": x.reshape(2, 3)}, {"a": x.astype(np.float32)}, {"a": x.view(np.int64)}, {}]
    assert len({_checksum(arrays) for arrays in variants}) == len(variants)
    assert _checksum({"a": np.asfortranarray(x.reshape(2, 3))}) == _checksum({"a": x.reshape(2, 3)})
    assert _checksum({"a": x, "b": x}) == _checksum({"b": x, "a": x})
    assert text_array(("a", "bc")).dtype.kind == "U"


def test_a_file_with_more_than_there_is_memory(tmp_path, monkeypatch):
    kind = Format("simkit_test", version=1, signed=1, what="test", remedy="Write it again.")
    kind.write(tmp_path / "large.npz", {"zeros": np.zeros((1000, 1000))}, compress=True)
    monkeypatch.setattr("simkit.memory.WORTH_ASKING", 0)
    monkeypatch.setattr("simkit.memory.available", lambda: 10**6)
    with pytest.raises(
        simkit.errors.TooLargeError, match=r"large\.npz holds more than fits: 8\.0 MB of memory needed, 1\.0 MB available"
    ):
        kind.read(tmp_path / "large.npz")
