"""Kernel sums of layers in memory: blocks of all Gram matrices at once, computed, reduced and dropped.

The upper half of the Gram matrices is cut into blocks of rows x rows. A block of every layer is computed, which takes each
layer's features once through the cache, and multiplied with those of the others before the next one is, so that memory is a
few blocks for each layer and no n x n array. With NumPy the blocks are shared out among threads.

Kernels are called from several threads, as they are by Dask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from simkit.arrays import Array, detach, namespace_of
from simkit.kernel import Kernel
from simkit.kernels.linear import is_linear
from simkit.linalg import robust_origin, total, vecdot, widen
from simkit.linalg.selection import few_of
from simkit.memory import is_on_host
from simkit.progress import Steps
from simkit.representation import Representation
from simkit.scoring import in_silence
from simkit.statistics.hsic_sums import are_many, features_for
from simkit.statistics.kernel_sums import BlockSums, FittedKernel, KernelSums, block_pairs, sums_over
from simkit.statistics.median_distance import Bandwidth, fitted
from simkit.statistics.resolution import warn_if_kernel_unresolved
from simkit.statistics.values import ValueCheck
from simkit.threads import in_threads

__all__ = ["kernel_sums"]

_SIDE = 384  # of blocks that stay in the cache of a core
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
    features, scales, offsets, own = [], [], [], []
    defined = {name: x for name, x in layers.items() if name not in values.undefined}
    first = next(iter(layers.values()))
    if not defined:
        return KernelSums.empty(values)
    with in_silence(first):
        for name, given in defined.items():
            x, unit = _features(kernel, Representation(detach(given), name=name))
            few, fit = few_of(x), fitted(kernel, x, bandwidth)
            warn_if_kernel_unresolved(fit, few, name, namespace_of(x))
            own.append(FittedKernel.of(fit, few))
            features.append(x)
            scales.append(unit * own[-1].scale)
            offsets.append(own[-1].offsets(x))
            advance()
        blocks = block_pairs(first.shape[0], None, _SIDE if is_on_host(first) else _SIDE_ON_ACCELERATOR)
        done = Steps(len(blocks), len(defined), advance)

        def work(share: Iterator[tuple[slice, slice]]) -> BlockSums:
            return sums_over(told(share), features, None, own, (offsets, offsets))

        def told(share: Iterator[tuple[slice, slice]]) -> Iterator[tuple[slice, slice]]:
            for pair in share:
                yield pair
                done()

        sums = BlockSums.merged(in_threads(work, blocks, first))
        return KernelSums.finished(values, tuple(defined), sums, scales, [each.noise for each in own])


def _features(kernel: Kernel, layer: Representation) -> tuple[Array, Array]:
    """Features as the kernel takes them, and what they have been divided by besides, where the kernel can tell."""
    xp = layer.xp
    if is_linear(kernel):
        x = layer.unit
        if not are_many(widen(vecdot(x, x, xp), xp), xp):  # the mean may lie far from most examples
            x = x - robust_origin(x, xp)
        return x, total(layer.scale, xp)
    return features_for(kernel, layer), xp.ones_like(total(layer.scale, xp))
