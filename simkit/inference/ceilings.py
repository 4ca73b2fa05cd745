"""The noise ceiling: how similar could anything be to layers that differ among themselves?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.arrays import Array
from simkit.arrays.modes import own_modes
from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.inference.scorer import Scorer, checked, on_host
from simkit.linalg import cross, root, squared_norm, total
from simkit.registry import get_index
from simkit.representation import Representation
from simkit.sides import Sides

__all__ = ["NoiseCeiling", "noise_ceiling"]


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """What `noise_ceiling` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    lower, upper : float
        Mean similarity of each layer to the pool of the others, and to the pool of all.
    lower_each, upper_each : ndarray, shape (layers,)
        The same for each layer.
    n : int
        Number of examples.
    """

    index: str
    lower: float
    upper: float
    lower_each: np.ndarray = field(repr=False)
    upper_each: np.ndarray = field(repr=False)
    n: int

    def __str__(self) -> str:
        return f"{self.index}: noise ceiling {self.lower:.4g} to {self.upper:.4g}"


def noise_ceiling(
    layers: Mapping[str, Any] | Sequence[Any],
    index: str | Index[Any] | type[Index[Any]] = "rsa",
    *,
    flatten: bool = False,
    **parameters: Any,
) -> NoiseCeiling:
    """How similar could anything be to these layers, given how they differ among themselves?

    The layers are repeated measurements of one thing: one layer of several networks trained from different seeds, or one
    brain region of several subjects. Upper bound: the mean similarity of each to the pool of all, which nothing that must
    be similar to all of them exceeds by much. Lower bound: the mean similarity of each to the pool of the others, which the
    true representation should reach.

    Parameters
    ----------
    layers : mapping of names to arrays, or sequence of arrays
        At least two, of shapes (n, p_i).
    index : str or Index
        As in `simkit.compare`. ``rsa`` pools RDMs as rsatoolbox does: ranks for rank correlations, else RDMs of equal
        length; any index may have a ``pool`` of its own. For the others the pool is one layer with all their features side
        by side, scaled so that the centred Gram matrices XX' have norm 1: of those it is the mean, and for linear CKA the
        upper bound is strict.
    flatten : bool
        Accept arrays of more than two dimensions and flatten each example.
    **parameters
        Parameters of the index.

    Returns
    -------
    NoiseCeiling
        For a distance ``upper`` is the smaller one.

    Raises
    ------
    SimkitError
        As `simkit.pairwise`; also for fewer than two layers, or lazy or constant ones.

    References
    ----------
    Nili et al. 2014, A toolbox for representational similarity analysis.
    """
    chosen = get_index(index, **parameters)
    sides, given = Sides.of_layers(layers)
    if len(given) < 2:
        raise InvalidArrayError(f"A noise ceiling needs at least two layers; got {len(given)}.")
    scorer = checked(sides, given, chosen, flatten=flatten)
    states, xp = scorer.states[0], scorer.xp
    with own_modes(scorer.like):
        together, *others = _pools(scorer, states)
    upper = on_host([scorer.scored(states, [together])], xp)[0, :, 0]
    lower = on_host([scorer.scored([state], [other]) for state, other in zip(states, others, strict=True)], xp)[:, 0, 0]
    return NoiseCeiling(str(chosen), float(np.mean(lower)), float(np.mean(upper)), lower, upper, scorer.n)


def _pools(scorer: Scorer, states: list[Any]) -> Iterator[Any]:
    """The states of the pool of all layers, and of the pools without each of them."""
    xp, index, features = scorer.xp, scorer.index, None
    for left_out in (None, *range(len(states))):
        pooled = index.pool([state for i, state in enumerate(states) if i != left_out])
        if pooled is None:
            if features is None:
                features = [_scaled(scorer.representation(layer)) for layer in scorer.rows]
            side_by_side = xp.concat([x for i, x in enumerate(features) if i != left_out], axis=1)
            pooled = index.prepare(Representation(side_by_side, "the pool", tall=scorer.tall, xp=xp))
        yield pooled


def _scaled(layer: Representation) -> Array:
    """Features as they were given, but for a factor that makes the norm of the centred Gram matrix 1."""
    xp, x = layer.xp, layer.unit
    gram = cross(x, x) if x.shape[1] <= x.shape[0] else x @ x.mT
    size = root(root(squared_norm(gram, xp), xp), xp) * total(layer.scale, xp)
    return layer.features / xp.astype(size, layer.dtype)
