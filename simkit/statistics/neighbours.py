"""Who is near whom: similarities of all pairs of examples within one layer, and the k nearest neighbours of each.

These look at the features as they were given. Centring the columns would change every cosine, and with it the neighbours.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from simkit.arrays import Array, Namespace, placement
from simkit.kernels.cosine import Cosine
from simkit.kernels.linear import Linear
from simkit.linalg import reordered, squared_distances, widen
from simkit.properties import Invariances
from simkit.representation import Representation

__all__ = ["INVARIANCES", "METRICS", "Metric", "Neighbours", "nearest", "neighbours", "similarities"]

Metric: TypeAlias = Literal["cosine", "inner", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)

INVARIANCES: dict[str, Invariances] = {
    "cosine": Invariances.both("orthogonal", "isotropic_scaling"),
    "inner": Invariances.both("orthogonal", "isotropic_scaling"),
    "euclidean": Invariances.both("orthogonal", "isotropic_scaling", "translation"),
}

_TILE = 2**22  # similarities at a time


class Neighbours(NamedTuple):
    """The k nearest neighbours of each example.

    Attributes
    ----------
    chosen : boolean array, shape (n, n)
        ``chosen[i, j]``: j is one of the k nearest neighbours of i. Exactly k in each row, never i itself.
    """

    chosen: Array
    k: int
    dtype: Any
    xp: Namespace

    def shared(self, other: Neighbours) -> Array:
        """How many neighbours of each example are neighbours in the other layer too, shape (n,)."""
        return self.xp.sum(self.xp.astype(self.xp.logical_and(self.chosen, other.chosen), self.dtype), axis=1)

    def permuted(self, order: Array) -> Neighbours:
        """The same neighbours with the examples in another order."""
        return self._replace(chosen=reordered(self.chosen, order, self.xp))


def similarities(rows: Array, everyone: Array, metric: Metric, xp: Namespace) -> Array:
    """Similarity of each row of `rows` (m, p) to each of `everyone` (n, p), shape (m, n); greater is nearer."""
    if metric == "euclidean":
        return -squared_distances(rows, everyone, xp)
    return (Cosine() if metric == "cosine" else Linear())(rows, everyone)


def neighbours(layer: Representation, k: int, metric: Metric) -> Neighbours:
    """The k nearest neighbours of each example, a tile of examples at a time."""
    xp, n = layer.xp, layer.n
    x = widen(layer.features, xp)
    if metric == "euclidean":
        x = x - x[:1, :]  # distances do not see an offset; the expansion that computes them would
    everyone = xp.arange(n, **placement(x))
    step = max(1, _TILE // n)
    tiles = []
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        itself = everyone[part][:, None] == everyone[None, :]
        tiles.append(nearest(xp.where(itself, -float("inf"), similarities(x[part, :], x, metric, xp)), k, xp))
    return Neighbours(xp.concat(tiles), k, x.dtype, xp)


def nearest(similarity: Array, k: int, xp: Namespace) -> Array:
    """Mask of the k largest entries of each row; of equal ones the first, so that there are exactly k."""
    n = similarity.shape[1]
    if isinstance(similarity, np.ndarray):  # selection is linear; the standard only offers a sort
        threshold = np.partition(similarity, n - k, axis=1)[:, n - k]
    else:
        threshold = xp.sort(similarity, axis=1)[:, n - k]
    above, ties = similarity > threshold[:, None], similarity == threshold[:, None]
    room = k - xp.sum(xp.astype(above, xp.int32), axis=1)
    place = xp.cumulative_sum(xp.astype(ties, xp.int32), axis=1)
    return xp.logical_or(above, xp.logical_and(ties, place <= room[:, None]))
