"""Random layers that share something, so that no similarity is trivially 0 or 1."""

from __future__ import annotations

import numpy as np

import simkit

# What simkit itself registers. Plugins test their own with simkit.testing.
OWN_INDEXES = [entry for entry in simkit.list_indexes() if entry.distribution == "simkit-similarity"]
OWN_KERNELS = [entry for entry in simkit.list_kernels() if entry.distribution == "simkit-similarity"]


def able(capability, specs):
    """Those of some specs of indexes that declare a capability, such as "jit"."""
    return [spec for spec in map(str, specs) if capability in simkit.get_index(spec).facts.capabilities]


def pair(n, p1, p2, seed=0, *, shared=3, noise=0.7, offset=0.5, dtype=np.float64):
    """Two layers that see the same latent variables through different weights."""
    rng = np.random.default_rng([seed, n, p1, p2])
    Z = rng.standard_normal((n, shared)) * np.linspace(2, 0.5, shared)
    return tuple(
        (
            Z @ rng.standard_normal((shared, p)) + noise * rng.standard_normal((n, p)) + offset * rng.standard_normal(p)
        ).astype(dtype)
        for p in (p1, p2)
    )


def watched(x):
    """`x` as a Dask array of one block, and a list that is as long as it has been read often."""
    import dask.array as da

    seen = []

    def read(block):
        seen.append(1)
        return block

    return da.from_array(x, chunks=-1).map_blocks(read, dtype=float, meta=np.empty((0, 0))), seen


def conditioned(n, p, condition, rng):
    """A centred layer whose singular values fall geometrically from 1 to 1/condition, in random directions."""
    u = np.linalg.qr(rng.standard_normal((n, p)) - rng.standard_normal((n, p)).mean(axis=0))[0]
    u = np.linalg.qr(u - u.mean(axis=0))[0]
    return u * np.geomspace(1, 1 / condition, p) @ np.linalg.qr(rng.standard_normal((p, p)))[0]


def orthogonal(p, rng):
    return np.linalg.qr(rng.standard_normal((p, p)))[0]


def invertible(p, rng):
    """Well conditioned, not orthogonal."""
    return orthogonal(p, rng) * np.linspace(0.5, 2, p) @ orthogonal(p, rng)
