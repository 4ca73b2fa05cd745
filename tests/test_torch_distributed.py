"""all_reduce over two real processes with Gloo: every process ends with the result of all examples."""

from __future__ import annotations

import multiprocessing
import traceback

import numpy as np
import pytest
from data import pair

import simkit
from simkit.errors import InvalidArrayError

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("this build of PyTorch has no torch.distributed", allow_module_level=True)

X, Y = pair(70, 5, 4)
SHARES = [slice(0, 45), slice(45, 70)]


def process(rank, work, store, results):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{store}")
    try:
        results.put((rank, work(rank)))
    except Exception:
        results.put((rank, traceback.format_exc()))
    finally:
        dist.destroy_process_group()


def in_two_processes(work, tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=process, args=(rank, work, tmp_path / "store", results)) for rank in range(2)]
    for each in processes:
        each.start()
    found = dict(results.get(timeout=90) for _ in processes)
    for each in processes:
        each.join(30)
    return found[0], found[1]


def share(rank, convert):
    return convert(X[SHARES[rank]]), convert(Y[SHARES[rank]])


def everything(rank):
    """All of it in one start of two processes, which is what takes time."""
    import torch.distributed as dist

    from simkit.statistics.moments import Moments
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
        x, y = share(rank, convert)
        reduced = all_reduce(Moments.of({"x": x, "y": y}, third_order=True))
        found[name, "moments"] = (
            reduced.n,
            *(np.asarray(a) for a in (reduced.mean, reduced.scatter, reduced._third, reduced._fourth)),
        )

    layers = simkit.stream("procrustes")
    if rank == 1:  # the other has no examples at all
        layers.update({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)})
    matrix = all_reduce(layers).compute()
    found["one idle"] = (matrix.rows, matrix.n, np.asarray(matrix.values))

    whole = simkit.stream("cca(summary=rho)")
    whole.update(*share(rank, torch.from_numpy))
    again = all_reduce(whole).second_pass()
    again.update(*share(rank, torch.from_numpy))
    found["second pass"] = float(all_reduce(again).compute())

    different = Moments.of({"x": X[:, : 3 + rank]})
    for name, wrong in (("different", different), ("nothing", Moments())):
        try:
            all_reduce(wrong)
        except InvalidArrayError as error:
            found[name] = str(error)
    found["rank"] = dist.get_rank()
    return found


def test_two_processes_hold_the_result_of_all_examples(tmp_path):
    found = in_two_processes(everything, tmp_path)
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
        n, *sums = first[name, "moments"]
        assert n == 70
        for ours, theirs, expected in zip(
            sums, second[name, "moments"][1:], (Z.mean(axis=0), z.T @ z, a @ z, a @ a.T), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_allclose(ours, expected, atol=1e-11 * np.abs(expected).max())
    for each in found:
        rows, n, values = each["one idle"]
        assert (rows, n) == (("x", "y"), 70)
        np.testing.assert_allclose(values, simkit.pairwise({"x": X, "y": Y}, index="procrustes").values, rtol=1e-10)
        assert each["second pass"] == pytest.approx(float(simkit.compare(X, Y, "cca(summary=rho)")), rel=1e-11)
        assert "other layers" in each["different"]
        assert "No process has seen a batch" in each["nothing"]
