"""What is drawn, left out or permuted: examples, or groups of examples that belong together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from simkit.arrays import to_numpy
from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.spec import check_whole

__all__ = ["RNG", "Units", "labelled", "units_of", "whole"]

RNG: TypeAlias = int | np.random.Generator | None  # a seed


@dataclass(frozen=True, eq=False)
class Units:
    """Units of n examples.

    Attributes
    ----------
    members : ndarray of n integers, optional
        The unit of each example, from 0 to m - 1; None if each example is one.
    n, m : int
        The numbers of examples and of units.
    """

    members: np.ndarray | None
    n: int
    m: int

    @cached_property
    def examples(self) -> list[np.ndarray]:
        """The examples of each unit."""
        if self.members is None:
            return [np.array([i]) for i in range(self.n)]
        return [np.flatnonzero(self.members == unit) for unit in range(self.m)]

    def rows(self, drawn: np.ndarray) -> np.ndarray:
        """The examples of some units, which may be drawn more than once."""
        return drawn if self.members is None else np.concatenate([self.examples[unit] for unit in drawn])

    def without(self, left_out: np.ndarray) -> np.ndarray:
        """The examples of all other units."""
        kept = np.ones(self.m, dtype=bool)
        kept[left_out] = False
        return np.flatnonzero(kept if self.members is None else kept[self.members])

    @property
    def called(self) -> str:
        """How many of what there are."""
        return f"{self.n} examples" if self.members is None else f"{self.m} groups of {self.n} examples"


def whole(parameter: str, value: Any, least: int) -> int:
    """A whole number of at least `least`, or `SpecError`."""
    check_whole("inference", parameter, value, at_least=least)
    return int(value)


def units_of(groups: Any, n: int, index: Index[Any], what: str) -> Units:
    """The units that are drawn or left out: at least two, of which none tears apart rows that the index takes together."""
    size = index.facts.group
    if size > 1 and groups is None:
        raise InvalidArrayError(
            f"{index} takes rows in consecutive groups of {size}, which must not be torn apart: pass "
            f"groups=numpy.arange(n) // {size}."
        )
    units = labelled(groups, n)
    if units.m < 2:
        raise InvalidArrayError(f"{what} needs at least 2 groups; got {units.m}.")
    return units


def labelled(groups: Any, n: int, name: str = "groups") -> Units:
    """Examples with one label are one unit, in the order of ``numpy.unique``; without labels each example is one."""
    if groups is None:
        return Units(None, n, n)
    labels = to_numpy(groups)
    if labels.shape != (n,):
        raise InvalidArrayError(f"{name} has shape {labels.shape}; expected one label for each of the {n} examples, ({n},).")
    _, members = np.unique(labels, return_inverse=True)
    return Units(members.astype(np.int64), n, int(members.max()) + 1)
