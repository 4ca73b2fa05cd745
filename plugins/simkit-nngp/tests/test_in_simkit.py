"""What `pip install simkit-nngp` gives: names in simkit, on every array library, in chunks and on a cluster."""

from __future__ import annotations

import numpy as np
import pytest

import simkit
import simkit.testing

SPEC = "cka(kernel=ntk(depth=2, bias_variance=0.1), estimator=unbiased)"


@simkit.testing.parametrize(
    "arccos",
    "arccos(order=0)",
    "arccos(order=2)",
    "nngp",
    "nngp(depth=1, activation=erf, bias_variance=0.2)",
    "ntk",
    "ntk(depth=2, activation=erf)",
)
def test_conformance(check):
    check()


@pytest.fixture
def layers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6))
    return x, np.maximum(x @ rng.standard_normal((6, 5)), 0)


def test_it_is_listed_with_its_origin():
    found = {str(entry): entry.distribution for entry in simkit.list_kernels()}
    assert {found[name] for name in ("arccos", "nngp", "ntk")} == {"simkit-nngp"}


def test_tiles(layers):
    whole = simkit.compare(*layers, SPEC)
    assert simkit.compare(*layers, SPEC, tiles="exact") == pytest.approx(float(whole), rel=1e-10)


def test_dask(layers, monkeypatch):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr("simkit.planner._SMALL", 10)  # tiles even of few examples
    lazy = [da.from_array(x, chunks=(100, x.shape[1])) for x in layers]
    assert float(simkit.compare(*lazy, SPEC)) == pytest.approx(float(simkit.compare(*layers, SPEC)), rel=1e-10)


def test_worker_processes(layers):
    da, distributed = pytest.importorskip("dask.array"), pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster):
        lazy = [da.from_array(x, chunks=(100, x.shape[1])) for x in layers]
        assert float(simkit.compare(*lazy, SPEC)) == pytest.approx(float(simkit.compare(*layers, SPEC)), rel=1e-10)
