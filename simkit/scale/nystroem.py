"""Features that approximate a kernel, so that one pass of linear HSIC stands in for all pairs of examples.

Exact HSIC with a kernel costs n^2 evaluations. Williams & Seeger 2001 (Nystroem) replace K by C W^+ C', with C = k(X, Z) for
m landmark examples Z and W = k(Z, Z): that is the linear kernel of the m features C W^(-1/2). C and W are centred over the
landmarks first, so it is HKH, but for an offset that linear indexes do not notice. Comparing such features with a linear
index is an approximation of comparing X with the kernel, at the cost of n m p; the result is exact for m = n.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simkit.arrays import Array, as_matrix, is_dask, namespace_of, placement
from simkit.errors import InvalidArrayError
from simkit.kernel import Kernel
from simkit.kernels import Linear
from simkit.linalg import double_centre, robust_origin, widen
from simkit.registry import get_kernel
from simkit.spec import check_number
from simkit.statistics.resolution import resolving_distances, warn_if_kernel_unresolved

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
        from simkit.scale.dask import mapped_with

        return mapped_with(x, x[picked, :], chosen, picked.size)
    xp = namespace_of(x)
    return features(x, xp.take(x, xp.asarray(picked, **placement(x)), axis=0), chosen)


def features(x: Array, z: Array, kernel: Kernel) -> Array:
    """C W^(-1/2), shape (n, m), for examples `x` (n, p) and landmarks `z` (m, p), with C and W centred over the landmarks.

    Centred, since linear indexes take the mean off anyway, and here it goes before the precision of `x` rounds the features.
    """
    xp, dtype = namespace_of(x, z), x.dtype
    if "translation" not in kernel.invariances:
        x, z = widen(x, xp), widen(z, xp)
    elif isinstance(kernel, Linear):
        mean = xp.astype(xp.mean(widen(z, xp), axis=0), x.dtype)
        x, z = x - mean, z - mean
    else:
        origin = robust_origin(z, xp)
        z = resolving_distances(z - origin, "X", xp)
        x = xp.astype(x - origin, z.dtype)
    fitted = kernel.fit(z)
    warn_if_kernel_unresolved(fitted, z, "X", xp)
    w = fitted(z, z)
    eps, largest = float(xp.finfo(w.dtype).eps), xp.max(xp.abs(w))
    w, c = widen(w, xp), widen(fitted(x, z), xp)
    c = c - xp.mean(c, axis=1)[:, None] - (xp.mean(w, axis=0) - xp.mean(w))[None, :]
    values, vectors = xp.linalg.eigh(double_centre(w, xp))
    # Eigenvalues at rounding level are left out: their directions carry no information, and 1/sqrt would blow them up.
    keep = values > z.shape[0] * eps * xp.maximum(xp.max(values), widen(largest, xp))
    root = xp.where(keep, 1.0 / xp.sqrt(xp.where(keep, values, 1.0)), 0.0)
    return xp.astype(c @ (vectors * root[None, :]), dtype)
