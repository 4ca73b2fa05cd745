"""Blocks of the values of a kernel, where what can be computed once for all blocks is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from simkit.arrays import Array, namespace_of
from simkit.guard import is_outside
from simkit.kernel import Kernel
from simkit.kernels._of_distances import KernelOfDistances, is_of_distances, values_of
from simkit.kernels.cosine import Cosine, directions
from simkit.linalg.points import BlockMaker, KeptSquares, Points, unit_of

__all__ = ["Rows", "blocks_of", "rows_for"]


@dataclass(frozen=True, eq=False)
class Directions:
    """Rows of length 1, of which the cosine kernel is the inner product."""

    rows: Array


Rows: TypeAlias = Array | Points | Directions  # as a kernel takes them, or prepared by `rows_for`


def rows_for(kernel: Kernel, *xs: Array) -> list[Rows]:
    """Rows (r, p) with what can be computed once for all blocks: points in one unit, directions, or as they are."""
    if is_of_distances(kernel):
        unit = unit_of(*xs)
        return [Points.of(x, unit) for x in xs]
    if isinstance(kernel, Cosine) and type(kernel).__call__ is Cosine.__call__:
        return [Directions(directions(x, namespace_of(x))) for x in xs]
    return list(xs)


def blocks_of(kernel: Kernel, x: Rows | KeptSquares, y: Rows | None = None) -> BlockMaker:
    """What makes blocks of the values of a fitted kernel for the rows of `x` (r, p) and `y` (c, p), or of `x` with itself.

    Both are as they are, or both prepared together. Blocks of `x` with itself of which both slices are the same are those
    on the diagonal. For a kernel of distances, squared distances may stand for the rows. Each thread needs its own maker.
    """
    if isinstance(x, KeptSquares | Points):
        assert isinstance(kernel, KernelOfDistances)
        assert y is None or isinstance(y, Points)
        squares = x.blocks() if isinstance(x, KeptSquares) else x.blocks(y)
        values = values_of(kernel, x.scale, x.like)
        return lambda a, b: values(squares(a, b))
    if isinstance(x, Directions):
        u, v = x.rows, (x if y is None else y).rows
        return lambda a, b: u[a, :] @ v[b, :].mT
    return _evaluated(kernel, x, y)


def _evaluated(kernel: Kernel, x: Array, y: Array | None) -> BlockMaker:
    """Blocks of which each is a call of the kernel."""
    outside = is_outside(type(kernel))  # and may still hold what it returns

    def values(a: slice, b: slice) -> Array:
        left = x[a, :]
        k = kernel(left, left if y is None and a == b else (x if y is None else y)[b, :])
        return namespace_of(k).asarray(k, copy=True) if outside else k

    return values
