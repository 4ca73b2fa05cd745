"""Cho & Saul 2009: one infinitely wide layer of threshold units, rectified linear units or their squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import simkit
from simkit.arrays import Array, namespace_of
from simkit.linalg import root
from simkit.properties import Invariance, implied
from simkit.spec import check_choice
from simkit_nngp.angles import cosine_of, j0, j1, j2, squared_lengths

__all__ = ["ArcCosine"]


@dataclass(frozen=True)
class ArcCosine(simkit.Kernel):
    """Arc-cosine kernel: k(x, y) = 2 E[h(w'x) h(w'y)] for w ~ N(0, I) and h(u) = u^order where u > 0, else 0.

    k(x, y) = |x|^order |y|^order J(theta) / pi, theta the angle between x and y, with

    order 0:  J = pi - theta

    order 1:  J = sin(theta) + (pi - theta) cos(theta)

    order 2:  J = 3 sin(theta) cos(theta) + (pi - theta)(1 + 2 cos(theta)^2)

    It depends on where the origin is: the features are taken as they are given. An example of length 0 is at a right angle
    to all others.

    Parameters
    ----------
    order : {0, 1, 2}
        Threshold units, rectified linear units, their squares.

    Raises
    ------
    SpecError
        Another order.

    References
    ----------
    Cho & Saul 2009, Kernel methods for deep learning.
    """

    order: Literal[0, 1, 2] = 1

    name: ClassVar[str] = "arccos"
    reference: ClassVar[str] = "Cho & Saul 2009"
    homogeneous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice(self.name, "order", self.order, (0, 1, 2))

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations; order 0 sees angles only."""
        return implied("orthogonal", "isotropic_scaling") if self.order == 0 else implied("orthogonal")

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel values, shape (n, m)."""
        xp = namespace_of(X, Y)
        a, b = squared_lengths(X, xp), squared_lengths(Y, xp)
        c = cosine_of(X @ Y.mT, a, b, xp)
        if self.order == 0:
            return j0(c, xp) / math.pi
        if self.order == 1:
            return root(a, xp)[:, None] * root(b, xp)[None, :] * (j1(c, xp) / math.pi)
        return a[:, None] * b[None, :] * (j2(c, xp) / math.pi)
