"""One matrix of inputs x indexes x ways in: each cell is the number, nan or infinity with a warning, or an error of simkit's.

Values near the ends of the range of floating-point numbers, layers without variation, few examples. Truth is a property: an
index that ignores scale gives the score of the layers before they were scaled. What is no dense array of real numbers is in
`test_refusals`.
"""

import math
import warnings
from itertools import product

import numpy as np
import pytest
from data import OWN_INDEXES, pair

import simkit
from simkit import ChanceWarning, ConstantInputWarning, SimkitError
from simkit.errors import AccuracyWarning, NeedsAllExamplesError
from simkit.representation import Representation

dask, da = pytest.importorskip("dask"), pytest.importorskip("dask.array")

SPECS = [
    *map(str, OWN_INDEXES),
    *("hsic(estimator=unbiased)", "cka(estimator=unbiased)", "cka(estimator=lange)"),
    *("cka(kernel=rbf)", "cka(kernel=rbf(sigma=1))", "cka(kernel=laplacian)", "cka(kernel=laplacian(sigma=1))"),
    *("cka(kernel=polynomial)", "cka(kernel=cosine)", "cka(kernel=distance)", "hsic(kernel=distance)"),
    *("cca(summary=rho)", "cca(summary=pillai)", "pwcca(weights=y)", "svcca(threshold=0.9)"),
    *("procrustes(alpha=0.5)", "procrustes(alpha=0)", "procrustes(summary=distance)", "canonical_ridge(relative=True)"),
    *("canonical_ridge(normalization=cka)", "rsa(comparison=pearson)", "mutual_knn(k=3)"),
    *("mutual_knn(k=3, metric=inner)", "jaccard(k=3, metric=euclidean)", "cknna(k=3, metric=inner)"),
    *("shape_metric", "shape_metric(alpha=0.5)"),
]
N = 24
X, Y = pair(N, 4, 3)


def by_columns(x, factors):
    return x * np.asarray(factors)


def scaled():
    """Layers times a power of two, exactly, so that whoever ignores scale must not notice."""
    for exponent in (-1020, -520, 520, 1000):
        yield f"X 2^{exponent}", X * 2.0**exponent, Y
        yield f"X 2^{exponent}, Y 2^{-exponent}", X * 2.0**exponent, Y * 2.0**-exponent
    for exponent in (-120, 120):
        single = [z.astype(np.float32) for z in (X, Y)]
        yield f"float32, X 2^{exponent}", single[0] * np.float32(2.0**exponent), single[1]


def stretched():
    """Columns times powers of two: for whoever ignores invertible transforms."""
    yield "one column 2^560", by_columns(X, (2.0**560, 1, 1, 1)), Y
    yield "one column 2^-560", by_columns(X, (2.0**-560, 1, 1, 1)), Y
    yield "one column 2^1000", by_columns(X, (1, 1, 2.0**1000, 1)), Y
    yield "columns from 2^-1000 to 2^1000", by_columns(X, (2.0**-1000, 2.0**-400, 2.0**400, 2.0**1000)), Y


def degenerate():
    """Layers that hardly vary, in one way or another."""
    rng = np.random.default_rng(3)
    yield "constant", np.ones((N, 4)), Y
    yield "constant, not exact", X, np.full((N, 4), 0.1)
    yield "one example differs", np.concatenate([np.zeros((N - 1, 4)), np.ones((1, 4))]), Y
    yield "two different examples", np.repeat(X[:2], N // 2, axis=0), Y
    yield "all equally far from each other", np.eye(N), Y
    yield "all equally far, in few columns", np.eye(N)[:, : N // 2], Y
    yield "binary", (X > 0).astype(float), (Y > 0).astype(float)
    yield "one feature", X[:, :1], Y[:, :1]
    yield "more features than examples", rng.standard_normal((N, 2 * N)), Y
    yield "a common offset of 1e15", X + 1e15, Y
    yield "subnormal in float32", (X * 1e-42).astype(np.float32), Y.astype(np.float32)
    for n in (0, 1, 2, 3, 5):
        yield f"{n} examples", X[:n], Y[:n]
    yield "no features", X[:, :0], Y
    yield "nan", np.where(np.arange(4) == 1, np.nan, X), Y
    yield "infinity", np.where(X > 1, np.inf, X), Y


def streamed(x, y, spec):
    stream, half = simkit.stream(spec), len(x) // 2
    stream.update(x[:half], y[:half])
    stream.update(x[half:], y[half:])
    return float(stream.compute())


def streamed_in_the_other_order(x, y, spec):
    """Blocks of one size after blocks of another: the units of a state change."""
    order = np.argsort(np.abs(x).max(axis=1, initial=0), kind="stable")
    parts = [simkit.stream(spec) for _ in range(2)]
    for part, rows in zip(parts, np.array_split(order, 2), strict=True):
        part.update(x[rows], y[rows])
    return float(parts[1].merge(parts[0]).compute())


def lazily(x, y, spec):
    rows = max(1, len(x) // 3)
    arrays = [da.from_array(z, chunks=(rows, -1)) for z in (x, y)]
    return float(simkit.compare(*arrays, spec).compute(scheduler="synchronous"))


WAYS_IN = {
    "compare": lambda x, y, spec: float(simkit.compare(x, y, spec)),
    "pairwise": lambda x, y, spec: float(simkit.pairwise({"a": x, "b": y}, index=spec).to_numpy()[0, 1]),
    "stream": streamed,
    "merged streams": streamed_in_the_other_order,
    "Dask": lazily,
    "tiles": lambda x, y, spec: float(simkit.compare(x, y, spec, tiles="exact")),
}


def asked(way, x, y, spec):
    """A number, or the class of simkit's error; and the warnings. Anything else that is raised fails the test."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = WAYS_IN[way](x, y, spec)
        except SimkitError as error:
            found = type(error)
    for warning in caught:
        assert issubclass(warning.category, (AccuracyWarning, ChanceWarning, ConstantInputWarning)), warning
    return found, caught


def check(what, x, y, spec, *, absolute=0.0):
    """All ways in agree, and nothing that is no finite number comes without a word.

    `absolute` is the error that is allowed to an index without an upper bound.
    """
    reference, caught = asked("compare", x, y, spec)
    doubtful = any(issubclass(warning.category, AccuracyWarning) for warning in caught)
    for way in WAYS_IN:
        found, caught = asked(way, x, y, spec)
        where = f"{spec}, layers {what}, by {way}: {found} for {reference}"
        if isinstance(found, type) or isinstance(reference, type):
            impossible = isinstance(found, type) and found is NeedsAllExamplesError
            assert impossible or found is reference, where
            continue
        if not math.isfinite(found):
            assert caught, where
        if doubtful or any(issubclass(warning.category, AccuracyWarning) for warning in caught):
            continue
        rel, error = (1e-5, 1e-6) if x.dtype == np.float32 else (1e-8, 1e-9)
        if simkit.get_index(spec).facts.range[1] == math.inf:
            error = absolute
        assert found == pytest.approx(reference, rel=rel, abs=error, nan_ok=True), where
    return reference


@pytest.fixture(autouse=True, scope="module")
def _synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def invariant(spec, what):
    kept = simkit.get_index(spec).facts.invariances
    return what in kept.x and what in kept.y


@pytest.mark.parametrize(("what", "x", "y"), list(scaled()), ids=lambda value: value if isinstance(value, str) else "")
def test_scale_out_of_range(what, x, y):
    for spec in SPECS:
        found = check(what, x, y, spec)
        if invariant(spec, "isotropic_scaling"):
            ordinary = (X.astype(x.dtype), Y.astype(y.dtype))
            assert found == pytest.approx(float(simkit.compare(*ordinary, spec)), rel=1e-6), f"{spec}, {what}"


@pytest.mark.parametrize(("what", "x", "y"), list(stretched()), ids=lambda value: value if isinstance(value, str) else "")
def test_columns_out_of_range(what, x, y):
    for spec in SPECS:
        found = check(what, x, y, spec)
        if invariant(spec, "invertible_linear"):
            assert found == pytest.approx(float(simkit.compare(X, Y, spec)), rel=1e-6), f"{spec}, {what}"


@pytest.mark.parametrize(("what", "x", "y"), list(degenerate()), ids=lambda value: value if isinstance(value, str) else "")
def test_layers_that_hardly_vary(what, x, y):
    for spec in SPECS:
        if what.startswith("all equally far") and spec == "svcca(threshold=0.9)":
            continue  # which keeps some of the directions of equal variance, by chance
        check(what, x, y, spec, absolute=1e-12)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize(("a", "b"), [(2.0**400, 2.0**-300), (2.0**600, 2.0**-600), (2.0**-550, 2.0**560)])
def test_hsic_of_scaled_layers_by_its_degree(estimator, a, b):
    """HSIC is of second degree in each layer; a b is in range where a^2 is not."""
    truth = float(simkit.compare(X, Y, "hsic", estimator=estimator)) * (a * b) ** 2
    for way in ("compare", "pairwise", "stream", "merged streams", "Dask", "tiles"):
        assert asked(way, X * a, Y * b, f"hsic(estimator={estimator})")[0] == pytest.approx(truth, rel=1e-9), way


def test_minibatches_out_of_range():
    for exponent in (-1000, -300, 300, 1000):
        found = []
        for factor in (1.0, 2.0**exponent):
            stream = simkit.stream("cka(estimator=minibatch)")
            for rows in np.array_split(np.arange(N), 3):
                stream.update(X[rows] * factor, Y[rows])
            found.append(float(stream.compute()))
        assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_a_stream_whose_batches_change_their_order_of_magnitude():
    """Small batches beside large ones: as in memory, in whatever order they come."""
    sizes = np.repeat([2.0**-900, 1.0, 2.0**900, 2.0**-300], N // 4)[:, None]
    big = X * sizes
    for spec, order in product(("cka", "cka(estimator=unbiased)", "cca", "procrustes"), ([0, 1, 2, 3], [2, 0, 3, 1])):
        stream = simkit.stream(spec)
        for k in order:  # each in a state of its own: one stream would put so few examples together first
            rows = slice(k * N // 4, (k + 1) * N // 4)
            part = simkit.stream(spec)
            part.update(big[rows], Y[rows])
            stream = stream.merge(part)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)
            assert float(stream.compute()) == pytest.approx(float(simkit.compare(big, Y, spec)), rel=1e-7), (spec, order)


@pytest.mark.parametrize("factor", [1e-45, 1e-42, 1e-38, 1.0, 1e30])
def test_a_layer_is_scaled_by_one_number(factor):
    """Also where float32 has no digits left, and the deviations are computed in float64."""
    layer = Representation((X * factor).astype(np.float32))
    exact = layer.features.astype(np.float64) - layer.features.astype(np.float64).mean(axis=0)
    for scaled_layer in (layer.unit, layer.precise):
        np.testing.assert_allclose(
            scaled_layer.astype(np.float64) * float(layer.scale), exact, rtol=1e-5, atol=1e-6 * np.abs(exact).max()
        )


def test_infinite_scores_say_why():
    wide = np.random.default_rng(0).standard_normal((10, 8))
    with pytest.warns(AccuracyWarning, match=r"mutual_information of X and Y is infinite: a combination of features"):
        assert simkit.compare(wide, wide[:, ::-1] ** 3, "mutual_information") == math.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a layer with itself nobody expects anything else
        simkit.pairwise({"a": X}, index="mutual_information")
    with pytest.warns(AccuracyWarning, match=r"hsic of X and Y is infinite: the values of X .*X / abs\(X\)\.max\(\)"):
        assert simkit.compare(X * 1e300, Y, "hsic") == math.inf
    assert 0 < simkit.compare(X * 1e300 / abs(X * 1e300).max(), Y, "hsic") < math.inf
