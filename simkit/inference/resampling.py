"""The bootstrap: by weights for the indexes of HSIC sums, by copies for smooth functions of moments, else refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from simkit.arrays import Array, warn_caller
from simkit.errors import InferenceError, InferenceWarning
from simkit.index import Index
from simkit.inference.bounds import NORMAL, Interval, check_confidence, percent
from simkit.inference.counting import scores_of
from simkit.inference.leaving_out import check_enough_left, without_each, without_each_at_once
from simkit.inference.results import Number, Result
from simkit.inference.scorer import MEMORY, Scorer, fits, on_host, scorer_of
from simkit.inference.units import RNG, Units, units_of, whole
from simkit.spec import check_choice

__all__ = ["BootstrapResult", "Method", "bootstrap"]

Method: TypeAlias = Literal["percentile", "basic", "bca"]

_ENOUGH = 200  # resamples for tails of 2.5 %
_DRAWS = 2**24  # random indices held at a time
_EARLY = 100  # resamples by copies after which a bias that cannot be one of chance is refused
_TOLERABLE = 0.25  # bias of resamples by copies, in standard errors; Efron & Tibshirani 1993, chapter 10


@dataclass(frozen=True, eq=False)
class BootstrapResult(Result):
    """What `bootstrap` found.

    Attributes
    ----------
    index, score, confidence, n, groups, rows, columns
        As in `simkit.inference.IntervalResult`.
    interval : (low, high)
        Confidence interval.
    standard_error : float
        Standard deviation of `distribution`.
    bias : float
        Mean of `distribution` minus `score`.
    distribution : ndarray, shape (resamples,) or (resamples, rows, columns)
        Scores of the resamples.
    method : {"percentile", "basic", "bca"}
    """

    interval: Interval
    standard_error: Number
    bias: Number
    distribution: np.ndarray = field(repr=False)
    confidence: float
    method: Method
    groups: int

    def _line(self) -> str:
        low, high = self.interval
        return f"{self.index}: {self.score:.4g} {percent(self.confidence)} [{low:.4g}, {high:.4g}]"


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
    X, Y, index
        As in `simkit.interval`: the same resamples for all pairs.
    resamples : int
    confidence : float
        As in `simkit.interval`.
    method : {"bca", "percentile", "basic"}
        ``"percentile"``: quantiles of the distribution; ``"basic"``: mirrored at the score; ``"bca"``: quantiles corrected
        for bias and skewness (Efron 1987), which needs the jackknife besides.
    groups : sequence of n labels, optional
        Examples with one label are drawn together.
    rng : int or numpy.random.Generator, optional
        Seed.
    progress, flatten, **parameters
        As in `simkit.interval`.

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
    scorer = scorer_of(X, Y, index, parameters, spare=method == "bca", flatten=flatten)
    units = units_of(groups, scorer.n, scorer.index, "The bootstrap")
    if method == "bca":
        check_enough_left(scorer, units)
    scorer, distribution = _distribution(scorer, units, np.random.default_rng(rng), resamples, progress)
    left_out = None
    if method == "bca":
        left_out = without_each_at_once(scorer, units)
        left_out = without_each(scorer, units) if left_out is None else left_out
    shape = scorer.score.shape
    low, high, error, bias = (np.empty(shape) for _ in range(4))
    for i, j in np.ndindex(*shape):
        pair = _Pair(scorer, i, j, distribution[:, i, j])
        error[i, j], bias[i, j] = pair.error, pair.bias
        low[i, j], high[i, j] = pair.interval(confidence, None if left_out is None else left_out[:, i, j], method == "basic")
    shaped = scorer.shaped
    return BootstrapResult(
        interval=Interval(shaped(low), shaped(high)),
        standard_error=shaped(error),
        bias=shaped(bias),
        distribution=shaped(distribution),
        confidence=confidence,
        method=method,
        groups=units.m,
        **scorer.common,
    )


def _instead(scorer: Scorer) -> str:
    return f'simkit.interval(X, Y, "{scorer.index}") leaves examples out instead.'


# --- resamples -------------------------------------------------------------------------------------------------------------


def _distribution(
    scorer: Scorer, units: Units, generator: np.random.Generator, resamples: int, progress: bool | None
) -> tuple[Scorer, np.ndarray]:
    """Scores of the resamples, shape (resamples, rows, columns), and the scorer that they are comparable with."""
    index, n = scorer.index, scorer.n
    if not fits(index, n):
        raise InferenceError(
            f"The bootstrap of {index} holds n x n matrices, {index.bytes_resampled(n, 2) / 1e9:.1f} GB for n = {n}, and "
            f"takes {MEMORY / 1e9:.1f} at the most. {_instead(scorer)}"
        )
    wide = scorer.widened()
    draws = _draws(generator, units.m, resamples)
    first = next(draws)
    found = wide.resampled(np.concatenate([np.ones((1, units.m)), _counts(first)]), units)
    if found is not None:
        later = [wide.resampled(_counts(drawn), units) for drawn in draws]
        distribution = np.concatenate([found[1:], *(part for part in later if part is not None)])
        _check_weights(wide, found[0], distribution)
        return wide, distribution
    if index.facts.statistic != "moments":
        raise InferenceError(
            f"{index} cannot be bootstrapped: it needs the examples themselves (their neighbours, distances, folds), and "
            f"takes the copies in a resample for examples. {_instead(scorer)}"
        )
    copies = scores_of(scorer, (units.rows(drawn) for block in itertools.chain([first], draws) for drawn in block))
    distribution = scorer.one_by_one(_watched(scorer, copies, resamples), resamples, "bootstrap", progress)
    _check_copies(scorer, distribution)
    return scorer, distribution


def _watched(scorer: Scorer, copies: Iterator[Array], resamples: int) -> Iterator[Array]:
    """The scores of resamples by copies, whose bias is looked at when there are some: no need to wait for a refusal."""
    found: list[Array] = []
    for score in copies:
        found.append(score)
        if len(found) == _EARLY < resamples:
            _check_copies(scorer, on_host(found, scorer.xp), patience=2.0)
        yield score


def _check_copies(scorer: Scorer, distribution: np.ndarray, patience: float = 1.0) -> None:
    for i, j in np.ndindex(*scorer.score.shape):
        if patience == 1 or np.count_nonzero(np.isfinite(distribution[:, i, j])) > 1:
            _Pair(scorer, i, j, distribution[:, i, j]).check_copies(patience)


def _draws(generator: np.random.Generator, m: int, resamples: int) -> Iterator[np.ndarray]:
    """Units with replacement, (resamples, m), a block at a time."""
    step = max(1, _DRAWS // m)
    for start in range(0, resamples, step):
        yield generator.integers(0, m, (min(step, resamples - start), m))


def _counts(drawn: np.ndarray) -> np.ndarray:
    """How often each unit was drawn, (resamples, m)."""
    resamples, m = drawn.shape
    return np.bincount((drawn + m * np.arange(resamples)[:, None]).ravel(), minlength=drawn.size).reshape(drawn.shape)


def _check_weights(scorer: Scorer, by_ones: np.ndarray, distribution: np.ndarray) -> None:
    """Raise unless weights of 1 give the score itself, as they do where it is a function of HSICs."""
    known = np.isfinite(distribution)
    spread = np.max(distribution, axis=0, initial=-np.inf, where=known) - np.min(
        distribution, axis=0, initial=np.inf, where=known
    )
    off = ~np.isclose(by_ones, scorer.score, rtol=1e-5, atol=1e-3 * np.maximum(spread, 0))
    if off.any():
        raise InferenceError(
            f"{scorer.index} cannot be bootstrapped: its from_sums is not a function of the three HSICs "
            f"(simkit.statistics.hsic_sums.estimate) alone. {_instead(scorer)}"
        )


# --- one pair --------------------------------------------------------------------------------------------------------------


class _Pair:
    """The resamples of one pair of layers; those that have no score are left out, with a warning."""

    def __init__(self, scorer: Scorer, i: int, j: int, scores: np.ndarray) -> None:
        self.scorer, self.index, self.score = scorer, scorer.index, float(scorer.score[i, j])
        self.name = f"{scorer.rows[i].name} and {scorer.columns[j].name}"
        self.resamples, self.scores = len(scores), scores[np.isfinite(scores)]
        if not len(self.scores):
            raise InferenceError(f"{self.index} of no resample of {self.name} is defined. {_instead(scorer)}")
        self.error = float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0
        self.bias = float(np.mean(self.scores)) - self.score

    def check_copies(self, patience: float) -> None:
        """Raise if resamples by copies are biased by more than their own error, times `patience`, and rounding."""
        tolerable = patience * (_TOLERABLE + 2 / math.sqrt(len(self.scores))) * self.error + 1e-7 * (1 + abs(self.score))
        if abs(self.bias) > tolerable:
            raise InferenceError(
                f"{self.index} of {self.name} cannot be bootstrapped: resamples, which hold copies of examples, score "
                f"{self.bias:+.3g} more than the examples themselves, with a standard error of {self.error:.3g}. "
                f"{_instead(self.scorer)}"
            )

    def interval(self, confidence: float, left_out: np.ndarray | None, mirrored: bool) -> Interval:
        """Quantiles of the scores, corrected if there are scores without each unit.

        Warns
        -----
        ConstantInputWarning
            Some resamples have no score.
        InferenceWarning
            The interval misses the score itself.
        """
        lost = self.resamples - len(self.scores)
        if lost:
            warn_caller(
                f"The score of {lost} of {self.resamples} resamples of {self.name} is undefined (nan), since they hold too "
                "few different examples. They are left out."
            )
        tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
        if left_out is not None:
            tails = self._corrected(tails, left_out)
        low, high = (float(bound) for bound in np.quantile(self.scores, tails))
        found = Interval(2 * self.score - high, 2 * self.score - low) if mirrored else Interval(low, high)
        self._check_holds(found)
        return found

    def _check_holds(self, found: Interval) -> None:
        slack = 1e-9 * abs(self.score)
        if found.low - slack <= self.score <= found.high + slack:
            return
        few = f"there are only {self.resamples} resamples: take {_ENOUGH} or more"
        why = f"the resamples score {self.bias:+.3g} more on average. {_instead(self.scorer)}"
        warn_caller(
            f"The interval [{found.low:.4g}, {found.high:.4g}] of {self.index} of {self.name} misses the score itself, "
            f"{self.score:.4g}, since {few if self.resamples < _ENOUGH else why}",
            InferenceWarning,
        )

    def _corrected(self, tails: np.ndarray, left_out: np.ndarray) -> np.ndarray:
        """Efron 1987: Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z0 the bias of the median and a the acceleration."""
        scores, score = self.scores, self.score
        slack = 100 * float(np.finfo(np.float64).eps) * abs(score)
        below = (np.mean(scores < score - slack) + np.mean(scores <= score + slack)) / 2
        if not 0 < below < 1:
            raise InferenceError(
                f"All resamples of {self.index} of {self.name} score on one side of the score itself, {score:.4g}, so there "
                f"is no BCa interval. {_instead(self.scorer)}"
            )
        away = left_out.mean() - left_out
        spread = float(np.sum(away**2))
        a = float(np.sum(away**3)) / (6 * spread**1.5) if spread > 0 and math.isfinite(spread) else 0.0
        z0 = NORMAL.inv_cdf(float(below))
        z = [z0 + NORMAL.inv_cdf(float(tail)) for tail in tails]
        if not all(1 - a * v > 0 for v in z):  # beyond the pole of the correction
            raise InferenceError(
                f"The scores of {self.index} of {self.name} without single examples are so skewed that there is no BCa "
                f"interval: one example decides the score. {_instead(self.scorer)}"
            )
        return np.array([NORMAL.cdf(z0 + v / (1 - a * v)) for v in z])
