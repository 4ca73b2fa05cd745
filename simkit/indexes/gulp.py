"""GULP (Boix-Adsera et al. 2022): how differently two representations predict by ridge regression."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from simkit.arrays import Array, Namespace
from simkit.index import Index
from simkit.indexes._basis_index import formed
from simkit.linalg import Factored, cross, ridge_root, root, squared_norm
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_number

__all__ = ["GULP"]


class _State(NamedTuple):
    z: Factored  # zz' is the hat matrix of ridge regression on the layer
    own: Array  # |zz'|^2
    xp: Namespace


@dataclass(frozen=True)
class GULP(Index[_State]):
    """GULP, a distance: how much the predictions of ridge regressions on X and on Y can disagree, whatever the target.

    d^2 = tr(A_X A_X) + tr(A_Y A_Y) - 2 tr(S_X^-lam S_XY S_Y^-lam S_YX)

    where S are covariance matrices (divided by n) of the layers, each centred and scaled so that E |x|^2 = 1,
    S^-lam = (S + lam I)^-1 and A = S^-lam S. With hat matrices M = X (X'X + n lam I)^-1 X' it is d = |M_X - M_Y|: for
    targets t of length 1 the predictions M_X t and M_Y t are never further apart than d, and for white noise d^2 apart on
    average, in squares.

    Parameters
    ----------
    lam : float
        Ridge penalty, at least 0. Small values compare every direction that varies at all: with 0 the square is
        rank_X + rank_Y - 2 sum rho_i^2 of the canonical correlations. Large values compare the leading directions.

    Notes
    -----
    The authors' programs report the square. Squares below 1e-14 of the two traces are rounding and count as 0.

    References
    ----------
    Boix-Adsera, Lawrence, Stepaniants & Rigollet 2022, GULP: a prediction-based metric between representations.
    """

    lam: float = 0.01

    name: ClassVar[str] = "gulp"
    reference: ClassVar[str] = "Boix-Adsera et al. 2022"

    def __post_init__(self) -> None:
        check_number(self.name, "lam", self.lam, at_least=0)

    @property
    def facts(self) -> Facts:
        """Without a penalty the scale of a direction does not matter."""
        return Facts(
            symmetric=True,
            range=(0.0, math.inf),
            invariances=Invariances.both(
                "orthogonal" if self.lam > 0 else "invertible_linear", "isotropic_scaling", "translation"
            ),
            statistic="moments",
            identity=0.0,
            metric=True,
        )

    def prepare(self, representation: Representation) -> _State:
        """A root of the hat matrix, without forming it."""
        layer = representation
        xp, basis = layer.xp, layer.basis
        if self.lam == 0:
            return _State(basis.columns, xp.astype(basis.rank, basis.columns.x.dtype), xp)
        penalty = self.lam * layer.squared_norm  # E |x|^2 = 1 makes n lam into lam |X|^2
        root_of_hat = ridge_root(layer.coordinates, penalty, xp)
        return _State(basis.columns.times(root_of_hat), squared_norm(cross(root_of_hat, root_of_hat), xp), xp)

    def scores(self, xs: Sequence[_State], ys: Sequence[_State], advance: Callable[[], None] = lambda: None) -> Array:
        """Scores of all pairs; with many partners a root is formed once."""
        return super().scores(*formed(xs, ys, lambda x, count: x._replace(z=x.z.for_products(count))), advance)

    def permuted(self, state: _State, order: Array) -> _State:
        """The rows of z in another order."""
        return state._replace(z=state.z.permuted(order))

    def score(self, x: _State, y: _State) -> Array:
        """The Frobenius norm of the difference of the hat matrices."""
        xp = x.xp
        traces = x.own + y.own
        square = traces - 2 * squared_norm(x.z.cross(y.z), xp)
        distance = root(xp.where(square > 1e-14 * traces, square, 0.0), xp)
        return xp.where(xp.logical_or(x.own == 0, y.own == 0), float("nan"), distance)
