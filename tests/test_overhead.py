"""What a call costs besides the work: what it imports, how often it calls its library, how often it goes through a layer.

Times depend on the machine; these counts do not.
"""

from __future__ import annotations

import math
import pickle
import subprocess
import sys

import definitions
import numpy as np
import pytest

import simkit
from simkit.arrays import accumulation_dtype, count_nonfinite, namespace_of, on_host, placement, to_numpy, varies
from simkit.linalg import power_of_two, ratio, root, vecdot
from simkit.representation import Representation
from simkit.spec import Spec, parse


def layers(n=10, p=3, q=4):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, p)).astype(np.float32), rng.standard_normal((n, q)).astype(np.float32)


# --- NumPy as a namespace -------------------------------------------------------------------------------------------------


def test_a_first_comparison_imports_no_more_of_numpy_than_it_needs():
    code = """
import sys, numpy, simkit
x = numpy.random.default_rng(0).standard_normal((10, 3))
simkit.compare(x, x[::-1])
print([name for name in ("array_api_compat.numpy", "numpy.f2py", "numpy.testing", "scipy", "torch") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[0] == "[]"


def test_numpys_namespace_follows_the_standard_where_numpy_does_not():
    x = np.asarray([[2.0, 1.0, 3.0]])
    xp = namespace_of(x)
    assert xp.sort(x, descending=True).tolist() == [[3.0, 2.0, 1.0]]
    assert xp.argsort(x, descending=True).tolist() == [[2, 0, 1]]
    assert xp.sum is np.sum
    assert xp.__name__ == "numpy"
    assert namespace_of(x, np.float32(1)) is xp
    assert pickle.loads(pickle.dumps(xp)) is xp
    with pytest.raises(AttributeError):
        xp.nothing_of_this_name


def test_namespaces_of_two_libraries_are_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError):
        namespace_of(np.zeros(2), torch.zeros(2))
    with pytest.raises(TypeError):
        namespace_of("no array")


# --- how often a library is called ----------------------------------------------------------------------------------------


class Calls:
    """The operations of PyTorch within, each with the dtype and the number of values of what it returns."""

    def __new__(cls):
        torch = pytest.importorskip("torch")
        from torch.utils._python_dispatch import TorchDispatchMode

        class Mode(TorchDispatchMode):
            def __init__(self):
                super().__init__()
                self.found = []

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                result = function(*args, **(kwargs or {}))
                if isinstance(result, torch.Tensor):
                    self.found.append((str(function), result.dtype, result.numel()))
                return result

        return Mode()


def test_a_small_comparison_calls_pytorch_a_few_dozen_times():
    torch = pytest.importorskip("torch")
    x, y = map(torch.tensor, layers())
    simkit.compare(x, y)
    with Calls() as calls:
        simkit.compare(x, y)
    assert len(calls.found) < 85  # 20 of them for what it is by chance


def test_no_copy_of_a_layer_in_float64_is_made_for_gradients():
    torch = pytest.importorskip("torch")
    x, y = map(torch.tensor, layers(120, 160, 160))
    x.requires_grad_()
    with Calls() as calls:
        (1 - simkit.compare(x, y)).backward()
    assert not [call for call in calls.found if call[1] == torch.float64 and call[2] >= x.numel()]
    assert not [call for call in calls.found if call[0].startswith("aten.neg") and call[2] >= x.numel()]
    assert float(simkit.compare(x.detach(), y)) == pytest.approx(
        definitions.cka(x.detach().double().numpy(), y.double().numpy()), abs=1e-6
    )


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_constant_columns_stay_exactly_zero_in_large_tensors(offset):
    """Their mean is summed in float32 there."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(layers(300, 80)[0]) + offset
    x[:, 5] = 0.1 + offset
    centred = Representation(x).centred
    assert bool((centred[:, 5] == 0).all())
    exact = x.double() - x.double().mean(dim=0)
    assert float((centred - exact).abs().max()) < 1e-6 * float(exact.abs().max())


# --- how often a layer is gone through ------------------------------------------------------------------------------------


@pytest.mark.backends("numpy", "numpy:readonly", "torch", "jax")
@pytest.mark.parametrize("size", [1e-20, 1e-2, 1.0, 500.0, 1e20])
def test_layers_of_ordinary_size_are_not_divided(backend, size):
    x = backend.asarray(layers()[0] * np.float32(size))
    layer = Representation(x)
    scale = float(layer.scale)
    largest = float(np.abs(backend.to_numpy(layer.centred)).max())
    assert scale == (
        1.0 if 2**-4 <= 2.0 ** math.floor(math.log2(largest)) <= 2**10 else 2.0 ** math.floor(math.log2(largest))
    )
    assert np.array_equal(backend.to_numpy(layer.unit) * np.float32(scale), backend.to_numpy(layer.centred))
    assert layer.scale.ndim == 0
    assert namespace_of(layer.unit) is namespace_of(x)


def test_powers_of_two(backend):
    for largest, power in [
        (3.0, 2.0),
        (-4.0, 4.0),
        (0.7, 0.5),
        (0.0, 1.0),
        (math.inf, 1.0),
        (math.nan, 1.0),
        (1e-40, 2.0**-126),
    ]:
        if largest == 1e-40 and backend.name == "cupy":  # whose comparisons take subnormal numbers for zero
            continue
        x = backend.asarray([[largest, 0.0]], dtype="float32")
        assert float(power_of_two(x, namespace_of(x))) == power


def test_division_and_roots_of_what_has_none(backend):
    x = backend.asarray([1.0, 0.0, -1.0, 4.0])
    xp = namespace_of(x)
    assert np.array_equal(backend.to_numpy(root(x, xp)), [1.0, 0.0, 0.0, 2.0])
    assert np.array_equal(backend.to_numpy(ratio(x, x, xp)), [1.0, np.nan, 1.0, 1.0], equal_nan=True)
    assert float(root(x[0] * float("nan"), xp)) == 0.0


def test_dot_products_along_rows(backend):
    x, y = layers(6, 5, 5)
    found = vecdot(*map(backend.asarray, (x, y)), namespace_of(backend.asarray(x)))
    assert np.allclose(backend.to_numpy(found), np.sum(x.astype(float) * y, axis=1), rtol=1e-6, atol=1e-6)


def test_what_is_said_of_values(backend):
    x = np.ones((5, 3), dtype=np.float32)
    assert not varies(backend.asarray(x))
    x[4, 2] = 2
    assert varies(backend.asarray(x))
    assert not varies(backend.asarray(x)[:1, :])
    assert count_nonfinite(backend.asarray(x)) == 0
    assert count_nonfinite(backend.asarray(np.full_like(x, 3e38))) == 0  # a sum that overflows is not enough
    x[0, 0], x[1, 1] = np.nan, -np.inf
    assert count_nonfinite(backend.asarray(x)) == 2
    assert np.array_equal(to_numpy(on_host(backend.asarray(x)))[2:], x[2:])


@pytest.mark.backends("jax")
def test_jax_places_what_is_bound_to_no_device_itself(backend):
    import jax

    x = backend.asarray(layers()[0])
    assert placement(x) == {}
    bound = jax.device_put(x, jax.devices()[0])
    assert placement(bound) == {"device": bound.device}
    assert str(accumulation_dtype(x, backend.xp)) == "float64"
    narrow = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with narrow(False):
        assert str(accumulation_dtype(x, backend.xp)) == "float32"


# --- the same scores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1.0, 1e-19, 1e18])
def test_a_pair_has_the_score_that_it_has_among_others(backend, size):
    x, y = layers()
    x = x * np.float32(size)
    one = simkit.compare(*map(backend.asarray, (x, y)))
    both = simkit.pairwise([backend.asarray(x)], [backend.asarray(z) for z in (x, y)])
    assert float(one) == pytest.approx(definitions.cka(x.astype(float), y.astype(float)), rel=3e-7)
    assert both.to_numpy() == pytest.approx(np.asarray([[1.0, definitions.cka(x.astype(float), y.astype(float))]]), rel=3e-7)
    assert namespace_of(one) is namespace_of(backend.asarray(x))
    assert "float32" in str(one.dtype)


def test_a_spec_may_be_changed_after_it_was_read():
    first = parse("cka(kernel=rbf(fraction=0.4))")
    first.parameters["kernel"].parameters["fraction"] = 3.0
    first.parameters["more"] = 1
    assert parse("cka(kernel=rbf(fraction=0.4))") == Spec("cka", {"kernel": Spec("rbf", {"fraction": 0.4})})
