"""Section 3 of the paper: linear regression, how much of X a linear map of Y explains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from simkit.arrays import Array
from simkit.index import Index
from simkit.linalg import Basis, cross, orthonormal_basis, ratio, squared_norm
from simkit.properties import Facts, Invariances, implied
from simkit.representation import Representation

__all__ = ["LinearRegression"]


@dataclass(frozen=True, eq=False)
class _State:
    layer: Representation

    @cached_property
    def basis(self) -> Basis:
        """Needed of the second argument only, so it is not computed before."""
        return orthonormal_basis(self.layer.precise, self.layer.rank_tolerance, self.layer.xp)


@dataclass(frozen=True)
class LinearRegression(Index[_State]):
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

    def prepare(self, representation: Representation) -> _State:
        """Nothing yet: which of basis and norm is needed depends on the side."""
        return _State(representation)

    def score(self, x: _State, y: _State) -> Array:
        """R^2 of X from Y."""
        xp = x.layer.xp
        explained = squared_norm(cross(y.basis.q, x.layer.precise), xp)
        return xp.where(y.basis.rank == 0, float("nan"), ratio(explained, squared_norm(x.layer.precise, xp), xp))
