"""The two sides of a comparison: which layers are compared with which, and what messages call them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from simkit.errors import InvalidArrayError

__all__ = ["Kind", "Sides", "are_layers"]

Kind: TypeAlias = Literal["pair", "layers", "layers of two"]


@dataclass(frozen=True)
class Sides:
    """Rows and columns of the scores.

    Attributes
    ----------
    kind : {"pair", "layers", "layers of two"}
        Two arrays; some layers with themselves; some layers with others.
    rows, columns : tuple of str
        The layers as the user named them; ("X",) and ("Y",) for two arrays.
    """

    kind: Kind
    rows: tuple[str, ...]
    columns: tuple[str, ...]

    @classmethod
    def of_pair(cls, X: Any, Y: Any) -> tuple[Sides, dict[str, Any]]:
        """The sides of two arrays; and these as they were given, by their names."""
        return cls("pair", ("X",), ("Y",)), {"X": X, "Y": Y}

    @classmethod
    def of_layers(cls, A: Any, B: Any = None) -> tuple[Sides, dict[str, Any]]:
        """The sides of several layers; and these as they were given, by their names.

        Parameters
        ----------
        A, B : mapping of names to arrays, or iterable of arrays
            ``B=None`` compares the layers `A` with themselves.

        Raises
        ------
        InvalidArrayError
            Something else, nothing, or layers whose names are equal as strings.
        """
        rows = _named(A, "A")
        columns = rows if B is None else _named(B, "B")
        sides = cls("layers" if B is None else "layers of two", tuple(rows), tuple(columns))
        return sides, dict(zip(sides.names, (*rows.values(), *(() if B is None else columns.values())), strict=True))

    @property
    def row_names(self) -> tuple[str, ...]:
        """What messages call the rows, and what they are called in a statistic."""
        return self.rows if self.kind == "pair" else tuple(f"A[{name!r}]" for name in self.rows)

    @property
    def column_names(self) -> tuple[str, ...]:
        """What messages call the columns."""
        if self.kind == "pair":
            return self.columns
        return self.row_names if self.kind == "layers" else tuple(f"B[{name!r}]" for name in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """All layers, each once, those of the rows first."""
        return self.row_names if self.kind == "layers" else (*self.row_names, *self.column_names)

    def by_side(self, layers: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is known of each layer by name, for one side after the other; for the only one, if there is no other."""
        sides = (self.row_names,) if self.kind == "layers" else (self.row_names, self.column_names)
        return [{name: layers[name] for name in names} for names in sides]


def are_layers(x: Any) -> bool:
    """Whether a user means several layers by `x`: a mapping, or a sequence of matrices."""
    if isinstance(x, Mapping):
        return True
    return isinstance(x, Sequence) and not isinstance(x, str) and len(x) > 0 and hasattr(x[0], "shape") and x[0].ndim > 1


def _named(layers: Any, side: str) -> dict[str, Any]:
    """The layers of a side as they were given, by name."""
    if isinstance(layers, Mapping):
        named = {str(name): x for name, x in layers.items()}
        if len(named) != len(layers):
            raise InvalidArrayError(f"{side} has layers whose names are equal as strings: {', '.join(map(repr, layers))}.")
    elif isinstance(layers, Iterable) and not hasattr(layers, "shape") and not isinstance(layers, str):
        named = {str(i): x for i, x in enumerate(layers)}
    else:
        raise InvalidArrayError(
            f"{side} is a {type(layers).__name__}; expected a mapping of names to arrays or a list of arrays. "
            "For two arrays use simkit.compare."
        )
    if not named:
        raise InvalidArrayError(f"{side} is empty; expected at least one layer.")
    return named
