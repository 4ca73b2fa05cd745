"""Kernels in float32 on data with offsets and outliers: every producer gives what the definition in extended precision gives."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
from data import pair

import simkit
from simkit.errors import AccuracyWarning, UnknownNameError
from simkit.guard import is_outside
from simkit.scale.nystroem import nystroem_approximation

N = 120
LONG = np.longdouble
PI = LONG("3.14159265358979323846264338327950288")


# --- data -----------------------------------------------------------------------------------------------------------------


def massive(X):
    """One feature is 15000 in every example."""
    return np.concatenate([X[:, :3], np.full((len(X), 1), 15000.0), X[:, 3:]], axis=1)


def offset(X):
    return X + 1e4


def outlier(row):
    def spoiled(X):
        X = X.copy()
        X[row] = 1e8 * np.sign(X[row])
        return X

    return spoiled


def far_group(X):
    """A fifth of the examples far away."""
    return X + 1e4 * (np.arange(len(X)) % 5 == 0)[:, None]


def copies(X):
    return np.concatenate([X[: N // 2], X[: N // 2]])


def dead(X):
    return np.maximum(X, 0) * (np.arange(X.shape[1]) % 2)


DATA = {  # what float32 has trouble with
    "plain": lambda X: X,
    "massive activation": massive,
    "offset": offset,
    "outlier first": outlier(0),
    "outlier within": outlier(100),
    "far group": far_group,
    "copies": copies,
    "dead units": dead,
}


def layers(name, dtype="float32"):
    return tuple(DATA[name](x).astype(dtype) for x in pair(N, 9, 7))


# --- definitions ----------------------------------------------------------------------------------------------------------


def distances(X):
    return np.sqrt(((X[:, None, :] - X[None, :, :]) ** 2).sum(axis=-1))


def median(D):
    return np.median(D[np.triu_indices(len(D), 1)])


def over_lengths(K, a, b):
    """0 where a length is 0."""
    lengths = np.sqrt(np.outer(a, b))
    return np.divide(K, lengths, out=np.zeros_like(K), where=lengths > 0)


def angle(K, a, b):
    return np.arccos(np.clip(over_lengths(K, a, b), -1, 1))


def squares(X):
    return (X * X).sum(axis=1)


def cosine(X):
    return over_lengths(X @ X.T, squares(X), squares(X))


def arccos(X, order):
    a = squares(X)
    t = angle(X @ X.T, a, a)
    j = {0: PI - t, 1: np.sin(t) + (PI - t) * np.cos(t), 2: 3 * np.sin(t) * np.cos(t) + (PI - t) * (1 + 2 * np.cos(t) ** 2)}
    return np.sqrt(np.outer(a, a)) ** order * j[order] / PI


def network(X, tangent, depth=3):
    """Rectified linear units, weight variance 2, no biases."""
    K = 2 * (X @ X.T) / X.shape[1]
    T = K
    for _ in range(depth):
        a = np.diag(K)
        t = angle(K, a, a)
        slopes = (PI - t) / PI
        K = np.sqrt(np.outer(a, a)) * (np.sin(t) + (PI - t) * np.cos(t)) / PI
        T = K + slopes * T
    return T if tangent else K


OF_ORIGIN = {
    "cosine": cosine,
    "polynomial": lambda X: (X @ X.T / X.shape[1] + 1) ** 3,
    "arccos": lambda X: arccos(X, 1),
    "arccos(order=0)": lambda X: arccos(X, 0),
    "arccos(order=2)": lambda X: arccos(X, 2),
    "nngp": lambda X: network(X, tangent=False),
    "ntk": lambda X: network(X, tangent=True),
}
OF_DISTANCES = {
    "rbf": lambda X: np.exp(-(distances(X) ** 2) / (2 * median(distances(X)) ** 2)),
    "rbf(fraction=0.2)": lambda X: np.exp(-(distances(X) ** 2) / (2 * (median(distances(X)) / 5) ** 2)),
    "rbf(sigma=3.0)": lambda X: np.exp(-(distances(X) ** 2) / 18),
    "laplacian": lambda X: np.exp(-distances(X) / median(distances(X))),
    "distance": lambda X: -distances(X),
}
GRAMS = OF_ORIGIN | OF_DISTANCES


def hsic(K, L, estimator):
    """tr(KHLH) / (n - 1)^2; Song et al.'s estimator as Szekely & Rizzo 2014 write it, where large numbers do not cancel."""
    n = len(K)
    if estimator == "biased":
        H = np.eye(n) - 1 / LONG(n)
        return np.sum((H @ K @ H) * (H @ L @ H)) / (n - 1) ** 2
    return np.sum(u_centred(K) * u_centred(L)) / (n * (n - 3))


def u_centred(K):
    n = len(K)
    K = np.where(np.eye(n), 0, K)
    r = K.sum(axis=0) / (n - 2)
    return np.where(np.eye(n), 0, K - r[:, None] - r[None, :] + K.sum() / ((n - 1) * (n - 2)))


def cka(X, Y, kernel, estimator="biased", batches=((0, N),)):
    """Of sums over batches, in extended precision."""
    sums = np.zeros(3, dtype=LONG)
    for a, b in batches:
        K, L = (GRAMS[kernel](Z[a:b].astype(LONG)) for Z in (X, Y))
        sums += [hsic(*both, estimator) for both in ((K, L), (K, K), (L, L))]
    return float(sums[0] / np.sqrt(sums[1] * sums[2]))


@functools.cache
def definition(data, dtype, kernel, estimator="biased"):
    """CKA of some layers, once for all libraries and ways."""
    return cka(*layers(data, dtype), kernel, estimator)


@pytest.fixture
def lazily(monkeypatch):
    """Dask arrays that are cut into tiles."""
    da = pytest.importorskip("dask.array")
    from simkit.scale import kernels

    monkeypatch.setattr("simkit.planner._SMALL", 10)
    monkeypatch.setattr(kernels, "_ROWS", 50)
    return lambda x: da.from_array(x, chunks=(40, -1))


def known(kernel):
    try:
        return simkit.get_kernel(kernel)
    except UnknownNameError:
        pytest.skip("the plugin is not installed")


# --- scores ---------------------------------------------------------------------------------------------------------------

LOOSE = 2e-4  # the distance of copies is the root of rounding


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kernel", GRAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_producer_gives_the_definition(data, kernel, dtype, lazily):
    known(kernel)
    X, Y = layers(data, dtype)
    for estimator in ("biased", "unbiased"):
        index = simkit.get_index("cka", kernel=kernel, estimator=estimator)
        expected = pytest.approx(definition(data, dtype, kernel, estimator), rel=LOOSE, abs=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("error", AccuracyWarning)  # float64 is there
            assert float(index(X, Y)) == expected
            assert float(simkit.compare(X, Y, index, tiles="exact")) == expected
            if (estimator == "unbiased") == (dtype == "float32"):  # the sums are the same for both
                assert float(index(lazily(X), lazily(Y))) == expected


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kernel", GRAMS)
def test_batches_of_a_stream(data, kernel):
    known(kernel)
    X, Y = layers(data)
    batches = ((0, 60), (60, 120))
    stream = simkit.stream("cka", kernel=kernel, estimator="minibatch")
    for a, b in batches:
        stream.update(X[a:b], Y[a:b])
    expected = cka(X, Y, kernel, "unbiased", batches)
    assert float(stream.compute()) == pytest.approx(expected, rel=LOOSE, abs=1e-5)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("kernel", GRAMS)
def test_features_that_approximate_the_kernel(data, kernel, lazily):
    """With all examples for landmarks they are exact."""
    known(kernel)
    X, Y = layers(data)
    if data.startswith("outlier") and kernel in ("arccos(order=2)", "polynomial"):
        return  # 1e48 beside 1: one direction is all that float32 features can hold
    found = [nystroem_approximation(x, kernel, landmarks=N) for x in (X, Y)]
    assert found[0].dtype == np.float32
    expected = pytest.approx(definition(data, "float32", kernel), abs=2e-3)
    assert float(simkit.compare(*found)) == expected
    lazy = [nystroem_approximation(lazily(x), kernel, landmarks=N) for x in (X, Y)]
    assert float(simkit.compare(*(x.compute() for x in lazy))) == expected


@pytest.mark.parametrize("data", ["offset", "outlier first", "far group"])
@pytest.mark.parametrize("kernel", GRAMS)
def test_every_library(data, kernel, backend):
    known(kernel)
    X, Y = layers(data)
    x, y = (backend.asarray(z) for z in (X, Y))
    expected = definition(data, "float32", kernel)
    score = simkit.compare(x, y, "cka", kernel=kernel)
    assert score.dtype == x.dtype
    assert float(backend.to_numpy(score)) == pytest.approx(expected, rel=LOOSE)
    tiled = simkit.compare(x, y, "cka", kernel=kernel, tiles="exact")
    assert float(backend.to_numpy(tiled)) == pytest.approx(expected, rel=LOOSE)


@pytest.mark.parametrize("data", ["plain", "outlier first", "far group"])
@pytest.mark.parametrize("kernel", GRAMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_order_of_the_examples_does_not_matter(data, kernel, dtype, lazily, rng):
    known(kernel)
    X, Y = layers(data, dtype)
    order = rng.permutation(N)
    index = simkit.get_index("cka", kernel=kernel, estimator="unbiased")
    for call in (index, lambda x, y: index(lazily(x), lazily(y)), lambda x, y: simkit.compare(x, y, index, tiles="exact")):
        assert float(call(X[order], Y[order])) == pytest.approx(float(call(X, Y)), rel=2e-5, abs=1e-6)


# --- where there is no float64 ----------------------------------------------------------------------------------------------


@pytest.fixture
def single():
    """JAX as it is by default, without float64."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    yield jax
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("kernel", OF_ORIGIN)
@pytest.mark.parametrize("data", ["massive activation", "offset"])
def test_a_warning_where_there_is_no_float64(single, data, kernel, monkeypatch):
    known(kernel)
    X, Y = layers(data)
    x, y = map(single.numpy.asarray, (X, Y))
    with pytest.warns(AccuracyWarning, match=r"jax_enable_x64.*X - X.mean\(axis=0\)"):
        simkit.compare(x, y, "cka", kernel=kernel)
    with monkeypatch.context() as patch:  # as on an accelerator
        patch.setattr(simkit.comparison, "_is_for_numpy", lambda *asked: False)
        with pytest.warns(AccuracyWarning, match="jax_enable_x64"):
            simkit.compare(x, y, "cka", kernel=kernel, tiles="exact")
    if not is_outside(type(simkit.get_kernel(kernel))):
        with warnings.catch_warnings():  # in the memory of the host NumPy takes over, which has float64
            warnings.simplefilter("error", AccuracyWarning)
            tiled = float(simkit.compare(x, y, "cka", kernel=kernel, tiles="exact"))
            assert tiled == pytest.approx(float(simkit.compare(X, Y, "cka", kernel=kernel, tiles="exact")), abs=1e-6)
    stream = simkit.stream("cka", kernel=kernel, estimator="minibatch")
    with pytest.warns(AccuracyWarning, match="jax_enable_x64"):
        stream.update(x, y)
    with pytest.warns(AccuracyWarning, match="jax_enable_x64"):
        nystroem_approximation(x, kernel)
    with warnings.catch_warnings():  # both remedies help; and nothing is read of a traced array
        warnings.simplefilter("error", AccuracyWarning)
        single.jit(lambda a: simkit.compare(a, y, "cka", kernel=kernel, check_finite=False)).lower(x)
        centred = [z - z.mean(axis=0) for z in (x, y)]
        score = float(simkit.compare(*centred, "cka", kernel=kernel))
        assert score == pytest.approx(cka(*map(np.asarray, centred), kernel), abs=1e-4)
        single.config.update("jax_enable_x64", True)
        x, y = map(single.numpy.asarray, (X, Y))
        assert float(simkit.compare(x, y, "cka", kernel=kernel)) == pytest.approx(cka(X, Y, kernel), abs=1e-4)


def test_a_warning_for_a_far_group_where_there_is_no_float64(single):
    x, y = map(single.numpy.asarray, layers("far group"))
    for kernel in OF_DISTANCES:
        with pytest.warns(AccuracyWarning, match="so far from most others.*jax_enable_x64"):
            simkit.compare(x, y, "cka", kernel=kernel)


@pytest.mark.parametrize("kernel", GRAMS)
@pytest.mark.parametrize("data", ["plain", "copies", "dead units"])
def test_no_warning_where_float32_will_do(single, data, kernel):
    known(kernel)
    x, y = map(single.numpy.asarray, layers(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        score = float(simkit.compare(x, y, "cka", kernel=kernel))
    assert score == pytest.approx(definition(data, "float32", kernel), abs=1e-3)


def test_float64_has_its_limits_too():
    X, Y = (x + 1e9 for x in pair(N, 9, 7))
    with pytest.warns(AccuracyWarning, match=r"^(?!.*jax).*take it off first: X - X.mean"):
        simkit.compare(X, Y, "cka(kernel=cosine)")
