"""What the door would have said of values that nobody has seen at once: mergeable over chunks of examples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from simkit.arrays import Array, is_constant, namespace_of, placement

__all__ = ["Box", "Survey", "Surveyed", "boxed", "nan_where_undefined"]


@dataclass(frozen=True, eq=False)
class Survey:
    """Whether layers vary and are finite, over some examples.

    Attributes
    ----------
    n : int
        Number of examples; 0 is allowed.
    first : dict of str to array, shape (1, p)
        The first example of each layer.
    varies, finite : dict of str to bool
        Whether some example differs from the first, and whether all values are finite.
    """

    n: int
    first: dict[str, Array]
    varies: dict[str, bool]
    finite: dict[str, bool]

    @classmethod
    def of(cls, layers: Mapping[str, Array], *, finite: bool = False) -> Survey:
        """The survey of one batch: matrices (n, p) with the same n; `finite` if they are known to be."""
        n = next(iter(layers.values())).shape[0]
        if n == 0:
            return cls(0, {}, dict.fromkeys(layers, False), dict.fromkeys(layers, True))
        return cls(
            n,
            {name: x[:1, :] + 0 for name, x in layers.items()},  # a copy: a view would keep the batch in memory
            {name: not (bool(is_constant(x[:2, :])) and bool(is_constant(x))) for name, x in layers.items()},
            {name: finite or bool(namespace_of(x).all(namespace_of(x).isfinite(x))) for name, x in layers.items()},
        )

    @classmethod
    def merged(cls, parts: Sequence[Survey]) -> Survey:
        """The survey of the examples of all `parts`."""
        full = [part for part in parts if part.n > 0] or [parts[0]]
        head = full[0]
        return cls(
            sum(part.n for part in full),
            head.first,
            {
                name: any(part.varies[name] for part in full)
                or any(bool(namespace_of(first).any(part.first[name] != first)) for part in full[1:])
                for name, first in head.first.items()
            },
            {name: all(part.finite[name] for part in full) for name in head.finite},
        )

    @property
    def undefined(self) -> frozenset[str]:
        """Layers to which every similarity is nan: constant, or not finite."""
        return frozenset(name for name in self.finite if not (self.varies.get(name) and self.finite[name]))


class Surveyed(NamedTuple):
    """A statistic of some examples, and what is known of their values."""

    survey: Survey
    statistic: Any


class Box(np.ndarray):
    """An array that holds one object; a class of its own, so that its size can be told."""


def boxed(thing: Any, shape: tuple[int, ...]) -> Box:
    """A box for `thing`, since what Dask passes between tasks are arrays."""
    box = np.empty(shape, dtype=object)
    box[(0,) * len(shape)] = thing
    return box.view(Box)


def nan_where_undefined(
    score: Callable[[list[str], list[str]], Array],
    rows: Sequence[str],
    columns: Sequence[str],
    undefined: Collection[str],
    empty: Array,
) -> Array:
    """Scores of all pairs, shape (rows, columns), nan for those of undefined layers, of which the index is not asked.

    Parameters
    ----------
    score : callable
        The scores of some rows with some columns, layers that are defined.
    rows, columns, undefined : names of layers
    empty : array
        Any array with the framework, the device and the precision of the result.
    """
    xp = namespace_of(empty)
    known = [[name for name in names if name not in undefined] for names in (rows, columns)]
    there = placement(empty)
    if not all(known):
        return xp.full((len(rows), len(columns)), float("nan"), dtype=empty.dtype, **there)
    values = xp.astype(score(*known), empty.dtype, copy=False)
    for axis, (names, kept) in enumerate(zip((rows, columns), known, strict=True)):
        if len(kept) == len(names):
            continue
        place = xp.asarray([kept.index(name) if name in kept else 0 for name in names], **there)
        mask = xp.reshape(xp.asarray([name in kept for name in names], **there), (-1, 1) if axis == 0 else (1, -1))
        values = xp.where(mask, xp.take(values, place, axis=axis), float("nan"))
    return values
