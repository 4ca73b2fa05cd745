"""What is no dense array of real numbers: an error of simkit's own, by every way in, with a remedy that works."""

import datetime
import decimal
import fractions
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from data import pair

import simkit
from simkit.errors import InvalidArrayError, InvalidDtypeError, MixedArraysError, SimkitError

da = pytest.importorskip("dask.array")

N = 12
X, Y = pair(N, 4, 3)


@dataclass(frozen=True)
class Later:
    """What takes its library seconds to make, and is therefore made when it is tested and not when tests are collected."""

    make: Callable[[], Any]


def _torch():
    torch = pytest.importorskip("torch")
    t = torch.tensor(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is in beta or deprecated
        yield "sparse COO", t.to_sparse(), "sparse tensor", "X.to_dense()"
        yield "sparse CSR", t.to_sparse_csr(), "sparse tensor", "X.to_dense()"
        yield "sparse CSC", t.to_sparse_csc(), "sparse tensor", "X.to_dense()"
        yield "sparse BSR", t.to_sparse_bsr((2, 2)), "sparse tensor", "X.to_dense()"
        parts = [t[:1].repeat(k + 2, 1) + 0.1 * k * t[k] for k in range(N)]
        means = "torch.stack([part.mean(dim=0) for part in X.unbind()])"
        yield "nested", torch.nested.nested_tensor(parts), "nested tensor", means
        jagged = Later(partial(torch.nested.nested_tensor, parts, layout=torch.jagged))
        yield "jagged", jagged, "nested tensor", means
        masked = torch.masked.masked_tensor(t, t > -10)
        yield "masked", masked, "masked tensor", "X.to_tensor(0.0)"
        yield "masked rows", masked, "masked tensor", "X.get_data()[X.get_mask().all(dim=1)]"
        yield "quantised", torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8), "quantised", "X.dequantize()"
        yield "meta", torch.empty((N, 4), device="meta"), "device meta, which has a shape and no values", None
        from torch._subclasses.fake_tensor import FakeTensorMode

        yield "fake", FakeTensorMode().from_tensor(t), "fake tensor", None
        yield "complex tensor", t.to(torch.complex64), "complex64", "X.real"
        yield "list of tensors with gradients", [row.clone().requires_grad_() for row in t], "torch.stack", "torch.stack(X)"


def _dask():
    import scipy.sparse

    lazy = da.from_array(X, chunks=(5, 4))

    def lying(function, **kwargs):
        return lazy.map_blocks(function, dtype=float, meta=np.empty((0, 0)), **kwargs)

    dense = "X.map_blocks(lambda chunk: chunk.toarray(), dtype=X.dtype, meta=numpy.empty((0, 0)))"
    yield "masked chunks", da.ma.masked_greater(lazy, 1), "masked chunks", "dask.array.ma.filled(X, 0.0)"
    yield "sparse chunks", lazy.map_blocks(scipy.sparse.csr_matrix, dtype=float), "sparse chunks", dense
    yield (
        "chunks of fewer rows",
        lying(lambda b: b[:3]),
        r"begins at \((0|5), 0\) has shape \(3, 4\), where X declares \(5, 4\)",
        None,
    )
    yield "chunks of fewer columns", lying(lambda b: b[:, :2]), r"has shape \((5|2), 2\)", None
    yield "chunks of one dimension", lying(lambda b: b[:, 0]), r"has shape \((5|2),\)", None
    yield "chunks of complex numbers", lying(lambda b: b * 1j), "has dtype complex128.*declares float64", None
    yield "chunks of strings", lying(lambda b: b.astype(str)), "has dtype <U32", None
    yield "chunks of float32", lying(lambda b: b.astype(np.float32)), "has dtype float32", None
    yield "chunks that are None", lying(lambda _: None), "is a builtins NoneType", None
    yield "chunks that are lists", lying(lambda b: b.tolist()), "is a builtins list", None
    yield "chunks masked unsaid", lying(lambda b: np.ma.masked_greater(b, 1)), "is a numpy MaskedArray", None
    yield "chunks sparse unsaid", lying(scipy.sparse.csr_matrix), "is a scipy csr_matrix", None
    yield "unknown length", lazy[lazy[:, 0] > 0], "unknown", None
    huge = da.from_array(np.arange(N * 4).reshape(N, 4) + 2**60, chunks=(5, 4))
    yield "identifiers in chunks", huge, r"beyond 2\^53", "X - X.min(axis=0)"
    yield "complex", lazy * (1 + 1j), "complex128", "X.real"
    yield "objects in chunks", lazy.astype(object), "dtype object", None


def _jax():
    jax = pytest.importorskip("jax")
    from jax.experimental import sparse

    given_away = jax.numpy.asarray(X)
    given_away.delete()
    yield "BCOO", Later(lambda: sparse.BCOO.fromdense(jax.numpy.asarray(X))), "sparse array", "X.todense()"
    yield "deleted", given_away, "given away", None
    yield "shape only", jax.ShapeDtypeStruct((N, 4), "float32"), "ShapeDtypeStruct; expected an array", None
    yield "random keys", jax.random.split(jax.random.key(0), N), "dtype key", None


def _tables():
    import pandas as pd
    import scipy.sparse
    import xarray as xr

    yield "Dataset", xr.Dataset({"layer": (("n", "p"), X)}), "Dataset", "X['layer']"
    yield "table of strings", pd.DataFrame({"a": ["x"] * N, "b": range(N)}), "dtype object", None
    yield "table of dates", pd.DataFrame({"a": pd.date_range("2020", periods=N), "b": range(N)}), "dtype object", None
    yield "table with missing values", pd.DataFrame({"a": pd.array([1, None] * 6, dtype="Int64")}), "nan or inf", None
    identifiers = pd.DataFrame({"id": np.arange(N) + 2**60, "a": X[:, 0]})
    yield "identifiers in a table", identifiers, r"column 'id' of X holds integers beyond 2\^53", None
    yield "empty table", pd.DataFrame(), r"shape \(0, 0\)", None
    yield "series", pd.Series(X[:, 0]), r"shape \(12,\)", "numpy.asarray(X).reshape(-1, 1)"
    for kind in ("csr_matrix", "csc_array", "coo_matrix", "dok_array", "lil_array", "bsr_array", "dia_array"):
        yield kind, getattr(scipy.sparse, kind)(X), "sparse array", "X.toarray()"


class Contrary:
    """Says that it is an array, and is none."""

    shape, ndim, dtype = (N, 4), 2, np.dtype(float)

    def __array__(self, *_, **__):
        raise RuntimeError("not today")


class NoMemory:
    """Offers its memory, and does not give it."""

    def __dlpack__(self, **_):
        raise ValueError("no memory")

    def __dlpack_device__(self):
        return (1, 0)


def _python():
    yield "sentences", ["a list of words", "two words"] * 6, "dtype <U15", None
    yield "tokens", [["a", "b"], ["c"]] * 6, "cannot be made into one array", None
    yield "ragged list", [[1.0, 2.0], [3.0]] * 6, "cannot be made into one array", None
    yield "arrays of two widths", [np.zeros(3), np.zeros(4)] * 6, "cannot be made into one array", None
    yield "numbers and words", [[1, "a"]] * N, "dtype <U", None
    yield "bytes", np.array([[b"1"]] * N), r"dtype \|S1", None
    yield "one string", "hello", "dtype <U5", None
    yield "nothing", None, "X is None", None
    yield "dictionary", {"a": X}, "X is a dict", None
    yield "set", {1, 2}, "X is a set; expected an array", None
    yield "generator", (row for row in X), "X is a generator; expected an array", None
    yield "a number", 3.0, r"shape \(\)", None
    yield "an array of one number", np.array(3.0), r"shape \(\)", None
    yield "a class", np.ndarray, "X is the class ndarray", None
    yield "a function", np.sum, "expected an array", None
    yield "an index", simkit.get_index("cka"), "X is a CKA; expected an array", None
    yield "dates", np.array([["2020-01-01"]] * N, dtype="M8[D]"), "dtype datetime64", None
    yield "times of day", [[datetime.datetime(2020, 1, 1)]] * N, "dtype object", None
    yield "records", np.zeros((N, 2), [("a", float)]), "dtype", None
    yield "objects", X.astype(object), "dtype object", "numpy.asarray(X, dtype=float)"
    yield (
        "decimals",
        [[decimal.Decimal(i), decimal.Decimal(1) / (i + 1)] for i in range(N)],
        "object",
        "numpy.asarray(X, dtype=float)",
    )
    yield "fractions", [[fractions.Fraction(i, 3)] for i in range(N)], "dtype object", "numpy.asarray(X, dtype=float)"
    yield "None among numbers", np.array([[1.0, None]] * N, dtype=object), "dtype object", None
    yield "identifiers", np.arange(N * 4).reshape(N, 4) + 2**60, r"beyond 2\^53.*row 0, column 1", "X - X.min(axis=0)"
    unsigned = np.arange(N * 4, dtype=np.uint64).reshape(N, 4) + np.uint64(2**63)
    yield "unsigned identifiers", unsigned, r"beyond 2\^53", "X - X.min(axis=0)"
    yield "integers beyond 64 bits", [[10**30 + i, i] for i in range(N)], "dtype object", None
    keep = "X.data[~numpy.ma.getmaskarray(X).reshape(len(X), -1).any(axis=1)]"
    yield "masked array", np.ma.masked_greater(X, 10), "masked array", keep
    yield "complex numbers", X * 1j, "complex128", "X.imag"
    yield "no examples", [], r"shape \(0,\)", None
    yield "no features", [[]] * N, "no features", None
    yield "says that it is an array", Contrary(), "not today", None
    yield "does not give its memory", NoMemory(), "no memory", None


CASES = [
    pytest.param(given, text, remedy, id=what)
    for kinds in (_torch, _dask, _jax, _tables, _python)
    for what, given, text, remedy in kinds()
]


def partner(x):
    """Another layer, of the framework of `x`."""
    library = type(x).__module__.partition(".")[0]
    if library == "torch":
        return sys.modules["torch"].tensor(Y)
    if library == "dask":
        return da.from_array(Y, chunks=(5, 3))
    return sys.modules["jax"].numpy.asarray(Y) if library in ("jax", "jaxlib") else Y


def streamed(x, y, spec):
    stream = simkit.stream(spec)
    stream.update(x, y)
    return stream.compute()


def first_of_pairwise(x, y, spec):
    return simkit.pairwise({"a": x}, {"b": y}, spec).values[0, 0]


WAYS_IN = {
    "compare": simkit.compare,
    "the other way round": lambda x, y, spec: simkit.compare(y, x, spec),
    "pairwise": first_of_pairwise,
    "stream": streamed,
    "tiles": lambda x, y, spec: simkit.compare(x, y, spec, tiles="exact"),
    "interval": simkit.interval,
}


def value(score):
    return float(score.compute(scheduler="synchronous") if hasattr(score, "compute") else score)


@pytest.mark.parametrize(("given", "text", "remedy"), CASES)
def test_refused_by_every_way_in(given, text, remedy):
    if isinstance(given, Later):
        given = given.make()
    y = partner(given)
    with pytest.raises((InvalidArrayError, InvalidDtypeError, MixedArraysError), match=f"(?s){text}") as caught:
        value(simkit.compare(given, y, "cka"))
    message = str(caught.value)
    assert len(message) < 600
    for way, spec in [(way, spec) for way in WAYS_IN for spec in ("cca", "cka(kernel=rbf)")]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(SimkitError):
                value(WAYS_IN[way](given, y, spec))
    if remedy is None:
        return
    if "getmaskarray" not in remedy:  # which the message gives in two steps
        assert remedy in message
    names = {name: sys.modules[name] for name in ("numpy", "torch", "dask", "jax") if name in sys.modules}
    mended = eval(remedy, names, {"X": given})  # the very text of the message
    assert np.isfinite(value(simkit.compare(mended, partner(mended), "cka")))


def test_integers_that_float32_rounds_become_float64():
    torch = pytest.importorskip("torch")
    n = torch.arange(N * 2).reshape(N, 2)
    assert simkit.compare(n, n.float()).dtype == torch.float32
    assert simkit.compare(n + 2**24, n.float()).dtype == torch.float64
    assert float(simkit.compare(n + 2**30, n.float())) == pytest.approx(1)
    assert simkit.compare(n.to(torch.int8), n.float()).dtype == torch.float32


def test_large_integers_that_are_exact_are_features():
    n = np.arange(N * 4).reshape(N, 4) ** 2
    assert simkit.compare(n * 2**40, Y) == pytest.approx(float(simkit.compare(n, Y)))
    assert simkit.compare(-n * 2**50, Y) == pytest.approx(float(simkit.compare(n, Y)))


def test_a_chunk_is_looked_at_where_it_is_used():
    """The error comes from the computation, and names chunk and layer; a second look costs no second task."""
    lazy = da.from_array(X, chunks=(5, 4))
    late = lazy.map_blocks(lambda b: b[:, :1] if len(b) < 5 else b, dtype=float, meta=np.empty((0, 0)))
    matrix = simkit.pairwise({"a": lazy, "late": late})
    with pytest.raises(InvalidArrayError, match=r"The chunk of A\['late'\] that begins at \(10, 0\) has shape \(2, 1\)"):
        matrix.values.compute(scheduler="synchronous")
