"""Fixtures of all tests, and what keeps their time down.

``def test_x(backend)`` runs once on each array library (see `backends.Library`); ``backend.asarray(numpy_array)`` and
``backend.to_numpy(array)`` go there and back, ``backend.xp`` is the namespace and ``backend.name`` the name. To run on some
libraries only: ``@pytest.mark.backends("torch", "jax")``. The tests of a library or device that is not here are left out when
tests are collected, and the summary says so in one line for each.

``HYPOTHESIS_PROFILE=thorough pytest`` draws many random examples and runs every case on JAX; the default draws the same few each
time, and takes to JAX only the cases of a test that bring another value of one of its parameters (and of more than two values
every third): of shapes times indexes, the first shape with several indexes, and other shapes with the first index. So what is
tested for several shapes or indexes is better a parameter than a loop. Each index is on JAX in test_facts.py in any case.

Most of the time goes into JAX, which compiles each operation anew for each shape and precision: a case on JAX takes about a
second, on other libraries some milliseconds. So it compiles with few optimizations and by the cheaper of XLA's two code
generators (20 ms for an operation instead of 36), and keeps what it has compiled in pytest's cache, for the other workers, for
subprocesses and for the next run, which then takes a third of the time (``pytest --cache-clear`` forgets it). In new tests, prefer
shapes that others use, and ``jax.jit`` of a whole call to each operation alone where a test is not about the latter.

The limit of time for one test (see pyproject.toml) is there to end what hangs, on a machine that is busy with other things as
well; tests set no shorter ones of their own, unless taking no longer is what they test.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from importlib import metadata
from typing import Any

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("MPLBACKEND", "agg")

# Tests on JAX compile more than they compute: each operation for each shape, some ten milliseconds each.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
try:
    if metadata.version("jaxlib").startswith("0.10."):  # it ends the process where it does not know a flag
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")  # half the time of a compilation
except metadata.PackageNotFoundError:
    pass

import numpy as np
import pytest
import threadpoolctl
from backends import PROFILE, THOROUGH, Backend, Library, make, why_absent
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core already; NumPy may have been loaded before this file
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    LIMITS = threadpoolctl.threadpool_limits(1)

settings.register_profile(
    "quick", max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(PROFILE)

LEFT_OUT = pytest.StashKey[dict[str, str]]()  # library -> how many of its tests are left out, and why


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backends(*names): run on these array libraries only")
    config.stash[LEFT_OUT] = {}
    if config.pluginmanager.hasplugin("cacheprovider"):  # for the next run, other workers and subprocesses
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("backends")
        libraries = [Library(name) for name in marker.args] if marker else list(Library)
        metafunc.parametrize("backend", libraries, ids=str, indirect=True, scope="session")


def library_of(item: pytest.Item) -> Library | None:
    """What the ``backend`` of a test is."""
    return item.callspec.params.get("backend") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None


def brings_another_value(met: dict[str, set[int]], parameters: dict[str, Any]) -> bool:
    """Whether a case has a value of a parameter that no case of its test had before: of more than two, every third.

    `met` holds the values so far, by their identity, as not all can be hashed; it is brought up to date.
    """
    brings = False
    for name, value in parameters.items():
        values = met.setdefault(name, set())
        if id(value) not in values:
            brings |= len(values) < 2 or len(values) % 3 == 1
            values.add(id(value))
    return brings


@pytest.hookimpl(trylast=True)  # after -k and -m, so that what they leave is counted
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here and, but for the thorough profile, most cases on JAX; each test keeps its first."""
    absent: Counter[Library] = Counter()
    met: defaultdict[tuple[str, str], dict[str, set[int]]] = defaultdict(dict)
    kept, left_out = [], []
    for item in items:
        library = library_of(item)
        leave = False
        if library is not None and why_absent(library):
            absent[library] += 1
            leave = True
        elif library is Library.JAX and not THOROUGH:
            leave = not brings_another_value(met[str(item.path), item.originalname], item.callspec.params)
        (left_out if leave else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    config.stash[LEFT_OUT] = {str(library): f"{n} tests left out, as {why_absent(library)}" for library, n in absent.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Of pytest-xdist: every worker collects the same tests, and the process that writes the summary none."""
    node.config.stash[LEFT_OUT].update(getattr(node, "workeroutput", {}).get("left out", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        session.config.workeroutput["left out"] = session.config.stash[LEFT_OUT]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for library, what in config.stash[LEFT_OUT].items():
        terminalreporter.write_line(f"{library}: {what}")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """One array library after the other."""
    return make(request.param)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in each run."""
    return np.random.default_rng(20190515)


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by playwright; tests of pages are skipped where one of both is not there."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
