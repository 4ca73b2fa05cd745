"""Eigenspace overlap score (May et al. 2019): how much the spans of two representations coincide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.indexes._basis_index import BasisIndex
from simkit.linalg import Basis, ratio, smaller_rank, squared_cosines
from simkit.properties import Facts, Invariance, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice

__all__ = ["EigenspaceOverlap"]


@dataclass(frozen=True)
class EigenspaceOverlap(BasisIndex):
    """Eigenspace overlap score: how much the column spaces of X and of Y coincide.

    |U_X' U_Y|^2 / max(rank),   U the left singular vectors

    Centred, it is `CCA` with the larger rank for the smaller. It was made to say how well a compressed embedding will do
    downstream in place of the original. With p >= n everything scores 1.

    Parameters
    ----------
    centre : bool
        Centre the columns first. May et al. do not.

    References
    ----------
    May, Zhang, Dao & Re 2019, On the downstream performance of compressed word embeddings.
    """

    centre: bool = False

    name: ClassVar[str] = "eigenspace_overlap"
    reference: ClassVar[str] = "May et al. 2019"

    def __post_init__(self) -> None:
        check_choice(self.name, "centre", self.centre, (False, True))

    @property
    def facts(self) -> Facts:
        """As CCA; without centring an offset adds a dimension, and second moments do not suffice."""
        kept: tuple[Invariance, ...] = ("invertible_linear", "translation") if self.centre else ("invertible_linear",)
        return Facts(
            symmetric=True,
            range=(0.0, 1.0),
            invariances=Invariances.both(*kept),
            statistic="moments" if self.centre else "examples",
            identity=1.0,
        )

    def prepare(self, representation: Representation) -> Basis:
        """Orthonormal basis of the columns."""
        layer = representation if self.centre else replace(representation, is_centred=True)
        return layer.basis

    def score(self, x: Basis, y: Basis) -> Array:
        """Sum of the squared cosines of the principal angles over the larger rank."""
        xp = namespace_of(x.columns.x, y.columns.x)
        overlap = squared_cosines(x, y, xp)
        larger = xp.where(x.rank > y.rank, x.rank, y.rank)
        score = ratio(overlap, xp.astype(larger, overlap.dtype), xp)
        return xp.where(smaller_rank(x, y, xp) == 0, float("nan"), score)
