"""What the results have in common: numbers of one pair, or arrays of rows x columns from which a pair can be taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeAlias

import numpy as np

from simkit.inference.bounds import Interval

__all__ = ["Number", "Result"]

Number: TypeAlias = Any  # a float of a pair, or an array of shape (rows, columns) of layers


@dataclass(frozen=True, eq=False)
class Result(ABC):
    """Numbers of one pair of layers, or of rows x columns: ``result["conv1", "fc"]`` is then the result of one pair.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    score : float
        Of the examples as they are; it, and what follows, are of shape (rows, columns) for mappings of layers.
    n : int
        Number of examples.
    rows, columns : tuple of str
        Names of the layers; none for a pair.
    """

    index: str
    score: Number
    n: int = field(kw_only=True)
    rows: tuple[str, ...] = field(default=(), kw_only=True)
    columns: tuple[str, ...] = field(default=(), kw_only=True)

    def __getitem__(self, pair: tuple[str, str]) -> Self:
        """The result of one pair of layers."""
        row, column = pair
        if row not in self.rows or column not in self.columns:
            raise KeyError(f"{pair!r}; there are the rows {', '.join(self.rows)} and the columns {', '.join(self.columns)}")
        where = self.rows.index(row), self.columns.index(column)
        values = {item.name: _at(getattr(self, item.name), where) for item in fields(self)}
        return replace(self, **values | {"rows": (), "columns": ()})

    def __str__(self) -> str:
        if not self.rows:
            return self._line()
        return "\n".join(f"{row}, {column}: {self[row, column]._line()}" for row in self.rows for column in self.columns)

    @abstractmethod
    def _line(self) -> str:
        """One pair in one line."""


def _at(value: Any, where: tuple[int, int]) -> Any:
    if isinstance(value, Interval):
        return Interval(*(float(bound[where]) for bound in value))  # type: ignore[index]
    if isinstance(value, np.ndarray):
        return float(value[where]) if value.ndim == 2 else value[(..., *where)]
    return value
