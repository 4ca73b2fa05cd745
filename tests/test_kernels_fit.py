"""What a kernel's fit needs is declared, and every producer goes by the declaration: never by the names of attributes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import definitions
import numpy as np
import pytest
import wrong
from data import pair

import simkit
from simkit.errors import NeedsAllExamplesError
from simkit.kernels import RBF, Laplacian
from simkit.linalg import root, squared_distances
from simkit.scale import blocks


@dataclass(frozen=True)
class Wide(RBF):
    """A bandwidth of twice the median distance, under another rule than RBF's."""

    def with_median(self, median):
        return replace(self, sigma=2 * median)


@dataclass(frozen=True)
class Cauchy(simkit.Kernel):
    """1 / (1 + |x - y|^2 / width^2), with names of its own for everything."""

    share: float = 0.5
    width: Any = None
    name = "cauchy"

    @property
    def fit_needs(self):
        return "median distance" if self.width is None else "nothing"

    @property
    def invariances(self):
        return simkit.properties.implied("orthogonal", "translation", *(["isotropic_scaling"] * (self.width is None)))

    def with_median(self, median):
        return replace(self, width=self.share * median)

    def __call__(self, X, Y):
        return 1 / (1 + squared_distances(X, Y, np) / self.width**2)


@dataclass(frozen=True)
class Uncentred(Cauchy):
    """Does not say that offsets do not matter."""

    invariances = frozenset()


@dataclass(frozen=True)
class Decoy(simkit.Kernel):
    """Has fields called fraction and sigma, which are no bandwidth."""

    fraction: float = 0.5
    sigma: Any = None
    name = "decoy"
    invariances = frozenset({"orthogonal", "permutation"})

    def __call__(self, X, Y):
        return (X @ Y.T + self.fraction) ** 2


def mean_distance(X):
    D = definitions.distances(X)
    return D.sum() / (len(X) * (len(X) - 1))


def cauchy(X):
    return 1 / (1 + (definitions.distances(X) / (0.5 * definitions.median_distance(X))) ** 2)


CASES = {
    "median": (RBF(fraction=0.5), lambda X: definitions.rbf(X, fraction=0.5)),
    "laplacian": (Laplacian(), definitions.laplacian),
    "another rule": (Wide(), lambda X: definitions.rbf(X, fraction=2.0)),
    "own names": (Cauchy(), cauchy),
    "not centred": (Uncentred(), cauchy),
    "same names": (Decoy(), lambda X: (X @ X.T + 0.5) ** 2),
    "all examples": (wrong.OfAllExamples(), lambda X: definitions.rbf(X, sigma=mean_distance(X))),
}


def by_definition(gram, *layers):
    K, L = (definitions.H(len(X)) @ gram(X) @ definitions.H(len(X)) for X in layers)
    return np.sum(K * L) / np.linalg.norm(K) / np.linalg.norm(L)


@pytest.fixture
def dask_tiles(monkeypatch):
    """Dask arrays of which even 60 examples are cut into blocks of 17."""
    da = pytest.importorskip("dask.array")
    from simkit.scale import kernels

    monkeypatch.setattr("simkit.planner._SMALL", 10)
    monkeypatch.setattr(kernels, "_ROWS", 17)
    return lambda x: da.from_array(x, chunks=(20, -1))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_producer_fits_alike(name, dtype, dask_tiles, monkeypatch):
    monkeypatch.setattr(blocks, "_SIDE", 7)
    kernel, gram = CASES[name]
    X, Y = (x.astype(dtype) for x in pair(60, 5, 4))
    expected = by_definition(gram, X.astype(float), Y.astype(float))
    index = simkit.indexes.CKA(kernel=kernel)
    tolerance = {"float32": 1e-5, "float64": 1e-10}[dtype]
    assert float(index(X, Y)) == pytest.approx(expected, rel=tolerance)
    assert float(simkit.compare(X, Y, index, tiles="exact")) == pytest.approx(expected, rel=tolerance)
    assert float(simkit.compare(X, Y, index, tiles="sample")) == pytest.approx(expected, rel=tolerance)  # all pairs
    import dask

    for bandwidth in ("exact", "sample"):
        with dask.config.set({"simkit.bandwidth": bandwidth}):
            assert float(index(dask_tiles(X), dask_tiles(Y))) == pytest.approx(expected, rel=tolerance)


def test_a_fit_that_is_not_declared_is_an_error_not_a_guess(dask_tiles):
    X, Y = pair(60, 5, 4)
    index = simkit.indexes.CKA(kernel=wrong.MeanDistance())
    expected = by_definition(lambda Z: definitions.rbf(Z, sigma=mean_distance(Z)), X, Y)
    assert float(index(X, Y)) == pytest.approx(expected, rel=1e-10)  # in memory nothing needs to be declared
    for call in (lambda: simkit.compare(X, Y, index, tiles="exact"), lambda: index(dask_tiles(X), dask_tiles(Y))):
        with pytest.raises(
            NeedsAllExamplesError, match='MeanDistance has a fit of its own.* Set fit_needs = "all examples"'
        ):
            call()


def test_dask_arrays_of_few_examples_meet_the_same_error():
    da = pytest.importorskip("dask.array")
    x, y = map(da.from_array, pair(60, 5, 4))
    with pytest.raises(NeedsAllExamplesError, match="does not declare what it needs"):
        simkit.compare(x, y, "cka", kernel=wrong.MeanDistance())


def test_a_declaration_that_is_none_of_the_three():
    @dataclass(frozen=True)
    class Odd(wrong.Gauss):
        fit_needs = "the mean"

    with pytest.raises(NeedsAllExamplesError, match="declares fit_needs = 'the mean'"):
        simkit.compare(*pair(60, 5, 4), "cka", kernel=Odd(), tiles="exact")


def test_the_remedies_that_the_error_names_work(dask_tiles):
    """Each of the three declarations, put into the class as the message says."""
    X, Y = pair(60, 5, 4)

    @dataclass(frozen=True)
    class Mean(wrong.MeanDistance):
        fit_needs = "all examples"

    @dataclass(frozen=True)
    class Median(wrong.MeanDistance):
        fit = simkit.Kernel.fit
        fit_needs = "median distance"

        def with_median(self, median):
            return RBF(sigma=median)

    @dataclass(frozen=True)
    class Fixed(RBF):
        sigma: Any = 3.0
        fit_needs = "nothing"

        def fit(self, X):
            return self

    for kernel, gram in (
        (Mean(), lambda Z: definitions.rbf(Z, sigma=mean_distance(Z))),
        (Median(), definitions.rbf),
        (Fixed(), lambda Z: definitions.rbf(Z, sigma=3.0)),
    ):
        index = simkit.indexes.CKA(kernel=kernel)
        expected = by_definition(gram, X, Y)
        assert float(index(X, Y)) == pytest.approx(expected, rel=1e-10)
        assert float(simkit.compare(X, Y, index, tiles="exact")) == pytest.approx(expected, rel=1e-10)
        assert float(index(dask_tiles(X), dask_tiles(Y))) == pytest.approx(expected, rel=1e-10)


def test_a_median_that_nobody_can_use():
    with pytest.raises(NotImplementedError, match="Gauss declares fit_needs = 'nothing'"):
        wrong.Gauss().with_median(1.0)
    median = root(np.asarray(0.0), np)
    assert np.isnan(RBF().with_median(median).sigma)
    assert np.isnan(Laplacian().with_median(median).sigma)
