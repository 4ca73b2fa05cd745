"""Bootstrap, permutation test, jackknife and noise ceiling against SciPy, direct loops and what they promise."""

from __future__ import annotations

import inspect
import itertools
import math
import warnings

import numpy as np
import pytest
import scipy.stats
from data import OWN_INDEXES, pair

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError, NeedsAllExamplesError, SpecError
from simkit.inference import bootstrap, jackknife, noise_ceiling, permutation_test
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
        assert hasattr(state, "permuted"), spec


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
    assert result.bias == pytest.approx((n - 1) * (expected.mean() - score), rel=1e-6, abs=1e-11)
    assert result.interval == pytest.approx((score - 1.959964 * error, score + 1.959964 * error), rel=1e-6, abs=1e-9)


def test_unbiased_hsic_has_no_bias():
    """A U-statistic is the mean of itself without each example."""
    X, Y = pair(20, 5, 4)
    assert jackknife(X, Y, "hsic(estimator=unbiased)").bias == pytest.approx(0, abs=1e-11)
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


@pytest.mark.parametrize("method", ["percentile", "basic", "bca"])
@pytest.mark.parametrize("spec", ["cka", "cka(estimator=unbiased)", "procrustes"])
def test_bootstrap_is_scipys(spec, method):
    X, Y = pair(31, 3, 4)

    def statistic(rows):
        return simkit.compare(X[rows], Y[rows], spec)

    seed = "rng" if "rng" in inspect.signature(scipy.stats.bootstrap).parameters else "random_state"
    expected = scipy.stats.bootstrap(
        (np.arange(31),),
        statistic,
        n_resamples=200,
        vectorized=False,
        confidence_level=0.9,
        method={"bca": "BCa"}.get(method, method),
        **{seed: np.random.default_rng(5)},
    )
    result = bootstrap(X, Y, spec, resamples=200, confidence=0.9, method=method, rng=5)
    np.testing.assert_allclose(result.distribution, expected.bootstrap_distribution, rtol=1e-12)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval), rel=1e-9)
    assert result.standard_error == pytest.approx(expected.standard_error)
    assert result.bias == pytest.approx(result.distribution.mean() - result.score)
    assert result.score == pytest.approx(float(simkit.compare(X, Y, spec)))
    assert (result.method, result.confidence, result.n, result.index) == (method, 0.9, 31, spec)


def test_groups_are_drawn_together():
    X, Y = pair(30, 3, 4)
    groups = np.repeat(np.arange(6), 5)
    result = bootstrap(X, Y, resamples=20, groups=groups, method="percentile", rng=1)
    draws = np.random.default_rng(1).integers(0, 6, (20, 6))
    rows = [np.concatenate([np.flatnonzero(groups == g) for g in draw]) for draw in draws]
    np.testing.assert_allclose(result.distribution, [simkit.compare(X[r], Y[r]) for r in rows])
    assert result.groups == 6
    dependent = [np.repeat(layer[:6], 5, axis=0) + 0.01 * layer for layer in (X, Y)]  # five near copies of each
    single, together = (bootstrap(*dependent, resamples=200, groups=g, rng=0).standard_error for g in (None, groups))
    assert together > 1.3 * single


def test_coverage():
    """Of 90 % intervals of the unbiased estimator, about 90 % hold the score of very many examples."""
    rng = np.random.default_rng(1)
    mixing = rng.standard_normal((3, 4))

    def sample(n):
        Z = rng.standard_normal((n, 3))
        return Z + 0.5 * rng.standard_normal((n, 3)), Z @ mixing + rng.standard_normal((n, 4))

    truth = float(simkit.compare(*sample(400_000)))
    hits = 0
    for _ in range(60):
        low, high = bootstrap(*sample(80), "cka(estimator=unbiased)", resamples=150, confidence=0.9, rng=rng).interval
        hits += low <= truth <= high
    assert 0.8 <= hits / 60 <= 0.98


def test_resamples_without_a_score_are_left_out():
    X = np.array([[0.0], [0.0], [0.0], [1.0]])
    with pytest.warns(ConstantInputWarning, match="resamples is undefined"):
        result = bootstrap(X, X + 1, method="percentile", resamples=100, rng=0)
    assert np.isnan(result.distribution).any()
    assert result.interval == pytest.approx((1, 1))


def test_bca_says_why_it_has_no_interval():
    rng = np.random.default_rng(0)
    with pytest.warns(ConstantInputWarning, match="on one side"):
        result = bootstrap(*unrelated(rng, 40, 100, 100), resamples=50, rng=0)
    assert np.isnan(result.interval).all()
    assert result.bias > 0


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


def test_on_every_array_library(backend):
    X, Y = pair(20, 3, 4)
    x, y = backend.asarray(X), backend.asarray(Y)
    for function, parameters in (
        (bootstrap, {"resamples": 20, "rng": 0, "method": "percentile"}),
        (permutation_test, {"permutations": 20, "rng": 0}),
        (jackknife, {}),
    ):
        for index in ("cka", "cca", "rsa"):
            expected, result = function(X, Y, index, **parameters), function(x, y, index, **parameters)
            assert isinstance(result.distribution, np.ndarray)
            np.testing.assert_allclose(result.distribution, expected.distribution, rtol=1e-8, atol=1e-10)
            half = function(backend.asarray(X, dtype="float32"), backend.asarray(Y, dtype="float32"), index, **parameters)
            assert half.score == pytest.approx(expected.score, rel=1e-4)


def test_seeds():
    X, Y = pair(20, 3, 4)
    for function, parameters in ((bootstrap, {"resamples": 5, "method": "basic"}), (permutation_test, {"permutations": 5})):
        first, again = (function(X, Y, rng=7, **parameters).distribution for _ in range(2))
        np.testing.assert_array_equal(first, again)
        other = function(X, Y, rng=np.random.default_rng(8), **parameters).distribution
        assert np.any(first != other)


def test_public_names():
    assert simkit.bootstrap is bootstrap
    assert simkit.permutation_test is permutation_test
    assert simkit.jackknife is jackknife
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


@pytest.mark.parametrize("function", [bootstrap, permutation_test, jackknife])
def test_bad_input(function):
    X, Y = pair(20, 3, 4)
    with pytest.raises(InvalidArrayError, match="constant"), pytest.warns(ConstantInputWarning):
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
    ):
        with pytest.raises(SpecError, match="expected"):
            call()
    for call in (
        lambda: jackknife(X, Y, groups=[1, 2, 3]),
        lambda: bootstrap(X, Y, groups=np.zeros(20)),
        lambda: jackknife(X, Y, "cka(estimator=unbiased)", groups=[0] * 17 + [1] * 3),
        lambda: jackknife(X[:4], Y[:4], "cka(estimator=unbiased)"),
        lambda: noise_ceiling([X]),
        lambda: noise_ceiling([X, Y[1:]]),
    ):
        with pytest.raises(InvalidArrayError):
            call()
