"""What HSIC, CKA and their kin share: a kernel, an estimator, and scores that are functions of the three sums."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from simkit.arrays import Array
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.kernels.linear import Linear
from simkit.registry import get_kernel
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.statistics.hsic_sums import ESTIMATORS, Estimator, HSICSums, Prepared, gather

__all__ = ["KernelIndex"]


@dataclass(frozen=True)
class KernelIndex(Index[Prepared]):
    """An index that is a function of the HSIC sums of (X, Y), (X, X) and (Y, Y).

    Parameters
    ----------
    kernel : Kernel or str
        A kernel or its spec string; data-dependent bandwidths are found per layer.
    estimator : {"biased", "unbiased", "lange"}
        See `simkit.statistics.hsic_sums`.
    """

    kernel: Kernel = field(default_factory=Linear)
    estimator: Estimator = "biased"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", get_kernel(self.kernel))
        check_choice(self.name, "estimator", self.estimator, ESTIMATORS)

    @property
    def min_examples(self) -> int:
        """Two for the biased estimator; the other two divide by n - 3."""
        return 2 if self.estimator == "biased" else 4

    def prepare(self, representation: Representation) -> Prepared:
        """The Gram matrix, or the features where the kernel is linear and they are smaller."""
        return gather(representation, self.kernel, self.estimator)

    @abstractmethod
    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """The score from the three sums of each of the three pairs."""
