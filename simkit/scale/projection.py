"""Random projections (Johnson & Lindenstrauss 1984), for layers whose P x P scatter matrix does not fit.

Features x (p) become x G / sqrt(k), with G (p, k) of independent entries of mean 0 and variance 1. Products of examples are
kept on average, and so is every index that depends on them only (linear CKA and HSIC, Procrustes): with K = XX' centred and
K^ that of the projected features,

    E K^ = K        E |K^ - K|^2 = (|K|^2 + tr(K)^2) / k = (1 + d) |K|^2 / k        d = tr(K)^2 / |K|^2

for normal entries, and no more for the sparse ones. d is the participation ratio, the effective dimension of the layer
(1 <= d <= p), so k should be several times d, whatever p is. The error does not average out over the examples: |K^|^2 is on
average larger than |K|^2 by the same (1 + d)/k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from simkit.arrays import Array, Namespace, placement
from simkit.spec import check_choice, check_number

__all__ = ["RandomProjection"]


@dataclass(frozen=True)
class RandomProjection:
    """A seeded random projection of layers to a fixed number of features: an approximation, with a stated error.

    Parameters
    ----------
    features : int
        The number of features k after projection; layers that have no more are left as they are.
    seed : int
        The matrix is a function of the seed, the kind and the width alone: batches, processes and layers of one width share
        it, so that states merge, and a layer keeps its similarity of 1 to itself.
    kind : {"gaussian", "sparse"}
        ``"gaussian"`` has normal entries. ``"sparse"`` (Achlioptas 2003) has entries 0 with probability 2/3 and
        +-sqrt(3) else; it is stored in a byte per entry, an eighth of the memory, and is as accurate.

    Notes
    -----
    Of indexes that are invariant to every invertible transform (CCA, regression on Y) nothing remains: they depend on the
    space that all p features span. `simkit.stream` refuses them.

    References
    ----------
    Johnson & Lindenstrauss 1984; Achlioptas 2003, Database-friendly random projections; Dasgupta & Gupta 2003.

    Examples
    --------
    >>> projection = RandomProjection(2048, seed=1)
    >>> round(projection.distance_error(examples=1000), 2)
    0.2
    >>> round(projection.gram_error(participation=20.0), 3)
    0.101
    """

    features: int
    seed: int = 0
    kind: Literal["gaussian", "sparse"] = "gaussian"

    def __post_init__(self) -> None:
        check_number("RandomProjection", "features", self.features, at_least=1)
        check_number("RandomProjection", "seed", self.seed, at_least=0)
        check_choice("RandomProjection", "kind", self.kind, ("gaussian", "sparse"))

    def distance_error(self, examples: int, probability: float = 0.99) -> float:
        """e such that with `probability` all squared distances of `examples` are right to a factor within 1 - e and 1 + e.

        By Achlioptas 2003, lemma 5, which holds for both kinds: one squared length fails with probability at most
        2 exp(-(e^2/2 - e^3/3) k/2); there are n(n-1)/2. inf if no e below 1 is guaranteed.
        """
        pairs = max(1, examples * (examples - 1) // 2)
        wanted = 2 * math.log(2 * pairs / (1 - probability)) / self.features

        def margin(e: float) -> float:
            return e * e / 2 - e**3 / 3

        if margin(1.0) < wanted:
            return math.inf
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if margin(middle) < wanted else (low, middle)
        return high

    def gram_error(self, participation: float) -> float:
        """Root mean square of |K^ - K| / |K| for a centred Gram matrix of this participation ratio tr(K)^2 / |K|^2."""
        return math.sqrt((1 + participation) / self.features)

    def __call__(self, x: Array, xp: Namespace) -> Array:
        """Project a matrix (n, p) to (n, k); `x` itself if it has no more than k features."""
        p, k = x.shape[1], self.features
        if p <= k:
            return x
        matrix = _matrix(self, p)
        result = 0
        for start in range(0, p, _BLOCK):
            block = matrix[start : start + _BLOCK].astype("float32" if "float32" in str(x.dtype) else "float64")
            options: dict[str, Any] = placement(x)
            result = result + x[:, start : min(start + _BLOCK, p)] @ xp.asarray(block, **options)
        return result * (math.sqrt(3.0 / k) if self.kind == "sparse" else math.sqrt(1.0 / k))


_BLOCK = 8192  # features that are projected at a time


@lru_cache(maxsize=8)
def _matrix(projection: RandomProjection, p: int) -> np.ndarray:
    rng = np.random.default_rng([projection.seed, p])
    if projection.kind == "gaussian":
        return rng.standard_normal((p, projection.features), dtype=np.float32)
    signs = rng.integers(0, 6, (p, projection.features), dtype=np.int8)
    return (signs == 0).astype(np.int8) - (signs == 1).astype(np.int8)
