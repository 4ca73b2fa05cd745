"""Soft matching of neurons by optimal transport (Khosla & Williams 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, get_args

from simkit.arrays import Array, constant_of
from simkit.indexes.matching import NeuronIndex, Neurons
from simkit.linalg import cross, ratio, root, total, transport
from simkit.properties import Facts, Invariances
from simkit.spec import check_choice

__all__ = ["SoftMatch"]

Summary: TypeAlias = Literal["correlation", "distance"]


@dataclass(frozen=True)
class SoftMatch(NeuronIndex):
    """Neurons of X matched to neurons of Y in shares, so that layers of different widths match completely.

    correlation:  s = max_P sum_ij P_ij corr(x_i, y_j), over all P >= 0 with row sums 1/p1 and column sums 1/p2

    distance:     sqrt(2 - 2 s), the Wasserstein distance between the two clouds of standardised neurons

    The distance satisfies the triangle inequality. It is 0 between layers whose neurons are the same, in any order and on
    any scale, in the same proportions: also between a layer and one that has each of its neurons twice, so it is a metric
    only between layers of one width.

    For layers of equal width P is a permutation, and s is that of `BipartiteMatch`. Correlations are signed. Neurons that do
    not vary take no part and are not counted. The transport plan is found on the host: for equal widths by SciPy's
    assignment; else by the network simplex of POT where that is installed, ``pip install "simkit-similarity[transport]"``,
    and by shortest paths in NumPy where it is not, which gives the same score in some 30 times the time, seconds for a
    thousand neurons.

    Parameters
    ----------
    summary : {"correlation", "distance"}

    References
    ----------
    Khosla & Williams 2024, Soft matching distance: a metric on neural representations that captures single-neuron tuning.
    """

    summary: Summary = "correlation"

    name: ClassVar[str] = "soft_match"
    reference: ClassVar[str] = "Khosla & Williams 2024"

    def __post_init__(self) -> None:
        check_choice(self.name, "summary", self.summary, get_args(Summary))

    @property
    def facts(self) -> Facts:
        """Neurons are compared as they are: a rotation mixes them."""
        distance = self.summary == "distance"
        return Facts(
            symmetric=True,
            range=(0.0, 2.0) if distance else (-1.0, 1.0),
            invariances=Invariances.both("permutation", "isotropic_scaling", "translation"),
            statistic="moments",
            identity=0.0 if distance else 1.0,
            differentiable=False,
            host=True,
        )

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """The correlations of two layers, and the plan."""
        return 3 * max(rows) * max(columns or rows) * 8

    def score(self, x: Neurons, y: Neurons) -> Array:
        """Correlation under the best transport plan, or the distance that it is."""
        xp = x.xp
        correlation = cross(x.z, y.z)
        plan = constant_of(transport(correlation, x.varies, y.varies), correlation, xp)
        similarity = ratio(total(plan * correlation, xp), total(plan, xp), xp)
        if self.summary == "correlation":
            return similarity
        square = 2 - 2 * similarity
        # 2 - 2s of a layer with itself is rounding, whose root would be 1e-8
        return xp.where(xp.isnan(square), square, root(xp.where(square > 1e-14, square, 0.0), xp))
