"""Some of all pairs of examples, such as those of each example and its neighbours, in memory that grows with them."""

from __future__ import annotations

from typing import NamedTuple

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, placement, to_numpy
from simkit.linalg import total, widen

__all__ = ["PairSet", "Places"]


class Places(NamedTuple):
    """Where the pairs of one set are among those of another."""

    at: Array  # None: they are the same pairs
    found: Array  # whether they are there at all; None: all are
    xp: Namespace

    def take(self, values: Array) -> Array:
        """Values of the other set for the pairs of this one; 0 for those that the other has not."""
        if self.at is None:
            return values
        taken = self.xp.take(values, self.at)
        return taken if self.found is None else self.xp.where(self.found, taken, 0.0)


class PairSet(NamedTuple):
    """A set of ordered pairs of n examples, (i, j) as the number i n + j.

    Attributes
    ----------
    numbers : array of integers, shape (N,), or None
        In ascending order. None for all n n pairs.
    n : int
    xp : namespace
        Of the numbers, and of the values that go with the pairs, arrays of shape (N,) or (n n,).
    """

    numbers: Array
    n: int
    xp: Namespace

    def to(self, xp: Namespace, like: Array) -> PairSet:
        """The same set in another library, on the device of `like`."""
        numbers = None if self.numbers is None else xp.asarray(to_numpy(self.numbers), **placement(like))
        return PairSet(numbers, self.n, xp)

    def places_in(self, other: PairSet) -> Places:
        """Where the pairs of this set are in another; the other is this one, or one of all pairs, or neither is."""
        if self.numbers is other.numbers:
            return Places(None, None, self.xp)
        if other.numbers is None:
            return Places(self.numbers, None, self.xp)
        return other._places_of(self.numbers)

    def transposed(self, values: Array) -> Array:
        """For each pair (i, j) the value of (j, i); 0 where that is not in the set."""
        if self.numbers is None:
            return self.xp.reshape(self.xp.reshape(values, (self.n, self.n)).mT, (-1,))
        return self._places_of(self.numbers % self.n * self.n + self.numbers // self.n).take(values)

    def sums(self, values: Array, axis: int) -> Array:
        """Sums of values over the first examples of the pairs (axis 0) or over the second (1), shape (n,)."""
        xp, n = self.xp, self.n
        if self.numbers is None:
            return total(xp.reshape(values, (n, n)), xp, axis=axis)
        if array_api_compat.is_numpy_namespace(xp):
            kept = self.numbers // n if axis == 1 else self.numbers % n
            return np.bincount(kept, weights=values, minlength=n)
        numbers = self.numbers
        if axis == 0:
            order = xp.argsort(numbers % n, stable=True)
            numbers, values = xp.take(numbers % n * n, order), xp.take(values, order)
        sums = xp.cumulative_sum(widen(values, xp), include_initial=True)
        ends = xp.searchsorted(numbers, xp.arange(n + 1, **placement(numbers)) * n)
        return xp.take(sums, ends[1:]) - xp.take(sums, ends[:-1])

    def permuted(self, order: Array) -> tuple[PairSet, Array]:
        """The set with the examples in another order, and the place that each of its pairs had before."""
        xp, n, numbers = self.xp, self.n, self.numbers
        if numbers is None:
            return self, xp.reshape(order[:, None] * n + order[None, :], (-1,))
        if array_api_compat.is_numpy_namespace(xp):
            order = to_numpy(order)
        now = xp.argsort(order)
        moved = xp.take(now, numbers // n) * n + xp.take(now, numbers % n)
        places = xp.argsort(moved)
        return self._replace(numbers=xp.take(moved, places)), places

    def _places_of(self, numbers: Array) -> Places:
        xp, last = self.xp, self.numbers.shape[0] - 1
        index = xp.clip(xp.searchsorted(self.numbers, numbers), max=last)
        return Places(index, xp.take(self.numbers, index) == numbers, xp)
