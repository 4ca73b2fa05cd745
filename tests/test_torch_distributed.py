"""all_reduce over two real processes with Gloo: every process ends with the result of all examples."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
import traceback
import warnings
from datetime import timedelta

import numpy as np
import pytest
from data import pair

import simkit
from simkit.errors import InvalidArrayError
from simkit.kernels import Linear

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("this build of PyTorch has no torch.distributed", allow_module_level=True)

X, Y = pair(70, 5, 4)
SHARES = [slice(0, 45), slice(45, 70)]


def process(rank, size, work, store, results):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=size, init_method=f"file://{store}")
    try:
        results.put((rank, work(rank)))
    except Exception:
        results.put((rank, traceback.format_exc()))
    finally:
        dist.destroy_process_group()


def in_processes(work, tmp_path, size=2, survivors=None):
    """What each process returned; they end by themselves."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=process, args=(rank, size, work, tmp_path / "store", results)) for rank in range(size)
    ]
    for each in processes:
        each.start()
    found = dict(results.get(timeout=300) for _ in range(survivors or size))
    for each in processes:
        each.join(30)
    codes = [each.exitcode for each in processes]
    for each in processes:
        each.kill()
    assert codes[: len(found)] == [0] * len(found)  # and none of these waited for the group's half hour
    return [found[rank] for rank in sorted(found)]


def share(rank, convert):
    return convert(X[SHARES[rank]]), convert(Y[SHARES[rank]])


SPECS = ("cca", "semi_match", "maximum_match", "procrustes(summary=distance)", "linear_regression")
HARD = {"ordinary": slice(0, 70), "near": slice(0, 70), "idle": slice(45, 70)}  # and the examples that count


def whole(case):
    """Layers with dead units, nearly duplicated ones in one case, and an outlier in the first row."""
    x, y = X.copy(), Y.copy()
    x[:, 1], y[:, 2] = 0.1, -7.0
    if case == "near":
        x[:, 3] = x[:, 0] + 1e-6 * X[:, 3]
    x[0, 0] = 1e6
    return x, y


def hard(rank, case, convert):
    return tuple(convert(z[SHARES[rank]]) for z in whole(case))


def everything(rank):
    """All of it in one start of two processes, which is what takes time."""
    import torch.distributed as dist

    from simkit.statistics.minibatch import MinibatchHSIC
    from simkit.statistics.moments import Moments
    from simkit.statistics.roots import Roots
    from simkit.torch.distributed import all_reduce

    found = {}
    for name, convert in (("torch", torch.from_numpy), ("numpy", np.asarray)):
        for spec in ("cka(estimator=unbiased)", "cca", "cka(estimator=minibatch, kernel=rbf(sigma=2.0))"):
            stream = simkit.stream(spec)
            x, y = share(rank, convert)
            stream.update(x[:20], y[:20])
            stream.update(x[20:], y[20:])
            before = float(stream.compute())
            value = all_reduce(stream).compute()
            assert float(stream.compute()) == before
            assert isinstance(value, torch.Tensor) == (name == "torch")
            found[name, spec] = float(value)
            for idle in ("no batch", "an empty batch"):
                one = simkit.stream(spec)
                if rank == 1:
                    one.update(convert(X[:40].astype(np.float32)), convert(Y[:40].astype(np.float32)))
                elif idle == "an empty batch":
                    one.update(convert(X[:0].astype(np.float32)), convert(Y[:0].astype(np.float32)))
                one = all_reduce(one)
                score = one.compute()
                one.update(convert(X[40:]), convert(Y[40:]))  # in float64, which decides
                then = one.compute()
                assert (score.dtype, then.dtype) == (convert(np.zeros(0, np.float32)).dtype, convert(np.zeros(0)).dtype)
                found[name, spec, idle] = (one.n, one.batches, float(score), float(then))
        x, y = share(rank, convert)
        reduced = all_reduce(Moments.of({"x": x, "y": y}, third_order=True))
        found[name, "moments"] = (
            reduced.n,
            *(np.asarray(a) for a in (reduced.mean, reduced.scatter, reduced.third, reduced.fourth)),
        )

    layers = simkit.stream("procrustes")
    if rank == 1:  # the other has no examples at all
        layers.update({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)})
    matrix = all_reduce(layers).compute()
    found["one idle"] = (matrix.rows, matrix.n, np.asarray(matrix.values))

    for name, convert in (("torch", torch.from_numpy), ("numpy", np.asarray)):
        for case in HARD:
            x, y = hard(rank, case, convert)
            streams = {}
            for spec in SPECS:
                streams[spec] = simkit.stream(spec)
                if rank == 1 or "idle" not in case:
                    streams[spec].update(x, y)
                streams[spec] = all_reduce(streams[spec])
            root = streams["cca"].statistic
            arrays = {k: np.asarray(v) for k, v in root.arrays.items()}
            found[name, case] = (root.n, np.asarray(root.rows), arrays, {k: float(v.compute()) for k, v in streams.items()})
        x, y = hard(rank, "ordinary", convert)
        reduced = all_reduce(Roots.of({"x": x, "y": y}))
        assert isinstance(reduced, Roots)
        assert isinstance(reduced.rows, torch.Tensor) == (name == "torch")
        found[name, "roots"] = reduced.n, np.asarray(reduced.rows), np.asarray(reduced.mean)

    found["no examples"] = all_reduce(Moments.of({"x": X[:0]})).n
    wrong = {
        "different": Moments.of({"x": X[:, : 3 + rank]}),
        "different orders": Moments.of({"x": X}, third_order=rank == 1),
        "different sides": MinibatchHSIC.of({"x": X, "y": Y}, kernel=Linear(), rows="x", columns="xy"[: 1 + rank]),
        "different roots": Roots.of({"x": X[:, : 3 + rank]}),
        "nothing in a stream": simkit.stream("cca"),
    }
    for name, state in wrong.items():
        try:
            all_reduce(state)
        except InvalidArrayError as error:
            found[name] = str(error)
    found["rank"] = dist.get_rank()
    return found


def test_two_processes_hold_the_result_of_all_examples(tmp_path):
    found = in_processes(everything, tmp_path)
    for rank, each in enumerate(found):
        assert isinstance(each, dict), each
        assert each["rank"] == rank
    first, second = found
    Z = np.concatenate([X, Y], axis=1)
    z = Z - Z.mean(axis=0)
    a = np.stack([np.sum(z[:, :5] ** 2, axis=1), np.sum(z[:, 5:] ** 2, axis=1)])
    minibatch = simkit.stream("cka(estimator=minibatch, kernel=rbf(sigma=2.0))")
    for part in (slice(0, 20), slice(20, 45), slice(45, 65), slice(65, 70)):
        minibatch.update(X[part], Y[part])
    for name in ("torch", "numpy"):
        for spec in ("cka(estimator=unbiased)", "cca"):
            assert first[name, spec] == second[name, spec]
            assert first[name, spec] == pytest.approx(float(simkit.compare(X, Y, spec)), rel=1e-10)
        spec = "cka(estimator=minibatch, kernel=rbf(sigma=2.0))"
        assert first[name, spec] == second[name, spec] == pytest.approx(float(minibatch.compute()), rel=1e-12)
        for each in ("cka(estimator=unbiased)", "cca", spec):
            alone = simkit.stream(each)
            alone.update(X[:40].astype(np.float32), Y[:40].astype(np.float32))
            before = float(alone.compute())
            alone.update(X[40:], Y[40:])
            for idle, batches in (("no batch", 2), ("an empty batch", 3)):
                assert first[name, each, idle] == second[name, each, idle]
                assert first[name, each, idle][:2] == (70, batches)
                assert first[name, each, idle][2:] == pytest.approx((before, float(alone.compute())), rel=1e-6)
        n, *sums = first[name, "moments"]
        assert n == 70
        for ours, theirs, expected in zip(
            sums, second[name, "moments"][1:], (Z.mean(axis=0), z.T @ z, a @ z, a @ a.T), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_allclose(ours, expected, atol=1e-11 * np.abs(expected).max())
        for case, counted in HARD.items():
            x, y = (z[counted] for z in whole(case))
            n, rows, arrays, scores = first[name, case]
            assert n == len(x)
            assert arrays.keys() == second[name, case][2].keys()
            for key, array in arrays.items():
                np.testing.assert_array_equal(array, second[name, case][2][key])  # the same bits everywhere
            assert scores == second[name, case][3]
            np.testing.assert_array_equal(rows.any(axis=0), np.ptp(np.concatenate([x, y], axis=1), axis=0) > 0)
            for spec, score in scores.items():
                assert score == pytest.approx(float(simkit.compare(x, y, spec)), rel=1e-9)
        n, rows, mean = first[name, "roots"]
        hard_ones = np.concatenate(whole("ordinary"), axis=1)
        np.testing.assert_allclose(mean, hard_ones.mean(axis=0), rtol=1e-13)
        hard_ones = hard_ones - hard_ones.mean(axis=0)
        scatter = hard_ones.T @ hard_ones
        np.testing.assert_allclose(rows.T @ rows, scatter, atol=1e-12 * np.abs(scatter).max())
    for each in found:
        rows, n, values = each["one idle"]
        assert (rows, n) == (("x", "y"), 70)
        np.testing.assert_allclose(values, simkit.pairwise({"x": X, "y": Y}, index="procrustes").values, rtol=1e-10)
        assert "other layers" in each["different roots"]
        assert "No process has seen a batch" in each["nothing in a stream"]
        assert "other layers" in each["different"]
        assert (
            "gathered its sums with {'third_order': True}, process 0 with {'third_order': False}" in each["different orders"]
        )
        assert "'rows': ('x',), 'columns': ('x', 'y')}, process 0 with" in each["different sides"]
        assert each["no examples"] == 0


class Asked:
    """What all_reduce says, how long that took, and what it said before."""

    def __init__(self, state, group, timeout=1.0):
        from simkit.torch.distributed import all_reduce

        begin = time.monotonic()
        with warnings.catch_warnings(record=True) as before:
            warnings.simplefilter("always")
            try:
                self.said = repr(all_reduce(state, group, timeout=timeout))
            except Exception as error:
                self.said = f"{type(error).__name__}: {error}"
        self.seconds, self.before = time.monotonic() - begin, [f"{w.category.__name__}: {w.message}" for w in before]


def failures(rank):
    """Three processes, one of which does not do what the others do; a group is spent once that has happened."""
    import torch.distributed as dist

    import simkit.torch.processes
    from simkit.statistics.moments import Moments
    from simkit.torch.processes import Processes

    simkit.torch.processes._AGAIN = 0.4
    groups = {
        name: dist.new_group(range(3))
        for name in ("third", "first", "half way", "dies half way", "dies", "dies, and one is late")
    }
    short = dist.new_group(range(3), timeout=timedelta(seconds=1))
    state = Moments.of({"x": X})
    cca, cka = simkit.stream("cca"), simkit.stream("cka")
    asked = {
        "nothing of ours": Asked(None if rank == 1 else state, None, None),
        "nothing of ours in the first": Asked(None if rank == 0 else state, None, None),
        "another index": Asked(cca if rank == 1 else cka, None, None),
        "another kind": Asked(cca if rank == 2 else state, None, None),
    }
    simkit.__version__ = "0.0.9" if rank == 2 else simkit.__version__
    asked["another version"] = Asked(state, None, 30)
    simkit.__version__ = "0.1.0"
    if rank != 2:
        asked["third"] = Asked(state, groups["third"])
    dist.barrier()
    if rank != 0:
        asked["first"] = Asked(state, groups["first"])
    dist.barrier()
    if rank != 2:
        asked["short"] = Asked(state, short, None)
    dist.barrier()
    if rank == 2:
        Processes(groups["half way"]).meet()
    else:
        asked["half way"] = Asked(state, groups["half way"])
    dist.barrier()
    if rank == 2:
        Processes(groups["dies half way"]).meet()
        os._exit(9)
    asked["dies half way"] = Asked(state, groups["dies half way"], None)
    asked["dies"] = Asked(state, groups["dies"], None)
    time.sleep(3 * (rank == 0))  # one that comes late is waited for by the one that found a process dead
    asked["dies, and one is late"] = Asked(state, groups["dies, and one is late"], None)
    return asked


def test_a_process_that_fails_is_named_and_not_waited_for(tmp_path):
    for rank, asked in enumerate(in_processes(failures, tmp_path, size=3, survivors=2)):
        assert isinstance(asked, dict), asked
        expected = {
            "nothing of ours": r"InvalidArrayError: Process 1 gave something else",
            "nothing of ours in the first": r"InvalidArrayError: Process 0 gave something else",
            "another index": r"InvalidArrayError: Process 1 holds a Stream of cca, process 0 a Stream of cka",
            "another kind": r"InvalidArrayError: Process 2 holds a Stream of cca, process 0 a Moments",
            "another version": r"InvalidArrayError: Process 2 runs simkit 0\.0\.9, process 0 simkit",
            "third": rf"ClusterError: Process 2 of 3 did not come to all_reduce\. Process {rank} of 3 waited \d+ seconds.*timeout=1;",
            "short": rf"ClusterError: Process 2 of 3 did not come.* Process {rank} .* until (the timeout of its group|it lost)",
            "half way": rf"ClusterError: Process {rank} of 3 waited \d+ seconds for the others to do their part",
            "dies half way": rf"ClusterError: Process {rank} of 3 waited for the others to do their part until it lost another",
            "dies": rf"ClusterError: Process 2 of 3 did not come to all_reduce\. Process {rank} of 3 .* until it lost another",
            "dies, and one is late": rf"ClusterError: Process 2 of 3 did not come .* Process {rank} of 3 .* it lost another",
        }
        if rank == 1:
            expected["first"] = (
                r"ClusterError: Process 0 of 3 did not come to all_reduce\. Process 1 of 3 waited \d+ seconds"
            )
        assert asked.keys() == expected.keys()
        for name, each in asked.items():
            assert re.match(expected[name], each.said), (rank, name, each.said)
            assert each.seconds < 20, (name, each.seconds)
        assert re.match(
            rf"ClusterWarning: Process {rank} of 3 has waited 0 seconds for the others to come", asked["third"].before[0]
        )
