"""Fixtures of all tests.

``def test_x(backend)`` runs once on each array library (see `backends.Library`); ``backend.asarray(numpy_array)`` and
``backend.to_numpy(array)`` go there and back, ``backend.xp`` is the namespace and ``backend.name`` the name. To run on some
libraries only: ``@pytest.mark.backends("torch", "jax")``.

``HYPOTHESIS_PROFILE=thorough pytest`` draws many random examples and runs every case on JAX; the default draws the same few each
time, and of the cases of one test takes every other one to JAX, which compiles each operation anew for each shape: a third of the
time of all tests would go there.
"""

from __future__ import annotations

import os
from collections import Counter

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
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backends(*names): run on these array libraries only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        libraries = [Library(name) for name in marker.args] if marker else list(Library)
        metafunc.parametrize("backend", libraries, ids=str, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out every other case on JAX, but for the thorough profile; each test keeps its first."""
    if PROFILE == "thorough":
        return
    cases: Counter[tuple[str, str]] = Counter()
    left_out = []
    for item in items:
        if getattr(getattr(item, "callspec", None), "params", {}).get("backend") is Library.JAX:
            test = str(item.path), getattr(item, "originalname", item.name)
            if cases[test] % 2:
                left_out.append(item)
            cases[test] += 1
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in gone]


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """One array library after the other."""
    return make(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in each run."""
    return np.random.default_rng(20190515)
