"""The jackknife: scores without each example, or without each group of examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.arrays import to_numpy
from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.indexes._kernel_index import KernelIndex
from simkit.inference.bounds import NORMAL, Interval, check_confidence
from simkit.inference.pair import Pair, on_host, pair_of
from simkit.inference.units import Units, check_repeats, units_of
from simkit.inference.weights import fits, scores_by_weights
from simkit.progress import track

__all__ = ["JackknifeResult", "check_enough_left", "jackknife", "keeps_its_kernel", "without_each", "without_each_at_once"]


@dataclass(frozen=True, eq=False)
class JackknifeResult:
    """What `jackknife` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    score : float
        Of all examples.
    standard_error : float
        sqrt((m - 1) / m sum_i (t_i - mean t)^2), t_i the score without unit i.
    bias : float
        (m - 1) (mean t - score); subtract it from the score to correct for it.
    interval : (low, high)
        score -+ z standard errors, a normal interval.
    distribution : ndarray, shape (m,)
        Scores without each unit, in the order of the examples, or of ``numpy.unique(groups)``.
    confidence : float
    n : int
        Number of examples.
    groups : int
        Number m of units; `n` if they were examples.
    """

    index: str
    score: float
    standard_error: float
    bias: float
    interval: Interval
    distribution: np.ndarray = field(repr=False)
    confidence: float
    n: int
    groups: int

    def __str__(self) -> str:
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
    X, Y : array, shapes (n, p1) and (n, p2)
        As in `simkit.compare`; computed in float64 where the device has it, since differences of nearly equal scores count.
    index : str or Index
        As in `simkit.compare`.
    confidence : float
        Of the normal interval, between 0 and 1.
    groups : sequence of n labels, optional
        Examples with one label are left out together. Best if groups are of about one size.
    progress : bool, optional
        Show a progress bar; by default if standard error is a terminal and Rich is installed.
    flatten
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

    Returns
    -------
    JackknifeResult

    Raises
    ------
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    Notes
    -----
    In expectation the squared standard error is at least the variance of the score of one unit fewer, whatever the index
    (Efron & Stein). It is consistent for smooth indexes; for those made of counts, ranks or folds of few examples it may be
    far too large: `simkit.interval` leaves out several at a time for them.

    References
    ----------
    Efron & Stein 1981, The jackknife estimate of variance.
    """
    check_confidence(confidence)
    pair = pair_of(X, Y, index, parameters, spare=1, flatten=flatten)
    check_repeats(pair.index, groups)
    units = units_of(groups, pair.n)
    units.check(2, "The jackknife")
    check_enough_left(pair, units)
    wide = pair.widened()
    left_out, score, m = without_each(wide, units, progress), float(wide.score()), units.m
    mean = float(np.mean(left_out))
    error = math.sqrt((m - 1) / m * float(np.sum((left_out - mean) ** 2)))
    reach = NORMAL.inv_cdf((1 + confidence) / 2) * error
    return JackknifeResult(
        index=str(pair.index),
        score=score,
        standard_error=error,
        bias=(m - 1) * (mean - score),
        interval=Interval(score - reach, score + reach),
        distribution=left_out,
        confidence=confidence,
        n=pair.n,
        groups=m,
    )


def check_enough_left(pair: Pair, units: Units) -> None:
    """Raise `InvalidArrayError` if the index is undefined without the largest unit."""
    left, least = pair.n - max(map(len, units.examples)), pair.index.facts.min_examples
    if left < least:
        raise InvalidArrayError(f"Without the largest group {left} examples are left; {pair.index} needs {least}.")


def without_each(pair: Pair, units: Units, progress: bool | None = False) -> np.ndarray:
    """Scores without each unit, shape (m,); kernels are fitted anew where they follow the data."""
    if keeps_its_kernel(pair):
        found = without_each_at_once(pair, units)
        if found is not None:
            return found
    scores = []
    with track(units.m, f"jackknife of {pair.index}", progress) as advance:
        for unit in range(units.m):
            scores.append(pair.of(units.without(np.array([unit]))))
            advance()
    return on_host(scores, pair.xp)


def without_each_at_once(pair: Pair, units: Units) -> np.ndarray | None:
    """Scores without each unit from one pass, kernels as they were fitted to all examples; None where there is no way."""
    index = pair.index
    if not isinstance(index, KernelIndex):
        return None
    if units.members is None:
        found = index.leave_one_out(pair.prepared(pair.x, "X"), pair.prepared(pair.y, "Y"))
        if found is not None:
            return to_numpy(found).astype(np.float64)
    if not fits(pair.n):
        return None
    # Weights of 0 and 1, and of 1 alone: an index that looks at more than HSICs would not give its own score
    found = scores_by_weights(pair, units, np.concatenate([1 - np.eye(units.m), np.ones((1, units.m))]))
    return found[:-1] if np.isclose(found[-1], float(pair.score()), rtol=1e-5, atol=0) else None


def keeps_its_kernel(pair: Pair) -> bool:
    """Whether nothing is fitted to the examples: an index without a kernel, or a kernel without a bandwidth to be found."""
    return not isinstance(pair.index, KernelIndex) or pair.index.kernel.fit(pair.x[:2, :]) is pair.index.kernel
