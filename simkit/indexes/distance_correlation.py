"""Distance correlation, which is CKA with the distance for a kernel (Sejdinovic et al. 2013)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.indexes.cka import CKA
from simkit.kernel import Kernel
from simkit.kernels.distance import Distance
from simkit.linalg import root
from simkit.spec import check_choice
from simkit.statistics.hsic_sums import Estimator, HSICSums

__all__ = ["DistanceCorrelation"]


@dataclass(frozen=True)
class DistanceCorrelation(CKA):
    """Distance correlation of two representations, 0 in the limit of many examples if and only if they are independent.

    With A and B the doubly centred matrices of Euclidean distances between examples,

    dCor = sqrt(sum_ij A_ij B_ij / sqrt(sum_ij A_ij^2 sum_ij B_ij^2))

    Parameters
    ----------
    estimator : {"biased", "unbiased"}
        ``"biased"`` is the original; ``"unbiased"`` the bias-corrected one of Szekely & Rizzo 2014 (n >= 4), an estimate of
        the square, which can be negative and has no root.
    squared : bool
        Leave out the root of the biased one. Both forms are called distance correlation in the literature.

    References
    ----------
    Szekely, Rizzo & Bakirov 2007; Szekely & Rizzo 2014; Sejdinovic et al. 2013 (it is CKA with the kernel -|x - y|).
    """

    kernel: Kernel = field(default_factory=Distance, init=False)
    estimator: Estimator = "biased"
    squared: bool = False

    name: ClassVar[str] = "distance_correlation"
    reference: ClassVar[str] = "Szekely et al. 2007"
    estimators: ClassVar[tuple[Estimator, ...]] = ("biased", "unbiased")

    def __post_init__(self) -> None:
        check_choice(self.name, "estimator", self.estimator, self.estimators)
        check_choice(self.name, "squared", self.squared, (False, True))

    @property
    def knows_chance(self) -> bool:
        """The mean of a root has no closed form."""
        return bool(self.squared) or self.estimator == "unbiased"

    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """The ratio of distance covariances, or its root."""
        squared = super().from_sums(xy, xx, yy)
        if self.squared or self.estimator == "unbiased":
            return squared
        xp = namespace_of(squared)
        return xp.where(xp.isnan(squared), squared, root(squared, xp))
