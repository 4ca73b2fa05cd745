"""All pairs of layers, labelled."""

from __future__ import annotations

import html
import operator
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.arrays import Array, to_numpy
from simkit.checkpoint import Format
from simkit.errors import InvalidArrayError
from simkit.fields import text_array
from simkit.text import printable, shortened

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

__all__ = ["SimilarityMatrix"]

_FORMAT = Format("simkit_matrix", version=2, signed=2, what="SimilarityMatrix", remedy="Compute the matrix again.")


@dataclass(frozen=True, eq=False)
class SimilarityMatrix:
    """Similarities of the layers of A (rows) and of B (columns).

    Attributes
    ----------
    values : array, shape (len(rows), len(columns))
        In the namespace and on the device of the layers.
    rows, columns : tuple of str
        Names of the layers.
    index : str
        Spec of the similarity index.
    n : int
        Number of examples.
    """

    values: Array
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    index: str
    n: int

    def __post_init__(self) -> None:
        if tuple(self.values.shape) != (len(self.rows), len(self.columns)):
            raise InvalidArrayError(
                f"values has shape {tuple(self.values.shape)}, but there are {len(self.rows)} rows "
                f"and {len(self.columns)} columns."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.rows), len(self.columns)

    def __getitem__(self, key: tuple[str | int, str | int]) -> Array:
        """The similarity of two layers, each by name or position: ``matrix["conv1", "conv3"]``."""
        i, j = (
            _position(k, names, what) if isinstance(k, str) else operator.index(k)
            for k, names, what in zip(key, (self.rows, self.columns), ("row", "column"), strict=True)
        )
        return self.values[i, j]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """For ``numpy.asarray(matrix)``."""
        return np.array(self.to_numpy(), dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        n, m = self.shape
        return f"<SimilarityMatrix {n} x {m}, {printable(self.index)}, n = {self.n}>"

    def to_numpy(self) -> np.ndarray:
        """Values as a NumPy array on the host, shape (rows, columns)."""
        return to_numpy(self.values)

    def to_pandas(self) -> pandas.DataFrame:
        """Values as a labelled DataFrame; its ``attrs`` hold the spec and n."""
        import pandas

        frame = pandas.DataFrame(self.to_numpy(), index=list(self.rows), columns=list(self.columns))
        frame.attrs.update(index=self.index, n=self.n)
        return frame

    def to_xarray(self) -> xarray.DataArray:
        """Values as a DataArray with dimensions ``row`` and ``column``; its ``attrs`` hold the spec and n."""
        import xarray

        return xarray.DataArray(
            self.to_numpy(),
            dims=("row", "column"),
            coords={"row": list(self.rows), "column": list(self.columns)},
            name="similarity",
            attrs={"index": self.index, "n": self.n},
        )

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the heatmap with matplotlib; see `simkit.plot.heatmap`."""
        from simkit.plot import heatmap

        return heatmap(self, ax=ax, **options)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write an ``.npz`` file of plain arrays, readable without pickle.

        Raises
        ------
        FileExistsError
            The file exists and `force` is false.
        ValueError
            The name does not end in ``.npz``.
        """
        if not os.fspath(path).endswith(".npz"):
            raise ValueError(
                f"A SimilarityMatrix is saved as .npz; got {os.fspath(path)!r}. simkit.io.write_matrix(matrix, path) also "
                "writes .csv, .json and .png."
            )
        arrays = {
            "values": self.to_numpy(),
            "rows": text_array(self.rows),
            "columns": text_array(self.columns),
            "index": np.array(self.index),
            "n": np.array(self.n),
        }
        _FORMAT.write(path, arrays, compress=True, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SimilarityMatrix:
        """Read what `save` wrote, with NumPy values.

        Raises
        ------
        CheckpointError
            The file is not a saved SimilarityMatrix, is damaged, or is of a newer format.
        """
        version, fields = _FORMAT.read(path)
        rows, columns = fields.texts("rows"), fields.texts("columns")
        matrix = cls(
            values=fields.reals("values", (len(rows), len(columns)), "fiu"),
            rows=rows,
            columns=columns,
            index=fields.text("index"),
            n=fields.whole("n"),
        )
        if version >= _FORMAT.signed:
            fields.finish()
        return matrix

    def _repr_html_(self) -> str:
        values = self.to_numpy()
        head = "".join(f"<th>{_html(name)}</th>" for name in self.columns)
        body = "".join(
            f"<tr><th>{_html(name)}</th>{''.join(_cell(value) for value in line)}</tr>"
            for name, line in zip(self.rows, values, strict=True)
        )
        caption = f"{_html(self.index)}, n = {self.n}"
        return f"<table><caption>{caption}</caption><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>"


def _position(name: str, names: tuple[str, ...], what: str) -> int:
    if name not in names:
        raise KeyError(f"no {what} is called {name!r}; they are {', '.join(names)}")
    return names.index(name)


def _html(name: str) -> str:
    return html.escape(printable(shortened(name)))


def _cell(value: float) -> str:
    if not np.isfinite(value):
        return f"<td>{value}</td>"
    share = float(np.clip(value, 0, 1))  # a sequential scale for [0, 1]; dark cells get light text
    ink = "#fff" if share > 0.6 else "#000"
    return f'<td style="background: rgba(68, 1, 84, {share:.2f}); color: {ink}">{value:.3f}</td>'
