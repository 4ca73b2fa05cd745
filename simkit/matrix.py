"""All pairs of layers, labelled."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simkit.arrays import Array, all_to_numpy, namespace_of, take_rows, to_numpy
from simkit.best import Match, best, found_layers
from simkit.checkpoint import Format
from simkit.errors import InvalidArrayError, SimkitError
from simkit.fields import Fields, text_array
from simkit.keys import position, positions
from simkit.optional import needed_for
from simkit.registry import get_index
from simkit.spec import check_choice
from simkit.text import printable

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.axes import Axes

    from simkit.properties import Facts

__all__ = ["Match", "SimilarityMatrix"]

_FORMAT = Format("simkit_matrix", version=3, signed=2, what="SimilarityMatrix", remedy="Compute the matrix again.")


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
    chance : array, shape (len(rows), len(columns)), optional
        What each score is on average if the examples of one layer are permuted, so that the layers have nothing to do with
        each other; None where nobody has computed it.
    details : mapping of str to what JSON can hold
        How the matrix came about, for reports: ``"library"``, ``"device"``, ``"dtype"``, ``"versions"`` (of distributions,
        by name), ``"route"``, and for each side, ``"rows"`` and ``"columns"``, a mapping with ``"model"``, ``"rules"`` (how
        the activations of each layer became examples) and ``"fingerprint"`` of the data. Any of it may be missing.
    """

    values: Array
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    index: str
    n: int
    chance: Array | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, array in (("values", self.values), ("chance", self.chance)):
            if array is not None and tuple(array.shape) != (len(self.rows), len(self.columns)):
                raise InvalidArrayError(
                    f"{name} has shape {tuple(array.shape)}, but there are {len(self.rows)} rows and "
                    f"{len(self.columns)} columns."
                )

    @property
    def facts(self) -> Facts | None:
        """What the index declares; None where the plugin that computed the matrix is not installed."""
        try:
            return get_index(self.index).facts
        except SimkitError:
            return None

    @property
    def is_distance(self) -> bool:
        """Whether the index is 0 for a layer and itself, so that smaller means more alike."""
        return self.facts is not None and self.facts.identity == 0

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return len(self.rows), len(self.columns)

    @property
    def transposed(self) -> bool:
        """Whether the scores are of (column, row): the index is not symmetric, and this is the ``.T`` of a matrix."""
        return self.details.get("transposed") is True

    @property
    def title(self) -> str:
        """What stands above tables and plots: the index, the order that it compares in if it is not (row, column), and n."""
        order = " of (column, row)" if self.transposed else ""
        return f"{self.index}{order}, n = {self.n}"

    # --- parts -------------------------------------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> Any:
        """One score, or the matrix of some rows and columns.

        ``matrix["conv1", "conv3"]`` is a score, a 0-d array; everything else is a `SimilarityMatrix`, in which what is known
        of its layers goes along: ``matrix["conv1"]`` a row, ``matrix[:, "conv3"]`` a column,
        ``matrix["conv1":"conv4", ::2]`` a part, ``matrix[["conv1", "fc"]]`` some rows, in that order. Layers are chosen by
        name, by position (also from the end, -1), by slices of either, by lists of either, and by masks. Names in a slice
        are both included, as in pandas. Values that are lazy stay so.

        Raises
        ------
        KeyError
            No layer is called so, or one is chosen twice.
        IndexError
            There is no such position, or nothing is chosen.
        """
        sides = key if isinstance(key, tuple) else (key, slice(None))
        if len(sides) != 2:
            raise IndexError(
                f"a matrix has rows and columns; {len(sides)} keys were given. Lists choose several: m[['a', 'b']]."
            )
        if not any(isinstance(side, slice | list | np.ndarray) for side in sides):
            return self.values[position(sides[0], self.rows, "row"), position(sides[1], self.columns, "column")]
        return self._part(positions(sides[0], self.rows, "row"), positions(sides[1], self.columns, "column"))

    def _part(self, rows: Sequence[int], columns: Sequence[int]) -> SimilarityMatrix:
        names = tuple(self.rows[i] for i in rows), tuple(self.columns[j] for j in columns)

        def part(array: Array | None) -> Array | None:
            if array is None:
                return None
            return take_rows(take_rows(array, np.asarray(rows)), np.asarray(columns), axis=1)

        details = dict(self.details)
        for side, kept in zip(("rows", "columns"), names, strict=True):
            if isinstance(about := details.get(side), Mapping) and isinstance(rules := about.get("rules"), Mapping):
                details[side] = {**about, "rules": {name: rule for name, rule in rules.items() if name in kept}}
        return replace(
            self, values=part(self.values), rows=names[0], columns=names[1], chance=part(self.chance), details=details
        )

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[SimilarityMatrix]:
        """The rows, each a matrix of one row."""
        return (self[i] for i in range(len(self)))

    def __contains__(self, name: object) -> bool:
        """Whether a row is called so."""
        return name in self.rows

    def _ipython_key_completions_(self) -> list[str]:
        """What IPython offers after ``matrix["``."""
        return list(dict.fromkeys((*self.rows, *self.columns)))

    @property
    def T(self) -> SimilarityMatrix:
        """Rows and columns exchanged.

        If the index is not symmetric, the scores are those of (column, row) then, and `title`, tables and plots say so.
        """
        other = {"rows": "columns", "columns": "rows"}
        details = {other.get(key, key): about for key, about in self.details.items() if key != "transposed"}
        if not self.transposed and (self.facts is None or not self.facts.symmetric):
            details["transposed"] = True
        return replace(
            self,
            values=self.values.T,
            rows=self.columns,
            columns=self.rows,
            chance=None if self.chance is None else self.chance.T,
            details=details,
        )

    # --- what it says ------------------------------------------------------------------------------------------------------

    def best_matches(self, axis: Literal["rows", "columns"] = "rows") -> tuple[Match, ...]:
        """The most similar column of each row; of distances that with the smallest score.

        Parameters
        ----------
        axis : {"rows", "columns"}
            For which layers a match is looked for: for each row its best column, or for each column its best row.

        Returns
        -------
        tuple of Match
            ``(row, column, value)``, in the order of the rows, or of the columns. Scores tie if they differ by no more than
            rounding, 16 eps of their dtype: then there is a match for each of them. A layer whose scores are all nan has
            none. Lazy values are computed.

        Examples
        --------
        >>> import numpy as np, simkit
        >>> values = np.asarray([[0.9, 0.2], [0.4, 0.4]])
        >>> for row, column, value in simkit.SimilarityMatrix(values, ("a", "b"), ("x", "y"), "cka", 100).best_matches():
        ...     print(row, column, value)
        a x 0.9
        b x 0.4
        b y 0.4
        """
        check_choice("best_matches", "axis", axis, ("rows", "columns"))
        values = self.to_numpy()
        along = best(values if axis == "rows" else values.T, smallest=self.is_distance)
        pairs = [(int(i), int(j)) if axis == "rows" else (int(j), int(i)) for i, j in np.argwhere(along)]
        return tuple(Match(self.rows[i], self.columns[j], float(values[i, j])) for i, j in pairs)

    @property
    def diagonal(self) -> Array:
        """The scores of layers in the same place, shape (layers,), in the namespace of the values.

        Raises
        ------
        InvalidArrayError
            There are more rows than columns, or fewer.
        """
        self._check_square("diagonal")
        return namespace_of(self.values).linalg.diagonal(self.values)

    @property
    def layers_found(self) -> float:
        """Layer identification (section 6.1 of the paper): the share of rows whose best column is the one in the same place.

        Of m columns that tie each counts 1/m; nan is not found. By chance it is 1 / layers.

        Raises
        ------
        InvalidArrayError
            There are more rows than columns, or fewer.
        """
        self._check_square("layers_found")
        return float(np.mean(found_layers(self.to_numpy(), smallest=self.is_distance)))

    def _check_square(self, what: str) -> None:
        if len(self.rows) != len(self.columns):
            raise InvalidArrayError(
                f"{what} is of layers in the same place of two networks with as many layers; here are {len(self.rows)} rows "
                f"and {len(self.columns)} columns. best_matches() takes any numbers."
            )

    # --- other forms -------------------------------------------------------------------------------------------------------

    def compute(self) -> SimilarityMatrix:
        """The same matrix with NumPy values: lazy ones are computed, all at once, others copied to the host."""
        values, chance = all_to_numpy(self.values, self.chance)
        return replace(self, values=values, chance=chance)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """For ``numpy.asarray(matrix)``."""
        return np.array(self.to_numpy(), dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        n, m = self.shape
        return f"<SimilarityMatrix {n} x {m}, {printable(self.title)}>"

    def __str__(self) -> str:
        """A table, as wide as the terminal at most; options: `simkit.set_options`."""
        from simkit.display.plain import table

        return table(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """IPython in a terminal shows the table, and one line for a matrix within something else."""
        printer.text(str(self) if len(printer.stack) == 1 else repr(self))

    def _repr_html_(self) -> str:
        """Notebooks show a heatmap with numbers; options: `simkit.set_options`."""
        from simkit.display.page import table

        return table(self)

    def to_numpy(self) -> np.ndarray:
        """Values as a NumPy array on the host, shape (rows, columns)."""
        return to_numpy(self.values)

    def to_pandas(self) -> pandas.DataFrame:
        """Values as a labelled DataFrame; pandas is in the extra ``labels``.

        Its ``attrs`` hold the spec as ``"index"``, ``"n"``, and where the matrix has them ``"chance"``, lists of rows, and
        ``"details"``.
        """
        with needed_for("to_pandas", "pandas", "simkit-similarity[labels]"):
            import pandas

        values, chance = all_to_numpy(self.values, self.chance)
        frame = pandas.DataFrame(values, index=list(self.rows), columns=list(self.columns))
        frame.attrs.update(index=self.index, n=self.n)
        if chance is not None:
            frame.attrs["chance"] = chance.tolist()
        if self.details:
            frame.attrs["details"] = dict(self.details)
        return frame

    def to_xarray(self) -> xarray.DataArray:
        """Values as a DataArray with dimensions ``row`` and ``column``; xarray is in the extra ``labels``.

        Where the matrix has them, ``chance`` is a coordinate, and ``attrs["details"]`` a JSON text beside the spec as
        ``"index"`` and ``"n"``, so that the array can be written as NetCDF.
        """
        with needed_for("to_xarray", "xarray", "simkit-similarity[labels]"):
            import xarray

        values, chance = all_to_numpy(self.values, self.chance)
        coords: dict[str, Any] = {"row": list(self.rows), "column": list(self.columns)}
        if chance is not None:
            coords["chance"] = (("row", "column"), chance)
        attrs = {"index": self.index, "n": self.n}
        if self.details:
            attrs["details"] = json.dumps(dict(self.details))
        return xarray.DataArray(values, dims=("row", "column"), coords=coords, name="similarity", attrs=attrs)

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Draw the heatmap with matplotlib; see `simkit.plot.heatmap`.

        In a notebook a new figure shows under the cell, without pyplot. Elsewhere ``ax.figure.savefig("x.png")`` writes it.
        """
        from simkit.plot import heatmap

        return heatmap(self, ax=ax, **options)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        others: Sequence[SimilarityMatrix] = (),
        title: str | None = None,
        labels: tuple[str, str] | None = None,
        force: bool = False,
    ) -> None:
        """Write one self-contained page in HTML: heatmap, best matches, profile, settings and what to cite.

        The page needs no network and is read in any browser. It has no confidence intervals, for which the activations are
        needed: `simkit.report.of_layers` makes a report of those. Jinja2 is needed.

        Parameters
        ----------
        path : str or path
            Ends in ``.html`` or ``.htm``.
        others : sequence of SimilarityMatrix
            Matrices of the same layers under other indexes, between which the page switches.
        title : str, optional
            Headline of the page.
        labels : (str, str), optional
            What the rows and the columns are called, such as names of networks. Default: as in `details`, else A and B.
        force : bool
            Replace a file that exists.

        Raises
        ------
        InvalidArrayError
            The matrices are of different layers.
        ValueError
            The name does not end in ``.html``.
        FileExistsError
            The file exists and `force` is false.
        ImportError
            Jinja2 is not installed.
        """
        from simkit.page import Entry, Report

        Report(tuple(map(Entry, (self, *others))), title, labels).write(path, force=force)

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
                "writes .csv, .json, .png, .pdf and .svg."
            )
        whole = self.compute()
        arrays = {
            "values": whole.values,
            "rows": text_array(self.rows),
            "columns": text_array(self.columns),
            "index": np.array(self.index),
            "n": np.array(self.n),
            "details": np.array(json.dumps(dict(self.details))),
        }
        arrays["knows_chance"] = np.array(whole.chance is not None)
        if whole.chance is not None:
            arrays["chance"] = whole.chance
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
        shape = (len(rows), len(columns))
        matrix = cls(
            values=fields.reals("values", shape, "fiu"),
            rows=rows,
            columns=columns,
            index=fields.text("index"),
            n=fields.whole("n"),
            chance=fields.reals("chance", shape, "fiu") if version > 2 and fields.flag("knows_chance") else None,
            details=_details(fields) if version > 2 else {},
        )
        if version >= _FORMAT.signed:
            fields.finish()
        return matrix


def _details(fields: Fields) -> dict[str, Any]:
    try:
        found = json.loads(fields.text("details"))
    except ValueError as error:
        raise fields.wrong(f"'details' is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise fields.wrong("'details' is no mapping")
    return found
