"""Representational similarity analysis (Kriegeskorte et al. 2008): do two layers find the same examples dissimilar?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias, get_args

from simkit.arrays import Array, Namespace, constant_of, placement
from simkit.index import Index
from simkit.kernels.cosine import directions
from simkit.linalg import (
    concordance,
    double_centre,
    from_pairs,
    over_pairs,
    pairs_reordered,
    powers_of_two,
    ranks,
    ratio,
    reordered,
    robust_origin,
    root,
    squared_distances,
    total,
    vecdot,
    widen,
    without_diagonal,
)
from simkit.linalg.products import inner_products
from simkit.linalg.selection import few_of
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.statistics.neighbours import centred_rows, rounding_noise
from simkit.statistics.resolution import resolving_distances, warn_if_unresolved

__all__ = ["RSA"]

Dissimilarity: TypeAlias = Literal["correlation", "euclidean", "squared_euclidean", "cosine", "mahalanobis"]
Comparison: TypeAlias = Literal["pearson", "spearman", "kendall", "cosine", "whitened_cosine"]

_Entries: TypeAlias = Callable[[slice, slice], Array]  # of a matrix over all pairs of examples

_DIGITS = 10 / 13  # distances that agree in so many of their binary digits are tied: 40 in float64

_INVARIANCES: dict[str, Invariances] = {
    "correlation": Invariances.both("permutation", "isotropic_scaling"),
    "euclidean": Invariances.both("orthogonal", "isotropic_scaling", "translation"),
    "squared_euclidean": Invariances.both("orthogonal", "isotropic_scaling", "translation"),
    "cosine": Invariances.both("orthogonal", "isotropic_scaling"),
    "mahalanobis": Invariances.both("invertible_linear", "translation"),
}


@dataclass(frozen=True, eq=False)
class _State:
    """One layer's dissimilarities.

    Attributes
    ----------
    prepared : array, shape (n (n - 1) / 2,)
        Of the pairs i < j: dissimilarities, or their ranks where ranks are compared; the examples as they were given.
    vector : array
        What is compared: of length 1, unless the comparison is by Kendall's tau; the examples in their order.
    n : int
    xp : namespace
    order : array of int, shape (n,), optional
        Of the examples, if not as they were given.
    """

    prepared: Array
    vector: Array
    n: int
    xp: Namespace
    order: Array | None = None

    @property
    def rdm(self) -> Array:
        """What was prepared, the examples in their order; few ask for it."""
        return self.prepared if self.order is None else pairs_reordered(self.prepared, self.n, self.order, self.xp)


@dataclass(frozen=True)
class RSA(Index[_State]):
    """Representational similarity analysis: correlation of the dissimilarities of all pairs of examples.

    The representational dissimilarity matrix (RDM) of a layer holds the dissimilarity of every two examples, as the layer
    sees them. Two layers are similar if their RDMs, vectors over the pairs i < j, go together.

    Parameters
    ----------
    dissimilarity : {"correlation", "euclidean", "squared_euclidean", "cosine", "mahalanobis"}
        Of two examples, on the features **as they are given**: centring the columns changes correlations and cosines.

        - ``"correlation"``: 1 - their correlation over the features, the original choice;
        - ``"euclidean"``, ``"squared_euclidean"``: the distance of their features, or its square;
        - ``"cosine"``: 1 - the cosine of their features;
        - ``"mahalanobis"``: sqrt((x_i - x_j)' S^+ (x_i - x_j)), S the covariance of the features over the examples. With
          p >= n - 1 all distances are equal, and the score is nan.

        An example without direction (all its features equal, or for ``"cosine"`` zero) has dissimilarity 1 to every other.
    comparison : {"pearson", "spearman", "kendall", "cosine", "whitened_cosine"}
        Of the two vectors of dissimilarities d and e.

        - ``"spearman"``: Pearson's correlation of ranks, tied ranks averaged, the original choice;
        - ``"kendall"``: tau-a, (concordant - discordant) / all pairs of entries, which does not favour models that predict
          ties (Nili et al. 2014); SciPy, on the host;
        - ``"cosine"``: d'e / (|d| |e|);
        - ``"whitened_cosine"``: d'V^-1 e / sqrt(d'V^-1 d e'V^-1 e), V the covariance of the entries of an RDM of noise; the
          whitened unbiased cosine when given unbiased (crossvalidated) dissimilarities. Those of one layer are not; then it
          is CKA of the matrices -d/2, and with ``"squared_euclidean"`` exactly linear CKA.

    Notes
    -----
    Everything is computed in float64 where the device has it, since ranks see the last digit. For rank correlations
    dissimilarities that differ by no more than rounding are tied: distances by 1e-12 of themselves, whatever the largest is,
    and correlations and cosines by about 1e-14 sqrt(p).

    References
    ----------
    Kriegeskorte, Mur & Bandettini 2008; Nili et al. 2014, A toolbox for representational similarity analysis (tau-a);
    Diedrichsen et al. 2021, Comparing representational geometries using whitened unbiased-distance-matrix similarity.
    """

    dissimilarity: Dissimilarity = "correlation"
    comparison: Comparison = "spearman"

    name: ClassVar[str] = "rsa"
    reference: ClassVar[str] = "Kriegeskorte et al. 2008"

    def __post_init__(self) -> None:
        check_choice(self.name, "dissimilarity", self.dissimilarity, get_args(Dissimilarity))
        check_choice(self.name, "comparison", self.comparison, get_args(Comparison))

    @property
    def facts(self) -> Facts:
        """The dissimilarity decides on the invariances, the comparison on the range."""
        return Facts(
            symmetric=True,
            range=(0.0 if self.comparison in ("cosine", "whitened_cosine") else -1.0, 1.0),
            invariances=_INVARIANCES[self.dissimilarity],
            statistic="examples",
            identity=None if self.comparison == "kendall" else 1.0,  # tau-a is below 1 where entries are tied
            differentiable=self.comparison not in ("spearman", "kendall"),
            min_examples=3,
            host=self.comparison == "kendall",
        )

    def dissimilarities(self, representation: Representation) -> Array:
        """The RDM: dissimilarities of all pairs of examples, shape (n, n), zero on the diagonal, in float64.

        Warns
        -----
        AccuracyWarning
            The precision does not resolve the differences, and float64 is not available or does not either.
        """
        entries, n = self._entries(representation), representation.n
        return without_diagonal(entries(slice(0, n), slice(0, n)), representation.xp)

    def _entries(self, layer: Representation) -> _Entries:
        """The dissimilarities of some examples to some others, anything for that of an example to itself."""
        xp = layer.xp
        if self.dissimilarity == "mahalanobis":
            squares, factor = _squares(layer.basis.q, xp), math.sqrt(layer.n - 1)
            return lambda rows, columns: root(squares(rows, columns), xp) * factor
        x = widen(layer.features, xp)
        if self.dissimilarity in ("euclidean", "squared_euclidean"):
            # An offset and a power of two, so that the distances of whole numbers are exact and their ties stay ties.
            scale = widen(layer.scale, xp)
            squares = _squares(resolving_distances((x - robust_origin(x, xp)) / scale, layer.name, xp), xp)
            if self.dissimilarity == "squared_euclidean":
                return lambda rows, columns: squares(rows, columns) * scale**2
            return lambda rows, columns: root(squares(rows, columns), xp) * scale
        if self.dissimilarity == "correlation":
            x = centred_rows(x, xp)
        a, noise = directions(x, xp), rounding_noise(x, xp)
        few = few_of(a)
        warn_if_unresolved(few @ few.mT, layer.name, xp)

        def from_cosines(rows: slice, columns: slice) -> Array:
            d = a[rows, :] @ a[columns, :].mT
            d *= -1.0
            d += 1.0
            return xp.where(d > noise, d, 0.0)

        return from_cosines

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """Dissimilarities and what is compared of them, in float64."""
        return (len(rows) + len(columns or ()) + 2) * n * n * 8

    def prepare(self, representation: Representation) -> _State:
        """The RDM over the pairs i < j, normalised for the comparison."""
        n, xp = representation.n, representation.xp
        rdm = over_pairs(self._entries(representation), n, xp)
        if self.comparison in ("spearman", "kendall"):
            return self._compared(ranks(rdm, xp, lambda ordered: self._rounding(ordered, representation)), n, xp)
        if self.comparison == "pearson":
            low, high = xp.min(rdm), xp.max(rdm)
            rdm = xp.where(high - low > self._rounding(high, representation), rdm, rdm[:1])
        largest = xp.max(rdm)
        return self._compared(rdm / xp.where(largest > 0, largest, 1.0), n, xp)

    def _rounding(self, d: Array, layer: Representation) -> Array:
        """Dissimilarities that differ from those given by no more count as equal."""
        xp = layer.xp
        if self.dissimilarity in ("correlation", "cosine"):
            noise = rounding_noise(widen(layer.features[:1, :], xp), xp)
            return xp.broadcast_to(constant_of(noise, d, xp), d.shape)
        info = xp.finfo(d.dtype)
        digits = round(_DIGITS * math.log2(float(info.eps)))
        return xp.clip(2.0**digits * powers_of_two(d, xp), min=float(info.smallest_normal))

    def score(self, x: _State, y: _State) -> Array:
        """Correlation of the two RDMs."""
        if self.comparison == "kendall":
            return constant_of(concordance(x.vector, y.vector), x.vector, x.xp)
        return total(x.vector * y.vector, x.xp)

    def scores(self, xs: Sequence[_State], ys: Sequence[_State], advance: Callable[[], None] = lambda: None) -> Array:
        """Correlations of all pairs of RDMs, each of which is read once."""
        if self.comparison == "kendall":
            return super().scores(xs, ys, advance)
        left = [x.vector for x in xs]
        found = inner_products(left, left if ys is xs else [y.vector for y in ys], xs[0].xp)
        for _ in xs:
            advance()
        return found

    @property
    def knows_chance(self) -> bool:
        """Each pair of examples meets every other one equally often."""
        return True

    def chance(self, xs: Sequence[_State], ys: Sequence[_State], n: int) -> Array:
        """0 for correlations, Kendall's too; sum d sum e / (|d| |e| n (n - 1) / 2) for ``"cosine"``; else that of CKA."""
        if self.comparison not in ("cosine", "whitened_cosine"):
            like = xs[0].vector
            return xs[0].xp.zeros((len(xs), len(ys)), dtype=like.dtype, **placement(like))
        every, count = slice(None), n * (n - 1) / 2
        if self.comparison == "whitened_cosine":  # of a whole matrix, whose trace counts
            every, count = slice(None, None, n + 1), n - 1
        return self._sums(xs, every)[:, None] * self._sums(ys, every)[None, :] / count

    @staticmethod
    def _sums(states: Sequence[_State], entries: slice) -> Array:
        xp = states[0].xp
        return xp.stack([total(state.vector[entries], xp) for state in states])

    def permuted(self, state: _State, order: Array) -> _State:
        """What is compared of the dissimilarities, in another order."""
        xp, n = state.xp, state.n
        if self.comparison == "whitened_cosine":
            vector = xp.reshape(reordered(xp.reshape(state.vector, (n, n)), order, xp), (-1,))
        else:
            vector = pairs_reordered(state.vector, n, order, xp)
        return replace(state, vector=vector, order=order if state.order is None else xp.take(state.order, order, axis=0))

    def pool(self, states: Sequence[_State]) -> _State:
        """The layer whose RDM is the mean of those of `states`: of their ranks, or scaled as the comparison scales them."""
        xp, n = states[0].xp, states[0].n
        if self.comparison in ("spearman", "kendall"):
            scaled = [state.rdm for state in states]
        elif self.comparison == "pearson":
            scaled = [state.vector for state in states]
        else:
            scaled = [_normalised(state.rdm, xp) for state in states]
        pooled = xp.sum(xp.stack(scaled), axis=0) / len(states)
        return self._compared(ranks(pooled, xp) if self.comparison in ("spearman", "kendall") else pooled, n, xp)

    def _compared(self, rdm: Array, n: int, xp: Namespace) -> _State:
        if self.comparison == "kendall":
            return _State(rdm, rdm, n, xp)
        if self.comparison == "cosine":
            return _State(rdm, _normalised(rdm, xp), n, xp)
        if self.comparison == "whitened_cosine":
            # V is proportional to (CC')^2, entry by entry, C the contrasts of all pairs. It is the covariance that double
            # centring of the matrix removes: d'V^-1 e is, up to a constant, <HDH, HEH>.
            vector = xp.reshape(double_centre(from_pairs(rdm, n, xp), xp), (-1,))
            return _State(rdm, _normalised(vector, xp), n, xp)
        vector = rdm - rdm[:1]
        return _State(rdm, _normalised(vector - total(vector, xp) / vector.shape[0], xp), n, xp)


def _squares(x: Array, xp: Namespace) -> _Entries:
    """Squared distances of rows, exactly zero for equal rows: the root of their rounding would be 1e-8."""
    noise, lengths = 8 * math.sqrt(x.shape[1]) * float(xp.finfo(x.dtype).eps), vecdot(x, x, xp)

    def squares(rows: slice, columns: slice) -> Array:
        found = squared_distances(x[rows, :], x[columns, :], xp)
        return xp.where(found > noise * (lengths[rows][:, None] + lengths[columns][None, :]), found, 0.0)

    return squares


def _normalised(vector: Array, xp: Namespace) -> Array:
    """The vector divided by its length; nan if it is zero."""
    return vector * ratio(1.0, root(total(vector * vector, xp), xp), xp)
