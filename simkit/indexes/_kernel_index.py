"""What HSIC, CKA and their kin share: a kernel, an estimator, and scores that are functions of the three sums."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from simkit.arrays import Array, constant_of, library_of, number_of
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.kernels.linear import Linear
from simkit.registry import get_kernel
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.statistics.chance import mean_sums
from simkit.statistics.hsic_sums import (
    ESTIMATORS,
    Estimator,
    HSICSums,
    KernelEstimator,
    Prepared,
    all_sums,
    are_numbers,
    as_numbers,
    gather,
    own_sums,
    stacked,
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

    Attributes
    ----------
    is_normalised : bool
        `from_sums` looks at the sums of the layers with themselves too.
    estimators : tuple of str
        What `estimator` may be.
    """

    kernel: Kernel = field(default_factory=Linear)
    estimator: Estimator = "biased"

    is_normalised: ClassVar[bool] = True
    estimators: ClassVar[tuple[Estimator, ...]] = ESTIMATORS

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", get_kernel(self.kernel))
        check_choice(self.name, "estimator", self.estimator, self.estimators)

    @property
    def kernel_estimator(self) -> KernelEstimator:
        """What the three sums are of."""
        return KernelEstimator(self.kernel, self.estimator)

    @property
    def is_unbiased(self) -> bool:
        """The HSICs aim at the population's value whatever n is, so the score does, up to the order 1 / n."""
        return self.estimator in ("unbiased", "minibatch")

    @property
    def min_examples(self) -> int:
        """Two for the biased estimator; the other two divide by n - 3."""
        return 2 if self.estimator == "biased" else 4

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """One Gram matrix for each layer and one more while they are made; where these are not made, the planner knows."""
        return (len(rows) + len(columns or ()) + 1) * n * n * itemsize

    def prepare(self, representation: Representation) -> Prepared:
        """The Gram matrix, or the features where the kernel is linear and they are smaller."""
        return gather(representation, self.kernel, self.estimator)

    def score(self, x: Prepared, y: Prepared) -> Array:
        """The score of one pair."""
        return self._of_pair(x.sums(y), x, y)

    def _of_pair(self, xy: HSICSums, x: Prepared, y: Prepared) -> Array:
        """The score from the sums of a pair, as they are or their means over all orders."""
        scale = x.scale * y.scale
        if library_of(scale) != "numpy" and are_numbers([xy.inner]):
            xy = as_numbers(xy)
            xx, yy = (x.own_numbers, y.own_numbers) if self.is_normalised else (xy, xy)
            if xx is not None and yy is not None:
                with np.errstate(all="ignore"):
                    return constant_of(self.rescaled(self.from_sums(xy, xx, yy), number_of(scale)), scale, x.xp)
        xx, yy = (x.own, y.own) if self.is_normalised else (xy, xy)
        return self.rescaled(self.from_sums(xy, xx, yy), scale)

    def scores(self, xs: Sequence[Prepared], ys: Sequence[Prepared], advance: Callable[[], None] = lambda: None) -> Array:
        """The scores of all pairs, shape (len(xs), len(ys)), from one pass over the layers."""
        xy = xx = yy = all_sums(xs, ys, advance)
        if self.is_normalised:
            xx, yy = _own(xs, ys)
        return self.rescaled(self.from_sums(xy, xx, yy), _scales(xs, ys))

    def chance(self, xs: Sequence[Prepared], ys: Sequence[Prepared], n: int) -> Array:
        """The score of the mean sums over all orders: see `simkit.statistics.chance`."""
        both = (*xs, *ys)
        if len(both) == 2 and not (self.is_normalised and any(layer.own_numbers is None for layer in both)):
            xy = mean_sums(xs[0].trace(self.estimator), ys[0].trace(self.estimator), self.estimator, n)
            return xs[0].xp.reshape(self._of_pair(xy, xs[0], ys[0]), (1, 1))
        x, y = (self._traces(side) for side in (xs, ys))
        xy = xx = yy = mean_sums(x[:, None], y[None, :], self.estimator, n)
        if self.is_normalised:
            xx, yy = _own(xs, ys)
        return self.rescaled(self.from_sums(xy, xx, yy), _scales(xs, ys))

    def _traces(self, layers: Sequence[Prepared]) -> Array:
        first, traces = layers[0], [layer.trace(self.estimator) for layer in layers]
        return constant_of(np.asarray(traces), first.scale, first.xp) if are_numbers(traces) else first.xp.stack(traces)

    def permuted(self, state: Prepared, order: Array) -> Prepared:
        """The rows of the features, or the rows and columns of the Gram matrix, in another order."""
        return state.permuted(order)

    def leave_one_out(self, xs: Sequence[Prepared], ys: Sequence[Prepared]) -> Array | None:
        """Scores of all pairs without each example in turn; None for Lange's estimator, which no three sums give."""
        if self.estimator == "lange":
            return None
        return self._from_pairs(xs, ys, lambda pairs: [without_each(x, y) for x, y in pairs])

    def resampled(
        self, xs: Sequence[Prepared], ys: Sequence[Prepared], weights: Array, members: Array | None = None
    ) -> Array:
        """Scores of all pairs in resamples, as matrix products: see `simkit.statistics.weighted_sums`."""
        return self._from_pairs(xs, ys, lambda pairs: weighted_sums(pairs, weights, self.estimator, members))

    def bytes_resampled(self, n: int, layers: int) -> int:
        """The n x n matrices that `weighted_sums` holds at a time: one for each layer, three for a pair of them."""
        return (layers + 3) * n * n * 8

    def _from_pairs(
        self, xs: Sequence[Prepared], ys: Sequence[Prepared], sums: Callable[[list[tuple[Any, Any]]], list[HSICSums]]
    ) -> Array:
        """Scores of shape (B, len(xs), len(ys)), where `sums` gives those of each pair as arrays of shape (B,).

        Sums are symmetric, so each unordered pair is asked for once.
        """
        xp, xs, ys = xs[0].xp, [x.whole for x in xs], [y.whole for y in ys]
        across = [(x, y) for x in xs for y in ys]
        own = [(z, z) for z in (*xs, *ys)] if self.is_normalised else []
        pairs = {frozenset(map(id, pair)): pair for pair in (*across, *own)}
        found = dict(zip(pairs, sums(list(pairs.values())), strict=True))

        def stacked(wanted: list[tuple[Any, Any]], shape: tuple[int, int]) -> HSICSums:
            parts = [found[frozenset(map(id, pair))] for pair in wanted]
            inner, rows, totals = (
                xp.reshape(xp.stack([part[k] for part in parts], axis=-1), (-1, *shape)) for k in range(3)
            )
            n = parts[0].n
            return HSICSums(inner, rows, totals, n if isinstance(n, int) else n[:, None, None])

        xy = xx = yy = stacked(across, (len(xs), len(ys)))
        if self.is_normalised:
            xx, yy = stacked(own[: len(xs)], (len(xs), 1)), stacked(own[len(xs) :], (1, len(ys)))
        return self.rescaled(self.from_sums(xy, xx, yy), _scales(xs, ys))

    @abstractmethod
    def from_sums(self, xy: HSICSums, xx: HSICSums, yy: HSICSums) -> Array:
        """The score from the three sums of each of the three pairs; elementwise where they are arrays."""


def _own(xs: Sequence[Prepared], ys: Sequence[Prepared]) -> tuple[HSICSums, HSICSums]:
    """The sums of the layers with themselves, of shapes (len(xs), 1) and (1, len(ys))."""
    xx, yy = own_sums(xs), own_sums(ys)
    return (
        HSICSums(xx.inner[:, None], xx.rows[:, None], xx.totals[:, None], xx.n),
        HSICSums(yy.inner[None, :], yy.rows[None, :], yy.totals[None, :], yy.n),
    )


def _scales(xs: Sequence[Prepared], ys: Sequence[Prepared]) -> Array:
    """The products of the scales of all pairs, shape (len(xs), len(ys))."""
    across, down = (stacked([layer.scale for layer in layers], layers[0].xp) for layers in (xs, ys))
    return across[:, None] * down[None, :]
