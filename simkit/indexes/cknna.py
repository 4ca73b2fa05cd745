"""CKNNA, centred kernel nearest-neighbour alignment (Huh et al. 2024): CKA restricted to mutual nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, constant_of, to_numpy, wants_gradients
from simkit.index import Index
from simkit.linalg import ratio, root, total, widen
from simkit.properties import Facts
from simkit.representation import Representation
from simkit.spec import check_choice, check_whole
from simkit.statistics.hsic_sums import HSICSums, estimate
from simkit.statistics.neighbours import (
    INVARIANCES,
    Common,
    Neighbours,
    Points,
    bytes_of_neighbours,
    in_one_library,
    neighbours,
    similarities,
)
from simkit.statistics.pair_sets import PairSet

__all__ = ["CKNNA"]

Form: TypeAlias = Literal["paper", "code"]


class _State(NamedTuple):
    near: Neighbours
    k: Array  # similarities of their pairs; for the paper's form less the mean of those of the first example to all
    own: Array  # alignment of the layer with itself

    def moved(self, near: Neighbours) -> _State:
        """The state in the library of `near`."""
        if near.xp is self.near.xp:
            return self
        return _State(near, *(constant_of(to_numpy(values), near.share, near.xp) for values in self[1:]))


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
        """The neighbours in each layer, and their similarities."""
        return 2 * bytes_of_neighbours(n, int(self.k), len(rows) + len(columns or ()))

    def prepare(self, representation: Representation) -> _State:
        """The neighbours of each example, and their similarities."""
        layer = representation
        xp, points = layer.xp, Points.of(layer, self.metric)
        near = neighbours(points, int(self.k))
        if near.pairs.numbers is None or wants_gradients(layer.features):
            near = near.to(xp, near.like)
            k = near.pairs.places_in(PairSet(None, layer.n, xp)).take(xp.reshape(self._similarities(layer), (-1,)))
        else:
            k = self._of_pairs(points if near.xp is points.xp else points.on_host(), near.pairs)
        itself = near.common(near)
        return _State(near, k, self._aligned(k, k, itself))

    def _similarities(self, layer: Representation) -> Array:
        """Those of all pairs of examples, which gradients flow through."""
        xp = layer.xp
        x = widen(layer.features, xp)
        if self.metric == "inner":
            x = x / widen(layer.scale, xp)  # a power of two
        k = similarities(x, x, self.metric, xp)
        return k - total(k, xp, axis=1)[:, None] / layer.n if self.form == "paper" else k

    def _of_pairs(self, points: Points, pairs: PairSet) -> Array:
        """Those of neighbours alone."""
        xp, i, j = points.xp, pairs.numbers // pairs.n, pairs.numbers % pairs.n
        k = points.similarities(i, j)
        if self.form == "paper":
            return k - xp.take(points.mean_similarities(), i)
        return k + 1 if self.metric == "cosine" else k

    def score(self, x: _State, y: _State) -> Array:
        """Alignment over that of each layer with itself."""
        here, there = in_one_library(x.near, y.near)
        x, y = x.moved(here), y.moved(there)
        xp, common = here.xp, here.common(there)
        aligned = self._aligned(common.mine.take(x.k), common.theirs.take(y.k), common)
        return here.returned(ratio(aligned, root(x.own, xp) * root(y.own, xp), xp))

    def permuted(self, state: _State, order: Array) -> _State:
        """Similarities and neighbours in another order, which does not change the alignment of a layer with itself."""
        near, places = state.near.permuted(order)
        return state._replace(near=near, k=near.xp.take(state.k, places))

    def _aligned(self, k: Array, other: Array, common: Common) -> Array:
        """Alignment of two layers over the pairs that are neighbours in both, from the similarities of these pairs."""
        pairs, both = common.pairs, common.share
        xp = pairs.xp
        if self.form == "paper":
            return total(both * k * other, xp)
        a, b = both * k, both * other
        inner = total(a * pairs.transposed(b), xp)
        rows = total(pairs.sums(a, axis=0) * pairs.sums(b, axis=1), xp)
        return estimate(HSICSums(inner, rows, total(a, xp) * total(b, xp), pairs.n), "unbiased")
