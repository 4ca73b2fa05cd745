"""The checks of an index. Each is a generator of everything that it finds wrong; its docstring says what is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from simkit.testing.case import IndexCase

__all__ = ["INDEX_CHECKS"]


def symmetry(case: IndexCase) -> Iterator[str]:
    """score(X, Y) = score(Y, X) if declared symmetric, and otherwise not."""
    gap = 0.0
    for (X, Y), score in zip(case.pairs, case.reference, strict=True):
        turned = case.number(Y, X)
        if case.differ(score, turned):
            gap = max(gap, abs(score - turned))
            if case.facts.symmetric:
                yield f"declared symmetric, but score(X, Y) = {score:.9g}, score(Y, X) = {turned:.9g} for widths {X.shape[1]}, {Y.shape[1]}"
    if not gap and not case.facts.symmetric:
        yield "score(X, Y) = score(Y, X) for all random layers, but symmetric is declared False"


def identity(case: IndexCase) -> Iterator[str]:
    """score(X, X) is the declared identity."""
    for X, _ in case.pairs:
        score = case.number(X, X)
        if case.facts.identity is not None and case.differ(score, case.facts.identity):
            yield f"identity is declared {case.facts.identity:g}, but score(X, X) = {score:.9g} for {X.shape}"


INDEX_CHECKS: Mapping[str, Callable[[IndexCase], Iterator[str]]] = {check.__name__: check for check in (symmetry, identity)}
