"""Fixtures of all tests.

``def test_x(backend)`` runs once on each array library (see `backends.Library`); ``backend.asarray(numpy_array)`` and
``backend.to_numpy(array)`` go there and back, ``backend.xp`` is the namespace and ``backend.name`` the name. To run on some
libraries only: ``@pytest.mark.backends("torch", "jax")``.

``HYPOTHESIS_PROFILE=thorough pytest`` draws many random examples; the default draws the same few each time.
"""

from __future__ import annotations

import os

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # tests compile more than they compute
os.environ.setdefault("MPLBACKEND", "agg")

import numpy as np
import pytest
import threadpoolctl
from backends import Backend, Library, make
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core already; NumPy may have been loaded before this file
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    LIMITS = threadpoolctl.threadpool_limits(1)

settings.register_profile(
    "quick", max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backends(*names): run on these array libraries only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        libraries = [Library(name) for name in marker.args] if marker else list(Library)
        metafunc.parametrize("backend", libraries, ids=str, indirect=True, scope="session")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """One array library after the other."""
    return make(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in each run."""
    return np.random.default_rng(20190515)
