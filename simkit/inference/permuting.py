"""The permutation test: what score have layers that have nothing to do with each other?

X is prepared once where the index knows how to permute the examples of a state (`simkit.Index.permuted`); of linear CKA only
X'Y is then computed anew for each permutation. Permutations of a state are scored in several threads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from simkit.arrays import Array, warn_caller
from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.inference.results import Number, Result
from simkit.inference.scorer import Scorer, scorer_of
from simkit.inference.units import RNG, labelled, whole
from simkit.spec import check_choice
from simkit.threads import each_in_threads

__all__ = ["PermutationResult", "permutation_test"]

Alternative: TypeAlias = Literal["greater", "less", "two-sided"]

_TOGETHER = 32  # permutations that are shared out among threads: enough to hide their start, few enough for a progress bar
_SMALL = 256  # examples up to which a permutation takes a thread less time than its start
_LARGE = 2**25  # values of layers of which only one permuted copy is made at a time


@dataclass(frozen=True, eq=False)
class PermutationResult(Result):
    """What `permutation_test` found.

    Attributes
    ----------
    index, score, n, rows, columns
        As in `simkit.inference.IntervalResult`.
    p_value : float
        (b + 1) / (m + 1), b of m permutations as extreme as the score; never 0.
    distribution : ndarray, shape (m,) or (m, rows, columns)
        Scores of the permutations: the null distribution.
    alternative : {"greater", "less", "two-sided"}
    exact : bool
        Every permutation was taken, once.
    """

    p_value: Number
    distribution: np.ndarray = field(repr=False)
    alternative: Alternative
    exact: bool

    @property
    def chance(self) -> Number:
        """Mean score of unrelated layers of the same shape: what to compare `score` with."""
        mean = np.mean(self.distribution, axis=0)
        return mean if mean.ndim else float(mean)

    def _line(self) -> str:
        return f"{self.index}: {self.score:.4g}, by chance {self.chance:.4g}, p = {self.p_value:.4g}"


def permutation_test(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    permutations: int = 1000,
    alternative: Alternative | None = None,
    within: Any = None,
    rng: RNG = None,
    progress: bool | None = None,
    flatten: bool = False,
    **parameters: Any,
) -> PermutationResult:
    """Are two layers more similar than if they had nothing to do with each other?

    Under the null hypothesis the examples of X could be in any order, so their order is permuted and Y left as it is. It is
    valid for every index, biased ones too: `PermutationResult.chance` shows how similar layers of these shapes are without
    any relation, often far above 0 where n is not much larger than p.

    Parameters
    ----------
    X, Y, index
        As in `simkit.interval`: the same orders for all pairs.
    permutations : int
        Their number m; the smallest possible p-value is 1 / (m + 1). If there are no more than that in all, each is taken
        once and the test is exact.
    alternative : {"greater", "less", "two-sided"}, optional
        Which scores are extreme. By default ``"less"`` for a distance (an index with which every layer has 0 to itself),
        else ``"greater"``.
    within : sequence of n labels, optional
        Permute only among examples with one label: is there similarity beyond what the labels explain? Rows that an index
        takes in groups (``facts.group``) are permuted as groups.
    rng : int or numpy.random.Generator, optional
        Seed.
    progress, flatten, **parameters
        As in `simkit.interval`.

    Returns
    -------
    PermutationResult
        With p = (b + 1) / (m + 1): the order as it is counts as one of the permutations (Phipson & Smyth 2010).

    Raises
    ------
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    References
    ----------
    Pesarin & Salmaso 2010, Permutation tests for complex data; Phipson & Smyth 2010, Permutation p-values should never be
    zero.
    """
    permutations = whole("permutations", permutations, 1)
    if alternative is not None:
        check_choice("permutation_test", "alternative", alternative, get_args(Alternative))
    scorer = scorer_of(X, Y, index, parameters, flatten=flatten)
    chosen: Alternative = alternative or ("less" if scorer.index.facts.identity == 0 else "greater")
    size = scorer.index.facts.group  # rows that stay together
    strata = (
        [np.arange(scorer.n // size)]
        if within is None
        else _blocks(labelled(within, scorer.n, "within").examples, size, scorer.index)
    )
    every = math.prod(math.factorial(min(len(stratum), 20)) for stratum in strata)
    if every == 1:
        raise InvalidArrayError("within has a label of its own for each example, so there is nothing to permute.")
    exact = every - 1 <= permutations
    orders = _every_order(strata) if exact else _random_orders(strata, permutations, np.random.default_rng(rng))
    rows = ((order[:, None] * size + np.arange(size)).ravel() for order in orders)
    null = scorer.one_by_one(_scores(scorer, rows), every - 1 if exact else permutations, "permutations", progress)
    shaped = scorer.shaped
    return PermutationResult(
        p_value=shaped(_p_values(scorer, null, chosen)),
        distribution=shaped(null),
        alternative=chosen,
        exact=exact,
        **scorer.common,
    )


def _scores(scorer: Scorer, orders: Iterator[np.ndarray]) -> Iterator[Array]:
    """The scores of all pairs with the examples of the rows in each of the orders."""
    states = scorer.states[1]

    def scored(rows: np.ndarray) -> Array:
        return scorer.scored(_permuted(scorer, rows), states)

    first = next(orders)
    yield scored(first)  # which finds what is cached, and warns, in this thread
    order = scorer.order(first)
    prepares = any(scorer.index.permuted(state, order) is None for state in scorer.states[0])
    is_large = sum(math.prod(layer.values.shape) for layer in scorer.rows) > _LARGE
    together = 1 if prepares or is_large or scorer.n < _SMALL else _TOGETHER
    while some := list(itertools.islice(orders, together)):
        yield from each_in_threads(scored, some, scorer.like)


def _permuted(scorer: Scorer, rows: np.ndarray) -> list[Any]:
    """The states of the rows with their examples in another order."""
    order, found = scorer.order(rows), []
    for layer, state in zip(scorer.rows, scorer.states[0], strict=True):
        permuted = scorer.index.permuted(state, order)
        if permuted is None:
            values = scorer.xp.take(layer.values, order, axis=0)
            [permuted] = scorer.prepared([layer._replace(values=values)])
        found.append(permuted)
    return found


def _blocks(strata: list[np.ndarray], size: int, index: Index[Any]) -> list[np.ndarray]:
    """Strata of rows as strata of consecutive groups of `size` rows."""
    found = []
    for stratum in strata:
        blocks, rows = np.unique(stratum // size, return_counts=True)
        if (rows != size).any():
            raise InvalidArrayError(
                f"within changes inside a group of {size} rows (row {int(blocks[rows != size][0]) * size}); {index} takes "
                "them together."
            )
        found.append(blocks)
    return found


def _every_order(strata: list[np.ndarray]) -> Iterator[np.ndarray]:
    """All orders but the given one."""
    choices = itertools.product(*map(itertools.permutations, strata))
    return (_order(strata, choice) for choice in itertools.islice(choices, 1, None))


def _random_orders(strata: list[np.ndarray], count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    return (_order(strata, [rng.permutation(stratum) for stratum in strata]) for _ in range(count))


def _order(strata: list[np.ndarray], chosen: Sequence[Any]) -> np.ndarray:
    """The order that has the chosen one in the places of each stratum."""
    order = np.empty(sum(map(len, strata)), dtype=np.int64)
    for places, members in zip(strata, chosen, strict=True):
        order[places] = members
    return order


def _p_values(scorer: Scorer, null: np.ndarray, alternative: Alternative) -> np.ndarray:
    score = scorer.score
    undefined = np.isnan(score) | np.isnan(null).any(axis=0)
    if undefined.any():
        warn_caller(
            f"{scorer.index} of {scorer.pair(undefined)}, or of a permutation, is undefined (nan), and so is the p-value."
        )
    # Orders that give the same score in exact arithmetic must not count as less because of rounding.
    slack = 100 * float(scorer.xp.finfo(scorer.like.dtype).eps) * np.where(np.isinf(score), 0.0, abs(score))
    greater = (np.count_nonzero(null >= score - slack, axis=0) + 1) / (len(null) + 1)
    less = (np.count_nonzero(null <= score + slack, axis=0) + 1) / (len(null) + 1)
    both = np.minimum(1.0, 2 * np.minimum(greater, less))
    return np.where(undefined, np.nan, {"greater": greater, "less": less, "two-sided": both}[alternative])
