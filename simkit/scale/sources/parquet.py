"""Parquet: columns of lists as layers, or columns of numbers as the features of one layer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.paths import check_file
from simkit.scale.sources.rows import Rows, Stamp, check_stamp, stamp_of

__all__ = ["check_parquet", "index_columns", "open_file", "open_parquet", "parquet_files"]

_LIKE_A_LABEL = re.compile(r"(.*_)?ids?|idx|index|uu?id|__index_level_\d+__|unnamed: 0", re.IGNORECASE)


@dataclass(frozen=True)
class RowGroup:
    """Rows that are stored together: the file and its stamp, which group of it, and the number of rows up to its end."""

    file: str
    stamp: Stamp
    group: int
    end: int


@dataclass(frozen=True)
class Parquet(Rows):
    """Rows of some columns of all row groups of all files."""

    groups: tuple[RowGroup, ...] = ()
    columns: tuple[str, ...] = ()

    def check_unchanged(self, start: int, stop: int) -> None:
        """Raise if a file that holds some of these rows is another one than that which was opened."""
        for file, stamp in {group.file: group.stamp for group, _ in self._groups(start, stop)}.items():
            check_stamp(Path(file), stamp)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        parts = [np.empty((0, *self.shape[1:]), self.dtype)]
        for group, begin in self._groups(start, stop):
            table = open_file(Path(group.file)).read_row_group(group.group, columns=list(self.columns))
            if len(table) != group.end - begin:
                raise InvalidArrayError(f"{group.file}: row group {group.group} has not the rows that the file declares.")
            parts.append(self._values(table.slice(max(start - begin, 0), min(stop, group.end) - max(start, begin))))
        return np.concatenate(parts)

    def _groups(self, start: int, stop: int) -> Iterator[tuple[RowGroup, int]]:
        """The row groups that hold some of these rows, each with its first row."""
        begin = 0
        for group in self.groups:
            if begin < stop and group.end > start:
                yield group, begin
            begin = group.end

    def blocks(self, size: int) -> int | tuple[int, ...]:
        """Whole row groups."""
        blocks, before, start = [], 0, 0
        for group in self.groups:
            if group.end - start > size and before > start:
                blocks.append(before - start)
                start = before
            before = group.end
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


def check_parquet(path: Path) -> None:
    """Raise unless `path` is a file, or a folder of files, that can be read."""
    for file in parquet_files(path):
        check_file(file)


def parquet_files(path: Path) -> list[Path]:
    """The file, or those of the folder in the order of their names."""
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InvalidArrayError(f"{path} is a folder without .parquet files.")
    return files


def open_file(path: Path) -> Any:
    """A file of pyarrow's that looks at the checksums of pages, if there are any."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, page_checksum_verification=True)


def open_parquet(path: Path, ids: str | Literal[False] | None) -> Rows | dict[str, Rows]:
    """The layers of a file or a folder of files."""
    files = {file: open_file(file) for file in parquet_files(path)}
    schema = next(iter(files.values())).schema_arrow
    if isinstance(ids, str) and ids not in schema.names:
        raise InvalidArrayError(f"{path} has no column ids={ids!r}; its columns are {_some(schema.names)}.")
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise InvalidArrayError(f"{path} has two columns called {twice!r}; give each a name of its own.")
    _check_alike(files)
    groups = _row_groups(files)
    columns = [field for field in schema if field.name != ids and field.name not in index_columns(schema)]
    lists = [field for field in columns if _is_list(field.type)]
    if lists:
        return {field.name: _layer_of_lists(path, field, files, groups) for field in lists}
    return _layer_of_columns(path, columns, schema, ids, groups)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _check_alike(files: dict[Path, Any]) -> None:
    """Raise unless all files have the same columns of the same types, in whatever order."""
    (first, reference), *others = ((file, {f.name: f.type for f in found.schema_arrow}) for file, found in files.items())
    for file, columns in others:
        for name in dict.fromkeys([*reference, *columns]):
            ours, theirs = reference.get(name, "absent"), columns.get(name, "absent")
            if ours != theirs:
                raise InvalidArrayError(
                    f"{file}: the column {name!r} is {theirs}, but {ours} in {first.name}; write all files with the same "
                    "columns."
                )


def _row_groups(files: dict[Path, Any]) -> tuple[RowGroup, ...]:
    found: list[RowGroup] = []
    n = 0
    for file, opened in files.items():
        stamp = stamp_of(file)
        for group in range(opened.metadata.num_row_groups):
            declared = opened.metadata.row_group(group)
            if declared.num_rows < 0:
                raise InvalidArrayError(f"{file}: row group {group} declares {declared.num_rows} rows: the file is damaged.")
            n += declared.num_rows
            found.append(RowGroup(str(file), stamp, group, n))
    return tuple(found)


def _layer_of_columns(
    path: Path, columns: list[Any], schema: Any, ids: str | Literal[False] | None, groups: tuple[RowGroup, ...]
) -> Rows:
    """The one layer that has these columns as its features."""
    odd = [field.name for field in columns if not _is_number(field.type)]
    if odd:
        raise InvalidArrayError(
            f"{path}: the columns {_some(odd)} do not hold numbers; write a file without them"
            + (f", or, if {odd[0]!r} holds the labels of the examples, open it with ids={odd[0]!r}." if not ids else ".")
        )
    names = tuple(field.name for field in columns)
    if not names:
        raise InvalidArrayError(f"{path} has no column that is a feature; its columns are {_some(schema.names)}.")
    alike = [name for name in names if _LIKE_A_LABEL.fullmatch(name)] if ids is None else []
    if alike:
        raise InvalidArrayError(
            f"{path}: the column {alike[0]!r} is called like a label and would be one feature of {len(names)}. Open the "
            f"file with ids={alike[0]!r} (--ids {alike[0]!r}) if it holds the labels of the examples, or with ids=False "
            "(--no-ids) if it is a feature."
        )
    dtype = np.result_type(*(field.type.to_pandas_dtype() for field in columns))
    return _layer(path, "", len(names), dtype, groups, names)


def _layer_of_lists(path: Path, field: Any, files: dict[Path, Any], groups: tuple[RowGroup, ...]) -> Rows:
    """The layer whose examples are the lists of a column."""
    if not _is_number(field.type.value_type):
        raise InvalidArrayError(
            f"{path}: the lists of column {field.name!r} hold {field.type.value_type}; expected numbers. Write a file "
            "without that column."
        )
    widths = {file: _width(file, opened, field) for file, opened in files.items() if opened.metadata.num_rows}
    if len(set(widths.values())) > 1:
        some = ", ".join(f"{width} in {file.name}" for file, width in list(widths.items())[:10])
        raise InvalidArrayError(f"{path}: the lists of column {field.name!r} differ in length: {some}.")
    dtype = field.type.value_type.to_pandas_dtype()
    return _layer(path, field.name, next(iter(widths.values()), 0), dtype, groups, (field.name,))


def _layer(  # noqa: PLR0917
    path: Path, name: str, width: int, dtype: Any, groups: tuple[RowGroup, ...], columns: tuple[str, ...]
) -> Rows:
    """Some columns of all row groups; its stamp is the latest time and the size of all files."""
    ends = [0, *(group.end for group in groups)]
    largest = max((end - begin for begin, end in pairwise(ends)), default=1)
    stamps = {group.file: group.stamp for group in groups}.values()
    stamp = max((time for time, _ in stamps), default=0), sum(size for _, size in stamps)
    return Parquet(str(path), name, stamp, (ends[-1], width), np.dtype(dtype), largest, groups, columns)


def _width(file: Path, opened: Any, field: Any) -> int:
    """The length of the first list."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(field.type):
        return field.type.list_size
    for batch in opened.iter_batches(batch_size=1, columns=[field.name]):
        if batch.column(0).null_count:
            raise InvalidArrayError(f"{file}: column {field.name!r} has missing values.")
        return len(batch.column(0)[0])
    return 0


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def index_columns(schema: Any) -> list[str]:
    """The columns in which pandas stored the index of a data frame."""
    named = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in named if isinstance(name, str) and name in schema.names]
