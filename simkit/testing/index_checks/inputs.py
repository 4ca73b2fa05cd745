"""What an index makes of its inputs: few examples, layers at the edge and beyond it, arrays that it must not write to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import numpy as np

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError
from simkit.testing.case import IndexCase, scored
from simkit.testing.check import changed, table
from simkit.testing.layers import degenerate_pairs

__all__ = ["CHECKS"]


def fewest_examples(case: IndexCase) -> Iterator[str]:
    """Defined for min_examples, refused with InvalidArrayError for one fewer."""
    fewest = case.facts.min_examples
    X, Y = case.pair(fewest, 3, 4)
    yield from _problems_at_the_edge(case, f"{fewest} examples", X, Y)
    if fewest > 2 and math.isnan(case.number(X, Y)):  # with two examples all centred layers are alike
        yield f"{fewest} examples give nan; expected a score, since min_examples={fewest}"
    try:
        score = case.number(X[:-1], Y[:-1])
    except InvalidArrayError:
        return
    yield f"{fewest - 1} examples give {score:.6g}; expected InvalidArrayError, since min_examples={fewest}"


def degenerate(case: IndexCase) -> Iterator[str]:
    """Layers at the edge give a score in the range, or nan with a warning: no exception, no silent nan."""
    p1, p2 = case.widths(5, 4)
    for what, X, Y in degenerate_pairs(case.examples(20), p1, p2, case.options.seed):
        yield from _problems_at_the_edge(case, what, X, Y)
        yield from _problems_at_the_edge(case, f"{what}, as Y", Y, X)


def _problems_at_the_edge(case: IndexCase, what: str, X: np.ndarray, Y: np.ndarray) -> Iterator[str]:
    try:
        score, warned = scored(partial(case.index, X, Y), ConstantInputWarning)
    except InvalidArrayError:  # a clear refusal
        return
    except Exception as error:
        yield f"{what}: raised {type(error).__name__}: {' '.join(str(error).split())}"
        return
    if math.isnan(score):
        if not warned:
            yield f"{what}: nan without a ConstantInputWarning"
    elif case.outside(score):
        yield f"{what}: {case.outside(score)}"


def constant(case: IndexCase) -> Iterator[str]:
    """A layer that is the same for all examples gives nan with a ConstantInputWarning."""
    X, Y = case.pair(20, 5, 4)
    for what, x, y in (("X", np.full_like(X, 0.1), Y), ("Y", X, np.zeros_like(Y))):
        try:
            score, warned = scored(partial(case.index, x, y), ConstantInputWarning)
        except Exception as error:
            yield f"a constant {what} raised {type(error).__name__}: {error}; expected nan with a ConstantInputWarning"
            continue
        if not math.isnan(score):
            yield f"a constant {what} gives {score:.6g}; expected nan"
        if not warned:
            yield f"a constant {what} gives no ConstantInputWarning"


def not_finite(case: IndexCase) -> Iterator[str]:
    """nan and inf are refused with InvalidArrayError, or give nan where the user turned the check off."""
    X, Y = case.pair(20, 5, 4)
    for value in (math.nan, math.inf):
        bad = X.copy()
        bad[3, 1] = value
        for x, y in ((bad, Y), (Y, bad)):
            try:
                score = case.number(x, y)
                yield f"{value} among the features gives {score:.6g}; expected InvalidArrayError"
            except InvalidArrayError:
                pass
            unchecked = float(case.score(x, y, check_finite=False))
            if not math.isnan(unchecked):
                yield f"{value} among the features gives {unchecked:.6g} with check_finite=False; expected nan"


def inputs_unchanged(case: IndexCase) -> Iterator[str]:
    """Neither X nor Y is written to."""
    for dtype in ("float64", "float32"):
        for side, library in changed(case, case.score, *(x.astype(dtype) for x in case.pair(25, 6, 5))):
            yield f"{side}, a {dtype} array of {library}, was changed"


def same_twice(case: IndexCase) -> Iterator[str]:
    """The same layers give exactly the same score again."""
    for (X, Y), first in zip(case.pairs, case.reference, strict=True):
        again = case.number(X.copy(), Y.copy())
        if again != first and not math.isnan(first):
            yield f"the same layers gave {first!r} and then {again!r}"


def all_pairs(case: IndexCase) -> Iterator[str]:
    """simkit.pairwise, which prepares each layer once, gives the scores of single pairs."""
    X, Y = case.pair(30, 6, 5)
    layers = {"X": X, "Y": Y, "Z": np.tanh(X[:, : Y.shape[1]])}
    with_itself = simkit.pairwise(layers, index=case.index, progress=False)
    across = simkit.pairwise(layers, {"Y": Y, "Z": layers["Z"]}, case.index, progress=False)
    for matrix in (with_itself, across):
        for row in matrix.rows:
            for column in matrix.columns:
                alone, found = case.number(layers[row], layers[column]), float(matrix[row, column])
                if case.differ(alone, found):
                    yield f"pairwise gives {found:.9g} for {row} and {column}, a single comparison {alone:.9g}"


CHECKS = table(fewest_examples, degenerate, constant, not_finite, inputs_unchanged, same_twice, all_pairs)
