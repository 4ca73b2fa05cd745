"""Jaccard similarity of nearest neighbours: how much the neighbourhoods of the examples overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.index import Index
from simkit.properties import Facts
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit.statistics.neighbours import INVARIANCES, METRICS, Metric, Neighbours, neighbours

__all__ = ["Jaccard"]


@dataclass(frozen=True)
class Jaccard(Index[Neighbours]):
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

    k: int = 10
    metric: Metric = "cosine"

    name: ClassVar[str] = "jaccard"
    reference: ClassVar[str] = "Schumacher et al. 2021; Klabunde et al. 2025"

    def __post_init__(self) -> None:
        check_whole(self.name, "k", self.k, at_least=1)
        check_choice(self.name, "metric", self.metric, METRICS)

    @property
    def facts(self) -> Facts:
        """A count, so there are no gradients."""
        return Facts(
            symmetric=True,
            range=(0.0, 1.0),
            invariances=INVARIANCES[self.metric],
            statistic="examples",
            identity=1.0,
            differentiable=False,
            min_examples=int(self.k) + 1,
        )

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """Shares of all pairs of examples for each layer, and what is common to two."""
        return (len(rows) + len(columns or ()) + 1) * n * n * 8

    def prepare(self, representation: Representation) -> Neighbours:
        """The neighbours of each example."""
        return neighbours(representation, int(self.k), self.metric)

    def score(self, x: Neighbours, y: Neighbours) -> Array:
        """Mean overlap of the neighbourhoods."""
        shared = x.shared(y)
        return x.xp.mean(shared / (2 * x.k - shared))

    def permuted(self, state: Neighbours, order: Array) -> Neighbours:
        """The same neighbours, the examples in another order."""
        return state.permuted(order)
