"""Temporary: replaced by the producer of kernel sums in blocks."""

from simkit.statistics import tiles
from simkit.statistics.kernel_sums import KernelSums


def kernel_sums(kernel, layers, values, *, bandwidth="exact", seed=0):
    defined = {name: x for name, x in layers.items() if name not in values.undefined}
    constant = dict.fromkeys(defined, False)
    sums = tiles._sums_of(kernel, defined, constant, bandwidth, seed) if defined else None
    return KernelSums(values, tuple(defined), sums)
