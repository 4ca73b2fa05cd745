"""What indexes share that compare the spaces that two layers span."""

from __future__ import annotations

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

    def permuted(self, state: Basis, order: Array) -> Basis:
        """The same space, the examples in another order."""
        return state.permuted(order)
