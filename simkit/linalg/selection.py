"""A few rows that stand for all, and order statistics: what stands at a place among sorted values."""

from __future__ import annotations

import array_api_compat

from simkit.arrays import Array, Namespace
from simkit.linalg.pairs import diagonal

__all__ = ["few_of", "kth_largest", "median_of_pairs"]

_FEW = 256


def few_of(x: Array) -> Array:
    """At most some hundred rows of `x` at regular distances, which tell of its values."""
    return x[:: max(1, x.shape[0] // _FEW), ...]


def kth_largest(x: Array, k: int, xp: Namespace) -> Array:
    """The k-th largest of each row of `x` (m, n), 1 <= k <= n, shape (m, 1)."""
    place = x.shape[1] - k
    if array_api_compat.is_torch_namespace(xp):
        return xp.topk(x, k, dim=1).values[:, -1:]
    ordered = xp.partition(x, place, axis=1) if _selects(xp) else xp.sort(x, axis=1)
    return ordered[:, place : place + 1]


def median_of_pairs(d: Array, xp: Namespace) -> Array:
    """Median of a symmetric (n, n) matrix over the distinct pairs i < j; the mean of the two middle ones if they are even.

    Each pair stands twice off the diagonal, so the k-th pair is entry 2k of the sorted off-diagonal entries.
    """
    n = d.shape[0]
    pairs = n * (n - 1) // 2
    low, high = 2 * ((pairs - 1) // 2), 2 * (pairs // 2)
    flat = xp.reshape(xp.where(diagonal(d, xp), float("inf"), d), (-1,))
    if array_api_compat.is_torch_namespace(xp):  # its selection is differentiable
        return (xp.kthvalue(flat, low + 1).values + xp.kthvalue(flat, high + 1).values) / 2
    ordered = xp.partition(flat, (low, high)) if _selects(xp) else xp.sort(flat)
    return (ordered[low] + ordered[high]) / 2


def _selects(xp: Namespace) -> bool:
    """Whether the library has a partition that is faster than its sort; that of JAX takes twice the time."""
    return bool(array_api_compat.is_numpy_namespace(xp) or array_api_compat.is_cupy_namespace(xp))
