"""Appendix D.1 of the paper: canonical ridge, which has CCA, linear regression and linear CKA for its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace, placement
from simkit.index import Index, pair_by_pair
from simkit.linalg import Factored, cross, ratio, ridge_root, root, squared_norm, total
from simkit.properties import Facts, Invariance, Invariances, implied
from simkit.representation import Representation
from simkit.spec import check_choice, check_number

__all__ = ["CanonicalRidge"]

Normalization: TypeAlias = Literal["trace", "cauchy_schwarz", "cka"]


class _State(NamedTuple):
    q: Factored  # the partially orthogonalised basis, times sqrt(shrinkage)
    squares: Array  # eigenvalues of q'q, descending, zero beyond the rank
    rank: Array
    norm: Array  # |q'q|
    xp: Namespace


@dataclass(frozen=True)
class CanonicalRidge(Index[tuple[_State, _State]]):
    """Canonical ridge: CCA in which combinations of neurons pay for the size of their weights.

    sigma_i = max <X w, Y v> / sqrt((|X w|^2 + kappa_x |w|^2) (|Y v|^2 + kappa_y |v|^2))          (equation 19)

    are the singular values of Q~_Y' Q~_X for the partially orthogonalised bases Q~_X = X (X'X + kappa_x I)^-1/2 and
    Q~_Y = Y (Y'Y + kappa_y I)^-1/2. The score is sum_i sigma_i^2 = |Q~_Y' Q~_X|^2 (equation 22) divided by an upper bound of
    it. With a_i and b_i the eigenvalues lambda / (lambda + kappa) of Q~_X'Q~_X and of Q~_Y'Q~_Y, largest first,

    trace:           sum_i a_i b_i, von Neumann's trace inequality                                (equation 25)

    cauchy_schwarz:  sqrt(sum_i a_i^2 sum_i b_i^2), i up to the smaller rank                      (equation 26)

    cka:             the same over all i, so that the score is the linear CKA of the two bases    (equation 27)

    Limits: with kappa_x = kappa_y = 0 the first two are the mean squared canonical correlation, `CCA`. With kappa_y = 0 and
    kappa_x to infinity ``trace`` is `LinearRegression` of X from Y (equation 31), if X has no higher rank than Y. With both
    to infinity ``cka`` is linear `CKA` (equation 36). In between, directions with much less variance than kappa count for
    little.

    Parameters
    ----------
    kappa_x, kappa_y : float
        Ridge penalties, at least 0, in units of the sum of squares X'X of the centred features.
    relative : bool
        The penalties are shares of the largest eigenvalue of X'X and of Y'Y instead, and scale drops out.
    normalization : {"trace", "cauchy_schwarz", "cka"}
        What the sum of squared canonical ridge correlations is divided by.

    References
    ----------
    Vinod 1976, Canonical ridge and econometrics of joint production; Kornblith et al. 2019, appendix D.1.
    """

    kappa_x: float = 1.0
    kappa_y: float = 1.0
    relative: bool = False
    normalization: Normalization = "trace"

    name: ClassVar[str] = "canonical_ridge"
    reference: ClassVar[str] = "Vinod 1976; Kornblith et al. 2019, eqs 19-27"

    def __post_init__(self) -> None:
        for parameter in ("kappa_x", "kappa_y"):
            check_number(self.name, parameter, getattr(self, parameter), at_least=0, at_most=1e150)
        check_choice(self.name, "relative", self.relative, (False, True))
        check_choice(self.name, "normalization", self.normalization, get_args(Normalization))

    @property
    def facts(self) -> Facts:
        """Without a penalty every invertible transform is harmless, as in CCA."""
        equal = self.kappa_x == self.kappa_y
        return Facts(
            symmetric=equal,
            range=(0.0, 1.0),
            invariances=Invariances(self._harmless(self.kappa_x), self._harmless(self.kappa_y)),
            statistic="moments",
            identity=1.0 if equal else None,
        )

    def _harmless(self, kappa: float) -> frozenset[Invariance]:
        if kappa == 0:
            return implied("invertible_linear", "translation")
        scale: tuple[Invariance, ...] = ("isotropic_scaling",) if self.relative else ()
        return implied("orthogonal", "translation", *scale)

    def prepare(self, representation: Representation) -> tuple[_State, _State]:
        """The partially orthogonalised basis with each of the two penalties: a layer may come first or second."""
        first = self._partly_orthogonal(representation, self.kappa_x)
        return first, first if self.kappa_x == self.kappa_y else self._partly_orthogonal(representation, self.kappa_y)

    def _partly_orthogonal(self, layer: Representation, kappa: float) -> _State:
        """Q~_X, up to a rotation that no score notices."""
        xp, basis, columns = layer.xp, layer.basis, layer.basis.columns
        counted = xp.arange(columns.shape[1], **placement(columns.x)) < basis.rank
        if kappa == 0:
            ones = xp.astype(counted, columns.x.dtype)
            return _State(columns, ones, basis.rank, root(xp.sum(ones), xp), xp)
        penalty = self._penalty(kappa, layer)
        # Without the factor a large kappa would leave nothing but underflow; every normalisation divides by it.
        factor = xp.sqrt(1 + ratio(penalty, layer.squared_norm, xp))
        orthogonalised = ridge_root(layer.coordinates, penalty, xp) * factor
        gram = cross(orthogonalised, orthogonalised)
        squares = xp.where(counted, xp.clip(xp.flip(xp.linalg.eigvalsh(gram)), min=0.0), 0.0)
        return _State(columns.times(orthogonalised), squares, basis.rank, root(squared_norm(gram, xp), xp), xp)

    def _penalty(self, kappa: float, layer: Representation) -> Array:
        """Kappa in the units of `layer.columns`, which is `layer.columns_scale` times smaller than the features."""
        xp, scale = layer.xp, layer.columns_scale
        if self.relative:
            x = layer.columns.full
            return kappa * xp.max(xp.linalg.eigvalsh(cross(x, x) if x.shape[1] <= x.shape[0] else x @ x.mT))
        # Beyond the root of the largest number a penalty is as good as infinite.
        return xp.clip(kappa / scale / scale, max=float(xp.finfo(scale.dtype).max) ** 0.5)

    def score(self, x: tuple[_State, _State], y: tuple[_State, _State]) -> Array:
        """Squared canonical ridge correlations, normalised."""
        (a, _), (_, b) = x, y
        return self._normalised(squared_norm(b.q.cross(a.q), a.xp), a, b)

    @property
    def knows_chance(self) -> bool:
        """The sum is linear in Q~_X Q~_X', and nothing else depends on the order of the examples."""
        return True

    def chance(self, xs: Sequence[tuple[_State, _State]], ys: Sequence[tuple[_State, _State]], n: int) -> Array:
        """sum_i a_i sum_i b_i / (n - 1), normalised."""

        def summed(x: tuple[_State, _State], y: tuple[_State, _State]) -> Array:
            a, b = x[0], y[1]
            return self._normalised(a.xp.sum(a.squares) * a.xp.sum(b.squares) / (n - 1), a, b)

        return pair_by_pair(summed, xs, ys, half=xs is ys and self.facts.symmetric)

    def _normalised(self, overlap: Array, a: _State, b: _State) -> Array:
        xp = a.xp
        if self.normalization == "cka":
            return ratio(overlap, a.norm * b.norm, xp)
        k = min(a.squares.shape[0], b.squares.shape[0])
        ours, theirs = a.squares[:k], b.squares[:k]
        if self.normalization == "trace":
            return ratio(overlap, total(ours * theirs, xp), xp)
        smaller = xp.where(a.rank < b.rank, a.rank, b.rank)
        both = xp.astype(xp.arange(k, **placement(ours)) < smaller, ours.dtype)
        return ratio(overlap, root(total(both * ours**2, xp), xp) * root(total(both * theirs**2, xp), xp), xp)
