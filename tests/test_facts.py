"""Every registered index and kernel keeps what it declares, on random layers."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from data import invertible, orthogonal, pair
from hypothesis import assume, given
from hypothesis import strategies as st

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError

SPECS = [
    *map(str, simkit.list_indexes()),
    *(f"{name}(kernel={kernel})" for name in ("cka", "hsic") for kernel in simkit.list_kernels() if kernel != "linear"),
    *(f"{name}(estimator={e})" for name in ("cka", "hsic") for e in ("unbiased", "lange")),
    "cka(kernel=rbf(sigma=2.0))",
    "cka(kernel=polynomial(coef0=0))",
    "cca(summary=rho)",
    "cca(summary=pillai)",
    "svcca(summary=rho, threshold=0.8)",
    "pwcca(weights=y)",
    "pwcca(squared=True)",
    "pwcca(squared=True, weights=y)",
    "procrustes(summary=distance)",
    "procrustes(summary=angular)",
    "distance_correlation(estimator=unbiased)",
    *(f"rsa(dissimilarity={d})" for d in ("euclidean", "squared_euclidean", "cosine")),
    "rsa(dissimilarity=mahalanobis, comparison=cosine)",
    *(f"rsa(comparison={c})" for c in ("pearson", "kendall", "cosine", "whitened_cosine")),
    "mutual_knn(metric=euclidean, k=3)",
    "jaccard(metric=inner, k=3)",
    "cknna(form=code)",
    "rsm_norm(similarity=inner)",
    "rsm_norm(similarity=correlation)",
    "gulp(lam=0)",
    "eigenspace_overlap(centre=True)",
    "ridge_predictivity(measure=r2, predict=y, folds=3)",
]
layers = st.tuples(st.integers(8, 30), st.integers(1, 12), st.integers(1, 12), st.integers(0, 10**6))


def transforms(rng, p):
    """One of each kind of transformation that may be declared harmless."""
    return {
        "translation": lambda x: x + 3 * rng.standard_normal(p),
        "permutation": lambda x: x[:, rng.permutation(p)],
        "isotropic_scaling": lambda x: x * np.exp(rng.uniform(-3, 3)),
        "orthogonal": lambda x: x @ orthogonal(p, rng),
        "invertible_linear": lambda x: x @ invertible(p, rng),
    }


def approx(value):
    return pytest.approx(float(value), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("spec", SPECS)
@given(layers)
def test_declared_invariances_symmetry_range_and_identity(spec, drawn):
    n, p1, p2, seed = drawn
    if spec.startswith("pwcca"):
        n += p1 + p2  # with fewer examples several correlations are 1, and how their variables are weighted is not defined
    index = simkit.get_index(spec)
    facts = index.facts
    X, Y = pair(max(n, facts.min_examples), p1, p2, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        score = index(X, Y)
    assume(not np.isnan(score))  # all examples in one direction, to the cosine
    low, high = facts.range
    assert low - 1e-9 <= score <= high + 1e-9
    if facts.symmetric:
        assert index(Y, X) == approx(score)
    if facts.identity is not None:
        assert index(X, X) == approx(facts.identity)
    rng = np.random.default_rng(seed)
    for name, change in transforms(rng, p1).items():
        if name in facts.invariances.x:
            assert index(change(X), Y) == approx(score), f"X: {name}"
    for name, change in transforms(rng, p2).items():
        if name in facts.invariances.y:
            assert index(X, change(Y)) == approx(score), f"Y: {name}"
    if facts.metric:
        Z = X[:, : min(p1, p2)] + Y[:, : min(p1, p2)]
        assert index(X, Y) <= index(X, Z) + index(Z, Y) + 1e-9


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_not_declared_does_change_the_score(spec):
    """Table 1's crosses: an index that were invariant after all should say so. Counts change on some layers only."""
    index = simkit.get_index(spec)
    unseen = None
    for seed in range(1, 6):
        X, Y = pair(25, 6, 5, seed=seed)
        score = index(X, Y)
        rng = np.random.default_rng(3)
        same = set()
        for side, (A, declared) in enumerate(zip((X, Y), index.facts.invariances, strict=True)):
            for name, change in transforms(rng, A.shape[1]).items():
                changed = index(change(X), Y) if side == 0 else index(X, change(Y))
                if name not in declared and abs(changed - score) <= 1e-6 * abs(score):
                    same.add(f"{'XY'[side]}: {name}")
        if not index.facts.symmetric and abs(index(Y, X) - score) <= 1e-6:
            same.add("swapped")
        unseen = same if unseen is None else unseen & same
        if not unseen:
            return
    raise AssertionError(f"invariant without saying so: {unseen}")


@pytest.mark.parametrize("spec", SPECS)
def test_the_fewest_examples(spec):
    index = simkit.get_index(spec)
    n = index.facts.min_examples
    X, Y = pair(n, 3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        score = index(X, Y)
    assert np.isfinite(score) or n == 2
    with pytest.raises(InvalidArrayError, match=f"at least {n}"):
        index(X[: n - 1], Y[: n - 1])


@pytest.mark.parametrize("spec", SPECS)
def test_indexes_are_values(spec):
    index = simkit.get_index(spec)
    assert simkit.get_index(str(index)) == index
    for copied in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert copied == index
        assert hash(copied) == hash(index)
    assert type(index).reference
    assert type(index).__doc__
    with pytest.raises(AttributeError):
        index.name_of_nothing = 1


@pytest.mark.parametrize("spec", SPECS)
def test_the_same_twice(spec):
    X, Y = pair(20, 5, 30)
    assert simkit.compare(X, Y, spec) == simkit.compare(X, Y, spec)


@pytest.mark.parametrize("kernel", [*map(str, simkit.list_kernels()), "rbf(sigma=1.5)", "polynomial(coef0=0)"])
@given(layers)
def test_kernels(kernel, drawn):
    n, p, _, seed = drawn
    X, _ = pair(n, p, 1, seed, offset=0)
    k = simkit.get_kernel(kernel)
    fitted = k.fit(X)
    K = fitted(X, X)
    assert K.shape == (n, n)
    np.testing.assert_allclose(K, K.T, atol=1e-12 * np.abs(K).max())
    # a tile is a part of the whole, up to the root of rounding where a distance is 0
    np.testing.assert_allclose(fitted(X[:3], X), K[:3], rtol=1e-9, atol=1e-6)
    h = np.eye(n) - 1 / n
    centred = h @ K @ h
    assert np.linalg.eigvalsh(centred).min() > -1e-9 * np.abs(centred).max() * n  # positive semidefinite once centred
    rng = np.random.default_rng(seed)
    for name, change in transforms(rng, p).items():
        if name in k.invariances:
            Z = change(X)
            changed = k.fit(Z)(Z, Z)
            np.testing.assert_allclose(h @ changed @ h, centred, atol=1e-6 * max(1e-3, np.abs(centred).max()), err_msg=name)
    if k.homogeneous:
        doubled = h @ k.fit(2 * X)(2 * X, 2 * X) @ h
        factor = np.sum(doubled * centred) / np.sum(centred**2)
        np.testing.assert_allclose(doubled, factor * centred, atol=1e-9 * np.abs(doubled).max())
