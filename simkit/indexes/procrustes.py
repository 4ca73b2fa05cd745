"""Appendix D.2 of the paper: how well one representation can be rotated onto the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, TypeAlias, get_args

from simkit.arrays import Array, Namespace, detach
from simkit.caching import cached_property
from simkit.index import Index
from simkit.linalg import (
    Factored,
    compact,
    identity,
    nuclear_norm,
    nuclear_norm_within,
    ratio,
    root,
    squared_norm,
    symmetric_root,
    tall_cross,
)
from simkit.properties import Facts, Invariance, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice, check_number

__all__ = ["Procrustes"]

_SHORT = 1024  # rows of a product in float32, whose entries then have errors
_NOISE = 3.0  # of so many times the precision, as a share of the root mean square of |x_i| |y_j|

Summary: TypeAlias = Literal["similarity", "distance", "angular"]


@dataclass(frozen=True, eq=False)
class _State:
    x: Factored  # centred, of width at most n, divided by `scale`
    squares: Array  # |x|^2
    scale: Array
    precision: float  # how precisely the score can be given
    xp: Namespace

    @property
    def exact(self) -> _State:
        return self

    def permuted(self, order: Array) -> _State:
        return replace(self, x=self.x.permuted(order))


@dataclass(frozen=True, eq=False)
class _Single:
    """A layer in float32, which is precise enough for some similarities."""

    x: Array  # centred
    squares: Array  # |x|^2
    exactly: Callable[[], _State]
    precision: float
    xp: Namespace

    @cached_property
    def exact(self) -> _State:
        """The layer in float64, made when it has been asked for."""
        return self.exactly()

    def permuted(self, order: Array) -> _Single:
        return replace(self, x=self.xp.take(self.x, order, axis=0), exactly=lambda: self.exact.permuted(order))


@dataclass(frozen=True)
class Procrustes(Index[_State | _Single]):
    """Orthogonal Procrustes: the best rotation (or reflection) of X onto Y, with zeros appended to the narrower one.

    similarity:  |X'Y|_* / (|X| |Y|), in [0, 1]

    distance:    min_Q |Y - X Q|^2 = |X|^2 + |Y|^2 - 2 |X'Y|_*, a squared distance in squared units          (equation 38)

    angular:     arccos(similarity), in [0, pi/2]: a metric on representations up to rotation and scale

    where |.|_* is the nuclear norm, the sum of singular values; linear CKA has the root of the sum of their squares instead.

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

    def prepare(self, representation: Representation) -> _State | _Single:
        """Centred features, turned into the space of the examples where that is narrower, and whitened by 1 - alpha."""
        layer = representation
        xp, precision = layer.xp, float(layer.xp.finfo(layer.dtype).eps) / 8
        if self.summary == "similarity" and self.alpha == 1 and layer.p <= layer.n and layer.single is not None:
            exactly = partial(self._exactly, layer, precision)
            return _Single(layer.single, squared_norm(layer.single, xp), exactly, precision, xp)
        return self._exactly(layer, precision)

    def _exactly(self, layer: Representation, precision: float) -> _State:
        """The features in the accumulation precision: close layers differ where float32 has no digits."""
        if self.alpha == 1:
            x, scale = Factored(compact(layer.columns.full, layer.xp)), layer.columns_scale
        else:
            x, scale = self._whitened(layer)
        return _State(x, squared_norm(x.full, layer.xp), scale, precision, layer.xp)

    def _whitened(self, layer: Representation) -> tuple[Factored, Array]:
        """Partly whitened features and their scale: singular values s become alpha s + 1 - alpha."""
        xp, q, scale = layer.xp, layer.basis.columns, layer.columns_scale
        if self.alpha == 0:  # any orthonormal basis, up to a rotation
            return q, xp.ones_like(scale)
        root_of_gram = symmetric_root(layer.coordinates, xp)  # X = Q (Q'XX'Q)^1/2, up to a rotation
        sizes = self.alpha * scale * root_of_gram + (1 - self.alpha) * identity(q.shape[1], root_of_gram, xp)
        largest = detach(xp.max(xp.abs(sizes)))
        return q.times(sizes / largest), largest

    def score(self, x: _State | _Single, y: _State | _Single) -> Array:
        """One of the three functions of the nuclear norm of X'Y."""
        if isinstance(x, _Single) and isinstance(y, _Single):
            quick = _similarity_in_single(x, y)
            if quick is not None:
                return quick
        xp, x, y = x.xp, x.exact, y.exact
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

    def permuted(self, state: _State | _Single, order: Array) -> _State | _Single:
        """The rows of the features in another order, which does not change their norm."""
        return state.permuted(order)


def _similarity_in_single(x: _Single, y: _Single) -> Array | None:
    """The similarity from a product in float32; None if its rounding might show in the result."""
    xp, most = x.xp, root(x.squares, x.xp) * root(y.squares, x.xp)
    product = tall_cross(x.x, y.x, xp, rows=_SHORT)
    noise = _NOISE * x.precision * most / math.sqrt(math.prod(product.shape))
    nuclear = nuclear_norm_within(product, xp, precision=x.precision, noise=noise)
    return None if nuclear is None else ratio(nuclear, most, xp)
