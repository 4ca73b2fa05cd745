"""Mutual nearest neighbours (Huh et al. 2024): do two layers agree on which examples are near each other?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array, namespace_of
from simkit.indexes._neighbour_index import NeighbourIndex
from simkit.statistics.neighbours import Neighbours

__all__ = ["MutualKNN"]


@dataclass(frozen=True)
class MutualKNN(NeighbourIndex):
    """Mean share of the k nearest neighbours of an example in X that are its nearest neighbours in Y too.

    1/n sum_i |N_X(i) & N_Y(i)| / k,   N(i) the k nearest neighbours of example i, itself excluded

    Unrelated layers score k / (n - 1) on average. Of m examples that are equally near and tie for the last r places each is
    a neighbour by r/m, and what is common to two layers is the lesser of both shares.

    Parameters
    ----------
    k : int
        Number of neighbours; less than the number of examples.
    metric : {"cosine", "inner", "euclidean"}
        What near means, on the features as they are given (not centred): largest cosine, largest inner product, or smallest
        distance. The authors use inner products of features that they normalise first, which is ``"cosine"``.

    References
    ----------
    Huh, Cheung, Wang & Isola 2024, The platonic representation hypothesis.
    """

    name: ClassVar[str] = "mutual_knn"
    reference: ClassVar[str] = "Huh et al. 2024"

    def score(self, x: Neighbours, y: Neighbours) -> Array:
        """Mean share of common neighbours."""
        shared = x.shared(y)
        return x.returned(namespace_of(shared).mean(shared) / x.k)
