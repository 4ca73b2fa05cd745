"""What an index declares, and what that promises: invariances, symmetry, range, order, accuracy, a metric."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from simkit.errors import AccuracyWarning
from simkit.index import Index
from simkit.properties import Facts, Invariances, problems_of
from simkit.testing.case import IndexCase, scored
from simkit.testing.check import table
from simkit.testing.layers import between, different, unrelated
from simkit.testing.report import Skipped
from simkit.testing.values import definition, problems_of_invariances, values

__all__ = ["CHECKS"]


def facts(case: IndexCase) -> Iterator[str]:
    """All facts are declared, well formed and consistent with each other."""
    try:
        declared = case.index.facts
    except Exception as error:
        yield f"the declared facts cannot be read: {type(error).__name__}: {error}"
        return
    malformed = list(problems_of(declared))
    yield from malformed
    if any(not hasattr(declared, name) for name in Facts.__dataclass_fields__):
        return
    summed = case.index.kernel_estimator is not None and type(case.index).from_sums is not Index.from_sums
    if declared.statistic == "hsic sums" and not summed:
        yield "statistic='hsic sums' is declared, for which kernel_estimator and from_sums are needed, as CKA has them"
    if not malformed:
        yield from _range_and_identity(declared)
    if not isinstance(declared.invariances, Invariances):
        return
    for side, kept in zip("XY", declared.invariances, strict=True):
        yield from problems_of_invariances(kept, f"invariances of {side}")
    if declared.symmetric is True and declared.invariances.x != declared.invariances.y:
        yield "declared symmetric, with other invariances for X than for Y"
    if declared.host is True and declared.differentiable is True:
        yield "host=True with differentiable=True: what SciPy computes on the host has no gradient"


def _range_and_identity(declared: Facts) -> Iterator[str]:
    low, high = declared.range
    if declared.identity is not None and not low <= declared.identity <= high:
        yield f"identity {declared.identity!r} is outside of the range [{low:g}, {high:g}]"
    if declared.metric and (not declared.symmetric or declared.identity != 0 or low < 0):
        yield (
            f"declared a metric, so symmetric=True, identity=0 and no negative score are expected; found "
            f"symmetric={declared.symmetric}, identity={declared.identity}, range from {low:g}"
        )


def invariances(case: IndexCase) -> Iterator[str]:
    """What is declared harmless, to X and to Y, leaves the score as it is."""
    for (side, name), (before, after) in case.moves.items():
        if name in _kept(case, side) and case.differ(before, after):
            yield f"declared invariant to {name} of {side}, but the score goes from {before:.9g} to {after:.9g}"


def crosses(case: IndexCase) -> Iterator[str]:
    """What is not declared does not hold either: an index that is invariant or symmetric after all should say so."""
    for (side, name), (before, after) in case.moves.items():
        if name not in _kept(case, side) and not case.differ(before, after):
            yield f"no random {name} of {side} changes the score, but {name} is not among the declared invariances"
    if not case.facts.symmetric and not any(case.differ(score, turned) for score, turned in _both_ways(case)):
        yield "score(X, Y) = score(Y, X) for all random layers, but symmetric=False is declared"
    if case.facts.identity is None and not case.facts.generic:
        found = [case.number(Z, Z) for X, Y in case.pairs for Z in (X, Y, np.concatenate([X[:3], X[:-3]]))]  # ties, too
        if math.isfinite(found[0]) and not any(case.differ(score, found[0]) for score in found):
            yield f"score(X, X) is {found[0]:.6g} for every random layer, but identity=None is declared"


def _kept(case: IndexCase, side: str) -> frozenset[Any]:
    return case.facts.invariances.x if side == "X" else case.facts.invariances.y


def _both_ways(case: IndexCase) -> Iterator[tuple[float, float]]:
    for (X, Y), score in zip(case.pairs, case.reference, strict=True):
        yield score, case.number(Y, X)


def symmetry(case: IndexCase) -> Iterator[str]:
    """score(X, Y) = score(Y, X) where declared symmetric."""
    if not case.facts.symmetric:
        raise Skipped("symmetric=False is declared")
    for score, turned in _both_ways(case):
        if case.differ(score, turned):
            yield f"declared symmetric, but score(X, Y) = {score:.9g} and score(Y, X) = {turned:.9g}"


def in_range(case: IndexCase) -> Iterator[str]:
    """Scores of related, unrelated, opposite and equal layers are defined, and within the range."""
    for what, X, Y in _of_all_kinds(case):
        score = case.number(X, Y)
        if math.isnan(score):
            yield f"the score of {what} is nan"
        elif case.outside(score):
            yield f"the score of {what} is {case.outside(score)}"


def _of_all_kinds(case: IndexCase) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for X, Y in case.pairs:
        yield f"two layers of shapes {X.shape} and {Y.shape}", X, Y
        yield f"unrelated layers of shapes {X.shape} and {Y.shape}", X, unrelated(Y, case.rng)
        yield f"a layer of shape {X.shape} and itself", X, X
        yield f"a layer of shape {X.shape} and its negative", X, -X
        yield f"a layer of shape {X.shape} and a noisy copy", X, X + 0.1 * unrelated(X, case.rng)


def identity(case: IndexCase) -> Iterator[str]:
    """score(X, X) is the declared identity."""
    declared = case.facts.identity
    if declared is None:
        raise Skipped("identity=None is declared")
    wrong = [score for pair in case.pairs for X in pair if case.differ(score := case.number(X, X), declared)]
    if wrong:
        yield f"identity={declared:g} is declared, but score(X, X) is {wrong[0]:.9g}"


def order_of_examples(case: IndexCase) -> Iterator[str]:
    """Putting the examples of both layers in another order changes nothing, also on data that are hard on arithmetic."""
    if not case.facts.exchangeable:
        raise Skipped("exchangeable=False is declared")
    rng = case.rng
    for what, X, Y in case.hard:
        order = case.reordered(len(X), rng)
        before, doubtful = scored(partial(case.index, X, Y), AccuracyWarning)
        after, _ = scored(partial(case.index, X[order], Y[order]), AccuracyWarning)
        if case.off(after, before, X.dtype) and not doubtful:
            yield f"the score of layers with {what} goes from {before:.9g} to {after:.9g}"


def hard_data(case: IndexCase) -> Iterator[str]:
    """Float32 layers that are hard on arithmetic score as the same numbers in float64, or there is an AccuracyWarning."""
    yield from case.inaccurate("float32 layers", case.index, (pair for pair in case.hard if pair.X.dtype == np.float32))


def metric(case: IndexCase) -> Iterator[str]:
    """Where declared a metric, the triangle inequality holds, and layers that differ are at a distance."""
    if not case.facts.metric:
        raise Skipped("not declared a metric")
    for (X, _), size in zip(case.pairs, case.reference, strict=True):
        for what, Z in different(X, case.facts.invariances.x, one_width=case.one_width):
            if not case.number(X, Z) > 1e-4 * abs(size):
                yield f"a layer and {what} are at distance {case.number(X, Z):.3g}; expected more, as they differ"
    for (X, Y), direct in zip(case.pairs, case.reference, strict=True):
        for Z in between(X, Y, one_width=case.one_width):
            detour = case.number(X, Z) + case.number(Z, Y)
            if direct > detour + case.options.tolerance * case.size:
                yield f"the triangle inequality fails: score(X, Y) = {direct:.9g}, and {detour:.9g} by way of a third"


CHECKS = table(
    definition, facts, values, invariances, crosses, symmetry, in_range, identity, order_of_examples, hard_data, metric
)
