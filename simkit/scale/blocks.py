"""Kernel sums of layers in memory: blocks of all Gram matrices at once, computed, reduced and dropped.

The upper half of the Gram matrices is cut into blocks of rows x rows. A block of every layer is computed, which takes each
layer's features once through the cache, and multiplied with those of the others before the next one is, so that memory is a
few blocks for each layer and no n x n array. With NumPy the blocks are shared out among threads.

Kernels are called from several threads, as they are by Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from simkit.arrays import Array, detach, dtype_name
from simkit.kernel import Kernel
from simkit.kernels._blocks import Rows, rows_for
from simkit.kernels._of_distances import needs_median_alone
from simkit.kernels.linear import is_linear
from simkit.linalg import robust_origin, total, vecdot, widen
from simkit.linalg.points import Block, KeptSquares, Points, unit_of
from simkit.linalg.selection import few_of
from simkit.memory import is_on_host
from simkit.progress import Steps
from simkit.representation import Representation
from simkit.scoring import in_silence
from simkit.statistics.hsic_sums import are_many, features_for
from simkit.statistics.kernel_sums import BlockSums, FittedKernel, KernelSums, beside_few, block_pairs, sums_over
from simkit.statistics.median_distance import KEPT, Bandwidth, fitted, median_of
from simkit.statistics.resolution import warn_if_kernel_unresolved
from simkit.statistics.values import ValueCheck
from simkit.threads import in_threads

__all__ = ["kernel_sums"]

_SIDE = 288  # of blocks that stay in the cache of a core
_SIDE_ON_ACCELERATOR = 4096


def kernel_sums(
    kernel: Kernel,
    layers: Mapping[str, Array],
    values: ValueCheck,
    *,
    bandwidth: Bandwidth = "exact",
    advance: Callable[[], None] = lambda: None,
) -> KernelSums:
    """The kernel sums of layers in memory. No gradients: they would have to keep every block.

    Parameters
    ----------
    kernel : Kernel
        Fitted to each layer anew.
    layers : mapping of names to arrays, shapes (n, p_l)
        Matrices of one framework; warnings call them by their names. Those that are constant or not finite are left out.
    values : ValueCheck
        What is known of them.
    bandwidth : {"exact", "sample"}
        How the median distance is found: see `simkit.statistics.median_distance`.
    advance : callable
        Called twice for each layer that is not left out, as the work proceeds, perhaps from another thread.

    Raises
    ------
    NeedsAllExamplesError
        The kernel does not declare how it is fitted.

    Warns
    -----
    AccuracyWarning
        The precision of a layer does not resolve the values of its kernel.
    """
    own, made_of, scales, offsets = [], [], [], []
    defined = {name: x for name, x in layers.items() if name not in values.undefined}
    first = next(iter(layers.values()))
    if not defined:
        return KernelSums.empty(values)
    blocks = block_pairs(first.shape[0], None, _SIDE if is_on_host(first) else _SIDE_ON_ACCELERATOR)
    keeps = needs_median_alone(kernel) and _size(blocks, defined.values()) <= KEPT
    with in_silence(first):
        for name, given in defined.items():
            unit, fit, x, g = _prepared(kernel, Representation(detach(given), name=name), blocks, bandwidth, keeps=keeps)
            own.append(fit)
            made_of.append(x)
            scales.append(unit * fit.scale)
            offsets.append(g)
            del x
            advance()
        done = Steps(len(blocks), len(defined), advance)

        def work(share: Iterator[Block]) -> BlockSums:
            makers = [each.blocks(x) for each, x in zip(own, made_of, strict=True)]
            return sums_over(told(share), makers, (offsets, offsets))

        def told(share: Iterator[Block]) -> Iterator[Block]:
            for pair in share:
                yield pair
                done()

        sums = BlockSums.merged(in_threads(work, blocks, first))
        return KernelSums.finished(values, tuple(defined), sums, scales, [each.noise for each in own])


def _size(blocks: Sequence[Block], layers: Iterable[Array]) -> int:
    """Bytes of the blocks of all layers."""
    entries = sum((a.stop - a.start) * (b.stop - b.start) for a, b in blocks)
    return sum(entries * (4 if dtype_name(x) == "float32" else 8) for x in layers)


def _prepared(
    kernel: Kernel, layer: Representation, blocks: Sequence[Block], bandwidth: Bandwidth, *, keeps: bool
) -> tuple[Array, FittedKernel, Rows | KeptSquares, Array]:
    """The unit of a layer's features, its kernel, what the blocks of its values are made of, and the offsets.

    Where it `keeps` squared distances, they are computed once for the median, which is then exact, and for the values.
    """
    x, unit = _features(kernel, layer)
    few = few_of(x) + 0  # a copy: a view would keep all examples in memory
    if not keeps:
        fit = fitted(kernel, x, bandwidth)
        warn_if_kernel_unresolved(fit, few, layer.name, layer.xp)
        own = FittedKernel.of(fit, few)
        return unit, own, rows_for(fit, x)[0], own.offsets(x, layer.n)
    points = Points.of(x, unit_of(x))
    del x
    beside, squares = beside_few(points, few), points.kept(blocks)
    del points
    own = FittedKernel.of(kernel.with_median(median_of(squares, blocks, layer.n)), few)
    return unit, own, squares, own.offsets(beside, layer.n)


def _features(kernel: Kernel, layer: Representation) -> tuple[Array, Array]:
    """Features as the kernel takes them, and what they have been divided by besides, where the kernel can tell."""
    xp = layer.xp
    if is_linear(kernel):
        x = layer.unit
        if not are_many(widen(vecdot(x, x, xp), xp), xp):  # the mean may lie far from most examples
            x = x - robust_origin(x, xp)
        return x, total(layer.scale, xp)
    x = features_for(kernel, layer)
    return x, widen(xp.ones_like(x[0, 0]), xp)
