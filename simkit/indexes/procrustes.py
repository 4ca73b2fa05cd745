"""Appendix D.2 of the paper: how well one representation can be rotated onto the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace
from simkit.index import Index
from simkit.linalg import compact, cross, ratio, root, singular_values, squared_norm, total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice

__all__ = ["Procrustes"]

Summary: TypeAlias = Literal["similarity", "distance", "angular"]


class _State(NamedTuple):
    x: Array  # centred, scaled to about 1, of width at most n
    squares: Array  # |x|^2
    scale: Array
    xp: Namespace


@dataclass(frozen=True)
class Procrustes(Index[_State]):
    """Orthogonal Procrustes: the best rotation (or reflection) of X onto Y, with zeros appended to the narrower one.

    similarity:  |X'Y|_* / (|X| |Y|), in [0, 1]

    distance:    min_Q |Y - X Q|^2 = |X|^2 + |Y|^2 - 2 |X'Y|_*, a squared distance in squared units          (equation 38)

    angular:     arccos(similarity), in [0, pi/2]: a metric on representations up to rotation and scale

    where |.|_* is the nuclear norm, the sum of singular values; linear CKA has the root of the sum of their squares instead.

    Parameters
    ----------
    summary : {"similarity", "distance", "angular"}
        Which of the three; they are often all called the Procrustes distance.

    References
    ----------
    Schoenemann 1966; Kornblith et al. 2019, appendix D.2; Williams et al. 2021 (angular).
    """

    summary: Summary = "similarity"

    name: ClassVar[str] = "procrustes"
    reference: ClassVar[str] = "Schoenemann 1966; Kornblith et al. 2019, eq 38"

    def __post_init__(self) -> None:
        check_choice(self.name, "summary", self.summary, get_args(Summary))

    @property
    def facts(self) -> Facts:
        """Only the raw distance notices scale; only the angle satisfies the triangle inequality."""
        scale: tuple[Literal["isotropic_scaling"], ...] = () if self.summary == "distance" else ("isotropic_scaling",)
        return Facts(
            symmetric=True,
            range=(0.0, {"similarity": 1.0, "distance": math.inf, "angular": math.pi / 2}[self.summary]),
            invariances=Invariances.both("orthogonal", "translation", *scale),
            statistic="moments",
            identity=1.0 if self.summary == "similarity" else 0.0 if self.summary == "angular" else None,
            metric=self.summary == "angular",
        )

    def prepare(self, representation: Representation) -> _State:
        """Centred features, turned into the space of the examples where that is narrower."""
        layer = representation
        x = compact(layer.unit, layer.xp)
        return _State(x, squared_norm(x, layer.xp), total(layer.scale, layer.xp), layer.xp)

    def score(self, x: _State, y: _State) -> Array:
        """One of the three functions of the nuclear norm of X'Y."""
        xp = x.xp
        nuclear = total(singular_values(cross(x.x, y.x), xp), xp)
        if self.summary == "distance":
            difference = x.scale**2 * x.squares + y.scale**2 * y.squares - 2 * x.scale * y.scale * nuclear
            return xp.clip(difference, min=0.0)
        similarity = ratio(nuclear, root(x.squares, xp) * root(y.squares, xp), xp)
        return similarity if self.summary == "similarity" else xp.acos(xp.clip(similarity, max=1.0))
