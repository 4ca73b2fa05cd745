"""What indexes that count common nearest neighbours share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simkit.arrays import Array
from simkit.index import Index
from simkit.properties import Facts
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit.statistics.neighbours import INVARIANCES, METRICS, Metric, Neighbours, Points, bytes_of_neighbours, neighbours

__all__ = ["NeighbourIndex"]


@dataclass(frozen=True)
class NeighbourIndex(Index[Neighbours]):
    """An index of the k nearest neighbours of each example in X and in Y.

    Parameters
    ----------
    k : int
        Number of neighbours; less than the number of examples.
    metric : {"cosine", "inner", "euclidean"}
        What near means, on the features as they are given (not centred): largest cosine, largest inner product, or smallest
        distance.
    """

    k: int = 10
    metric: Metric = "cosine"

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
        """The neighbours in each layer."""
        return bytes_of_neighbours(n, int(self.k), len(rows) + len(columns or ()))

    def prepare(self, representation: Representation) -> Neighbours:
        """The neighbours of each example."""
        return neighbours(Points.of(representation, self.metric), int(self.k))

    def permuted(self, state: Neighbours, order: Array) -> Neighbours:
        """The same neighbours, the examples in another order."""
        return state.permuted(order)[0]
