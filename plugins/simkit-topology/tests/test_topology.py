"""Each distance is its definition and passes simkit's conformance kit."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.sparse.csgraph import minimum_spanning_tree
from simkit_topology.intrinsic import graph_laplacian

import simkit
import simkit.testing
from simkit.errors import SpecError
from simkit.representation import Representation


@simkit.testing.parametrize("rtd", "rtd_lite", "imd")
def test_conformance(check):
    check()


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
COSTLY = ("compiled_by_torch", "gradient_in_jax")
AS_THE_DEFAULT = {} if THOROUGH else dict.fromkeys(COSTLY, "compiles as the default, for seconds")


@simkit.testing.parametrize("rtd(examples=15, draws=2)", "imd(k=3, vectors=4)", "imd(form=code)", skip=AS_THE_DEFAULT)
def test_conformance_of_variants(check):
    check()


def pair(n=9, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    return x, np.tanh(2 * x) @ rng.standard_normal((2, 3)) + 0.3 * rng.standard_normal((n, 3))


def distances(x, form="paper"):
    w = np.linalg.norm(x[:, None] - x[None], axis=2)
    return w / np.quantile(w[np.triu_indices(len(x), 1)] if form == "paper" else w, 0.9)


def rank_over_two_elements(columns):
    """Of a matrix given by the sets of rows where its columns are 1."""
    pivots = {}
    for column in columns:
        while column and max(column) in pivots:
            column = column ^ pivots[max(column)]
        if column:
            pivots[max(column)] = column
    return len(pivots)


def loops(w, v, t):
    """dim H_1(R_t(min(w, v)), R_t(w)): chains are the simplices of the first that the second has not."""

    def diameter(weights, simplex):
        return max((weights[edge] for edge in itertools.combinations(simplex, 2)), default=0.0)

    chains = [
        [s for s in itertools.combinations(range(len(w)), size) if diameter(np.minimum(w, v), s) <= t < diameter(w, s)]
        for size in (1, 2, 3)
    ]
    boundaries = [
        [{tuple(face) for face in itertools.combinations(s, len(s) - 1)} & set(chains[size - 1]) for s in chains[size]]
        for size in (1, 2)
    ]
    return len(chains[1]) - rank_over_two_elements(boundaries[0]) - rank_over_two_elements(boundaries[1])


def divergence(w, v):
    """The sum of the lengths of bars is the integral of the number of bars."""
    scales = np.unique([0.0, *w.ravel(), *v.ravel()])
    return sum(loops(w, v, a) * (b - a) for a, b in itertools.pairwise(scales))


@pytest.mark.parametrize("form", ["paper", "code"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rtd_by_relative_homology(seed, form):
    x, y = pair(seed=seed)
    w, v = distances(x, form), distances(y, form)
    expected = (divergence(w, v) + divergence(v, w)) / 2
    assert expected > 0
    assert simkit.compare(x, y, "rtd", form=form) == pytest.approx(expected, rel=1e-9)


def components(w, t):
    label = list(range(len(w)))
    for i, j in itertools.combinations(range(len(w)), 2):
        if w[i, j] <= t:
            old, new = label[i], label[j]
            label = [new if each == old else each for each in label]
    return len(set(label))


@pytest.mark.parametrize("form", ["paper", "code"])
def test_rtd_lite_counts_components(form):
    """The difference of the numbers of components, over all scales."""
    x, y = pair(20)
    w, v = distances(x, form), distances(y, form)
    both = np.minimum(w, v)
    scales = np.unique([0.0, *w.ravel(), *v.ravel()])
    area = sum(
        (components(w, a) / 2 + components(v, a) / 2 - components(both, a)) * (b - a) for a, b in itertools.pairwise(scales)
    )
    assert simkit.compare(x, y, "rtd_lite", form=form) == pytest.approx(area, rel=1e-9)


def test_rtd_lite_of_equal_examples():
    """Edges of length 0 are edges."""
    x, y = pair(12)
    x[3] = x[5]
    assert simkit.compare(x, x, "rtd_lite") == 0
    assert simkit.compare(x, y, "rtd_lite") > 0


def test_a_layer_of_two_clusters_against_one():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((60, 3))
    two = one + np.repeat([[0.0], [20.0]], 30, axis=0)
    shuffled = one + rng.permutation(np.repeat([[0.0], [20.0]], 30, axis=0))
    for index in ("rtd", "rtd_lite"):
        same = simkit.compare(two, two @ np.diag([1, 1.1, 0.9]), index)
        assert same < simkit.compare(two, one, index)
        assert same < simkit.compare(two, shuffled, index)  # two clusters too, of other examples


def test_rtd_sees_that_a_circle_is_closed():
    """A circle and four fifths of one: one loop more, however many examples."""
    excess = []
    for n in (30, 60):
        angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
        circle, arc = (np.stack([np.cos(turn * angle), np.sin(turn * angle)], axis=1) for turn in (1.0, 0.8))
        excess.append(float(simkit.compare(circle, arc, "rtd")) - float(simkit.compare(circle, arc, "rtd_lite")))
    assert min(excess) > 0.2
    assert excess[0] == pytest.approx(excess[1], rel=0.1)


def test_rtd_averages_subsets():
    x, y = pair(30)
    whole = float(simkit.compare(x, y, "rtd"))
    rng = np.random.default_rng(3)
    rows = [rng.permutation(30)[:10] for _ in range(2)]
    expected = np.mean([float(simkit.compare(x[r], y[r], "rtd")) for r in rows])
    assert simkit.compare(x, y, "rtd(examples=10, draws=2, seed=3)") == pytest.approx(expected, rel=1e-9)
    assert simkit.compare(x, y, "rtd(examples=30)") == whole


def imd_by_definition(x, y, k):
    times, traces = np.logspace(-1, 1, 256), []
    for z in (x, y):
        w = np.linalg.norm(z[:, None] - z[None], axis=2)
        a = np.zeros_like(w)
        for i, row in enumerate(np.round(w, 9) + np.diag(np.full(len(z), np.inf))):
            last = np.sort(row)[k - 1]
            a[i, row < last] = 1.0
            a[i, row == last] = (k - np.sum(row < last)) / np.sum(row == last)
        a = np.maximum(a, a.T)
        root = np.diag(a.sum(axis=1) ** -0.5)
        traces.append([np.trace(expm(-t * (np.eye(len(z)) - root @ a @ root))) / len(z) for t in times])
    return np.max(np.exp(-2 * (times + 1 / times)) * np.abs(np.subtract(*traces)))


def test_imd_by_the_matrix_exponential():
    x, y = pair(25)
    for k in (3, 5):
        assert simkit.compare(x, y, "imd", k=k) == pytest.approx(imd_by_definition(x, y, k), rel=1e-9)
        assert simkit.compare(x, y, "imd", k=k, form="code") == pytest.approx(1e6 * imd_by_definition(x, y, k), rel=1e-9)


@pytest.mark.parametrize("kind", ["binary", "repeated", "grid"])
def test_imd_shares_places_among_neighbours_that_are_equally_near(kind):
    rng = np.random.default_rng(4)
    x, y = pair(40)
    if kind == "binary":
        x, y = (rng.standard_normal((40, p)) > 0.3 for p in (8, 7))
    elif kind == "repeated":
        rows = rng.integers(0, 12, 40)
        x, y = x[rows], y[rows]
    else:
        x = np.stack(np.meshgrid(np.arange(8), np.arange(5)), axis=-1).reshape(40, 2)
    x, y = x.astype(float), y.astype(float)
    expected = imd_by_definition(x, y, 5)
    assert simkit.compare(x, y, "imd") == pytest.approx(expected, rel=1e-7)
    for dtype, tolerance in ((np.float64, 1e-9), (np.float32, 1e-5)):
        for _ in range(3):
            order = rng.permutation(40)
            q = np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))[0]
            turned = ((x[order] @ q + 0.3) * 2.7).astype(dtype)
            again = simkit.compare(turned, y[order].astype(dtype), "imd")
            assert float(again) == pytest.approx(expected, rel=tolerance)


def test_heat_by_quadrature():
    n, vectors = 400, 100
    x = np.random.default_rng(0).standard_normal((n, 4))
    exact, near = (simkit.get_index(f"imd(vectors={m})").prepare(Representation(x)).heat for m in (0, vectors))
    np.testing.assert_allclose(near, exact, atol=4 * np.sqrt(2 / (n * vectors)))
    seeds = range(40)
    found = {
        form: [simkit.get_index("imd", vectors=5, seed=s, form=form).prepare(Representation(x)).heat for s in seeds]
        for form in ("paper", "code")
    }
    np.testing.assert_allclose(np.mean(found["code"], axis=0), exact, atol=4 * np.sqrt(2 / (n * 5 * len(seeds))))
    early = np.logspace(-1, 1, 256) < 1  # where the correction of the first order counts
    assert np.all(np.std(found["code"], axis=0)[early] < 0.7 * np.std(found["paper"], axis=0)[early])
    few = np.random.default_rng(1).standard_normal((8, 4))  # as many steps as examples: exact but for the vectors
    one = simkit.get_index("imd(k=3, vectors=1)").prepare(Representation(few)).heat
    v = np.random.default_rng(0).standard_normal(8)
    laplacian = graph_laplacian(few - few.mean(axis=0), 3).toarray()
    expected = [v @ expm(-t * laplacian) @ v / (v @ v) for t in np.logspace(-1, 1, 256)]
    np.testing.assert_allclose(one, expected, rtol=1e-10)


def test_imd_does_not_know_which_example_is_which():
    x, y = pair(30)
    order = np.random.default_rng(0).permutation(30)
    assert simkit.compare(x, y[order], "imd") == pytest.approx(float(simkit.compare(x, y, "imd")), rel=1e-9)


def test_bad_parameters():
    for spec in (
        "rtd(examples=2)",
        "rtd(draws=0)",
        "rtd(seed=-1)",
        "imd(k=0)",
        "imd(form=theirs)",
        "rtd(form=theirs)",
        "rtd_lite(form=theirs)",
        "imd(k=2.5)",
        "imd(vectors=-1)",
    ):
        with pytest.raises(SpecError):
            simkit.get_index(spec)


def test_whole_numbers_may_be_written_with_a_point():
    x, y = pair(30)
    for dotted, plain in (("rtd(examples=10.0, draws=2.0, seed=1.0)", "rtd(examples=10, draws=2, seed=1)"),
                          ("imd(k=3.0, vectors=2.0, seed=1.0)", "imd(k=3, vectors=2, seed=1)")):  # fmt: skip
        assert simkit.compare(x, y, dotted) == simkit.compare(x, y, plain)


def test_a_plugin_may_bring_a_heavy_dependency():
    """Listing imports nothing of it."""
    import subprocess
    import sys

    code = "import sys, simkit; print('rtd' in simkit.list_indexes(), simkit.get_index('rtd'), 'gudhi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "rtd", "False"]


@pytest.mark.parametrize("spec", ["rtd_lite", "rtd", "imd"])
def test_an_outlier_may_be_anywhere(spec):
    """It takes no digits of the other distances, as an origin that it has moved would."""
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((30, p)) for p in (8, 7))
    X[0] *= 1e8
    expected = float(simkit.compare(X, Y, spec))
    for row in (7, 29):
        order = np.roll(np.arange(30), row)
        assert float(simkit.compare(X[order], Y[order], spec)) == pytest.approx(expected, rel=1e-10)


def test_distances_beside_an_outlier():
    rng = np.random.default_rng(0)
    X, Y = (rng.standard_normal((30, p)) for p in (8, 7))
    X[0] *= 1e8

    def distances(Z):
        D = np.sqrt(((Z[:, None, :] - Z[None, :, :]) ** 2).sum(axis=2))
        return D / np.quantile(D[np.triu_indices(30, 1)], 0.9)

    def length(D):
        return minimum_spanning_tree(D).sum()

    w, v = distances(X), distances(Y)
    expected = (length(w) + length(v)) / 2 - length(np.minimum(w, v))
    assert float(simkit.compare(X, Y, "rtd_lite")) == pytest.approx(expected, rel=1e-10)
