"""Section 3 of the paper: linear regression, how much of X a linear map of Y explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.index import Index
from simkit.linalg import all_ranks, ratio, squared_norm
from simkit.properties import Facts, Invariances, implied
from simkit.representation import Representation

__all__ = ["LinearRegression"]


@dataclass(frozen=True)
class LinearRegression(Index[Representation]):
    """Proportion of the variance of X that is explained by Y: R^2 of the regression of all columns of X on Y.

    R^2 = 1 - min_B |X - Y B|^2 / |X|^2 = |Q_Y' X|^2 / |X|^2                                     (equation 5)

    ``compare(X, Y)`` fits X **from** Y, as the equation says and whatever the prose around it. It is asymmetric: invariant
    to every invertible linear transform of Y, but only to rotations and isotropic scaling of X. With p_Y >= n - 1 it is 1
    for any X (Theorem 1).

    References
    ----------
    Kornblith et al. 2019, equation 5.
    """

    name: ClassVar[str] = "linear_regression"
    reference: ClassVar[str] = "Kornblith et al. 2019, eq 5"

    @property
    def facts(self) -> Facts:
        """Y may be transformed at will, X only rotated and scaled."""
        return Facts(
            symmetric=False,
            range=(0.0, 1.0),
            invariances=Invariances(
                x=implied("orthogonal", "isotropic_scaling", "translation"), y=implied("invertible_linear", "translation")
            ),
            statistic="moments",
            identity=1.0,
        )

    def prepare(self, representation: Representation) -> Representation:
        """Nothing yet: which of basis and norm is needed depends on the side."""
        return representation

    def score(self, x: Representation, y: Representation) -> Array:
        """R^2 of X from Y."""
        xp = x.xp
        explained = squared_norm(y.basis.columns.cross(x.columns), xp)
        return xp.where(y.basis.rank == 0, float("nan"), ratio(explained, x.squared_norm, xp))

    @property
    def knows_chance(self) -> bool:
        """It is linear in the projection on Y."""
        return True

    def chance(self, xs: Sequence[Representation], ys: Sequence[Representation], n: int) -> Array:
        """rank(Y) / (n - 1): the share of any variance that falls into a space of that dimension at random."""
        share = all_ranks([y.basis for y in ys]) / (n - 1)
        return xs[0].xp.stack([share] * len(xs))
