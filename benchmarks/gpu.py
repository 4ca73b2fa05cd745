"""simkit on a GPU: times, peak of device memory, share of the card's float32 rate, error; against rivals on the same card.

    python -m benchmarks.gpu                            # PyTorch and CuPy, what sees a card; results/gpu.json, RESULTS.md
    python -m benchmarks.gpu --library torch --only RBF
    python -m benchmarks.gpu --device cpu --quick       # a dry run with PyTorch, in small; nothing is written

Ways run in turn (A B C A B C ...) after a warm-up of each. Times are of events on the device that wait for all work before
and after; the wall time beside them includes what the host does. Products are in float32 proper, but for the ways that
say so (`precision=`). Errors are against the definition in float64, computed on the device.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import simkit
from benchmarks import results
from benchmarks.machine import environment, machine
from benchmarks.speed import rivals
from benchmarks.speed.case import duration, ratio
from benchmarks.speed.measuring import difference

__all__ = ["CASES", "Device", "TorchDevice", "measure"]

Array = Any
Work = Callable[[], Any]
_WIDTHS = (256, 512, 1024, 2048)


# --- devices ---------------------------------------------------------------------------------------------------------------


class Device(ABC):
    """What differs between libraries: arrays, clocks, memory."""

    library: str
    xp: Any
    name: str

    @abstractmethod
    def normal(self, seed: int, n: int, p: int) -> Array:
        """Standard normal numbers in float32, made on the device."""

    @abstractmethod
    def timed(self, work: Work) -> tuple[float, float]:
        """Seconds of the device and of the wall clock."""

    @abstractmethod
    def peak(self, work: Work) -> float:
        """MiB of device memory above what is in use before; nan where nobody counts."""

    @abstractmethod
    def to_numpy(self, x: Array) -> np.ndarray:
        """On the host."""

    def release(self) -> None:  # noqa: B027 (a library may have nothing to give back)
        """Give cached memory back."""

    def rate(self, size: int) -> float:
        """Floating-point operations per second of the fastest of some square products in float32."""
        a, b = self.normal(0, size, size), self.normal(1, size, size)
        return 2 * size**3 / min(self.timed(lambda: a @ b)[0] for _ in range(6))


class TorchDevice(Device):
    """PyTorch on a CUDA card, or on the CPU for a dry run."""

    library = "PyTorch"

    def __init__(self, kind: str) -> None:
        import torch

        if kind == "cuda" and not torch.cuda.is_available():
            raise LookupError("PyTorch sees no CUDA device")
        self.xp, self.kind = torch, kind
        self.name = torch.cuda.get_device_name() if kind == "cuda" else "the CPU"

    def normal(self, seed: int, n: int, p: int) -> Array:
        generator = self.xp.Generator(device=self.kind).manual_seed(seed)
        return self.xp.randn(n, p, generator=generator, device=self.kind)

    def timed(self, work: Work) -> tuple[float, float]:
        if self.kind == "cpu":
            begin = time.perf_counter()
            work()
            return (time.perf_counter() - begin,) * 2
        first, last = (self.xp.cuda.Event(enable_timing=True) for _ in range(2))
        self.xp.cuda.synchronize()
        begin = time.perf_counter()
        first.record()
        work()
        last.record()
        self.xp.cuda.synchronize()
        return first.elapsed_time(last) / 1e3, time.perf_counter() - begin

    def peak(self, work: Work) -> float:
        if self.kind == "cpu":
            return float("nan")
        cuda = self.xp.cuda
        cuda.synchronize()
        before = cuda.memory_allocated()
        cuda.reset_peak_memory_stats()
        work()
        cuda.synchronize()
        return (cuda.max_memory_allocated() - before) / 2**20

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.xp.as_tensor(x).cpu().numpy()

    def release(self) -> None:
        if self.kind == "cuda":
            self.xp.cuda.empty_cache()


class CupyDevice(Device):
    """CuPy."""

    library = "CuPy"

    def __init__(self, kind: str) -> None:
        if kind != "cuda":
            raise LookupError("CuPy has no CPU")
        if importlib.util.find_spec("cupy") is None:
            raise LookupError("CuPy is not installed")
        import cupy

        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise LookupError(f"CuPy sees no CUDA device ({error})") from error
        if not count:
            raise LookupError("CuPy sees no CUDA device")
        self.xp = cupy
        self.name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()

    def normal(self, seed: int, n: int, p: int) -> Array:
        return self.xp.random.default_rng(seed).standard_normal((n, p), dtype=self.xp.float32)

    def timed(self, work: Work) -> tuple[float, float]:
        cuda = self.xp.cuda
        first, last = cuda.Event(), cuda.Event()
        cuda.Device().synchronize()
        begin = time.perf_counter()
        first.record()
        work()
        last.record()
        cuda.Device().synchronize()
        return cuda.get_elapsed_time(first, last) / 1e3, time.perf_counter() - begin

    def peak(self, work: Work) -> float:
        pool, most = self.xp.get_default_memory_pool(), 0

        class Peak(self.xp.cuda.MemoryHook):
            name = "peak"

            def malloc_postprocess(self, **_: Any) -> None:
                nonlocal most
                most = max(most, pool.used_bytes())

        before = pool.used_bytes()
        with Peak():
            work()
        return max(0, most - before) / 2**20

    def to_numpy(self, x: Array) -> np.ndarray:
        return self.xp.asnumpy(x)

    def release(self) -> None:
        self.xp.get_default_memory_pool().free_all_blocks()


DEVICES: dict[str, Callable[[str], Device]] = {"torch": TorchDevice, "cupy": CupyDevice}


# --- data and definitions --------------------------------------------------------------------------------------------------


def layers(device: Device, n: int, widths: Sequence[int], seed: int) -> list[Array]:
    """Activations that have part of their structure in common, as those of two networks do."""
    shared = device.normal(0, n, 40)
    return [
        shared @ device.normal(seed + 2 * k, 40, p) / 6 + device.normal(seed + 2 * k + 1, n, p) for k, p in enumerate(widths)
    ]


def widened(device: Device, x: Array) -> Array:
    """Centred, in float64."""
    wide = x.double() if device.library == "PyTorch" else x.astype(device.xp.float64)
    return wide - wide.mean(axis=0)


def cka_definition(device: Device, a: Sequence[Array], b: Sequence[Array]) -> np.ndarray:
    """Linear CKA of all pairs; one Gram matrix of the second side at a time."""
    xp = device.xp

    def gram(x: Array) -> Array:
        z = widened(device, x)
        k = z @ z.T
        return k / xp.linalg.norm(k)

    first = [gram(x) for x in a]
    columns = []
    for y in b:
        k = gram(y)
        columns.append([float((k * other).sum()) for other in first])
    return np.array(columns).T


def rbf_definition(device: Device, x: Array, y: Array) -> float:
    """RBF CKA; the bandwidth is the median distance of distinct examples. One matrix of order n at a time, nearly."""
    xp, grams = device.xp, []
    for z in (widened(device, x), widened(device, y)):
        squares = (z * z).sum(axis=1)
        d = squares[:, None] + squares[None, :] - 2 * (z @ z.T)
        n = len(z)
        distances = np.maximum(device.to_numpy(d)[np.triu_indices(n, 1)], 0)  # on the host: torch's median is the lower one
        middle = ((len(distances) - 1) // 2, len(distances) // 2)
        low, high = np.partition(distances, middle)[list(middle)]
        sigma = (np.sqrt(low) + np.sqrt(high)) / 2
        k = xp.exp(-d / (2 * float(sigma) ** 2))
        k = k - k.mean(axis=0)
        k = k - k.mean(axis=1)[:, None]
        grams.append(k / xp.linalg.norm(k))
    return float((grams[0] * grams[1]).sum())


def cca_definition(device: Device, x: Array, y: Array) -> float:
    """Mean squared canonical correlation, by orthonormal bases."""
    (q, _), (r, _) = (device.xp.linalg.qr(widened(device, z)) for z in (x, y))
    return float(((q.T @ r) ** 2).sum()) / min(x.shape[1], y.shape[1])


def feature_formula(device: Device, x: Array, y: Array) -> Array:
    """The feature form of Google's demonstration, on the device."""
    norm = device.xp.linalg.norm
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return norm(x.T @ y) ** 2 / (norm(x.T @ x) * norm(y.T @ y))


def rbf_formula(device: Device, x: Array, y: Array) -> Array:
    """RBF CKA of Google's demonstration, on the device; its median takes in the zeros of the diagonal."""
    xp, grams = device.xp, []
    for z in (x, y):
        k = z @ z.T
        squares = k.diagonal()
        d = squares[:, None] + squares[None, :] - 2 * k
        k = xp.exp(-d / (2 * xp.median(d)))
        k = k - k.mean(axis=0)
        grams.append(k - k.mean(axis=1)[:, None])
    return (grams[0] * grams[1]).sum() / (xp.linalg.norm(grams[0]) * xp.linalg.norm(grams[1]))


# --- cases -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """Ways, simkit's first; the definition; operations of the shortest algorithm, symmetric products counted half."""

    ways: Mapping[str, Work]
    truth: Callable[[], Any]
    flops: float
    different: frozenset[str] = frozenset()  # ways that compute another definition


def _faster(device: Device, work: Work) -> dict[str, Work]:
    """simkit with products that round their operands, where the library has them (`simkit.compare`, precision=)."""
    if device.library != "PyTorch":
        return {}
    return {"simkit, precision=tf32": functools.partial(work, precision="tf32")}


def _pytorch_cka(device: Device, a: Sequence[Array], b: Sequence[Array]) -> dict[str, Work]:
    if device.library != "PyTorch" or importlib.util.find_spec("cka") is None:
        return {}
    return {"pytorch-cka (unbiased)": rivals.pytorch_cka(a, b)}


def _pair(device: Device, quick: bool) -> Problem:
    n, p = (200, 16) if quick else (32768, 1024)
    x, y = layers(device, n, (p, p), 1)
    own = functools.partial(simkit.compare, x, y)
    ways = {"simkit": own, "simkit, check_finite=False": functools.partial(own, check_finite=False)}
    ways |= _faster(device, own) | {"feature form by hand": functools.partial(feature_formula, device, x, y)}
    return Problem(ways, lambda: float(_feature_definition(device, x, y)), 4 * n * p**2)


def _feature_definition(device: Device, x: Array, y: Array) -> Array:
    return feature_formula(device, widened(device, x), widened(device, y))


def _heatmap(device: Device, quick: bool) -> Problem:
    n, widths = (100, (8, 16, 24)) if quick else (8192, _WIDTHS * 8)
    a, b = layers(device, n, widths, 1), layers(device, n, widths, 1001)

    def own(**options: Any) -> Any:
        return simkit.pairwise(a, b, **options).values

    ways = {"simkit": own} | _faster(device, own) | _pytorch_cka(device, a, b)
    flops = n**2 * (2 * sum(widths) + len(widths) ** 2)
    return Problem(ways, lambda: cka_definition(device, a, b), flops, frozenset({"pytorch-cka (unbiased)"}))


def _rbf(device: Device, quick: bool) -> Problem:
    n, p = (200, 16) if quick else (8192, 512)
    x, y = layers(device, n, (p, p), 1)
    own = functools.partial(simkit.compare, x, y, "cka(kernel=rbf)")
    ways = {"simkit": own} | _faster(device, own) | {"Google's RBF": functools.partial(rbf_formula, device, x, y)}
    return Problem(ways, lambda: rbf_definition(device, x, y), 2 * n**2 * p, frozenset({"Google's RBF"}))


def _cca(device: Device, quick: bool) -> Problem:
    n, p = (200, 16) if quick else (16384, 1024)
    x, y = layers(device, n, (p, p), 1)
    ways: dict[str, Work] = {"simkit": functools.partial(simkit.compare, x, y, "cca")}
    if device.library == "PyTorch":
        ways |= {"anatome": rivals.anatome_cca(x, y), "anatome, QR": rivals.anatome_cca(x, y, "qr")}
    return Problem(ways, lambda: cca_definition(device, x, y), 4 * n * p**2)


def _stream(device: Device, quick: bool) -> Problem:
    n, rows, widths = (200, 50, (8, 8)) if quick else (65536, 4096, (512,) * 8)
    whole = layers(device, n, widths, 1)
    batches = [[x[start : start + rows] for x in whole] for start in range(0, n, rows)]

    def own() -> Any:
        stream = simkit.stream("cka")
        for batch in batches:
            stream.update(batch)
        return stream.compute().values

    def bare() -> None:
        scatter = 0.0
        for batch in batches:
            z = device.xp.concatenate(batch, axis=1)
            scatter = scatter + z.T @ z

    def truth() -> np.ndarray:
        wide = [widened(device, x) for x in whole]
        squares = np.array([[float((u.T @ v).ravel() @ (u.T @ v).ravel()) for v in wide] for u in wide])
        return squares / np.sqrt(np.outer(np.diag(squares), np.diag(squares)))

    return Problem({"simkit": own, "bare joint scatter": bare}, truth, n * sum(widths) ** 2)


CASES: dict[str, Callable[[Device, bool], Problem]] = {
    "one pair, 32768 x 1024": _pair,
    "32 x 32 layers, n = 8192, p = 256..2048": _heatmap,
    "RBF CKA, median bandwidth, 8192 x 512": _rbf,
    "CCA, 16384 x 1024": _cca,
    "stream of 8 layers, 65536 x 512": _stream,
}


# --- measuring -------------------------------------------------------------------------------------------------------------


def measure(device: Device, make: Callable[[Device, bool], Problem], *, quick: bool, rounds: int) -> dict[str, Any]:
    """Times, memory, errors and shares of all ways of one case."""
    problem = make(device, quick)
    truth = np.asarray(problem.truth(), dtype=np.float64)
    device.release()
    rate = device.rate(128 if quick else 8192)
    ways: dict[str, dict[str, Any]] = {}
    for name, work in problem.ways.items():
        result = work()  # the warm-up
        error = difference(None if result is None else device.to_numpy(result), truth)
        del result
        device.release()
        ways[name] = {"error": error, "exact": name not in problem.different, "memory": device.peak(work)}
        device.release()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in problem.ways.items():
            times[name].append(device.timed(work))
    own = [seconds for seconds, _ in times["simkit"]]
    for name, spent in times.items():
        seconds = [one for one, _ in spent]
        median = statistics.median(seconds)
        ways[name] |= {
            "device": median,
            "wall": statistics.median(wall for _, wall in spent),
            "ratio": ratio(seconds, own),
            "share": problem.flops / rate / median,
        }
    return {"library": device.library, "device": device.name, "rate": rate, "rounds": rounds, "ways": ways}


def main(arguments: list[str] | None = None) -> None:
    """Run the cases on the libraries that see a device, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--library", choices=("torch", "cupy", "all"), default="all")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose names hold a word")
    parser.add_argument("--quick", action="store_true", help="small sizes; nothing is written")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args(arguments)
    devices, reasons = [], []
    for library, make_device in DEVICES.items():
        if options.library in (library, "all"):
            try:
                devices.append(make_device(options.device))
            except (LookupError, ImportError) as error:
                reasons.append(str(error))
    if not devices:
        raise SystemExit(
            f"Nothing to measure: {'; '.join(reasons)}. A dry run: python -m benchmarks.gpu --device cpu --quick"
        )
    about = environment(" ".join(["python -m benchmarks.gpu", *(sys.argv[1:] if arguments is None else arguments)]))
    print(machine(), *reasons, sep="\n")
    written = options.device == "cuda" and not options.quick
    for device in devices:
        for title, make in CASES.items():
            if options.only.lower() in title.lower():
                found = measure(device, make, quick=options.quick, rounds=options.rounds)
                device.release()
                _show(title, found)
                if written:
                    results.store(results.FOLDER, "gpu", {f"{device.library}: {title}": found | {"about": about}})
    if written:
        results.write(results.FOLDER)


def _show(title: str, found: dict[str, Any]) -> None:
    print(f"\n{title}    ({found['library']} on {found['device']}: float32 products {found['rate'] / 1e12:.2f} TFLOP/s)")
    for name, way in found["ways"].items():
        error = "" if way["error"] is None else f"  {'error' if way['exact'] else 'differs'} {way['error']:.1e}"
        print(
            f"  {name:<38}{duration(way['device']):>9}  wall {duration(way['wall']):>9}  ratio {way['ratio']:6.2f}  "
            f"{way['share']:5.0%} of limit{way['memory']:8.0f} MiB{error}",
            flush=True,
        )


if __name__ == "__main__":
    main()
