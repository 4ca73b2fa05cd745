"""The permutation test: what score have layers that have nothing to do with each other?

X is prepared once where its state knows how to permute its examples (``state.permuted(order)``); of linear CKA only X'Y is
then computed anew for each permutation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from simkit.arrays import warn_caller
from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.inference.pair import Pair, on_host, pair_of, whole
from simkit.inference.resampling import RNG
from simkit.inference.units import units_of
from simkit.progress import track
from simkit.spec import check_choice

__all__ = ["PermutationResult", "permutation_test"]

Alternative: TypeAlias = Literal["greater", "less", "two-sided"]


@dataclass(frozen=True, eq=False)
class PermutationResult:
    """What `permutation_test` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    score : float
        Of the examples as they are.
    p_value : float
        (b + 1) / (m + 1), b of m permutations as extreme as the score; never 0.
    distribution : ndarray, shape (m,)
        Scores of the permutations: the null distribution.
    alternative : {"greater", "less", "two-sided"}
    exact : bool
        Every permutation was taken, once.
    n : int
        Number of examples.
    """

    index: str
    score: float
    p_value: float
    distribution: np.ndarray = field(repr=False)
    alternative: Alternative
    exact: bool
    n: int

    @property
    def chance(self) -> float:
        """Mean score of unrelated layers of the same shape: what to compare `score` with."""
        return float(np.mean(self.distribution))

    def __str__(self) -> str:
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
    X, Y : array, shapes (n, p1) and (n, p2)
        As in `simkit.compare`.
    index : str or Index
        As in `simkit.compare`.
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
    progress : bool, optional
        Show a progress bar; by default if standard error is a terminal and Rich is installed.
    flatten
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

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
    pair = pair_of(X, Y, index, parameters, flatten=flatten)
    chosen: Alternative = alternative or ("less" if pair.index.facts.identity == 0 else "greater")
    size = pair.index.facts.group  # rows that stay together
    strata = (
        [np.arange(pair.n // size)]
        if within is None
        else _blocks(units_of(within, pair.n, "within").examples, size, pair.index)
    )
    every = math.prod(math.factorial(min(len(stratum), 20)) for stratum in strata)
    if every == 1:
        raise InvalidArrayError("within has a label of its own for each example, so there is nothing to permute.")
    exact = every - 1 <= permutations
    orders = _every_order(strata) if exact else _random_orders(strata, permutations, np.random.default_rng(rng))
    x, y = pair.prepared(pair.x, "X"), pair.prepared(pair.y, "Y")
    score = pair.scored(x, y)
    permute = _permuted(pair, x)
    scores = []
    with track(every - 1 if exact else permutations, f"permutations of {pair.index}", progress) as advance:
        for order in orders:
            rows = (order[:, None] * size + np.arange(size)).ravel()
            scores.append(pair.scored(permute(rows), y))
            advance()
    observed, null = float(score), on_host(scores, pair.xp)
    return PermutationResult(
        index=str(pair.index),
        score=observed,
        p_value=_p_value(observed, null, chosen, pair),
        distribution=null,
        alternative=chosen,
        exact=exact,
        n=pair.n,
    )


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


def _permuted(pair: Pair, state: Any) -> Callable[[np.ndarray], Any]:
    """What gives the state of X with its examples in another order: the state itself, or else preparing X anew."""
    if hasattr(state, "permuted"):
        return lambda order: state.permuted(pair.order(order))
    return lambda order: pair.prepared(pair.rows(pair.x, order), "X")


def _every_order(strata: list[np.ndarray]) -> Iterable[np.ndarray]:
    """All orders but the given one."""
    for choice in itertools.islice(itertools.product(*(itertools.permutations(stratum) for stratum in strata)), 1, None):
        order = np.empty(sum(map(len, strata)), dtype=np.int64)
        for stratum, chosen in zip(strata, choice, strict=True):
            order[stratum] = chosen
        yield order


def _random_orders(strata: list[np.ndarray], count: int, rng: np.random.Generator) -> Iterable[np.ndarray]:
    for _ in range(count):
        order = np.empty(sum(map(len, strata)), dtype=np.int64)
        for stratum in strata:
            order[stratum] = rng.permutation(stratum)
        yield order


def _p_value(score: float, null: np.ndarray, alternative: Alternative, pair: Pair) -> float:
    if math.isnan(score) or np.isnan(null).any():
        warn_caller(f"{pair.index} of X and Y, or of a permutation, is undefined (nan), and so is the p-value.")
        return math.nan
    # Orders that give the same score in exact arithmetic must not count as less because of rounding.
    slack = 100 * float(pair.xp.finfo(pair.xp.result_type(pair.x.dtype, pair.y.dtype)).eps) * abs(score)
    greater = (np.count_nonzero(null >= score - slack) + 1) / (len(null) + 1)
    less = (np.count_nonzero(null <= score + slack) + 1) / (len(null) + 1)
    if alternative == "two-sided":
        return float(min(1.0, 2 * min(greater, less)))
    return float(greater if alternative == "greater" else less)
