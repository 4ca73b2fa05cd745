"""What an index may do besides: permute, leave out, resample and pool what it has prepared. It gives the same scores."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

import simkit
from simkit.errors import NeedsAllExamplesError
from simkit.representation import Representation
from simkit.testing.case import IndexCase
from simkit.testing.check import table
from simkit.testing.report import Skipped

__all__ = ["CHECKS"]

_FEW = 5  # examples of which all orders are tried
_ORDERS = 500  # that are tried of more


def permuted(case: IndexCase) -> Iterator[str]:
    """A state with its examples in another order scores as the layer prepared in that order."""
    for X, Y in case.pairs:
        order = case.reordered(len(X), case.rng)
        x, y, prepared = _states(case, X, Y, X[order])
        before, expected = (float(case.index.score(state, y)) for state in (x, prepared))
        state = case.index.permuted(x, order)
        if state is None:
            raise Skipped("it prepares a layer anew whose examples are permuted")
        found = float(case.index.score(state, y))
        if case.differ(found, expected):
            yield f"a permuted state scores {found:.9g}, the layer prepared in that order {expected:.9g}"
        if float(case.index.score(x, y)) != before:
            yield "permuted changes the state that it is given"


def chance(case: IndexCase) -> Iterator[str]:
    """What an index is by chance is the mean of its scores over all orders of the examples, in memory and from batches."""
    if not case.index.knows_chance:
        raise Skipped("it has no closed form of what it is by chance")
    if case.facts.group > 1:
        raise Skipped("examples come in groups")
    n = max(_FEW, case.facts.min_examples)
    X, Y = case.pair(n, 3, 2)
    rng = case.rng
    orders = list(itertools.permutations(range(n))) if n <= _FEW else [tuple(rng.permutation(n)) for _ in range(_ORDERS)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        null = np.asarray([case.number(X[list(order)], Y) for order in orders])
        ways: dict[str, Any] = {"chance": simkit.pairwise([X], [Y], case.index).chance}
        with suppress(NeedsAllExamplesError):
            batches = simkit.stream(case.index)
            batches.update([X], [Y])
            ways["chance of a stream"] = batches.compute().chance
    expected = float(np.mean(null))
    slack = 0.0 if n <= _FEW else 5 * float(np.std(null)) / len(orders) ** 0.5
    for where, array in ways.items():
        if np.shape(array) != (1, 1):
            yield f"{where} is of shape {np.shape(array)} for 1 x 1 layers; expected (1, 1)"
        elif case.differ(float(array[0, 0]), expected) and not abs(float(array[0, 0]) - expected) <= slack:
            yield f"{where} is {float(array[0, 0]):.9g}, the mean of the scores over all orders {expected:.9g}"


def leave_one_out(case: IndexCase) -> Iterator[str]:
    """Scores without each example are those of the layers that lack it."""
    layers, x, y = _that_can_lose_some(case)
    found = case.index.leave_one_out([x, y], [y])
    if found is None:
        raise Skipped("it leaves examples out one by one")
    yield from _unlike_without(case, found, layers, np.eye(len(layers[0]), dtype=bool), "leave_one_out")


def resampled(case: IndexCase) -> Iterator[str]:
    """Weights of 1 give the score, weights of 0 and 1 that of the examples with 1, alone or in groups."""
    layers, x, y = _that_can_lose_some(case)
    n = len(layers[0])
    for members in (None, np.arange(n) // 2):
        unit = np.arange(n) if members is None else members
        m = int(unit[-1]) + 1
        found = case.index.resampled([x, y], [y], np.concatenate([np.ones((1, m)), 1 - np.eye(m)]), members)
        if found is None:
            raise Skipped("it does not count copies as weights")
        left_out = np.concatenate([np.zeros((1, n), dtype=bool), unit[None, :] == np.arange(m)[:, None]])
        where = "resampled" if members is None else "resampled with members"
        for problem in _unlike_without(case, found, layers, left_out, where):
            yield f"{problem}; an index whose score is not made of HSICs alone returns None"


def pool(case: IndexCase) -> Iterator[str]:
    """The pool of layers is a state that score takes; of one layer it is that layer, and their order does not matter."""
    for X, Y in case.pairs:
        x, y = _states(case, X, Y)
        alone, both, turned = (case.index.pool(states) for states in ([x], [x, y], [y, x]))
        if alone is None or both is None or turned is None:
            raise Skipped("it pools features")
        found, expected = (float(case.index.score(state, y)) for state in (alone, x))
        if case.differ(found, expected):
            yield f"the pool of one layer scores {found:.9g}, the layer itself {expected:.9g}"
        found, expected = (float(case.index.score(x, state)) for state in (both, turned))
        if case.differ(found, expected) or math.isnan(found):
            yield f"the pool of two layers scores {found:.9g} with the first, and {expected:.9g} in the other order"


def _states(case: IndexCase, *layers: np.ndarray) -> list[Any]:
    tall = len(layers[0]) >= sum(layer.shape[1] for layer in layers[:2])
    return [case.index.prepare(Representation(layer, tall=tall)) for layer in layers]


def _that_can_lose_some(case: IndexCase) -> tuple[tuple[np.ndarray, np.ndarray], Any, Any]:
    """Layers and their states, of which two examples can be left out."""
    if case.facts.group > 1:
        raise Skipped("examples come in groups")
    X, Y = case.pair(max(16, case.facts.min_examples + 2), 5, 4)
    sums = case.index.kernel_estimator
    if sums is not None and sums.kernel.fit(X[:2]) is not sums.kernel:
        raise Skipped("a kernel that follows the examples stays that of all of them")
    x, y = _states(case, X, Y)
    return (X, Y), x, y


def _unlike_without(
    case: IndexCase, found: Any, layers: tuple[np.ndarray, np.ndarray], left_out: np.ndarray, method: str
) -> Iterator[str]:
    """What is wrong with scores (B, 2, 1) of (X, Y) and of (Y, Y) without some examples, `left_out` (B, n)."""
    if np.shape(found) != (len(left_out), 2, 1):
        yield f"{method} returned shape {np.shape(found)} for 2 x 1 layers; expected {(len(left_out), 2, 1)}"
        return
    for b, without in enumerate(left_out):
        for i, Z in enumerate(layers):
            expected, score = case.number(Z[~without], layers[1][~without]), float(found[b, i, 0])
            if case.differ(score, expected):
                yield f"{method} gives {score:.9g} where the layers without example {np.flatnonzero(without)} {expected:.9g}"
                return


CHECKS = table(permuted, chance, leave_one_out, resampled, pool)
