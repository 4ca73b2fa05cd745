"""Intrinsic multi-scale distance (IMD): how heat spreads on the nearest-neighbour graph of each layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

import simkit
from simkit.arrays import Array, Namespace, constant_of
from simkit.linalg import total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_whole
from simkit_topology.host import host

__all__ = ["IMD"]

TIMES = np.logspace(-1, 1, 256)
STEPS = 10  # of Lanczos for each random vector


class _Trace(NamedTuple):
    heat: np.ndarray  # tr exp(-t L) / n at TIMES
    like: Array  # a 0-d array of the user's library and device
    xp: Namespace


@dataclass(frozen=True)
class IMD(simkit.Index[_Trace]):
    """Intrinsic multi-scale distance between the clouds of examples.

    max_t exp(-2 (t + 1/t)) |h_X(t) - h_Y(t)|, h(t) = tr exp(-t L) / n, t from 0.1 to 10

    L is the normalised Laplacian of the graph that joins each example with its `k` nearest. The heat that has not left its
    vertex by time t tells of the geometry at that scale. Which example is which does not matter: it compares two
    distributions, and sees neither rotations nor that the examples of Y are in another order.

    Parameters
    ----------
    k : int
        Nearest neighbours of each example, at least 1.
    vectors : int
        0: all eigenvalues of L, in O(n^3). Else stochastic Lanczos quadrature with so many random vectors of 10 steps, in
        O(n k) for each; the standard deviation of h is then about sqrt(2 / (n vectors)).
    seed : int
        Of the vectors.

    References
    ----------
    Tsitsulin et al. 2020, The shape of data: intrinsic distance for data distributions.
    """

    k: int = 5
    vectors: int = 0
    seed: int = 0

    name: ClassVar[str] = "imd"
    reference: ClassVar[str] = "Tsitsulin et al. 2020"

    def __post_init__(self) -> None:
        check_whole(self.name, "k", self.k, at_least=1)
        check_whole(self.name, "vectors", self.vectors, at_least=0)
        check_whole(self.name, "seed", self.seed, at_least=0)

    @property
    def facts(self) -> Facts:
        """h lies in [0, 1] and the weight is at most exp(-4)."""
        return Facts(
            symmetric=True,
            range=(0.0, math.exp(-4)),
            invariances=Invariances.both("translation", "orthogonal", "isotropic_scaling"),
            statistic="examples",
            identity=0.0,
            differentiable=False,
            min_examples=int(self.k) + 1,
            host=True,
        )

    def prepare(self, representation: Representation) -> _Trace:
        """The heat trace of one layer."""
        layer = representation
        laplacian = graph_laplacian(host(layer), int(self.k))
        if self.vectors:
            heat = _by_quadrature(laplacian, int(self.vectors), np.random.default_rng(int(self.seed)))
        else:
            values = np.linalg.eigvalsh(laplacian.toarray())
            heat = np.mean(np.exp(-TIMES[:, None] * values[None, :]), axis=1)
        return _Trace(heat, total(layer.scale, layer.xp), layer.xp)

    def score(self, x: _Trace, y: _Trace) -> Array:
        """The largest weighted difference."""
        weight = np.exp(-2 * (TIMES + 1 / TIMES))
        return constant_of(float(np.max(weight * np.abs(x.heat - y.heat))), x.like, x.xp)


def graph_laplacian(x: np.ndarray, k: int) -> Any:
    """I - D^-1/2 A D^-1/2 of the graph that joins i and j if either is among the `k` nearest of the other; sparse."""
    from scipy.sparse.csgraph import laplacian
    from sklearn.neighbors import kneighbors_graph

    nearest = kneighbors_graph(x, k, mode="connectivity", include_self=False)
    return laplacian(nearest.maximum(nearest.T), normed=True)


def _by_quadrature(matrix: Any, vectors: int, rng: np.random.Generator) -> np.ndarray:
    """tr exp(-t L) / n as the mean of v' exp(-t L) v over random unit vectors, each by Lanczos and Gauss quadrature."""
    n = matrix.shape[0]
    heat = np.zeros(len(TIMES))
    for _ in range(vectors):
        start = rng.standard_normal(n)
        basis = [start / np.linalg.norm(start)]
        diagonal, beside = [], []
        for step in range(min(STEPS, n)):
            w = matrix @ basis[-1]
            diagonal.append(float(basis[-1] @ w))
            for v in basis * 2:  # orthogonal to all so far, twice for the sake of rounding
                w -= (v @ w) * v
            norm = float(np.linalg.norm(w))
            if norm < 1e-10 or step == min(STEPS, n) - 1:
                break
            beside.append(norm)
            basis.append(w / norm)
        values, rotation = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        heat += np.exp(-TIMES[:, None] * values[None, :]) @ rotation[0] ** 2
    return heat / vectors
