"""Layers in the memory of the host, with what centres blocks of their rows: no centred copy of a whole layer is made."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from simkit.threads import in_threads

__all__ = ["Centred", "CentredLayers", "centred", "cuts", "longest"]

_ROWS = 1024  # whose sums one thread adds at a time
_FEW = 64  # rows that tell how far the mean is from the origin
_LARGE = 2**21  # values that are worth threads


class Centred(NamedTuple):
    """A layer and its column means.

    Attributes
    ----------
    x : ndarray, shape (n, p)
        As given.
    near : ndarray, shape (p,)
        The means in the precision of the layer; exactly the value of a constant feature.
    missing : ndarray, shape (p,)
        What they lack.
    is_far : bool
        The mean is further from the origin than a typical row from the mean. Else what the means lack is far below the
        rounding of the deviations.
    """

    x: np.ndarray
    near: np.ndarray
    missing: np.ndarray
    is_far: bool

    @property
    def p(self) -> int:
        """The number of features."""
        return self.x.shape[1]

    def rows(self, rows: slice, out: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
        """Some centred rows, and of these some columns, written to `out`."""
        np.subtract(self.x[rows, columns], self.near[columns], out=out)
        if self.is_far:
            out -= self.missing[columns]
        return out


class CentredLayers(NamedTuple):
    """Centred layers, and which pairs of them are wanted.

    Attributes
    ----------
    layers : sequence of L `Centred`
        Of the same n examples, in one precision.
    split : int or None
        The pairs are those of the first `split` layers with the others, and of each layer with itself; all pairs if None.
    """

    layers: Sequence[Centred]
    split: int | None

    def without_others(self, sums: np.ndarray) -> np.ndarray:
        """Sums of all pairs, shape (L, L), with nan written for those that are not wanted."""
        if self.split is not None:
            wanted = np.eye(len(self.layers), dtype=bool)
            wanted[: self.split, self.split :] = wanted[self.split :, : self.split] = True
            sums[~wanted] = np.nan
        return sums


def cuts(size: int, most: int) -> list[slice]:
    """Slices of nearly one length, at most `most`, that make up range(size)."""
    count = max(1, -(-size // most))
    ends = [k * size // count for k in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def longest(parts: Iterable[slice]) -> int:
    """The length of the longest of some slices."""
    return max(part.stop - part.start for part in parts)


def centred(layers: Sequence[np.ndarray]) -> list[Centred] | None:
    """Each layer with its column means, from one pass over the values; None if some are not finite, or sums of them are not.

    Parameters
    ----------
    layers : sequence of ndarray, shapes (n, p_l)
        In float32 or float64, all of the same n >= 1 examples.
    """
    items = [(k, rows) for k, x in enumerate(layers) for rows in cuts(x.shape[0], _ROWS)]

    def work(share: Iterator[tuple[int, slice]]) -> dict[int, np.ndarray]:
        sums: dict[int, np.ndarray] = {}
        for k, rows in share:
            part = _sums(layers[k], rows)
            sums[k] = sums[k] + part if k in sums else part
        return sums

    large = sum(x.size for x in layers) > _LARGE
    parts = in_threads(work, items, layers[0]) if large else [work(iter(items))]
    found = []
    for k, x in enumerate(layers):
        total = sum(part[k] for part in parts if k in part)
        if not np.isfinite(total).all():
            return None
        found.append(_centred(x, np.asarray(total)))
    return found


def _sums(x: np.ndarray, rows: slice) -> np.ndarray:
    """Sums of the columns in float64: of float32 values as they are, else of the differences from the first row.

    Those of equal values are exact in either case.
    """
    part = x[rows]
    return np.add.reduce(part if x.dtype == np.float32 else part - x[0], axis=0, dtype=np.float64)


def _centred(x: np.ndarray, total: np.ndarray) -> Centred:
    mean = total / x.shape[0]
    if x.dtype == np.float32:
        near = mean.astype(x.dtype)
        missing = mean - near
    else:
        near = mean + x[0]  # rounded, perhaps by more than a deviation where the offset is large
        missing = mean - (near - x[0])
    few = x[:: max(1, x.shape[0] // _FEW)] - near
    is_far = bool(np.vdot(near, near) > np.median(np.vecdot(few, few)))
    return Centred(x, near, missing.astype(x.dtype), is_far)
