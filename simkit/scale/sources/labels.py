"""Labels of the examples of Parquet files, which are read at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.scale.sources.parquet import index_columns, open_file, parquet_files

__all__ = ["labelled", "read_labels"]


def labelled(x: Any, labels: Any) -> Any:
    """`x` with the labels of its examples, an index of pandas, as a coordinate; `x` itself if there are none."""
    if labels is None:
        return x
    import pandas as pd
    import xarray as xr

    coordinates = {"example": labels}
    if isinstance(labels, pd.MultiIndex):
        coordinates = xr.Coordinates.from_pandas_multiindex(labels.set_names([None] * labels.nlevels), "example")
    return xr.DataArray(x, dims=("example", "feature"), coords=coordinates)


def read_labels(path: Path, ids: str | Literal[False] | None) -> Any:
    """The labels of the examples as an index of pandas; None if there are none."""
    import pyarrow as pa

    if ids is False:
        return None
    files = parquet_files(path)
    schema = open_file(files[0]).schema_arrow
    names = [ids] if isinstance(ids, str) else index_columns(schema)
    if not names:
        return _stored_range(files)
    import pandas as pd

    table = pa.concat_tables([open_file(file).read(columns=names).select(names) for file in files])
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
    parts = []
    for file in files:
        stored = open_file(file)
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
