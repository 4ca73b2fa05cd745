"""Activation files larger than memory, as Dask arrays.

A task holds the path of a file and the rows to read, never data: graphs stay small, and a worker of a cluster reads its part
itself, from a path that it must be able to see. Chunks are blocks of whole rows.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simkit.errors import InvalidArrayError

__all__ = ["SUFFIXES", "open_source"]

_CHUNK = 2**23  # bytes of a chunk, unless the number of rows is given

# safetensors' names of dtypes; NumPy has no bfloat16, whose bits are the upper half of a float32's
_SAFETENSORS = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "|b1",
    "BF16": "bfloat16",
}


def open_source(path: str | os.PathLike[str], *, chunks: int | None = None, ids: str | Literal[False] | None = None) -> Any:
    """Open a file of activations without reading it.

    Parameters
    ----------
    path : str or path
        ``.npy``, ``.zarr`` (an array, or a group of arrays), ``.h5`` or ``.hdf5``, ``.parquet`` (a file, or a folder of
        files in the order of their names) or ``.safetensors``. In Parquet, columns of lists of numbers are layers; if
        there are none, all columns of numbers together are one layer, but for those of the labels.
    chunks : int, optional
        Examples per chunk. Default: as many as make 8 MiB of a layer, in multiples of the chunks that are stored.
    ids : str or False, optional
        The column of a Parquet file that holds the labels of the examples, which are read at once. Default: the index of
        the data frame, if pandas wrote the file and the index was no default one. A column of a layer that is called like a
        label (id, index, ..._id) is an error then, not a feature in silence. False: there are no labels, and such a column
        is a feature; an index of pandas never is.

    Returns
    -------
    dask.array.Array, or dict of str to dask.array.Array
        One array, shape (n, ...), or all arrays of the file by name. With labels each is an xarray.DataArray of such an
        array, of dimensions "example" and "feature", and its coordinate "example" is checked by `simkit.compare` and
        `simkit.pairwise`.

    Raises
    ------
    FileNotFoundError
        No such file.
    InvalidArrayError
        The file is of another kind, damaged, empty, or holds pickled objects; `ids` is no column, or has missing values; or
        a column of a layer is called like a label.
    ImportError
        The library for this kind of file is missing; the message says what to install.
    """
    path = Path(path).resolve()
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file.")
    if chunks is not None and chunks < 1:
        raise ValueError(f"chunks={chunks}; expected a number of examples, at least 1.")
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        hint = " (a .npz or .pt file is read as a whole; save one .npy or .safetensors file instead)"
        raise InvalidArrayError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'} in chunks; expected {', '.join(SUFFIXES)}"
            f"{hint if path.suffix.lower() in ('.npz', '.pt', '.pth') else ''}."
        )
    try:
        import dask.array  # noqa: F401  (complain about its absence here)

        if opener is _open_parquet:
            found, labels = _open_parquet(path, ids), _parquet_labels(path, ids)
        elif ids:
            raise InvalidArrayError(
                f"{path}: ids={ids!r} names a column of a Parquet file. Give simkit.compare the labels of other arrays, "
                "ids=(ids of X, ids of Y)."
            )
        else:
            found, labels = opener(path), None
        if labels is not None:
            import xarray  # noqa: F401
    except ImportError as error:
        raise ImportError(f'{path} needs {error.name}: pip install "simkit-similarity[files]"') from None
    except InvalidArrayError:
        raise
    except (ValueError, OSError, KeyError, struct.error) as error:
        raise InvalidArrayError(f"{path} cannot be read as {path.suffix}: {error}") from None
    if isinstance(found, dict):
        if not found:
            raise InvalidArrayError(f"{path} holds no arrays.")
        return {name: _labelled(_dask(rows, chunks), labels) for name, rows in found.items()}
    return _labelled(_dask(found, chunks), labels)


def _labelled(x: Any, labels: Any) -> Any:
    """`x` with the labels of its examples, an index of pandas, as a coordinate."""
    if labels is None:
        return x
    import pandas as pd
    import xarray as xr

    coordinates = {"example": labels}
    if isinstance(labels, pd.MultiIndex):
        coordinates = xr.Coordinates.from_pandas_multiindex(labels.set_names([None] * labels.nlevels), "example")
    return xr.DataArray(x, dims=("example", "feature"), coords=coordinates)


def _dask(rows: _Rows, chunks: int | None) -> Any:
    import dask.array as da

    n, *rest = rows.shape
    per_row = max(1, math.prod(rest)) * rows.dtype.itemsize
    blocks = rows.blocks(max(1, _CHUNK // per_row)) if chunks is None else min(chunks, max(n, 1))
    return da.from_array(rows, chunks=(blocks, *rest), name=rows.key(chunks), asarray=False, inline_array=True)


@dataclass(frozen=True)
class _Rows:
    """Rows of an array in a file: what `dask.array.from_array` needs, and nothing that is hard to pickle.

    Attributes
    ----------
    path, name : str
        The file, and what the array is called in it.
    stamp : (int, int)
        Time of the last change in nanoseconds, and size: another file is another array.
    shape : tuple of int
    dtype : numpy.dtype
        Of the values that are returned.
    stored : int
        Rows that are stored together.
    """

    path: str
    name: str
    stamp: tuple[int, int]
    shape: tuple[int, ...]
    dtype: np.dtype
    stored: int = 1

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def key(self, chunks: int | None) -> str:
        """Deterministic: the same part of the same file is read once."""
        from dask.base import tokenize

        return f"{type(self).__name__.lstrip('_').lower()}-{tokenize(self.path, self.name, self.stamp, chunks)}"

    def blocks(self, size: int) -> int | tuple[int, ...]:
        """About `size` rows each: in multiples of what is stored together, which would otherwise be read again and again."""
        return min(max(self.stored, size // self.stored * self.stored), max(self.shape[0], 1))

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise IndexError("rows are read in order")
        return self.read(start, max(start, stop))[(slice(None), *rest)]

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        raise NotImplementedError


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


# --- plain bytes: .npy and .safetensors -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Raw(_Rows):
    """Rows that stand one after another in a file."""

    offset: int = 0
    stored_as: str = ""

    def read(self, start: int, stop: int) -> np.ndarray:
        brain = self.stored_as == "bfloat16"
        dtype = np.dtype("<u2" if brain else self.stored_as)
        width = math.prod(self.shape[1:])
        # Read, not mapped: mapped pages would count as memory of this process.
        values = np.fromfile(self.path, dtype, (stop - start) * width, offset=self.offset + start * width * dtype.itemsize)
        if values.size < (stop - start) * width:
            raise InvalidArrayError(f"{self.path} ends before row {stop} of {self.name or 'its array'}: it is cut off.")
        if brain:
            values = (values.astype("<u4") << 16).view("<f4")
        return values.reshape((stop - start, *self.shape[1:])).astype(self.dtype, copy=False)


@dataclass(frozen=True)
class _Mapped(_Rows):
    """A ``.npy`` file in Fortran order, whose rows are scattered."""

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.array(np.load(self.path, mmap_mode="r", allow_pickle=False)[start:stop])


def _open_npy(path: Path) -> _Rows:
    mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if mapped.ndim == 0:
        raise InvalidArrayError(f"{path} holds a single number.")
    stamp, dtype = _stamp(path), mapped.dtype.newbyteorder("=")
    if mapped.flags.c_contiguous:
        return _Raw(str(path), "", stamp, mapped.shape, dtype, offset=int(mapped.offset), stored_as=mapped.dtype.str)
    return _Mapped(str(path), "", stamp, mapped.shape, dtype)


def _open_safetensors(path: Path) -> dict[str, _Rows]:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise InvalidArrayError(f"{path} is no .safetensors file, or is cut off.")
        header = json.loads(file.read(length))
    found: dict[str, _Rows] = {}
    for name, entry in header.items():
        if name == "__metadata__" or not entry["shape"]:
            continue
        stored = _SAFETENSORS.get(entry["dtype"])
        if stored is None:
            raise InvalidArrayError(f"{path}: {name!r} has dtype {entry['dtype']}; expected {', '.join(_SAFETENSORS)}.")
        dtype = np.dtype("f4") if stored == "bfloat16" else np.dtype(stored).newbyteorder("=")
        offset = 8 + length + entry["data_offsets"][0]
        found[name] = _Raw(str(path), name, _stamp(path), tuple(entry["shape"]), dtype, offset=offset, stored_as=stored)
    return found


# --- HDF5 and Zarr --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _HDF5(_Rows):
    def read(self, start: int, stop: int) -> np.ndarray:
        import h5py

        with h5py.File(self.path, "r") as file:
            return file[self.name][start:stop]


def _open_hdf5(path: Path) -> dict[str, _Rows]:
    import h5py

    found: dict[str, _Rows] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim:
            stored = item.chunks[0] if item.chunks else 1
            found[name] = _HDF5(str(path), name, _stamp(path), item.shape, item.dtype, stored)

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


@dataclass(frozen=True)
class _Zarr(_Rows):
    def read(self, start: int, stop: int) -> np.ndarray:
        import zarr

        return np.asarray(zarr.open_array(self.path, path=self.name or None, mode="r")[start:stop])


def _open_zarr(path: Path) -> _Rows | dict[str, _Rows]:
    import zarr

    def rows(name: str, array: Any) -> _Rows:
        stored = (getattr(array, "shards", None) or array.chunks)[0]
        return _Zarr(str(path), name, _stamp(path), array.shape, array.dtype, stored)

    node = zarr.open(str(path), mode="r")
    if isinstance(node, zarr.Array):
        return rows("", node)
    return {name: rows(name, node[name]) for name in sorted(_arrays(node)) if node[name].ndim}


def _arrays(group: Any, prefix: str = "") -> list[str]:
    names = [f"{prefix}{name}" for name in group.array_keys()]
    for name in group.group_keys():
        names += _arrays(group[name], f"{prefix}{name}/")
    return names


# --- Parquet --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parquet(_Rows):
    """Rows of some columns; `ends` are the ends of the row groups of all files, as (file, group, last row)."""

    ends: tuple[tuple[str, int, int], ...] = ()
    columns: tuple[str, ...] = ()

    def read(self, start: int, stop: int) -> np.ndarray:
        import pyarrow.parquet as pq

        parts, before = [np.empty((0, *self.shape[1:]), self.dtype)], 0
        for file, group, end in self.ends:
            if before < stop and end > start:
                table = pq.ParquetFile(file).read_row_group(group, columns=list(self.columns))
                table = table.slice(max(start - before, 0), min(stop, end) - max(start, before))
                parts.append(self._values(table))
            before = end
        return np.concatenate(parts)

    def blocks(self, size: int) -> int | tuple[int, ...]:
        """Whole row groups."""
        blocks, before, start = [], 0, 0
        for _, _, end in self.ends:
            if end - start > size and before > start:
                blocks.append(before - start)
                start = before
            before = end
        return (*blocks, before - start)

    def _values(self, table: Any) -> np.ndarray:
        if not self.name:
            return np.stack([self._plain(table.column(name), name) for name in self.columns], axis=1).astype(self.dtype)
        column = table.column(self.name).combine_chunks()
        flat = self._plain(column.flatten(), self.name)
        if flat.size != len(column) * self.shape[1]:
            raise InvalidArrayError(f"{self.path}: the lists of column {self.name!r} are not all of length {self.shape[1]}.")
        return flat.reshape(len(column), self.shape[1])

    def _plain(self, column: Any, name: str) -> np.ndarray:
        if column.null_count:
            raise InvalidArrayError(f"{self.path}: column {name!r} has {column.null_count} missing values.")
        return column.to_numpy(zero_copy_only=False) if hasattr(column, "buffers") else column.to_numpy()


def _parquet_files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InvalidArrayError(f"{path} is a folder without .parquet files.")
    return files


def _open_parquet(path: Path, ids: str | bool | None = None) -> _Rows | dict[str, _Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = _parquet_files(path)
    ends: list[tuple[str, int, int]] = []
    n = 0
    for file in files:
        metadata = pq.ParquetFile(file).metadata
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            n += rows
            ends.append((str(file), group, n))
    schema = pq.ParquetFile(files[0]).schema_arrow
    stamp = (max(_stamp(file)[0] for file in files), sum(_stamp(file)[1] for file in files))
    columns = [f for f in schema if f.name != ids and f.name not in _index_columns(schema)]
    if isinstance(ids, str) and ids not in schema.names:
        raise InvalidArrayError(f"{path} has no column ids={ids!r}; its columns are {_some(schema.names)}.")
    lists = [f for f in columns if pa.types.is_list(f.type) or pa.types.is_fixed_size_list(f.type)]
    if not lists:
        odd = [f.name for f in columns if not (pa.types.is_integer(f.type) or pa.types.is_floating(f.type))]
        if odd:
            raise InvalidArrayError(
                f"{path}: the columns {_some(odd)} do not hold numbers; write a file without them"
                + (f", or, if {odd[0]!r} holds the labels of the examples, open it with ids={odd[0]!r}." if not ids else ".")
            )
        names = tuple(f.name for f in columns)
        if not names:
            raise InvalidArrayError(f"{path} has no column that is a feature; its columns are {_some(schema.names)}.")
        alike = [name for name in names if _LIKE_A_LABEL.fullmatch(name)] if ids is None else []
        if alike:
            raise InvalidArrayError(
                f"{path}: the column {alike[0]!r} is called like a label and would be one feature of {len(names)}. Open the "
                f"file with ids={alike[0]!r} (--ids {alike[0]!r}) if it holds the labels of the examples, or with ids=False "
                "(--no-ids) if it is a feature."
            )
        dtype = np.result_type(*(f.type.to_pandas_dtype() for f in columns))
        return _Parquet(str(path), "", stamp, (n, len(names)), np.dtype(dtype), 1, tuple(ends), names)
    found: dict[str, _Rows] = {}
    for f in lists:
        width = f.type.list_size if pa.types.is_fixed_size_list(f.type) else _length_of_first(files[0], f.name)
        dtype = np.dtype(f.type.value_type.to_pandas_dtype())
        found[f.name] = _Parquet(str(path), f.name, stamp, (n, width), dtype, 1, tuple(ends), (f.name,))
    return found


_LIKE_A_LABEL = re.compile(r"(.*_)?ids?|idx|index|uu?id|__index_level_\d+__|unnamed: 0", re.IGNORECASE)


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _index_columns(schema: Any) -> list[str]:
    """The columns in which pandas stored the index of a data frame."""
    named = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in named if isinstance(name, str) and name in schema.names]


def _parquet_labels(path: Path, ids: str | bool | None) -> Any:
    """The labels of the examples as an index of pandas; None if there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if ids is False:
        return None
    files = _parquet_files(path)
    schema = pq.ParquetFile(files[0]).schema_arrow
    names = [ids] if isinstance(ids, str) else _index_columns(schema)
    if not names:
        return _stored_range(files)
    import pandas as pd

    table = pa.concat_tables([pq.ParquetFile(file).read(columns=names).select(names) for file in files])
    if isinstance(ids, str):
        if pa.types.is_nested(table.schema.field(ids).type):
            raise InvalidArrayError(f"{path}: the column ids={ids!r} holds lists; expected one label for each example.")
        if table.column(ids).null_count:
            raise InvalidArrayError(f"{path}: the column ids={ids!r} has {table.column(ids).null_count} missing values.")
    levels = [table.column(name).to_pandas() for name in names]
    # xarray would take the name of an index for that of a dimension.
    return pd.Index(levels[0]).rename(None) if len(levels) == 1 else pd.MultiIndex.from_arrays(levels)


def _stored_range(files: list[Path]) -> Any:
    """The index of a data frame of which pandas stored only where it begins and ends; None for a default one."""
    import pyarrow.parquet as pq

    parts = []
    for file in files:
        stored = pq.ParquetFile(file)
        index = (stored.schema_arrow.pandas_metadata or {}).get("index_columns", [])
        if len(index) != 1 or not isinstance(index[0], dict) or index[0].get("kind") != "range":
            return None
        part = range(index[0]["start"], index[0]["stop"], index[0]["step"])
        if len(part) != stored.metadata.num_rows:  # rows were dropped since, by a library that kept the note
            return None
        parts.append(part)
    if all(part == range(len(part)) for part in parts):  # each file a frame of its own
        return None
    import pandas as pd

    joined = np.concatenate([np.arange(part.start, part.stop, part.step) for part in parts])
    return None if np.array_equal(joined, np.arange(len(joined))) else pd.Index(joined)


def _length_of_first(file: Path, column: str) -> int:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(batch_size=1, columns=[column]):
        return len(batch.column(0)[0])
    return 0


_OPENERS: dict[str, Callable[[Path], _Rows | dict[str, _Rows]]] = {
    ".npy": _open_npy,
    ".zarr": _open_zarr,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".parquet": _open_parquet,
    ".safetensors": _open_safetensors,
}
SUFFIXES = tuple(_OPENERS)
