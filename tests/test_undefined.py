"""Where a similarity does not exist the score is nan with a warning: never a silent number, never an exception of LAPACK."""

import warnings

import numpy as np
import pytest
from data import OWN_INDEXES, able, pair

import simkit
from simkit import ConstantInputWarning
from simkit.indexes.cca import PWCCA

VARIANTS = [
    "hsic(estimator=unbiased)",
    "cka(estimator=unbiased)",
    "cka(estimator=lange)",
    "cka(kernel=rbf)",
    "cka(kernel=polynomial)",
    "cka(kernel=cosine)",
    "cca(summary=rho)",
    "cca(summary=pillai)",
    "pwcca(weights=y)",
    "pwcca(squared=True)",
]
SPECS = [*OWN_INDEXES, *VARIANTS]


def fewest(spec, at_least):
    """As many examples as the index needs."""
    return max(at_least, simkit.get_index(spec).facts.min_examples)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e30])
def test_constant_representation_gives_nan_and_a_warning(spec, constant, backend):
    n = fewest(spec, 12)
    X, _ = pair(n, 3, 4)
    C = np.full((n, 4), constant)
    with pytest.warns(ConstantInputWarning, match=f"Y is constant: all {n} examples are the same") as caught:
        score = simkit.compare(backend.asarray(X), backend.asarray(C), spec)
    assert np.isnan(float(score))
    assert caught[0].filename == __file__, "the warning points at the caller"
    with pytest.warns(ConstantInputWarning, match="X is constant"):
        assert np.isnan(float(simkit.compare(backend.asarray(C), backend.asarray(X), spec)))


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("value", [np.nan, -np.inf])
@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_unchecked_nan_gives_nan(spec, value, shape, backend):
    n = fewest(spec, 5)
    p = 3 if shape == "tall" else n + 2
    X, Y = pair(n, p, p + 1)
    X[2, 1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = simkit.compare(backend.asarray(X), backend.asarray(Y), spec, check_finite=False)
        assert np.isnan(float(score))
        assert score.dtype == backend.dtype("float64")
        assert np.isnan(float(simkit.compare(backend.asarray(Y), backend.asarray(X), spec, check_finite=False)))


def test_pairwise_marks_only_the_pairs_concerned():
    X, Y = pair(20, 3, 4)
    bad = Y.copy()
    bad[0, 0] = np.nan
    layers = {"x": X, "dead": np.zeros((20, 2)), "broken": bad, "y": Y}
    for spec in SPECS:
        with pytest.warns(ConstantInputWarning, match=r"A\['dead'\] is constant") as caught:
            values = simkit.pairwise(layers, index=spec, check_finite=False).to_numpy()
        assert len(caught) == 1
        assert caught[0].filename == __file__
        expected = np.ones((4, 4), dtype=bool)
        expected[np.ix_([0, 3], [0, 3])] = False
        np.testing.assert_array_equal(np.isnan(values), expected)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_bandwidth_of_coinciding_examples_is_never_silent(kernel, backend):
    """With the median distance 0 there is no bandwidth; a fixed one works."""
    X, Y = pair(12, 3, 4)
    X[:9] = X[0]
    with pytest.warns(ConstantInputWarning, match="median distance is 0") as caught:
        score = simkit.compare(backend.asarray(X), backend.asarray(Y), "cka", kernel=kernel)
    assert np.isnan(float(score))
    assert caught[0].filename == __file__
    with pytest.warns(ConstantInputWarning, match=r"of 2 pairs is undefined \(nan\), the first A\['x'\] and B\['y'\]"):
        simkit.pairwise({"x": backend.asarray(X)}, {"y": backend.asarray(Y), "z": backend.asarray(Y)}, "cka", kernel=kernel)
    score = simkit.compare(backend.asarray(X), backend.asarray(Y), "cka", kernel=f"{kernel}(sigma=1.0)")
    assert 0 < float(score) < 1


def test_cosine_of_parallel_examples_is_never_silent():
    X, Y = pair(12, 1, 4)
    with pytest.warns(ConstantInputWarning, match="point in one direction"):
        assert np.isnan(simkit.compare(np.abs(X), Y, "cka", kernel="cosine"))


def test_each_call_warns():
    """Python shows a warning once per line of the caller; it must not be the same line inside simkit each time."""
    X, _ = pair(12, 3, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        simkit.compare(X, np.zeros((12, 1)))
        simkit.compare(X, np.zeros((12, 1)))
        simkit.get_index("cka")(X, np.zeros((12, 1)))
    assert len(caught) == 3


@pytest.mark.parametrize("constant_first", [True, False])
@pytest.mark.parametrize("spec", able("jit", SPECS))
def test_traced_constant_gives_nan(spec, constant_first):
    """Under jit nobody can warn, so a silent number would be worse."""
    jax = pytest.importorskip("jax")
    X, _ = pair(20, 3, 4)
    arrays = (jax.numpy.asarray(X), jax.numpy.ones((20, 2)))
    score = jax.jit(lambda x, y: simkit.compare(x, y, spec))(*(arrays[::-1] if constant_first else arrays))
    assert np.isnan(score)


@pytest.mark.backends("torch")
def test_undefined_score_still_propagates_gradients(backend):
    X = backend.asarray(np.ones((6, 2))).requires_grad_()
    Y = backend.asarray(pair(6, 2, 2)[0]).requires_grad_()
    with pytest.warns(ConstantInputWarning):
        simkit.compare(X, Y).backward()
    assert X.grad.isnan().any()
    assert Y.grad.isnan().any()


@pytest.mark.parametrize("weights", ["x", "y"])
def test_pwcca_weighs_only_canonical_variables_that_exist(weights, backend):
    """Of rank 1 against rank 5 there is one canonical variable; the rest of the singular vectors is arbitrary."""
    X = np.zeros((20, 3))
    X[0] = 1
    _, Y = pair(20, 3, 5)
    rho = abs(np.corrcoef(X[:, 0], Y @ np.linalg.lstsq(Y - Y.mean(0), X[:, 0] - X[:, 0].mean(), rcond=None)[0])[0, 1])
    score = PWCCA(weights=weights)(backend.asarray(X), backend.asarray(Y))
    assert float(score) == pytest.approx(rho, rel=1e-10)
