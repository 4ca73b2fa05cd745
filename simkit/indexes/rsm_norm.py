"""Norm of the difference of two representational similarity matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

from simkit.arrays import Array, Namespace, detach, is_lazy
from simkit.index import Index
from simkit.linalg import reordered, root, squared_norm, widen
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_choice
from simkit.statistics.neighbours import Metric, centred_rows, similarities
from simkit.statistics.resolution import warn_if_unresolved

__all__ = ["RSMNorm"]

Similarity: TypeAlias = Literal["cosine", "inner", "correlation"]

_ROUNDING = 1e-3  # as a share of the difference


class _State(NamedTuple):
    s: Array  # similarities of all pairs of examples
    name: str
    xp: Namespace


@dataclass(frozen=True)
class RSMNorm(Index[_State]):
    """Frobenius norm of the difference of the matrices of similarities of all pairs of examples: a distance.

    |S_X - S_Y|_F = sqrt(sum_ij (S_X - S_Y)_ij^2)

    It is the Frobenius, not the spectral norm, of whole matrices, so each pair counts twice, and it grows with n.

    Parameters
    ----------
    similarity : {"cosine", "inner", "correlation"}
        Similarity of two examples, of their features as they are given (not centred): the cosine; the inner product, which
        gives the pairwise inner product loss of word embeddings; or the correlation over features.

    References
    ----------
    Yin & Shen 2018, On the dimensionality of word embedding (inner); Klabunde et al. 2025, Similarity of neural network
    models: a survey of functional and representational measures.
    """

    similarity: Similarity = "cosine"

    name: ClassVar[str] = "rsm_norm"
    reference: ClassVar[str] = "Yin & Shen 2018; Klabunde et al. 2025"

    def __post_init__(self) -> None:
        check_choice(self.name, "similarity", self.similarity, get_args(Similarity))

    @property
    def facts(self) -> Facts:
        """Only inner products determine the examples up to a rotation, so only with them is it a metric."""
        invariances = {
            "cosine": Invariances.both("orthogonal", "isotropic_scaling"),
            "inner": Invariances.both("orthogonal"),
            "correlation": Invariances.both("permutation", "isotropic_scaling"),
        }
        return Facts(
            symmetric=True,
            range=(0.0, math.inf),
            invariances=invariances[self.similarity],
            statistic="examples",
            identity=0.0,
            metric=self.similarity == "inner",
        )

    def bytes_needed(self, n: int, rows: Sequence[int], columns: Sequence[int] | None, itemsize: int) -> int:
        """The similarities of all pairs of examples for each layer, and a difference."""
        return (len(rows) + len(columns or ()) + 1) * n * n * 8

    def prepare(self, representation: Representation) -> _State:
        """The matrix of similarities."""
        xp = representation.xp
        x = widen(representation.features, xp)
        if self.similarity == "correlation":
            x = centred_rows(x, xp)
        metric: Metric = "inner" if self.similarity == "inner" else "cosine"
        return _State(similarities(x, x, metric, xp), representation.name, xp)

    def score(self, x: _State, y: _State) -> Array:
        """The norm of the difference.

        Warns
        -----
        AccuracyWarning
            The precision does not resolve the difference, and float64 is not available or does not either.
        """
        xp = x.xp
        norm = root(squared_norm(x.s - y.s, xp), xp)
        if not is_lazy(norm) and not _is_resolved(float(detach(norm)) / x.s.shape[0], x.s, y.s, xp):
            for layer in (x, y):
                warn_if_unresolved(layer.s, layer.name, xp)
        return norm

    def permuted(self, state: _State, order: Array) -> _State:
        """The rows and columns of the matrix in another order."""
        return state._replace(s=reordered(state.s, order, state.xp))


def _is_resolved(difference: float, s: Array, t: Array, xp: Namespace) -> bool:
    """Whether the rounding of similarities is small next to their typical difference, or they do not differ at all."""
    largest = max(float(xp.max(xp.abs(detach(z)))) for z in (s, t))
    return difference == 0 or float(xp.finfo(s.dtype).eps) * largest <= _ROUNDING * difference
