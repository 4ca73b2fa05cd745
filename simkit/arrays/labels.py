"""Labels of examples, as pandas and xarray objects carry them; the two are recognised without being imported."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

__all__ = ["Labels", "labels_of", "relabelled"]


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of the examples of one array.

    Attributes
    ----------
    values : array, shape (n,)
        NumPy; of any dtype.
    name : str
        How messages call what carries them.
    kind : {"pandas", "xarray", "coordinate", "ids"}
        An index of pandas, one of xarray, a coordinate of xarray without an index, or ids given by the user.
    dim : hashable, optional
        xarray's name of the first dimension.
    default : bool
        pandas' index where none was given, 0 to n - 1. It says which row was which only beside a shuffle of itself.
    drop : str
        The expression without labels.
    """

    values: np.ndarray
    name: str
    kind: Literal["pandas", "xarray", "coordinate", "ids"]
    dim: Any = None
    default: bool = False
    drop: str = ""

    @property
    def index(self) -> str:
        """The expression for the labels."""
        return {
            "pandas": f"{self.name}.index",
            "xarray": f"{self.name}.indexes[{self.dim!r}]",
            "coordinate": f"{self.name}[{self.dim!r}].values",
            "ids": self.name,
        }[self.kind]

    @property
    def can_select(self) -> bool:
        """Whether examples can be picked by their labels."""
        return self.kind in ("pandas", "xarray")

    def at(self, labels: str) -> str:
        """The expression for the examples with some labels."""
        return f"{self.name}.loc[{labels}]" if self.kind == "pandas" else f"{self.name}.sel({{{self.dim!r}: {labels}}})"


def labels_of(x: Any, name: str = "X") -> Labels | None:
    """The labels of the first dimension of a pandas or xarray object; None for everything else and where there are none."""
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    if pandas is not None and isinstance(x, pandas.DataFrame | pandas.Series):
        index = x.index
        default = isinstance(index, pandas.RangeIndex) and (index.start, index.step) == (0, 1)
        plain = all(isinstance(dtype, np.dtype) for dtype in (x.dtypes if x.ndim > 1 else [x.dtype]))
        drop = f"{name}.to_numpy({'' if plain else 'dtype=float'})"
        return Labels(index.to_numpy(), name, "pandas", default=default, drop=drop)
    if xarray is not None and isinstance(x, xarray.DataArray) and x.ndim and x.dims[0] in x.coords:
        dim = x.dims[0]
        index = x.indexes.get(dim)
        values, kind = (x.coords[dim].values, "coordinate") if index is None else (index.to_numpy(), "xarray")
        return Labels(values, name, kind, dim=dim, drop=f"{name}.data")  # type: ignore[arg-type]
    return None


def relabelled(x: Any, matrix: Any, *, positions: int | None = None, rows: np.ndarray | None = None) -> Any:
    """A matrix made of `x`, with the labels of the examples that `x` carries; `matrix` itself of what can carry none.

    Parameters
    ----------
    x : array, shape (n, ...)
        As it was given.
    matrix : array, shape (n, p) or (n * positions, p)
    positions : int, optional
        Each of so many positions of each example is an example: its label is that of the example and the position.
    rows : array, optional
        The numbers of those examples that `matrix` holds, if not all.
    """
    pandas, xarray = sys.modules.get("pandas"), sys.modules.get("xarray")
    if pandas is None:
        return matrix
    if isinstance(x, pandas.DataFrame):
        return pandas.DataFrame(matrix, index=x.index)
    if xarray is None or not isinstance(x, xarray.DataArray):
        return matrix
    dim = x.dims[0]
    coordinates = x.isel(dict.fromkeys(x.dims[1:], 0), drop=True).coords
    if positions is not None and dim not in coordinates:
        coordinates = {}
    elif positions is not None:
        index = x.indexes[dim] if dim in x.indexes else pandas.Index(x.coords[dim].values)
        rows = np.arange(len(index) * positions) if rows is None else rows
        levels = {
            (f"{dim}_label" if index.nlevels == 1 else str(name)): index.get_level_values(level)[rows // positions]
            for level, name in enumerate(index.names)
        } | {f"{dim}_position": rows % positions}
        multiple = pandas.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
        coordinates = xarray.Coordinates.from_pandas_multiindex(multiple, dim)
    features = "features" if dim != "features" else "units"
    return xarray.DataArray(matrix, dims=(dim, features), coords=coordinates, name=x.name)
