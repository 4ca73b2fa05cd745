"""Section 3 of the paper: the Hilbert-Schmidt Independence Criterion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.indexes._kernel_index import KernelIndex
from simkit.properties import Facts, Invariances
from simkit.statistics.hsic_sums import HSICSums, Prepared, all_sums, estimate
from simkit.statistics.weighted_sums import weighted_sums

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

    def score(self, x: Prepared, y: Prepared) -> Array:
        """HSIC of two prepared layers."""
        sums = x.sums(y)
        return self.rescaled(self.from_sums(sums, sums, sums), x.scale * y.scale)

    def scores(self, xs: Sequence[Prepared], ys: Sequence[Prepared], advance: Callable[[], None] = lambda: None) -> Array:
        """HSIC of all pairs, shape (len(xs), len(ys))."""
        across, down = (layers[0].xp.stack([layer.scale for layer in layers]) for layers in (xs, ys))
        sums = all_sums(xs, ys, advance)
        return self.rescaled(self.from_sums(sums, sums, sums), across[:, None] * down[None, :])

    def leave_one_out(self, x: Prepared, y: Prepared) -> Array | None:
        """HSIC without each example in turn, shape (n,); None for Lange's estimator."""
        scores = super().leave_one_out(x, y)
        return None if scores is None else self.rescaled(scores, x.scale * y.scale)

    def resampled(self, x: Prepared, y: Prepared, weights: Array, members: Array | None = None) -> Array:
        """HSIC of resamples, shape (B,); see `KernelIndex.resampled`."""
        (sums,) = weighted_sums([(x, y)], weights, self.estimator, members)
        return self.rescaled(self.from_sums(sums, sums, sums), x.scale * y.scale)

    def rescaled(self, score: Array, scale: Array) -> Array:
        """HSIC is of first degree in K and in L."""
        return score * scale * scale

    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """HSIC from the sums of the pair; those of the layers with themselves do not matter."""
        del xx, yy
        return estimate(xy, self.estimator)
