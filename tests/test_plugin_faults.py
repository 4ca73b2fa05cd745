"""Whatever an index or a kernel from outside simkit does, the caller's arrays stay, and the error says whose fault it is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import wrong

import simkit
from simkit import discovery, loading, registry
from simkit.analysis import layer_accuracy
from simkit.errors import ConstantInputWarning, InvalidArrayError, PluginError
from simkit.guard import bare
from simkit.inference import noise_ceiling
from simkit.kernels import Linear
from simkit.properties import Facts, Invariances

X, Y = (np.random.default_rng(seed).standard_normal((24, p)) for seed, p in ((1, 3), (2, 4)))
BOTH = {"x": X, "y": Y}


def raising(error):
    def method(*_, **__):
        raise error

    return method


# --- indexes --------------------------------------------------------------------------------------------------------------


def from_a_stream(index):
    stream = simkit.stream(index)
    stream.update(BOTH)
    return stream.compute()


def from_dask(index):
    da = pytest.importorskip("dask.array")
    return simkit.compare(da.from_array(X, chunks=(8, 3)), da.from_array(Y, chunks=(8, 4)), index).compute()


WAYS = {
    "call": lambda index: index(X, Y),
    "compare": lambda index: simkit.compare(X, Y, index),
    "pairwise": lambda index: simkit.pairwise(BOTH, BOTH, index),
    "stream": from_a_stream,
    "dask": from_dask,
    "permutation test": lambda index: simkit.permutation_test(X, Y, index, permutations=9),
    "jackknife": lambda index: simkit.jackknife(X, Y, index),
    "noise ceiling": lambda index: noise_ceiling([X, Y, X], index),
    "layer accuracy": lambda index: layer_accuracy([BOTH, BOTH], index),
}


def index(**methods):
    return dataclass(frozen=True)(
        type(
            "FromOutside",
            (wrong.Congruence,),
            {"__module__": "my_plugin.indexes", "__qualname__": "here.<locals>.Mine", **methods},
        )
    )()


FAULTS = {
    "prepare raises": ({"prepare": raising(KeyError("gram"))}, "prepare: KeyError: 'gram'"),
    "prepare stops": ({"prepare": raising(StopIteration())}, "prepare: StopIteration"),
    "prepare exits": ({"prepare": raising(SystemExit("enough"))}, "prepare: SystemExit: enough"),
    "prepare returns nothing": ({"prepare": lambda self, layer: None}, "prepare returned None"),
    "prepare returns a string": ({"prepare": lambda self, layer: "state"}, "score: "),
    "prepare misses a shape": ({"prepare": lambda self, layer: layer.unit @ np.ones((99, 1))}, "prepare: ValueError"),
    "score raises": ({"score": raising(np.linalg.LinAlgError("singular"))}, "score: LinAlgError: singular"),
    "score of hostile words": ({"score": raising(RuntimeError("\x1b[31m" + "x" * 10**5))}, r"\\x1b\[31mxx"),
    "score returns nothing": ({"score": lambda self, x, y: None}, r"score returned None.*shape \(\)"),
    "score returns a string": ({"score": lambda self, x, y: "high"}, "score returned 'high', a str"),
    "score returns a float": ({"score": lambda self, x, y: 0.5}, "score returned 0.5, a float"),
    "score returns a row": ({"score": lambda self, x, y: np.zeros(1)}, r"score returned an array of shape \(1,\)"),
    "score returns a matrix": (
        {"score": lambda self, x, y: x.T @ y},
        r"score returned an array of shape \(\d+, \d+\)",
    ),
    "score is complex": ({"score": lambda self, x, y: np.asarray(1j)}, "score returned an array of dtype complex128"),
    "score is text": ({"score": lambda self, x, y: np.asarray("high")}, "score returned an array of dtype <U4"),
    "score takes one": ({"score": lambda self, x: x}, "score: TypeError"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("methods", "message"), FAULTS.values(), ids=FAULTS)
def test_faults_of_an_index(monkeypatch, way, methods, message):
    monkeypatch.setattr("simkit.guard.distribution_of", lambda cls: ("my-plugin", "1.2"))
    with pytest.raises(PluginError, match=message) as caught:
        way(index(**methods))
    told = str(caught.value)
    assert "index 'congruence' of my-plugin 1.2 (my_plugin.indexes:here.<locals>.Mine)" in told
    assert len(told) < 600
    assert ("returned" in told) == (caught.value.__cause__ is None)


def test_faults_of_scores():
    for returned in (None, np.zeros((1, 1)), [[1.0]]):
        with pytest.raises(PluginError, match="scores returned"):
            simkit.pairwise(BOTH, index=index(scores=lambda self, xs, ys, advance=None, r=returned: r))
    with pytest.raises(PluginError, match="failed in scores: ZeroDivisionError"):
        simkit.pairwise(BOTH, index=index(scores=raising(ZeroDivisionError())))


BESIDES = {
    "permuted": ({"permuted": raising(KeyError("order"))}, "permutation test", "failed in permuted: KeyError: 'order'"),
    "leave_one_out": ({"leave_one_out": raising(KeyError("i"))}, "jackknife", "failed in leave_one_out: KeyError: 'i'"),
    "leave_one_out of one pair": (
        {"leave_one_out": lambda self, xs, ys: np.zeros(len(X))},
        "jackknife",
        r"leave_one_out returned an array of shape \(\d+,\); expected an array of shape \(\d+, 1, 1\)",
    ),
    "resampled": ({"resampled": lambda self, xs, ys, w, members=None: [0.5]}, "jackknife", "resampled returned .*, a list"),
    "pool": ({"pool": raising(ZeroDivisionError("none"))}, "noise ceiling", "failed in pool: ZeroDivisionError: none"),
    "kernel_estimator": (
        {"kernel_estimator": property(lambda self: "linear"), "facts": wrong.changed(statistic="hsic sums")},
        "compare",
        "kernel_estimator is 'linear'; expected None or",
    ),
}


@pytest.mark.parametrize(("methods", "way", "message"), BESIDES.values(), ids=BESIDES)
def test_faults_of_what_an_index_does_besides(methods, way, message):
    with pytest.raises(PluginError, match=message):
        WAYS[way](index(**methods))


def declared(**changes):
    facts = {"symmetric": True, "range": (0.0, 1.0), "invariances": Invariances.both("orthogonal"), "statistic": "moments"}
    return property(lambda self: Facts(**(facts | changes)))


FACTS = {
    "nothing": (property(lambda self: None), "lacks symmetric"),
    "a string": (property(lambda self: "moments"), "it is a str, expected simkit.properties.Facts"),
    "no property": ({"symmetric": True}, "it is a dict"),
    "raises": (property(raising(ZeroDivisionError("no"))), "failed in facts: ZeroDivisionError: no"),
    "range reversed": (declared(range=(1.0, 0.0)), r"range is \(1.0, 0.0\)"),
    "range of words": (declared(range="all"), "range is 'all'"),
    "unknown statistic": (declared(statistic="sums"), "statistic is 'sums'"),
    "examples": (declared(min_examples="two"), "min_examples is 'two'"),
    "invariances": (declared(invariances=frozenset()), "invariances is frozenset"),
    "arrays": (declared(statistic=np.zeros(3)), "failed in facts: ValueError"),
    "long": (declared(generic=["x" * 10**6]), "generic is"),
    "symmetric": (declared(symmetric=1), "symmetric is 1; expected True or False"),
}


@pytest.mark.parametrize(("facts", "message"), FACTS.values(), ids=FACTS)
def test_facts_are_read_when_an_index_is_made(facts, message):
    for way in (simkit.get_index, WAYS["compare"], WAYS["pairwise"], WAYS["stream"], WAYS["permutation test"]):
        with pytest.raises(PluginError, match=message) as caught:
            way(index(facts=facts))
        assert len(str(caught.value)) < 700


def test_who_it_was_in_a_notebook():
    @dataclass(frozen=True)
    class Mine(wrong.Congruence):
        def score(self, x, y):
            return x[999]

    with pytest.raises(
        PluginError, match=rf"index 'congruence' \({__name__}:.*Mine\) failed in score: IndexError"
    ) as caught:
        simkit.compare(X, Y, Mine)
    assert isinstance(caught.value.__cause__, IndexError)


class Point:
    """An entry point."""

    dist = None

    def __init__(self, value, error=None):
        self.value, self.error, self.loads = value, error, 0

    def load(self):
        self.loads += 1
        raise self.error


def installed(monkeypatch, **entries):
    """As if these were the entries that are installed, by kind."""
    monkeypatch.setattr(discovery, "installed", lambda kind: entries.get(kind, {}))


def test_who_it_was_in_a_distribution(monkeypatch):
    twice = np.hstack([X, X])  # which it cannot invert
    entry = registry.Entry("index", "mine", Point(f"{wrong.__name__}:X"), "simkit-mine", "1.2")
    installed(monkeypatch, index=registry.indexes.entries() | {"mine": (entry,)})
    with pytest.raises(
        PluginError, match=r"index 'congruence' of simkit-mine 1\.2 \(wrong:Inverting\) failed in prepare: \w+Error"
    ):
        simkit.compare(twice, Y, wrong.Inverting)


def test_what_simkit_says_passes():
    with pytest.raises(InvalidArrayError, match="^mine$"):
        simkit.compare(X, Y, index(score=raising(InvalidArrayError("mine"))))
    with pytest.raises(KeyboardInterrupt):
        simkit.compare(X, Y, index(prepare=raising(KeyboardInterrupt())))
    with pytest.raises(MemoryError):
        simkit.compare(X, Y, index(prepare=raising(MemoryError())))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConstantInputWarning)
        with pytest.raises(ConstantInputWarning):
            simkit.compare(X, Y, index(prepare=lambda self, layer: warnings.warn("w", ConstantInputWarning, stacklevel=1)))


def test_methods_of_a_mixin_count_too():
    class Mixin:
        def score(self, x, y):
            return None

    @dataclass(frozen=True)
    class Mixed(Mixin, wrong.Congruence):
        pass

    with pytest.raises(PluginError, match="score returned None"):
        simkit.compare(X, Y, Mixed)


def test_our_own_are_not_wrapped():
    for entry in (same[0] for same in registry.indexes.entries().values()):
        if entry.distribution == discovery.OWN:
            for method in ("prepare", "score", "scores"):
                assert not hasattr(getattr(loading.load(entry), method), "__wrapped__")
    for entry in (same[0] for same in registry.kernels.entries().values()):
        if entry.distribution == discovery.OWN:
            assert not hasattr(loading.load(entry).__call__, "__wrapped__")

    @dataclass(frozen=True)
    class Derived(simkit.indexes.CKA):
        name: ClassVar[str] = "derived"

    assert not hasattr(Derived.prepare, "__wrapped__")
    assert simkit.compare(X, Y, Derived) == simkit.compare(X, Y)


# --- kernels --------------------------------------------------------------------------------------------------------------


def kernel(**methods):
    return dataclass(frozen=True)(
        type(
            "KernelFromOutside",
            (wrong.Gauss,),
            {"__module__": "my_plugin.kernels", "__qualname__": "here.<locals>.Mine", **methods},
        )
    )()


def by_tiles(kernel):
    return simkit.compare(*BOTH.values(), "cka", kernel=kernel, tiles="exact")


def dask_kernel_sums(kernel):
    da = pytest.importorskip("dask.array")
    from simkit.scale.kernels import kernel_sums

    return kernel_sums(kernel, {"x": da.from_array(X, chunks=(8, 3))}, rounding={"x": 0.0}, check_finite=True).compute()


KERNEL_WAYS = {
    "compare": lambda kernel: simkit.compare(X, Y, "cka", kernel=kernel),
    "pairwise": lambda kernel: simkit.pairwise(BOTH, index="hsic", kernel=kernel),
    "tiles": by_tiles,
    "dask": dask_kernel_sums,
    "permutation test": lambda kernel: simkit.permutation_test(X, Y, "cka", kernel=kernel, permutations=9),
}
KERNEL_FAULTS = {
    "raises": ({"__call__": raising(KeyError("k"))}, "failed in __call__: KeyError: 'k'"),
    "nothing": ({"__call__": lambda self, X, Y: None}, "__call__ returned None"),
    "a string": ({"__call__": lambda self, X, Y: "K"}, "__call__ returned 'K', a str"),
    "a scalar": ({"__call__": lambda self, X, Y: np.float64(1)}, r"__call__ returned an array of shape \(\)"),
    "a row": ({"__call__": lambda self, X, Y: X[:, 0]}, "__call__ returned an array of shape"),
    "whole numbers": ({"__call__": lambda self, X, Y: np.ones((len(X), len(Y)), int)}, "of dtype int64"),
    "fit raises": ({"fit": raising(KeyError("f")), "fit_needs": "all examples"}, "failed in fit: KeyError: 'f'"),
    "fit gives nothing": ({"fit": lambda self, X: None, "fit_needs": "all examples"}, "fit returned None"),
    "fit gives a number": ({"fit": lambda self, X: 1.0, "fit_needs": "all examples"}, "fit returned 1.0, a float"),
    "invariances raise": ({"invariances": property(raising(KeyError("i")))}, "failed in invariances: KeyError"),
    "no invariances": ({"invariances": property(lambda self: None)}, "invariances is None"),
}


@pytest.mark.parametrize("way", KERNEL_WAYS.values(), ids=KERNEL_WAYS)
@pytest.mark.parametrize(("methods", "message"), KERNEL_FAULTS.values(), ids=KERNEL_FAULTS)
def test_faults_of_a_kernel(monkeypatch, way, methods, message):
    monkeypatch.setattr("simkit.guard.distribution_of", lambda cls: ("my-plugin", "1.2"))
    with pytest.raises(PluginError, match=message) as caught:
        way(kernel(**methods))
    assert "kernel 'gauss' of my-plugin 1.2 (my_plugin.kernels:here.<locals>.Mine)" in str(caught.value)


def test_faults_of_a_median():
    @dataclass(frozen=True)
    class Lazy(wrong.Gauss):
        fit_needs = "median distance"

        def with_median(self, median):
            return median

    with pytest.raises(PluginError, match="with_median returned"):
        simkit.compare(X, Y, "cka", kernel=Lazy())


# --- the caller's arrays --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Writing(wrong.Congruence):
    """Writes into what it is given."""

    def prepare(self, representation):
        representation.features[...] = 1.0
        return representation.unit


@dataclass(frozen=True)
class WritingKernel(wrong.Gauss):
    """Writes into what it is given, where one object is to remain one."""

    invariances = property(lambda self: frozenset())

    def __call__(self, X, Y):
        assert (X is Y) == (X.shape == Y.shape)
        K = super().__call__(X, Y)
        X[...] = 1.0
        return K


@pytest.mark.parametrize(
    "ask", [lambda x, y: simkit.compare(x, y, Writing), lambda x, y: simkit.compare(x, y, "cka", kernel=WritingKernel())]
)
def test_numpy_arrays_cannot_be_written_into(ask):
    x, y = X.copy(), Y.copy()
    with pytest.raises(PluginError, match=r"read-only.*let it take a copy"):
        ask(x, y)
    np.testing.assert_array_equal(x, X)
    assert x.flags.writeable


@pytest.mark.backends("torch", "array_api_strict")
def test_arrays_of_other_libraries_are_copied(backend):
    for index in (Writing(), simkit.get_index("cka", kernel=WritingKernel())):
        x, y = backend.asarray(X.copy()), backend.asarray(Y.copy())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            simkit.compare(x, y, index)
            simkit.pairwise([x, y], index=index)
        np.testing.assert_array_equal(backend.to_numpy(x), X)
        np.testing.assert_array_equal(backend.to_numpy(y), Y)


def test_states_of_a_stream_are_not_written_into():
    stream = simkit.stream(Writing())
    stream.update(BOTH)
    for _ in range(2):
        with pytest.raises(PluginError, match="read-only"):
            stream.compute()
    with bare(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream.compute()


@pytest.mark.backends("torch", "jax")
def test_gradients_flow_through_the_copies(backend):
    """As they do without."""
    if backend.name == "torch":
        import torch

        def slope(x):
            x = torch.tensor(x, requires_grad=True)
            simkit.compare(x, torch.tensor(Y), wrong.Congruence()).backward()
            return x.grad.numpy()
    else:
        import jax

        def slope(x):
            return np.asarray(
                jax.grad(lambda z: simkit.compare(z, jax.numpy.asarray(Y), wrong.Congruence()))(jax.numpy.asarray(x))
            )

    guarded = slope(X)
    with bare():
        np.testing.assert_array_equal(guarded, slope(X))
    assert np.abs(guarded).max() > 0


@pytest.mark.filterwarnings("ignore:Dynamo detected:UserWarning")
def test_what_is_compiled_is_called_as_it_is():
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X), torch.tensor(Y)
    score = torch.compile(lambda x, y: simkit.compare(x, y, wrong.Congruence()), backend="eager", fullgraph=True)
    assert float(score(x, y)) == pytest.approx(float(simkit.compare(x, y, wrong.Congruence())))


def test_scores_of_another_library():
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X), torch.tensor(Y)
    ways = (
        lambda: simkit.compare(x, y, wrong.OnNumPy()),
        lambda: simkit.pairwise([x, y], index=wrong.OnNumPy()),
        lambda: simkit.permutation_test(x, y, wrong.OnNumPy(), permutations=9),
        lambda: noise_ceiling([x, y], wrong.OnNumPy()),
    )
    for way in ways:
        with pytest.raises(PluginError, match=r"score returned a numpy.ndarray; the layers are torch.Tensor"):
            way()
    with pytest.raises(PluginError, match="expected an array of the library of X"):
        simkit.compare(x, y, "cka", kernel=wrong.KernelOnNumPy())


# --- imports --------------------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """Of no family."""


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(2), Interrupted("x"), RecursionError(), ImportError("dll")]
)
def test_a_failing_import_does_not_end_a_listing(monkeypatch, capsys, error):
    pytest.importorskip("typer")
    from simkit.cli.app import run

    point = Point("my_plugin:Mine", error)
    entry = registry.Entry("kernel", "mine", point, "my-plugin", "1.2")
    linear = registry.kernels.entries()["linear"]
    installed(monkeypatch, kernel={"linear": linear, "mine": (entry,)})
    message = rf"kernel 'mine' of my-plugin 1.2 \(my_plugin:Mine\): {type(error).__name__}"
    with pytest.raises(PluginError, match=message):
        simkit.get_kernel("mine")
    assert simkit.get_kernel("linear") == Linear()
    assert run(["kernels"]) == 0
    out = capsys.readouterr().out
    assert "linear" in out
    assert "broken: mine of my-plugin 1.2" in out
    # What the user interrupted is tried again.
    assert (point.loads > 1) == isinstance(error, KeyboardInterrupt)
