"""Ranks of the entries of a vector, found by one sort."""

from __future__ import annotations

from collections.abc import Callable

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, detach

__all__ = ["ranks"]

_CHAIN = 4  # times the rounding: entries that hang together over more than this are cut


def ranks(values: Array, xp: Namespace, rounding: Callable[[Array], Array] | None = None) -> Array:
    """Ranks from 1, those of equal entries averaged, in the dtype of the values; no gradients flow.

    Parameters
    ----------
    values : array, shape (m,)
    rounding : callable, optional
        Gives for ascending entries, shape (m,), how far each may be from the one before to be equal to it. A chain of such
        entries is cut at multiples of the rounding if it is long: in low precision, or of very many entries, all might hang
        together. Default: entries are equal if they are the same number.

    Returns
    -------
    array, shape (m,)
    """
    values = detach(values)
    if array_api_compat.is_numpy_namespace(xp):
        return _ranks_in_numpy(values, rounding)
    order = xp.argsort(values)
    ordered = xp.take(values, order)
    if rounding is not None:
        near = rounding(ordered)
        first, last = _runs(ordered[1:] - ordered[:-1] <= near[1:], xp)
        lowest, cut = xp.take(ordered, first), xp.round(ordered / near) * near
        ordered = xp.where(xp.take(ordered, last) - lowest <= _CHAIN * near, lowest, cut)
    first, last = _runs(ordered[1:] == ordered[:-1], xp)
    found = xp.astype(first + last + 2, values.dtype) / 2
    return xp.take(found, xp.argsort(order))


def _runs(linked: Array, xp: Namespace) -> tuple[Array, Array]:
    """Places of the first and last entry of the run that each of m entries is in; `linked` (m - 1,): to the one before."""
    group = xp.cumulative_sum(xp.astype(xp.logical_not(linked), xp.int32), include_initial=True)
    return xp.searchsorted(group, group, side="left"), xp.searchsorted(group, group, side="right") - 1


def _ranks_in_numpy(values: np.ndarray, rounding: Callable[[Array], Array] | None) -> np.ndarray:
    """`ranks` where work may depend on values: runs are rare, and only what is in them is looked at."""
    order = _ascending(values)
    ordered = values[order]
    if rounding is not None:
        near = rounding(ordered)
        starts, sizes, where = _long_runs(ordered[1:] - ordered[:-1] <= near[1:])
        span, lowest = ordered[starts + sizes - 1] - ordered[starts], ordered[starts]
        some, of_some = ordered[where], near[where]
        cut = np.round(some / of_some) * of_some
        ordered[where] = np.where(np.repeat(span, sizes) <= _CHAIN * of_some, np.repeat(lowest, sizes), cut)
    places = np.arange(1, len(values) + 1, dtype=values.dtype)
    starts, sizes, where = _long_runs(ordered[1:] == ordered[:-1])
    places[where] = np.repeat(starts + (sizes + 1) / 2, sizes)
    found = np.empty_like(places)
    found[order] = places
    return found


def _long_runs(linked: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts and sizes of the runs of more than one entry, and the places of all entries in them."""
    padded = np.concatenate([[False], linked, [False]])
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    starts, sizes = edges[::2], edges[1::2] - edges[::2] + 1
    before = np.cumsum(sizes) - sizes
    return starts, sizes, np.repeat(starts - before, sizes) + np.arange(sizes.sum())


def _ascending(values: np.ndarray) -> np.ndarray:
    """Places of the entries in ascending order.

    NumPy sorts integers several times faster than it finds the order of floating-point numbers, so the place of each entry
    is put into the last bits of an integer that grows with its value. The few entries that differ in bits for which there
    was no room are put in order afterwards, which takes one pass.
    """
    m = len(values)
    if values.dtype != np.float64 or m < 2:
        return np.argsort(values)
    bits = values.view(np.int64)
    signed = bits ^ ((bits >> 63) & np.int64(2**63 - 1))  # ascending as the values are, also below zero
    keys = (signed - signed.min()).view(np.uint64)
    free, place = 64 - (m - 1).bit_length(), (m - 1).bit_length()
    keys >>= np.uint64(max(0, int(keys.max()).bit_length() - free))
    keys <<= np.uint64(place)
    keys |= np.arange(m, dtype=np.uint64)
    keys.sort()
    keys &= np.uint64(2**place - 1)
    order = keys.view(np.int64)
    ordered = values[order]
    if np.all(ordered[1:] >= ordered[:-1]):
        return order
    return order[np.argsort(ordered, kind="stable")]
