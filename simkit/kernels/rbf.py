"""k(x, y) = exp(-|x - y|^2 / (2 sigma^2)): the kernel of RBF CKA."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from simkit.arrays import Array, namespace_of
from simkit.kernel import FitNeeds
from simkit.kernels._bandwidth import bandwidth, check_bandwidth
from simkit.kernels._of_distances import KernelOfDistances
from simkit.linalg.in_place import exponential, times
from simkit.properties import Invariance, implied

__all__ = ["RBF"]


@dataclass(frozen=True)
class RBF(KernelOfDistances):
    """The radial basis function (Gaussian) kernel, k(x, y) = exp(-|x - y|^2 / (2 sigma^2)), values in (0, 1].

    Parameters
    ----------
    fraction : float
        Bandwidth as a fraction of the median Euclidean distance over the distinct pairs of examples of each layer. The
        paper uses 0.2, 0.4 and 0.8; small fractions emphasise similarity between neighbours.
    sigma : float, optional
        A fixed bandwidth in the units of the features, instead of `fraction`. In high dimension a fixed value easily makes
        K the identity, and CKA 1 for everything.

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

    name: ClassVar[str] = "rbf"
    reference: ClassVar[str] = "Kornblith et al. 2019, section 3"

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
        """exp(-squares / (2 sigma^2))."""
        xp = namespace_of(like)
        # The square of sigma may be out of range, and that of distances before they are measured in it.
        unit = xp.clip(scale / self.sigma, max=float(xp.finfo(like.dtype).max) ** 0.5)
        factor = -0.5 * unit * unit
        return lambda squares: exponential(times(squares, factor, xp), xp)
