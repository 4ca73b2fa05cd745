"""Section 3 of the paper: centred kernel alignment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.indexes._kernel_index import KernelIndex
from simkit.linalg import ratio, root
from simkit.properties import Facts, Invariances, implied
from simkit.statistics.hsic_sums import HSICSums, estimate

__all__ = ["CKA"]


@dataclass(frozen=True)
class CKA(KernelIndex):
    """Centred kernel alignment: HSIC normalised so that a layer's similarity to itself is 1.

    CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))                                       (equation 4)

    With the linear kernel it is |Y'X|^2 / (|X'X| |Y'Y|), the RV coefficient and, of the Gram matrices, Tucker's congruence
    coefficient. It is the paper's recommendation: invariant to rotation and isotropic scaling but not to every invertible
    transform, so it still distinguishes layers wider than the number of examples.

    Parameters
    ----------
    kernel : Kernel or str
        A kernel or its spec string, by default linear; ``"rbf(fraction=0.4)"`` is the paper's other choice. Bandwidths that
        depend on the data are found per layer.
    estimator : {"biased", "unbiased", "lange", "minibatch"}
        The HSIC estimator in numerator and denominator. ``"biased"`` is the paper's; with few examples and many features
        it is too large even for unrelated layers. ``"unbiased"`` (Song et al. 2007) corrects this and may be negative;
        ``"lange"`` (Lange et al. 2023) removes the diagonal after centring instead of before. Both need n >= 4.
        ``"minibatch"`` (Nguyen et al. 2021) is for streams: the unbiased HSICs of each batch are summed over the batches
        before the ratio is taken. In memory there is one batch, so it equals ``"unbiased"``.

    References
    ----------
    Kornblith et al. 2019, equation 4; Cortes et al. 2012; Robert & Escoufier 1976 (RV); Tucker 1951 (congruence).
    """

    name: ClassVar[str] = "cka"
    reference: ClassVar[str] = "Kornblith et al. 2019, eq 4; Cortes et al. 2012"

    @property
    def facts(self) -> Facts:
        """Scale drops out wherever it only multiplies the Gram matrix."""
        kept = self.kernel.invariances | (implied("isotropic_scaling") if self.kernel.homogeneous else frozenset())
        return Facts(
            symmetric=True,
            range=(0.0 if self.estimator == "biased" else -1.0, 1.0),
            invariances=Invariances(kept, kept),
            statistic="hsic sums",
            identity=1.0,
            differentiable=self.kernel.differentiable,
            without=self.kernel.without,
            min_examples=self.min_examples,
        )

    @property
    def knows_chance(self) -> bool:
        """It is of first degree in the HSIC of the pair; the other two do not depend on the order of the examples."""
        return True

    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """The ratio of the three HSICs; of sums, never of averages of ratios."""
        xp = namespace_of(xy.inner)
        norms = root(estimate(xx, self.estimator), xp) * root(estimate(yy, self.estimator), xp)
        return ratio(estimate(xy, self.estimator), norms, xp)
