"""The bootstrap: by weights for the indexes of HSIC sums, by copies for smooth functions of moments, else refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from simkit.arrays import warn_caller
from simkit.errors import InferenceError, InferenceWarning
from simkit.index import Index
from simkit.indexes._kernel_index import KernelIndex
from simkit.inference.bounds import NORMAL, Interval, check_confidence, percent
from simkit.inference.leaving_out import check_enough_left, without_each, without_each_at_once
from simkit.inference.pair import Pair, on_host, pair_of, whole
from simkit.inference.units import Units, check_repeats, units_of
from simkit.inference.weights import MEMORY, fits, follows_weights, scores_by_weights
from simkit.progress import track
from simkit.spec import check_choice
from simkit.statistics.weighted_sums import matrices_held

__all__ = ["RNG", "BootstrapResult", "Method", "bootstrap"]

Method: TypeAlias = Literal["percentile", "basic", "bca"]
RNG: TypeAlias = int | np.random.Generator | None

_ENOUGH = 200  # resamples for tails of 2.5 %
_DRAWS = 2**24  # random indices held at a time
_TOLERABLE = 0.25  # bias of resamples by copies, in standard errors; Efron & Tibshirani 1993, chapter 10


@dataclass(frozen=True, eq=False)
class BootstrapResult:
    """What `bootstrap` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    score : float
        Of the examples as they are.
    interval : (low, high)
        Confidence interval.
    standard_error : float
        Standard deviation of `distribution`.
    bias : float
        Mean of `distribution` minus `score`.
    distribution : ndarray, shape (resamples,)
        Scores of the resamples.
    confidence : float
    method : {"percentile", "basic", "bca"}
    n : int
        Number of examples.
    groups : int
        Number of units that were resampled; `n` if they were examples.
    """

    index: str
    score: float
    interval: Interval
    standard_error: float
    bias: float
    distribution: np.ndarray = field(repr=False)
    confidence: float
    method: Method
    n: int
    groups: int

    def __str__(self) -> str:
        return (
            f"{self.index}: {self.score:.4g} {percent(self.confidence)} [{self.interval.low:.4g}, {self.interval.high:.4g}]"
        )


def bootstrap(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    method: Method = "bca",
    groups: Any = None,
    rng: RNG = None,
    progress: bool | None = None,
    flatten: bool = False,
    **parameters: Any,
) -> BootstrapResult:
    """Confidence interval of a similarity, by drawing examples with replacement, the same of both layers.

    It is valid for few indexes, and refused for the others: `simkit.interval` chooses a valid method for any.

    Parameters
    ----------
    X, Y : array, shapes (n, p1) and (n, p2)
        As in `simkit.compare`.
    index : str or Index
        As in `simkit.compare`.
    resamples : int
    confidence : float
        Between 0 and 1.
    method : {"bca", "percentile", "basic"}
        ``"percentile"``: quantiles of the distribution; ``"basic"``: mirrored at the score; ``"bca"``: quantiles corrected
        for bias and skewness (Efron 1987), which needs the jackknife besides.
    groups : sequence of n labels, optional
        Examples with one label are drawn together.
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
    BootstrapResult

    Raises
    ------
    InferenceError
        Resampling with replacement is not valid for the index, or not for these layers, or their n x n matrices do not fit
        into memory (n above 10,000): the message says what is.
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    Warns
    -----
    ConstantInputWarning
        The score of some resamples is undefined, and they are left out.
    InferenceWarning
        The interval misses the score itself.

    Notes
    -----
    A resample holds some examples twice, and a pair of copies is no pair of examples. So the indexes of HSIC sums (`cka`,
    `hsic`, `mmd`, `distance_correlation`, with every estimator) count copies as weights of the different examples, all
    resamples at once (`simkit.statistics.weighted_sums`); a bandwidth that follows the data is fixed at that of all
    examples. Indexes of second moments are computed on the copies, and refused where the resamples show that copies bias
    them, as they do CCA with p near n. Indexes that need all examples (nearest neighbours, distances between examples,
    folds) take copies for neighbours, and are refused.

    The interval of a biased estimator is one for its mean over samples of this size, not for the population's value.

    References
    ----------
    Efron & Tibshirani 1993, An introduction to the bootstrap; Efron 1987, Better bootstrap confidence intervals; Arcones &
    Gine 1992, On the bootstrap of U and V statistics.

    Examples
    --------
    >>> import numpy as np
    >>> from simkit import bootstrap
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 4))
    >>> print(bootstrap(X, X + rng.standard_normal((100, 4)), "cka", rng=0))
    cka: 0.5487 95 % [0.4868, 0.6117]
    """
    resamples = whole("resamples", resamples, 1)
    check_confidence(confidence)
    check_choice("bootstrap", "method", method, get_args(Method))
    pair = pair_of(X, Y, index, parameters, spare=method == "bca", flatten=flatten)
    check_repeats(pair.index, groups)
    units = units_of(groups, pair.n)
    units.check(2, "The bootstrap")
    if method == "bca":
        check_enough_left(pair, units)
    weighted = _is_weighted(pair)
    pair = pair.widened() if weighted else pair
    score = float(pair.score())
    draws = _draws(np.random.default_rng(rng), units.m, resamples)
    distribution = (
        _by_weights(pair, units, draws, score) if weighted else _by_copies(pair, units, draws, resamples, progress)
    )
    defined = _defined(distribution, pair)
    error = float(np.std(defined, ddof=1)) if len(defined) > 1 else 0.0
    bias = float(np.mean(defined)) - score
    tolerable = (_TOLERABLE + 2 / math.sqrt(len(defined))) * error + 1e-7 * (1 + abs(score))  # its own error, rounding
    if not weighted and abs(bias) > tolerable:
        raise InferenceError(
            f"{pair.index} of X and Y cannot be bootstrapped: resamples, which hold copies of examples, score {bias:+.3g} "
            f"more than the examples themselves, with a standard error of {error:.3g}. {_instead(pair)}"
        )
    left_out = _left_out(pair, units) if method == "bca" else None
    interval = _interval(defined, score, confidence, left_out, mirrored=method == "basic", pair=pair)
    _check_holds(interval, score, bias, resamples, pair)
    return BootstrapResult(
        index=str(pair.index),
        score=score,
        interval=interval,
        standard_error=error,
        bias=bias,
        distribution=distribution,
        confidence=confidence,
        method=method,
        n=pair.n,
        groups=units.m,
    )


def _check_holds(interval: Interval, score: float, bias: float, resamples: int, pair: Pair) -> None:
    """Warn of an interval that misses its own score, and say why."""
    slack = 1e-9 * abs(score)
    if interval.low - slack <= score <= interval.high + slack:
        return
    few = f"there are only {resamples} resamples: take {_ENOUGH} or more"
    why = few if resamples < _ENOUGH else f"the resamples score {bias:+.3g} more on average. {_instead(pair)}"
    warn_caller(
        f"The interval [{interval.low:.4g}, {interval.high:.4g}] of {pair.index} misses the score itself, {score:.4g}, "
        f"since {why}",
        InferenceWarning,
    )


def _instead(pair: Pair) -> str:
    return f'simkit.interval(X, Y, "{pair.index}") leaves examples out instead.'


# --- resamples -------------------------------------------------------------------------------------------------------------


def _is_weighted(pair: Pair) -> bool:
    """Whether copies are to be counted as weights; raises where copies are not to be had at all."""
    index = pair.index
    if isinstance(index, KernelIndex):
        if not fits(pair.n):
            size = matrices_held(pair.n) / 1e9
            raise InferenceError(
                f"The bootstrap of {index} holds five n x n matrices, {size:.1f} GB for n = {pair.n}, "
                f"and takes {MEMORY / 1e9:.1f} at the most. {_instead(pair)}"
            )
        return True
    if index.facts.statistic != "moments":
        raise InferenceError(
            f"{index} cannot be bootstrapped: it needs the examples themselves (their neighbours, distances, folds), and "
            f"takes the copies in a resample for examples. {_instead(pair)}"
        )
    return False


def _draws(generator: np.random.Generator, m: int, resamples: int) -> Iterator[np.ndarray]:
    """Units with replacement, (resamples, m), a block at a time."""
    step = max(1, _DRAWS // m)
    for start in range(0, resamples, step):
        yield generator.integers(0, m, (min(step, resamples - start), m))


def _by_weights(pair: Pair, units: Units, draws: Iterator[np.ndarray], score: float) -> np.ndarray:
    found = []
    for drawn in draws:
        shifted = drawn + units.m * np.arange(len(drawn))[:, None]
        counts = np.bincount(shifted.ravel(), minlength=drawn.size).reshape(drawn.shape)
        found.append(scores_by_weights(pair, units, np.concatenate([np.ones((1, units.m)), counts])))
    distribution = np.concatenate([block[1:] for block in found])
    defined = distribution[np.isfinite(distribution)]
    if not follows_weights(score, found[0][0], float(np.ptp(defined)) if len(defined) else 0.0):
        raise InferenceError(
            f"{pair.index} cannot be bootstrapped: its from_sums is not a function of the three HSICs "
            f"(simkit.statistics.hsic_sums.estimate) alone. {_instead(pair)}"
        )
    return distribution


def _by_copies(pair: Pair, units: Units, draws: Iterator[np.ndarray], resamples: int, progress: bool | None) -> np.ndarray:
    scores = []
    with track(resamples, f"bootstrap of {pair.index}", progress) as advance:
        for block in draws:
            for drawn in block:
                scores.append(pair.of(units.rows(drawn)))
                advance()
    return on_host(scores, pair.xp)


def _defined(distribution: np.ndarray, pair: Pair) -> np.ndarray:
    """Without the resamples that have no score."""
    defined = distribution[np.isfinite(distribution)]
    lost = len(distribution) - len(defined)
    if not len(defined):
        raise InferenceError(f"{pair.index} of no resample is defined. {_instead(pair)}")
    if lost:
        warn_caller(
            f"The score of {lost} of {len(distribution)} resamples is undefined (nan), since they hold too few different "
            "examples. They are left out."
        )
    return defined


def _left_out(pair: Pair, units: Units) -> np.ndarray:
    """Scores without each unit, kernels fixed as in the resamples."""
    found = without_each_at_once(pair, units)
    return without_each(pair, units) if found is None else found


# --- intervals -------------------------------------------------------------------------------------------------------------


def _interval(
    scores: np.ndarray, score: float, confidence: float, left_out: np.ndarray | None, *, mirrored: bool, pair: Pair
) -> Interval:
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if left_out is not None:
        tails = _corrected(tails, scores, score, left_out, pair)
    low, high = (float(bound) for bound in np.quantile(scores, tails))
    return Interval(2 * score - high, 2 * score - low) if mirrored else Interval(low, high)


def _corrected(tails: np.ndarray, scores: np.ndarray, score: float, left_out: np.ndarray, pair: Pair) -> np.ndarray:
    """Efron 1987: Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z0 the bias of the median and a the acceleration."""
    slack = 100 * float(np.finfo(np.float64).eps) * abs(score)
    below = (np.mean(scores < score - slack) + np.mean(scores <= score + slack)) / 2
    if not 0 < below < 1:
        raise InferenceError(
            f"All resamples of {pair.index} score on one side of the score itself, {score:.4g}, so there is no BCa "
            f"interval. {_instead(pair)}"
        )
    away = left_out.mean() - left_out
    spread = float(np.sum(away**2))
    a = float(np.sum(away**3)) / (6 * spread**1.5) if spread > 0 and math.isfinite(spread) else 0.0
    z0 = NORMAL.inv_cdf(float(below))
    z = [z0 + NORMAL.inv_cdf(float(tail)) for tail in tails]
    if not all(1 - a * v > 0 for v in z):  # beyond the pole of the correction
        raise InferenceError(
            f"The scores of {pair.index} without single examples are so skewed that there is no BCa interval: one example "
            f"decides the score. {_instead(pair)}"
        )
    return np.array([NORMAL.cdf(z0 + v / (1 - a * v)) for v in z])
