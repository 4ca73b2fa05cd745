"""The facts that an index declares about itself: the columns of the paper's Table 1 and what else a caller must know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

__all__ = [
    "CAPABILITIES",
    "Capability",
    "Facts",
    "Invariance",
    "Invariances",
    "Statistic",
    "capabilities",
    "implied",
    "problems_of",
    "problems_of_without",
]

Invariance: TypeAlias = Literal["translation", "permutation", "isotropic_scaling", "orthogonal", "invertible_linear"]
Statistic: TypeAlias = Literal["moments", "hsic sums", "examples"]
Capability: TypeAlias = Literal["torch", "jax", "cupy", "array_api_strict", "jit", "compile", "vmap", "gradients"]
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

_NOT_ON_THE_HOST: frozenset[Capability] = frozenset({"jit", "compile", "vmap"})

_IMPLIES: dict[str, tuple[Invariance, ...]] = {
    "invertible_linear": ("orthogonal", "isotropic_scaling", "permutation"),
    "orthogonal": ("permutation",),
}


@lru_cache
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


def capabilities(without: frozenset[Capability], *, differentiable: bool, host: bool = False) -> frozenset[Capability]:
    """All capabilities but those that are declared to be missing; see `Facts`."""
    missing = without | (_NOT_ON_THE_HOST if host else frozenset())
    return frozenset(CAPABILITIES) - missing - (frozenset() if differentiable else {"gradients"})


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
    without : frozenset of str
        What does not work besides: array libraries (``"torch"``, ``"jax"``, ``"cupy"``, and ``"array_api_strict"`` for all
        others that follow the standard) and transformations (``"jit"`` of JAX, ``"compile"`` of PyTorch as one graph,
        ``"vmap"``, ``"gradients"``). NumPy always works. `host` takes away ``"jit"``, ``"compile"`` and ``"vmap"``.
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
    without: frozenset[Capability] = frozenset()

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Where the index runs besides NumPy, and inside which transformations: all that is not declared to be missing."""
        return capabilities(self.without, differentiable=self.differentiable, host=self.host)


def problems_of(declared: Any) -> Iterator[str]:
    """What keeps declared facts from being used, each in words; that they are true is for `simkit.testing` to find out."""
    lacking = [name for name in Facts.__dataclass_fields__ if not hasattr(declared, name)]
    if lacking:
        kind = type(declared).__name__
        yield f"facts lacks {', '.join(lacking)}; it is a {kind}, expected simkit.properties.Facts"
        return
    for name in ("symmetric", "metric", "differentiable", "host", "exchangeable"):
        if not isinstance(getattr(declared, name), bool):
            yield f"{name} is {getattr(declared, name)!r}; expected True or False"
    yield from problems_of_without(declared.without)
    if not isinstance(declared.generic, str):
        yield f"generic is {declared.generic!r}; expected a condition in words, or an empty string"
    if not _is_interval(declared.range):
        yield f"range is {declared.range!r}; expected (low, high) with low < high, infinite where there is no bound"
    if not isinstance(declared.identity, int | float | None):
        yield f"identity is {declared.identity!r}; expected a number or None"
    if declared.statistic not in get_args(Statistic):
        yield f"statistic is {declared.statistic!r}; expected one of {', '.join(map(repr, get_args(Statistic)))}"
    if not isinstance(declared.min_examples, int) or declared.min_examples < 2:
        yield f"min_examples is {declared.min_examples!r}; expected a whole number of at least 2"
    elif not isinstance(declared.group, int) or declared.group < 1 or declared.min_examples % declared.group:
        yield f"group is {declared.group!r}; expected a whole number of at least 1 that divides min_examples"
    if not isinstance(declared.invariances, Invariances):
        yield f"invariances is {declared.invariances!r}; expected simkit.properties.Invariances"


def problems_of_without(without: Any) -> Iterator[str]:
    """What keeps a declaration of what does not work, of an index or a kernel, from being used."""
    if not isinstance(without, frozenset) or not without <= set(CAPABILITIES):
        yield f"without is {without!r}; expected a frozenset of some of {', '.join(map(repr, CAPABILITIES))}"


def _is_interval(bounds: Any) -> bool:
    numbers = isinstance(bounds, tuple) and len(bounds) == 2 and all(isinstance(bound, int | float) for bound in bounds)
    return numbers and bounds[0] < bounds[1]
