"""Section 3 of the paper: canonical correlation analysis, singular vector CCA and projection-weighted CCA."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace, namespace_of, placement
from simkit.index import Index
from simkit.indexes._basis_index import BasisIndex, formed
from simkit.linalg import Basis, all_ranks, cosines, cross, ratio, smaller_rank, squared_cosines, squared_norm, total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice, check_number

__all__ = ["CCA", "PWCCA", "SVCCA"]

Summary: TypeAlias = Literal["r2", "rho", "pillai"]


class _CorrelationIndex(BasisIndex):
    """An index that makes one number of the canonical correlations, the singular values of Q_Y' Q_X.

    ``summary="r2"`` (equation 7) is the mean squared correlation, where ranks are equal Yanai's generalised coefficient of
    determination; ``"rho"`` (equation 8) the mean correlation; ``"pillai"`` the sum of squares, Pillai's trace. Means are
    over the smaller rank.
    """

    summary: Summary

    def score(self, x: Basis, y: Basis) -> Array:
        """Summary of the canonical correlations."""
        xp = namespace_of(x.columns.x, y.columns.x)
        rank = smaller_rank(x, y, xp)
        found = total(xp.clip(cosines(y, x, xp), max=1.0), xp) if self.summary == "rho" else squared_cosines(y, x, xp)
        if self.summary == "pillai":
            return xp.where(rank == 0, float("nan"), found)
        return ratio(found, xp.astype(rank, found.dtype), xp)

    @property
    def knows_chance(self) -> bool:
        """The sum of squared correlations is linear in each projection; that of correlations is not."""
        return self.summary != "rho"

    def chance(self, xs: Sequence[Basis], ys: Sequence[Basis], n: int) -> Array:
        """rank(X) rank(Y) / (n - 1), which is larger rank / (n - 1) as a mean over the smaller one."""
        x, y = all_ranks(xs)[:, None], all_ranks(ys)[None, :]
        return (namespace_of(x, y).maximum(x, y) if self.summary == "r2" else x * y) / (n - 1)

    def _facts(self, invariances: Invariances, generic: str = "") -> Facts:
        bounded = self.summary != "pillai"
        return Facts(
            symmetric=True,
            range=(0.0, 1.0 if bounded else math.inf),
            invariances=invariances,
            statistic="moments",
            identity=1.0 if bounded else None,
            generic=generic,
        )


@dataclass(frozen=True)
class CCA(_CorrelationIndex):
    """Canonical correlation analysis: the correlations rho_i of the best aligned linear combinations of X and Y.

    r2:      sum_i rho_i^2 / min(rank) = |Q_Y' Q_X|^2 / min(rank)                                (equation 7)

    rho:     sum_i rho_i / min(rank) = |Q_Y' Q_X|_* / min(rank)                                  (equation 8)

    pillai:  sum_i rho_i^2

    Invariant to every invertible linear transform of X and of Y, so it cannot tell apart representations with p >= n - 1:
    they all score 1 (Theorem 1). Use `CKA` there.

    Parameters
    ----------
    summary : {"r2", "rho", "pillai"}
        How the correlations become one number.

    Notes
    -----
    The rank is that of `simkit.representation.Representation.basis`: it counts directions that are larger than the rounding
    of the values in the precision in which they were given, with an `AccuracyWarning` where that cannot be told.

    References
    ----------
    Hotelling 1936; Kornblith et al. 2019, equations 7 and 8; Yanai 1974 (GCD); Pillai 1955.
    """

    summary: Summary = "r2"

    name: ClassVar[str] = "cca"
    reference: ClassVar[str] = "Hotelling 1936; Kornblith et al. 2019, eqs 7, 8"

    def __post_init__(self) -> None:
        check_choice(self.name, "summary", self.summary, get_args(Summary))

    @property
    def facts(self) -> Facts:
        """Pillai's trace is bounded by the rank only."""
        return self._facts(Invariances.both("invertible_linear", "translation"))


@dataclass(frozen=True)
class SVCCA(_CorrelationIndex):
    """Singular vector CCA: CCA between the leading principal components of X and of Y.

    X and Y are first replaced by the left singular vectors that together reach `threshold` of the variance (the cumulative
    sum of squared singular values of the centred columns; the component that crosses the threshold is kept). The sum of the
    canonical correlations, or of their squares, is divided by the smaller number of components kept.

    Parameters
    ----------
    threshold : float
        Share of the variance to keep, in (0, 1].
    summary : {"r2", "rho", "pillai"}
        How the correlations become one number; see `CCA`.

    References
    ----------
    Raghu et al. 2017; Kornblith et al. 2019, section 3.
    """

    threshold: float = 0.99
    summary: Summary = "r2"

    name: ClassVar[str] = "svcca"
    reference: ClassVar[str] = "Raghu et al. 2017"

    def __post_init__(self) -> None:
        check_number(self.name, "threshold", self.threshold, above=0, at_most=1)
        check_choice(self.name, "summary", self.summary, get_args(Summary))

    @property
    def facts(self) -> Facts:
        """An invertible transform changes which subspace is kept."""
        return self._facts(
            Invariances.both("orthogonal", "isotropic_scaling", "translation"),
            generic="no two singular values are equal where the threshold is reached" if self.threshold < 1 else "",
        )

    @property
    def knows_chance(self) -> bool:
        """As `CCA`, of the components that are kept."""
        return self.summary != "rho"

    def prepare(self, representation: Representation) -> Basis:
        """Left singular vectors up to the threshold."""
        return representation.principal_basis(self.threshold)


class _Weighted(NamedTuple):
    basis: Basis
    coordinates: Array  # Q'X: the neurons in the coordinates of the basis
    xp: Namespace


@dataclass(frozen=True)
class PWCCA(Index[_Weighted]):
    """Projection-weighted CCA: the mean canonical correlation, weighted by how much of X each canonical variable explains.

    sum_i alpha_i rho_i / sum_i alpha_i,   alpha_i = sum_j |<h_i, x_j>|,   h_i = Q_X u_i          (equation 9)

    where U S V' = Q_X' Q_Y and i runs over the canonical correlations, as many as the smaller rank. With squares for
    absolute values and correlations (equation 10) it equals `LinearRegression`; there i runs over all canonical variables
    of X, those without a partner having correlation 0.

    Where several correlations are equal, as the ones that are 1 for p1 + p2 >= n, their canonical variables are defined up
    to a rotation only, and with them the weights; the score is then one of the possible values.

    Parameters
    ----------
    weights : {"x", "y"}
        The argument whose neurons and canonical variables give the weights. Morcos et al. take the first; swapping both
        the arguments and the weights changes nothing.
    squared : bool
        Equation 10 instead of 9: alpha_i = sum_j <h_i, x_j>^2 and rho_i^2.

    References
    ----------
    Morcos, Raghu & Bengio 2018; Kornblith et al. 2019, equations 9 and 10.
    """

    weights: Literal["x", "y"] = "x"
    squared: bool = False

    name: ClassVar[str] = "pwcca"
    reference: ClassVar[str] = "Morcos et al. 2018; Kornblith et al. 2019, eq 9"

    def __post_init__(self) -> None:
        check_choice(self.name, "weights", self.weights, ("x", "y"))
        check_choice(self.name, "squared", self.squared, (False, True))

    @property
    def facts(self) -> Facts:
        """The weighting side is tied to its neurons: rotating them changes absolute values, though not squares."""
        weighting = Invariances.both("translation", "isotropic_scaling", "orthogonal" if self.squared else "permutation").x
        free = Invariances.both("translation", "invertible_linear").x
        return Facts(
            symmetric=False,
            range=(0.0, 1.0),
            invariances=Invariances(weighting, free) if self.weights == "x" else Invariances(free, weighting),
            statistic="moments",
            identity=1.0,
            differentiable=self.squared,
            generic="" if self.squared else "no two canonical correlations are equal",
        )

    def prepare(self, representation: Representation) -> _Weighted:
        """Orthonormal basis, and the neurons in its coordinates."""
        layer = representation
        return _Weighted(layer.basis, layer.coordinates, layer.xp)

    def score(self, x: _Weighted, y: _Weighted) -> Array:
        """Weighted mean of the canonical correlations."""
        xp = x.xp
        if self.weights == "y":
            x, y = y, x
        overlap = x.basis.columns.cross(y.basis.columns)
        if self.squared:
            score = ratio(squared_norm(cross(overlap, x.coordinates), xp), squared_norm(x.coordinates, xp), xp)
        else:
            u, rho, _ = xp.linalg.svd(overlap, full_matrices=False)
            # There are as many canonical variables as the smaller rank; the other columns of u are arbitrary.
            exists = xp.arange(rho.shape[0], **placement(rho)) < smaller_rank(x.basis, y.basis, xp)
            alpha = xp.where(exists, total(xp.abs(cross(u, x.coordinates)), xp, axis=1), 0.0)
            score = ratio(xp.sum(alpha * xp.clip(rho, max=1.0)), xp.sum(alpha), xp)
        return xp.where(y.basis.rank == 0, float("nan"), score)  # x is constant where the ratio is 0/0

    def scores(self, xs: Sequence[_Weighted], ys: Sequence[_Weighted], advance: Callable[[], None] = lambda: None) -> Array:
        """Scores of all pairs; with many partners a basis is formed once."""
        return super().scores(*formed(xs, ys, lambda x, count: x._replace(basis=x.basis.for_products(count))), advance)

    def permuted(self, state: _Weighted, order: Array) -> _Weighted:
        """The same space, the examples in another order; the neurons keep their coordinates."""
        return state._replace(basis=state.basis.permuted(order))

    @property
    def knows_chance(self) -> bool:
        """With squares it is linear in the projection on the other layer."""
        return bool(self.squared)

    def chance(self, xs: Sequence[_Weighted], ys: Sequence[_Weighted], n: int) -> Array:
        """That of `LinearRegression` of the weighting layer: the rank of the other / (n - 1)."""
        weighting, others, axis = (xs, ys, 0) if self.weights == "x" else (ys, xs, 1)
        share = all_ranks([other.basis for other in others]) / (n - 1)
        return xs[0].xp.stack([share] * len(weighting), axis=axis)
