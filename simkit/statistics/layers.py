"""The layers themselves: the statistic of indexes that need all examples, and of whatever gradients are to flow through."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from simkit.arrays import Array, constant_of, is_constant, is_lazy, namespace_of, to_numpy
from simkit.fields import Fields
from simkit.guard import in_library
from simkit.linalg import is_ordinary, power_of_two
from simkit.representation import Representation
from simkit.statistics.chance import Scores
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck
from simkit.threads import one_blas_thread

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Layers", "all_scores", "out_of_range"]


def all_scores(
    index: Index[Any],
    layers: Mapping[str, Representation],
    rows: Sequence[str],
    columns: Sequence[str],
    advance: Callable[[], None] = lambda: None,
    *,
    by_chance: bool,
) -> Scores:
    """Scores of all pairs of some layers, each prepared once, shape (rows, columns); of one pair, shape ().

    `advance` is called once for each different layer, and then once for each row. What the scores are `by_chance` is asked
    of an index that knows it.
    """
    with one_blas_thread((each.features for each in layers.values()), index.facts.statistic):
        states = {}
        for name in dict.fromkeys((*rows, *columns)):
            states[name] = index.prepare(layers[name])
            advance()
        first = layers[rows[0]]
        xs = [states[name] for name in rows]
        ys = xs if list(rows) == list(columns) else [states[name] for name in columns]
        alone = len(xs) == len(ys) == 1
        values = in_library(index, index.score(xs[0], ys[0]) if alone else index.scores(xs, ys, advance), first.features)
    if not (by_chance and index.knows_chance):
        return Scores(values, None)
    chance = in_library(index, index.chance(xs, ys, first.n), first.features)
    return Scores(values, chance[0, 0] if alone else chance)


def out_of_range(layers: Mapping[str, Array]) -> list[str]:
    """The names of the matrices in memory whose largest value is so large, or so small, that products may overflow."""
    found = []
    for name, x in layers.items():
        xp = namespace_of(x)
        if not is_lazy(x) and not bool(is_ordinary(power_of_two(x, xp), xp)):
            found.append(name)
    return found


@dataclass(frozen=True, eq=False)
class Layers(Statistic):
    """Matrices of all examples.

    Attributes
    ----------
    features : dict of str to array, shape (n, p)
        In one precision. Nobody may write to them.
    tall : bool or None
        As in `simkit.representation.Representation`.
    advance : callable
        Called as the work proceeds: see `all_scores`.
    """

    features: Mapping[str, Array]
    tall: bool | None = None
    advance: Callable[[], None] = field(default=lambda: None, repr=False)

    @classmethod
    def of(cls, layers: Mapping[str, Array], values: ValueCheck | None = None, *, tall: bool | None = None) -> Layers:
        """The layers of one batch."""
        if values is None:
            values, layers = ValueCheck.of(layers)
        return cls(values, dict(layers), tall)

    def extended(self, layers: Mapping[str, Array], values: ValueCheck) -> Layers:
        """All examples, those of the batch last."""
        return self.merged([self, Layers(values, dict(layers), self.tall)])

    @classmethod
    def merged(cls, parts: Sequence[Layers], *, reuse: bool = False) -> Layers:
        """All examples, those of the first part first."""
        del reuse
        head, values = parts[0], ValueCheck.merged([part.values for part in parts])
        xp = namespace_of(*head.features.values())
        whole = {name: xp.concat([part.features[name] for part in parts]) for name in head.features}
        return cls(values, whole, head.tall, head.advance)

    def scored(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str], *, by_chance: bool) -> Scores:
        """Scores of all pairs, shape (rows, columns); of one pair, shape (). nan for what turns out to be constant."""
        xp = namespace_of(*self.features.values())
        layers = {
            name: Representation(x, name=name, tall=self.tall, rounding=eps, xp=xp)
            for (name, x), eps in zip(self.features.items(), self.values.rounding, strict=True)
        }
        found = all_scores(index, layers, rows, columns, self.advance, by_chance=by_chance)
        return found._replace(values=self._nan_if_constant(found.values, rows, columns))

    @property
    def nan(self) -> Array:
        """nan, and a function of all layers for automatic differentiation."""
        corners = [x[0, 0] * float("nan") for x in self.features.values()]
        return sum(corners[1:], corners[0])

    def _nan_if_constant(self, values: Array, rows: Sequence[str], columns: Sequence[str]) -> Array:
        """Lazy layers have values that nobody has looked at."""
        if not any(is_lazy(x) for x in self.features.values()):
            return values
        xp = namespace_of(values)
        for axis, side in enumerate((rows, columns)):
            constant = xp.stack([is_constant(self.features[name]) for name in side])
            shape = () if values.ndim == 0 else (-1, 1) if axis == 0 else (1, -1)
            values = xp.where(xp.reshape(constant, shape), float("nan"), values)
        return values

    def out_of_range(self, dtype: Any) -> Collection[str]:
        """The layers with values so large, or so small, that products of them leave the range of `dtype`."""
        return out_of_range(self.features)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays; `from_arrays` reads it."""
        return self.values.to_arrays() | {f"layer_{k}": to_numpy(x) for k, x in enumerate(self.features.values())}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray] | Fields, like: Array | None = None) -> Self:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`."""
        read = super().from_arrays(arrays)
        if like is None:
            return read
        placed = {name: constant_of(x, like, namespace_of(like)) for name, x in read.features.items()}
        return cls(read.values.to(like), placed)

    @classmethod
    def _read(cls, fields: Fields, values: ValueCheck) -> Self:
        shapes = [(values.n, p) for p in values.widths]
        return cls(values, {name: fields.reals(f"layer_{k}", shapes[k]) for k, name in enumerate(values.names)})
