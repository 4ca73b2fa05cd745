"""The jackknife: scores without each example, or without each group of examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.inference.bounds import NORMAL, Interval, check_confidence
from simkit.inference.counting import scores_of
from simkit.inference.results import Number, Result
from simkit.inference.scorer import Scorer, scorer_of
from simkit.inference.units import Units, units_of

__all__ = [
    "JackknifeResult",
    "check_enough_left",
    "jackknife",
    "keeps_its_kernel",
    "without_each",
    "without_each_at_once",
    "without_some",
]


@dataclass(frozen=True, eq=False)
class JackknifeResult(Result):
    """What `jackknife` found.

    Attributes
    ----------
    index, score, confidence, n, groups, rows, columns
        As in `simkit.inference.IntervalResult`.
    standard_error : float
        sqrt((m - 1) / m sum_i (t_i - mean t)^2), t_i the score without unit i of m.
    bias : float
        (m - 1) (mean t - score); subtract it from the score to correct for it.
    interval : (low, high)
        score -+ z standard errors, a normal interval.
    distribution : ndarray, shape (m,) or (m, rows, columns)
        Scores without each unit, in the order of the examples, or of ``numpy.unique(groups)``.
    """

    standard_error: Number
    bias: Number
    interval: Interval
    distribution: np.ndarray = field(repr=False)
    confidence: float
    groups: int

    def _line(self) -> str:
        return f"{self.index}: {self.score:.4g} +- {self.standard_error:.2g}"


def jackknife(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    confidence: float = 0.95,
    groups: Any = None,
    progress: bool | None = None,
    flatten: bool = False,
    **parameters: Any,
) -> JackknifeResult:
    """Standard error and bias of a similarity, by leaving out examples one by one, the same of both layers.

    Deterministic. For CKA, HSIC and distance correlation the scores without each example come from one pass, unless a
    bandwidth follows the data; other indexes are computed n times.

    Parameters
    ----------
    X, Y, index, confidence, groups, progress, flatten, **parameters
        As in `simkit.interval`; the interval is a normal one.

    Returns
    -------
    JackknifeResult

    Raises
    ------
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    Notes
    -----
    In expectation the squared standard error is at least (m - 1) / m of the variance of the score of m - 1 units, whatever
    the index (Efron & Stein). It is consistent for smooth indexes; for those made of counts, ranks or folds of few examples
    it may be far too large: `simkit.interval` leaves out several at a time for them.

    References
    ----------
    Efron & Stein 1981, The jackknife estimate of variance.
    """
    check_confidence(confidence)
    scorer = scorer_of(X, Y, index, parameters, spare=1, flatten=flatten).widened()
    units = units_of(groups, scorer.n, scorer.index, "The jackknife")
    check_enough_left(scorer, units)
    left_out, score, m = without_each(scorer, units, progress), scorer.score, units.m
    mean = np.mean(left_out, axis=0)
    error = np.sqrt((m - 1) / m * np.sum((left_out - mean) ** 2, axis=0))
    reach = NORMAL.inv_cdf((1 + confidence) / 2) * error
    shaped = scorer.shaped
    return JackknifeResult(
        standard_error=shaped(error),
        bias=shaped((m - 1) * (mean - score)),
        interval=Interval(shaped(score - reach), shaped(score + reach)),
        distribution=shaped(left_out),
        confidence=confidence,
        groups=m,
        **scorer.common,
    )


def check_enough_left(scorer: Scorer, units: Units) -> None:
    """Raise `InvalidArrayError` if the index is undefined without the largest unit."""
    left, least = scorer.n - max(map(len, units.examples)), scorer.index.facts.min_examples
    if left < least:
        raise InvalidArrayError(f"Without the largest group {left} examples are left; {scorer.index} needs {least}.")


def without_each(scorer: Scorer, units: Units, progress: bool | None = False) -> np.ndarray:
    """Scores without each unit, shape (m, rows, columns); kernels are fitted anew where they follow the data."""
    if keeps_its_kernel(scorer):
        found = without_each_at_once(scorer, units)
        if found is not None:
            return found
    return without_some(scorer, units, [np.array([unit]) for unit in range(units.m)], "jackknife", progress)


def without_some(
    scorer: Scorer, units: Units, subsets: Sequence[np.ndarray], what: str, progress: bool | None
) -> np.ndarray:
    """Scores without each of the subsets of the units, shape (subsets, rows, columns), one by one."""
    scores = scores_of(scorer, (units.without(subset) for subset in subsets))
    return scorer.one_by_one(scores, len(subsets), what, progress)


def without_each_at_once(scorer: Scorer, units: Units) -> np.ndarray | None:
    """Scores without each unit from one pass, kernels as they were fitted to all examples; None where there is no way."""
    if units.members is None:
        found = scorer.leave_one_out()
        if found is not None:
            return found
    # Weights of 0 and 1, and of 1 alone: an index that looks at more than HSICs would not give its own score
    found = scorer.resampled(np.concatenate([1 - np.eye(units.m), np.ones((1, units.m))]), units)
    return None if found is None or not np.allclose(found[-1], scorer.score, rtol=1e-5, atol=0) else found[:-1]


def keeps_its_kernel(scorer: Scorer) -> bool:
    """Whether nothing is fitted to the examples: an index without a kernel, or a kernel without a bandwidth to be found."""
    sums = scorer.index.kernel_estimator
    return sums is None or sums.kernel.fit(scorer.like[:2, :]) is sums.kernel
