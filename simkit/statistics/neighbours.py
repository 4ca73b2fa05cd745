"""Who is near whom: similarities of all pairs of examples within one layer, and the k nearest neighbours of each.

These look at the features as they were given. Centring the columns would change every cosine, and with it the neighbours.

Of m examples that tie for the last r places among the k nearest each takes r/m of a place. A rule by position would make the
score depend on the order of the examples, and rounding would make it depend on rotations: similarities tie if they differ by
no more than rounding may have made.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace, detach, is_lazy, placement
from simkit.kernels.cosine import Cosine
from simkit.kernels.linear import Linear
from simkit.linalg import kth_largest, power_of_two, reordered, robust_origin, root, squared_distances, total, vecdot, widen
from simkit.linalg.selection import few_of
from simkit.properties import Invariances
from simkit.representation import Representation
from simkit.statistics.resolution import resolving_distances, warn_if_unresolved

__all__ = [
    "INVARIANCES",
    "METRICS",
    "Metric",
    "Neighbours",
    "centred_rows",
    "nearest",
    "neighbours",
    "rounding_noise",
    "similarities",
]

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
    chosen : array, shape (n, n)
        ``chosen[i, j]``: how much of a neighbour of i is j. 1 for those among the k nearest, 0 for the others and for i
        itself; of m examples that tie for the last r places each has r/m. Rows add up to k.
    """

    chosen: Array
    k: int
    xp: Namespace

    def common(self, other: Neighbours) -> Array:
        """How much of a neighbour of i is j in both layers, the lesser of the two, shape (n, n)."""
        return self.xp.minimum(self.chosen, other.chosen)

    def shared(self, other: Neighbours) -> Array:
        """How many neighbours of each example are neighbours in the other layer too, shape (n,)."""
        return self.xp.sum(self.common(other), axis=1)

    def permuted(self, order: Array) -> Neighbours:
        """The same neighbours with the examples in another order."""
        return self._replace(chosen=reordered(self.chosen, order, self.xp))


def centred_rows(x: Array, xp: Namespace) -> Array:
    """Features of each example less their mean, exactly zero where all features of an example are equal; shape (n, p)."""
    x = x - x[:, :1]
    return x - total(x, xp, axis=1)[:, None] / x.shape[1]


def rounding_noise(x: Array, xp: Namespace) -> float:
    """Bound of the error of x_i'x_j as a share of |x_i| |x_j|, of features `x` (n, p) that may have been rotated before."""
    return 32 * math.sqrt(x.shape[1]) * float(xp.finfo(x.dtype).eps)


def similarities(rows: Array, everyone: Array, metric: Metric, xp: Namespace) -> Array:
    """Similarity of each row of `rows` (m, p) to each of `everyone` (n, p), shape (m, n); greater is nearer."""
    if metric == "euclidean":
        return -squared_distances(rows, everyone, xp)
    return (Cosine() if metric == "cosine" else Linear())(rows, everyone)


def _errors(rows: Array, everyone: Array, metric: Metric, xp: Namespace) -> Array:
    """What rounding may have added to `similarities`, of a shape that broadcasts to (m, n)."""
    noise = rounding_noise(everyone, xp)
    if metric == "cosine":
        return xp.full_like(everyone[:1, :1], noise)
    a, b = vecdot(rows, rows, xp)[:, None], vecdot(everyone, everyone, xp)[None, :]
    return noise * (a + b if metric == "euclidean" else root(a, xp) * root(b, xp))


def neighbours(layer: Representation, k: int, metric: Metric) -> Neighbours:
    """The k nearest neighbours of each example, a tile of examples at a time.

    Warns
    -----
    AccuracyWarning
        The precision does not resolve the similarities, and float64 is not available or does not either.
    """
    xp, n = layer.xp, layer.n
    x = detach(widen(layer.features, xp))
    x = x / power_of_two(x, xp)  # no metric sees the scale
    if metric == "euclidean":  # distances do not see an offset; the expansion that computes them would
        x = resolving_distances(x - robust_origin(x, xp), layer.name, xp)
    elif not is_lazy(x):
        few = few_of(x)
        warn_if_unresolved(similarities(few, few, metric, xp), layer.name, xp)
    everyone = xp.arange(n, **placement(x))
    step = max(1, _TILE // n)
    tiles = []
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        itself = everyone[part][:, None] == everyone[None, :]
        similarity = xp.where(itself, -float("inf"), similarities(x[part, :], x, metric, xp))
        tiles.append(nearest(similarity, _errors(x[part, :], x, metric, xp), k, xp))
    return Neighbours(xp.concat(tiles), k, xp)


def nearest(similarity: Array, errors: Array, k: int, xp: Namespace) -> Array:
    """Share that each entry of a row has in the k places for the largest, shape (m, n), rows adding up to k.

    Parameters
    ----------
    similarity : array, shape (m, n)
        Finite, or minus infinity for what must not be taken; at least k in each row are finite.
    errors : array
        What rounding may have added to each; broadcasts to (m, n). The k-th largest ties with all that differ from it by no
        more than the errors of both.
    k : int
    """
    last = kth_largest(similarity, k, xp)
    of_last = xp.max(xp.where(similarity == last, errors, 0.0), axis=1, keepdims=True)
    ties = xp.abs(similarity - last) <= errors + of_last
    above = xp.astype(xp.logical_and(similarity > last, xp.logical_not(ties)), similarity.dtype)
    ties = xp.astype(ties, similarity.dtype)
    places, candidates = k - xp.sum(above, axis=1, keepdims=True), xp.sum(ties, axis=1, keepdims=True)
    return above + ties * (places / xp.where(candidates > 0, candidates, 1.0))
