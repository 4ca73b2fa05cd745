"""The Bures distance between representational similarity matrices, and its normalised similarity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

import simkit
from simkit.arrays import Array, Namespace
from simkit.linalg import compact, cross, ratio, root, singular_values, squared_norm, total
from simkit.properties import Facts, Invariance, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit_shape.angles import angle_of

__all__ = ["Bures"]

Summary: TypeAlias = Literal["similarity", "distance", "angular"]


class _Root(NamedTuple):
    x: Array  # a root of K, in units of `scale`
    trace: Array  # tr K in the same units
    scale: Array
    xp: Namespace


@dataclass(frozen=True)
class Bures(simkit.Index[_Root]):
    """Bures similarity of the centred Gram matrices K = XX' and L = YY': how far apart they are as covariances.

    F = tr((K^1/2 L K^1/2)^1/2), the fidelity, is the nuclear norm of X'Y, so no n x n matrix is needed.

    similarity:  F / sqrt(tr K tr L), the normalised Bures similarity, in [0, 1]

    distance:    sqrt(tr K + tr L - 2 F), the 2-Wasserstein distance of Gaussians N(0, K) and N(0, L), in units of X

    angular:     arccos(similarity), in [0, pi/2]

    The similarity is that of `simkit.indexes.Procrustes`, by another road (Harvey et al. 2024).

    Parameters
    ----------
    summary : {"similarity", "distance", "angular"}

    Raises
    ------
    SpecError
        Another summary.

    References
    ----------
    Bures 1969; Tang et al. 2020 (normalised Bures similarity); Harvey, Larsen & Williams 2024, Duality of Bures and shape
    distances.
    """

    summary: Summary = "similarity"

    name: ClassVar[str] = "bures"
    reference: ClassVar[str] = "Bures 1969; Tang et al. 2020"

    def __post_init__(self) -> None:
        check_choice(self.name, "summary", self.summary, get_args(Summary))

    @property
    def facts(self) -> Facts:
        """The distance notices scale; it and the angle are metrics on Gram matrices."""
        similarity = self.summary == "similarity"
        scale: tuple[Invariance, ...] = () if self.summary == "distance" else ("isotropic_scaling",)
        return Facts(
            symmetric=True,
            range=(0.0, {"similarity": 1.0, "distance": math.inf, "angular": math.pi / 2}[self.summary]),
            invariances=Invariances.both("translation", "orthogonal", *scale),
            statistic="moments",
            identity=1.0 if similarity else 0.0,
            metric=not similarity,
        )

    def prepare(self, representation: Representation) -> _Root:
        """Centred features, a root of K."""
        layer = representation
        x = compact(layer.precise, layer.xp)
        return _Root(x, squared_norm(x, layer.xp), total(layer.scale, layer.xp), layer.xp)

    def score(self, x: _Root, y: _Root) -> Array:
        """A function of the fidelity."""
        xp = x.xp
        fidelity = total(singular_values(cross(x.x, y.x), xp), xp)
        if self.summary == "distance":
            traces = x.scale**2 * x.trace + y.scale**2 * y.trace
            square = traces - 2 * x.scale * y.scale * fidelity
            return root(xp.where(square > 1e-14 * traces, square, 0.0), xp)  # rounding, whose root would be 1e-8
        similarity = xp.clip(ratio(fidelity, root(x.trace, xp) * root(y.trace, xp), xp), max=1.0)
        return similarity if self.summary == "similarity" else angle_of(similarity, xp)

    def permuted(self, state: _Root, order: Array) -> _Root:
        """The rows of the root in another order, which does not change the trace."""
        return state._replace(x=state.xp.take(state.x, order, axis=0))
