"""k(x, y) = (gamma x'y + coef0)^degree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.kernel import Kernel
from simkit.properties import Invariance, implied
from simkit.spec import check_number, check_whole

__all__ = ["Polynomial"]


@dataclass(frozen=True)
class Polynomial(Kernel):
    """The polynomial kernel, k(x, y) = (gamma x'y + coef0)^degree, on the features as they are given (not centred).

    Parameters
    ----------
    degree : int
        At least 1.
    gamma : float, optional
        Positive; default 1 / p, as in scikit-learn.
    coef0 : float
        At least 0, so that the kernel is positive semidefinite.

    Raises
    ------
    SpecError
        A parameter is out of its range.
    """

    degree: int = 3
    gamma: float | None = None
    coef0: float = 1.0

    name: ClassVar[str] = "polynomial"
    reference: ClassVar[str] = "Schoelkopf & Smola 2002, Learning with Kernels, section 2.3"

    def __post_init__(self) -> None:
        check_whole(self.name, "degree", self.degree, at_least=1)
        if self.gamma is not None:
            check_number(self.name, "gamma", self.gamma, above=0)
        check_number(self.name, "coef0", self.coef0, at_least=0)

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        """Without a constant term, scaling the features scales K."""
        return self.coef0 == 0

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations about the origin."""
        return implied("orthogonal")

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel matrix, shape (n, m)."""
        gamma = 1.0 / X.shape[1] if self.gamma is None else self.gamma
        return _power(gamma * (X @ Y.mT) + self.coef0, int(self.degree))


def _power(x: Array, exponent: int) -> Array:
    """By squaring: a general power takes several times as long."""
    power = x if exponent % 2 else None
    while exponent > 1:
        x, exponent = x * x, exponent // 2
        if exponent % 2:
            power = x if power is None else power * x
    return power
