"""Section 3 of the paper: the Hilbert-Schmidt Independence Criterion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.indexes._kernel_index import KernelIndex
from simkit.properties import Facts, Invariances
from simkit.statistics.hsic_sums import HSICSums, estimate

__all__ = ["HSIC"]


@dataclass(frozen=True)
class HSIC(KernelIndex):
    """Hilbert-Schmidt Independence Criterion: the squared norm of the cross-covariance in the kernels' feature spaces.

    biased:    HSIC(K, L) = tr(KHLH) / (n - 1)^2                                               (equation 3)

    unbiased:  HSIC(K, L) = [tr(K L) + 1'K1 1'L1 / ((n-1)(n-2)) - 2 1'KL1 / (n-2)] / (n(n-3)),  zero diagonals

    It is not normalised and so not comparable between layers: doubling X quadruples it. Use `CKA` to compare layers.

    Parameters
    ----------
    kernel : Kernel or str
        A kernel or its spec string, by default linear: then HSIC = |Y'X|^2 / (n - 1)^2, centred columns. Bandwidths that
        depend on the data are found per layer.
    estimator : {"biased", "unbiased", "lange", "minibatch"}
        ``"unbiased"`` is that of Song et al. 2007 (n >= 4, can be negative), ``"lange"`` that of Lange et al. 2023,
        ``"minibatch"`` the mean of the unbiased one over the batches of a stream (Nguyen et al. 2021).

    References
    ----------
    Gretton et al. 2005, Measuring statistical dependence with Hilbert-Schmidt norms; Song et al. 2007, Supervised feature
    selection via dependence estimation; Kornblith et al. 2019, equation 3.
    """

    name: ClassVar[str] = "hsic"
    reference: ClassVar[str] = "Gretton et al. 2005; Kornblith et al. 2019, eq 3"
    is_normalised: ClassVar[bool] = False

    @property
    def facts(self) -> Facts:
        """Unbounded above; negative values are possible without the bias."""
        return Facts(
            symmetric=True,
            range=(0.0 if self.estimator == "biased" else -math.inf, math.inf),
            invariances=Invariances(self.kernel.invariances, self.kernel.invariances),
            statistic="hsic sums",
            differentiable=self.kernel.differentiable,
            without=self.kernel.without,
            min_examples=self.min_examples,
        )

    def rescaled(self, score: Array, scale: Array) -> Array:
        """HSIC is of first degree in K and in L."""
        return score * scale * scale

    @property
    def knows_chance(self) -> bool:
        """It is of first degree in the HSIC of the pair."""
        return True

    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """HSIC from the sums of the pair; those of the layers with themselves do not matter."""
        del xx, yy
        return estimate(xy, self.estimator)
