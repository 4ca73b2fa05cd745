"""A few rows that stand for all, and order statistics: what stands at a place among sorted values."""

from __future__ import annotations

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, placement
from simkit.linalg.pairs import diagonal

__all__ = ["at_place", "few_of", "kth_largest", "middle_of_pairs", "neighbours_at"]

_FEW = 256


def few_of(x: Array) -> Array:
    """At most some hundred rows of `x` at regular distances, which tell of its values."""
    return x[:: max(1, x.shape[0] // _FEW), ...]


def at_place(x: Array, place: int, axis: int, xp: Namespace) -> Array:
    """What would stand at a place along an axis of `x` (of two dimensions) if it were sorted along it; the axis is kept."""
    ordered = xp.partition(x, place, axis=axis) if _selects(xp) else xp.sort(x, axis=axis)
    return ordered[:, place : place + 1] if axis else ordered[place : place + 1, :]


def kth_largest(x: Array, k: int, xp: Namespace) -> Array:
    """The k-th largest of each row of `x` (m, n), 1 <= k <= n, shape (m, 1)."""
    place = x.shape[1] - k
    if array_api_compat.is_torch_namespace(xp):
        return xp.topk(x, k, dim=1).values[:, -1:]
    return at_place(x, place, 1, xp)


def middle_of_pairs(d: Array, xp: Namespace) -> tuple[Array, Array]:
    """The two middle ones of the entries i < j of a symmetric (n, n) matrix; the one twice if they are odd."""
    n = d.shape[0]
    pairs = n * (n - 1) // 2
    first, last = (pairs - 1) // 2, pairs // 2
    if isinstance(d, np.ndarray):
        return neighbours_at(d[np.tri(n, k=-1, dtype=bool).T], first, last, xp)
    if array_api_compat.is_torch_namespace(xp):
        i, j = xp.triu_indices(n, n, 1, **placement(d))
        return neighbours_at(xp.take(xp.reshape(d, (-1,)), i * n + j, axis=0), first, last, xp)
    # Each pair stands twice off the diagonal, so the k-th pair is entry 2k of the sorted off-diagonal entries.
    return neighbours_at(xp.reshape(xp.where(diagonal(d, xp), float("inf"), d), (-1,)), 2 * first, 2 * last, xp)


def neighbours_at(x: Array, first: int, last: int, xp: Namespace) -> tuple[Array, Array]:
    """What would stand at two places of `x` (m,) if it were sorted, at one or two beside each other; nan is above all.

    On a GPU PyTorch sorts: its selection there is the work of a single block, 245 ms for 3e7 numbers on an H100.
    """
    if array_api_compat.is_torch_namespace(xp) and x.device.type == "cpu":  # its selection is differentiable
        low = xp.kthvalue(x, first + 1).values
        if last == first:
            return low, low
        above = xp.min(xp.where(x > low, x, float("inf")))
        return low, xp.where(xp.sum(x <= low) > last, low, above)
    if not _selects(xp):
        ordered = xp.sort(x)
        return ordered[first], ordered[last]
    ordered = xp.partition(x, first)  # of one place, which takes an eighth of the time of two
    if last == first:
        return ordered[first], ordered[first]
    above = ordered[first + 1 :]
    return ordered[first], xp.partition(above, last - first - 1)[last - first - 1]


def _selects(xp: Namespace) -> bool:
    """Whether the library has a partition that is faster than its sort; that of JAX takes twice the time."""
    return bool(array_api_compat.is_numpy_namespace(xp) or array_api_compat.is_cupy_namespace(xp))
