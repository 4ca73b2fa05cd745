"""Neuron activation subspaces matched as a whole (Wang et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from simkit.arrays import Array, Namespace, constant_of, to_numpy
from simkit.index import Index
from simkit.linalg import total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_number

__all__ = ["MaximumMatch"]


class _State(NamedTuple):
    x: Array  # centred neurons, the columns, each in units of its own
    tolerance: float  # singular values at or below this share of the largest are no directions
    noise: float  # nor those at or below this
    xp: Namespace


@dataclass(frozen=True)
class MaximumMatch(Index[_State]):
    """Share of neurons in the largest sets of X and of Y that span each other up to `epsilon`.

    (|X*| + |Y*|) / (p1 + p2)

    X* and Y* are the largest sets of neurons such that each x in X* is within epsilon |x| of the span of Y*, and each y in
    Y* within epsilon |y| of the span of X*. They are unique, and found by removing neurons that are too far until none is.
    Neurons that do not vary take no part and are not counted. NumPy finds the sets on the host.

    Parameters
    ----------
    epsilon : float
        Between 0 and 1: the sine of the largest angle between a neuron and the span of the others. The authors look at a
        range of values, from about 0.15 to 0.5. A neuron just at the limit makes the score jump.

    Notes
    -----
    The authors use activations as they are; here columns are centred, as for every index.

    References
    ----------
    Wang, Hu, Gu, Hu, Wu, He & Hopcroft 2018, Towards understanding learning representations: to what extent do different
    neural networks learn the same representation, definition 2 and algorithm 1.
    """

    epsilon: float = 0.5

    name: ClassVar[str] = "maximum_match"
    reference: ClassVar[str] = "Wang et al. 2018"

    def __post_init__(self) -> None:
        check_number(self.name, "epsilon", self.epsilon, above=0, at_most=1)

    @property
    def facts(self) -> Facts:
        """Spans do not notice a rotation, but which neurons span them does."""
        return Facts(
            symmetric=True,
            range=(0.0, 1.0),
            invariances=Invariances.both("permutation", "isotropic_scaling", "translation"),
            statistic="moments",
            identity=1.0,
            differentiable=False,
            host=True,
        )

    def prepare(self, representation: Representation) -> _State:
        """Centred neurons."""
        layer = representation
        return _State(layer.equilibrated, layer.rank_tolerance, layer.noise_level, layer.xp)

    def score(self, x: _State, y: _State) -> Array:
        """Share of neurons in the maximum match."""
        a, b = to_numpy(x.x), to_numpy(y.x)
        if len(a) > 4 * (a.shape[1] + b.shape[1]):  # the root of the joint scatter has the same inner products
            a, b = np.split(np.linalg.qr(np.concatenate([a, b], axis=1), mode="r"), [a.shape[1]], axis=1)
        share = _matched((a, b), self.epsilon, max(x.tolerance, y.tolerance), (x.noise, y.noise))
        return constant_of(share, total(x.x, x.xp), x.xp)


def _matched(layers: tuple[np.ndarray, np.ndarray], epsilon: float, tolerance: float, noise: tuple[float, float]) -> float:
    """Algorithm 1: alternate until no neuron is removed."""
    unit = [x / np.where(length > 0, length, 1) for x in layers for length in [np.linalg.norm(x, axis=0)]]
    kept = [np.any(x != 0, axis=0) for x in layers]
    count = sum(int(side.sum()) for side in kept)
    if min(side.sum() for side in kept) == 0:
        return float("nan")
    settled = 0
    side = 0
    while settled < 2:
        others = layers[1 - side][:, kept[1 - side]]
        close = kept[side] & (_distance_to_span(unit[side], others, tolerance, noise[1 - side]) <= epsilon)
        settled = settled + 1 if np.array_equal(close, kept[side]) else 0
        kept[side] = close
        side = 1 - side
    return sum(int(side.sum()) for side in kept) / count


def _distance_to_span(vectors: np.ndarray, spanning: np.ndarray, tolerance: float, noise: float) -> np.ndarray:
    """Distance of each column of `vectors` to the span of the columns of `spanning`."""
    if spanning.shape[1] == 0:
        return np.linalg.norm(vectors, axis=0)
    u, triangle = np.linalg.qr(spanning)
    s = np.linalg.svd(triangle, compute_uv=False)
    kept = s > max(tolerance * s[0], noise)
    if not kept.all():  # vectors cost ten times what values do
        u = u @ np.linalg.svd(triangle, full_matrices=False)[0][:, kept]
    return np.asarray(np.linalg.norm(vectors - u @ (u.T @ vectors), axis=0))
