"""Features whose linear kernel approximates a kernel: what all examples have to do with some landmarks among them.

Williams & Seeger 2001 (Nystroem) replace K by C W^+ C', with C = k(X, Z) for m landmark examples Z and W = k(Z, Z): that is
the linear kernel of the m features C W^(-1/2). C and W are centred over the landmarks first, so it is HKH, but for an offset
that linear indexes do not notice.
"""

from __future__ import annotations

from simkit.arrays import Array, namespace_of
from simkit.kernel import Kernel
from simkit.kernels import Linear
from simkit.linalg import double_centre, robust_origin, widen
from simkit.statistics.resolution import resolving_distances, warn_if_kernel_unresolved

__all__ = ["landmark_features"]


def landmark_features(x: Array, z: Array, kernel: Kernel) -> Array:
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
