"""How sure is a similarity? Bootstrap, permutation test, jackknife and noise ceiling, for any index.

The unit of all of them is the example: rows are resampled, permuted or left out, of both layers together or of one. If
examples belong together (tokens of one text, frames of one film), say so with `groups`, or intervals come out too narrow.

Layers are prepared once where that suffices. A permutation of the examples permutes a prepared layer, which its state may
know to do (``state.permuted(order)``); of linear CKA only X'Y is then computed anew. Everything works on arrays of any
framework, where they are; results are numbers and NumPy arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from simkit.arrays import (
    Array,
    Channels,
    Maps,
    Namespace,
    as_examples,
    as_matrix,
    as_pair,
    check_same_examples,
    check_same_framework,
    detach,
    is_lazy,
    is_undefined,
    namespace_of,
    placement,
    to_numpy,
    warn_caller,
)
from simkit.errors import InvalidArrayError, NeedsAllExamplesError, SpecError
from simkit.index import Index
from simkit.indexes._kernel_index import KernelIndex
from simkit.linalg import cross, root, squared_norm, total, widen
from simkit.progress import track
from simkit.registry import get_index
from simkit.representation import Representation
from simkit.spec import check_choice, check_number, check_whole

__all__ = [
    "BootstrapResult",
    "JackknifeResult",
    "NoiseCeiling",
    "PermutationResult",
    "bootstrap",
    "jackknife",
    "noise_ceiling",
    "permutation_test",
]

Method: TypeAlias = Literal["percentile", "basic", "bca"]
Alternative: TypeAlias = Literal["greater", "less", "two-sided"]
RNG: TypeAlias = int | np.random.Generator | None

_DRAWS = 2**24  # random indices held at a time
_NORMAL = NormalDist()


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


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
            f"{self.index}: {self.score:.4g} {_percent(self.confidence)} [{self.interval.low:.4g}, {self.interval.high:.4g}]"
        )


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


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """What `noise_ceiling` found.

    Attributes
    ----------
    index : str
        Spec of the similarity index.
    lower, upper : float
        Mean similarity of each layer to the pool of the others, and to the pool of all.
    lower_each, upper_each : ndarray, shape (layers,)
        The same for each layer.
    n : int
        Number of examples.
    """

    index: str
    lower: float
    upper: float
    lower_each: np.ndarray = field(repr=False)
    upper_each: np.ndarray = field(repr=False)
    n: int

    def __str__(self) -> str:
        return f"{self.index}: noise ceiling {self.lower:.4g} to {self.upper:.4g}"


def _percent(confidence: float) -> str:
    return f"{100 * confidence:g} %"


# --- what they share -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two checked layers and an index."""

    index: Index[Any]
    x: Array
    y: Array
    xp: Namespace

    @property
    def n(self) -> int:
        return self.x.shape[0]

    def prepared(self, layer: Array, name: str) -> Any:
        return self.index.prepare(Representation(layer, self.x.shape[1] + self.y.shape[1], name, xp=self.xp))

    def order(self, rows: np.ndarray) -> Array:
        return self.xp.asarray(rows, **placement(self.x))

    def rows(self, layer: Array, rows: np.ndarray) -> Array:
        return self.xp.take(layer, self.order(rows), axis=0)

    def score(self) -> Array:
        """The score, nan where a layer is constant."""
        if is_undefined(self.x, checked=True) or is_undefined(self.y, checked=True):
            return self.xp.sum(self.x[0, :]) * float("nan")
        return self.index.score(self.prepared(self.x, "X"), self.prepared(self.y, "Y"))

    def of(self, rows: np.ndarray) -> Array:
        """The score of some of the examples, which may be repeated."""
        return _Pair(self.index, self.rows(self.x, rows), self.rows(self.y, rows), self.xp).score()


def _pair(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]],
    parameters: dict[str, Any],
    *,
    spare: int = 0,
    flatten: bool,
    maps: Maps | None,
    channels: Channels | None,
) -> _Pair:
    """Check everything; `spare` examples must be dispensable."""
    chosen = get_index(index, **parameters)
    least = chosen.facts.min_examples + spare
    x, y = as_pair(X, Y, min_examples=least, flatten=flatten, maps=maps, channels=channels)
    for layer, name in ((x, "X"), (y, "Y")):
        _check_here(layer, name)
        _check_varies(layer, name)
    return _Pair(chosen, detach(x), detach(y), namespace_of(x, y))


def _check_here(layer: Array, name: str) -> None:
    if is_lazy(layer):
        raise NeedsAllExamplesError(
            f"{name} is lazy, and inference goes over its examples many times: pass {name}.compute()."
        )


def _check_varies(layer: Array, name: str) -> None:
    if is_undefined(layer, checked=True):
        raise InvalidArrayError(f"{name} is constant: all its examples are the same, so there is nothing to infer.")


def _on_host(scores: Sequence[Array], xp: Namespace) -> np.ndarray:
    """Scores as float64 numbers; they stay on their device until all are there."""
    return to_numpy(xp.stack(list(scores))).astype(np.float64) if len(scores) else np.empty(0)


def _whole(parameter: str, value: Any, least: int) -> int:
    check_whole("inference", parameter, value, at_least=least)
    return int(value)


def _check_confidence(confidence: float) -> None:
    check_number("inference", "confidence", confidence, above=0)
    if confidence >= 1:
        raise SpecError(f"inference: confidence={confidence!r}; expected a number below 1, such as 0.95.")


def _units(groups: Any, n: int, name: str = "groups") -> list[np.ndarray]:
    """The examples of each unit: of each group, or each by itself."""
    if groups is None:
        return [np.array([i]) for i in range(n)]
    labels = np.asarray(to_numpy(groups) if hasattr(groups, "shape") else groups)
    if labels.shape != (n,):
        raise InvalidArrayError(f"{name} has shape {labels.shape}; expected one label for each of the {n} examples, ({n},).")
    _, member = np.unique(labels, return_inverse=True)
    return [np.flatnonzero(member == unit) for unit in range(int(member.max()) + 1)]


def _check_repeats(index: Index[Any], groups: Any) -> None:
    size = index.facts.group
    if size > 1 and groups is None:
        raise InvalidArrayError(
            f"{index} takes rows in consecutive groups of {size}, which must not be torn apart: pass "
            f"groups=numpy.arange(n) // {size}."
        )


def _check_units(units: list[np.ndarray], least: int, what: str) -> None:
    if len(units) < least:
        raise InvalidArrayError(f"{what} needs at least {least} groups; got {len(units)}.")


# --- bootstrap -------------------------------------------------------------------------------------------------------------


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
    maps: Maps | None = None,
    channels: Channels | None = None,
    **parameters: Any,
) -> BootstrapResult:
    """Confidence interval of a similarity, by drawing examples with replacement, the same of both layers.

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
    flatten, maps, channels
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

    Returns
    -------
    BootstrapResult

    Raises
    ------
    SimkitError
        As `simkit.compare`; also for lazy or constant layers.

    Warns
    -----
    ConstantInputWarning
        The score of some resamples is undefined, and they are left out; or the BCa interval is, since all resamples score on
        one side of the score.

    Notes
    -----
    A resample holds some examples twice. Biased indexes (linear CKA with few examples) rise when it does, so that the
    percentile interval may even miss the score: look at `BootstrapResult.bias`, and prefer ``"bca"``, or an unbiased
    estimator. Indexes of nearest neighbours take the copies for neighbours: use `jackknife` for those.

    References
    ----------
    Efron & Tibshirani 1993, An introduction to the bootstrap; Efron 1987, Better bootstrap confidence intervals.

    Examples
    --------
    >>> import numpy as np
    >>> from simkit import bootstrap
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 4))
    >>> print(bootstrap(X, X + rng.standard_normal((100, 4)), "cka", rng=0))
    cka: 0.5487 95 % [0.4775, 0.5998]
    """
    resamples = _whole("resamples", resamples, 1)
    _check_confidence(confidence)
    check_choice("bootstrap", "method", method, get_args(Method))
    pair = _pair(X, Y, index, parameters, spare=method == "bca", flatten=flatten, maps=maps, channels=channels)
    _check_repeats(pair.index, groups)
    units = _units(groups, pair.n)
    _check_units(units, 2, "The bootstrap")
    generator, m = np.random.default_rng(rng), len(units)
    scores: list[Array] = []
    with track(resamples, f"bootstrap of {pair.index}", progress) as advance:
        while len(scores) < resamples:
            block = min(resamples - len(scores), max(1, _DRAWS // m))
            for draw in generator.integers(0, m, (block, m)):
                scores.append(pair.of(draw if groups is None else np.concatenate([units[unit] for unit in draw])))
                advance()
    score, distribution = float(pair.score()), _on_host(scores, pair.xp)
    defined = distribution[np.isfinite(distribution)]
    if len(defined) < resamples:
        warn_caller(
            f"The score of {resamples - len(defined)} of {resamples} resamples is undefined (nan), since they hold too few "
            "different examples. They are left out."
        )
    left_out = _without_each(pair, units) if method == "bca" else None
    interval = _interval(defined, score, confidence, method, left_out) if len(defined) else Interval(math.nan, math.nan)
    return BootstrapResult(
        index=str(pair.index),
        score=score,
        interval=interval,
        standard_error=float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan,
        bias=float(np.mean(defined)) - score if len(defined) else math.nan,
        distribution=distribution,
        confidence=confidence,
        method=method,
        n=pair.n,
        groups=m,
    )


def _interval(scores: np.ndarray, score: float, confidence: float, method: Method, left_out: np.ndarray | None) -> Interval:
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if left_out is not None:
        tails = _corrected(tails, scores, score, left_out)
    low, high = np.quantile(scores, tails) if np.isfinite(tails).all() else (math.nan, math.nan)
    return (
        Interval(float(2 * score - high), float(2 * score - low)) if method == "basic" else Interval(float(low), float(high))
    )


def _corrected(tails: np.ndarray, scores: np.ndarray, score: float, left_out: np.ndarray) -> np.ndarray:
    """Efron 1987: Phi(z0 + (z0 + z) / (1 - a (z0 + z))), z0 the bias of the median and a the acceleration."""
    below = (np.mean(scores < score) + np.mean(scores <= score)) / 2
    away = left_out.mean() - left_out
    if not 0 < below < 1 or not np.any(away):
        warn_caller(
            "All resamples score on one side of the score itself, so the BCa interval is undefined (nan). The index is "
            "biased here, as CKA is with few examples and many features: take estimator='unbiased' or more examples."
        )
        return np.array([math.nan, math.nan])
    z0 = _NORMAL.inv_cdf(float(below))
    a = float(np.sum(away**3) / (6 * np.sum(away**2) ** 1.5))
    z = [z0 + _NORMAL.inv_cdf(float(tail)) for tail in tails]
    return np.array([_NORMAL.cdf(z0 + v / (1 - a * v)) for v in z])


# --- jackknife -------------------------------------------------------------------------------------------------------------


def jackknife(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    confidence: float = 0.95,
    groups: Any = None,
    progress: bool | None = None,
    flatten: bool = False,
    maps: Maps | None = None,
    channels: Channels | None = None,
    **parameters: Any,
) -> JackknifeResult:
    """Standard error and bias of a similarity, by leaving out examples one by one, the same of both layers.

    Deterministic. For CKA, HSIC and distance correlation the scores without each example come from one pass; other indexes
    are computed n times.

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
    flatten, maps, channels
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
    The standard error is consistent for smooth indexes; not for those made of counts or ranks of few examples.

    References
    ----------
    Efron & Stein 1981, The jackknife estimate of variance.
    """
    _check_confidence(confidence)
    pair = _pair(X, Y, index, parameters, spare=1, flatten=flatten, maps=maps, channels=channels)
    _check_repeats(pair.index, groups)
    units = _units(groups, pair.n)
    _check_units(units, 2, "The jackknife")
    largest = max(map(len, units))
    least = pair.index.facts.min_examples
    if pair.n - largest < least:
        raise InvalidArrayError(
            f"Without the largest group {pair.n - largest} examples are left; {pair.index} needs {least}."
        )
    wide = _Pair(pair.index, widen(pair.x, pair.xp), widen(pair.y, pair.xp), pair.xp)
    left_out, score, m = _without_each(wide, units, progress), float(wide.score()), len(units)
    mean = float(np.mean(left_out))
    error = math.sqrt((m - 1) / m * float(np.sum((left_out - mean) ** 2)))
    reach = _NORMAL.inv_cdf((1 + confidence) / 2) * error
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


def _without_each(pair: _Pair, units: list[np.ndarray], progress: bool | None = False) -> np.ndarray:
    """Scores without each unit."""
    index, xp = pair.index, pair.xp
    if len(units) == pair.n and isinstance(index, KernelIndex) and _is_fixed(index, pair):
        at_once = index.leave_one_out(pair.prepared(pair.x, "X"), pair.prepared(pair.y, "Y"))
        if at_once is not None:
            return to_numpy(at_once).astype(np.float64)
    everyone = np.arange(pair.n)
    scores = []
    with track(len(units), f"jackknife of {index}", progress) as advance:
        for unit in units:
            scores.append(pair.of(np.delete(everyone, unit)))
            advance()
    return _on_host(scores, xp)


def _is_fixed(index: KernelIndex, pair: _Pair) -> bool:
    """Whether the kernel stays the same without an example: it has no bandwidth to be fitted."""
    return index.kernel.fit(pair.x[:2, :]) is index.kernel


# --- permutation test ------------------------------------------------------------------------------------------------------


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
    maps: Maps | None = None,
    channels: Channels | None = None,
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
    flatten, maps, channels
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
    permutations = _whole("permutations", permutations, 1)
    if alternative is not None:
        check_choice("permutation_test", "alternative", alternative, get_args(Alternative))
    pair = _pair(X, Y, index, parameters, flatten=flatten, maps=maps, channels=channels)
    chosen: Alternative = alternative or ("less" if pair.index.facts.identity == 0 else "greater")
    size = pair.index.facts.group  # rows that stay together
    strata = [np.arange(pair.n // size)] if within is None else _blocks(_units(within, pair.n, "within"), size, pair.index)
    every = math.prod(math.factorial(min(len(stratum), 20)) for stratum in strata)
    if every == 1:
        raise InvalidArrayError("within has a label of its own for each example, so there is nothing to permute.")
    exact = every - 1 <= permutations
    orders = _every_order(strata) if exact else _random_orders(strata, permutations, np.random.default_rng(rng))
    x, y = pair.prepared(pair.x, "X"), pair.prepared(pair.y, "Y")
    score = pair.index.score(x, y)
    permute = _permuted(pair, x)
    scores = []
    with track(every - 1 if exact else permutations, f"permutations of {pair.index}", progress) as advance:
        for order in orders:
            rows = (order[:, None] * size + np.arange(size)).ravel()
            scores.append(pair.index.score(permute(rows), y))
            advance()
    observed, null = float(score), _on_host(scores, pair.xp)
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


def _permuted(pair: _Pair, state: Any) -> Callable[[np.ndarray], Any]:
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


def _p_value(score: float, null: np.ndarray, alternative: Alternative, pair: _Pair) -> float:
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


# --- noise ceiling ---------------------------------------------------------------------------------------------------------


def noise_ceiling(
    layers: Mapping[str, Any] | Sequence[Any],
    index: str | Index[Any] | type[Index[Any]] = "rsa",
    *,
    flatten: bool = False,
    maps: Maps | None = None,
    channels: Channels | None = None,
    **parameters: Any,
) -> NoiseCeiling:
    """How similar could anything be to these layers, given how they differ among themselves?

    The layers are repeated measurements of one thing: one layer of several networks trained from different seeds, or one
    brain region of several subjects. Upper bound: the mean similarity of each to the pool of all, which nothing that must
    be similar to all of them exceeds by much. Lower bound: the mean similarity of each to the pool of the others, which the
    true representation should reach.

    Parameters
    ----------
    layers : mapping of names to arrays, or sequence of arrays
        At least two, of shapes (n, p_i).
    index : str or Index
        As in `simkit.compare`. ``rsa`` pools RDMs as rsatoolbox does: ranks for rank correlations, else RDMs of equal
        length. For any other index the pool is one layer with all their features side by side, scaled so that the centred
        Gram matrices XX' have norm 1: of those it is the mean, and for linear CKA the upper bound is strict.
    flatten, maps, channels
        As in `simkit.compare`.
    **parameters
        Parameters of the index.

    Returns
    -------
    NoiseCeiling
        For a distance `upper` is the smaller one.

    Raises
    ------
    SimkitError
        As `simkit.pairwise`; also for fewer than two layers, or lazy or constant ones.

    References
    ----------
    Nili et al. 2014, A toolbox for representational similarity analysis.
    """
    chosen = get_index(index, **parameters)
    named = dict(layers) if isinstance(layers, Mapping) else {str(i): layer for i, layer in enumerate(layers)}
    if len(named) < 2:
        raise InvalidArrayError(f"A noise ceiling needs at least two layers; got {len(named)}.")
    checked = {name: as_matrix(x, name, flatten=flatten, maps=maps, channels=channels) for name, x in named.items()}
    first = next(iter(checked))
    for name, x in checked.items():
        _check_here(x, name)
        check_same_framework(checked[first], x, (first, name))
        check_same_examples(checked[first], x, (first, name))
    for name, x in checked.items():
        as_examples(x, name, min_examples=chosen.facts.min_examples)
        _check_varies(x, name)
    xp, n = namespace_of(checked[first]), checked[first].shape[0]
    width = 2 * sum(x.shape[1] for x in checked.values())
    representations = [Representation(x, width, name, xp=xp) for name, x in checked.items()]
    states = [chosen.prepare(layer) for layer in representations]
    if hasattr(chosen, "pool"):
        together = chosen.pool(states)
        others = [chosen.pool(states[:i] + states[i + 1 :]) for i in range(len(states))]
    else:
        parts = [_scaled(layer) for layer in representations]

        def pool(some: list[Array]) -> Any:
            return chosen.prepare(Representation(xp.concat(some, axis=1), width, "the pool", xp=xp))

        together, others = pool(parts), [pool(parts[:i] + parts[i + 1 :]) for i in range(len(parts))]
    upper = _on_host([chosen.score(state, together) for state in states], xp)
    lower = _on_host([chosen.score(state, other) for state, other in zip(states, others, strict=True)], xp)
    return NoiseCeiling(str(chosen), float(np.mean(lower)), float(np.mean(upper)), lower, upper, n)


def _scaled(layer: Representation) -> Array:
    """Features as they were given, but for a factor that makes the norm of the centred Gram matrix 1."""
    xp, x = layer.xp, layer.unit
    gram = cross(x, x) if x.shape[1] <= x.shape[0] else x @ x.mT
    size = root(root(squared_norm(gram, xp), xp), xp) * total(layer.scale, xp)
    return layer.features / xp.astype(size, layer.dtype)
