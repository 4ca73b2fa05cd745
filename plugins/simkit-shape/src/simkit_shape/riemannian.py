"""The affine-invariant Riemannian distance between representational similarity matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import simkit
from simkit.arrays import Array, Namespace
from simkit.linalg import identity, ratio, root, squared_norm, total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_number

__all__ = ["Riemannian"]


class _Definite(NamedTuple):
    k: Array  # positive definite, (n, n), of trace 1
    whitening: Array  # L^-1 with LL' = k
    xp: Namespace


@dataclass(frozen=True)
class Riemannian(simkit.Index[_Definite]):
    """Geodesic distance between Gram matrices in the cone of positive definite matrices.

    d(K, L) = sqrt(sum_i log^2 lambda_i), lambda_i the eigenvalues of K^-1 L, of

    K = (1 - shrinkage) XX' / tr(XX') + shrinkage I / n

    A Gram matrix of centred features is singular, where the distance is infinite: shrinking moves it into the cone, and
    decides how much small directions count. The distance is large between layers of different effective dimension, which
    `Bures` and CKA hardly see. It works with n x n matrices.

    Parameters
    ----------
    shrinkage : float
        In (0, 1).

    Raises
    ------
    SpecError
        The shrinkage is out of range.

    References
    ----------
    Pennec, Fillard & Ayache 2006, A Riemannian framework for tensor computing; Shahbazi et al. 2021, Using distance on the
    Riemannian manifold to compare representations in brain and in models.
    """

    shrinkage: float = 0.1

    name: ClassVar[str] = "riemannian"
    reference: ClassVar[str] = "Pennec et al. 2006; Shahbazi et al. 2021"

    def __post_init__(self) -> None:
        check_number(self.name, "shrinkage", self.shrinkage, above=0)
        if self.shrinkage >= 1:
            raise simkit.errors.SpecError(f"{self.name}: shrinkage={self.shrinkage!r}; expected a number below 1.")

    @property
    def facts(self) -> Facts:
        """A metric; affine transforms of examples, not of features, are harmless."""
        return Facts(
            symmetric=True,
            range=(0.0, math.inf),
            invariances=Invariances.both("translation", "orthogonal", "isotropic_scaling"),
            statistic="examples",
            identity=0.0,
            metric=True,
        )

    def prepare(self, representation: Representation) -> _Definite:
        """The shrunk Gram matrix and the inverse of its Cholesky factor."""
        layer = representation
        xp, n = layer.xp, layer.n
        x = layer.precise
        gram = ratio(x @ x.mT, squared_norm(x, xp), xp)
        gram = xp.where(xp.isnan(gram), 0.0, gram)  # a constant layer: its score is nan whatever stands here
        k = (1 - self.shrinkage) * gram + self.shrinkage / n * identity(n, x, xp)
        return _Definite(k, xp.linalg.inv(xp.linalg.cholesky((k + k.mT) / 2)), xp)

    def score(self, x: _Definite, y: _Definite) -> Array:
        """Root of the sum of squared logarithms."""
        xp = x.xp
        between = x.whitening @ y.k @ x.whitening.mT
        logs = xp.log(xp.clip(xp.linalg.eigvalsh((between + between.mT) / 2), min=1e-300))
        square = total(logs * logs, xp)
        rounding = (1e-14 * logs.shape[0] / self.shrinkage) ** 2 * logs.shape[0]
        return root(xp.where(square > rounding, square, 0.0), xp)
