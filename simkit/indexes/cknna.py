"""CKNNA, centred kernel nearest-neighbour alignment (Huh et al. 2024): CKA restricted to mutual nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace
from simkit.index import Index
from simkit.linalg import ratio, reordered, root, total, widen
from simkit.properties import Facts
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit.statistics.hsic_sums import HSICSums, estimate
from simkit.statistics.neighbours import INVARIANCES, Neighbours, neighbours, similarities

__all__ = ["CKNNA"]

Form: TypeAlias = Literal["paper", "code"]


class _State(NamedTuple):
    k: Array  # similarities of all pairs; for the paper's form less their mean over each row
    near: Neighbours
    own: Array  # alignment of the layer with itself
    xp: Namespace


@dataclass(frozen=True)
class CKNNA(Index[_State]):
    """Centred kernel nearest-neighbour alignment: CKA that looks only at pairs that are near each other in both layers.

    CKNNA(K, L) = Align(K, L) / sqrt(Align(K, K) Align(L, L))

    Align(K, L) = sum_ij a_ij (K_ij - mean_l K_il) (L_ij - mean_l L_il)

    with a_ij = 1 if j is among the k nearest neighbours of i, itself excluded, in both layers, else 0. With k = n - 1 all
    pairs count. Of m examples that are equally near and tie for the last r places each is a neighbour by r/m, and a_ij is
    the lesser of the shares in both layers.

    Parameters
    ----------
    k : int
        Number of neighbours, at least 2 and less than the number of examples.
    metric : {"cosine", "inner"}
        K_ij is the cosine or the inner product of the features of examples i and j as they are given (not centred). The
        authors use inner products of features that they normalise first, which is ``"cosine"``.
    form : {"paper", "code"}
        ``"paper"`` is the equation above. ``"code"`` is what the authors' programs compute, and so their figures show: the
        unbiased HSIC of Song et al. of the matrices a_ij K_ij and a_ij L_ij. It is not bounded, and slightly asymmetric
        since j may be a neighbour of i but not i of j. The two differ by a few per cent or more.

    References
    ----------
    Huh, Cheung, Wang & Isola 2024, The platonic representation hypothesis.
    """

    k: int = 10
    metric: Literal["cosine", "inner"] = "cosine"
    form: Form = "paper"

    name: ClassVar[str] = "cknna"
    reference: ClassVar[str] = "Huh et al. 2024"

    def __post_init__(self) -> None:
        check_whole(self.name, "k", self.k, at_least=2)
        check_choice(self.name, "metric", self.metric, ("cosine", "inner"))
        check_choice(self.name, "form", self.form, get_args(Form))

    @property
    def facts(self) -> Facts:
        """The paper's form obeys the inequality of Cauchy and Schwarz; which pairs are near is constant for gradients."""
        paper = self.form == "paper"
        return Facts(
            symmetric=paper,
            range=(-1.0, 1.0) if paper else (-math.inf, math.inf),
            invariances=INVARIANCES[self.metric],
            statistic="examples",
            identity=1.0,
            min_examples=max(int(self.k) + 1, 3 if paper else 4),
        )

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """Similarities and shares of all pairs of examples for each layer, and those of one pair of layers."""
        return 2 * (len(rows) + len(columns or ()) + 1) * n * n * 8

    def prepare(self, representation: Representation) -> _State:
        """Similarities of all pairs, and the neighbours of each example."""
        layer = representation
        xp = layer.xp
        x = widen(layer.features, xp)
        if self.metric == "inner":
            x = x / widen(layer.scale, xp)  # a power of two
        k = similarities(x, x, self.metric, xp)
        if self.form == "paper":
            k = k - total(k, xp, axis=1)[:, None] / layer.n
        near = neighbours(layer, int(self.k), self.metric)
        return _State(k, near, self._aligned(k, k, near.chosen, xp), xp)

    def score(self, x: _State, y: _State) -> Array:
        """Alignment over that of each layer with itself."""
        aligned = self._aligned(x.k, y.k, x.near.common(y.near), x.xp)
        return ratio(aligned, root(x.own, x.xp) * root(y.own, x.xp), x.xp)

    def permuted(self, state: _State, order: Array) -> _State:
        """Similarities and neighbours in another order, which does not change the alignment of a layer with itself."""
        return state._replace(k=reordered(state.k, order, state.xp), near=state.near.permuted(order))

    def _aligned(self, k: Array, other: Array, both: Array, xp: Namespace) -> Array:
        """Alignment of two layers over the pairs that are neighbours in both."""
        if self.form == "paper":
            return total(both * k * other, xp)
        n, a, b = k.shape[0], both * k, both * other
        inner = total(a * b.mT, xp)
        rows = total(total(a, xp, axis=0) * total(b, xp, axis=1), xp)
        return estimate(HSICSums(inner, rows, total(a, xp) * total(b, xp), n), "unbiased")
