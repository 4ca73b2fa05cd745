"""Interval, bootstrap, permutation test, jackknife and noise ceiling against SciPy, direct loops and what they promise."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.stats
from data import OWN_INDEXES, pair

import simkit
from simkit.errors import (
    AccuracyWarning,
    ConstantInputWarning,
    InferenceError,
    InferenceWarning,
    InvalidArrayError,
    NeedsAllExamplesError,
    SpecError,
)
from simkit.inference import bootstrap, interval, jackknife, noise_ceiling, permutation_test, resampling
from simkit.inference.bounds import t_quantile
from simkit.inference.counting import _of_bases, scores_of
from simkit.inference.scorer import scorer_of
from simkit.linalg import reordered_products
from simkit.registry import get_index

INDEXES = [
    *map(str, OWN_INDEXES),
    "cka(estimator=unbiased)",
    "cka(estimator=lange)",
    "cka(kernel=rbf)",
    "hsic(kernel=cosine, estimator=unbiased)",
    "rsa(comparison=whitened_cosine)",
    "rsa(dissimilarity=euclidean, comparison=kendall)",
    "cknna(form=code)",
]
HSIC_FAMILY = [
    *(f"{name}(estimator={e})" for name in ("cka", "hsic") for e in ("biased", "unbiased", "lange")),
    "cka(kernel=rbf)",
    "cka(kernel=rbf(sigma=2.0))",
    "cka(kernel=cosine, estimator=unbiased)",
    "hsic(kernel=polynomial)",
    "distance_correlation",
    "distance_correlation(estimator=unbiased)",
]


def layers(spec, n=24, p1=5, p2=4, seed=0):
    return pair(max(n, get_index(spec).facts.min_examples + 2), p1, p2, seed)


def unrelated(rng, n, p1, p2):
    return rng.standard_normal((n, p1)), rng.standard_normal((n, p2))


# --- permutation test ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", INDEXES)
def test_permuting_a_prepared_layer_is_permuting_the_examples(spec):
    """The fast path equals the slow one."""
    for shape in ((24, 5, 4), (24, 30, 20)):  # p x p and n x n matrices
        X, Y = layers(spec, *shape)
        result = permutation_test(X, Y, spec, permutations=8, rng=3)
        rng = np.random.default_rng(3)
        expected = [simkit.compare(X[rng.permutation(len(X))], Y, spec) for _ in range(8)]
        np.testing.assert_allclose(result.distribution, expected, rtol=1e-9, atol=1e-9)
        assert result.score == pytest.approx(float(simkit.compare(X, Y, spec)), rel=1e-12)
        assert (result.n, result.index, result.exact) == (len(X), spec, False)


def test_permuted_gram_matrices_are_not_put_together(monkeypatch):
    """<P K P', L> takes some rows of K at a time, for many layers too; whole matrices would be 2.9 MB each."""
    X, Y = pair(600, 9, 7)
    index, order = get_index("cka(kernel=rbf)"), np.random.default_rng(0).permutation(600)
    x, y, z = (index.prepare(simkit.index.Representation(a)) for a in (X, Y, X[:, :3]))
    tracemalloc.start()
    permuted = index.permuted(x, order)
    found = float(index.score(permuted, y)), index.scores([permuted, index.permuted(z, order)], [y, z])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 600 * 600 * 8 / 2
    expected = [[float(simkit.compare(a[order], b, index)) for b in (Y, X[:, :3])] for a in (X, X[:, :3])]
    np.testing.assert_allclose(found[1], expected, rtol=1e-10)
    assert found[0] == pytest.approx(expected[0][0], rel=1e-10)
    assert float(index.score(y, permuted)) == pytest.approx(found[0], rel=1e-12)
    again = index.permuted(permuted, np.argsort(order))
    assert float(index.score(again, x)) == pytest.approx(1, rel=1e-10)
    assert float(index.score(permuted, permuted)) == pytest.approx(1, rel=1e-10)
    left_out = index.leave_one_out([permuted], [y])
    np.testing.assert_allclose(
        left_out, index.leave_one_out([index.prepare(simkit.index.Representation(X[order]))], [y]), rtol=1e-9
    )


def test_reordered_products(backend):
    rng = np.random.default_rng(0)
    a, b, c = (q + q.mT for q in rng.standard_normal((3, 150, 150)))
    order = rng.permutation(150)
    xs = [backend.asarray(q) for q in (a, b, c)]
    found = reordered_products(xs[:2], backend.asarray(order), [xs[2], xs[0]], backend.xp)
    expected = [[np.sum(q[np.ix_(order, order)] * r) for r in (c, a)] for q in (a, b)]
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-4 if "32" in str(xs[0].dtype) else 1e-9, atol=1e-6)


def test_most_indexes_have_a_fast_path():
    """Indexes that prepare much must not prepare it for each permutation."""
    for spec in (
        "cka",
        "cka(kernel=rbf)",
        "hsic",
        "cca",
        "svcca",
        "pwcca",
        "distance_correlation",
        "gulp",
        "rsa",
        "mutual_knn",
    ):
        index = get_index(spec)
        state = index.prepare(simkit.index.Representation(layers(spec)[0]))
        assert index.permuted(state, np.arange(24)[::-1]) is not None, spec


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_value(alternative):
    X, Y = pair(20, 3, 3, seed=2, noise=1.5)
    result = permutation_test(X, Y, permutations=199, alternative=alternative, rng=1)
    null, b = result.distribution, {}
    b["greater"], b["less"] = (null >= result.score).sum(), (null <= result.score).sum()
    p = {side: (count + 1) / 200 for side, count in b.items()}
    p["two-sided"] = min(1, 2 * min(p.values()))
    assert result.p_value == pytest.approx(p[alternative])
    assert result.chance == pytest.approx(null.mean())
    assert 0 < p["greater"] < p["less"]


def test_p_values_are_uniform_if_layers_are_unrelated():
    rng = np.random.default_rng(0)
    for spec in ("cka", "mutual_knn(k=3)"):
        p = [permutation_test(*unrelated(rng, 15, 3, 4), spec, permutations=99, rng=rng).p_value for _ in range(200)]
        assert scipy.stats.kstest(p, "uniform").pvalue > 0.01
        assert np.mean(np.array(p) <= 0.05) <= 0.1


def test_power():
    """Layers that share one direction of several, far from obvious: found nearly always."""
    p = [permutation_test(*pair(60, 5, 5, seed, shared=1, noise=2.0), permutations=99, rng=0).p_value for seed in range(30)]
    assert np.mean(np.array(p) <= 0.05) > 0.9


def test_biased_scores_are_high_by_chance():
    rng = np.random.default_rng(0)
    result = permutation_test(*unrelated(rng, 30, 60, 60), permutations=99, rng=0)
    assert result.score > 0.6
    assert result.chance == pytest.approx(result.score, abs=0.05)
    assert result.p_value > 0.01


def test_few_examples_are_permuted_in_every_way():
    X, Y = pair(5, 2, 2, noise=0.1)
    result = permutation_test(X, Y, permutations=200)
    assert result.exact
    expected = [simkit.compare(X[list(order)], Y) for order in itertools.permutations(range(5))]
    np.testing.assert_allclose(np.sort(result.distribution), np.sort(expected[1:]), rtol=1e-9)
    assert result.p_value == pytest.approx(np.mean(np.array(expected) >= expected[0] - 1e-12))
    assert not permutation_test(X, Y, permutations=118).exact


def test_rounding_does_not_decide_between_equal_scores():
    """Examples that come in identical pairs: orders that swap twins give the very same score."""
    X, Y = (np.repeat(layer, 2, axis=0) for layer in pair(3, 2, 2))
    expected = np.array([simkit.compare(X[list(order)], Y) for order in itertools.permutations(range(6))])
    result = permutation_test(X, Y, permutations=1000)
    assert result.p_value == pytest.approx(np.mean(expected > expected[0] - 1e-9))
    assert result.p_value >= 8 / 720


def test_within_strata():
    """Similarity that the label explains is no similarity within labels."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 15)
    means = 5 * rng.standard_normal((4, 3))
    X, Y = (means[label] @ rng.standard_normal((3, 4)) + rng.standard_normal((60, 4)) for _ in range(2))
    assert permutation_test(X, Y, permutations=199, rng=0).p_value == 1 / 200
    assert permutation_test(X, Y, permutations=199, within=label, rng=0).p_value > 0.05
    twins = permutation_test(X[:8], Y[:8], within=[0, 0, 1, 1, 2, 2, 3, 3])
    assert twins.exact
    assert len(twins.distribution) == 15
    with pytest.raises(InvalidArrayError, match="nothing to permute"):
        permutation_test(X[:8], Y[:8], within=range(8))


def test_small_distances_are_extreme():
    X, Y = pair(30, 3, 4)
    assert permutation_test(X, Y, "gulp", permutations=99, rng=0).alternative == "less"
    assert permutation_test(X, Y, "gulp", permutations=99, rng=0).p_value == 0.01
    assert permutation_test(X, Y, "cka", permutations=99, rng=0).alternative == "greater"


# --- jackknife -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", HSIC_FAMILY)
@pytest.mark.parametrize("shape", [(20, 5, 4), (16, 30, 5)], ids=str)
def test_jackknife_is_the_loop(backend, spec, shape):
    X, Y = pair(*shape)
    result = jackknife(backend.asarray(X), backend.asarray(Y), spec)
    n = len(X)
    expected = np.array([simkit.compare(np.delete(X, i, axis=0), np.delete(Y, i, axis=0), spec) for i in range(n)])
    np.testing.assert_allclose(result.distribution, expected, rtol=1e-9, atol=1e-12)
    score = float(simkit.compare(X, Y, spec))
    assert result.score == pytest.approx(score)
    error = math.sqrt((n - 1) / n * np.sum((expected - expected.mean()) ** 2))
    assert result.standard_error == pytest.approx(error, rel=1e-7)
    rounding = 1e-13 * n * max(1.0, abs(score))  # of the mean of n scores less the score, which is 0 without bias
    assert result.bias == pytest.approx((n - 1) * (expected.mean() - score), rel=1e-6, abs=rounding)
    assert result.interval == pytest.approx((score - 1.959964 * error, score + 1.959964 * error), rel=1e-6, abs=1e-9)


def test_unbiased_hsic_has_no_bias():
    """A U-statistic is the mean of itself without each example."""
    X, Y = pair(20, 5, 4)
    found = jackknife(X, Y, "hsic(estimator=unbiased)")
    assert found.bias == pytest.approx(0, abs=1e-13 * len(X) * max(1.0, abs(found.score)))
    assert jackknife(X, Y, "hsic").bias > 1e-3 * jackknife(X, Y, "hsic").score


@pytest.mark.parametrize("spec", ["cca", "procrustes", "mutual_knn(k=3)", "rsa", "linear_regression"])
def test_jackknife_of_other_indexes(spec):
    X, Y = pair(20, 3, 4)
    expected = [simkit.compare(np.delete(X, i, axis=0), np.delete(Y, i, axis=0), spec) for i in range(20)]
    np.testing.assert_allclose(jackknife(X, Y, spec).distribution, expected, rtol=1e-12)


@pytest.mark.parametrize("spec", ["cka", "cca"])
def test_jackknife_of_groups(spec):
    X, Y = pair(21, 3, 4)
    groups = np.array(list("abc" * 7))
    result = jackknife(X, Y, spec, groups=groups)
    expected = np.array([simkit.compare(X[groups != g], Y[groups != g], spec) for g in "abc"])
    np.testing.assert_allclose(result.distribution, expected)
    assert result.standard_error == pytest.approx(math.sqrt(2 / 3 * np.sum((expected - expected.mean()) ** 2)))
    assert (result.groups, result.n) == (3, 21)
    alone = jackknife(X, Y, spec, groups=range(21))
    np.testing.assert_allclose(alone.distribution, jackknife(X, Y, spec).distribution)


def test_jackknife_error_is_the_spread_over_samples():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((3, 4))

    def sample():
        Z = rng.standard_normal((200, 3))
        return Z + 0.5 * rng.standard_normal((200, 3)), Z @ mixing + rng.standard_normal((200, 4))

    results = [jackknife(*sample()) for _ in range(100)]
    spread = np.std([result.score for result in results], ddof=1)
    assert np.mean([result.standard_error for result in results]) == pytest.approx(spread, rel=0.2)


def test_float32_is_widened():
    """Differences of nearly equal scores: in float32 they would be rounding noise."""
    X, Y = (10 + 100 * layer for layer in pair(300, 5, 4))
    exact = jackknife(X.astype(np.float32).astype(float), Y.astype(np.float32).astype(float)).distribution
    np.testing.assert_allclose(jackknife(X.astype(np.float32), Y.astype(np.float32)).distribution, exact, rtol=1e-12)


# --- bootstrap -------------------------------------------------------------------------------------------------------------

WEIGHTED = ("cka", "cka(estimator=unbiased)", "cka(kernel=rbf, estimator=unbiased)", "distance_correlation", "hsic")
REFUSED = ("rsa", "mutual_knn(k=3)", "cknna(k=3)", "jaccard(k=3)", "ridge_predictivity", "rsm_norm")


def by_weights(X, Y, spec):
    """The score of a sample of rows, copies counted as weights; tests/test_weighted_sums.py has the definition."""
    index = get_index(spec)
    x, y = ([index.prepare(simkit.index.Representation(layer))] for layer in (X, Y))
    return lambda rows: index.resampled(x, y, np.bincount(rows, minlength=len(X))[None, :].astype(float))[0, 0, 0]


@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
@pytest.mark.parametrize("spec", [*WEIGHTED, "procrustes", "linear_regression"])
def test_bootstrap_is_scipys(spec, method):
    n = 41 if spec in WEIGHTED else 401
    X, Y = pair(n, 3, 4)
    statistic = by_weights(X, Y, spec) if spec in WEIGHTED else lambda rows: simkit.compare(X[rows], Y[rows], spec)
    seed = "rng" if "rng" in inspect.signature(scipy.stats.bootstrap).parameters else "random_state"
    expected = scipy.stats.bootstrap(
        (np.arange(n),),
        statistic,
        n_resamples=200,
        vectorized=False,
        confidence_level=0.9,
        method={"bca": "BCa"}.get(method, method),
        **{seed: np.random.default_rng(5)},
    )
    result = bootstrap(X, Y, spec, resamples=200, confidence=0.9, method=method, rng=5)
    np.testing.assert_allclose(result.distribution, expected.bootstrap_distribution, rtol=1e-9)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval), rel=1e-8)
    assert result.standard_error == pytest.approx(expected.standard_error)
    assert result.bias == pytest.approx(result.distribution.mean() - result.score)
    assert result.score == pytest.approx(float(simkit.compare(X, Y, spec)))
    assert (result.method, result.confidence, result.n, result.index) == (method, 0.9, n, spec)


@pytest.mark.parametrize("spec", ["procrustes", "cka", "hsic(estimator=unbiased)"])
def test_groups_are_drawn_together(spec):
    X, Y = pair(480, 3, 4)
    groups = np.repeat(np.arange(96), 5)
    result = bootstrap(X, Y, spec, resamples=20, groups=groups, method="basic", rng=3)
    draws = np.random.default_rng(3).integers(0, 96, (20, 96))
    if spec == "procrustes":
        rows = [np.concatenate([np.flatnonzero(groups == g) for g in draw]) for draw in draws]
        expected = [simkit.compare(X[r], Y[r], spec) for r in rows]
    else:
        index = get_index(spec)
        x, y = ([index.prepare(simkit.index.Representation(layer))] for layer in (X, Y))
        weights = np.array([np.bincount(draw, minlength=96) for draw in draws], dtype=float)
        expected = index.resampled(x, y, weights, groups)[:, 0, 0]
    np.testing.assert_allclose(result.distribution, expected, rtol=1e-9)
    assert result.groups == 96


def test_groups_widen_the_interval():
    X, Y = pair(30, 3, 4)
    groups = np.repeat(np.arange(6), 5)
    dependent = [np.repeat(layer[:6], 5, axis=0) + 0.01 * layer for layer in (X, Y)]  # five near copies of each
    for spec in ("cka", "cka(estimator=unbiased)"):
        for infer in (lambda *a, **k: bootstrap(*a, resamples=200, method="percentile", rng=0, **k), interval, jackknife):
            single, together = (infer(*dependent, spec, groups=g).standard_error for g in (None, groups))
            assert together > 1.3 * single


@pytest.mark.parametrize("spec", ["cka", "cka(estimator=unbiased)", "cka(kernel=rbf)"])
@pytest.mark.parametrize("shape", [(40, 100, 100), (200, 50, 50), (60, 8, 300)], ids=str)
def test_no_bootstrap_interval_is_nan(spec, shape):
    """Where copies were counted as examples, all resamples scored above the score."""
    for X, Y in (pair(*shape), unrelated(np.random.default_rng(0), *shape)):
        for method in ("percentile", "basic", "bca"):
            result = bootstrap(X, Y, spec, method=method, resamples=200, rng=0)
            low, high = result.interval
            assert low < result.score < high
            assert abs(result.bias) < result.standard_error


@pytest.mark.parametrize("spec", REFUSED)
def test_copies_are_refused_where_they_are_taken_for_examples(spec):
    X, Y = pair(60, 5, 4)
    with pytest.raises(InferenceError, match=r"takes the copies") as raised:
        bootstrap(X, Y, spec, resamples=10, rng=0)
    named = str(raised.value).split('simkit.interval(X, Y, "')[1].split('")')[0]
    assert math.isfinite(interval(X, Y, named).interval.low)


def test_copies_are_refused_where_they_bias():
    X, Y = pair(60, 25, 25)
    for method in ("percentile", "basic", "bca"):
        with pytest.raises(InferenceError, match=r"cca of X and Y cannot be bootstrapped.*simkit.interval"):
            bootstrap(X, Y, "cca", resamples=100, method=method, rng=0)
    X, Y = pair(2000, 3, 3)
    assert bootstrap(X, Y, "cca", resamples=200, rng=0).interval.low > 0


def test_copies_that_bias_are_refused_early(monkeypatch):
    """A bias of many standard errors does not need all resamples to be seen."""
    X, Y = pair(60, 20, 20)
    taken = []
    monkeypatch.setattr(
        resampling, "scores_of", lambda scorer, rows: (taken.append(1) or s for s in scores_of(scorer, rows))
    )
    with pytest.raises(InferenceError, match="copies"):
        bootstrap(X, Y, "cca", resamples=10**6)
    assert len(taken) == 100


@pytest.mark.filterwarnings("ignore:mutual_information")
@pytest.mark.parametrize("spec", ["cca", "cca(summary=rho)", "cca(summary=pillai)", "mutual_information"])
@pytest.mark.parametrize(
    ("n", "p", "given"), [(60, 6, np.float64), (60, 6, np.float32), (12, 5, np.float64), (60, 40, np.float64)], ids=str
)
def test_spaces_of_some_of_the_examples(spec, n, p, given):
    """From products of the bases of all examples; where these do not tell, from the examples."""
    rng = np.random.default_rng(1)
    X, Y = (a.astype(given) for a in pair(n, p, 4))
    Z = np.concatenate([X[:, :2], X[:, :1], np.full((n, 1), 3.0)], axis=1).astype(given)  # of rank 2
    subsets = [rng.integers(0, n, n) for _ in range(30)] + [np.delete(np.arange(n), [3, 4])]
    scorer = scorer_of({"x": X, "z": Z}, {"y": Y}, spec, {})
    found = [np.asarray(score) for score in scores_of(scorer, iter(subsets))]
    for rows, score in zip(subsets, found, strict=True):
        expected = simkit.pairwise({"x": X[rows], "z": Z[rows]}, {"y": Y[rows]}, spec).to_numpy()
        np.testing.assert_allclose(score, expected, rtol=1e-10 if given is np.float64 else 1e-6)
    counts = [np.bincount(rows, minlength=n) for rows in subsets]
    quickly = _of_bases(scorer)
    taken = 0 if quickly is None else sum(quickly(count) is not None for count in counts)
    assert {60: taken == 31 or p == 40, 12: 0 < taken < 31}[n]


def test_a_doubtful_rank_is_found_anew():
    """A direction of the size of rounding may count in some resamples and not in others."""
    X, Y = pair(60, 6, 4)
    X[:, 5] = X[:, 4] + 1e-7 * X[:, 5]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        assert _of_bases(scorer_of(X.astype(np.float32), Y.astype(np.float32), "cca", {})) is None
    assert _of_bases(scorer_of(X, Y, "cca", {})) is not None
    assert _of_bases(scorer_of(X, Y, "svcca", {})) is None
    assert _of_bases(scorer_of(X, Y, "procrustes", {})) is None


def test_too_large_for_weights():
    X = np.random.default_rng(0).standard_normal((11_000, 2))
    with pytest.raises(InferenceError, match=r"n = 11000.*simkit.interval\(X, Y, \"cka\"\)"):
        bootstrap(X, X + 1, rng=0)
    assert interval(X, X + X[::-1], "cka").standard_error > 0


def test_an_index_that_looks_at_more_than_hsics_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Rows(simkit.indexes.CKA):
        name = "rows_of_gram"

        def from_sums(self, xy, xx, yy):
            return super().from_sums(xy, xx, yy) + xy.rows / xy.n

    X, Y = pair(30, 3, 4)
    with pytest.raises(InferenceError, match="from_sums"):
        bootstrap(X, Y, Rows(estimator="unbiased"), resamples=10, rng=0)
    groups = np.arange(30) // 3
    found = jackknife(X, Y, Rows(estimator="unbiased"), groups=groups)
    kept = [groups != g for g in range(10)]
    np.testing.assert_allclose(found.distribution, [Rows(estimator="unbiased")(X[k], Y[k]) for k in kept])


def test_equal_layers():
    X = pair(30, 3, 4)[0]
    for method in ("percentile", "basic", "bca"):
        for spec in ("cka", "cka(estimator=unbiased)", "procrustes"):
            assert bootstrap(X, 2 * X, spec, resamples=50, method=method, rng=0).interval == pytest.approx((1, 1))


def test_an_interval_that_misses_its_score_says_so():
    X, Y = pair(20, 3, 4)
    with pytest.warns(InferenceWarning, match="misses the score itself.*only 1 resamples: take 200 or more"):
        bootstrap(X, Y, resamples=1, method="percentile", rng=0)


def test_resamples_without_a_score_are_left_out():
    X, Y = pair(6, 2, 2)
    with pytest.warns(ConstantInputWarning, match="resamples of X and Y is undefined"):
        result = bootstrap(X, Y, "cka(estimator=unbiased)", method="percentile", resamples=200, rng=0)
    assert np.isnan(result.distribution).any()
    assert np.isfinite(result.interval).all()
    with pytest.raises(InferenceError, match="no resample"):
        bootstrap(X, Y, "cka(estimator=unbiased)", method="percentile", resamples=1, rng=3)


def test_intervals_of_layers_that_depend_on_each_other():
    """Their interval was nan, whatever the method."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 64))
    Y = X @ rng.standard_normal((64, 32)) + rng.standard_normal((500, 32))
    for method in ("percentile", "basic", "bca"):
        result = bootstrap(X, Y, "cka", method=method, rng=0)
        assert result.interval.low < result.score < result.interval.high
        assert result.interval == pytest.approx(interval(X, Y, "cka").interval, abs=0.002)


# --- interval --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", list(simkit.list_indexes()), ids=str)
def test_every_index_has_an_interval(entry):
    index = get_index(entry)
    size = index.facts.group
    n = max(24, index.facts.min_examples + 4) if size == 1 else 12 * size
    subsamples = 20 if entry.distribution != "simkit-similarity" else 200
    for shape in ((n, 5, 5), (n, 12, 12)):
        X, Y = pair(*shape, noise=1.0)
        groups = None if size == 1 else np.arange(n) // size
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if str(entry) == "mutual_information" and sum(shape[1:]) >= n - 1:  # of Gaussians: infinite
                continue
            result = interval(X, Y, index, groups=groups, subsamples=subsamples)
        low, high = result.interval
        bottom, top = index.facts.range
        assert np.isfinite([low, high, result.standard_error]).all()
        assert bottom - 1e-9 <= low <= result.score <= high <= top + 1e-9
        assert result.score == pytest.approx(float(index(X, Y)), rel=1e-6, abs=1e-9)
        assert low < high or any(issubclass(w.category, InferenceWarning) for w in caught)
        assert result.index == str(index)
        assert "\n" not in str(result)


@pytest.mark.parametrize("spec", HSIC_FAMILY)
def test_interval_of_hsic_sums_is_the_jackknife(spec):
    """With Student's quantile, cut to the range; a bandwidth stays that of all examples."""
    X, Y = pair(20, 5, 4)
    index, found = get_index(spec), interval(X, Y, spec, confidence=0.9)
    if found.method == "jackknife":
        expected = jackknife(X, Y, spec).distribution
    else:
        assert found.method == "jackknife, bandwidth as of all examples"
        fixed = [by_fixed_bandwidth(np.delete(X, i, axis=0), np.delete(Y, i, axis=0), X, Y, index) for i in range(20)]
        expected = np.array(fixed)
    np.testing.assert_allclose(found.distribution, expected, rtol=1e-9)
    error = math.sqrt(19 / 20 * np.sum((expected - expected.mean()) ** 2))
    reach = scipy.stats.t.ppf(0.95, 19) * error
    low, high = index.facts.range
    assert found.standard_error == pytest.approx(error, rel=1e-6)
    bounds = (max(low, found.score - reach), min(high, found.score + reach))
    assert found.interval == pytest.approx(bounds, rel=1e-6, abs=1e-9)


def by_fixed_bandwidth(x, y, X, Y, index):
    """CKA of some examples with the median distances of all."""
    H = np.eye(len(x)) - 1 / len(x)
    grams = []
    for part, whole in ((x, X), (y, Y)):
        sigma = np.median(scipy.spatial.distance.pdist(whole))
        distances = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(part, "sqeuclidean"))
        grams.append(H @ np.exp(-distances / (2 * sigma**2)) @ H)
    assert (index.name, index.estimator) == ("cka", "biased")
    K, L = grams
    return np.sum(K * L) / np.sqrt(np.sum(K * K) * np.sum(L * L))


@pytest.mark.parametrize("spec", ["cca", "procrustes"])
@pytest.mark.parametrize(("m", "d"), [(40, 1), (41, 2)])
def test_smooth_indexes_leave_out_blocks_in_turn(spec, m, d):
    X, Y = pair(m, 3, 4)
    result = interval(X, Y, spec, subsamples=40)
    B = m // d
    assert len(result.distribution) == B
    assert result.method == ("jackknife" if d == 1 else "delete-2 jackknife, 20 subsamples")
    expected = math.sqrt((m - d) / d / B * np.sum((result.distribution - result.distribution.mean()) ** 2))
    assert result.standard_error == pytest.approx(expected)
    if d == 1:
        np.testing.assert_allclose(result.distribution, jackknife(X, Y, spec).distribution)
    else:
        order = np.random.default_rng(0).permutation(m)
        kept = [np.setdiff1d(np.arange(m), order[i : i + 2]) for i in range(0, m - 1, 2)]
        np.testing.assert_allclose(result.distribution, [simkit.compare(X[k], Y[k], spec) for k in kept])


def test_the_delete_d_jackknife_of_a_mean_is_exact():
    """Over all subsets the scaled variance of a mean is s^2 / n (Shao & Wu 1989); over random ones nearly."""

    @dataclasses.dataclass(frozen=True)
    class Mean(simkit.Index):
        name = "mean_of_products"

        @property
        def facts(self):
            kept = simkit.properties.Invariances.both()
            return simkit.properties.Facts(
                symmetric=True, range=(-math.inf, math.inf), invariances=kept, statistic="examples"
            )

        def prepare(self, representation):
            return representation.features

        def score(self, x, y):
            return np.mean(x * y)

    X, Y = pair(100, 1, 1)
    result = interval(X, Y, Mean(), subsamples=4000)
    assert result.method == "delete-10 jackknife, 4000 subsamples"
    assert result.standard_error == pytest.approx(np.std(X * Y, ddof=1) / 10, rel=0.03)
    counted = np.zeros(100)
    from simkit.inference.intervals import _balanced

    for subset in _balanced(np.random.default_rng(0), 100, 10, 200):
        assert len(set(subset)) == 10
        counted[subset] += 1
    assert (counted == 20).all()


def test_groups_are_left_out_together():
    X, Y = pair(60, 3, 4)
    groups = np.array(list("abcdef") * 10)
    for spec in ("cka", "cka(estimator=unbiased)", "cca"):
        found = interval(X, Y, spec, groups=groups)
        expected = [simkit.compare(X[groups != g], Y[groups != g], spec) for g in "abcdef"]
        np.testing.assert_allclose(found.distribution, expected, rtol=1e-9)
        assert (found.groups, found.n) == (6, 60)
        low, high = found.interval
        reach = scipy.stats.t.ppf(0.975, 5) * found.standard_error
        assert low == pytest.approx(max(found.score - reach, 0 if spec != "cka(estimator=unbiased)" else -1))
        assert high == pytest.approx(min(found.score + reach, 1))


def test_students_quantile():
    for freedom in (1, 2, 3, 4, 5, 10, 29, 100, 199, 200, 201, 1000, 10**6):
        for probability in (0.75, 0.95, 0.975, 0.999):
            assert t_quantile(probability, freedom) == pytest.approx(scipy.stats.t.ppf(probability, freedom), rel=1e-6)


def test_estimand():
    X, Y = pair(40, 3, 4)
    for spec in ("cka(estimator=unbiased)", "hsic(estimator=unbiased)", "cka(kernel=rbf, estimator=minibatch)"):
        assert interval(X, Y, spec).estimand == "the population's value"
    for spec in ("cka", "cka(estimator=lange)", "cca", "rsa"):
        assert interval(X, Y, spec).estimand == "the mean score of samples of 40"
        assert str(interval(X, Y, spec)).endswith("for the mean score of samples of 40)")
    for spec in ("cka(estimator=unbiased)", "cca"):  # pairs of examples of one group are no pairs at random
        assert interval(X, Y, spec, groups=np.arange(40) // 4).estimand == "the mean score of samples of 10 groups"


def test_pairs_of_one_group_raise_the_unbiased_score():
    """Why an interval with groups is not for the population's value: the mean of the score is above it."""
    scores, truth = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shared = rng.standard_normal((20, 5))
        X, Y = (np.repeat(shared + rng.standard_normal((20, 5)), 15, axis=0) for _ in "xy")
        X, Y = (layer + 0.3 * rng.standard_normal(layer.shape) for layer in (X, Y))
        scores.append(simkit.compare(X, Y, "cka(estimator=unbiased)"))
        truth.append(simkit.compare(X[::15], Y[::15], "cka(estimator=unbiased)"))  # one view of each: independent examples
    error = np.hypot(np.std(scores), np.std(truth)) / np.sqrt(len(scores))
    assert np.mean(scores) - np.mean(truth) > 5 * error


def test_an_interval_that_is_a_point_says_so():
    X, Y = pair(20, 30, 30)
    with pytest.warns(InferenceWarning, match="too few examples"):
        assert interval(X, Y, "cca").interval == pytest.approx((1, 1))


def test_no_interval_without_a_score():
    X, Y = pair(20, 12, 12)
    with pytest.raises(InferenceError, match="is inf"):
        interval(X, Y, "mutual_information")
    X, Y = pair(20, 10, 9)
    with pytest.raises(InferenceError, match=r"without 1 of 20 examples.*too few examples"):
        interval(X, Y, "mutual_information")


def test_float32_layers_keep_their_rank():
    """Rounding of what was given in float32 is no direction, though the interval is computed in float64."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((60, 3)) @ rng.standard_normal((3, 20))).astype(np.float32)
    Y = X[:, :3] @ rng.standard_normal((3, 3)).astype(np.float32)
    with pytest.warns(InferenceWarning):
        result = interval(X, Y, "cca")
    assert result.score == pytest.approx(float(simkit.compare(X, Y, "cca")), abs=1e-5)


COVERED = {
    "cka(estimator=unbiased)": [(50, 8), (40, 80)],
    "cka": [(50, 8), (40, 80)],
    "cka(kernel=rbf)": [(50, 8)],
    "procrustes": [(50, 8)],
    "mutual_knn(k=5)": [(50, 8)],
}


@pytest.mark.parametrize(("spec", "shape"), [(s, shape) for s, shapes in COVERED.items() for shape in shapes])
def test_coverage(spec, shape):
    """Of 95 % intervals nearly all hold what they are for; docs/topics/intervals.md has the measured table."""
    n, p = shape
    rng = np.random.default_rng(1)

    def sample():
        X = rng.standard_normal((n, p))
        return X, X + rng.standard_normal((n, p))

    unbiased = "unbiased" in spec
    truth = 0.5 if unbiased else np.mean([simkit.compare(*sample(), spec) for _ in range(400)])
    samples = [sample() for _ in range(60)]
    ways = [lambda X, Y: interval(X, Y, spec, subsamples=60)]
    if spec.startswith("cka"):
        ways += [
            lambda X, Y, m=m: bootstrap(X, Y, spec, resamples=150, method=m, rng=rng) for m in ("percentile", "basic", "bca")
        ]
    for way in ways:
        hits = sum(low <= truth <= high for low, high in (way(*layers).interval for layers in samples))
        assert hits >= 52  # 4 standard deviations below 95 %


# --- noise ceiling ---------------------------------------------------------------------------------------------------------


def subjects(seed=0, m=4):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((12, 6))
    return [Z @ rng.standard_normal((6, 8)) + 0.8 * rng.standard_normal((12, 8)) for _ in range(m)]


RDM_SCALINGS = {
    "pearson": lambda d: (d - d.mean()) / d.std(),
    "spearman": scipy.stats.rankdata,
    "kendall": scipy.stats.rankdata,
    "cosine": lambda d: d / np.sqrt(np.mean(d**2)),
    "whitened_cosine": lambda d: d / np.sqrt(np.mean(d**2)),
}


def compare_rdms(d, e, comparison):
    if comparison == "pearson":
        return np.corrcoef(d, e)[0, 1]
    if comparison == "spearman":
        return np.corrcoef(scipy.stats.rankdata(d), scipy.stats.rankdata(e))[0, 1]
    if comparison == "kendall":
        i, j = np.triu_indices(len(d), 1)
        return np.mean(np.sign(d[i] - d[j]) * np.sign(e[i] - e[j]))
    if comparison == "whitened_cosine":
        H = np.eye(12) - 1 / 12

        def centred(d):
            D = np.zeros((12, 12))
            D[np.triu_indices(12, 1)] = d
            return (H @ (D + D.T) @ H).ravel()

        d, e = centred(d), centred(e)
    return d @ e / np.sqrt((d @ d) * (e @ e))


@pytest.mark.parametrize("comparison", list(RDM_SCALINGS))
def test_noise_ceiling_of_rdms(backend, comparison):
    """As rsatoolbox: RDMs scaled for the comparison, averaged over all subjects or over the others."""
    data = subjects()
    rdms = [scipy.spatial.distance.pdist(X, "correlation") for X in data]
    scale = RDM_SCALINGS[comparison]
    upper = [compare_rdms(np.mean([scale(e) for e in rdms], axis=0), d, comparison) for d in rdms]
    lower = [
        compare_rdms(np.mean([scale(e) for j, e in enumerate(rdms) if j != i], axis=0), d, comparison)
        for i, d in enumerate(rdms)
    ]
    result = noise_ceiling([backend.asarray(X) for X in data], "rsa", comparison=comparison)
    np.testing.assert_allclose(result.upper_each, upper, rtol=1e-9)
    np.testing.assert_allclose(result.lower_each, lower, rtol=1e-9)
    assert (result.lower, result.upper) == pytest.approx((np.mean(lower), np.mean(upper)))
    assert result.lower < result.upper


def test_noise_ceiling_of_cka():
    data = [X - X.mean(axis=0) for X in subjects(m=5)]
    grams = [X @ X.T / np.linalg.norm(X @ X.T) for X in data]

    def mean_cka(K):
        return np.mean([np.sum(K * G) / np.linalg.norm(K) for G in grams])

    result = noise_ceiling({str(i): X for i, X in enumerate(data)}, "cka")
    assert result.upper == pytest.approx(mean_cka(sum(grams)))
    lower = [np.sum((sum(grams) - G) * G) / np.linalg.norm(sum(grams) - G) for G in grams]
    np.testing.assert_allclose(result.lower_each, lower)
    rng = np.random.default_rng(0)
    for _ in range(100):  # nothing is more similar to all of them
        X = np.concatenate([rng.uniform(0, 2) * X for X in data], axis=1) + 0.1 * rng.standard_normal((12, 40))
        X = X - X.mean(axis=0)
        assert mean_cka(X @ X.T) <= result.upper + 1e-12


# --- all of them -----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::simkit.errors.InferenceWarning")  # 20 resamples
@pytest.mark.parametrize(
    ("function", "parameters", "index"),
    [
        *((bootstrap, {"resamples": 20, "rng": 0, "method": "basic"}, i) for i in ("cka", "cka(estimator=unbiased)")),
        *((permutation_test, {"permutations": 20, "rng": 0}, i) for i in ("cka", "procrustes", "rsa")),
        *((jackknife, {}, i) for i in ("cka", "procrustes", "rsa")),
        *((interval, {"subsamples": 20}, i) for i in ("cka", "procrustes", "rsa")),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_on_every_array_library(backend, function, parameters, index):
    X, Y = pair(30, 3, 4)
    x, y = backend.asarray(X), backend.asarray(Y)
    expected, result = function(X, Y, index, **parameters), function(x, y, index, **parameters)
    assert isinstance(result.distribution, np.ndarray)
    np.testing.assert_allclose(result.distribution, expected.distribution, rtol=1e-8, atol=1e-10)
    half = function(backend.asarray(X, dtype="float32"), backend.asarray(Y, dtype="float32"), index, **parameters)
    assert half.score == pytest.approx(expected.score, rel=1e-4)


def test_seeds():
    X, Y = pair(20, 3, 4)
    functions = (
        (bootstrap, {"resamples": 50, "method": "basic"}),
        (permutation_test, {"permutations": 5}),
        (interval, {"index": "rsa", "subsamples": 20}),
    )
    for function, parameters in functions:
        first, again = (function(X, Y, rng=7, **parameters).distribution for _ in range(2))
        np.testing.assert_array_equal(first, again)
        other = function(X, Y, rng=np.random.default_rng(8), **parameters).distribution
        assert np.any(first != other)


def test_public_names():
    assert simkit.bootstrap is bootstrap
    assert simkit.permutation_test is permutation_test
    assert simkit.jackknife is jackknife
    assert simkit.interval is interval
    assert simkit.inference.noise_ceiling is noise_ceiling


def test_results_print():
    X, Y = pair(20, 3, 4)
    assert str(permutation_test(X, Y, permutations=9, rng=0)).startswith("cka: ")
    assert "+-" in str(jackknife(X, Y))
    assert "95 %" in str(bootstrap(X, Y, resamples=50, rng=0))
    assert "noise ceiling" in str(noise_ceiling([X, Y]))
    assert "distribution" not in repr(jackknife(X, Y))


def test_gradients_are_not_tracked():
    torch = pytest.importorskip("torch")
    x, y = (torch.tensor(layer, requires_grad=True) for layer in pair(20, 3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert permutation_test(x, y, permutations=5, rng=0).p_value > 0


@pytest.mark.parametrize("function", [bootstrap, permutation_test, jackknife, interval])
def test_bad_input(function):
    X, Y = pair(20, 3, 4)
    with pytest.raises(InvalidArrayError, match="constant"):
        function(np.ones((20, 3)), Y)
    with pytest.raises(InvalidArrayError, match="nan or inf"):
        function(np.where(X > 1, np.nan, X), Y)
    with pytest.raises(InvalidArrayError, match="20 and 19 examples"):
        function(X, Y[1:])
    with pytest.raises(SpecError, match="no parameter"):
        function(X, Y, "cka", kernl="rbf")
    da = pytest.importorskip("dask.array")
    with pytest.raises(NeedsAllExamplesError, match="compute"):
        function(da.from_array(X), da.from_array(Y))


def test_bad_parameters():
    X, Y = pair(20, 3, 4)
    for call in (
        lambda: bootstrap(X, Y, resamples=0),
        lambda: bootstrap(X, Y, confidence=1),
        lambda: bootstrap(X, Y, method="BCA"),
        lambda: permutation_test(X, Y, permutations=2.5),
        lambda: permutation_test(X, Y, alternative="bigger"),
        lambda: jackknife(X, Y, confidence=95),
        lambda: interval(X, Y, confidence=0),
        lambda: interval(X, Y, subsamples=1),
    ):
        with pytest.raises(SpecError, match="expected"):
            call()
    for call in (
        lambda: jackknife(X, Y, groups=[1, 2, 3]),
        lambda: interval(X, Y, groups=np.zeros(20)),
        lambda: interval(X, Y, "cka(estimator=unbiased)", groups=[0] * 17 + [1] * 3),
        lambda: interval(X[:4], Y[:4], "cka(estimator=unbiased)"),
        lambda: bootstrap(X, Y, groups=np.zeros(20)),
        lambda: jackknife(X, Y, "cka(estimator=unbiased)", groups=[0] * 17 + [1] * 3),
        lambda: jackknife(X[:4], Y[:4], "cka(estimator=unbiased)"),
        lambda: noise_ceiling([X]),
        lambda: noise_ceiling([X, Y[1:]]),
    ):
        with pytest.raises(InvalidArrayError):
            call()


# --- many layers at once ---------------------------------------------------------------------------------------------------

ROWS = {"a": pair(40, 4, 3)[0], "b": pair(40, 4, 3, seed=1)[0] + pair(40, 4, 3)[0]}
COLUMNS = {"c": pair(40, 4, 3)[1], "d": pair(40, 4, 6)[1], "e": pair(40, 4, 5, seed=1)[1]}
OF_LAYERS = {
    "interval": lambda *a: interval(*a, subsamples=10),
    "groups": lambda *a: interval(*a, groups=np.arange(40) // 4),
    "jackknife": jackknife,
    "bootstrap": lambda *a: bootstrap(*a, resamples=60, rng=3),
    "permutation test": lambda *a: permutation_test(*a, permutations=20, rng=3),
}


@pytest.mark.filterwarnings("ignore::simkit.errors.InferenceWarning")  # few resamples
@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf, estimator=unbiased)", "hsic", "procrustes", "mutual_knn(k=5)"])
@pytest.mark.parametrize("name", OF_LAYERS)
def test_all_pairs_are_the_pairs(name, spec):
    """The same examples are drawn, left out or permuted for all pairs, as for each of them alone."""
    if name == "bootstrap" and spec.startswith(("procrustes", "mutual_knn")):
        pytest.skip("refused for so few examples")
    together = OF_LAYERS[name](ROWS, COLUMNS, spec)
    assert (together.rows, together.columns, together.score.shape) == (("a", "b"), ("c", "d", "e"), (2, 3))
    assert together.distribution.shape[1:] == (2, 3)
    assert len(str(together).splitlines()) == 6
    for row, X in ROWS.items():
        for column, Y in COLUMNS.items():
            alone, found = OF_LAYERS[name](X, Y, spec), together[row, column]
            np.testing.assert_allclose(found.distribution, alone.distribution, rtol=1e-9, atol=1e-12)
            for item in dataclasses.fields(alone):
                if item.name != "distribution":
                    expected = getattr(alone, item.name)
                    value = getattr(found, item.name)
                    assert type(value) is type(expected)
                    if not isinstance(expected, float | tuple) or item.name in ("rows", "columns"):
                        assert value == expected
                    else:
                        assert value == pytest.approx(expected, rel=1e-6, abs=1e-12)
            assert f"{row}, {column}: {found}" in str(together)


def test_layers_and_themselves():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a layer is like itself is no news
        found = interval(ROWS, ROWS, "cka")
    assert found.score == pytest.approx(np.asarray(simkit.pairwise(ROWS, index="cka")))
    np.testing.assert_allclose(found.standard_error, found.standard_error.T, atol=1e-12)
    assert found["a", "a"].interval == pytest.approx((1, 1))
    assert found.interval.low[0, 1] < found.score[0, 1] < found.interval.high[0, 1]
    with pytest.raises(KeyError, match="there are the rows a, b"):
        found["a", "x"]


def test_many_layers_are_weighted_pair_by_pair(monkeypatch):
    expected = bootstrap(ROWS, COLUMNS, resamples=30, method="percentile", rng=0)
    monkeypatch.setattr("simkit.inference.scorer.MEMORY", get_index("cka").bytes_resampled(40, 3))
    found = bootstrap(ROWS, COLUMNS, resamples=30, method="percentile", rng=0)
    np.testing.assert_allclose(found.distribution, expected.distribution, rtol=1e-12)
    monkeypatch.setattr("simkit.inference.scorer.MEMORY", get_index("cka").bytes_resampled(40, 1))
    with pytest.raises(InferenceError, match="n x n matrices"):
        bootstrap(ROWS, COLUMNS, resamples=30)


def test_a_layer_that_is_constant_in_a_subsample():
    """Its scores are undefined, those of the other layers are not."""
    spike = np.zeros((40, 1))
    spike[7] = 1.0
    layers = {"spike": spike, "a": ROWS["a"]}
    found = jackknife(layers, COLUMNS, "procrustes")
    assert np.isnan(found.distribution[7, 0]).all()
    assert np.isfinite(np.delete(found.distribution, 7, axis=0)).all()
    assert np.isfinite(found.distribution[:, 1]).all()
    with_itself = jackknife(layers, layers, "procrustes").distribution
    np.testing.assert_array_equal(np.isnan(with_itself[7]), [[True, True], [True, False]])
    assert with_itself[7, 1, 1] == pytest.approx(1)


def test_bad_layers():
    for call, message in (
        (lambda: interval(ROWS, COLUMNS["c"]), "X is several layers and Y is not"),
        (lambda: interval(ROWS["a"], COLUMNS), "Y is several layers and X is not"),
        (lambda: permutation_test(ROWS, {}), "B is empty"),
        (lambda: jackknife(ROWS, {"c": COLUMNS["c"][1:]}), r"B\['c'\] .*40 and 39 examples"),
        (lambda: bootstrap({"a": np.ones((40, 2))}, COLUMNS), r"A\['a'\] is constant"),
    ):
        with pytest.raises(InvalidArrayError, match=message):
            call()
