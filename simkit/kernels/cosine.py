"""k(x, y) = x'y / (|x| |y|)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, Namespace, detach, namespace_of
from simkit.kernel import Kernel
from simkit.linalg import vecdot
from simkit.properties import Invariance, implied

__all__ = ["Cosine", "directions"]


@dataclass(frozen=True)
class Cosine(Kernel):
    """The cosine kernel, k(x, y) = x'y / (|x| |y|), on the features as they are given (not centred).

    An example whose features are all zero has no direction; its similarity to every example, itself included, is 0.
    """

    name: ClassVar[str] = "cosine"
    reference: ClassVar[str] = "Salton & McGill 1983"

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations about the origin, and scale."""
        return implied("orthogonal", "isotropic_scaling")

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel matrix, shape (n, m), values in [-1, 1]."""
        xp = namespace_of(X, Y)
        a = directions(X, xp)
        return a @ (a if Y is X else directions(Y, xp)).mT


def directions(x: Array, xp: Namespace) -> Array:
    """Rows of length 1, or 0; scaled by their largest entry first so that squares neither overflow nor vanish."""
    largest = detach(xp.maximum(xp.max(x, axis=1, keepdims=True), -xp.min(x, axis=1, keepdims=True)))
    x = x / xp.where(largest > 0, largest, 1.0)
    squares = vecdot(x, x, xp)[:, None]
    return x / xp.sqrt(xp.where(squares > 0, squares, 1.0))
