"""What the door would have said of values that nobody has seen at once: mergeable over chunks of examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from simkit.arrays import Array, is_constant, namespace_of

__all__ = ["Box", "Survey", "Surveyed", "boxed"]


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
