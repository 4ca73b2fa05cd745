"""What indexes share that compare the spaces that two layers span."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from simkit.arrays import Array
from simkit.index import Index
from simkit.linalg import Basis
from simkit.representation import Representation

__all__ = ["BasisIndex", "formed"]

State = TypeVar("State")


def formed(
    xs: Sequence[State], ys: Sequence[State], form: Callable[[State, int], State]
) -> tuple[Sequence[State], Sequence[State]]:
    """States of rows and columns that will have so many partners, `form(state, partners)`; the same if they are the same."""
    left = [form(x, len(ys)) for x in xs]
    return left, left if ys is xs else [form(y, len(xs)) for y in ys]


class BasisIndex(Index[Basis]):
    """An index of orthonormal bases of the centred columns."""

    def prepare(self, representation: Representation) -> Basis:
        """Orthonormal basis of the centred columns."""
        return representation.basis

    def scores(self, xs: Sequence[Basis], ys: Sequence[Basis], advance: Callable[[], None] = lambda: None) -> Array:
        """Scores of all pairs; with many partners a basis is formed once."""
        return super().scores(*formed(xs, ys, Basis.for_products), advance)

    def permuted(self, state: Basis, order: Array) -> Basis:
        """The same space, the examples in another order."""
        return state.permuted(order)
