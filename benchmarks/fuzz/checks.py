"""What must hold of any input: a number that the format's own library reads too, or one error of simkit's own."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import simkit
from benchmarks.fuzz.inputs import Parts
from simkit.errors import SimkitError
from simkit.io import read_activations

__all__ = ["Finding", "check_file", "check_spec", "write"]

LARGEST = 10**6  # numbers of an array that is compared


class Finding(Exception):
    """What should not have happened."""


def check_spec(text: str) -> None:
    """An index whose written form is read as the same index, or an error of simkit's."""
    try:
        index = simkit.get_index(text)
    except SimkitError as error:
        if len(str(error)) > 2000:
            raise Finding(f"a message of {len(str(error))} characters") from None
        return
    except Exception as error:
        raise Finding(_in_words(error)) from error
    if simkit.get_index(str(index)) != index:
        raise Finding(f"{index} is read as another index")


def check_file(path: Path) -> None:
    """Numbers that agree with the library of the format and between both ways of reading, or errors of simkit's."""
    ways = {
        name: layers for name, way in (("whole", _whole), ("chunks", _chunks)) if (layers := _tried(way, path)) is not None
    }
    if not ways:
        return
    theirs = _LIBRARIES[path.suffix](path)
    for way, ours in ways.items():
        if theirs is None:
            raise Finding(f"read {way} where its own library refuses")
        for name, x in ours.items():
            expected = theirs.get(name, theirs.get("") if len(ours) == 1 else None)
            if expected is None:
                raise Finding(f"read {way}: {name!r}, which its own library does not know")
            if x.shape != expected.shape or not np.array_equal(x, expected.astype(x.dtype), equal_nan=x.dtype.kind in "fc"):
                raise Finding(f"read {way}: other numbers in {name!r} than its own library reads")


def _tried(way: Callable[[Path], dict[str, np.ndarray]], path: Path) -> dict[str, np.ndarray] | None:
    try:
        return way(path)
    except (SimkitError, FileNotFoundError) as error:
        if not str(error).isprintable() or len(str(error)) > 2000:
            raise Finding(f"{way.__name__}: a message that cannot be printed, or is too long: {error!r}") from None
        return None
    except Exception as error:
        raise Finding(f"{way.__name__}: {_in_words(error)}") from error


def _whole(path: Path) -> dict[str, np.ndarray]:
    layers = read_activations(path).layers
    return {name: _array(x) for name, x in layers.items() if np.prod(x.shape, dtype=float) <= LARGEST}


def _chunks(path: Path) -> dict[str, np.ndarray]:
    found = simkit.open_source(path, missing="ignore")
    layers = found if isinstance(found, dict) else {"": found}
    layers = {name: getattr(x, "data", x) for name, x in layers.items()}
    return {name: x.compute(scheduler="synchronous") for name, x in layers.items() if x.size <= LARGEST}


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.float() if str(x.dtype) == "torch.bfloat16" else x)


def _in_words(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}: {str(error)[:200]}"


# --- the libraries of the formats -----------------------------------------------------------------------------------------


def _numpy(path: Path) -> dict[str, np.ndarray]:
    found = np.load(path, allow_pickle=False)
    return {"": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files if name[-1:] != "/"}


def _safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors.torch

    found = safetensors.torch.load(path.read_bytes())
    return {
        name: x.float().numpy() if x.dtype.itemsize < 4 and x.is_floating_point() else x.numpy() for name, x in found.items()
    }


def _torch(path: Path) -> dict[str, np.ndarray]:
    import torch

    found = torch.load(path, map_location="cpu", weights_only=True)
    found = found if isinstance(found, dict) else {"": found}
    return {
        str(name): (x.float() if x.dtype.itemsize < 3 and x.is_floating_point() else x).numpy(force=True)
        for name, x in found.items()
    }


def _hdf5(path: Path) -> dict[str, np.ndarray]:
    import h5py

    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            if isinstance(file[name], h5py.Dataset) and file[name].ndim and file[name].size <= LARGEST:
                found[name] = file[name][()]
    return found


def _zarr(path: Path) -> dict[str, np.ndarray]:
    import zarr

    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        return {"": np.asarray(node[...])}
    return {
        name: np.asarray(x[...])
        for name, x in node.members(max_depth=None)
        if isinstance(x, zarr.Array) and x.size <= LARGEST
    }


def _parquet(path: Path) -> dict[str, np.ndarray]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(file) for file in (sorted(path.glob("*.parquet")) if path.is_dir() else [path])]
    schema = files[0].schema_arrow
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    lists = [field.name for field in schema if pa.types.is_nested(field.type)]
    names = lists or [name for name in schema.names if name not in index]
    table = pa.concat_tables(file.read(columns=names).select(names) for file in files)
    if lists:
        return {name: np.array(table[name].to_pylist()).reshape(len(table), -1) for name in lists}
    return {"": np.stack([table[name].to_numpy() for name in names], axis=1)}


def _quietly(read: Callable[[Path], dict[str, np.ndarray]]) -> Callable[[Path], dict[str, np.ndarray] | None]:
    def tried(path: Path) -> dict[str, np.ndarray] | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return read(path)
        except Exception:
            return None

    return tried


_LIBRARIES = {
    ".npy": _quietly(_numpy),
    ".npz": _quietly(_numpy),
    ".safetensors": _quietly(_safetensors),
    ".pt": _quietly(_torch),
    ".h5": _quietly(_hdf5),
    ".zarr": _quietly(_zarr),
    ".parquet": _quietly(_parquet),
}


def write(parts: Parts, path: Path) -> None:
    """Put a file or a folder at `path`, in the place of what was there."""
    shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    if "" in parts:
        path.write_bytes(parts[""])
        return
    for name, data in parts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
