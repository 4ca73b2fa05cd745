"""Related work of the paper, Li et al. 2015: neurons matched one by one by their correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from simkit.arrays import Array, Namespace, constant_of
from simkit.index import Index
from simkit.linalg import assignment, cross, ratio, total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation

__all__ = ["BipartiteMatch", "NeuronIndex", "Neurons", "SemiMatch"]


class Neurons(NamedTuple):
    """Standardised neurons of a layer."""

    z: Array  # columns of length 1, or 0 where a neuron does not vary
    varies: Array  # 1 or 0 for each neuron
    xp: Namespace


class NeuronIndex(Index[Neurons]):
    """An index of the correlations of the neurons of X with those of Y."""

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """The correlations of two layers, twice."""
        return 2 * max(rows) * max(columns or rows) * 8

    def prepare(self, representation: Representation) -> Neurons:
        """Neurons with mean 0 and length 1; those that do not vary are 0."""
        layer = representation
        xp, x = layer.xp, layer.precise
        squares = total(x * x, xp, axis=0)
        varies = squares > 0
        z = x / xp.sqrt(xp.where(varies, squares, 1.0))
        return Neurons(z, xp.astype(varies, z.dtype), xp)


@dataclass(frozen=True)
class BipartiteMatch(NeuronIndex):
    """Mean correlation of neurons that are matched one to one so that the sum of correlations is largest.

    max_pi sum_i corr(x_i, y_pi(i)) / min(p1, p2)

    Correlations are signed. Neurons that do not vary take no part and are not counted. The assignment is SciPy's, on the
    host.

    References
    ----------
    Li, Yosinski, Clune, Lipson & Hopcroft 2015, Convergent learning.
    """

    name: ClassVar[str] = "bipartite_match"
    reference: ClassVar[str] = "Li et al. 2015"

    @property
    def facts(self) -> Facts:
        """Neurons are compared as they are: a rotation mixes them."""
        return Facts(
            symmetric=True,
            range=(-1.0, 1.0),
            invariances=Invariances.both("permutation", "isotropic_scaling", "translation"),
            statistic="moments",
            identity=1.0,
            differentiable=False,
            host=True,
        )

    def score(self, x: Neurons, y: Neurons) -> Array:
        """Mean correlation of the best one-to-one matching."""
        xp = x.xp
        correlation = cross(x.z, y.z)
        # Two ahead of every pair with a neuron that does not vary, so that those are matched last; then not counted.
        both = x.varies[:, None] * y.varies[None, :]
        chosen = constant_of(assignment((correlation + 2.0) * both), correlation, xp) * both
        return ratio(total(chosen * correlation, xp), total(chosen, xp), xp)


@dataclass(frozen=True)
class SemiMatch(NeuronIndex):
    """Mean over the neurons of X of the correlation with their best match in Y, which several may share.

    sum_i max_j corr(x_i, y_j) / p1

    Correlations are signed. Neurons that do not vary take no part and are not counted. Asymmetric.

    References
    ----------
    Li, Yosinski, Clune, Lipson & Hopcroft 2015, Convergent learning.
    """

    name: ClassVar[str] = "semi_match"
    reference: ClassVar[str] = "Li et al. 2015"

    @property
    def facts(self) -> Facts:
        """Neurons are compared as they are: a rotation mixes them."""
        return Facts(
            symmetric=False,
            range=(-1.0, 1.0),
            invariances=Invariances.both("permutation", "isotropic_scaling", "translation"),
            statistic="moments",
            identity=1.0,
        )

    def score(self, x: Neurons, y: Neurons) -> Array:
        """Mean correlation of each neuron of X with its best match."""
        xp = x.xp
        best = xp.max(xp.where(y.varies[None, :] > 0, cross(x.z, y.z), -1.0), axis=1)
        return ratio(total(best * x.varies, xp), total(x.varies, xp), xp)
