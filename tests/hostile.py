"""Damaged, forged and unusual files of activations, each with what is to become of it.

``python tests/hostile.py`` writes them into tests/data/hostile, where they are kept: a later version of the libraries that write
them may not make the same. `CASES` says of each what reading it whole and in chunks gives: None for numbers, a part of the
message for an error. `benchmarks.fuzz` begins with them.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "data" / "hostile"
X = np.random.default_rng(9).standard_normal((12, 3)).astype(np.float32)
Content = bytes | dict[str, bytes]  # of a file, or of the files of a folder


@dataclass(frozen=True)
class Case:
    """A file, and what becomes of it.

    Attributes
    ----------
    make : callable
        Gives the content.
    whole, chunks : str or None
        Part of the error of `read_activations` and of `open_source`, computing included; None if there are numbers.
    foreign : bool
        Written by a library of which another version may write other bytes.
    """

    make: Callable[[], Content]
    whole: str | None = None
    chunks: str | None = None
    foreign: bool = False


CASES: dict[str, Case] = {}


def case(name: str, content: Any, whole: str | None = None, chunks: str | None = "", *, foreign: bool = False) -> None:
    """Add a case; what reading in chunks says is what reading it whole does, unless it is given."""
    suffix = Path(name).suffix
    if suffix in {".zarr", ".h5", ".parquet"}:
        whole, chunks = "cannot read", whole
    elif suffix in {".npz", ".pt"}:
        chunks = "read as a whole"
    elif chunks == "":
        chunks = whole
    assert name not in CASES, name
    CASES[name] = Case(content if callable(content) else lambda: content, whole, chunks, foreign)


# --- .npy -----------------------------------------------------------------------------------------------------------------


def npy(
    shape: Any = (12, 3), data: bytes = X.tobytes(), descr: str = "'<f4'", fortran: Any = False, header: str | None = None
) -> bytes:
    """A file of version 1 with any header."""
    text = header or f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    line = text.encode("latin-1") + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + data


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self) -> Any:
        return (open, ("simkit-ran-pickled-code", "w"))


case("good.npy", npy())
case("fortran.npy", npy(data=np.asfortranarray(X).tobytes("F"), fortran=True))
case("big_endian.npy", npy(descr="'>f4'", data=X.astype(">f4").tobytes()))
case("no_bytes.npy", b"", "does not begin as")
case("only_magic.npy", b"\x93NUMPY", "does not begin as")
case("text.npy", b"1.0 2.0\n3.0 4.0\n", "does not begin as")
case("pickle.npy", pickle.dumps(Trap(), 4), "does not begin as")
case("header_cut.npy", npy()[:40], "cannot be read")
case("header_of_4_gb.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "cannot be read")
case("version_9.npy", b"\x93NUMPY\x09\x00\x10\x00" + b" " * 16, "cannot be read")
case("header_no_dictionary.npy", npy(header="[1, 2]"), "cannot be read")
case("header_call.npy", npy(header="open('simkit-ran-pickled-code', 'w')"), "cannot be read")
case("header_nested.npy", npy(header="(" * 3000 + ")" * 3000), "cannot be read")
case("header_unary.npy", npy(header="-" * 5000 + "1"), "cannot be read")
case("header_without_shape.npy", npy(header="{'descr': '<f4', 'fortran_order': False}"), "cannot be read")
case("header_null.npy", npy(header="{'descr': '<f4\0', 'fortran_order': False, 'shape': (12, 3)}"), "cannot be read")
case("rows_1e12.npy", npy((10**12, 3)), "cut off or damaged")
case("rows_2e62_squared.npy", npy((2**62, 2**62)), "cut off or damaged")
case("rows_of_4000_digits.npy", npy(shape="(1" + "0" * 4000 + ", 3)"), "negative or too large")
case("rows_negative.npy", npy((-12, 3)), "negative")
case("rows_minus_one.npy", npy((-1, 3)), "negative")
case("rows_float.npy", npy("(12.0, 3)"), "cannot be read")
case("rows_50.npy", npy((50, 3)), "cut off or damaged")
case("rows_5.npy", npy((5, 3)), "several arrays in one file")
case("numbers_cut.npy", npy()[:-1], "cut off or damaged")
case("two_arrays.npy", npy() + npy(), "several arrays in one file")
case("objects.npy", npy(descr="'|O'", data=pickle.dumps([Trap()] * 36)), "pickled Python objects")
case("record_of_objects.npy", npy(descr="[('a', '|O'), ('b', '<f4')]"), "pickled Python objects")
case("numbers_0d.npy", npy((), X[0, :1].tobytes()), None, "single number")
case("rows_0.npy", npy((0, 3), b""))
case("rows_0_fortran.npy", npy((0, 3), b"", fortran=True))
case("columns_0.npy", npy((12, 0), b""))
case("dtype_unknown.npy", npy(descr="'<q9'"), "cannot be read")
case("dtype_huge.npy", npy(descr="'|V9999999999999'"), "cannot be read")
case("dtype_of_no_bytes.npy", npy(descr="'|V0'", data=b""))


# --- .npz -----------------------------------------------------------------------------------------------------------------


def npz(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of these members, which may bear one name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)  # of 1980, not of now
    return file.getvalue()


def forged(archive: bytes, field: int, value: bytes) -> bytes:
    """`archive` with other bytes at `field` of its last central directory entry."""
    at = archive.rindex(b"PK\x01\x02") + field
    return archive[:at] + value + archive[at + len(value) :]


TWO = npz(("a.npy", npy()), ("b.npy", npy((12, 2), X[:, :2].tobytes())))
case("good.npz", TWO)
case("compressed.npz", npz(("a.npy", npy()), method=zipfile.ZIP_DEFLATED))
case("empty.npz", npz(), "holds no arrays")
case("no_bytes.npz", b"", "does not begin as")
case("npy.npz", npy(), "does not begin as")
case("cut.npz", TWO[:-30], "does not begin as")
case(
    "one_name_twice.npz",
    lambda: _quietly(lambda: npz(("a.npy", npy()), ("a.npy", npy((12, 2), X[:, :2].tobytes())))),
    "two arrays called 'a'",
)
case(
    "name_with_and_without_suffix.npz",
    npz(("a", npy()), ("a.npy", npy((12, 2), X[:, :2].tobytes()))),
    "two arrays called 'a'",
)
case("folder_and_path.npz", npz(("net/", b""), ("net/../../a.npy", npy())))
case("text_inside.npz", npz(("a.npy", npy()), ("notes.txt", b"made by hand")), "'notes.txt' does not begin as")
case("objects.npz", npz(("a.npy", npy(descr="'|O'", data=pickle.dumps([Trap()] * 36)))), "pickled Python objects")
case("number_flipped.npz", TWO.replace(X.tobytes()[:40], bytes(40), 1), "CRC")
case("rows_1e12.npz", npz(("a.npy", npy((10**12, 3)))), "cut off or damaged")
case("rows_5.npz", npz(("a.npy", npy((5, 3)))), "several arrays in one file")
case(
    "bomb.npz",
    forged(npz(("a.npy", npy((2**27, 3))), method=zipfile.ZIP_DEFLATED), 24, struct.pack("<I", 3 * 2**29 + 128)),
    "declares arrays of",
)
case("says_less.npz", forged(TWO, 24, struct.pack("<I", 100)), "cannot be read")
case("encrypted.npz", forged(TWO, 8, b"\x01\x00"), "cannot be read")
case("method_99.npz", forged(TWO, 10, b"\x63\x00"), "cannot be read")
case("offset_beyond.npz", forged(TWO, 42, b"\xff\xff\xff\x00"), "cannot be read")


def _quietly(make: Callable[[], bytes]) -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


# --- .safetensors ---------------------------------------------------------------------------------------------------------


def safetensors(header: Any, data: bytes = X.tobytes(), length: int | None = None) -> bytes:
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: Any = (12, 3), dtype: Any = "F32", offsets: Any = (0, X.nbytes)) -> dict[str, Any]:
    """What a header says of a tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HALF = X.nbytes // 2
case("good.safetensors", safetensors({"__metadata__": {"by": "hand"}, "x": entry()}))
case("padded.safetensors", safetensors(json.dumps({"x": entry()}).encode() + b"   "))
case("two.safetensors", safetensors({"b": entry([6, 3], offsets=[HALF, 2 * HALF]), "a": entry([6, 3], offsets=[0, HALF])}))
case(
    "float8.safetensors",
    safetensors(
        {"x": entry(dtype="F8_E4M3", offsets=[0, 36]), "y": entry(dtype="F8_E5M2", offsets=[36, 72])}, X.tobytes()[:72]
    ),
)
case("bfloat16.safetensors", safetensors({"x": entry(dtype="BF16", offsets=[0, 72])}, X.tobytes()[:72]))
case("no_tensors.safetensors", safetensors({}, b""), "holds no arrays")
case("rows_0.safetensors", safetensors({"x": entry([0, 3], offsets=[0, 0])}, b""))
case("no_bytes.safetensors", b"", "cannot be read")
case("short.safetensors", b"\x01\x00\x00", "cannot be read")
case("length_beyond.safetensors", safetensors({"x": entry()}, length=10**6), "cut off")
case("length_2e64.safetensors", safetensors({"x": entry()}, length=2**64 - 1), "cut off")
case("length_short.safetensors", safetensors({"x": entry()}, length=20), "no JSON object")
case("not_json.safetensors", safetensors(b"{x: 1}"), "no JSON object")
case("not_utf8.safetensors", safetensors(b'{"\xff\xfe": 1}'), "no JSON object")
case("half_a_character.safetensors", safetensors(b'{"\\ud800": ' + json.dumps(entry()).encode() + b"}"), "no JSON object")
case("list.safetensors", safetensors([1, 2]), "no JSON object")
case("nested.safetensors", safetensors(b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"), "header")
case("digits.safetensors", safetensors(b'{"x": ' + b"9" * 5000 + b"}"), "no JSON object")
case("entry_no_dictionary.safetensors", safetensors({"x": [12, 3]}), "lacks one of")
case("entry_without_offsets.safetensors", safetensors({"x": {"dtype": "F32", "shape": [12, 3]}}), "lacks one of")
case("name_twice.safetensors", safetensors(b'{"x": %b, "x": %b}' % ((json.dumps(entry()).encode(),) * 2)), "'x' twice")
case(
    "field_twice.safetensors",
    safetensors(b'{"x": {"shape": [36], "dtype": "F32", "shape": [12, 3], "data_offsets": [0, 144]}}'),
    "'shape' twice",
)
case(
    "shape_50x4.safetensors",
    safetensors({"x": entry([50, 4]), "y": entry(offsets=[144, 288])}, X.tobytes() * 2),
    "does not fit its data_offsets",
)
case("shape_negative.safetensors", safetensors({"x": entry([-12, -3])}), "whole numbers that are not negative")
case("shape_float.safetensors", safetensors({"x": entry([12.0, 3])}), "whole numbers that are not negative")
case("shape_bool.safetensors", safetensors({"x": entry([True, 36])}), "whole numbers that are not negative")
case("shape_null.safetensors", safetensors({"x": entry(None)}), "whole numbers that are not negative")
case("shape_of_strings.safetensors", safetensors({"x": entry(["12", "3"])}), "whole numbers that are not negative")
case("shape_huge.safetensors", safetensors({"x": entry([10**30, 3])}), "whole numbers that are not negative")
case("shape_product_wraps.safetensors", safetensors({"x": entry([2**33, 2**33, 12, 3])}), "does not fit its data_offsets")
case("shape_of_70_axes.safetensors", safetensors({"x": entry([1] * 69 + [36])}), "whole numbers that are not negative")
case("dtype_unknown.safetensors", safetensors({"x": entry(dtype="F3")}), "expected F16")
case("dtype_list.safetensors", safetensors({"x": entry(dtype=["F32"])}), "expected F16")
case("offsets_backwards.safetensors", safetensors({"x": entry(offsets=[144, 0])}), "does not fit its data_offsets")
case("offsets_three.safetensors", safetensors({"x": entry(offsets=[0, 72, 144])}), "two of them")
case("offsets_beyond.safetensors", safetensors({"x": entry(offsets=[10**9, 10**9 + 144])}), "leaves a gap")
case("rows_1e12.safetensors", safetensors({"x": entry([10**12, 3], offsets=[0, 12 * 10**12])}), "cut off")
case(
    "overlap.safetensors",
    safetensors({"x": entry(), "y": entry(offsets=[72, 216])}, X.tobytes() + X.tobytes()[:72]),
    "overlaps",
)
case("same_place.safetensors", safetensors({"x": entry(), "y": entry()}), "overlaps")
case(
    "gap.safetensors",
    safetensors({"x": entry([6, 3], offsets=[0, 72]), "y": entry([6, 3], offsets=[76, 148])}, X.tobytes() + b"gap!"),
    "leaves a gap",
)
case("rest.safetensors", safetensors({"x": entry()}, X.tobytes() + b"rest"), "holds more than its tensors")
case("cut.safetensors", safetensors({"x": entry()})[:-1], "cut off")


# --- .pt ------------------------------------------------------------------------------------------------------------------


def pt(make: Callable[[Any], Any], **options: Any) -> Callable[[], bytes]:
    """What PyTorch saves of what `make` gives of it."""

    def written() -> bytes:
        import torch

        file = io.BytesIO()
        torch.save(make(torch), file, **options)
        return file.getvalue()

    return written


def linear(torch: Any) -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 12, bias=False)


def tensor(torch: Any) -> Any:
    return torch.from_numpy(X.copy())


for name, make, message in [
    ("tensor", tensor, None),
    ("parameter", lambda t: t.nn.Parameter(tensor(t)), None),
    ("parameters", lambda t: {"a": t.nn.Parameter(tensor(t)), "b": tensor(t)}, None),
    ("ordered_parameters", lambda t: OrderedDict(a=t.nn.Parameter(tensor(t))), None),
    ("requires_grad", lambda t: tensor(t).requires_grad_() * 2, None),
    ("state_dict", lambda t: linear(t).state_dict(), None),
    ("float8_e4m3fn", lambda t: tensor(t).to(t.float8_e4m3fn), None),
    ("float8_e5m2fnuz", lambda t: {"a": tensor(t).to(t.float8_e5m2fnuz)}, None),
    ("bfloat16", lambda t: tensor(t).bfloat16(), None),
    ("complex", lambda t: t.complex(tensor(t), tensor(t)), None),
    ("conjugate", lambda t: t.complex(tensor(t), tensor(t)).conj(), None),
    ("negative_bit", lambda t: t.complex(tensor(t), tensor(t)).conj().imag, None),
    ("sparse_coo", lambda t: {"a": tensor(t).to_sparse()}, r"'a' is sparse \(torch.sparse_coo\).*x\.to_dense\(\)"),
    ("sparse_csr", lambda t: tensor(t).to_sparse_csr(), r"is sparse.*x\.to_dense\(\)"),
    ("quantised", lambda t: t.quantize_per_tensor(tensor(t), 0.1, 0, t.qint8), r"is quantised.*x\.dequantize\(\)"),
    ("meta", lambda t: t.empty(12, 3, device="meta"), "device meta"),
    ("nested", lambda t: t.nested.nested_tensor([t.ones(2, 3), t.ones(4, 3)]), "nested tensor.*stack"),
    (
        "nested_jagged",
        lambda t: t.nested.nested_tensor([t.ones(2, 3), t.ones(4, 3)], layout=t.jagged),
        "(tensors only|nested tensor)",
    ),
    ("expanded_1e12", lambda t: t.ones(1, 3).expand(10**12, 3), "declares arrays of"),
    (
        "dictionary_in_dictionary",
        lambda t: {"model": {"a": tensor(t)}},
        r"'model' is itself a dictionary.*torch\.load\(path\)\['model'\]",
    ),
    ("lists", lambda t: {"a": tensor(t), "epoch": 3}, "'epoch' is a int"),
    ("number", lambda t: 3, "holds a int"),
    ("empty", lambda t: {}, "holds no arrays"),
    ("one_name_twice", lambda t: {1: tensor(t), "1": tensor(t)}, "two tensors called '1'"),
    ("one_name_twice_again", lambda t: {"1": tensor(t), 1: tensor(t)}, "two tensors called '1'"),
    ("trap", lambda t: {"a": Trap()}, "tensors only"),
    ("module", linear, "tensors only"),
]:
    case(f"{name}.pt", pt(make), message, foreign=True)
case("old_format.pt", pt(tensor, _use_new_zipfile_serialization=False), foreign=True)
case("old_format_cut.pt", lambda: pt(tensor, _use_new_zipfile_serialization=False)()[:-100], "tensors only", foreign=True)
case("cut.pt", lambda: pt(tensor)()[:-300], "tensors only", foreign=True)
case("no_bytes.pt", b"", "tensors only")
case("text.pt", b"tensor([1., 2.])", "tensors only")
case("pickle.pt", pickle.dumps(Trap(), 4), "tensors only")
case("npz.pt", npz(("a.npy", npy())), "tensors only")
case(
    "bomb.pt",
    forged(npz(("a/data.pkl", b"."), method=zipfile.ZIP_DEFLATED), 24, struct.pack("<I", 3 * 2**29)),
    "declares arrays of",
)


# --- HDF5 -----------------------------------------------------------------------------------------------------------------


def hdf5(fill: Callable[[Any], Any]) -> Callable[[], bytes]:
    """What h5py writes of what `fill` puts into a file."""

    def written() -> bytes:
        import h5py

        file = io.BytesIO()
        with h5py.File(file, "w") as opened:
            fill(opened)
        return file.getvalue()

    return written


def damaged(make: Callable[[], bytes], part: bytes) -> Callable[[], bytes]:
    """The same with the last byte of `part` flipped, wherever it is first."""

    def written() -> bytes:
        content = bytearray(make())
        at = bytes(content).index(part) + len(part) - 1
        content[at] ^= 0x55
        return bytes(content)

    return written


def _strings(file: Any) -> None:
    file["x"] = X
    file["labels"] = np.array(["a"] * 12, dtype="S1")


def _virtual(file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout((12, 3), "f4")
    layout[:] = h5py.VirtualSource("nowhere.h5", "x", (12, 3))
    file.create_virtual_dataset("x", layout)


CHECKED = hdf5(lambda f: f.create_dataset("x", data=X, chunks=(6, 3), fletcher32=True))
case("good.h5", hdf5(lambda f: f.create_dataset("net/x", data=X, chunks=(6, 3))), foreign=True)
case("with_strings.h5", hdf5(_strings), foreign=True)
case("no_bytes.h5", b"", "cannot be read")
case("text.h5", b"1 2 3", "cannot be read")
case("cut.h5", lambda: hdf5(lambda f: f.create_dataset("x", data=X))()[:-100], "cannot be read", foreign=True)
case("empty.h5", hdf5(lambda f: None), "holds no arrays", foreign=True)
case("number.h5", hdf5(lambda f: f.create_dataset("x", data=3.0)), "holds no arrays", foreign=True)
case(
    "number_flipped.h5",
    damaged(CHECKED, X.tobytes()[:20]),
    "rows 0 to 12, cannot be read: the file is damaged",
    foreign=True,
)
case("rows_0.h5", hdf5(lambda f: f.create_dataset("x", data=X[:0])), foreign=True)
case(
    "rows_1e12.h5",
    hdf5(lambda f: f.create_dataset("x", (10**12, 3), "f4", chunks=(1024, 3))),
    "about a million",
    foreign=True,
)
case(
    "columns_1e12.h5",
    hdf5(lambda f: f.create_dataset("x", (4, 10**12), "f8", chunks=(1, 1024))),
    "Not one row fits",
    foreign=True,
)
case(
    "dangling.h5",
    hdf5(lambda f: [f.create_dataset("x", data=X), f.__setitem__("y", __import__("h5py").SoftLink("/z"))]),
    foreign=True,
)
case("no_source.h5", hdf5(_virtual), foreign=True)


# --- Zarr -----------------------------------------------------------------------------------------------------------------


def zarr3(**changes: Any) -> bytes:
    """The metadata of an array in version 3."""
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [12, 3],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [6, 3]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0.0,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
    }
    return json.dumps(metadata | changes).encode()


def zarr2(**changes: Any) -> bytes:
    """The metadata of an array in version 2."""
    metadata = {
        "zarr_format": 2,
        "shape": [12, 3],
        "chunks": [6, 3],
        "dtype": "<f4",
        "compressor": None,
        "fill_value": 0.0,
        "order": "C",
        "filters": None,
    }
    return json.dumps(metadata | changes).encode()


def grid(*shape: int) -> dict[str, Any]:
    return {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shape)}}}


def codecs(*names: str) -> dict[str, Any]:
    return {
        "codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            *({"name": name, "configuration": {}} for name in names),
        ]
    }


UP, DOWN = X[:6].tobytes(), X[6:].tobytes()
PICKLED = pickle.dumps(Trap(), 4)


def store3(up: bytes = UP, **changes: Any) -> dict[str, bytes]:
    return {"zarr.json": zarr3(**changes), "c/0/0": up, "c/1/0": DOWN}


def store2(up: bytes = UP, **changes: Any) -> dict[str, bytes]:
    return {".zarray": zarr2(**changes), "0.0": up, "1.0": DOWN}


GZIP = {"name": "gzip", "configuration": {"level": 1}}
case("good3.zarr", store3())
case("good2.zarr", store2())
case(
    "group.zarr",
    {
        "zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {}}',
        **{f"x/{k}": v for k, v in store3().items()},
    },
)
case("no_files.zarr", {"notes.txt": b"nothing here"}, "cannot be read")
case("not_json.zarr", {"zarr.json": b"{zarr"}, "cannot be read")
case("nested_json.zarr", {"zarr.json": b'{"zarr_format": 3, "x": ' + b"[" * 5000 + b"]" * 5000 + b"}"}, "cannot be read")
case("empty_group.zarr", {"zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {}}'}, "holds no arrays")
case("chunk_cut.zarr", store3(UP[:-5]), "rows 0 to 12, cannot be read: the file is damaged")
case("chunk_long.zarr", store3(UP + UP), "rows 0 to 12, cannot be read: the file is damaged")
case("chunk_no_bytes.zarr", store3(b""), "rows 0 to 12, cannot be read: the file is damaged")
case("chunk_cut2.zarr", store2(UP[:-5]), "rows 0 to 12, cannot be read: the file is damaged")
case("no_gzip.zarr", store3(codecs=[*codecs()["codecs"], GZIP]), "rows 0 to 12, cannot be read: the file is damaged")
case(
    "no_zstd.zarr",
    store3(codecs=[*codecs()["codecs"], {"name": "zstd", "configuration": {"level": 0, "checksum": False}}]),
    "rows 0 to 12, cannot be read: the file is damaged",
)
case("no_checksum.zarr", store3(**codecs("crc32c")), "rows 0 to 12, cannot be read: the file is damaged")
case(
    "no_blosc.zarr",
    store2(compressor={"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}),
    "rows 0 to 12, cannot be read: the file is damaged",
)
case("unknown_codec.zarr", store3(**codecs("nonsense")), "cannot be read")
case("pickle_filter.zarr", store2(PICKLED, filters=[{"id": "pickle", "protocol": 4}]), "cannot be read")
case("pickle_compressor.zarr", store2(PICKLED, compressor={"id": "pickle", "protocol": 4}), "cannot be read")
case(
    "pickle_objects.zarr",
    store2(PICKLED, dtype="|O", fill_value=None, filters=[{"id": "pickle", "protocol": 4}]),
    "cannot be read",
)
case(
    "pickle_second_filter.zarr",
    store2(PICKLED, filters=[{"id": "delta", "dtype": "<f4"}, {"id": "pickle", "protocol": 4}]),
    "cannot be read",
)
case("shape_negative.zarr", store3(shape=[-12, 3]), "cannot be read")
case("shape_float.zarr", store3(shape=[12.5, 3]), "cannot be read")
case("shape_of_strings.zarr", store3(shape="ab"), "cannot be read")
case("rows_1e12.zarr", store3(shape=[10**12, 3], **grid(1024, 3)), "about a million")
case("columns_1e12.zarr", store3(shape=[12, 10**12], **grid(6, 1024)), "Not one row fits")
case("chunk_of_0.zarr", store3(**grid(0, 3)), "cannot be read")
case("chunk_of_1_axis.zarr", store3(**grid(6)), "cannot be read")
case("chunk_of_1e12.zarr", store3(**grid(10**12, 3)), "rows 0 to 12, cannot be read: the file is damaged")
case("number.zarr", {"zarr.json": zarr3(shape=[], **grid()), "c": UP[:4]}, "single number")
case("chunk_missing.zarr", {"zarr.json": zarr3(), "c/1/0": DOWN})
case(
    "listed_only.zarr",
    {
        "zarr.json": json.dumps(
            {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": {},
                "consolidated_metadata": {
                    "kind": "inline",
                    "must_understand": False,
                    "metadata": {"x": json.loads(zarr3())},
                },
            }
        ).encode()
    },
    "no such file",
)


# --- Parquet --------------------------------------------------------------------------------------------------------------


def parquet(columns: Callable[[], dict[str, Any]], **options: Any) -> Callable[[], bytes]:
    """What pyarrow writes of columns."""

    def written() -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        made, file = columns(), io.BytesIO()
        pq.write_table(
            pa.Table.from_arrays([pa.array(c) for c in made.values()], [n.split("#")[0] for n in made]), file, **options
        )
        return file.getvalue()

    return written


def in_folder(**files: Callable[[], bytes]) -> Callable[[], dict[str, bytes]]:
    return lambda: {f"{name}.parquet": make() for name, make in files.items()}


def units(*names: str, x: np.ndarray = X) -> Callable[[], dict[str, Any]]:
    return lambda: {name: x[:, j] for j, name in enumerate(names)}


PLAIN = {"compression": "none", "use_dictionary": False}
CRC = parquet(units("a", "b"), write_page_checksum=True, **PLAIN)
case("good.parquet", parquet(units("a", "b", "c")), foreign=True)
case("lists.parquet", parquet(lambda: {"x": list(X), "label": range(12)}), foreign=True)
case("folder.parquet", in_folder(a=parquet(units("a", "b")), b=parquet(units("b", "a"))), foreign=True)
case("no_bytes.parquet", b"", "cannot be read")
case("text.parquet", b"a,b\n1,2\n", "cannot be read")
case("cut.parquet", lambda: parquet(units("a"))()[:-20], "cannot be read", foreign=True)
case(
    "number_flipped.parquet",
    damaged(CRC, X[:, 0].tobytes()),
    "rows 0 to 12, cannot be read: the file is damaged",
    foreign=True,
)
case("rows_0.parquet", parquet(units("a", "b", x=X[:0])), foreign=True)
case("no_columns.parquet", parquet(dict), "no column that is a feature", foreign=True)
case("id.parquet", parquet(lambda: {"id": range(12), "a": X[:, 0]}), "called like a label", foreign=True)
case("strings.parquet", parquet(lambda: {"a": ["x"] * 12}), "do not hold numbers", foreign=True)
case("lists_of_strings.parquet", parquet(lambda: {"a": [["x"]] * 12}), "expected numbers", foreign=True)
case("column_twice.parquet", parquet(lambda: {"a": X[:, 0], "a#2": X[:, 1]}), "two columns called 'a'", foreign=True)
case("missing.parquet", parquet(lambda: {"a": [1.0, None, 3.0]}), "1 missing values", foreign=True)
case("first_list_missing.parquet", parquet(lambda: {"a": [None, [1.0, 2.0]]}), "missing values", foreign=True)
case("lists_of_two_lengths.parquet", parquet(lambda: {"a": [[1.0, 2.0], [3.0]]}), "not all of length 2", foreign=True)
case("lists_of_lists.parquet", parquet(lambda: {"a": [[[1.0], [2.0]]] * 12}), "expected numbers", foreign=True)
case("no_files.parquet", {"notes.txt": b"nothing here"}, "without .parquet files")
case(
    "other_columns.parquet",
    in_folder(a=parquet(units("a", "b")), b=parquet(units("a", "c"))),
    "column 'b' is absent",
    foreign=True,
)
case(
    "more_columns.parquet",
    in_folder(a=parquet(units("a", "b")), b=parquet(units("a", "b", "c"))),
    "column 'c' is float, but absent in a.parquet",
    foreign=True,
)
case(
    "other_types.parquet",
    in_folder(a=parquet(units("a", x=(X * 9).astype(int))), b=parquet(units("a"))),
    "column 'a' is float, but int64",
    foreign=True,
)
case(
    "other_lengths.parquet",
    in_folder(a=parquet(lambda: {"x": list(X)}), b=parquet(lambda: {"x": list(X[:, :2])})),
    "differ in length: 3 in a.parquet, 2 in b",
    foreign=True,
)
case("one_damaged.parquet", in_folder(a=parquet(units("a")), b=lambda: b"PAR1"), "cannot be read", foreign=True)
case("folder_in_folder.parquet", {"a.parquet/b.parquet": b"PAR1"}, "is a folder")
case(
    "id_in_folder.parquet",
    in_folder(a=parquet(lambda: {"id": range(12), "a": X[:, 0]}), b=parquet(lambda: {"id": range(12), "a": X[:, 0]})),
    "called like a label",
    foreign=True,
)


# --- the folder -----------------------------------------------------------------------------------------------------------


def files_of(name: str) -> Iterator[tuple[str, bytes]]:
    """Relative paths and bytes of a case, as it is written now."""
    content = CASES[name].make()
    if isinstance(content, bytes):
        yield name, content
    else:
        yield from ((f"{name}/{part}", data) for part, data in content.items())


def write(folder: Path) -> None:
    """Write all cases."""
    for name in CASES:
        for part, data in files_of(name):
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            (folder / part).write_bytes(data)


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    write(FOLDER)
    print(
        f"{len(CASES)} cases, {sum(file.stat().st_size for file in FOLDER.rglob('*') if file.is_file())} bytes",
        file=sys.stderr,
    )
