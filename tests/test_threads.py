"""Work in threads of one BLAS thread each: what is shared out, what limits apply, and that they are as before afterwards."""

from __future__ import annotations

import importlib.util
import threading
import time

import numpy as np
import pytest
import threadpoolctl
from data import pair

import simkit
from simkit import threads
from simkit.inference import permutation_test
from simkit.scale import blocks
from simkit.statistics import median_distance
from simkit.statistics.values import ValueCheck
from simkit.threads import in_threads, one_blas_thread

HERE = np.zeros(1)


def limits():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture
def two(monkeypatch):
    """A process that may use two cores, and BLAS as many threads."""
    monkeypatch.setattr(threads, "_cores", lambda: 2)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if limits() != {2}:
            pytest.skip("threadpoolctl does not know the BLAS of NumPy")
        yield


def work(share):
    return list(share), limits(), threading.get_ident()


def test_the_items_are_shared_out_in_the_same_way_each_time(two):
    for _ in range(3):
        found = in_threads(work, range(7), HERE)
        assert [items for items, _, _ in found] == [[0, 2, 4, 6], [1, 3, 5]]
        assert [inside for _, inside, _ in found] == [{1}, {1}]
        assert limits() == {2}


def test_the_search_for_the_median_is_shared_out(two, monkeypatch):
    """Squared distances, kept or not, are known there by one of them, a number of NumPy."""
    shares = []

    def recorded(*given):
        found = in_threads(*given)
        shares.append(len(found))
        return found

    monkeypatch.setattr(median_distance, "in_threads", recorded)
    x = np.random.default_rng(0).standard_normal((1500, 3)).astype(np.float32)
    for kept in (median_distance.KEPT, 0):
        monkeypatch.setattr(blocks, "KEPT", kept)
        simkit.compare(x, x, "cka(kernel=rbf)", tiles="exact")
    assert len(shares) >= 4
    assert set(shares) == {2}


def test_no_more_threads_than_blas_may_use_or_items(two):
    here = threading.get_ident()
    assert in_threads(work, [5], HERE) == [([5], {2}, here)]
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert in_threads(work, range(4), HERE) == [([0, 1, 2, 3], {1}, here)]


def test_no_threads_for_other_libraries_or_without_threadpoolctl(two, monkeypatch):
    torch = pytest.importorskip("torch")
    here = threading.get_ident()
    assert in_threads(work, range(4), torch.zeros(1))[0][::2] == ([0, 1, 2, 3], here)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "threadpoolctl" else find(name))
    assert in_threads(work, range(4), HERE) == [([0, 1, 2, 3], {2}, here)]


def test_one_caller_at_a_time_changes_the_limits(two):
    """Another thread of the program, or a kernel that comes here itself, works alone meanwhile."""
    found = in_threads(lambda share: [len(in_threads(work, range(4), HERE)) for _ in share], range(4), HERE)
    assert found == [[1, 1], [1, 1]]
    assert limits() == {2}


def test_an_error_ends_the_other_threads_and_is_raised(two):
    seen = []

    def failing(share):
        for item in share:
            if item == 1:
                raise ValueError("item 1")
            seen.append(item)
            time.sleep(0.002)

    with pytest.raises(ValueError, match="item 1"):
        in_threads(failing, range(2000), HERE)
    assert len(seen) < 900  # of 1000
    assert limits() == {2}
    assert len(in_threads(work, range(4), HERE)) == 2


def test_numpy_is_silent_in_all_threads_where_it_is_in_this_one(two):
    with np.errstate(all="ignore"):
        assert in_threads(lambda _: np.geterr()["over"], range(2), HERE) == ["ignore", "ignore"]


@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf(fraction=0.4), estimator=unbiased)", "hsic(kernel=polynomial)"])
def test_scores_do_not_depend_on_threads(two, spec, monkeypatch):
    monkeypatch.setattr(blocks, "_SIDE", 16)
    X, Y = pair(120, 9, 7)
    found = simkit.compare(X, Y, spec, tiles="exact")
    assert found == simkit.compare(X, Y, spec, tiles="exact")
    assert found == pytest.approx(float(simkit.compare(X, Y, spec)), rel=1e-10)


@pytest.mark.parametrize("n", [10, 120])
def test_progress_is_told_twice_for_each_layer(two, n, monkeypatch):
    monkeypatch.setattr(blocks, "_SIDE", 16)
    layers, steps = dict(zip("xyz", (*pair(n, 9, 7), pair(n, 5, 4)[0]), strict=True)), []
    values, _ = ValueCheck.of(layers)
    sums = blocks.kernel_sums(simkit.get_kernel("rbf"), layers, values, advance=lambda: steps.append(1))
    assert len(steps) == 6
    assert (sums.names, sums.n) == (("x", "y", "z"), n)
    found = sums.scores(simkit.get_index("cka(kernel=rbf)"), ["z", "x"], ["y"])
    expected = [simkit.compare(layers[name], layers["y"], "cka(kernel=rbf)") for name in "zx"]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-10)


@pytest.mark.parametrize(
    "spec", ["cka", "cka(kernel=rbf)", "cka(kernel=rbf, estimator=unbiased)", "cca(summary=rho)", "rsa"]
)
def test_permutations_in_threads(two, spec):
    """Large enough to be shared out: in the order of the permutations, and the same each time."""
    X, Y = pair(300, 9, 7)
    result = permutation_test(X, Y, spec, permutations=40, rng=3)
    rng = np.random.default_rng(3)
    orders = [rng.permutation(300) for _ in range(40)]
    for b in (0, 1, 2, 33, 39):
        assert result.distribution[b] == pytest.approx(float(simkit.compare(X[orders[b]], Y, spec)), rel=1e-9), b
    np.testing.assert_array_equal(permutation_test(X, Y, spec, permutations=40, rng=3).distribution, result.distribution)


@pytest.mark.parametrize(
    ("shapes", "statistic", "within"),
    [
        ([(100, 60), (100, 40)], "moments", 1),
        ([(200, 3000)], "moments", 1),
        ([(2048, 512)], "moments", 2),  # work enough for two
        ([(100, 60), (2048, 512)], "moments", 2),
        ([(600, 10)], "examples", 1),
        ([(6000, 10)], "examples", 2),  # n x n
        ([(100, 60)], "hsic sums", 2),  # nothing is decomposed
        ([(20, 10)], "moments", 2),  # of which BLAS knows itself
    ],
)
def test_small_decompositions_get_one_thread_of_blas(two, shapes, statistic, within):
    with one_blas_thread([np.empty(shape) for shape in shapes], statistic):
        assert limits() == {within}
    assert limits() == {2}


def test_scores_and_resamples_of_small_layers_take_one_thread(two, monkeypatch):
    seen = set()

    class Watched(simkit.get_index("procrustes").__class__):
        def prepare(self, representation):
            seen.update(limits())
            return super().prepare(representation)

        def score(self, x, y):
            seen.update(limits())
            return super().score(x, y)

    X, Y = pair(60, 40, 40)
    simkit.pairwise({"x": X}, {"y": Y}, Watched())
    simkit.interval(X, Y, Watched(), subsamples=4, rng=0)
    permutation_test(X, Y, Watched(), permutations=4, rng=0)
    assert seen == {1}
