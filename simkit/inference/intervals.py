"""An interval for any index, by the method that is valid for it: the jackknife, without one or several units at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.arrays import warn_caller
from simkit.errors import InferenceError, InferenceWarning
from simkit.index import Index
from simkit.indexes._kernel_index import KernelIndex
from simkit.inference.bounds import Interval, check_confidence, percent, t_quantile
from simkit.inference.leaving_out import check_enough_left, keeps_its_kernel, without_each_at_once
from simkit.inference.pair import Pair, on_host, pair_of, whole
from simkit.inference.resampling import RNG
from simkit.inference.units import Units, check_repeats, units_of
from simkit.progress import track

__all__ = ["IntervalResult", "interval"]


@dataclass(frozen=True, eq=False)
class IntervalResult:
    """What `interval` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    score : float
        Of all examples.
    interval : (low, high)
        score -+ t standard errors, cut to the range of the index.
    standard_error : float
    method : str
        How the standard error was found.
    estimand : str
        What the interval is for: the population's value, or the mean of the score over samples of this size.
    confidence : float
    n : int
        Number of examples.
    groups : int
        Number of units that were left out; `n` if they were examples.
    distribution : ndarray
        Scores without each unit, or without each subsample of them.
    """

    index: str
    score: float
    interval: Interval
    standard_error: float
    method: str
    estimand: str
    confidence: float
    n: int
    groups: int
    distribution: np.ndarray = field(repr=False)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.index}: {self.score:.4g} {percent(self.confidence)} [{low:.4g}, {high:.4g}] "
            f"({self.method}; for {self.estimand})"
        )


def interval(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    confidence: float = 0.95,
    groups: Any = None,
    subsamples: int = 200,
    rng: RNG = 0,
    progress: bool | None = None,
    flatten: bool = False,
    **parameters: Any,
) -> IntervalResult:
    """Confidence interval of a similarity, by the method that is valid for the index.

    Parameters
    ----------
    X, Y : array, shapes (n, p1) and (n, p2)
        As in `simkit.compare`; computed in float64 where the device has it.
    index : str or Index
        As in `simkit.compare`.
    confidence : float
        Between 0 and 1.
    groups : sequence of n labels, optional
        Examples with one label belong together (tokens of one text, frames of one film) and are left out together. Without
        them the interval is too narrow. Best if groups are of about one size, and there are at least some ten of them.
    subsamples : int
        How often an index is computed, at the most, for which there is no quicker way.
    rng : int or numpy.random.Generator, optional
        Seed of the subsamples. The same ones each time by default.
    progress : bool, optional
        Show a progress bar; by default if standard error is a terminal and Rich is installed.
    flatten
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

    Returns
    -------
    IntervalResult
        ``str(result)`` is one line.

    Raises
    ------
    InferenceError
        The score is not finite, or not without a few examples.
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    Warns
    -----
    InferenceWarning
        The score is the same whatever is left out, so that the interval is a point.

    Notes
    -----
    With m units (examples or groups), t_b the score without d of them, and B such scores,

    standard error = sqrt((m - d) / d  sum_b (t_b - mean t)^2 / B)                       (Shao & Wu 1989)

    - Indexes of HSIC sums (`cka`, `hsic`, `mmd`, `distance_correlation`): d = 1, B = m, from one pass. A bandwidth that
      follows the data is fixed at that of all examples.
    - Other indexes of second moments (`cca`, `procrustes`, ...): the units are parted at random into at most `subsamples`
      blocks, which are left out in turn; with d = 1 for m <= `subsamples`, the jackknife.
    - Indexes that need all examples (nearest neighbours, ranks, folds) are not smooth: d = sqrt(m) units, drawn `subsamples`
      times without replacement, so that each unit is left out about equally often.

    The interval is score -+ t standard errors, t the quantile of Student's distribution with min(m, B) - 1 degrees of
    freedom. It is cut to the range that the index declares, which costs no coverage. In expectation the squared standard
    error is no smaller than the variance for samples of m - d units (Efron & Stein 1981), so that intervals are rather too
    wide, most so with p near n. An unbiased estimator's interval is for the population's value; any other's for the mean of
    the score over samples of n examples, which is far above the population's value where p is not much smaller than n.
    docs/intervals.md has measured coverages.

    References
    ----------
    Efron & Stein 1981, The jackknife estimate of variance; Shao & Wu 1989, A general theory for jackknife variance
    estimation; Kott 2001, The delete-a-group jackknife.

    Examples
    --------
    >>> import numpy as np
    >>> from simkit import interval
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 4))
    >>> print(interval(X, X + rng.standard_normal((100, 4)), "cka(estimator=unbiased)"))
    cka(estimator=unbiased): 0.5304 95 % [0.4638, 0.597] (jackknife; for the population's value)
    """
    check_confidence(confidence)
    subsamples = whole("subsamples", subsamples, 2)
    pair = pair_of(X, Y, index, parameters, spare=1, flatten=flatten).widened()
    check_repeats(pair.index, groups)
    units = units_of(groups, pair.n)
    units.check(2, "An interval")
    check_enough_left(pair, units)
    score = float(pair.score())
    if not math.isfinite(score):
        raise InferenceError(f"{pair.index} of X and Y is {score}, so it has no interval.")
    left_out, d, method = _left_out(pair, units, subsamples, rng, progress)
    if not np.isfinite(left_out).all():
        raise InferenceError(
            f"{pair.index} of X and Y is {score:.4g}, but without {d} of {units.called} it is undefined or infinite, so it "
            "has no interval. There are too few examples for it."
        )
    m = units.m
    error = math.sqrt((m - d) / d * float(np.mean((left_out - left_out.mean()) ** 2)))
    if error <= 1e-9 * abs(score):
        warn_caller(
            f"{pair.index} is {score:.4g} whatever is left out, so its interval is a point. Either X and Y are alike in all "
            "that it sees, or there are too few examples for their features, as for CCA with p >= n - 1: then it says "
            "nothing.",
            InferenceWarning,
        )
    reach = t_quantile((1 + confidence) / 2, min(m, len(left_out)) - 1) * error
    bottom, top = pair.index.facts.range
    return IntervalResult(
        index=str(pair.index),
        score=score,
        interval=Interval(max(score - reach, min(bottom, score)), min(score + reach, max(top, score))),
        standard_error=error,
        method=method,
        estimand=_estimand(pair),
        confidence=confidence,
        n=pair.n,
        groups=m,
        distribution=left_out,
    )


def _estimand(pair: Pair) -> str:
    if isinstance(pair.index, KernelIndex) and pair.index.is_unbiased:
        return "the population's value"
    return f"the mean score of samples of {pair.n}"


def _left_out(pair: Pair, units: Units, subsamples: int, rng: RNG, progress: bool | None) -> tuple[np.ndarray, int, str]:
    """Scores without some units, how many are left out each time, and what that is called."""
    at_once = without_each_at_once(pair, units)
    if at_once is not None:
        return at_once, 1, "jackknife" if keeps_its_kernel(pair) else "jackknife, bandwidth as of all examples"
    m = units.m
    smooth = pair.index.facts.statistic != "examples"
    d = min(math.ceil(m / subsamples) if smooth else round(math.sqrt(m)), _dispensable(pair, units))
    if smooth and d == 1:
        subsets: list[np.ndarray] = [np.array([unit]) for unit in range(m)]
    else:
        count = min(subsamples, m // d) if smooth else subsamples
        subsets = _balanced(np.random.default_rng(rng), m, d, count)
    scores = []
    with track(len(subsets), f"interval of {pair.index}", progress) as advance:
        for subset in subsets:
            scores.append(pair.of(units.without(subset)))
            advance()
    what = "jackknife" if smooth and d == 1 else f"delete-{d} jackknife, {len(subsets)} subsamples"
    return on_host(scores, pair.xp), d, what


def _dispensable(pair: Pair, units: Units) -> int:
    """How many units, the largest ones even, can be left out at a time; at least one, see `check_enough_left`."""
    largest = np.cumsum(sorted(map(len, units.examples), reverse=True))
    return max(1, int(np.count_nonzero(pair.n - largest >= pair.index.facts.min_examples)))


def _balanced(generator: np.random.Generator, m: int, d: int, count: int) -> list[np.ndarray]:
    """`count` sets of d units: the blocks of random partitions, so that each unit is in about equally many."""
    sets: list[np.ndarray] = []
    while len(sets) < count:
        order = generator.permutation(m)
        sets += [order[start : start + d] for start in range(0, m - d + 1, d)]
    return sets[:count]
