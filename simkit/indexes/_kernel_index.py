"""What HSIC, CKA and their kin share: a kernel, an estimator, and scores that are functions of the three sums."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from simkit.arrays import Array
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.kernels.linear import Linear
from simkit.registry import get_kernel
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.statistics.hsic_sums import (
    ESTIMATORS,
    Estimator,
    HSICSums,
    KernelEstimator,
    Prepared,
    all_sums,
    gather,
    own_sums,
)
from simkit.statistics.leave_one_out import without_each
from simkit.statistics.weighted_sums import weighted_sums

__all__ = ["KernelIndex"]


@dataclass(frozen=True)
class KernelIndex(Index[Prepared]):
    """An index that is a function of the HSIC sums of (X, Y), (X, X) and (Y, Y).

    Parameters
    ----------
    kernel : Kernel or str
        A kernel or its spec string; data-dependent bandwidths are found per layer.
    estimator : {"biased", "unbiased", "lange", "minibatch"}
        See `simkit.statistics.hsic_sums`.
    """

    kernel: Kernel = field(default_factory=Linear)
    estimator: Estimator = "biased"

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", get_kernel(self.kernel))
        check_choice(self.name, "estimator", self.estimator, ESTIMATORS)

    @property
    def kernel_estimator(self) -> KernelEstimator:
        """The kernel and the estimator of the HSICs."""
        return KernelEstimator(self.kernel, self.estimator)

    @property
    def min_examples(self) -> int:
        """Two for the biased estimator; the other two divide by n - 3."""
        return 2 if self.estimator == "biased" else 4

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """One Gram matrix for each layer and two more while they are made; where these are not made, the planner knows."""
        return (len(rows) + len(columns or ()) + 2) * n * n * itemsize

    def prepare(self, representation: Representation) -> Prepared:
        """The Gram matrix, or the features where the kernel is linear and they are smaller."""
        return gather(representation, self.kernel, self.estimator)

    def score(self, x: Prepared, y: Prepared) -> Array:
        """The score of one pair."""
        return self.from_sums(x.sums(y), x.own, y.own)

    def scores(self, xs: Sequence[Prepared], ys: Sequence[Prepared], advance: Callable[[], None] = lambda: None) -> Array:
        """The scores of all pairs, shape (len(xs), len(ys)), from one pass over the layers."""
        xx, yy = own_sums(xs), own_sums(ys)
        across = HSICSums(xx.inner[:, None], xx.rows[:, None], xx.totals[:, None], xx.n)
        down = HSICSums(yy.inner[None, :], yy.rows[None, :], yy.totals[None, :], yy.n)
        return self.from_sums(all_sums(xs, ys, advance), across, down)

    def leave_one_out(self, x: Prepared, y: Prepared) -> Array | None:
        """Scores without each example in turn, shape (n,), in the time of a few scores.

        None where the sums do not give them: Lange's estimator, or a kernel that would be fitted anew without an example.
        """
        if self.estimator == "lange":
            return None
        return self.from_sums(without_each(x, y), without_each(x, x), without_each(y, y))

    def resampled(self, x: Prepared, y: Prepared, weights: Array, members: Array | None = None) -> Array:
        """Scores of resamples in which unit u was drawn ``weights[b, u]`` times, shape (B,), as matrix products.

        A unit is an example, or the examples with one number in `members`. Copies count as weights of the different
        examples, so that no pair of copies counts as a pair of examples: see `simkit.statistics.weighted_sums`. Weights of 0
        and 1 give the scores of the units with 1. Kernels stay as they were fitted to all examples: a bandwidth that follows
        the data is not fitted anew. nan for a resample of fewer different examples than the estimator needs.

        Parameters
        ----------
        x, y : state
            Prepared layers of n examples.
        weights : array, shape (B, m)
            In the accumulation precision of the layers (float64 where the device has it).
        members : array of n integers, optional
            The unit of each example, from 0 to m - 1.
        """
        return self.from_sums(*weighted_sums([(x, y), (x, x), (y, y)], weights, self.estimator, members))

    @property
    def is_unbiased(self) -> bool:
        """The HSICs aim at the population's value whatever n is, so the score does, up to the order 1 / n."""
        return self.estimator in ("unbiased", "minibatch")

    @abstractmethod
    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """The score from the three sums of each of the three pairs; elementwise where they are arrays."""
