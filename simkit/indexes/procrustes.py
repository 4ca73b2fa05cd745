"""Appendix D.2 of the paper: how well one representation can be rotated onto the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace, detach
from simkit.index import Index
from simkit.linalg import (
    Factored,
    compact,
    identity,
    nuclear_norm,
    ratio,
    root,
    squared_norm,
    symmetric_root,
)
from simkit.properties import Facts, Invariance, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice, check_number

__all__ = ["Procrustes"]


Summary: TypeAlias = Literal["similarity", "distance", "angular"]


class _State(NamedTuple):
    x: Factored  # centred, of width at most n, divided by `scale`
    squares: Array  # |x|^2
    scale: Array
    precision: float  # how precisely the score can be given
    xp: Namespace


@dataclass(frozen=True)
class Procrustes(Index[_State]):
    """Orthogonal Procrustes: the best rotation (or reflection) of X onto Y, with zeros appended to the narrower one.

    similarity:  |X'Y|_* / (|X| |Y|), in [0, 1]

    distance:    min_Q |Y - X Q|^2 = |X|^2 + |Y|^2 - 2 |X'Y|_*, a squared distance in squared units          (equation 38)

    angular:     arccos(similarity), in [0, pi/2]: a metric on representations up to rotation and scale

    where |.|_* is the nuclear norm, the sum of singular values; linear CKA has the sum of their squares instead.

    With ``alpha`` below 1 each layer is first whitened in part,

    X (alpha I + (1 - alpha) (X'X)^-1/2),

    which makes the angle the generalised shape metric of Williams et al. 2021. At 0 only the column space remains: the
    similarity is the sum of canonical correlations over the root of the product of the ranks, `CCA` with ``summary=rho``
    where the ranks are equal.

    Parameters
    ----------
    summary : {"similarity", "distance", "angular"}
        Which of the three; they are often all called the Procrustes distance.
    alpha : float
        1 for rotations only, 0 for all invertible transforms, in between a mixture. The mixture depends on the units of the
        features: alpha = 1/2 is a compromise where singular values are about 1.

    References
    ----------
    Schoenemann 1966; Kornblith et al. 2019, appendix D.2; Williams et al. 2021 (angular).
    """

    summary: Summary = "similarity"
    alpha: float = 1.0

    name: ClassVar[str] = "procrustes"
    reference: ClassVar[str] = "Schoenemann 1966; Kornblith et al. 2019, eq 38"

    def __post_init__(self) -> None:
        check_choice(self.name, "summary", self.summary, get_args(Summary))
        check_number(self.name, "alpha", self.alpha, at_least=0, at_most=1)

    @property
    def facts(self) -> Facts:
        """The raw distance notices scale, and so does a mixture; only the angle satisfies the triangle inequality."""
        harmless: list[Invariance] = ["translation", "orthogonal"]
        if self.alpha == 0:
            harmless.append("invertible_linear")
        elif self.alpha == 1 and self.summary != "distance":
            harmless.append("isotropic_scaling")
        return Facts(
            symmetric=True,
            range=(0.0, {"similarity": 1.0, "distance": math.inf, "angular": math.pi / 2}[self.summary]),
            invariances=Invariances.both(*harmless),
            statistic="moments",
            identity=1.0 if self.summary == "similarity" else 0.0,
            # A mixture gives singular values s and 2s + (1 - alpha) / alpha the same shape
            metric=self.summary == "angular" and self.alpha in (0, 1),
        )

    def prepare(self, representation: Representation) -> _State:
        """Centred features, turned into the space of the examples where that is narrower, and whitened by 1 - alpha."""
        layer = representation
        xp, precision = layer.xp, float(layer.xp.finfo(layer.dtype).eps) / 8
        if self.alpha == 1:
            x = Factored(compact(layer.columns.full, xp))  # close layers differ where float32 has no digits
            return _State(x, layer.squared_norm, layer.columns_scale, precision, xp)
        x, scale = self._whitened(layer)
        return _State(x, squared_norm(x.full, xp), scale, precision, xp)

    def _whitened(self, layer: Representation) -> tuple[Factored, Array]:
        """Partly whitened features and their scale: singular values s become alpha s + 1 - alpha."""
        xp, q, scale = layer.xp, layer.basis.columns, layer.columns_scale
        if self.alpha == 0:  # any orthonormal basis, up to a rotation
            return q, xp.ones_like(scale)
        root_of_gram = symmetric_root(layer.coordinates, xp)  # X = Q (Q'XX'Q)^1/2, up to a rotation
        sizes = self.alpha * scale * root_of_gram + (1 - self.alpha) * identity(q.shape[1], root_of_gram, xp)
        largest = detach(xp.max(xp.abs(sizes)))
        return q.times(sizes / largest), largest

    def score(self, x: _State, y: _State) -> Array:
        """One of the three functions of the nuclear norm of X'Y."""
        xp = x.xp
        most = root(x.squares, xp) * root(y.squares, xp)
        # What the others measure is how much less than the most it is.
        below = None if self.summary == "similarity" else detach(most)
        nuclear = nuclear_norm(x.x.cross(y.x), xp, precision=max(x.precision, y.precision), below=below)
        if self.summary == "distance":
            largest = xp.where(x.scale < y.scale, y.scale, x.scale)
            a, b = x.scale / largest, y.scale / largest
            difference = a**2 * x.squares + b**2 * y.squares - 2 * a * b * nuclear
            return xp.clip(difference, min=0.0) * largest * largest
        similarity = ratio(nuclear, most, xp)
        return similarity if self.summary == "similarity" else xp.acos(xp.clip(similarity, max=1.0))

    def permuted(self, state: _State, order: Array) -> _State:
        """The rows of the features in another order, which does not change their norm."""
        return state._replace(x=state.x.permuted(order))
