"""Mutual information of two representations, if they are jointly Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.indexes._basis_index import BasisIndex
from simkit.linalg import Basis, cosines, total
from simkit.properties import Facts, Invariances

__all__ = ["MutualInformation"]


@dataclass(frozen=True)
class MutualInformation(BasisIndex):
    """Mutual information in nats of Gaussian variables with the canonical correlations of X and Y.

    I = -1/2 sum_i log(1 - rho_i^2)

    It is infinite where a combination of neurons of X is determined by Y: always with p1 + p2 >= n. Mutual information does
    not change under any invertible transform of either representation, linear or not; so it cannot tell a layer from a
    re-encoding of it that is useless to the next layer, and the sample value grows with the number of neurons. It measures
    what is shared, not how similarly it is represented: for layers of networks prefer `CKA`. Representations that are not
    Gaussian share more than this number says.

    References
    ----------
    Li, Yosinski, Clune, Lipson & Hopcroft 2015 (mutual information of neurons); Gelfand & Yaglom 1957 (the Gaussian
    formula); Kornblith et al. 2019, section 2 (invariance to invertible transforms).
    """

    name: ClassVar[str] = "mutual_information"
    reference: ClassVar[str] = "Gelfand & Yaglom 1957; Li et al. 2015"
    infinite: ClassVar[str] = (
        "a combination of features of one is determined by the other, as always where the features of both are as many as "
        "the examples. Take more examples or fewer features, or an index that is bounded, such as cca or cka."
    )

    @property
    def facts(self) -> Facts:
        """As CCA, but unbounded."""
        return Facts(
            symmetric=True,
            range=(0.0, math.inf),
            invariances=Invariances.both("invertible_linear", "translation"),
            statistic="moments",
        )

    def score(self, x: Basis, y: Basis) -> Array:
        """Minus half the sum of log(1 - rho^2)."""
        xp = namespace_of(x.columns.x, y.columns.x)
        unexplained = 1 - cosines(y, x, xp) ** 2
        # 1 - rho^2 of a correlation of 1 is rounding of either sign
        certain = unexplained <= 1e-13
        information = -total(xp.log(xp.where(certain, 1.0, unexplained)), xp) / 2
        undefined = xp.logical_or(x.rank == 0, y.rank == 0)
        information = xp.where(xp.any(certain), float("inf"), information)
        return xp.where(undefined, float("nan"), information)
