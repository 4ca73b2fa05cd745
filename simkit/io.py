"""Activation files in, similarity matrices out.

Reading never unpickles, and checks what a file declares before it reads a number; how is in `simkit.formats`. Writing goes
through `simkit.files.whole_file`: nothing is written over unasked, no half file is left.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from simkit.arrays import to_numpy
from simkit.errors import InvalidArrayError
from simkit.features.stored import open_activations
from simkit.files import check_target, whole_file
from simkit.formats.damage import reading
from simkit.formats.manifest import LAYOUTS, read_manifest
from simkit.formats.npy import whole_header
from simkit.formats.npz import read_npz
from simkit.formats.numbers import dtype_of
from simkit.formats.paths import check_file, status
from simkit.formats.room import check_room
from simkit.formats.safetensors import read_blocks
from simkit.formats.torch_file import read_torch
from simkit.matrix import SimilarityMatrix
from simkit.scale.sources.store import DescribedLayers
from simkit.text import printable

__all__ = ["READABLE", "WRITABLE", "Activations", "check_writable", "read_activations", "write_matrix", "write_text"]


@dataclass(frozen=True)
class Activations:
    """What a file holds: named layers in the order of the file.

    Attributes
    ----------
    layers : dict of str to array
        A file of one nameless array has a single layer called by the file's name.
    single : bool
        The file holds one nameless array.
    """

    layers: dict[str, Any]
    single: bool


def read_activations(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> Activations:
    """Read activations from ``.npy``, ``.npz``, ``.safetensors``, ``.pt`` or ``.pth``, or from a store of `simkit.features`.

    Parameters
    ----------
    path : str or path
        In .pt and .safetensors, float8 is read as float32, and so is bfloat16 in .safetensors.
    max_bytes : int, optional
        Refuse a file that declares larger arrays than this, before they are read. Default: the memory that is available; or
        1 GiB, for a compressed file that declares more than a hundred times its size.

    Raises
    ------
    FileNotFoundError
        No such file.
    InvalidArrayError
        The file is of another kind, damaged, empty, a pipe or a device; it holds pickled objects, two arrays of one name, or
        tensors that are no dense arrays of numbers; a store is not finished.
    TooLargeError
        It declares more than `max_bytes`.
    ImportError
        The library for this kind of file is missing; the message says what to install.
    """
    path = Path(path)
    status(path)
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"max_bytes={max_bytes}; expected a number of bytes, at least 1.")
    if path.is_dir() and path.suffix.lower() in LAYOUTS and read_manifest(path) is not None:
        stored = open_activations(path)
        check_room(path, stored.nbytes, max_bytes, chunked=True)
        return Activations(DescribedLayers(dict(stored), stored.details), single=False)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidArrayError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'}; expected {', '.join(_READERS)}."
        )
    check_file(path)
    with reading(f"{path} cannot be read as {path.suffix}"):
        found = reader(path, max_bytes)
    if not isinstance(found, dict):
        return Activations({path.stem: found}, single=True)
    if not found:
        raise InvalidArrayError(f"{path} holds no arrays.")
    return Activations(found, single=False)


def _read_npy(path: Path, max_bytes: int | None) -> Any:
    check_room(path, whole_header(path).nbytes, max_bytes, chunked=True)
    return np.load(path, allow_pickle=False)


def _read_safetensors(path: Path, max_bytes: int | None) -> dict[str, Any]:
    blocks = read_blocks(path)
    needed = sum(math.prod(block.shape) * dtype_of(block.stored).itemsize for block in blocks.values())
    check_room(path, needed, max_bytes, chunked=True)
    return {name: block.read(path) for name, block in blocks.items()}


_READERS: dict[str, Callable[[Path, int | None], Any]] = {
    ".npy": _read_npy,
    ".npz": read_npz,
    ".safetensors": _read_safetensors,
    ".pt": read_torch,
    ".pth": read_torch,
}
READABLE = tuple(_READERS)  # suffixes of what `read_activations` reads


def check_writable(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise before work starts if `write_matrix` would refuse `path`."""
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        kind = path.suffix or "a file without suffix"
        raise ValueError(printable(f"{path}: cannot write {kind}; expected {', '.join(_WRITERS)}."))
    check_target(path, force=force)


def write_matrix(matrix: SimilarityMatrix, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a matrix as ``.csv``, ``.json`` or ``.npz``, or its heatmap as ``.png``, ``.pdf`` or ``.svg``, by the suffix.

    The same matrix gives the same file, byte by byte, with the same versions of libraries: pictures hold no date. Text of an
    .svg is text, which can be searched and edited; that of a .pdf is drawn in fonts that it holds.

    Raises
    ------
    ValueError
        Another suffix.
    FileExistsError
        The file exists and `force` is false.
    """
    check_writable(path, force=force)
    _WRITERS[Path(path).suffix.lower()](matrix.compute(), Path(path), force)  # lazy scores and chance at once


def _opened(path: Path) -> TextIO:
    """A text file that takes every name: half characters, which no encoding has, as visible escapes."""
    return path.open("w", newline="", encoding="utf-8", errors="backslashreplace")


def write_text(path: str | os.PathLike[str], records: Any, *, force: bool = False) -> None:
    """Write what an analysis found as ``.json``, or records that are dictionaries of numbers as ``.csv``.

    Raises
    ------
    FileExistsError
        The file exists and `force` is false.
    """
    path = Path(path)
    with whole_file(path, force=force) as temporary, _opened(temporary) as file:
        if path.suffix.lower() == ".csv":
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
        else:
            file.write(json.dumps(records, indent=1, allow_nan=False) + "\n")


def as_record(matrix: SimilarityMatrix) -> dict[str, Any]:
    """The matrix in terms of JSON; nan, which JSON does not have, becomes null.

    ``"chance"`` and ``"details"`` are there if the matrix has them.
    """
    matrix = matrix.compute()
    record = {
        "index": matrix.index,
        "n": matrix.n,
        "rows": list(matrix.rows),
        "columns": list(matrix.columns),
        "values": _numbers(matrix.to_numpy()),
    }
    if matrix.chance is not None:
        record["chance"] = _numbers(to_numpy(matrix.chance))
    if matrix.details:
        record["details"] = dict(matrix.details)
    return record


def _numbers(values: np.ndarray) -> list[list[float | None]]:
    return [[float(value) if math.isfinite(value) else None for value in line] for line in values]


def _write_csv(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    with whole_file(path, force=force) as temporary, _opened(temporary) as file:
        writer = csv.writer(file)
        writer.writerow(["", *matrix.columns])
        for name, line in zip(matrix.rows, matrix.to_numpy(), strict=True):
            writer.writerow([name, *(repr(float(value)) for value in line)])


def _write_json(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    write_text(path, as_record(matrix), force=force)


def _write_npz(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    matrix.save(path, force=force)


def _write_picture(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    from simkit.plot import save_heatmap

    save_heatmap(matrix, path, force=force)


_WRITERS: dict[str, Callable[[SimilarityMatrix, Path, bool], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".npz": _write_npz,
    ".png": _write_picture,
    ".pdf": _write_picture,
    ".svg": _write_picture,
}
WRITABLE = tuple(_WRITERS)  # suffixes of what `write_matrix` writes
