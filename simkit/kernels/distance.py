"""k(x, y) = -|x - y|: the kernel that makes HSIC distance covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.kernel import Kernel
from simkit.linalg import distances
from simkit.properties import Invariance, implied

__all__ = ["Distance"]


@dataclass(frozen=True)
class Distance(Kernel):
    """The negative Euclidean distance, k(x, y) = -|x - y|.

    It is positive semidefinite once centred, so HSIC with it is a dependence measure: (n - 1)^2 / n^2 of the biased one is
    the squared distance covariance. It needs no bandwidth.
    """

    name: ClassVar[str] = "distance"
    reference: ClassVar[str] = "Sejdinovic et al. 2013"
    homogeneous: ClassVar[bool] = True

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations and offsets."""
        return implied("orthogonal", "translation")

    def __call__(self, X: Array, Y: Array) -> Array:
        """Negative distances, shape (n, m)."""
        xp = namespace_of(X, Y)
        return -distances(X, Y, xp)
