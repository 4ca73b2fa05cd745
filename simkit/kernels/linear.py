"""k(x, y) = x'y: the kernel of linear CKA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.kernel import Kernel
from simkit.properties import Invariance, implied

__all__ = ["Linear", "is_linear"]


@dataclass(frozen=True)
class Linear(Kernel):
    """The linear kernel, k(x, y) = x'y.

    HSIC with it is a sum of squared covariances between features, so it needs no n x n matrix: simkit works on p x p
    matrices whenever that is cheaper.
    """

    name: ClassVar[str] = "linear"
    reference: ClassVar[str] = "Kornblith et al. 2019, section 3; Robert & Escoufier 1976"
    homogeneous: ClassVar[bool] = True

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations, and offsets since the Gram matrix is centred."""
        return implied("orthogonal", "translation")

    def __call__(self, X: Array, Y: Array) -> Array:
        """XY', shape (n, m)."""
        return X @ Y.mT


def is_linear(kernel: object) -> bool:
    """Whether a kernel is x'y, so that feature space will do; a subclass of `Linear` may compute something else."""
    return isinstance(kernel, Linear) and type(kernel).__call__ is Linear.__call__
