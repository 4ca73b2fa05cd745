"""Squared distances in blocks, of which each is one matrix product; kept in memory where they are needed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import array_api_compat
import numpy as np

from simkit.arrays import Array, namespace_of
from simkit.linalg.distances import not_below_zero, squared_lengths
from simkit.linalg.safe import is_ordinary, power_of_two
from simkit.threads import in_threads

__all__ = ["Block", "BlockMaker", "KeptSquares", "Points", "Squares", "unit_of"]

Block: TypeAlias = tuple[slice, slice]  # some rows and some columns
BlockMaker: TypeAlias = Callable[[slice, slice], Array]  # of such a block, as an array that the caller may write over


@dataclass(frozen=True, eq=False)
class Points:
    """Rows of a matrix, ready for the squared distances of many blocks of them.

    |a|^2 + |b|^2 - 2a'b is the product of (-2a, 1, |a|^2) and (b, |b|^2, 1), so that no pass over a block is left for adding
    the lengths.

    Attributes
    ----------
    rows : array, shape (n, p + 2)
        The rows over `scale`, their squared lengths, and ones.
    scale : 0-d array, optional
        The unit of the distances, a power of two. None is 1.
    """

    rows: Array
    scale: Array | None = None

    @classmethod
    def of(cls, x: Array, scale: Array | None = None) -> Points:
        """The rows of `x` (n, p) in a unit; see `unit_of`."""
        xp = namespace_of(x)
        x = x if scale is None else x / scale
        lengths = squared_lengths(x, xp)
        return cls(_joined(x, lengths, xp.ones_like(lengths)), scale)

    @property
    def n(self) -> int:
        """The number of rows."""
        return self.rows.shape[0]

    @property
    def p(self) -> int:
        """The number of features."""
        return self.rows.shape[1] - 2

    @property
    def like(self) -> Array:
        """One of the values."""
        return self.rows[0, 0]

    def left(self, part: slice = slice(None)) -> Array:
        """Some of the rows as they stand on the left of the product, (-2a, 1, |a|^2)."""
        rows = self.rows[part, :]
        return _joined(rows[:, : self.p], rows[:, self.p + 1], rows[:, self.p], factor=-2.0)

    def blocks(self, other: Points | None = None) -> BlockMaker:
        """What makes blocks of the squared distances from `other` points or, by default, from these themselves.

        Then the blocks of which both slices are the same are those on the diagonal, which is zero. Each thread needs one of
        its own.
        """
        return self._maker(other, {})

    def _maker(self, other: Points | None, places: Mapping[tuple[int, int], Array]) -> BlockMaker:
        """The same; blocks for which there is a place are written there."""
        right, xp = (self if other is None else other).rows, namespace_of(self.rows)
        lefts: dict[tuple[int, int], Array] = {}  # of the last block alone: they come row by row

        def squares(a: slice, b: slice) -> Array:
            if (a.start, a.stop) not in lefts:
                lefts.clear()
                lefts[a.start, a.stop] = self.left(a)
            left = lefts[a.start, a.stop]
            place = places.get((a.start, b.start))
            made = left @ right[b, :].mT if place is None else np.matmul(left, right[b, :].mT, out=place)
            return not_below_zero(made, xp, itself=other is None and a == b)

        return squares

    def kept(self, parts: Sequence[Block], other: Points | None = None) -> KeptSquares:
        """The squared distances of some blocks, computed at once; as those of `blocks`."""
        places: dict[tuple[int, int], Array] = {}
        if isinstance(self.rows, np.ndarray):  # one allocation, which the system gives in large pages
            sizes = [(a.stop - a.start) * (b.stop - b.start) for a, b in parts]
            whole = np.split(np.empty(sum(sizes), dtype=self.rows.dtype), np.cumsum(sizes)[:-1])
            for (a, b), flat in zip(parts, whole, strict=True):
                places[a.start, b.start] = np.reshape(flat, (a.stop - a.start, b.stop - b.start))

        def fill(share: Iterator[Block]) -> dict[tuple[int, int], Array]:
            squares = self._maker(other, places)
            return {(a.start, b.start): squares(a, b) for a, b in share}

        found: dict[tuple[int, int], Array] = {}
        for made in in_threads(fill, parts, self.rows):
            found |= made
        return KeptSquares(found, self.scale)


@dataclass(frozen=True, eq=False)
class KeptSquares:
    """Squared distances of blocks in memory, by the first row and the first column of each; `scale` as in `Points`."""

    made: Mapping[tuple[int, int], Array]
    scale: Array | None = None

    @property
    def like(self) -> Array:
        """One of the values."""
        return next(iter(self.made.values()))[0, 0]

    def blocks(self) -> BlockMaker:
        """What hands out these blocks: whoever writes over one has it no more."""
        return lambda a, b: self.made[a.start, b.start]


Squares: TypeAlias = Points | KeptSquares


def unit_of(*xs: Array) -> Array | None:
    """A power of two in which squared distances of rows stay in the range of numbers; None, for 1, where they do anyway."""
    xp = namespace_of(*xs)
    if array_api_compat.is_numpy_namespace(xp):  # whose values are there to be asked
        largest = max(float(np.max(squared_lengths(x, xp))) for x in xs)
        if bool(is_ordinary(xs[0].dtype.type(largest**0.5), xp)):
            return None
    return xp.max(xp.stack([power_of_two(x, xp) for x in xs]))


def _joined(x: Array, first: Array, second: Array, factor: float = 1.0) -> Array:
    """`factor` times a matrix (n, p) and two more columns."""
    if not isinstance(x, np.ndarray):
        xp = namespace_of(x)
        return xp.concat([x if factor == 1 else factor * x, first[:, None], second[:, None]], axis=1)
    n, p = x.shape
    joined = np.empty((n, p + 2), dtype=x.dtype)
    np.multiply(x, x.dtype.type(factor), out=joined[:, :p])
    joined[:, p], joined[:, p + 1] = first, second
    return joined
