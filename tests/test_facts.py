"""Every registered index and kernel, and the variants of those that have some, pass the conformance kit.

What the kit looks at, and that it catches what is wrong, is in test_testing.py. Here it is also given layers of many shapes.
"""

from __future__ import annotations

import pytest
from data import OWN_INDEXES, OWN_KERNELS
from hypothesis import given
from hypothesis import strategies as st

from simkit.testing import check_index, check_kernel

DEFAULTS = [*map(str, OWN_INDEXES)]
SPECS = [
    *DEFAULTS,
    *(f"{name}(kernel={kernel})" for name in ("cka", "hsic") for kernel in OWN_KERNELS if kernel != "linear"),
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
    "procrustes(alpha=0)",
    "procrustes(alpha=0.5)",
    "procrustes(alpha=0.5, summary=distance)",
    "canonical_ridge(kappa_x=10, kappa_y=10, normalization=cauchy_schwarz)",
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
COMPILED = ["rsa(comparison=whitened_cosine)", "rsa(comparison=kendall)", "cka(kernel=rbf)"]  # other code than the default
KERNELS = [*map(str, OWN_KERNELS), "rbf(sigma=1.5)", "laplacian(fraction=0.3)", "polynomial(coef0=0)"]
PROMISES = ["invariances", "symmetry", "in_range", "identity", "metric"]


@pytest.mark.parametrize("spec", SPECS)
def test_index(spec):
    skip = (
        {} if spec in (*DEFAULTS, *COMPILED) else {"compiled_by_torch": "takes a second each, and compiles as the default"}
    )
    check_index(spec, skip=skip)


@pytest.mark.parametrize("spec", KERNELS)
def test_kernel(spec):
    check_kernel(spec)


@pytest.mark.parametrize("spec", SPECS)
@given(st.integers(8, 30), st.integers(3, 12), st.integers(3, 12), st.integers(0, 10**6))
def test_index_on_layers_of_any_shape(spec, n, p1, p2, seed):
    if spec.startswith("pwcca"):
        n += p1 + p2  # with fewer examples several correlations are 1, and how their variables are weighted is not defined
    check_index(spec, only=PROMISES, shapes=[(n, p1, p2)], seed=seed)


@pytest.mark.parametrize("spec", KERNELS)
@given(st.integers(8, 30), st.integers(2, 12), st.integers(0, 10**6))
def test_kernel_on_layers_of_any_shape(spec, n, p, seed):
    check_kernel(
        spec,
        only=["invariances", "homogeneous", "symmetry", "positive_semidefinite", "tiles", "fit"],
        shapes=[(n, p, 1)],
        seed=seed,
    )
