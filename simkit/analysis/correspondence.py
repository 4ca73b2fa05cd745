"""Section 6.1 of the paper: does an index find the corresponding layer of a network that was trained from another seed?"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simkit.best import found_layers
from simkit.comparison import pairwise
from simkit.errors import ChanceWarning, InvalidArrayError
from simkit.index import Index
from simkit.registry import get_index

__all__ = ["LayerAccuracy", "jackknife_test", "layer_accuracy"]

_EQUAL = 1e-12  # accuracies, sums of shares, that differ by less are equal


@dataclass(frozen=True)
class LayerAccuracy:
    """How often the most similar layer of the other network was the corresponding one.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    layers : tuple of str
    hits : ndarray of float, shape (networks, networks, layers)
        ``hits[a, b, i]``: 1 if the most similar layer of network b to layer i of network a is layer i, 1/m if it is one of m
        that are equally similar, else 0. The diagonal a = b says nothing and is not counted.
    n : int
        Number of examples.
    """

    index: str
    layers: tuple[str, ...]
    hits: np.ndarray
    n: int

    @property
    def networks(self) -> int:
        """The number of networks."""
        return self.hits.shape[0]

    @property
    def accuracy(self) -> float:
        """Share of hits over all ordered pairs of networks and all layers, in [0, 1]; by chance 1 / layers."""
        return self._over(range(self.networks))

    @property
    def by_layer(self) -> dict[str, float]:
        """Share of hits of each layer."""
        apart = ~np.eye(self.networks, dtype=bool)
        return dict(zip(self.layers, self.hits[apart].mean(axis=0).tolist(), strict=True))

    @property
    def standard_error(self) -> float:
        """Jackknife standard error over networks; nan for fewer than three."""
        return float(jackknife_error(self._without_each()))

    def _over(self, networks: Sequence[int]) -> float:
        return float(np.mean([self.hits[a, b] for a, b in itertools.permutations(networks, 2)]))

    def _without_each(self) -> np.ndarray:
        everyone = range(self.networks)
        return np.array([self._over([a for a in everyone if a != left]) for left in everyone if self.networks > 2])

    def __str__(self) -> str:
        error = f" +- {self.standard_error:.1%}" if self.networks > 2 else ""
        return f"{self.index}: {self.accuracy:.1%}{error} of {len(self.layers)} layers found, {self.networks} networks"


def layer_accuracy(
    networks: Sequence[Mapping[str, Any]],
    index: str | Index[Any] = "cka",
    *,
    symmetrise: bool = False,
    **parameters: Any,
) -> LayerAccuracy:
    """Identify corresponding layers of architecturally identical networks by their similarity (section 6.1, Table 2).

    For every ordered pair of networks (A, B) and every layer of A: is the most similar layer of B the one in the same place?
    If it ties with others, so that a choice among m layers is a guess, that counts 1/m: an index that is 1 for any two
    layers finds one of them by chance. Scores tie if they differ by no more than rounding, 16 eps of their dtype. An
    undefined score (nan) is never the most similar.

    Parameters
    ----------
    networks : sequence of mappings of names to arrays (n, p)
        At least two networks with the same layer names in the same order.
    index : str or Index
        As in `simkit.compare`. Of a distance (an index that is 0 for a layer and itself) the smallest counts.
    symmetrise : bool
        Use S + S' for an asymmetric index.
    **parameters
        Parameters of the index; and ``flatten`` and ``check_finite``, as in `simkit.compare`.

    Returns
    -------
    LayerAccuracy

    Raises
    ------
    InvalidArrayError
        Fewer than two networks, or layers with different names.
    """
    if len(networks) < 2:
        raise InvalidArrayError(f"Layer identification needs at least two networks; got {len(networks)}.")
    layers = tuple(networks[0])
    for i, network in enumerate(networks):
        if tuple(network) != layers:
            raise InvalidArrayError(
                f"Network {i} has the layers {', '.join(network)}, network 0 {', '.join(layers)}; they must be the same."
            )
    options = {key: parameters.pop(key) for key in ("flatten", "check_finite") if key in parameters}
    chosen = get_index(index, **parameters)
    m = len(networks)
    scores: dict[tuple[int, int], np.ndarray] = {}
    n = 0
    for a, b in itertools.permutations(range(m), 2):
        if chosen.facts.symmetric and b < a:
            scores[a, b] = scores[b, a].T
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ChanceWarning)  # the order of scores counts, not how high they are
            matrix = pairwise(networks[a], networks[b], chosen, **options)
        scores[a, b], n = matrix.to_numpy(), matrix.n
    hits = np.zeros((m, m, len(layers)))
    for (a, b), forth in scores.items():
        hits[a, b] = found_layers(forth + scores[b, a].T if symmetrise else forth, smallest=chosen.facts.identity == 0)
    return LayerAccuracy(str(chosen), layers, hits, n)


def jackknife_test(first: LayerAccuracy, second: LayerAccuracy) -> tuple[float, float]:
    """The paper's jackknife z-test of two indexes on the same networks.

    Returns
    -------
    z, p : float
        The difference of accuracies over its jackknife standard error (networks left out one by one), and the two-sided
        p-value under a standard normal. z is 0 and p 1 if the accuracies never differ; if they always differ by the same,
        z is infinite and p 0.

    Raises
    ------
    InvalidArrayError
        The results are of different networks, or of fewer than three.
    """
    if first.hits.shape != second.hits.shape or first.layers != second.layers:
        raise InvalidArrayError("The two results are of different networks or layers; a paired test needs the same ones.")
    if first.networks < 3:
        raise InvalidArrayError(f"The jackknife needs at least three networks; got {first.networks}.")
    difference = first.accuracy - second.accuracy
    error = float(jackknife_error(first._without_each() - second._without_each()))
    if error < _EQUAL:
        return (0.0, 1.0) if abs(difference) < _EQUAL else (math.copysign(math.inf, difference), 0.0)
    z = difference / error
    return z, math.erfc(abs(z) / math.sqrt(2))


def jackknife_error(left_out: np.ndarray) -> np.ndarray:
    """sqrt((m - 1)/m sum_i (t_i - mean t)^2) of the m estimates (m, ...) without one network each; nan for none."""
    m = len(left_out)
    if m == 0:
        return np.full(left_out.shape[1:], np.nan)
    return np.sqrt((m - 1) / m * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))
