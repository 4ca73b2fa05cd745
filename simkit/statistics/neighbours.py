"""Who is near whom: similarities of all pairs of examples within one layer, and the k nearest neighbours of each.

These look at the features as they were given. Centring the columns would change every cosine, and with it the neighbours.

Of m examples that tie for the last r places among the k nearest each takes r/m of a place. A rule by position would make the
score depend on the order of the examples, and rounding would make it depend on rotations: similarities tie if they differ by
no more than rounding may have made.

Cosines are looked at as distances of directions u, |u_i - u_j|^2 = 2 - 2 cos, less a point amid them: so features with a
large offset, whose cosines are 1 but for the last digits, have the neighbours that their values give them.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias, get_args

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, constant_of, detach, is_lazy, namespace_of, placement, to_numpy, wants_gradients
from simkit.kernels.cosine import Cosine, directions
from simkit.kernels.linear import Linear
from simkit.linalg import power_of_two, robust_origin, root, squared_distances, total, vecdot, widen
from simkit.linalg.nearest import Screen, k_nearest, nearest
from simkit.linalg.selection import few_of
from simkit.memory import is_on_host
from simkit.properties import Invariances
from simkit.representation import Representation
from simkit.statistics.pair_sets import PairSet, Places
from simkit.statistics.resolution import resolving_distances, warn_if_directions_unresolved, warn_if_unresolved

__all__ = [
    "INVARIANCES",
    "METRICS",
    "Common",
    "Metric",
    "Neighbours",
    "Points",
    "bytes_of_neighbours",
    "centred_rows",
    "in_one_library",
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
_GATHERED = 2**18  # features of pairs at a time


class Neighbours(NamedTuple):
    """The k nearest neighbours of each example.

    Attributes
    ----------
    pairs : PairSet
        Examples i and their neighbours j: n k pairs, and what ties for the last place. All pairs where their number must not
        depend on the data, as under ``jax.jit``. In NumPy where the values of the layer are on the host.
    share : array, shape (N,)
        For each pair how much of a neighbour of i is j: 1 for those among the k nearest, 0 for others and for i itself; of m
        examples that tie for the last r places each has r/m. Those of one i add up to k.
    k : int
    like : array
        One of the library, the device and the accumulation precision of the layer.
    """

    pairs: PairSet
    share: Array
    k: int
    like: Array

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.pairs.n

    @property
    def xp(self) -> Namespace:
        """The namespace of the pairs and their shares."""
        return self.pairs.xp

    def to(self, xp: Namespace, like: Array) -> Neighbours:
        """The same neighbours in another library, on the device of `like`."""
        if xp is self.xp:
            return self
        return self._replace(pairs=self.pairs.to(xp, like), share=constant_of(to_numpy(self.share), like, xp))

    def common(self, other: Neighbours) -> Common:
        """What is common to the neighbours in two layers, both in one library."""
        pairs = other.pairs if self.pairs.numbers is None else self.pairs
        mine, theirs = pairs.places_in(self.pairs), pairs.places_in(other.pairs)
        return Common(pairs, mine, theirs, self.xp.minimum(mine.take(self.share), theirs.take(other.share)))

    def shared(self, other: Neighbours) -> Array:
        """How many neighbours of each example are neighbours in the other layer too, shape (n,)."""
        one, two = in_one_library(self, other)
        common = one.common(two)
        return common.pairs.sums(common.share, axis=1)

    def returned(self, score: Array) -> Array:
        """A score as an array of the library of the layer."""
        there = namespace_of(self.like)
        return score if namespace_of(score) is there else constant_of(float(score), self.like, there)

    def permuted(self, order: Array) -> tuple[Neighbours, Array]:
        """The same neighbours with the examples in another order, and the place that each pair had before."""
        pairs, places = self.pairs.permuted(order)
        return self._replace(pairs=pairs, share=self.xp.take(self.share, places)), places


class Common(NamedTuple):
    """What is common to the neighbours in two layers.

    Attributes
    ----------
    pairs : PairSet
        All that are neighbours in both, and others.
    mine, theirs : Places
        Where they are among the pairs of the two layers.
    share : array, shape (N,)
        How much of a neighbour of i is j in both layers, the lesser of the two.
    """

    pairs: PairSet
    mine: Places
    theirs: Places
    share: Array


def in_one_library(x: Neighbours, y: Neighbours) -> tuple[Neighbours, Neighbours]:
    """Neighbours in two layers in one library: NumPy gives way, where the values of the other layer are not known."""
    if array_api_compat.is_numpy_namespace(x.xp):
        return x.to(y.xp, y.share), y
    return x, y.to(x.xp, x.share)


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


class Points(NamedTuple):
    """Examples as points, so that what is near is similar.

    The similarity of i and j is x_i'x_j for inner products, else -|x_i - x_j|^2 / 2 - apart_i - apart_j: of directions this
    is their cosine less 1, where those of examples without direction are zero and set apart by 1/2.
    """

    x: Array  # (n, p)
    squares: Array  # (n,): |x_i|^2
    apart: Array  # (n,)
    metric: Metric
    xp: Namespace

    @classmethod
    def of(cls, layer: Representation, metric: Metric) -> Points:
        """The examples of a layer.

        Warns
        -----
        AccuracyWarning
            The precision does not resolve the similarities, and float64 is not available or does not either.
        """
        xp = layer.xp
        x = detach(widen(layer.features, xp))
        if metric != "cosine":  # which has no scale but the direction of each example
            x = x / power_of_two(x, xp)
        apart = xp.zeros_like(x[:, 0])
        if metric == "euclidean":  # distances do not see an offset; the expansion that computes them would
            x = resolving_distances(x - robust_origin(x, xp), layer.name, xp)
        elif metric == "cosine":
            x = directions(x, xp)
            nowhere = vecdot(x, x, xp) == 0
            origin = xp.where(xp.any(nowhere), 0.0, robust_origin(x, xp))
            apart = xp.where(nowhere, 0.5, apart)
            warn_if_directions_unresolved(x, rounding_noise(x, xp), layer.name, xp)
            x -= origin  # an intermediate of our own
        elif not is_lazy(x):
            few = few_of(x)
            warn_if_unresolved(few @ few.mT, layer.name, xp)
        return cls(x, vecdot(x, x, xp), apart, metric, xp)

    def on_host(self) -> Points:
        """The same in NumPy."""
        x, squares, apart = map(to_numpy, self[:3])
        return Points(x, squares, apart, self.metric, namespace_of(x))

    def tile(self, rows: slice) -> Array:
        """Similarities of some of the points to all, shape (m, n)."""
        if self.metric == "inner":
            return self.x[rows, :] @ self.x.mT
        return -0.5 * squared_distances(self.x[rows, :], self.x, self.xp) - self.apart[rows, None] - self.apart[None, :]

    def similarities(self, i: Array, j: Array) -> Array:
        """Similarities of pairs, shape (m,), some thousand at a time; distances by differences, right also if small."""
        xp, step = self.xp, max(1, _GATHERED // self.x.shape[1])
        found = []
        for start in range(0, i.shape[0], step):
            part = slice(start, min(start + step, i.shape[0]))
            a, b = xp.take(self.x, i[part], axis=0), xp.take(self.x, j[part], axis=0)
            if self.metric != "inner":
                a = b = a - b
            found.append(vecdot(a, b, xp))
        products = xp.concat(found) if found else self.squares[:0]
        if self.metric == "inner":
            return products
        return -0.5 * products - xp.take(self.apart, i) - xp.take(self.apart, j)

    def mean_similarities(self) -> Array:
        """The mean of the similarities of each point to all, itself included, shape (n,)."""
        xp, n = self.xp, self.x.shape[0]
        products = self.x @ (total(self.x, xp, axis=0) / n)
        if self.metric == "inner":
            return products
        return products - (self.squares + xp.mean(self.squares)) / 2 - self.apart - xp.mean(self.apart)

    def errors(self, i: Array, j: Array, similarity: Array) -> Array:
        """What rounding may have added to similarities, given the numbers of points, or anything that indexes them."""
        xp, noise = self.xp, rounding_noise(self.x, self.xp)
        a, b = self.squares[i], self.squares[j]
        if self.metric == "inner":
            return noise * (root(a, xp) * root(b, xp))
        if self.metric == "euclidean":
            return noise * ((a + b) / 2)
        # A direction is rounded; so is what is left of it, where all are near each other.
        return noise * xp.clip(root(-2 * similarity, xp) + a + b, max=1.0)

    def screen(self) -> Screen:
        """What NumPy needs to look for neighbours."""
        largest, noise = np.max(self.squares), rounding_noise(self.x, self.xp)
        if self.metric == "inner":
            origin = robust_origin(self.x, self.xp)
            error = noise * np.sqrt(self.squares * largest)
            return Screen(self.x, self.x - origin, 0 * error, -(self.x @ origin[0]), error)
        half = self.squares / 2 + self.apart
        error = noise * ((self.squares + largest) / 2) if self.metric == "euclidean" else np.full_like(half, noise)
        return Screen(self.x, self.x, half, half, error)


def neighbours(points: Points, k: int) -> Neighbours:
    """The k nearest neighbours of each example, a tile of examples at a time.

    Parameters
    ----------
    points : Points
    k : int
        Less than their number.
    """
    xp, n = points.xp, points.x.shape[0]
    like = xp.asarray(points.squares[:1], copy=True)  # a view would keep all
    traced = is_lazy(points.x) or wants_gradients(points.x)  # a constant that torch.func has wrapped
    if not traced and is_on_host(points.x):
        host = points.on_host()
        found, share = k_nearest(host.screen(), k, host.similarities, host.errors)
        return Neighbours(PairSet(found, n, host.xp), share, k, like)
    everyone = xp.arange(n, **placement(points.x))
    whole = traced or n * n > xp.iinfo(everyone.dtype).max
    step = max(1, _TILE // n)
    numbers: list[Array] = []
    shares: list[Array] = []
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        similarity = points.tile(rows)
        errors = points.errors((rows, None), (None, slice(None)), similarity)
        itself = everyone[rows][:, None] == everyone[None, :]
        share = xp.reshape(nearest(xp.where(itself, -float("inf"), similarity), errors, k, xp), (-1,))
        if not whole:
            where = xp.nonzero(share)[0]
            numbers.append(where + start * n)
            share = xp.take(share, where)
        shares.append(share)
    return Neighbours(PairSet(None if whole else xp.concat(numbers), n, xp), xp.concat(shares), k, like)


def bytes_of_neighbours(n: int, k: int, layers: int) -> int:
    """Bytes of the neighbours in some layers, their numbers and shares."""
    return layers * n * k * 16
