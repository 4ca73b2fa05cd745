"""Features that approximate a kernel, so that one pass of linear HSIC stands in for all pairs of examples.

Exact HSIC with a kernel costs n^2 evaluations. Comparing the features of `simkit.statistics.landmarks` with a linear index
approximates it, at the cost of n m p for m landmarks; the result is exact for m = n.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simkit.arrays import Array, as_matrix, is_dask, namespace_of, placement
from simkit.errors import InvalidArrayError
from simkit.kernel import Kernel
from simkit.registry import get_kernel
from simkit.spec import check_number
from simkit.statistics.landmarks import landmark_features

__all__ = ["nystroem_approximation"]


def nystroem_approximation(X: Any, kernel: str | Kernel = "rbf", *, landmarks: int = 512, seed: int = 0) -> Array:
    """Features whose linear kernel approximates `kernel`: an approximation, to be compared with linear indexes.

    ``compare(nystroem_approximation(X, k), nystroem_approximation(Y, k), "cka")`` approximates ``compare(X, Y,
    "cka(kernel=k)")`` in time proportional to n. How far it is off depends on how fast the eigenvalues of the Gram matrix
    fall: CKA of wide kernels (``rbf(fraction=0.8)``) is right to three digits with some hundred landmarks, that of narrow
    ones may not be with thousands. Double `landmarks` and see what changes.

    Parameters
    ----------
    X : array, shape (n, p)
        Of any framework; a Dask array gives a Dask array, and only the landmarks are brought together.
    kernel : Kernel or str
        A positive semidefinite kernel or its spec. A median bandwidth is that of the landmarks.
    landmarks : int
        Number m of examples, drawn without replacement, that stand for all.
    seed : int
        Of the draw. Use one seed for all layers, so that the same examples are the landmarks.

    Returns
    -------
    array, shape (n, min(m, n))
        In the namespace, on the device and in the precision of `X`. Their mean over the landmarks is 0.

    Warns
    -----
    AccuracyWarning
        The kernel needs float64 for these data, and the device has none.

    References
    ----------
    Williams & Seeger 2001, Using the Nystroem method to speed up kernel machines.
    """
    check_number("nystroem_approximation", "landmarks", landmarks, at_least=1)
    chosen, x = get_kernel(kernel), as_matrix(X)
    n = x.shape[0]
    if math.isnan(n):
        raise InvalidArrayError("X has an unknown number of examples. Call .compute_chunk_sizes() on the Dask array first.")
    picked = np.sort(np.random.default_rng(seed).choice(n, min(landmarks, n), replace=False))
    if is_dask(x):
        from simkit.scale.dask import mapped_with  # Dask is optional

        return mapped_with(x, x[picked, :], chosen, picked.size)
    xp = namespace_of(x)
    return landmark_features(x, xp.take(x, xp.asarray(picked, **placement(x)), axis=0), chosen)
