"""What the fuzzer begins with, and what it does to it."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zipfile
from pathlib import Path

from hypothesis import strategies as st

__all__ = ["FILES", "KINDS", "inputs", "pack", "specs"]

CORPUS = Path(__file__).parents[2] / "tests" / "data" / "hostile"
FILES = (".npy", ".npz", ".safetensors", ".pt", ".h5", ".zarr", ".parquet")
KINDS = (*FILES, "spec")
LARGEST = 20_000  # bytes of a file that is worth mutating

Parts = dict[str, bytes]  # of a folder or an archive by name; of a plain file under ""

_NUMBERS = [
    b"0",
    b"1",
    b"-1",
    b"7",
    b"255",
    b"65536",
    b"2147483648",
    b"4294967295",
    b"9223372036854775807",
    b"1e12",
    b"9" * 40,
    b"null",
]
_WORDS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
_SPECS = [
    "cka",
    "cka(estimator=unbiased)",
    "cka(kernel=rbf(fraction=0.4))",
    "simkit-similarity:cka",
    "cca(summary=rho)",
    "rsa(dissimilarity=euclidean, comparison='spearman')",
    "mutual_knn(k=10)",
    "procrustes(alpha=0.5, summary=distance)",
    "ridge_predictivity(alpha=[1.0, 2.0])",
    "cka(kernel=polynomial(degree=2, offset=-1e-3))",
]
_PIECES = [
    "(", ")", "=", ",", ":", "-", "*", "**{}", "#", "\n", "\\", "\0", "'", '"', "\ud800", "\u202e", "0x", "1_0", "1e999",
    "nan", "True", "None", "k=", "{1}", "{[]: 1}", "lambda: 0", "__import__('os')", "f'{1}'", "9" * 5000, "-" * 3000,
    "(" * 300, "x" * 10**5,
]  # fmt: skip


def _seeds(suffix: str) -> list[Parts]:
    found = []
    for path in sorted(CORPUS.glob(f"*{suffix}")):
        parts = (
            {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
            if path.is_dir()
            else {}
        )
        found.append(parts or {"": path.read_bytes()})
    return [parts for parts in found if sum(map(len, parts.values())) <= LARGEST and any(parts.values())]


def _members(content: bytes) -> Parts:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # one of the damaged ones
        return {}


def pack(parts: Parts) -> bytes:
    """An archive of some parts."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for name, data in parts.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


@st.composite
def inputs(draw: st.DrawFn, suffix: str) -> Parts:
    """A file, or the files of a folder, with some bytes changed; those of archives before or after packing."""
    seeds = _SEEDS.setdefault(suffix, _seeds(suffix))
    parts = dict(draw(st.sampled_from(seeds)))
    members = _members(parts[""]) if suffix in (".npz", ".pt") and draw(st.booleans()) else {}
    target = members or parts
    name = draw(st.sampled_from(sorted(target)))
    for operation in draw(st.lists(st.sampled_from(_OPERATIONS), min_size=1, max_size=4)):
        target[name] = operation(draw, target[name], draw(st.sampled_from(seeds)))
    if len(parts) > 1 and draw(st.integers(0, 9)) == 0:
        del parts[draw(st.sampled_from(sorted(parts)))]
    return {"": pack(members)} if members else parts


@st.composite
def specs(draw: st.DrawFn) -> str:
    """A spec with pieces put in, cut out or exchanged."""
    text = draw(st.sampled_from(_SPECS))
    for _ in range(draw(st.integers(1, 5))):
        begin, end = sorted(draw(st.integers(0, len(text))) for _ in range(2))
        piece = draw(st.sampled_from([*_PIECES, *_SPECS]) | st.text(max_size=5))
        text = text[:begin] + piece + text[begin if draw(st.booleans()) else end :]
    return text


_SEEDS: dict[str, list[Parts]] = {}


def _place(draw: st.DrawFn, data: bytes, size: int = 0) -> int:
    return draw(st.integers(0, max(0, len(data) - size)))


def _flip(draw: st.DrawFn, data: bytes, _: Parts) -> bytes:
    at = _place(draw, data, 1)
    return data[:at] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1]) + data[at + 1 :]


def _cut(draw: st.DrawFn, data: bytes, _: Parts) -> bytes:
    begin, end = _place(draw, data), _place(draw, data)
    return data[:begin] if draw(st.booleans()) else data[: min(begin, end)] + data[max(begin, end) :]


def _put(draw: st.DrawFn, data: bytes, _: Parts) -> bytes:
    at = _place(draw, data)
    return data[:at] + draw(st.binary(max_size=16)) + data[at:]


def _splice(draw: st.DrawFn, data: bytes, other: Parts) -> bytes:
    source = draw(st.sampled_from(sorted(other.values())))
    begin, at = _place(draw, source), _place(draw, data)
    piece = source[begin : begin + draw(st.integers(1, 256))]
    return data[:at] + piece + data[at + (len(piece) if draw(st.booleans()) else 0) :]


def _word(draw: st.DrawFn, data: bytes, _: Parts) -> bytes:
    form, word = draw(st.sampled_from(["<B", "<H", "<I", "<Q", ">I"])), draw(st.sampled_from(_WORDS))
    size = struct.calcsize(form)
    at = _place(draw, data, size)
    return data[:at] + struct.pack(form, word % 256**size) + data[at + size :]


def _number(draw: st.DrawFn, data: bytes, _: Parts) -> bytes:
    """Another number in the text of a header."""
    found = [match for match in re.finditer(rb"\d+", data) if match.start() < 4000]
    if not found:
        return data
    match = draw(st.sampled_from(found))
    return data[: match.start()] + draw(st.sampled_from(_NUMBERS)) + data[match.end() :]


_OPERATIONS = [_flip, _flip, _cut, _put, _splice, _word, _number, _number]
