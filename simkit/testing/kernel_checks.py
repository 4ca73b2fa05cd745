"""The checks of a kernel. Each is a generator of everything that it finds wrong; its docstring says what is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from simkit.testing.case import KernelCase

__all__ = ["KERNEL_CHECKS"]


def symmetry(case: KernelCase) -> Iterator[str]:
    """K(X, X) is symmetric."""
    for X in case.layers:
        K = case.kernel.fit(X)(X, X)
        gap = float(np.max(np.abs(K - K.T)))
        if gap > 1e-9 * float(np.max(np.abs(K))):
            yield f"k(x, y) and k(y, x) differ by up to {gap:.3g} for X of shape {X.shape}"


def tiles(case: KernelCase) -> Iterator[str]:
    """The kernel of some rows is the part of K that belongs to them."""
    X = case.layer
    fitted = case.kernel.fit(X)
    K = fitted(X, X)
    if not np.allclose(fitted(X[:3], X), K[:3], rtol=1e-9, atol=1e-6):
        yield "differs"


KERNEL_CHECKS: Mapping[str, Callable[[KernelCase], Iterator[str]]] = {check.__name__: check for check in (symmetry, tiles)}
