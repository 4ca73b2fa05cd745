"""The noise ceiling: how similar could anything be to layers that differ among themselves?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.arrays import (
    Array,
    Channels,
    Maps,
    as_examples,
    as_matrix,
    check_one_rule,
    check_same_examples,
    check_same_framework,
    namespace_of,
    rounding_of,
)
from simkit.errors import InvalidArrayError
from simkit.guard import in_library
from simkit.index import Index
from simkit.inference.pair import check_here, check_varies, on_host
from simkit.labels import check_labels
from simkit.linalg import cross, root, squared_norm, total
from simkit.registry import get_index
from simkit.representation import Representation

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
    maps: Maps | None = None,
    channels: Channels | None = None,
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
        length. For any other index the pool is one layer with all their features side by side, scaled so that the centred
        Gram matrices XX' have norm 1: of those it is the mean, and for linear CKA the upper bound is strict.
    flatten, maps, channels
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

    Returns
    -------
    NoiseCeiling
        For a distance `upper` is the smaller one.

    Raises
    ------
    SimkitError
        As `simkit.pairwise`; also for fewer than two layers, or lazy or constant ones.

    References
    ----------
    Nili et al. 2014, A toolbox for representational similarity analysis.
    """
    chosen = get_index(index, **parameters)
    named = dict(layers) if isinstance(layers, Mapping) else {str(i): layer for i, layer in enumerate(layers)}
    if len(named) < 2:
        raise InvalidArrayError(f"A noise ceiling needs at least two layers; got {len(named)}.")
    checked = {name: as_matrix(x, name, flatten=flatten, maps=maps, channels=channels) for name, x in named.items()}
    check_one_rule(named, maps)
    check_labels(named)
    first = next(iter(checked))
    for name, x in checked.items():
        check_here(x, name)
        check_same_framework(checked[first], x, (first, name))
        check_same_examples(checked[first], x, (first, name))
    for name, x in checked.items():
        as_examples(x, name, min_examples=chosen.facts.min_examples)
        check_varies(x, name)
    xp, n = namespace_of(checked[first]), checked[first].shape[0]
    width = 2 * sum(x.shape[1] for x in checked.values())
    representations = [
        Representation(x, name=name, tall=n >= width, rounding=rounding_of(named[name]), xp=xp) for name, x in checked.items()
    ]
    states = [chosen.prepare(layer) for layer in representations]
    if hasattr(chosen, "pool"):
        together = chosen.pool(states)
        others = [chosen.pool(states[:i] + states[i + 1 :]) for i in range(len(states))]
    else:
        parts = [_scaled(layer) for layer in representations]

        def pool(some: list[Array]) -> Any:
            return chosen.prepare(Representation(xp.concat(some, axis=1), name="the pool", tall=n >= width, xp=xp))

        together, others = pool(parts), [pool(parts[:i] + parts[i + 1 :]) for i in range(len(parts))]
    upper = on_host([in_library(chosen, chosen.score(state, together), checked[first]) for state in states], xp)
    lower = on_host([chosen.score(state, other) for state, other in zip(states, others, strict=True)], xp)
    return NoiseCeiling(str(chosen), float(np.mean(lower)), float(np.mean(upper)), lower, upper, n)


def _scaled(layer: Representation) -> Array:
    """Features as they were given, but for a factor that makes the norm of the centred Gram matrix 1."""
    xp, x = layer.xp, layer.unit
    gram = cross(x, x) if x.shape[1] <= x.shape[0] else x @ x.mT
    size = root(root(squared_norm(gram, xp), xp), xp) * total(layer.scale, xp)
    return layer.features / xp.astype(size, layer.dtype)
