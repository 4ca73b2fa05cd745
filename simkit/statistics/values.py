"""What is known of the values of layers: their widths and precision, whether they vary, and whether they are finite.

Values that nobody sees at once, of batches or chunks, are checked part by part, and what is known of the parts merges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simkit.arrays import Array, count_nonfinite, dtype_name, namespace_of, placement, to_numpy, varies
from simkit.errors import InvalidArrayError
from simkit.fields import Fields, text_array

__all__ = ["ValueCheck"]


@dataclass(frozen=True, eq=False)
class ValueCheck:
    """What is known of L layers, seen by some examples.

    Attributes
    ----------
    names : tuple of str
        What messages call the layers; no two are the same.
    widths : tuple of int
        Their numbers of features.
    dtypes : tuple of str
        The widest precision that each came in: "float32" or "float64".
    rounding : tuple of float
        The largest eps that the values of each were given with (`simkit.arrays.rounding_of`), in half precision too.
    n : int
        Number of examples; 0 is allowed.
    first : tuple of arrays, shapes (1, p), or (0, p) without examples
        The first example of each layer.
    varies : tuple of bool
        Whether some example differs from the first.
    nonfinite : tuple of int
        How many values were nan or infinite.
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    dtypes: tuple[str, ...]
    rounding: tuple[float, ...]
    n: int
    first: tuple[Array, ...]
    varies: tuple[bool, ...]
    nonfinite: tuple[int, ...]

    # --- made from a batch, merged ------------------------------------------------------------------------------------

    @classmethod
    def of(
        cls,
        layers: Mapping[str, Array],
        *,
        rounding: Mapping[str, float] | None = None,
        finite: bool = False,
        kept: bool = False,
    ) -> tuple[ValueCheck, dict[str, Array]]:
        """What is known of one batch; and the batch, with zeros for the layers that are not finite.

        What is not finite has no score anyway, and zeros keep it from spoiling the others.

        Parameters
        ----------
        layers : mapping of names to arrays, shapes (m, p)
            Real floating matrices of the same m examples, in memory.
        rounding : mapping of names to float, optional
            The eps of the precision that the values were given in. Default: that of the arrays.
        finite : bool
            The values are known to be finite.
        kept : bool
            The layers will be there as long as this, so that nothing of them need be copied.
        """
        whole = {str(name): x for name, x in layers.items()}
        counts = [0 if finite else count_nonfinite(x) for x in whole.values()]
        known = rounding or {}
        check = cls(
            tuple(whole),
            tuple(x.shape[1] for x in whole.values()),
            tuple(dtype_name(x) for x in whole.values()),
            tuple(known.get(name, 0.0) or _eps(x) for name, x in whole.items()),
            next(iter(whole.values())).shape[0],
            tuple(_first(x) if kept else _first(x) + 0 for x in whole.values()),  # a view keeps the batch in memory
            tuple(varies(x) for x in whole.values()),
            tuple(counts),
        )
        if any(counts):
            xp = namespace_of(*whole.values())
            whole = {name: xp.zeros_like(x) if k else x for (name, x), k in zip(whole.items(), counts, strict=True)}
        return check, whole

    @classmethod
    def assumed(cls, layers: Mapping[str, Array], rounding: Mapping[str, float]) -> ValueCheck:
        """Of lazy matrices, whose values nobody can look at: that they vary and are finite."""
        return cls(
            tuple(layers),
            tuple(x.shape[1] for x in layers.values()),
            tuple(dtype_name(x) for x in layers.values()),
            tuple(rounding[name] or _eps(x) for name, x in layers.items()),
            next(iter(layers.values())).shape[0],
            tuple(_first(x) for x in layers.values()),
            (True,) * len(layers),
            (0,) * len(layers),
        )

    @classmethod
    def merged(cls, parts: Sequence[ValueCheck]) -> ValueCheck:
        """What is known of the examples of all `parts`.

        Raises
        ------
        InvalidArrayError
            They are of different layers.
        """
        head = parts[0]
        for part in parts[1:]:
            head.check_same_layers(part)
        full = [part for part in parts if part.n] or [head]

        def varies(k: int) -> bool:
            return any(part.varies[k] for part in full) or any(
                bool(namespace_of(part.first[k]).any(part.first[k] != full[0].first[k])) for part in full[1:]
            )

        return cls(
            head.names,
            head.widths,
            _by_layer(max, [part.dtypes for part in parts]),  # "float64" > "float32"
            _by_layer(max, [part.rounding for part in parts]),
            sum(part.n for part in parts),
            full[0].first,
            tuple(varies(k) for k in range(len(head.names))),
            _by_layer(sum, [part.nonfinite for part in parts]),
        )

    def check_same_layers(self, other: ValueCheck) -> None:
        """Raise unless another check is of the same layers.

        Raises
        ------
        InvalidArrayError
        """
        if (self.names, self.widths) != (other.names, other.widths):
            raise InvalidArrayError(
                f"These are other layers, {other.listed}; those before were {self.listed}. The layers, their order and "
                "their widths must stay the same."
            )

    # --- what it says -------------------------------------------------------------------------------------------------

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the features of each layer stand among all, side by side."""
        ends = np.cumsum((0, *self.widths)).tolist()
        return tuple(map(slice, ends[:-1], ends[1:]))

    @property
    def listed(self) -> str:
        """The layers with their widths, for messages."""
        return ", ".join(f"{name} ({width})" for name, width in zip(self.names, self.widths, strict=True))

    def position(self, name: str) -> int:
        """Where a layer stands among all.

        Raises
        ------
        KeyError
            There is none of this name.
        """
        if name not in self.names:
            raise KeyError(f"no layer is called {name!r}; they are {', '.join(self.names)}")
        return self.names.index(name)

    @property
    def constant(self) -> frozenset[str]:
        """The layers of which all examples are the same."""
        return frozenset(name for name, varies in zip(self.names, self.varies, strict=True) if not varies)

    @property
    def undefined(self) -> frozenset[str]:
        """The layers to which every similarity is nan: constant, or not finite."""
        return self.constant | {name for name, count in zip(self.names, self.nonfinite, strict=True) if count}

    @property
    def dtype(self) -> str:
        """The common precision of the layers, that of their scores: "float32" or "float64"."""
        return max(self.dtypes)

    def check(self, min_examples: int) -> None:
        """Raise unless there are enough examples and all values were finite.

        Raises
        ------
        InvalidArrayError
            Too few examples, or values that were nan or inf: how many in which layer.
        """
        if self.n < min_examples:
            raise InvalidArrayError(
                f"{self.n} example{'s' * (self.n != 1)} in all; this index needs at least {min_examples}."
            )
        if any(self.nonfinite):
            found = ", ".join(f"{count} in {name}" for name, count in zip(self.names, self.nonfinite, strict=True) if count)
            raise InvalidArrayError(
                f"Values that are nan or inf: {found}. Remove those examples or find out where they come from "
                "(half precision overflows at 65504)."
            )

    # --- files and other devices --------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays; `from_arrays` reads it."""
        return {
            "names": text_array(self.names),
            "widths": np.array(self.widths, dtype=np.int64),
            "dtypes": text_array(self.dtypes),
            "rounding": np.array(self.rounding, dtype=np.float64),
            "n": np.array(self.n),
            "first": np.concatenate([to_numpy(x).astype(np.float64) for x in self.first], axis=1),
            "varies": np.array(self.varies),
            "nonfinite": np.array(self.nonfinite, dtype=np.int64),
        }

    @classmethod
    def from_arrays(cls, fields: Fields, like: Array | None = None) -> ValueCheck:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`.

        Raises
        ------
        CheckpointError
            A field is missing or is not what it must be.
        """
        names = fields.texts("names", distinct=True)
        if not names:
            raise fields.wrong("it is of no layers")
        widths = fields.wholes("widths", length=len(names))
        dtypes, n = fields.texts("dtypes", length=len(names)), fields.whole("n")
        if not set(dtypes) <= {"float32", "float64"}:
            raise fields.wrong(f"'dtypes' holds {dtypes}; expected float32 or float64")
        first = fields.reals("first", (min(n, 1), sum(widths)))
        parts = np.split(first, np.cumsum(widths)[:-1], axis=1)
        return cls(
            names,
            widths,
            dtypes,
            tuple(map(float, fields.reals("rounding", (len(names),)))),
            n,
            tuple(_placed(part, dtype, like) for part, dtype in zip(parts, dtypes, strict=True)),
            fields.flags("varies", length=len(names)),
            fields.wholes("nonfinite", length=len(names)),
        )

    def to(self, like: Array) -> ValueCheck:
        """The same in the namespace and on the device of `like`."""
        return ValueCheck.from_arrays(Fields(self.to_arrays()), like)


def _first(x: Array) -> Array:
    return x[: min(1, x.shape[0]), :]


def _eps(x: Array) -> float:
    return float(namespace_of(x).finfo(x.dtype).eps)


def _by_layer(function: Callable[[Iterable[Any]], Any], parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(function(column) for column in zip(*parts, strict=True))


def _placed(values: np.ndarray, dtype: str, like: Array | None) -> Array:
    values = values.astype(dtype)
    if like is None:
        return values
    return namespace_of(like).asarray(values, **placement(like))
