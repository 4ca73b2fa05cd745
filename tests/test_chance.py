"""What scores are by chance: the mean over all orders of the examples, whatever the statistic they come from."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pages
import pytest

import simkit
from simkit.errors import NeedsAllExamplesError
from simkit.inference import chance, permutation_test
from simkit.representation import Representation
from simkit.statistics.hsic_sums import ESTIMATORS

KERNELS = ("linear", "rbf(fraction=0.4)", "laplacian", "polynomial(degree=2, gamma=0.5, coef0=1)", "cosine", "distance")
KNOWN = [
    *(f"{name}(kernel={kernel}, estimator={how})" for name in ("cka", "hsic") for kernel in KERNELS for how in ESTIMATORS),
    "mmd",
    "mmd(estimator=unbiased)",
    "distance_correlation(squared=True)",
    "distance_correlation(estimator=unbiased)",
    "linear_regression",
    "cca",
    "cca(summary=pillai)",
    "svcca(threshold=0.8)",
    "pwcca(squared=True)",
    "pwcca(squared=True, weights=y)",
    *(
        f"canonical_ridge(kappa_x=0.7, kappa_y={kappa}, normalization={how})"
        for kappa in (0, 2)
        for how in ("trace", "cauchy_schwarz", "cka")
    ),
    *(f"rsa(comparison={how})" for how in ("pearson", "spearman", "kendall", "cosine", "whitened_cosine")),
]
UNKNOWN = (
    "distance_correlation",
    "cca(summary=rho)",
    "svcca(summary=rho)",
    "pwcca",
    "procrustes",
    "rsm_norm",
    "mutual_knn(k=2)",
)


def two(n, seed=0, p=(3, 9), q=(4, 2)):
    """Layers of two networks, the first of each related."""
    rng = np.random.default_rng(seed)
    a = {"a": rng.standard_normal((n, p[0])), "b": rng.standard_normal((n, p[1]))}
    b = {"c": a["a"] @ rng.standard_normal((p[0], q[0])), "d": 3 * rng.standard_normal((n, q[1])) + 1}
    return a, b


def unrelated(n, p, layers=4, seed=0):
    rng = np.random.default_rng(seed)
    return tuple({f"l{k}": rng.standard_normal((n, p)) for k in range(layers)} for _ in range(2))


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", simkit.ChanceWarning)
        yield


# --- the equation -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", KNOWN)
def test_chance_is_the_mean_over_all_orders(spec):
    a, b = two(5)
    index = simkit.get_index(spec)
    null = [
        simkit.pairwise({name: x[list(order)] for name, x in a.items()}, b, index).values
        for order in itertools.permutations(range(5))
    ]
    matrix = simkit.pairwise(a, b, index)
    size = np.max(np.abs(null))
    np.testing.assert_allclose(matrix.chance, np.mean(null, axis=0), atol=1e-12 * max(size, 1), rtol=1e-11)
    assert matrix.chance.dtype == matrix.values.dtype


@pytest.mark.parametrize(
    "spec", ["cka", "cka(estimator=lange)", "cka(kernel=rbf)", "linear_regression", "rsa(comparison=cosine)"]
)
def test_chance_of_more_examples_is_what_permutations_give(spec):
    a, b = two(80, p=(30, 60), q=(50, 20))
    null = permutation_test(a, b, spec, permutations=300, rng=0).distribution
    off = np.abs(simkit.pairwise(a, b, spec).chance - null.mean(axis=0))
    assert (off < 5 * null.std(axis=0) / math.sqrt(300)).all()


def test_unbiased_estimators_are_exactly_zero_by_chance():
    for how in ("unbiased", "minibatch"):
        assert not simkit.pairwise(*two(30), "cka", estimator=how).chance.any()


@pytest.mark.parametrize("spec", UNKNOWN)
def test_what_has_no_closed_form_says_so(spec):
    assert not simkit.get_index(spec).knows_chance
    assert simkit.pairwise(*two(12), spec).chance is None


def test_a_layer_with_itself_counts_as_one_with_a_permuted_copy():
    a, _ = two(40)
    np.testing.assert_allclose(simkit.pairwise(a).chance, simkit.pairwise(a, dict(a)).chance, rtol=1e-12)


@pytest.mark.parametrize("spec", ["cka(kernel=rbf)", "cka(kernel=rbf, estimator=lange)", "cka(estimator=lange)", "cca"])
def test_chance_does_not_depend_on_the_order(spec):
    index, (a, b) = simkit.get_index(spec), two(8)
    x, y = (index.prepare(Representation(side)) for side in (a["a"], b["c"]))
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_allclose(index.chance([index.permuted(x, order)], [y], 8), index.chance([x], [y], 8), rtol=1e-12)


def test_chance_of_white_layers_is_what_the_paper_of_widths_says():
    a, b = unrelated(400, 800, layers=2)
    assert simkit.pairwise(a, b).chance == pytest.approx(800 / 1200, abs=0.01)


# --- wherever scores come from ----------------------------------------------------------------------------------------------

ROUTES = ("cka", "cka(estimator=lange)", "cka(estimator=unbiased)", "hsic", "cka(kernel=rbf(sigma=4))")


@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf)", "cca", "rsa(comparison=cosine)"])
@pytest.mark.parametrize("dtype", ["float32"])
def test_chance_on_every_library(backend, spec, dtype):
    sides = two(30)
    expected = simkit.pairwise(*sides, spec).chance
    there = [{name: backend.asarray(x, dtype) for name, x in side.items()} for side in sides]
    matrix = simkit.pairwise(*there, spec)
    assert type(matrix.chance) is type(matrix.values)
    assert matrix.chance.dtype == matrix.values.dtype
    scale = max(1.0, float(np.max(np.abs(expected))))
    np.testing.assert_allclose(
        backend.to_numpy(matrix.chance), expected, atol=(1e-5 if dtype == "float32" else 1e-12) * scale
    )


@pytest.mark.parametrize("spec", ROUTES)
@pytest.mark.parametrize("widths", [(60, 90), (400, 700)], ids=str)
def test_chance_by_blocks_products_and_whole_matrices(spec, widths):
    a, b = two(600, p=widths, q=(40, 20))
    expected = by_definition(a, b, spec)
    for given in ({}, {"tiles": "exact"}):
        np.testing.assert_allclose(simkit.pairwise(a, b, spec, **given).chance, expected, rtol=1e-6, atol=1e-12)
        own = simkit.pairwise(a | b, index=spec, **given).chance[:2, 2:]
        np.testing.assert_allclose(own, expected, rtol=1e-6, atol=1e-12)


def by_definition(a, b, spec):
    index = simkit.get_index(spec)
    n = len(next(iter(a.values())))

    def gram(x):
        k = np.asarray(index.kernel.fit(x)(x, x), dtype=np.float64)
        return k - k.mean(0) - k.mean(1)[:, None] + k.mean()

    def size(k):
        return np.linalg.norm(k - np.diag(np.diag(k)) if index.estimator == "lange" else k)

    if index.estimator == "unbiased":
        return np.zeros((len(a), len(b)))
    grams = [[gram(x) for x in side.values()] for side in (a, b)]
    shared = np.asarray([[np.trace(k) * np.trace(m) for m in grams[1]] for k in grams[0]]) / (n - 1)
    if index.name == "hsic":
        return shared / (n - 1) ** 2
    norms = np.asarray([[size(k) * size(m) for m in grams[1]] for k in grams[0]])
    return shared / norms / (n if index.estimator == "lange" else 1)


@pytest.mark.parametrize(
    "spec", ["cka", "cka(estimator=lange)", "cka(estimator=unbiased)", "hsic", "cca", "linear_regression"]
)
def test_chance_of_a_stream(spec):
    a, b = two(90)
    stream = simkit.stream(spec)
    for rows in (slice(0, 20), slice(20, 21), slice(21, 90)):
        stream.update({name: x[rows] for name, x in a.items()}, {name: x[rows] for name, x in b.items()})
    found = stream.compute()
    np.testing.assert_allclose(found.chance, simkit.pairwise(a, b, spec).chance, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("n", "p"), [(20_000, 30), (2_000, 1_100)])
def test_chance_by_products_of_features(n, p):
    a, b = two(n, p=(p, 20), q=(40, 10))
    centred = [[x - x.mean(0) for x in side.values()] for side in (a, b)]
    traces, norms = (
        [[size(x) for x in side] for side in centred]
        for size in (lambda x: np.sum(x * x), lambda x: np.linalg.norm(x.T @ x))
    )
    expected = np.outer(*traces) / np.outer(*norms) / (n - 1)
    np.testing.assert_allclose(simkit.pairwise(a, b).chance, expected, rtol=1e-10)
    np.testing.assert_allclose(simkit.pairwise(a | b).chance[:2, 2:], expected, rtol=1e-10)


def test_chance_of_several_processes(tmp_path):
    distributed = pytest.importorskip("torch.distributed")
    from simkit.torch.distributed import all_reduce

    a, b = two(40)
    streams = [simkit.stream("cka") for _ in range(2)]
    for stream, rows in zip(streams, (slice(0, 15), slice(15, 40)), strict=True):
        stream.update({name: x[rows] for name, x in a.items()}, {name: x[rows] for name, x in b.items()})
    distributed.init_process_group("gloo", rank=0, world_size=1, init_method=f"file://{tmp_path / 'store'}")
    try:
        found = all_reduce(streams[0].merge(streams[1])).compute()
    finally:
        distributed.destroy_process_group()
    np.testing.assert_allclose(found.chance, simkit.pairwise(a, b).chance, rtol=1e-12)


def test_chance_of_minibatches_is_zero():
    a, b = two(40)
    stream = simkit.stream("cka(estimator=minibatch)")
    for rows in (slice(0, 20), slice(20, 40)):
        stream.update({name: x[rows] for name, x in a.items()}, {name: x[rows] for name, x in b.items()})
    assert not stream.compute().chance.any()


@pytest.mark.parametrize("spec", ["cka", "cka(estimator=lange)", "cca", "cka(kernel=rbf(sigma=3))", "procrustes"])
def test_chance_on_dask_is_lazy_and_comes_from_the_same_task(spec):
    da = pytest.importorskip("dask.array")
    a, b = two(600)
    lazy = simkit.pairwise(
        *({name: da.from_array(x, chunks=(200, -1)) for name, x in side.items()} for side in (a, b)), spec
    )
    expected = simkit.pairwise(a, b, spec).chance
    if expected is None:
        assert lazy.chance is None
        return
    assert lazy.chance.shape == (2, 2)
    assert lazy.chance.dtype == lazy.values.dtype
    np.testing.assert_allclose(lazy.compute().chance, expected, rtol=1e-9)
    tasks = [key for key in lazy.chance.__dask_graph__() if "simkit-" in str(key)]
    assert set(map(str, tasks)) == {str(key) for key in lazy.values.__dask_graph__() if "simkit-" in str(key)}


def test_chance_of_undefined_layers_is_nan():
    a, b = two(20)
    a["constant"] = np.ones((20, 3))
    with pytest.warns(simkit.ConstantInputWarning):
        matrix = simkit.pairwise(a, b)
    assert np.isnan(matrix.chance[2]).all()
    assert np.isfinite(matrix.chance[:2]).all()
    with pytest.warns(simkit.ConstantInputWarning):
        assert np.isnan(simkit.pairwise({"constant": a["constant"]}, b).chance).all()
    jax = pytest.importorskip("jax")
    both = jax.jit(lambda x, y: simkit.pairwise([x], [y]).chance)
    assert np.isnan(both(a["constant"], b["c"])).all()
    lazy = jax.jit(lambda x, y: simkit.pairwise([x], [y], "hsic").chance)  # 0 by the equation
    assert np.isnan(lazy(a["constant"], b["c"])).all()
    np.testing.assert_allclose(both(a["a"], b["c"])[0, 0], matrix.chance[0, 0], rtol=1e-5)


def test_chance_carries_no_gradient_and_scores_do():
    torch = pytest.importorskip("torch")
    a, b = two(20)
    x, y = torch.tensor(a["b"], requires_grad=True), torch.tensor(b["d"])
    matrix = simkit.pairwise([x], [y])
    assert not matrix.chance.requires_grad
    matrix.values.sum().backward()
    assert bool((x.grad != 0).any())


@pytest.mark.parametrize("spec", ["cka", "hsic", "hsic(kernel=polynomial(degree=1, gamma=1, coef0=0))"])
def test_chance_of_layers_out_of_range(spec):
    a, b = two(20)
    large = {name: x * 2.0**400 for name, x in a.items()}
    expected = simkit.pairwise(a, b, spec).chance * (1 if spec == "cka" else 2.0**800)
    pair = simkit.pairwise({"a": large["a"]}, {"c": b["c"]}, spec).chance
    np.testing.assert_allclose(pair, expected[:1, :1], rtol=1e-12)
    for given in ({}, {"tiles": "exact"}):
        np.testing.assert_allclose(simkit.pairwise(large, b, spec, **given).chance, expected, rtol=1e-12)
    if "kernel" not in spec:
        stream = simkit.stream(spec)
        stream.update(large, b)
        np.testing.assert_allclose(stream.compute().chance, expected, rtol=1e-12)


# --- by permutation ---------------------------------------------------------------------------------------------------------


def test_other_indexes_by_permutation():
    a, b = two(5)
    exact = chance(a, b, "procrustes", permutations=200)
    null = [
        simkit.pairwise({name: x[list(order)] for name, x in a.items()}, b, "procrustes").values
        for order in itertools.permutations(range(5))
    ][1:]
    np.testing.assert_allclose(exact.chance, np.mean(null, axis=0), rtol=1e-10)
    np.testing.assert_array_equal(exact.values, simkit.pairwise(a, b, "procrustes").values)
    few = [chance(a, b, "procrustes", permutations=10, rng=3).chance for _ in range(2)]
    np.testing.assert_array_equal(*few)


def test_by_permutation_closed_forms_are_taken_and_what_is_constant_is_nan():
    a, b = two(20)
    np.testing.assert_array_equal(chance(a, b).chance, simkit.pairwise(a, b).chance)
    own = chance(a, index="procrustes", permutations=5, rng=0)
    assert own.chance.shape == (2, 2)
    assert (own.chance < 0.99).all()
    with pytest.warns(simkit.ConstantInputWarning):
        found = chance(a | {"constant": np.ones((20, 2))}, b, "procrustes", permutations=5, rng=0)
    assert np.isnan(found.chance[2]).all()
    assert np.isfinite(found.chance[:2]).all()


def test_by_permutation_in_the_library_of_the_layers(backend):
    a, b = ({name: backend.asarray(x, "float32") for name, x in side.items()} for side in two(20))
    found = chance(a, b, "rsm_norm", permutations=3, rng=0)
    assert type(found.chance) is type(found.values)
    assert found.chance.dtype == found.values.dtype


def test_lazy_layers_have_no_permutations():
    da = pytest.importorskip("dask.array")
    a, b = ({name: da.from_array(x) for name, x in side.items()} for side in two(40))
    with pytest.raises(NeedsAllExamplesError, match="lazy"):
        chance(a, b, "procrustes")


# --- the warning ------------------------------------------------------------------------------------------------------------


def warned(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(item.message) for item in caught if item.category is simkit.ChanceWarning]


@pytest.mark.parametrize(
    ("n", "p", "expected"), [(1024, 64, 0), (1024, 512, 1), (256, 1024, 1), (50, 16, 1), (8, 16, 1), (200, 4, 0)]
)
def test_unrelated_layers_warn_once_where_chance_is_high(n, p, expected):
    a, b = unrelated(n, p, layers=3)
    assert len(warned(lambda: simkit.pairwise(a, b))) == expected
    assert len(warned(lambda: simkit.pairwise(a))) == expected
    assert len(warned(lambda: simkit.compare(a["l0"], b["l0"]))) == expected


def test_networks_that_are_related_do_not_warn():
    first, second = simkit.demo.load(0), simkit.demo.load(1)
    assert warned(lambda: (simkit.pairwise(first, second), simkit.pairwise(first))) == []
    assert warned(lambda: simkit.pairwise(*two(2000, p=(8, 8)))) == []


def test_each_remedy_works():
    a, b = unrelated(60, 90, layers=3)
    (message,) = warned(lambda: simkit.pairwise(a, b))
    assert "0.6" in message
    assert 'estimator="unbiased"' in message
    assert warned(lambda: simkit.pairwise(a, b, "cka", estimator="unbiased")) == []
    assert warned(lambda: simkit.pairwise(*unrelated(1500, 90, layers=3))) == []
    narrow = [{name: x[:, :4] for name, x in side.items()} for side in (a, b)]
    assert warned(lambda: simkit.pairwise(*narrow)) == []
    (message,) = warned(lambda: simkit.pairwise(a, b, "cca"))
    assert 'index="cka(estimator=unbiased)"' in message
    assert warned(lambda: simkit.pairwise(a, b, "cka(estimator=unbiased)")) == []


def test_layers_that_are_alike_do_not_warn_however_high_chance_is():
    """There is no room for a rise of .1; of the way from chance to 1 the score goes more than half."""
    rng = np.random.default_rng(0)
    layer = rng.standard_normal((50, 500))
    a, b = ({"x": layer + noise * rng.standard_normal(layer.shape)} for noise in (0.2, 0.2))
    matrix = simkit.pairwise(a, b)
    assert 0.9 < matrix.chance[0, 0] < matrix.values[0, 0] < matrix.chance[0, 0] + 0.1
    assert warned(lambda: simkit.pairwise(a, b)) == []
    far = {"x": layer + 3 * rng.standard_normal(layer.shape)}
    assert len(warned(lambda: simkit.pairwise(a, far))) == 1
    flat = [{"x": rng.standard_normal((50, 60)).astype(np.float32)} for _ in range(2)]
    assert len(warned(lambda: simkit.pairwise(*flat, "linear_regression"))) == 1  # chance is 1


def test_what_is_no_share_of_one_and_what_is_no_number_yet_do_not_warn():
    a, b = unrelated(30, 60, layers=2)
    small = [{name: x / 4 for name, x in side.items()} for side in (a, b)]  # chance is .5, as if it were a share of 1
    assert simkit.pairwise(*small, "hsic").chance == pytest.approx(0.5, abs=0.05)
    assert warned(lambda: simkit.pairwise(*small, "hsic")) == []
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(a["l0"], requires_grad=True), torch.tensor(b["l0"])
    assert warned(lambda: simkit.compare(x, y).backward()) == []
    jax = pytest.importorskip("jax")
    assert warned(lambda: jax.jit(simkit.compare)(a["l0"], b["l0"])) == []
    assert warned(lambda: simkit.pairwise({"alone": a["l0"]})) == []


def test_a_stream_warns_and_a_permuted_procrustes_too():
    a, b = unrelated(50, 80, layers=2)
    stream = simkit.stream("cka")
    stream.update(a, b)
    assert len(warned(stream.compute)) == 1
    assert len(warned(lambda: chance(a, b, "procrustes", permutations=5, rng=0))) == 1


def test_an_interval_warns_and_layer_accuracy_does_not():
    a, b = unrelated(40, 60, layers=2)
    assert len(warned(lambda: simkit.interval(a["l0"], b["l0"]))) == 1
    assert len(warned(lambda: simkit.interval(a, b))) == 1
    assert warned(lambda: simkit.interval(a["l0"], b["l0"], estimator="unbiased")) == []
    assert warned(lambda: simkit.interval(a["l0"], a["l0"] + 0.1)) == []
    assert warned(lambda: simkit.analysis.layer_accuracy([a, b], "cca")) == []


def test_one_good_row_in_three_does_not_hide_the_others():
    a, b = unrelated(60, 200, layers=3)
    b["l0"] = a["l0"]
    assert len(warned(lambda: simkit.pairwise(a, b))) == 1
    b["l1"] = a["l1"]
    assert warned(lambda: simkit.pairwise(a, b)) == []


# --- indexes of others ------------------------------------------------------------------------------------------------------


def test_who_changes_the_score_says_again_what_it_is_by_chance():
    from simkit.indexes import CKA

    class Angle(CKA):
        name = "angle"

        def from_sums(self, xy, xx, yy):
            return np.arccos(super().from_sums(xy, xx, yy))

    class Named(CKA):
        name = "named"

    a, b = two(20)
    assert simkit.pairwise(a, b, Angle()).chance is None
    np.testing.assert_array_equal(simkit.pairwise(a, b, Named()).chance, simkit.pairwise(a, b).chance)


def test_the_kit_finds_a_chance_that_is_wrong():
    from simkit.indexes import CKA
    from simkit.testing import examine_index

    class Wrong(CKA):
        name = "wrong"

        @property
        def knows_chance(self):
            return True

        def from_sums(self, xy, xx, yy):
            return super().from_sums(xy, xx, yy) ** 2

    findings = examine_index(Wrong(), only=["chance"]).failed
    assert [finding.message.partition(" is ")[0] for finding in findings] == ["chance", "chance of a stream"]
    assert "the mean of the scores over all orders" in findings[0].message
    assert examine_index("cka", only=["chance"]).ok


# --- the page ---------------------------------------------------------------------------------------------------------------


def test_the_page():
    space = {}
    for block in pages.blocks("topics/chance.md"):
        pages.run(block, space)
    assert space["matrix"]["fc1", "fc1"] > space["matrix"].chance[0, 0] + 0.3
    assert space["found"].chance.shape == (2, 2)


def test_the_warning_speaks_of_the_rows_that_hardly_rise():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((30, 60)), rng.standard_normal((30, 60))
    with pytest.warns(
        simkit.ChanceWarning, match=r"in 1 of 2 rows: their best matches score 0\.6\d, and 0\.6\d if"
    ) as caught:
        matrix = simkit.pairwise({"alike": x, "unrelated": z}, {"other": x + 0.1 * rng.standard_normal((30, 60))})
    assert len(caught) == 1
    assert matrix["alike", "other"] > 0.95
