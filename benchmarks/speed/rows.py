"""The rows of the table of speed: what is compared, with whom, and what is to be reached."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import simkit
from benchmarks.speed import rivals, truth
from benchmarks.speed.case import Case, Problem, Target, Way

__all__ = ["CASES"]

_LATENT = 40
_WIDTHS = (64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 1024, 1024, 2048, 2048, 4096)


def layers(n: int, *widths: int, dtype: str = "float32", seed: int = 0) -> list[np.ndarray]:
    """Activations that have part of their structure in common, as those of two networks do."""
    rng = np.random.default_rng([seed, n, *widths])
    shared = rng.standard_normal((n, _LATENT), dtype=np.float32)

    def layer(p: int) -> np.ndarray:
        mixed = shared @ rng.standard_normal((_LATENT, p), dtype=np.float32) / 6
        return (mixed + rng.standard_normal((n, p), dtype=np.float32)).astype(dtype)

    return [layer(p) for p in widths]


def way(work: Callable[..., Any], *arguments: Any, **options: Any) -> Way:
    """A function of these arguments; options are those of `Way`, the others are the function's."""
    own = {name: options.pop(name) for name in ("times", "exact", "clock") if name in options}
    return Way(lambda: functools.partial(work, *arguments, **options), **own)


def made(prepare: Callable[..., Callable[[], Any]], *arguments: Any, **options: Any) -> Way:
    """A function that is made of these arguments, with imports and conversions that are not timed."""
    return Way(functools.partial(prepare, *arguments), **options)


def compare(*arguments: Any, **options: Any) -> Way:
    """simkit.compare."""
    return way(simkit.compare, *arguments, **options)


def heatmap(a: Any, b: Any, *arguments: Any, **options: Any) -> Way:
    """simkit.pairwise as a NumPy array."""
    return way(lambda: simkit.pairwise(a, b, *arguments, **options).to_numpy())


def as_tensors(work: Callable[..., Any], *sides: Sequence[np.ndarray] | np.ndarray) -> Way:
    """A function of tensors of PyTorch."""

    def prepare() -> Callable[[], Any]:
        import torch

        def tensors(side: Any) -> Any:
            return torch.from_numpy(side) if isinstance(side, np.ndarray) else [torch.from_numpy(x) for x in side]

        return functools.partial(work, *map(tensors, sides))

    return Way(prepare)


def looped(work: Callable[[], Any], calls: int) -> Callable[[], Any]:
    """So many calls; the result of the last."""

    def loop() -> Any:
        for _ in range(calls - 1):
            work()
        return work()

    return loop


# --- a, b: CKA of a pair ---------------------------------------------------------------------------------------------------


def _linear(n: int, p: int) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        rows, width = (n // 20, p // 20) if quick else (n, p)
        x, y = layers(rows, width, width)
        ways = {
            "simkit": compare(x, y),
            "simkit, check_finite=False": compare(x, y, check_finite=False),
            "Google's feature form": way(rivals.feature_formula, x, y),
        }
        if n <= 10_000:
            ways["n x n form"] = way(rivals.gram_formula, x, y)
            ways["pytorch-cka (unbiased)"] = made(rivals.pytorch_cka, [x], [y], exact=False)
        if width > rows:
            del ways["Google's feature form"]
        flops = 4 * rows * width**2 if width < rows else 2 * rows**2 * width + rows**2
        return Problem(ways, lambda: truth.cka(x, y), flops)

    return make


def _rbf(quick: bool) -> Problem:
    n, p = (300, 20) if quick else (4096, 512)
    x, y = layers(n, p, p)
    ways = {
        "simkit": compare(x, y, "cka(kernel=rbf)"),
        "simkit, tiles=exact": compare(x, y, "cka(kernel=rbf)", tiles="exact"),
        "Google's RBF": way(rivals.rbf_formula, x, y, exact=False),  # its median takes in the diagonal
    }
    return Problem(ways, lambda: truth.rbf_cka(x, y), 2 * n**2 * p)


def _rbf_long(quick: bool) -> Problem:
    n, p = (600, 8) if quick else (20_000, 64)
    x, y = layers(n, p, p)
    ways = {
        "simkit": compare(x, y, "cka(kernel=rbf)"),
        "simkit, tiles=sample": compare(x, y, "cka(kernel=rbf)", tiles="sample", exact=False),
    }
    return Problem(ways, None, 2 * n**2 * p)


# --- c, d: canonical correlations, Procrustes ------------------------------------------------------------------------------


def _cca(quick: bool) -> Problem:
    n, p = (300, 20) if quick else (10_000, 256)
    x, y = layers(n, p, p, dtype="float64")
    ways = {
        "simkit": compare(x, y, "cca"),
        "google/svcca": way(rivals.svcca, x, y),
        "anatome": made(rivals.anatome_cca, x, y),
        "anatome, QR": made(rivals.anatome_cca, x, y, "qr"),
    }
    return Problem(ways, lambda: np.mean(truth.canonical_correlations(x, y) ** 2), 4 * n * p**2, "float64")


def _cca_ill_conditioned(quick: bool) -> Problem:
    """Integers over 2^20, mixed by blocks of a unit triangular matrix of condition 1e8: the products are exact."""
    n, p = (400, 24) if quick else (10_000, 256)
    block = np.eye(24) - np.triu(np.ones((24, 24)), 1)
    mixing = np.eye(p)
    for start in range(0, p - 23, 24):
        mixing[start : start + 24, start : start + 24] = block
    well = [np.round(z * 2**20) / 2**20 for z in layers(n, p, p, dtype="float64")]
    x, y = (z @ mixing for z in well)
    ways = {
        "simkit": compare(x, y, "cca"),
        "google/svcca": way(rivals.svcca, x, y),
        "anatome": made(rivals.anatome_cca, x, y),
        "anatome, QR": made(rivals.anatome_cca, x, y, "qr"),
    }
    return Problem(ways, lambda: np.mean(truth.canonical_correlations(*well) ** 2), 4 * n * p**2, "float64")


def _cca_wide(quick: bool) -> Problem:
    n, p = (60, 90) if quick else (1024, 2048)
    x, y = layers(n, p, p)
    ways = {"simkit": compare(x, y, "cca"), "anatome": made(rivals.anatome_cca, x, y)}
    return Problem(ways, lambda: 1.0)


def _procrustes(quick: bool) -> Problem:
    n, p = (300, 20) if quick else (5000, 512)
    x, y = layers(n, p, p)
    ways = {
        "simkit": compare(x, y, "procrustes"),
        "anatome": made(rivals.anatome_procrustes, x, y),
        "SciPy": made(rivals.scipy_procrustes, x, y),
        "netrep": way(rivals.netrep_procrustes, x, y),
    }
    return Problem(ways, lambda: truth.nuclear_similarity(x, y), 2 * n * p**2)


def _procrustes_close(quick: bool) -> Problem:
    """The angle between checkpoints of one run, whose cosine is 1 to six digits: float32 does not hold it."""
    n, p = (300, 20) if quick else (5000, 512)
    x, noise = layers(n, p, p)
    y = x + np.float32(1e-3) * noise

    def angle(work: Callable[[], float]) -> Callable[[], float]:
        return lambda: float(np.arccos(min(1.0, work())))

    ways = {
        "simkit": compare(x, y, "procrustes(summary=angular)"),
        "anatome": Way(lambda: angle(rivals.anatome_procrustes(x, y))),
        "SciPy": Way(lambda: angle(rivals.scipy_procrustes(x, y))),
        "netrep": way(angle(functools.partial(rivals.netrep_procrustes, x, y))),
    }
    return Problem(ways, lambda: np.arccos(truth.nuclear_similarity(x, y)), 2 * n * p**2)


# --- e, f: many layers -----------------------------------------------------------------------------------------------------


def _heatmap(n: int, widths: Sequence[int], *, features: bool) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        rows, sizes = (n // 20, [p // 16 for p in widths]) if quick else (n, list(widths))
        both = layers(rows, *sizes, *sizes)
        a, b = both[: len(sizes)], both[len(sizes) :]
        ways = {
            "simkit": heatmap(a, b),
            "simkit, PyTorch tensors": as_tensors(lambda a, b: simkit.pairwise(a, b).to_numpy(), a, b),
            "pytorch-cka (unbiased)": made(rivals.pytorch_cka, a, b, exact=False),
        }
        if not features:
            rounded = as_tensors(lambda a, b: simkit.pairwise(a, b, precision="bf16").to_numpy(), a, b)
            ways["simkit, PyTorch, precision=bf16"] = rounded
        else:
            ways["feature form by hand"] = way(rivals.feature_heatmap, a, b)
        total = sum(sizes)
        wide = rows**2 * (2 * total + len(sizes) ** 2)
        tall = 2 * rows * (total**2 + sum(p * p for p in sizes))
        return Problem(ways, lambda: truth.heatmap(a, b), min(wide, tall))

    return make


def _stream(quick: bool) -> Problem:
    n, count, p, rows = (400, 3, 16, 100) if quick else (10_000, 10, 512, 1000)
    whole = layers(n, *[p] * count)
    batches = [[x[start : start + rows] for x in whole] for start in range(0, n, rows)]

    def exact() -> np.ndarray:
        stream = simkit.stream("cka(estimator=unbiased)")
        for batch in batches:
            stream.update(batch)
        return stream.compute().to_numpy()

    ways = {"simkit": way(exact), "bare joint scatter": way(rivals.joint_scatter, batches, exact=False)}
    return Problem(ways, lambda: truth.unbiased_heatmap(whole), n * (count * p) ** 2)


# --- h: inference ----------------------------------------------------------------------------------------------------------

_SPECS = {"cka": "cka", "unbiased cka": "cka(estimator=unbiased)", "rbf cka": "cka(kernel=rbf(sigma={sigma}))", "cca": "cca"}


def _inference(what: str, test: bool) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        n, p, count, some = (60, 6, 40, 2) if quick else (2000, 256, 1000, {"cka": 40, "unbiased cka": 40}.get(what, 10))
        x, y = layers(n, p, p)
        sigma = float(np.sqrt(2 * np.mean(np.sum(x * x, axis=1))))
        spec = _SPECS[what].format(sigma=sigma)
        formula = {
            "rbf cka": functools.partial(rivals.rbf_formula, variance=(sigma**2, sigma**2)),
            "cca": rivals.svcca,
        }.get(what, rivals.feature_formula)
        if test:
            own = way(simkit.permutation_test, x, y, spec, permutations=count, rng=0, progress=False)
        else:
            options: dict[str, Any] = {"resamples": count, "rng": 0, "progress": False, "method": "percentile"}
            own = way(simkit.bootstrap, x, y, spec, **options)
        again = way(rivals.permuted if test else rivals.recomputed, formula, x, y, some, times=count / some)
        return Problem({"simkit": own, "recomputed": again})

    return make


def _interval_of_cca(quick: bool) -> Problem:
    n, p, some = (60, 6, 2) if quick else (2000, 256, 10)
    x, y = layers(n, p, p)

    def recomputed() -> np.ndarray:
        return np.array([rivals.svcca(np.delete(x, k, axis=0), np.delete(y, k, axis=0)) for k in range(some)])

    own = way(lambda: simkit.interval(x, y, "cca").score)
    return Problem({"simkit": own, "recomputed": way(recomputed, times=n / some)})


# --- i, j: overheads and losses --------------------------------------------------------------------------------------------


def _overhead(library: str) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        calls = 5 if quick else {"numpy": 2000, "torch": 1000, "jax": 200}[library]
        x, y = layers(10, 3, 3)

        def simkits() -> Callable[[], Any]:
            if library == "numpy":
                return looped(lambda: simkit.compare(x, y), calls)
            if library == "torch":
                import torch

                u, v = torch.from_numpy(x), torch.from_numpy(y)
            else:
                import jax.numpy as jnp

                u, v = jnp.asarray(x), jnp.asarray(y)
            return looped(lambda: simkit.compare(u, v), calls)

        def rival(prepare: Callable[..., Callable[[], Any]], *arguments: Any) -> Callable[[], Callable[[], Any]]:
            return lambda: looped(prepare(*arguments), calls)

        ways = {"simkit": Way(simkits, times=1 / calls)}
        if library == "numpy":
            ways["Google's feature form"] = Way(lambda: looped(lambda: rivals.feature_formula(x, y), calls), times=1 / calls)
        elif library == "torch":
            ways["pytorch-cka (unbiased)"] = Way(rival(rivals.pytorch_cka, [x], [y]), times=1 / calls, exact=False)
            ways["formula by hand"] = Way(rival(rivals.torch_feature_formula, x, y), times=1 / calls)
        else:
            ways["formula by hand"] = Way(rival(rivals.jax_feature_formula, x, y), times=1 / calls)
        return Problem(ways, lambda: truth.cka(x, y))

    return make


def _fresh(statements: dict[str, tuple[str, str]]) -> Callable[[bool], Problem]:
    """Statements that are timed in interpreters of their own, each after another that is not."""

    def seconds(before: str, statement: str) -> tuple[float, float]:
        clocks = "time.perf_counter(), time.process_time()"
        code = f"import time; {before}; a, b = {clocks}; {statement}; c, d = {clocks}; print(c - a, d - b)"
        # With what is compiled kept from one interpreter to the next, as an installation keeps it.
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=variables)
        wall, cpu = map(float, done.stdout.split())
        return wall, cpu

    return lambda quick: Problem({name: way(seconds, *pair, clock="own") for name, pair in statements.items()})


def _loss(quick: bool) -> Problem:
    n, p = (16, 64) if quick else (256, 2048)
    x, y = layers(n, p, p)

    def own() -> Callable[[], float]:
        import torch

        u, v = torch.from_numpy(x), torch.from_numpy(y)

        def work() -> float:
            loss = 1 - simkit.compare(u.clone().requires_grad_(True), v)
            loss.backward()
            return loss.item()

        return work

    return Problem({"simkit": Way(own), "by hand": made(rivals.torch_loss, x, y)}, lambda: 1 - truth.cka(x, y))


# --- k: examples and neurons -----------------------------------------------------------------------------------------------


def _rsa(n: int) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        rows, p = (60, 16) if quick else (n, 512)
        x, y = layers(rows, p, p)
        ways = {"simkit": compare(x, y, "rsa"), "rsatoolbox": made(rivals.rsatoolbox_rsa, x, y)}
        return Problem(ways, lambda: truth.spearman_rsa(x, y))

    return make


def _mutual_knn(quick: bool) -> Problem:
    n, p = (300, 16) if quick else (6714, 512)
    both = layers(n, p, p, p, p)
    a, b = both[:2], both[2:]
    ways = {"simkit": heatmap(a, b, "mutual_knn"), "torch topk": made(rivals.torch_mutual_knn, a, b)}
    return Problem(ways, lambda: truth.cosine_knn(a, b), 4 * n**2 * p)


def _mutual_knn_long(quick: bool) -> Problem:
    n, p = (500, 8) if quick else (100_000, 32)
    x, y = layers(n, p, p)
    return Problem({"simkit": compare(x, y, "mutual_knn")}, None, 2 * n**2 * p)


def _soft_match(p: int, q: int) -> Callable[[bool], Problem]:
    def make(quick: bool) -> Problem:
        n, widths = (200, (12, 12 if p == q else 20)) if quick else (1000, (p, q))
        x, y = layers(n, *widths)
        ways = {"simkit": compare(x, y, "soft_match")}
        if p != q:
            ways["POT"] = made(rivals.pot_soft_match, x, y)
        return Problem(ways, lambda: rivals.pot_soft_match(x, y)() if p != q else simkit.compare(x, y, "bipartite_match"))

    return make


GOOGLE, HAND, PYTORCH_CKA = "Google's feature form", "formula by hand", "pytorch-cka (unbiased)"
TENSORS, UNCHECKED = "simkit, PyTorch tensors", "simkit, check_finite=False"

CASES = {
    case.title: case
    for case in (
        Case(
            "a",
            "linear CKA, 10000 x 512",
            _linear(10_000, 512),
            (Target("ratio", 0.95, GOOGLE), Target("ratio", 1.0, GOOGLE, UNCHECKED), Target("share", 0.75)),
        ),
        Case("a", "linear CKA, 50000 x 256", _linear(50_000, 256), (Target("ratio", 1.05, GOOGLE),)),
        Case(
            "a",
            "linear CKA, 2048 x 8192",
            _linear(2048, 8192),
            (Target("ratio", 1.0, "n x n form"), Target("share", 0.75)),
        ),
        Case(
            "b",
            "RBF CKA, median bandwidth, 4096 x 512",
            _rbf,
            (Target("ratio", 4.0, "Google's RBF"), Target("memory", 80)),
        ),
        Case(
            "b",
            "RBF CKA, median bandwidth, 20000 x 64",
            _rbf_long,
            (Target("cpu", 5.0), Target("ratio", 0.9, "simkit", "simkit, tiles=sample")),
            notes=("`tiles=sample` is to be no slower than the exact median; 0.9 leaves room for noise",),
        ),
        Case(
            "c",
            "CCA, 10000 x 256, float64",
            _cca,
            (Target("ratio", 2.5, "anatome"), Target("ratio", 1.5, "google/svcca")),
        ),
        Case("c", "CCA at condition 1e8, 10000 x 256, float64", _cca_ill_conditioned, (Target("error", 8e-12),)),
        Case("c", "CCA, 1024 x 2048", _cca_wide, (Target("ratio", 1.0, "anatome"),)),
        Case("d", "Procrustes, 5000 x 512", _procrustes, (Target("ratio", 2.0, "anatome"),)),
        Case("d", "Procrustes of close layers, 5000 x 512", _procrustes_close, (Target("ratio", 1.4, "anatome"),)),
        Case(
            "e",
            "16 x 16 layers, n = 2048, p = 64..4096",
            _heatmap(2048, _WIDTHS, features=False),
            (
                Target("ratio", 2.2, PYTORCH_CKA),
                Target("share", 0.7),
                Target("memory", 120),
                Target("ratio", 1.5, PYTORCH_CKA, TENSORS),
            ),
        ),
        Case(
            "e",
            "10 x 10 layers, 3000 x 256",
            _heatmap(3000, [256] * 10, features=True),
            (Target("ratio", 1.0, "feature form by hand"),),
        ),
        Case(
            "e",
            "20 x 20 layers, 1024 x 64",
            _heatmap(1024, [64] * 20, features=True),
            (Target("ratio", 1.0, "feature form by hand"),),
        ),
        Case(
            "f",
            "exact unbiased stream, 10 layers, 10000 x 512",
            _stream,
            (Target("ratio", 1 / 1.2, "bare joint scatter"), Target("memory", 400)),
        ),
        Case("h", "bootstrap of cka, 1000 resamples, 2000 x 256", _inference("cka", False), (Target("wall", 1.5),)),
        Case("h", "bootstrap of unbiased cka, 2000 x 256", _inference("unbiased cka", False), (Target("wall", 1.5),)),
        Case("h", "bootstrap of rbf cka, fixed sigma, 2000 x 256", _inference("rbf cka", False), (Target("wall", 2.0),)),
        Case(
            "h",
            "interval of cca, 2000 x 256",
            _interval_of_cca,
            (Target("wall", 10.0),),
            notes=("the bootstrap is refused for CCA of this width, so examples are left out (jackknife)",),
        ),
        Case("h", "permutation test of cka, 1000, 2000 x 256", _inference("cka", True), (Target("wall", 3.0),)),
        Case("h", "permutation test of rbf cka, 2000 x 256", _inference("rbf cka", True), (Target("wall", 5.0),)),
        Case("h", "permutation test of cca, 2000 x 256", _inference("cca", True)),
        Case("i", "one call, 10 x 3, NumPy", _overhead("numpy"), (Target("wall", 120e-6),), memory=False),
        Case("i", "one call, 10 x 3, PyTorch", _overhead("torch"), (Target("wall", 250e-6),), memory=False),
        Case("i", "one call, 10 x 3, JAX, not compiled", _overhead("jax"), (Target("wall", 1500e-6),), memory=False),
        Case(
            "i",
            "first call after import",
            _fresh({"simkit": ("import simkit, numpy; x = numpy.eye(9)", "simkit.compare(x, x)")}),
            (Target("wall", 70e-3),),
            memory=False,
        ),
        Case(
            "i",
            "import",
            _fresh({"simkit": ("import numpy", "import simkit"), "import numpy": ("pass", "import numpy")}),
            memory=False,
        ),
        Case("j", "loss, forward and backward, PyTorch, 256 x 2048", _loss, (Target("ratio", 1 / 1.1, "by hand"),)),
        Case("k", "RSA (Spearman), 1000 x 512", _rsa(1000), (Target("ratio", 2.0, "rsatoolbox"),)),
        Case("k", "RSA (Spearman), 2000 x 512", _rsa(2000), (Target("ratio", 2.0, "rsatoolbox"),)),
        Case("k", "mutual_knn, 2 x 2 layers, 6714 x 512", _mutual_knn, (Target("ratio", 1.0, "torch topk"),)),
        Case("k", "mutual_knn, 100000 x 32", _mutual_knn_long, (Target("memory", 400),), rounds=1),
        Case("k", "soft_match, 768 x 1000 neurons", _soft_match(768, 1000), (Target("ratio", 1.0, "POT"),)),
        Case("k", "soft_match, 4096 x 4096 neurons", _soft_match(4096, 4096), (Target("memory", 1000),), rounds=1),
    )
}
