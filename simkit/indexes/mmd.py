"""Maximum mean discrepancy between the joint distribution and the product of its marginals, which is HSIC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.indexes.hsic import HSIC
from simkit.statistics.hsic_sums import Estimator, HSICSums

__all__ = ["MMD"]


@dataclass(frozen=True)
class MMD(HSIC):
    """How far two representations are from independent: the squared MMD between pairs as observed and pairs at random.

    MMD^2(P_XY, P_X P_Y) = |E k(x, .) l(y, .) - E k(x, .) E l(y, .)|^2 = HSIC                     (Sejdinovic et al. 2013)

    with the product kernel k(x, x') l(y, y'). Biased it is the V-statistic tr(KHLH) / n^2, the squared MMD between the n
    observed pairs and all n^2 pairs (x_i, y_j); `HSIC` divides by (n - 1)^2. With ``kernel=distance`` it is the squared
    distance covariance. 0 in the limit of many examples if and only if X and Y are independent, for a characteristic kernel
    such as ``rbf``.

    Parameters
    ----------
    kernel : Kernel or str
        Of both representations; data-dependent bandwidths are found per layer.
    estimator : {"biased", "unbiased"}
        ``"unbiased"`` is the U-statistic of Song et al. 2007, which may be negative (n >= 4).

    References
    ----------
    Gretton et al. 2012, A kernel two-sample test; Sejdinovic et al. 2013, Equivalence of distance-based and RKHS-based
    statistics in hypothesis testing.
    """

    name: ClassVar[str] = "mmd"
    reference: ClassVar[str] = "Gretton et al. 2012; Sejdinovic et al. 2013"
    estimators: ClassVar[tuple[Estimator, ...]] = ("biased", "unbiased")

    @property
    def knows_chance(self) -> bool:
        """It is HSIC but for a factor."""
        return True

    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """HSIC, divided by n^2 as a mean over all pairs where it is biased."""
        bias = ((xy.n - 1) / xy.n) ** 2 if self.estimator == "biased" else 1.0
        return super().from_sums(xy, xx, yy) * bias
