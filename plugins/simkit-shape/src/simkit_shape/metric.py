"""Generalised shape metrics (Williams, Kunz, Kornblith & Linderman 2021)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

import simkit
from simkit.arrays import Array, Namespace, detach
from simkit.linalg import Factored, compact, identity, nuclear_norm, ratio, root, squared_norm, symmetric_root
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice, check_number
from simkit_shape.angles import angle_of, differs

__all__ = ["ShapeMetric"]

Form: TypeAlias = Literal["normalised", "netrep"]


class _Shape(NamedTuple):
    x: Factored  # partly whitened
    size: Array  # its norm
    norm: Array  # of the centred layer as it was given
    precision: float  # how precisely the score can be given
    xp: Namespace


@dataclass(frozen=True)
class ShapeMetric(simkit.Index[_Shape]):
    """Distance between two representations up to rotation, scale and, in part, whitening.

    Each layer is centred, scaled to |X| = 1, partly whitened, phi(X) = X (alpha I + (1 - alpha) (X'X)^-1/2), and scaled to
    norm 1 again. With s = max_Q <phi(X) Q, phi(Y)> = |phi(X)'phi(Y)|_*, the sum of singular values,

    angular:    arccos(s), in [0, pi/2]

    Euclidean:  min_Q |phi(X) Q - phi(Y)| = sqrt(2 - 2 s), in [0, sqrt(2)]

    Both satisfy the triangle inequality, so layers and networks can be clustered or embedded by them. ``alpha=1`` is the
    Procrustes angle, ``alpha=0`` compares column spaces, like CCA. Unlike `simkit.indexes.Procrustes` it scales before it
    whitens, so that the units of the features never matter.

    The authors' program `netrep` (``LinearMetric``) does not scale the layer before it whitens: it takes phi(X) of the
    centred X in its own units. With 0 < alpha < 1 its figures so depend on the units of the features, and on the number of
    examples: of large features little is whitened. And its Euclidean distance is that of layers that keep their norms,
    min_Q | |X| phi(X) Q - |Y| phi(Y) |. ``form="netrep"`` computes these.
    They satisfy the triangle inequality, too.

    Parameters
    ----------
    alpha : float
        In [0, 1]: 1 leaves the layers as they are, 0 whitens them.
    angular : bool
        The angle rather than the Euclidean distance.
    form : {"normalised", "netrep"}
        ``"normalised"``: layers are scaled to norm 1 before they are partly whitened, and after. ``"netrep"``: as netrep has
        it, see above. netrep takes eigenvalues of X'X below 1e-7 for 1e-7, which is not imitated; its figures differ where
        there are such: by much if features are that small, and in the Euclidean distance with alpha < 1 if layers have dead
        units, more units than examples, or different widths (it appends dead units to the narrower one).

    Raises
    ------
    SpecError
        A parameter is out of range.

    References
    ----------
    Williams et al. 2021, Generalized shape metrics on neural representations.
    """

    alpha: float = 1.0
    angular: bool = True
    form: Form = "normalised"

    name: ClassVar[str] = "shape_metric"
    reference: ClassVar[str] = "Williams et al. 2021"

    def __post_init__(self) -> None:
        check_number(self.name, "alpha", self.alpha, at_least=0, at_most=1)
        check_choice(self.name, "angular", self.angular, (True, False))
        check_choice(self.name, "form", self.form, get_args(Form))

    @property
    def facts(self) -> Facts:
        """A metric on shapes; fully whitened ones keep their column space only, unless they keep their norms.

        netrep's form is 0 for some layers that differ by more than is harmless: its angle if singular values s and t satisfy
        alpha s + 1 - alpha = c (alpha t + 1 - alpha), its distance if they are whitened and of equal norms.
        """
        norms = self.form == "netrep" and not self.angular
        whitened = self.alpha == 0 and not norms
        unit_free = self.form == "normalised" or (self.angular and self.alpha in {0, 1})
        kept = ["translation", "invertible_linear" if whitened else "orthogonal"]
        if unit_free:
            kept.append("isotropic_scaling")
        return Facts(
            symmetric=True,
            range=(0.0, math.pi / 2 if self.angular else math.inf if norms else math.sqrt(2)),
            invariances=Invariances.both(*kept),  # type: ignore[arg-type]
            statistic="moments",
            identity=0.0,
            metric=self.form == "normalised" or self.alpha == 1 or self.angular == (self.alpha == 0),
        )

    def prepare(self, representation: Representation) -> _Shape:
        """The partly whitened layer, in at most n columns."""
        layer = representation
        xp = layer.xp
        size, scale = root(layer.squared_norm, xp), layer.columns_scale
        if self.alpha == 1:
            x = Factored(compact(layer.columns.full, xp))
        elif self.alpha == 0:
            x = layer.basis.columns
        else:
            q = layer.basis.columns
            unit = size if self.form == "normalised" else 1.0 / scale
            sizes = ratio(symmetric_root(layer.coordinates, xp), unit, xp)  # X = Q (Q'XX'Q)^1/2, up to a rotation
            x = q.times(self.alpha * sizes + (1 - self.alpha) * identity(q.shape[1], sizes, xp))
        precision = float(xp.finfo(layer.dtype).eps) / 8
        return _Shape(x, root(squared_norm(x.full, xp), xp), size * scale, precision, xp)

    def score(self, x: _Shape, y: _Shape) -> Array:
        """The angle or the distance."""
        xp = x.xp
        most = x.size * y.size
        nuclear = nuclear_norm(x.x.cross(y.x), xp, precision=max(x.precision, y.precision), below=detach(most))
        cosine = xp.clip(ratio(nuclear, most, xp), max=1.0)
        if self.angular:
            return angle_of(cosine, xp)
        apart = xp.where(differs(cosine), 2 - 2 * cosine, 0.0)
        squared = apart if self.form == "normalised" else (x.norm - y.norm) ** 2 + x.norm * y.norm * apart
        return xp.where(xp.isnan(cosine), cosine, root(squared, xp))
