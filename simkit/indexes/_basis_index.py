"""What indexes share that compare the spaces that two layers span."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simkit.arrays import Array
from simkit.index import Index
from simkit.linalg import Basis
from simkit.representation import Representation

__all__ = ["BasisIndex"]


class BasisIndex(Index[Basis]):
    """An index of orthonormal bases of the centred columns."""

    def prepare(self, representation: Representation) -> Basis:
        """Orthonormal basis of the centred columns."""
        return representation.basis

    def scores(self, xs: Sequence[Basis], ys: Sequence[Basis], advance: Callable[[], None] = lambda: None) -> Array:
        """Scores of all pairs; with many partners a basis is formed once."""
        left = [x.for_products(len(ys)) for x in xs]
        return super().scores(left, left if ys is xs else [y.for_products(len(xs)) for y in ys], advance)

    def permuted(self, state: Basis, order: Array) -> Basis:
        """The same space, the examples in another order."""
        return state.permuted(order)
