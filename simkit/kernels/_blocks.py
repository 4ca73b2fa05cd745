"""Blocks of the values of a kernel, where what can be computed once for all blocks is."""

from __future__ import annotations

from simkit.arrays import Array, namespace_of
from simkit.guard import is_outside
from simkit.kernel import Kernel
from simkit.kernels._of_distances import KernelOfDistances, is_of_distances
from simkit.kernels.cosine import Cosine, directions
from simkit.linalg.points import BlockMaker, KeptSquares, Points, Squares, unit_of

__all__ = ["blocks_of"]


def blocks_of(kernel: Kernel, x: Array | Squares, y: Array | Points | None = None) -> BlockMaker:
    """What makes blocks of the values of a fitted kernel for the rows of `x` (r, p) and `y` (c, p), or of `x` with itself.

    Then the blocks of which both slices are the same are those on the diagonal. If the kernel is of distances, points may
    stand for rows, and squared distances from whatever rows for those of `x`. Each thread needs a maker of its own.
    """
    if isinstance(x, KeptSquares):
        return _of_squares(kernel, x.blocks(), x.scale, x.like)
    if is_of_distances(kernel):
        if not isinstance(x, Points):
            unit = y.scale if isinstance(y, Points) else unit_of(x) if y is None else unit_of(x, y)
            x = Points.of(x, unit)
        y = Points.of(y, x.scale) if not (y is None or isinstance(y, Points)) else y
        return _of_squares(kernel, x.blocks(y), x.scale, x.like)
    if isinstance(kernel, Cosine) and type(kernel).__call__ is Cosine.__call__:
        xp = namespace_of(x)
        u = directions(x, xp)
        v = u if y is None else directions(y, xp)
        return lambda a, b: u[a, :] @ v[b, :].mT
    return _evaluated(kernel, x, y)


def _of_squares(kernel: Kernel, squares: BlockMaker, unit: Array | None, like: Array) -> BlockMaker:
    assert isinstance(kernel, KernelOfDistances)
    values = kernel._of_squares(unit, like)
    return lambda a, b: values(squares(a, b))


def _evaluated(kernel: Kernel, x: Array, y: Array | None) -> BlockMaker:
    """Blocks of which each is a call of the kernel."""
    outside = is_outside(type(kernel))  # and may still hold what it returns

    def values(a: slice, b: slice) -> Array:
        left = x[a, :]
        k = kernel(left, left if y is None and a == b else (x if y is None else y)[b, :])
        return namespace_of(k).asarray(k, copy=True) if outside else k

    return values
