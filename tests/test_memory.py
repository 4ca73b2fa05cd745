"""Promises of memory are kept, measured from outside; and what cannot fit is refused before work starts, with what would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

import simkit
from simkit import memory
from simkit.errors import SimkitError, TooLargeError
from simkit.feasibility import check_fits
from simkit.planner import Question, plan

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
X = np.random.default_rng(0).standard_normal((300, 4))
LAYERS = {f"layer{i}": X + i * X[:, ::-1] for i in range(6)}


@pytest.fixture
def little(monkeypatch):
    """As if there were so many bytes, and small amounts were worth asking."""

    def there_are(number):
        monkeypatch.setattr("simkit.memory.WORTH_ASKING", 0)
        monkeypatch.setattr("simkit.feasibility.WORTH_ASKING", 0)
        monkeypatch.setattr("simkit.planner.WORTH_ASKING", number)
        monkeypatch.setattr("simkit.memory.available", lambda: number)

    return there_are


# --- refused ------------------------------------------------------------------------------------------------------------

QUADRATIC = [
    *("cka(kernel=rbf)", "cka(kernel=laplacian, estimator=unbiased)", "hsic(kernel=rbf)", "mmd(kernel=rbf)"),
    *("distance_correlation", "rsa", "rsa(comparison=whitened_cosine)", "rsm_norm"),
]


def needing_all(spec, *layers):
    """The layers such that whole n x n matrices are needed: of kernels, gradients ask for them."""
    if simkit.get_index(spec).facts.statistic != "hsic sums":
        return layers
    torch = pytest.importorskip("torch")
    return tuple(torch.asarray(x).requires_grad_() for x in layers)


@pytest.mark.parametrize("spec", QUADRATIC)
def test_what_grows_with_the_square_of_n_is_refused_and_the_remedies_work(spec, little):
    little(10**6)
    (x,) = needing_all(spec, X)
    with pytest.raises(TooLargeError, match=r"MB of memory needed, 1\.0 MB available\. What fits: ") as raised:
        simkit.compare(x, x, spec)
    assert isinstance(raised.value, MemoryError)
    assert isinstance(raised.value, SimkitError)
    n = int(re.search(r"(\d+) of the 300 examples", str(raised.value))[1])
    assert 50 < n < 300
    simkit.compare(x[:n], x[:n], spec)
    with pytest.raises(TooLargeError):
        simkit.compare(x[: 2 * n], x[: 2 * n], spec)
    assert ("tiles" in str(raised.value)) == (simkit.get_index(spec).facts.statistic == "hsic sums")
    if "tiles" in str(raised.value):
        assert np.isfinite(float(simkit.compare(x, x, spec, tiles="exact")))
        expected = simkit.compare(X, X, spec)  # without gradients, in blocks
        assert simkit.explain(X, X, spec).form == "Gram matrices in blocks"
        assert float(simkit.compare(x, x, spec, tiles="exact")) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("other", [None, LAYERS])
@pytest.mark.parametrize("spec", QUADRATIC)
def test_layers_that_fit_only_a_few_at_a_time(spec, other, little):
    per_layer = simkit.get_index(spec).bytes_needed(300, [4] * 10, None, 8) / 12
    little(int(8 * per_layer))
    names = [*LAYERS, *(f"more{i}" for i in range(6))]
    many = dict(zip(names, needing_all(spec, *LAYERS.values(), *[X] * 6), strict=True))
    columns = None if other is None else {name: many[name] for name in other}
    with pytest.raises(TooLargeError, match="layers of 300 examples in memory") as raised:
        simkit.pairwise(many, columns, spec)
    found = re.search(r"(\d+) layers a side at once", str(raised.value))
    if found:
        few = {name: many[name] for name in names[: int(found[1])]}
        assert np.isfinite(simkit.pairwise(few, None if other is None else few, spec).to_numpy()).all()


@pytest.mark.parametrize("spec", [*QUADRATIC, "cka", "cka(estimator=unbiased)", "mutual_knn", "jaccard", "cknna"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_more_is_asked_for_than_is_taken(spec, dtype):
    """So that nothing is refused that would have fitted."""
    index, rng = simkit.get_index(spec), np.random.default_rng(0)
    layers = [rng.standard_normal((500, 8)).astype(dtype) for _ in range(5)]
    simkit.pairwise([x[:30] for x in layers], index=index)
    for rows, columns in ((layers[:3], layers[3:]), (layers, None)):
        tracemalloc.start()
        simkit.pairwise(rows, columns, index)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0 < simkit.explain(rows, columns, index).bytes <= 1.02 * peak


@pytest.mark.parametrize("spec", ["mutual_knn", "jaccard(metric=euclidean)", "cknna", "cknna(metric=inner)"])
def test_neighbours_take_no_matrix_over_all_pairs(spec):
    """k numbers an example, and the similarities of some examples at a time."""
    rng, n = np.random.default_rng(0), 5000
    x, y = (rng.standard_normal((n, 4)).astype(np.float32) for _ in range(2))
    simkit.compare(x[:30], y[:30], spec)
    tracemalloc.start()
    simkit.compare(x, y, spec)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n * n  # bytes: less than a mask


def test_memory_of_the_host_counts_for_arrays_of_the_host(backend):
    x = backend.asarray(X)
    assert (memory.available_to(x) is None) == (backend.name in ("torch:cuda", "cupy") or memory.available() is None)


def test_inference_is_refused_too(little):
    little(10**6)
    with pytest.raises(TooLargeError, match="300 examples"):
        simkit.permutation_test(X, X, "cka(kernel=rbf)", permutations=10)


@pytest.mark.parametrize("spec", ["bipartite_match", "semi_match", "soft_match"])
def test_what_grows_with_the_product_of_the_widths_is_refused(spec, little):
    wide = np.random.default_rng(0).standard_normal((5, 400))
    little(10**6)
    with pytest.raises(
        TooLargeError, match=r"Compare narrower layers, such as convolution maps averaged .*simkit\.examples"
    ):
        simkit.compare(wide, wide, spec)
    maps = wide.reshape(5, 40, 5, 2)
    assert np.isfinite(simkit.compare(*[simkit.examples(maps, "mean", channels="first")] * 2, spec))


def test_linear_kernels_need_features_or_gram_matrices(little):
    layers = [X[:100, :]] * 60  # more features than examples: Gram matrices
    little(10**6)
    assert simkit.pairwise(layers).shape == (60, 60)
    little(10**4)
    with pytest.raises(TooLargeError, match=r"cka of 60 layers.*\(products of features\).*simkit\.stream, batch by batch"):
        simkit.pairwise(layers)
    with pytest.raises(TooLargeError, match=r"cka of 2 layers of 300 examples in memory \(products of features\)"):
        simkit.compare(X, X)
    with pytest.raises(TooLargeError, match=r"cka of 2 layers of 300 examples in memory \(Gram matrices in blocks\)"):
        simkit.compare(X, X, tiles="exact")
    with pytest.raises(TooLargeError, match=r"scatter matrix of 80 features.*At most 35 features in all fit"):
        simkit.stream("cka").update(np.ones((3, 40)), np.ones((3, 40)))
    simkit.stream("cka").update(np.ones((3, 17)), np.ones((3, 18)))


def test_states_of_chunks_that_do_not_fit_are_refused():
    """32 lazy layers of 4096 features have a joint scatter matrix of 137 GB."""
    da = pytest.importorskip("dask.array")
    if (memory.available() or 2**60) > 4e11:
        pytest.skip("412 GB are there")
    layers = [da.zeros((10**6, 4096), chunks=(1000, 4096), dtype="float32") + np.float32(k) for k in range(32)]
    for spec in ("cka", "cka(estimator=unbiased)", "cca"):
        for ask in (simkit.pairwise, simkit.explain):
            with pytest.raises(
                TooLargeError, match=r"32 layers of 1000000 examples of Dask arrays.*412\.3 GB.*What"
            ) as raised:
                ask(layers, None, spec)
        few = re.search(r"(\d+) layers a side at once", str(raised.value))
        if few:
            assert simkit.pairwise(layers[: int(few[1])], index=spec).shape == (int(few[1]),) * 2
    small = [x[:2000] for x in layers]  # the Gram matrices are smaller
    assert simkit.explain(small).form == "the layers themselves"


@LINUX
def test_gram_matrices_of_200_000_examples_are_refused_at_once():
    if (memory.available() or 2**60) > 6e11:
        pytest.skip("640 GB are there")
    tall = np.random.default_rng(0).standard_normal((200_000, 2)).astype(np.float32)
    begin = time.perf_counter()
    with pytest.raises(TooLargeError, match=r"[0-9]{3,}\.0 GB of memory needed, .* GB available"):
        simkit.compare(tall, tall, "rsa")
    assert time.perf_counter() - begin < 10
    assert simkit.explain(tall, tall, "cka(kernel=rbf)").bytes < 10**8


def test_the_question_costs_nothing():
    index = simkit.get_index("cka(kernel=rbf)")
    begin = time.perf_counter()
    for _ in range(1000):
        question = Question(index, "memory", 300, (4,), (4,))
        check_fits(question, plan(question))
    assert time.perf_counter() - begin < 1  # some ten microseconds each; the bound is for busy machines


# --- how much there is --------------------------------------------------------------------------------------------------


def tree(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


PAGES = "anon 1\ninactive_file 300\nactive_file 20\n"
GROUPS = {
    "version 2": (
        "0::/job/step\n",
        {"memory.stat": PAGES, "job/memory.max": "5000", "job/memory.current": "1000", "job/memory.stat": PAGES}
        | {"job/step/memory.max": "max", "job/step/memory.current": "900", "job/step/memory.stat": PAGES},
        4320,
    ),
    "version 1": (
        "5:cpu:/x\n4:memory:/job\n0::/\n",
        {
            "memory/job/memory.limit_in_bytes": "4000",
            "memory/job/memory.usage_in_bytes": "1500",
            "memory/job/memory.stat": "total_inactive_file 200\ntotal_active_file 1\n",
        },
        2701,
    ),
    "the folder of a container": (
        "4:memory:/docker/abc\n",
        {
            "memory/memory.limit_in_bytes": "4000",
            "memory/memory.usage_in_bytes": "1500",
            "memory/memory.stat": "total_inactive_file 0\ntotal_active_file 0\n",
        },
        2500,
    ),
    "more is used than allowed": (
        "0::/\n",
        {"memory.max": "100", "memory.current": "700", "memory.stat": PAGES.replace("300", "0")},
        0,
    ),
    "no limit": ("0::/\n", {"memory.max": "max", "memory.current": "7", "memory.stat": PAGES}, 7168),
    "unreadable": ("nonsense\n", {}, 7168),
}


@pytest.mark.parametrize(("group", "files", "expected"), GROUPS.values(), ids=GROUPS)
def test_limits_of_containers_and_batch_systems(group, files, expected, tmp_path, monkeypatch):
    tree(tmp_path / "proc", {"meminfo": "MemTotal: 9 kB\nMemAvailable:   5 kB\nSwapFree: 2 kB\n", "self/cgroup": group})
    tree(tmp_path / "groups", files)
    monkeypatch.setattr(memory, "_PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_of_limits", lambda: iter(()))
    assert memory.available() == expected


def run(code, *arguments):
    """Run code in a process of its own, with one thread of BLAS, and return what it prints as numbers."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return list(map(float, done.stdout.split()))


PRELUDE = """
import resource, sys
import numpy as np, simkit
def resident(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) / 1000
def limit(megabytes):
    resource.setrlimit(resource.RLIMIT_DATA, (int((resident("VmData") + megabytes) * 1e6),) * 2)
rng = np.random.default_rng(0)
"""


@LINUX
def test_limits_of_the_process_are_seen():
    found, bound = run(
        """
from simkit.memory import available
from simkit.errors import TooLargeError
limit(300)
print(available() / 1e6)
X = rng.standard_normal((4500, 3))
try:
    simkit.compare(X, X, "rsa")
except TooLargeError as error:
    print(len(str(error)))
"""
    )
    assert 250 < found <= 301
    assert bound > 50


# --- promises -----------------------------------------------------------------------------------------------------------
# Small relatives of benchmarks/memory.py. The limit makes the process fail where it takes more.

PROMISES = {
    # name: (megabytes above the interpreter, what runs)
    "a stream of 200,000 examples, 51 MB each side": (
        25,
        """
simkit.stream("cka").update(np.zeros((9, 2)), np.zeros((9, 2)))
before = resident("VmRSS")
limit(MEGABYTES)
stream = simkit.stream(sys.argv[1])
for _ in range(50):
    batch = rng.standard_normal((4000, 64), dtype=np.float32)
    stream.update(batch, batch[:, ::-1])
score = float(stream.compute())
assert stream.n == 200_000
""",
    ),
    "tiles of 6000 examples, 288 MB each Gram matrix": (
        40,
        """
X = rng.standard_normal((6000, 8))
simkit.compare(X[:50], X[:50], "cka(kernel=rbf)", tiles="exact")
before = resident("VmRSS")
limit(MEGABYTES)
score = float(simkit.compare(X, X[:, ::2], sys.argv[1], tiles="exact"))
""",
    ),
    "100 x 100 layers of 200 x 60, 10 MB in all": (
        80,  # Gram matrices of 32 MB, and as much while they are compared
        """
layers = [rng.standard_normal((200, 60)) for _ in range(100)]
simkit.pairwise(layers[:3], index=sys.argv[1])
before = resident("VmRSS")
limit(MEGABYTES)
score = float(simkit.pairwise(layers, index=sys.argv[1]).to_numpy()[0, 1])
""",
    ),
}


@LINUX
@pytest.mark.parametrize("spec", ["cka", "cka(estimator=unbiased)", "cca"])
@pytest.mark.parametrize("name", PROMISES)
def test_promises(name, spec):
    megabytes, code = PROMISES[name]
    if "tiles" in name:
        spec = {"cka": "cka(kernel=rbf)", "cca": "distance_correlation"}.get(spec, "cka(kernel=rbf, estimator=unbiased)")
    code = code.replace("MEGABYTES", str(2 * megabytes))
    peak, score = run(code + 'print(resident("VmHWM") - before, score)', spec)
    assert np.isfinite(score)
    assert peak < megabytes, f"{name}: {peak:.0f} MB"


@LINUX
@pytest.mark.parametrize("spec", ["cka", "cca"])
def test_dask_over_a_file_that_is_larger_than_what_is_allowed(spec, tmp_path):
    pytest.importorskip("dask")
    file = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(400_000, 64))
    pool = np.random.default_rng(0).standard_normal((50_000, 64), dtype=np.float32)
    for i in range(8):
        file[i * 50_000 : (i + 1) * 50_000] = pool + i
    file.flush()
    peak, score = run(
        """
from simkit.scale.dask import compute
import dask.array as da
tiny = da.from_array(rng.standard_normal((50, 3)), chunks=25)
compute(simkit.compare(tiny, tiny, sys.argv[2]), progress=False)
before = resident("VmRSS")
limit(200)
x = simkit.open_source(sys.argv[1])
score = float(compute(simkit.compare(x, x[:, ::2], sys.argv[2]), progress=False)[0])
print(resident("VmHWM") - before, score)
""",
        tmp_path / "x.npy",
        spec,
    )
    assert np.isfinite(score)
    assert peak < 80  # of 102 MB
