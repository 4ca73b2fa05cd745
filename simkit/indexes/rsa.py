"""Representational similarity analysis (Kriegeskorte et al. 2008): do two layers find the same examples dissimilar?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from simkit.arrays import Array, Namespace, constant_of, detach, placement
from simkit.index import Index
from simkit.kernels.cosine import Cosine
from simkit.linalg import (
    concordance,
    double_centre,
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
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.statistics.neighbours import centred_rows, rounding_noise
from simkit.statistics.resolution import resolving_distances, warn_if_unresolved

__all__ = ["RSA"]

Dissimilarity: TypeAlias = Literal["correlation", "euclidean", "squared_euclidean", "cosine", "mahalanobis"]
Comparison: TypeAlias = Literal["pearson", "spearman", "kendall", "cosine", "whitened_cosine"]

_DIGITS = 10 / 13  # distances that agree in so many of their binary digits are tied: 40 in float64

_INVARIANCES: dict[str, Invariances] = {
    "correlation": Invariances.both("permutation", "isotropic_scaling"),
    "euclidean": Invariances.both("orthogonal", "isotropic_scaling", "translation"),
    "squared_euclidean": Invariances.both("orthogonal", "isotropic_scaling", "translation"),
    "cosine": Invariances.both("orthogonal", "isotropic_scaling"),
    "mahalanobis": Invariances.both("invertible_linear", "translation"),
}


class _State(NamedTuple):
    rdm: Array  # dissimilarities of the pairs i < j, shape (n (n - 1) / 2,)
    vector: Array  # what is compared: of length 1, unless the comparison is by Kendall's tau
    n: int
    xp: Namespace


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
        layer = representation
        xp = layer.xp
        if self.dissimilarity == "mahalanobis":
            return root(_squares(layer.basis.q, xp), xp) * math.sqrt(layer.n - 1)
        x = widen(layer.features, xp)
        if self.dissimilarity in ("euclidean", "squared_euclidean"):
            # An offset and a power of two, so that the distances of whole numbers are exact and their ties stay ties.
            scale = widen(layer.scale, xp)
            x = resolving_distances((x - robust_origin(x, xp)) / scale, layer.name, xp)
            squares = _squares(x, xp)
            return squares * scale**2 if self.dissimilarity == "squared_euclidean" else root(squares, xp) * scale
        if self.dissimilarity == "correlation":
            x = centred_rows(x, xp)
        cosines = Cosine()(x, x)
        warn_if_unresolved(cosines, layer.name, xp)
        return without_diagonal(xp.where(1.0 - cosines > rounding_noise(x, xp), 1.0 - cosines, 0.0), xp)

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """Dissimilarities and what is compared of them, in float64."""
        return (len(rows) + len(columns or ()) + 2) * n * n * 8

    def prepare(self, representation: Representation) -> _State:
        """The RDM over the pairs i < j, normalised for the comparison."""
        n, xp = representation.n, representation.xp
        rdm = _pairs(self.dissimilarities(representation), xp)
        if self.comparison in ("spearman", "kendall"):
            ordered = xp.sort(detach(rdm))
            rdm = _tied(rdm, ordered, self._rounding(ordered, representation), xp)
        elif self.comparison == "pearson":
            low, high = xp.min(rdm), xp.max(rdm)
            rdm = xp.where(high - low > self._rounding(high, representation), rdm, rdm[:1])
        largest = xp.max(rdm)
        return self._compared(rdm / xp.where(largest > 0, largest, 1.0), n, xp)

    def _rounding(self, d: Array, layer: Representation) -> Array:
        """Dissimilarities that differ from those given by no more count as equal."""
        xp = layer.xp
        if self.dissimilarity in ("correlation", "cosine"):
            return xp.full_like(d, rounding_noise(widen(layer.features[:1, :], xp), xp))
        magnitude = xp.floor(xp.log2(xp.where(d > 0, d, 1.0)))
        info = xp.finfo(d.dtype)
        digits = round(_DIGITS * math.log2(float(info.eps)))
        rounding = 2.0**digits * xp.pow(constant_of(2.0, d, xp), magnitude)
        return xp.clip(rounding, min=float(info.smallest_normal))

    def score(self, x: _State, y: _State) -> Array:
        """Correlation of the two RDMs."""
        if self.comparison == "kendall":
            return constant_of(concordance(x.rdm, y.rdm), x.rdm, x.xp)
        return total(x.vector * y.vector, x.xp)

    def permuted(self, state: _State, order: Array) -> _State:
        """The dissimilarities of the pairs, and what is compared of them, in another order."""
        xp, n = state.xp, state.n
        rdm = _pairs(reordered(_square(state.rdm, n, xp), order, xp), xp)
        if state.vector is state.rdm:
            return state._replace(rdm=rdm, vector=rdm)
        if state.vector.shape == state.rdm.shape:
            return state._replace(rdm=rdm, vector=_pairs(reordered(_square(state.vector, n, xp), order, xp), xp))
        whole = reordered(xp.reshape(state.vector, (n, n)), order, xp)
        return state._replace(rdm=rdm, vector=xp.reshape(whole, (-1,)))

    def pool(self, states: Sequence[_State]) -> _State:
        """The layer whose RDM is the mean of those of `states`: of their ranks, or scaled as the comparison scales them."""
        xp, n = states[0].xp, states[0].n
        if self.comparison in ("spearman", "kendall"):
            scaled = [_ranks(state.rdm, xp) for state in states]
        elif self.comparison == "pearson":
            scaled = [state.vector for state in states]
        else:
            scaled = [_normalised(state.rdm, xp) for state in states]
        return self._compared(xp.sum(xp.stack(scaled), axis=0) / len(states), n, xp)

    def _compared(self, rdm: Array, n: int, xp: Namespace) -> _State:
        if self.comparison == "kendall":
            return _State(rdm, rdm, n, xp)
        if self.comparison == "cosine":
            return _State(rdm, _normalised(rdm, xp), n, xp)
        if self.comparison == "whitened_cosine":
            # V is proportional to (CC')^2, entry by entry, C the contrasts of all pairs. It is the covariance that double
            # centring of the matrix removes: d'V^-1 e is, up to a constant, <HDH, HEH>.
            vector = xp.reshape(double_centre(_square(rdm, n, xp), xp), (-1,))
            return _State(rdm, _normalised(vector, xp), n, xp)
        vector = _ranks(rdm, xp) if self.comparison == "spearman" else rdm - rdm[:1]
        return _State(rdm, _normalised(vector - total(vector, xp) / vector.shape[0], xp), n, xp)


def _squares(x: Array, xp: Namespace) -> Array:
    """Squared distances of all pairs of rows, exactly zero for equal rows: the root of their rounding would be 1e-8."""
    norms = vecdot(x, x, xp)
    noise = 8 * math.sqrt(x.shape[1]) * float(xp.finfo(x.dtype).eps)
    squares = squared_distances(x, x, xp)
    return xp.where(squares > noise * (norms[:, None] + norms[None, :]), squares, 0.0)


def _normalised(vector: Array, xp: Namespace) -> Array:
    """The vector divided by its length; nan if it is zero."""
    return ratio(vector, root(total(vector * vector, xp), xp), xp)


def _tied(vector: Array, ordered: Array, near: Array, xp: Namespace) -> Array:
    """Entries that differ by no more than rounding made equal, to the least of them.

    A chain of entries of which each is near the next is cut at multiples of `near` if it is long: in low precision, or of
    very many entries, all might hang together.

    Parameters
    ----------
    vector, ordered : array, shape (m,)
        The entries, and the same sorted.
    near : array, shape (m,)
        How far each of `ordered` may be from the one before to be tied with it.
    """
    positions = xp.searchsorted(ordered, vector, side="left")
    group = xp.cumulative_sum(xp.astype(ordered[1:] - ordered[:-1] > near[1:], xp.int32), include_initial=True)
    first = xp.take(ordered, xp.searchsorted(group, group, side="left"))
    last = xp.take(ordered, xp.searchsorted(group, group, side="right") - 1)
    cut = xp.round(ordered / near) * near
    return xp.take(xp.where(last - first <= 4 * near, first, cut), positions)


def _ranks(vector: Array, xp: Namespace) -> Array:
    """Ranks from 1, those of equal entries averaged."""
    ordered = xp.sort(vector)
    below = xp.searchsorted(ordered, vector, side="left")
    through = xp.searchsorted(ordered, vector, side="right")
    return xp.astype(below + through + 1, vector.dtype) / 2


def _pairs(square: Array, xp: Namespace) -> Array:
    """The entries i < j of a symmetric matrix as a vector."""
    n = square.shape[0]
    rows, columns = np.triu_indices(n, 1)
    return xp.take(xp.reshape(square, (-1,)), xp.asarray(rows * n + columns, **placement(square)), axis=0)


def _square(vector: Array, n: int, xp: Namespace) -> Array:
    """The symmetric matrix with zeros on its diagonal of a vector over the pairs i < j."""
    k = xp.arange(n, **placement(vector))
    i, j = xp.minimum(k[:, None], k[None, :]), xp.maximum(k[:, None], k[None, :])
    positions = xp.clip(i * (2 * n - i - 1) // 2 + j - i - 1, min=0)
    return without_diagonal(xp.reshape(xp.take(vector, xp.reshape(positions, (-1,)), axis=0), (n, n)), xp)
