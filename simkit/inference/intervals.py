"""An interval for any index, by the method that is valid for it: the jackknife, without one or several units at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.arrays import warn_caller
from simkit.errors import InferenceError, InferenceWarning
from simkit.index import Index
from simkit.inference.bounds import Interval, check_confidence, percent, t_quantile
from simkit.inference.leaving_out import check_enough_left, keeps_its_kernel, without_each_at_once, without_some
from simkit.inference.results import Number, Result
from simkit.inference.scorer import Scorer, scorer_of
from simkit.inference.units import RNG, Units, units_of, whole

__all__ = ["IntervalResult", "interval"]


@dataclass(frozen=True, eq=False)
class IntervalResult(Result):
    """What `interval` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    score : float
        Of the examples as they are; it, and what follows, are of shape (rows, columns) for mappings of layers.
    interval : (low, high)
        score -+ t standard errors, cut to the range of the index.
    standard_error : float
    method : str
        How the standard error was found.
    estimand : str
        What the interval is for: the population's value, or the mean of the score over samples of this size, or of as many
        groups.
    confidence : float
    n : int
        Number of examples.
    groups : int
        Number of units that were left out or resampled; `n` if they were examples.
    distribution : ndarray, shape (B,) or (B, rows, columns)
        Scores without each unit, or without each subsample of them.
    rows, columns : tuple of str
        Names of the layers; none for a pair. ``result[row, column]`` is the result of one of the pairs.
    """

    interval: Interval
    standard_error: Number
    method: str
    estimand: str
    confidence: float
    groups: int
    distribution: np.ndarray = field(repr=False)

    def _line(self) -> str:
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
    X, Y : array, shapes (n, p1) and (n, p2); or mappings of names to arrays
        As in `simkit.compare` and, of mappings, `simkit.pairwise`: the same examples are left out of all pairs.
        Computed in float64 where the device has it, since differences of nearly equal scores count.
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
        Show a progress bar; by default in terminals and notebooks. See `simkit.set_options`.
    flatten : bool
        Accept arrays of more than two dimensions and flatten each example.
    **parameters
        Parameters of the index.

    Returns
    -------
    IntervalResult
        ``str(result)`` is one line, or one for each pair of layers.

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
    ChanceWarning
        The score is hardly above chance, of which an interval says nothing: see `simkit.permutation_test`.

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
    error is no smaller than (m - d) / m of the variance for samples of m - d units (Efron & Stein 1981), so that intervals
    are rather too wide, most so with p near n. An unbiased estimator's interval is for the population's value; any other's
    for the mean of the score over samples of n examples, which is far above the population's value where p is not much
    smaller than n. With groups it is for the mean of the score over samples of as many groups: pairs of examples of one
    group are in it.
    docs/topics/intervals.md has measured coverages.

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
    scorer = scorer_of(X, Y, index, parameters, spare=1, flatten=flatten).widened()
    units = units_of(groups, scorer.n, scorer.index, "An interval")
    check_enough_left(scorer, units)
    score = scorer.score
    if not np.isfinite(score).all():
        bad = ~np.isfinite(score)
        raise InferenceError(f"{scorer.index} of {scorer.pair(bad)} is {score[bad][0]}, so it has no interval.")
    left_out, d, method = _left_out(scorer, units, subsamples, rng, progress)
    bad = ~np.isfinite(left_out).all(axis=0)
    if bad.any():
        raise InferenceError(
            f"{scorer.index} of {scorer.pair(bad)} is {score[bad][0]:.4g}, but without {d} of {units.called} it is "
            "undefined or infinite, so it has no interval. There are too few examples for it."
        )
    m = units.m
    error = np.sqrt((m - d) / d * np.mean((left_out - left_out.mean(axis=0)) ** 2, axis=0))
    point = (error <= 1e-9 * abs(score)) & ~scorer.itself
    if point.any():
        warn_caller(
            f"{scorer.index} of {scorer.pair(point)} is {score[point][0]:.4g} whatever is left out, so its interval is a "
            "point. Either the two are alike in all that it sees, or there are too few examples for their features, as for "
            "CCA with p >= n - 1: then it says nothing.",
            InferenceWarning,
        )
    reach = t_quantile((1 + confidence) / 2, min(m, len(left_out)) - 1) * error
    scorer.warn_if_mostly_chance()
    bottom, top = scorer.index.facts.range
    low, high = np.maximum(score - reach, np.minimum(bottom, score)), np.minimum(score + reach, np.maximum(top, score))
    shaped = scorer.shaped
    return IntervalResult(
        interval=Interval(shaped(low), shaped(high)),
        standard_error=shaped(error),
        method=method,
        estimand=_estimand(scorer, units),
        confidence=confidence,
        groups=m,
        distribution=shaped(left_out),
        **scorer.common,
    )


def _estimand(scorer: Scorer, units: Units) -> str:
    """What the interval is for. With groups every score has pairs of one group in it, more alike than pairs at random."""
    if units.members is not None:
        return f"the mean score of samples of {units.m} groups"
    return "the population's value" if scorer.index.is_unbiased else f"the mean score of samples of {scorer.n}"


def _left_out(scorer: Scorer, units: Units, subsamples: int, rng: RNG, progress: bool | None) -> tuple[np.ndarray, int, str]:
    """Scores without some units, how many are left out each time, and what that is called."""
    at_once = without_each_at_once(scorer, units)
    if at_once is not None:
        return at_once, 1, "jackknife" if keeps_its_kernel(scorer) else "jackknife, bandwidth as of all examples"
    m = units.m
    smooth = scorer.index.facts.statistic != "examples"
    d = min(math.ceil(m / subsamples) if smooth else round(math.sqrt(m)), _dispensable(scorer, units))
    if smooth and d == 1:
        subsets = [np.array([unit]) for unit in range(m)]
    else:
        count = min(subsamples, m // d) if smooth else subsamples
        subsets = _balanced(np.random.default_rng(rng), m, d, count)
    what = "jackknife" if smooth and d == 1 else f"delete-{d} jackknife, {len(subsets)} subsamples"
    return without_some(scorer, units, subsets, "interval", progress), d, what


def _dispensable(scorer: Scorer, units: Units) -> int:
    """How many units, the largest ones even, can be left out at a time; at least one, see `check_enough_left`."""
    largest = np.cumsum(sorted(map(len, units.examples), reverse=True))
    return max(1, int(np.count_nonzero(scorer.n - largest >= scorer.index.facts.min_examples)))


def _balanced(generator: np.random.Generator, m: int, d: int, count: int) -> list[np.ndarray]:
    """`count` sets of d units: the blocks of random partitions, so that each unit is in about equally many."""
    sets: list[np.ndarray] = []
    while len(sets) < count:
        order = generator.permutation(m)
        sets += [order[start : start + d] for start in range(0, m - d + 1, d)]
    return sets[:count]
