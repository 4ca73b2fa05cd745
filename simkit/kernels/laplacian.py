"""k(x, y) = exp(-|x - y| / sigma)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from simkit.arrays import Array, namespace_of
from simkit.kernel import FitNeeds
from simkit.kernels._bandwidth import bandwidth, check_bandwidth
from simkit.kernels._of_distances import KernelOfDistances
from simkit.linalg.in_place import exponential, roots, times
from simkit.properties import Invariance, implied

__all__ = ["Laplacian"]


@dataclass(frozen=True)
class Laplacian(KernelOfDistances):
    """The Laplacian kernel of the Euclidean distance, k(x, y) = exp(-|x - y| / sigma), in (0, 1].

    Heavier tails than the Gaussian: distant examples still count. (scikit-learn's ``laplacian_kernel`` uses the Manhattan
    distance, which rotations of the features change.)

    Parameters
    ----------
    fraction : float
        Bandwidth as a fraction of the median distance over the distinct pairs of examples of each layer.
    sigma : float, optional
        A fixed bandwidth in the units of the features, instead of `fraction`.

    Raises
    ------
    SpecError
        The bandwidth is not a positive number.

    Notes
    -----
    Where most pairs of examples coincide the median distance is 0 and no scale can be read off the data: the score is nan,
    with a `ConstantInputWarning`. Give `sigma` then.
    """

    fraction: float = 1.0
    sigma: Any = None

    name: ClassVar[str] = "laplacian"
    reference: ClassVar[str] = "Schoelkopf & Smola 2002, Learning with Kernels, section 4.4"

    def __post_init__(self) -> None:
        check_bandwidth(self)

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations and offsets; scale too where the bandwidth follows the data."""
        return implied("orthogonal", "translation", *(("isotropic_scaling",) if self.sigma is None else ()))

    @property
    def fit_needs(self) -> FitNeeds:  # type: ignore[override]
        """The median distance, unless `sigma` is given."""
        return "median distance" if self.sigma is None else "nothing"

    def with_median(self, median: Array) -> Self:
        """Set sigma to `fraction` of the median distance."""
        return replace(self, sigma=bandwidth(median, self.fraction))

    def _of_squares(self, scale: Array, like: Array) -> Callable[[Array], Array]:
        """exp(-sqrt(squares) / sigma)."""
        xp = namespace_of(like)
        unit = xp.clip(scale / self.sigma, max=float(xp.finfo(like.dtype).max))  # the distance 0 times it is 0
        return lambda squares: exponential(times(roots(squares, xp), -unit, xp), xp)
