"""Jaccard similarity of nearest neighbours: how much the neighbourhoods of the examples overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.indexes._neighbour_index import NeighbourIndex
from simkit.statistics.neighbours import Neighbours

__all__ = ["Jaccard"]


@dataclass(frozen=True)
class Jaccard(NeighbourIndex):
    """Mean Jaccard similarity of the sets of k nearest neighbours in X and in Y.

    1/n sum_i |N_X(i) & N_Y(i)| / |N_X(i) | N_Y(i)|,   N(i) the k nearest neighbours of example i, itself excluded

    It orders single examples as `MutualKNN` does, s / (2 - s) for s of that index, but averages another function of them.
    Of m examples that are equally near and tie for the last r places each is a neighbour by r/m; the intersection then is
    the sum of the lesser of both shares, the union that of the greater.

    Parameters
    ----------
    k : int
        Number of neighbours; less than the number of examples.
    metric : {"cosine", "inner", "euclidean"}
        What near means, on the features as they are given (not centred): largest cosine, largest inner product, or smallest
        distance.

    References
    ----------
    Jaccard 1912; Schumacher et al. 2021, The effects of randomness on the stability of node embeddings; Klabunde et al.
    2025, Similarity of neural network models: a survey of functional and representational measures.
    """

    name: ClassVar[str] = "jaccard"
    reference: ClassVar[str] = "Schumacher et al. 2021; Klabunde et al. 2025"

    def score(self, x: Neighbours, y: Neighbours) -> Array:
        """Mean overlap of the neighbourhoods."""
        shared = x.shared(y)
        return x.returned(namespace_of(shared).mean(shared / (2 * x.k - shared)))
