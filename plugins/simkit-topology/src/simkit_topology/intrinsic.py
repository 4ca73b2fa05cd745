"""Intrinsic multi-scale distance (IMD): how heat spreads on the nearest-neighbour graph of each layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

import simkit
from simkit.arrays import Array, Namespace, constant_of, namespace_of
from simkit.linalg import robust_origin, squared_distances, total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit_topology.host import host

__all__ = ["IMD"]

TIMES = np.logspace(-1, 1, 256)
STEPS = 10  # of Lanczos for each random vector

Form: TypeAlias = Literal["paper", "code"]

_FACTOR = 1e6  # of the authors' code
_BLOCK = 2**22  # distances at a time
_ROUNDING = 16  # squared distances that differ by less than so many eps of the squared lengths are tied


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

    If m examples are equally near for the last r of the k places, as is common with binary features and repeated examples,
    each is joined with weight r / m. Distances count as equal up to the rounding of the features (float32 at least).

    Parameters
    ----------
    k : int
        Nearest neighbours of each example, at least 1.
    vectors : int
        0: all eigenvalues of L, in O(n^3). Else stochastic Lanczos quadrature with so many random vectors of 10 steps, in
        O(n k) for each; the standard deviation of h is then about sqrt(2 / (n vectors)).
    seed : int
        Of the vectors.
    form : {"paper", "code"}
        ``"paper"`` is the equation above. ``"code"`` is what the authors' program (xgfs/imd) returns: 1e6 times that. Its
        quadrature (``vectors=100`` there) also corrects h by the known trace of L, which brings its standard deviation down.
        Of neighbours that are equally near it takes some by their position, and it draws its vectors unseeded; neither is
        imitated.

    References
    ----------
    Tsitsulin et al. 2020, The shape of data: intrinsic distance for data distributions.
    """

    k: int = 5
    vectors: int = 0
    seed: int = 0
    form: Form = "paper"

    name: ClassVar[str] = "imd"
    reference: ClassVar[str] = "Tsitsulin et al. 2020"

    def __post_init__(self) -> None:
        check_whole(self.name, "k", self.k, at_least=1)
        check_whole(self.name, "vectors", self.vectors, at_least=0)
        check_whole(self.name, "seed", self.seed, at_least=0)
        check_choice(self.name, "form", self.form, get_args(Form))

    @property
    def facts(self) -> Facts:
        """h lies in [0, 1] and the weight is at most exp(-4)."""
        return Facts(
            symmetric=True,
            range=(0.0, self._factor * math.exp(-4)),
            invariances=Invariances.both("translation", "orthogonal", "isotropic_scaling"),
            statistic="examples",
            identity=0.0,
            differentiable=False,
            min_examples=int(self.k) + 1,
            host=True,
            exchangeable=not self.vectors,  # random vectors meet the examples by their position
        )

    @property
    def _factor(self) -> float:
        return _FACTOR if self.form == "code" else 1.0

    def prepare(self, representation: Representation) -> _Trace:
        """The heat trace of one layer."""
        layer = representation
        laplacian = graph_laplacian(host(layer), int(self.k), float(layer.xp.finfo(layer.features.dtype).eps))
        if self.vectors:
            rng = np.random.default_rng(int(self.seed))
            heat = _by_quadrature(laplacian, int(self.vectors), rng, known_trace=self.form == "code")
        else:
            values = np.linalg.eigvalsh(laplacian.toarray())
            heat = np.mean(np.exp(-TIMES[:, None] * values[None, :]), axis=1)
        return _Trace(heat, total(layer.scale, layer.xp), layer.xp)

    def score(self, x: _Trace, y: _Trace) -> Array:
        """The largest weighted difference."""
        weight = np.exp(-2 * (TIMES + 1 / TIMES))
        return constant_of(self._factor * float(np.max(weight * np.abs(x.heat - y.heat))), x.like, x.xp)


def graph_laplacian(x: np.ndarray, k: int, rounding: float = 2.0**-52) -> Any:
    """I - D^-1/2 A D^-1/2 of the graph that joins i and j if either is among the `k` nearest of the other; sparse.

    `rounding` is the eps of the precision of the features.
    """
    from scipy.sparse import csr_array, vstack
    from scipy.sparse.csgraph import laplacian

    x = x - robust_origin(x, namespace_of(x))
    step = max(1, _BLOCK // len(x))
    parts = [csr_array(_nearest(x, slice(start, start + step), k, rounding)) for start in range(0, len(x), step)]
    nearest = vstack(parts).tocsr()
    return laplacian(nearest.maximum(nearest.T), normed=True)


def _nearest(x: np.ndarray, rows: slice, k: int, rounding: float) -> np.ndarray:
    """1 for the `k` nearest of some examples, r / m for m that tie for the last r places, (rows, n)."""
    here = np.arange(len(x))[rows]
    d2 = squared_distances(x[rows], x, namespace_of(x))
    d2[np.arange(len(here)), here] = np.inf
    last = np.partition(d2, k - 1, axis=1)[:, k - 1 : k]
    lengths = np.sum(x * x, axis=1)
    distances = np.sqrt(np.minimum(d2, np.finfo(float).max))
    # The features are rounded, by a share of their lengths, and so are the products that d2 is made of.
    moved = _ROUNDING * rounding * np.sqrt(lengths[rows, None] + lengths[None, :])
    noise = moved * (distances + moved) + _ROUNDING * 2.0**-52 * (lengths[rows, None] + lengths[None, :])
    nearer, tied = d2 < last - noise, np.abs(d2 - last) <= noise
    room = k - np.sum(nearer, axis=1, keepdims=True)
    return np.where(nearer, 1.0, np.where(tied, room / np.sum(tied, axis=1, keepdims=True), 0.0))


def _by_quadrature(matrix: Any, vectors: int, rng: np.random.Generator, *, known_trace: bool = False) -> np.ndarray:
    """tr exp(-t L) / n as the mean of v' exp(-t L) v over random unit vectors, each by Lanczos and Gauss quadrature.

    With `known_trace`, t exp(-t) (v'Lv - 1) is added, whose mean is 0: the trace of L is n.
    """
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
        if known_trace:
            heat += TIMES * np.exp(-TIMES) * (diagonal[0] - 1)
    return heat / vectors
