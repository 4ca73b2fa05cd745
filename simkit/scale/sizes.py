"""What Dask is told of the size of the states that its tasks pass on.

It decides by size where a task runs, what is worth moving and when a worker is full, and would take a state for the few
bytes of its outermost object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from dask.sizeof import sizeof

from simkit.statistics.kernel_sums import BlockSums, KernelSums
from simkit.statistics.layers import Layers
from simkit.statistics.moments import Moments
from simkit.statistics.roots import Roots
from simkit.statistics.values import ValueCheck

__all__ = ["Box", "boxed", "bytes_in", "tell_dask"]


class Box(np.ndarray):
    """An array that holds one object, since what Dask passes between tasks are arrays."""


def boxed(thing: Any, shape: tuple[int, ...]) -> Box:
    """A box for `thing`."""
    box = np.empty(shape, dtype=object)
    box[(0,) * len(shape)] = thing
    return box.view(Box)


def bytes_in(thing: Any) -> int:
    """Bytes of all arrays in a state, however nested."""
    if hasattr(thing, "nbytes") and not isinstance(thing, Box):
        return int(thing.nbytes)
    parts = _parts(thing)
    return sys.getsizeof(thing) if parts is None else sum(map(bytes_in, parts))


def _parts(thing: Any) -> Iterable[Any] | None:
    """What a container holds; None for anything else."""
    if isinstance(thing, Box):
        return [thing.item()]
    if isinstance(thing, list | tuple):
        return thing
    if is_dataclass(thing):
        thing = {item.name: getattr(thing, item.name) for item in fields(thing)}
    return thing.values() if isinstance(thing, dict) else None


def tell_dask(*kinds: type) -> None:
    """Register the size of these classes."""
    for kind in kinds:
        sizeof.register(kind, bytes_in)


tell_dask(BlockSums, Box, KernelSums, Layers, Moments, Roots, ValueCheck)
