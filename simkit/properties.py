"""The facts that an index declares about itself: the columns of the paper's Table 1 and what else a caller must know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Facts", "Invariance", "Invariances", "Statistic", "implied"]

Invariance: TypeAlias = Literal["translation", "permutation", "isotropic_scaling", "orthogonal", "invertible_linear"]
Statistic: TypeAlias = Literal["moments", "hsic sums", "examples"]

_IMPLIES: dict[str, tuple[Invariance, ...]] = {
    "invertible_linear": ("orthogonal", "isotropic_scaling", "permutation"),
    "orthogonal": ("permutation",),
}


def implied(*facts: Invariance) -> frozenset[Invariance]:
    """`facts` and what follows from them: an orthogonal transform is invertible, a permutation is orthogonal."""
    return frozenset(facts).union(*(_IMPLIES.get(fact, ()) for fact in facts))


class Invariances(NamedTuple):
    """What may be done to the features of X, and to those of Y, without changing the score."""

    x: frozenset[Invariance]
    y: frozenset[Invariance]

    @classmethod
    def both(cls, *facts: Invariance) -> Invariances:
        """The same invariances for both arguments, with what follows from them."""
        return cls(implied(*facts), implied(*facts))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Declared facts of an index; `simkit.testing.check_index` tests each of them on random data.

    Attributes
    ----------
    symmetric : bool
        score(X, Y) = score(Y, X).
    range : (float, float)
        Closed interval of all possible scores, up to rounding; infinities where there is no bound.
    invariances : Invariances
        What each argument may undergo without effect.
    statistic : {"moments", "hsic sums", "examples"}
        What the index needs of the data, and so how it can be fed without all examples in memory: second moments (through
        an equivalent small pair), the three sums of HSIC, or all examples at once.
    identity : float, optional
        score(X, X) for every X for which it is defined (not nan); None if it depends on X.
    metric : bool
        The score is a distance that satisfies the axioms of a metric, up to the declared invariances: the triangle
        inequality, and 0 between layers that differ by what is declared harmless only.
    differentiable : bool
        Gradients with respect to both arguments exist almost everywhere and flow.
    min_examples : int
        The fewest examples for which the index is defined.
    group : int
        Rows come in consecutive groups of this many, repeats of a condition say; the number of examples is a multiple of it.
    host : bool
        Part of the work runs in SciPy on the host, where the Array API standard has no such operation.
    generic : str
        The condition on the layers under which the invariances hold, such as "no two canonical correlations are equal";
        empty if they hold without any.
    exchangeable : bool
        The order of the examples, or of their groups, does not matter, as long as it is the same in both layers. False where
        examples are dealt into folds by their position.
    """

    symmetric: bool
    range: tuple[float, float]
    invariances: Invariances
    statistic: Statistic
    identity: float | None = None
    metric: bool = False
    differentiable: bool = True
    min_examples: int = 2
    group: int = 1
    host: bool = False
    generic: str = ""
    exchangeable: bool = True
