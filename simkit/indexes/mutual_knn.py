"""Mutual nearest neighbours (Huh et al. 2024): do two layers agree on which examples are near each other?"""

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

__all__ = ["MutualKNN"]


@dataclass(frozen=True)
class MutualKNN(Index[Neighbours]):
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

    k: int = 10
    metric: Metric = "cosine"

    name: ClassVar[str] = "mutual_knn"
    reference: ClassVar[str] = "Huh et al. 2024"

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
        """Mean share of common neighbours."""
        return x.xp.mean(x.shared(y)) / x.k

    def permuted(self, state: Neighbours, order: Array) -> Neighbours:
        """The same neighbours, the examples in another order."""
        return state.permuted(order)
