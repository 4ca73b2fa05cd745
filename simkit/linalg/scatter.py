"""Scatter matrices of several layers side by side, in a lower precision than they are summed in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace
from simkit.linalg.products import side_by_side, total, widen
from simkit.threads import in_threads

__all__ = ["add_scatter", "centred_side_by_side"]

_SIDE = 512  # features of a block of the scatter matrix: its products are as fast as larger ones, and stay in the cache
_WIDE = 2048  # features from which on blocks in threads take less time than one symmetric product
_CACHED = 512  # rows that are worked on at a time


def centred_side_by_side(parts: Sequence[Array], xp: Namespace) -> tuple[Array, Array, Array]:
    """Matrices (m, p_k) of one precision without their column means, as one new matrix (m, P); and these means.

    They are the sum of a number of the precision of the matrices, which is subtracted first, and of what it lacks in the
    accumulation precision: values far from 0 must not stay on their coarse grid, on which sums of products are rounded to
    one side. The mean of equal numbers of a lower precision is exact.
    """
    m = parts[0].shape[0]
    if not array_api_compat.is_numpy_namespace(xp):
        mean = xp.concat([total(x, xp, axis=0) for x in parts]) / m
        near = xp.astype(mean, parts[0].dtype)
        missing = mean - widen(near, xp)
        z = side_by_side(parts, near, xp)
        z -= xp.astype(missing, z.dtype)
        return z, near, missing
    ends = list(itertools.accumulate((x.shape[1] for x in parts), initial=0))
    whole, mean = np.empty((m, ends[-1]), parts[0].dtype), np.empty(ends[-1])
    near = np.empty(ends[-1], whole.dtype)

    def centre(share: Iterator[int]) -> None:
        with np.errstate(all="ignore"):
            for k in share:
                x, s = parts[k], slice(ends[k], ends[k + 1])
                mean[s] = np.sum(x, axis=0, dtype=np.float64) / m
                near[s] = mean[s]
                missing = (mean[s] - near[s]).astype(whole.dtype)
                for start in range(0, m, _CACHED):
                    rows = slice(start, start + _CACHED)
                    np.subtract(x[rows], near[s], out=whole[rows, s])
                    whole[rows, s] -= missing

    if whole.size < 2**20:  # less work than threads are
        centre(iter(range(len(parts))))
    else:
        in_threads(centre, range(len(parts)), whole)
    return whole, near, mean - near


def add_scatter(whole: Array, z: Array, shift: Array, xp: Namespace) -> Array:
    """whole + z'z + shift shift', for a symmetric `whole` (P, P) in the accumulation precision, which is written over.

    The products are in the precision of `z` (m, P). In NumPy they are summed a block at a time, without a second matrix of
    the size of `whole`, which may be most of the memory.
    """
    if not array_api_compat.is_numpy_namespace(xp) or z.shape[1] < _WIDE:
        whole += z.mT @ z
        whole += shift[:, None] * shift[None, :]
        return whole
    starts = range(0, z.shape[1], _SIDE)

    def add(share: Iterator[tuple[int, int]]) -> None:
        product, outer = np.empty((_SIDE, _SIDE), z.dtype), np.empty((_SIDE, _SIDE), whole.dtype)
        for i, j in share:
            a, b = slice(i, min(i + _SIDE, z.shape[1])), slice(j, min(j + _SIDE, z.shape[1]))
            where = slice(0, a.stop - i), slice(0, b.stop - j)
            added = np.multiply(shift[a, None], shift[b], out=outer[where])
            added += z[:, a].T @ z[:, a] if i == j else np.matmul(z[:, a].T, z[:, b], out=product[where])
            whole[a, b] += added
            if i != j:
                whole[b, a] = whole[a, b].T

    in_threads(add, [(i, j) for i in starts for j in starts if i <= j], z)
    return whole
