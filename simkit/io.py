"""Activation files in, similarity matrices out.

Reading never unpickles: ``.npy`` and ``.npz`` without object arrays, ``.safetensors``, and ``.pt`` in PyTorch's weights-only
mode. Writing goes through `simkit.files.whole_file`: nothing is written over unasked, no half file is left.
"""

from __future__ import annotations

import csv
import json
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.files import whole_file
from simkit.matrix import SimilarityMatrix

__all__ = ["Activations", "check_writable", "read_activations", "write_matrix", "write_text"]


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


def read_activations(path: str | os.PathLike[str]) -> Activations:
    """Read activations from ``.npy``, ``.npz``, ``.safetensors``, ``.pt`` or ``.pth``.

    Raises
    ------
    FileNotFoundError
        No such file.
    InvalidArrayError
        The file is of another kind, damaged, empty, or holds pickled objects.
    ImportError
        The library for this kind of file is missing; the message says what to install.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidArrayError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'}; expected {', '.join(_READERS)}."
        )
    try:
        found = reader(path)
    except InvalidArrayError:
        raise
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        if "allow_pickle" in str(error) and "Object arrays" in str(error):
            raise InvalidArrayError(
                f"{path} holds pickled Python objects, which can run code when they are read. Save arrays of numbers "
                f"instead: numpy.savez({path.with_suffix('.npz').name!r}, **layers), or numpy.save for a single one."
            ) from None
        if "allow_pickle" in str(error):  # NumPy takes whatever does not begin as its own files do for a pickle
            raise InvalidArrayError(
                f"{path} does not begin as a {path.suffix} file does: damaged, or another kind of file under this name."
            ) from None
        raise InvalidArrayError(f"{path} cannot be read as {path.suffix}: {error}") from None
    if not isinstance(found, dict):
        return Activations({path.stem: found}, single=True)
    if not found:
        raise InvalidArrayError(f"{path} holds no arrays.")
    return Activations(found, single=False)


def _read_npy(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        import safetensors
    except ImportError:
        raise ImportError(f'{path} needs safetensors: pip install "simkit-similarity[cli]"') from None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: _tensor(file, name, path) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except safetensors.SafetensorError as error:
        raise InvalidArrayError(f"{path} cannot be read as .safetensors: {error}") from None


def _tensor(file: Any, name: str, path: Path) -> Any:
    try:
        return file.get_tensor(name)
    except TypeError:  # NumPy has no bfloat16
        try:
            import safetensors.torch
        except ImportError:
            raise ImportError(
                f'{path}: {name!r} is in bfloat16, which needs PyTorch: pip install "simkit-similarity[torch]"'
            ) from None
        return safetensors.torch.load_file(path)[name].float().numpy()


def _read_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ImportError(f'{path} needs PyTorch: pip install "simkit-similarity[torch]"') from None
    import pickle

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        raise InvalidArrayError(
            f"{path} is not a file of tensors only. Save a tensor or a dictionary of tensors with torch.save; other objects "
            "can run code when they are read."
        ) from None
    if isinstance(found, torch.Tensor):
        return found
    if isinstance(found, dict) and all(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(name): value for name, value in found.items()}
    raise InvalidArrayError(f"{path} holds a {type(found).__name__}; expected a tensor or a dictionary of tensors.")


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
}


def check_writable(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise before work starts if `write_matrix` would refuse `path`."""
    path = Path(path)
    if path.suffix.lower() not in _WRITERS:
        raise ValueError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; expected {', '.join(_WRITERS)}.")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; choose another name, or pass --force (force=True) to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; make it first.")


def write_matrix(matrix: SimilarityMatrix, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a matrix as ``.csv``, ``.json``, ``.npz`` or ``.png``, by the suffix of `path`.

    Raises
    ------
    ValueError
        Another suffix.
    FileExistsError
        The file exists and `force` is false.
    """
    check_writable(path, force=force)
    _WRITERS[Path(path).suffix.lower()](matrix, Path(path), force)


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
    """The matrix in terms of JSON; nan, which JSON does not have, becomes null."""
    values = [[float(value) if math.isfinite(value) else None for value in line] for line in matrix.to_numpy()]
    return {
        "index": matrix.index,
        "n": matrix.n,
        "rows": list(matrix.rows),
        "columns": list(matrix.columns),
        "values": values,
    }


def _write_csv(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    with whole_file(path, force=force) as temporary, _opened(temporary) as file:
        writer = csv.writer(file)
        writer.writerow(["", *matrix.columns])
        for name, line in zip(matrix.rows, matrix.to_numpy(), strict=True):
            writer.writerow([name, *(repr(float(value)) for value in line)])


def _write_json(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    with whole_file(path, force=force) as temporary:
        temporary.write_text(json.dumps(as_record(matrix), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _write_npz(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    matrix.save(path, force=force)


def _write_png(matrix: SimilarityMatrix, path: Path, force: bool) -> None:
    from simkit.plot import save_heatmap

    save_heatmap(matrix, path, force=force)


_WRITERS: dict[str, Callable[[SimilarityMatrix, Path, bool], None]] = {
    ".csv": _write_csv,
    ".json": _write_json,
    ".npz": _write_npz,
    ".png": _write_png,
}
