"""What a report is of: matrices of the same layers, their intervals and what was warned of."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.files import check_target, whole_file
from simkit.text import printable, shortened

if TYPE_CHECKING:
    from simkit.matrix import SimilarityMatrix

__all__ = ["PAGES", "Entry", "Intervals", "Report", "check_page"]

PAGES = (".html", ".htm")


@dataclass(frozen=True, eq=False)
class Intervals:
    """Confidence intervals of some of the scores of a matrix.

    Attributes
    ----------
    low, high : ndarray, shape (rows, columns)
        The bounds; nan for pairs that have no interval.
    confidence : float
        Of each interval for itself, between 0 and 1.
    method, estimand : str
        How they were found and what for, as `simkit.inference.interval` says it.
    seed : int, optional
        Of what was drawn at random.
    """

    low: np.ndarray
    high: np.ndarray
    confidence: float
    method: str
    estimand: str
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Entry:
    """One index in a report.

    Attributes
    ----------
    matrix : SimilarityMatrix
    intervals : Intervals, optional
    warnings : tuple of str
        What was said while the matrix and the intervals were computed.
    """

    matrix: SimilarityMatrix
    intervals: Intervals | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.intervals is None:
            return
        for name, bound in (("low", self.intervals.low), ("high", self.intervals.high)):
            if bound.shape != self.matrix.shape:
                raise InvalidArrayError(
                    f"{name} of the intervals has shape {bound.shape}; expected that of the matrix, {self.matrix.shape}."
                )


@dataclass(frozen=True, eq=False)
class Report:
    """A page about the same layers under one index or several.

    Attributes
    ----------
    entries : tuple of Entry
        All matrices have the same rows and columns.
    title : str, optional
        Default: from the names of the models, where `SimilarityMatrix.details` has them.
    labels : (str, str), optional
        What the rows and the columns are called. Default: the names of the models, else "A" and "B".

    Raises
    ------
    InvalidArrayError
        There is no matrix, something is none, one has no rows or no columns, or two have different layers.
    """

    entries: tuple[Entry, ...]
    title: str | None = None
    labels: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.entries:
            raise InvalidArrayError("A report needs at least one matrix; got none.")
        for matrix in self.matrices:
            if not hasattr(matrix, "details"):
                raise InvalidArrayError(
                    f"A report is of SimilarityMatrix, as simkit.pairwise gives it; got {type(matrix).__name__}."
                )
        first = self.entries[0].matrix
        if 0 in first.shape:
            raise InvalidArrayError(
                f"The matrix has {first.shape[0]} rows and {first.shape[1]} columns; there is nothing to show."
            )
        for entry in self.entries[1:]:
            other = entry.matrix
            for what, expected, found in (("rows", first.rows, other.rows), ("columns", first.columns, other.columns)):
                if expected != found:
                    raise InvalidArrayError(
                        f"{other.index} and {first.index} are of different {what}, {_some(found)} and {_some(expected)}. "
                        "One report is of the same layers under several indexes; write one for each pair of networks."
                    )

    @property
    def matrices(self) -> tuple[SimilarityMatrix, ...]:
        """The matrices, in the order of the page."""
        return tuple(entry.matrix for entry in self.entries)

    def html(self) -> str:
        """The page as text.

        Raises
        ------
        ImportError
            Jinja2 is not installed.
        """
        from simkit.page.rendering import rendered

        return rendered(self)

    def write(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the page as one file that needs no other and no network.

        Parameters
        ----------
        path : str or path
            Ends in ``.html`` or ``.htm``.
        force : bool
            Replace a file that exists.

        Raises
        ------
        ValueError
            Another suffix.
        FileExistsError
            The file exists and `force` is false.
        ImportError
            Jinja2 is not installed.
        """
        check_page(path, force=force)
        text = self.html()
        with whole_file(path, force=force) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")

    def __repr__(self) -> str:
        rows, columns = self.matrices[0].shape
        return f"<Report {rows} x {columns}, {printable(', '.join(matrix.index for matrix in self.matrices))}>"


def check_page(path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Raise before work starts if a report cannot be written to `path`, as `Report.write` does."""
    from simkit.page.rendering import check_installed

    path = Path(path)
    if path.suffix.lower() not in PAGES:
        kind = path.suffix or "a file without suffix"
        raise ValueError(printable(f"{path}: a report is a page in HTML, not {kind}; expected {', '.join(PAGES)}."))
    check_target(path, force=force)
    check_installed()


def _some(names: tuple[str, ...]) -> str:
    return shortened(", ".join(names), 60)
