"""What a program has set for arithmetic (TF32, autocast, promotion of JAX) changes no score, and is as it was afterwards."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import simkit
from simkit.analysis import shared_subspace
from simkit.arrays import modes
from simkit.arrays.modes import own_modes
from simkit.errors import SpecError, UnsupportedError
from simkit.scale.projection import RandomProjection

torch = pytest.importorskip("torch")
PRODUCTS = modes._setting("cpu")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 12), dtype=np.float32)
Y = (X[:, :7] @ RNG.standard_normal((7, 9)) + RNG.standard_normal((60, 9))).astype(np.float32)


@contextmanager
def torch_precision(name):
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


MODES_OF_TORCH = {"medium": lambda: torch_precision("medium"), "autocast": autocast}


@pytest.mark.parametrize("mode", MODES_OF_TORCH)
def test_modes_of_torch_change_no_score(mode, settings_of_torch):
    x, y = torch.tensor(X), torch.tensor(Y)
    for index in simkit.list_indexes():
        plain = simkit.compare(x, y, index)
        with MODES_OF_TORCH[mode]():
            assert torch.equal(simkit.compare(x, y, index), plain), index


@pytest.mark.parametrize("mode", MODES_OF_TORCH)
@pytest.mark.parametrize(
    "computed",
    [
        lambda x, y: simkit.pairwise({"x": x, "y": y}, index="cka(kernel=rbf)").to_numpy(),
        lambda x, y: simkit.compare(x, y, "cka(kernel=rbf)", tiles="exact"),
        lambda x, y: streamed(simkit.stream("cka", estimator="unbiased"), x, y).compute(),
        lambda x, y: streamed(simkit.stream("cka", projection=RandomProjection(5)), x, y).compute(),
        lambda x, y: simkit.bootstrap(x, y, resamples=3, method="percentile", rng=0).distribution,
        lambda x, y: simkit.permutation_test(x, y, "cka(kernel=rbf)", permutations=3, rng=0).distribution,
        lambda x, y: simkit.jackknife(x, y).distribution,
        lambda x, y: shared_subspace(x, y).cka,
    ],
    ids=["pairwise", "tiles", "stream", "projection", "bootstrap", "permutations", "jackknife", "subspace"],
)
def test_every_way_to_a_score_is_in_full_precision(computed, mode):
    big = np.tile(X, (3, 30)) + RNG.standard_normal((180, 360), dtype=np.float32)  # large enough for reduced products
    x, y = torch.tensor(big), torch.tensor(big[:, 100:] + 1)
    plain = np.asarray(computed(x, y))
    with MODES_OF_TORCH[mode]():
        np.testing.assert_array_equal(np.asarray(computed(x, y)), plain)


def streamed(stream, x, y):
    for start in range(0, len(x), 60):
        stream.update(x[start : start + 60], y[start : start + 60])
    return stream


@pytest.fixture(params=["of each device", "one for all"])
def settings_of_torch(request, monkeypatch):
    """PyTorch before 2.9 has one setting for the products of all devices."""
    if request.param == "one for all":
        monkeypatch.setattr(modes, "_setting", lambda device: modes._ONE_FOR_ALL)


def test_modes_of_torch_are_restored(settings_of_torch):
    x, y = torch.tensor(X), torch.tensor(Y)
    with torch_precision("medium"), autocast():
        before = PRODUCTS.fp32_precision
        simkit.compare(x, y)
        with pytest.raises(simkit.SimkitError):
            simkit.compare(x, y * float("nan"))
        assert PRODUCTS.fp32_precision == before
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.is_autocast_enabled("cpu")
        assert (x @ y[:12]).dtype == torch.bfloat16


def test_threads_agree_on_the_precision_of_torch(settings_of_torch):
    x, inside, wrong = torch.tensor(X), threading.Barrier(4), []

    def work(k):
        inside.wait()
        for _ in range(50):
            precision, expected = (None, "ieee") if k % 2 else ("tf32", "tf32")
            with own_modes(x, precision), own_modes(x):
                wrong.extend({PRODUCTS.fp32_precision} - {expected})

    with torch_precision("medium"), ThreadPoolExecutor(4) as pool:
        before = PRODUCTS.fp32_precision
        list(pool.map(work, range(4)))
        assert not wrong
        assert PRODUCTS.fp32_precision == before


def test_modes_of_jax_change_no_score():
    jax = pytest.importorskip("jax")
    x, y = jax.numpy.asarray(X), jax.numpy.asarray(Y)
    strict = {
        "jax_numpy_rank_promotion": "raise",
        "jax_numpy_dtype_promotion": "strict",
        "jax_default_matmul_precision": "bfloat16",
    }
    before = {name: getattr(jax.config, name) for name in strict}
    for index in ("cka", "procrustes"):
        plain = float(simkit.compare(x, y, index))
        try:
            for name, value in strict.items():
                jax.config.update(name, value)
            assert float(simkit.compare(x, y, index)) == plain
            assert {name: getattr(jax.config, name) for name in strict} == strict
        finally:
            for name, value in before.items():
                jax.config.update(name, value)


@pytest.mark.parametrize(("precision", "expected"), [(None, "HIGHEST"), ("tf32", "HIGH"), ("bf16", "DEFAULT")])
def test_products_of_jax_are_asked_for_in_the_precision(precision, expected):
    jax = pytest.importorskip("jax")
    x, y = jax.numpy.asarray(X), jax.numpy.asarray(Y)
    traced = str(jax.make_jaxpr(lambda x: simkit.compare(x, y, precision=precision))(x))
    assert set(re.findall(r"Precision\.(\w+)", traced)) == {expected}


@pytest.mark.parametrize("spec", ["cka", "cka(kernel=rbf(sigma=3.0))"])
def test_numpy_takes_over_no_products_that_were_asked_for_in_a_precision(spec, monkeypatch):
    """Neither those of a tensor that is not just a view away from NumPy."""

    def numpy_takes_over(x):
        raise AssertionError("to NumPy")

    monkeypatch.setattr(simkit.comparison, "to_numpy", numpy_takes_over)
    big = np.tile(X, (40, 10))
    x, y = torch.tensor(big), torch.tensor(big[:, 60:] + 1)
    with pytest.raises(AssertionError, match="to NumPy"):
        simkit.compare(x, y, spec, tiles="exact")
    simkit.compare(x, y, spec, tiles="exact", precision="tf32")
    negative = torch.view_as_complex(torch.stack([y, -y], dim=2)).conj().imag
    assert negative.is_neg()
    simkit.compare(x, negative, spec, tiles="exact")


def test_less_precision_where_it_is_asked_for():
    big = RNG.standard_normal((300, 400), dtype=np.float32)
    x, y = torch.tensor(big), torch.tensor(big[:, :200])
    before = PRODUCTS.fp32_precision
    full, half = (float(simkit.compare(x, y, precision=precision)) for precision in (None, "bf16"))
    assert abs(full - half) < 1e-4  # 0 on processors that have no products of bfloat16
    matrix = simkit.pairwise([x, y], precision="bf16").to_numpy()
    np.testing.assert_allclose(matrix[0, 1], full, atol=1e-4)
    assert simkit.compare(x, y, precision="tf32").dtype == torch.float32
    assert PRODUCTS.fp32_precision == before


def test_precision_that_a_library_does_not_have():
    with pytest.raises(UnsupportedError, match=r"X is a numpy\.ndarray.*Leave it out"):
        simkit.compare(X, Y, precision="tf32")
    with pytest.raises(UnsupportedError, match="is in float64"):
        simkit.compare(torch.tensor(X), torch.tensor(Y, dtype=torch.float64), precision="bf16")
    with pytest.raises(UnsupportedError, match="no such products of float32 on meta"):
        simkit.compare(torch.tensor(X, device="meta"), torch.tensor(Y, device="meta"), precision="bf16")
    with pytest.raises(SpecError, match="precision"):
        simkit.compare(torch.tensor(X), torch.tensor(Y), precision="fp8")
