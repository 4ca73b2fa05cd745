"""k(x, y) = -|x - y|: the kernel that makes HSIC distance covariance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.kernels._of_distances import KernelOfDistances
from simkit.linalg.in_place import roots, times
from simkit.properties import Invariance, implied

__all__ = ["Distance"]


@dataclass(frozen=True)
class Distance(KernelOfDistances):
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

    def _of_squares(self, scale: Array, like: Array) -> Callable[[Array], Array]:
        """-sqrt(squares)."""
        xp = namespace_of(like)
        return lambda squares: times(roots(squares, xp), -scale, xp)
