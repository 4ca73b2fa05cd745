"""Arrays of every library and precision: what is taken, what is refused, and what is said then."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from data import OWN_INDEXES, pair

import simkit
from simkit.arrays import as_matrix, rounding_of
from simkit.errors import InvalidArrayError, InvalidDtypeError, MixedArraysError

X, Y = pair(20, 3, 4)


# --- what comes out is of the kind that went in ----------------------------------------------------------------------------


@pytest.mark.parametrize("index", [str(name) for name in OWN_INDEXES])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_namespace_dtype_and_device_are_kept(backend, index, dtype):
    x, y = backend.asarray(X, dtype=dtype), backend.asarray(Y, dtype=dtype)
    score = simkit.compare(x, y, index)
    assert score.shape == ()
    assert score.dtype == backend.dtype(dtype)
    assert getattr(score, "device", "cpu") == getattr(x, "device", "cpu")
    if not backend.name.startswith("numpy"):
        assert type(score) is type(x)
    np.testing.assert_array_equal(backend.to_numpy(x), X.astype(dtype))  # not written to


def test_mixed_precision_gives_the_wider(backend):
    assert simkit.compare(backend.asarray(X, dtype="float32"), backend.asarray(Y)).dtype == backend.dtype("float64")


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64"])
def test_integers_and_bools_become_floats(backend, dtype):
    whole = X > 0 if dtype == "bool" else np.abs(X * 3).astype(dtype)
    default = backend.xp.__array_namespace_info__().default_dtypes()["real floating"]
    score = simkit.compare(backend.asarray(whole), backend.xp.astype(backend.asarray(Y), default))
    assert score.dtype == default
    assert float(score) == pytest.approx(float(simkit.compare(whole.astype(float), Y)), rel=1e-5)


@pytest.mark.backends("numpy", "torch", "jax")
def test_float16_computes_in_float32(backend):
    half = X.astype(np.float16)
    score = simkit.compare(backend.asarray(half), backend.asarray(half))
    assert score.dtype == backend.dtype("float32")
    big = np.where(np.arange(20)[:, None] % 2, 60000, -60000).astype(np.float16) + half  # squares overflow float16
    assert float(simkit.compare(backend.asarray(big), backend.asarray(big))) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("library", ["torch", "jax", "numpy"])
def test_bfloat16_computes_in_float32(library):
    module = pytest.importorskip({"torch": "torch", "jax": "jax.numpy", "numpy": "ml_dtypes"}[library])
    if library == "numpy":
        x, expected = X.astype(module.bfloat16), np.float32
    else:
        x, expected = module.asarray(X, dtype=module.bfloat16), module.float32
    score = simkit.compare(x, x)
    assert score.dtype == expected
    assert float(score) == pytest.approx(1, rel=1e-6)


def test_extended_precision_computes_in_float64():
    assert simkit.compare(X.astype(np.longdouble), Y).dtype == np.float64


def test_lists_data_frames_matrices_and_strided_arrays():
    pandas = pytest.importorskip("pandas")
    expected = pytest.approx(float(simkit.compare(X, Y)), rel=1e-13)
    twice = np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(X)
    for x in (X.tolist(), tuple(map(tuple, X)), pandas.DataFrame(X), np.asfortranarray(X), twice[::2, ::2], matrix):
        assert float(simkit.compare(x, Y)) == expected


def test_tensors_that_require_gradients():
    torch = pytest.importorskip("torch")
    score = simkit.compare(torch.tensor(X, requires_grad=True), torch.tensor(Y))
    assert score.requires_grad


# --- shapes ----------------------------------------------------------------------------------------------------------------


def test_one_dimension(backend):
    with pytest.raises(InvalidArrayError, match=r"X has shape \(20,\).*X\.reshape\(-1, 1\)"):
        simkit.compare(backend.asarray(X[:, 0]), backend.asarray(Y))
    with pytest.raises(InvalidArrayError, match=r"Y has shape \(\)"):
        simkit.compare(X, 3.0)


def test_different_numbers_of_examples(backend):
    with pytest.raises(InvalidArrayError, match=r"\(20, 3\) and Y \(19, 4\): 20 and 19 examples"):
        simkit.compare(backend.asarray(X), backend.asarray(Y[:19]))
    with pytest.raises(InvalidArrayError, match="transposed"):
        simkit.compare(X.T, np.ones((4, 20)))


def test_too_few_examples(backend):
    with pytest.raises(InvalidArrayError, match=r"1 example.*at least 2"):
        simkit.compare(backend.asarray(X[:1]), backend.asarray(Y[:1]))
    for estimator in ("unbiased", "lange"):
        with pytest.raises(InvalidArrayError, match=r"3 examples.*at least 4"):
            simkit.compare(backend.asarray(X[:3]), backend.asarray(Y[:3]), "cka", estimator=estimator)


def test_no_features():
    with pytest.raises(InvalidArrayError, match="no features"):
        simkit.compare(X[:, :0], Y)


def test_flattening(backend):
    maps = np.random.default_rng(0).standard_normal((6, 5, 4, 3))
    np.testing.assert_array_equal(backend.to_numpy(as_matrix(backend.asarray(maps), flatten=True)), maps.reshape(6, 60))
    assert float(simkit.compare(backend.asarray(maps), backend.asarray(X[:6]), flatten=True)) == pytest.approx(
        float(simkit.compare(maps.reshape(6, 60), X[:6])), rel=1e-12
    )


# --- the precision in which values were given ------------------------------------------------------------------------------

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


class OnlyDLPack:
    """An array of a library that simkit has never heard of."""

    def __init__(self, values):
        self._values = values

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self._values.__dlpack_device__()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rounding_of_arrays(backend, dtype):
    assert rounding_of(backend.asarray(X, dtype=dtype)) == EPS[dtype]
    assert rounding_of(backend.xp.asarray([[1, 2], [3, 4]])) == 0  # exact


def test_rounding_of_half_precision():
    torch, jnp, ml_dtypes = pytest.importorskip("torch"), pytest.importorskip("jax.numpy"), pytest.importorskip("ml_dtypes")
    assert rounding_of(X.astype(np.float16)) == EPS["float16"]
    for name in ("float16", "bfloat16"):
        assert rounding_of(torch.tensor(X, dtype=getattr(torch, name))) == EPS[name]
        assert rounding_of(jnp.asarray(X, dtype=name)) == EPS[name]
    assert rounding_of(X.astype(ml_dtypes.bfloat16)) == EPS["bfloat16"]
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz", "float8_e3m4"):
        dtype = getattr(ml_dtypes, name)
        assert rounding_of(X.astype(dtype)) == float(ml_dtypes.finfo(dtype).eps)
    assert rounding_of(torch.tensor(X).to(torch.float8_e4m3fn)) == 2.0**-3


def test_rounding_of_what_is_no_array():
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    single = X.astype(np.float32)
    assert rounding_of(X.tolist()) == EPS["float64"]
    assert rounding_of([[1, 2], [3, 4]]) == 0
    assert rounding_of(list(single)) == EPS["float32"]
    assert rounding_of(single.astype(">f4")) == EPS["float32"]
    assert rounding_of(xarray.DataArray(single)) == EPS["float32"]
    for name in ("float16", "float32", "float64"):
        assert rounding_of(OnlyDLPack(X.astype(name))) == EPS[name]
        assert rounding_of(pandas.DataFrame(X.astype(name))) == EPS[name]
    for name in ("Float32", "float32[pyarrow]", pandas.SparseDtype("float32")):
        assert rounding_of(pandas.DataFrame(single).astype(name)) == EPS["float32"]
    frame = pandas.DataFrame(single)
    assert rounding_of(frame.assign(more=1.0)) == EPS["float32"]  # float64 as a whole, but not given as that
    assert rounding_of(frame.assign(more=1)) == EPS["float32"]
    assert rounding_of(pandas.DataFrame({"a": [1, 2], "b": [True, False]})) == 0
    da = pytest.importorskip("dask.array")
    assert rounding_of(da.from_array(single)) == rounding_of(xarray.DataArray(da.from_array(single))) == EPS["float32"]


def test_the_rank_of_a_frame_in_float32_beside_float64():
    """Directions that are rounding noise in float32 are not counted because the other layer is in float64."""
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    rng = np.random.default_rng(0)
    single = (rng.standard_normal((60, 2)) @ rng.standard_normal((2, 8))).astype(np.float32)
    other = rng.standard_normal((60, 3))
    for index in ("cca", "linear_regression"):
        expected = pytest.approx(float(simkit.compare(single, other, index)), rel=1e-9)
        for given in (pandas.DataFrame(single), xarray.DataArray(single), list(single), OnlyDLPack(single)):
            assert float(simkit.compare(given, other, index)) == expected
            assert float(simkit.pairwise([given], [other], index).values[0, 0]) == expected


# --- frames whose columns are of several types -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "Int64", "boolean", "float64[pyarrow]", "int32[pyarrow]", "Sparse"])
def test_columns_of_pandas_own_types(dtype):
    pandas = pytest.importorskip("pandas")
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    whole = np.round(3 * X) if "nt" in dtype else X > 0 if dtype == "boolean" else X
    frame = pandas.DataFrame(whole).astype({"Int64": "int64", "int32[pyarrow]": "int64"}.get(dtype, whole.dtype))
    frame = frame.astype(pandas.SparseDtype(float) if dtype == "Sparse" else dtype)
    precision = np.float32 if dtype == "Float32" else np.float64
    assert as_matrix(frame).dtype == precision
    np.testing.assert_array_equal(as_matrix(frame), whole.astype(precision))
    mixed = frame.assign(flag=X[:, 0] > 0)
    np.testing.assert_array_equal(as_matrix(mixed)[:, 3], X[:, 0] > 0)
    if dtype != "Sparse":
        frame.iloc[3, 1] = None
        with pytest.raises(InvalidArrayError, match=r"1 of 60 values that are nan or inf, the first at row 3, column 1"):
            simkit.compare(frame, Y)


def test_frames_that_hold_something_else():
    pandas, xarray = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    for column in (list("ab"), [object(), 1], pandas.to_datetime(["2020", "2021"]).tz_localize("UTC")):
        with pytest.raises(InvalidDtypeError, match="dtype"):
            simkit.compare(pandas.DataFrame({"a": [1.0, 2.0], "b": column}), Y[:2])
    with pytest.raises(InvalidArrayError, match=r"X has shape \(20,\).*numpy\.asarray\(X\)\.reshape\(-1, 1\)"):
        simkit.compare(pandas.Series(X[:, 0]), Y)
    with pytest.raises(InvalidArrayError, match=r"X has shape \(20,\).*X\.data\.reshape\(-1, 1\)"):
        simkit.compare(xarray.DataArray(X[:, 0]), Y)
    with pytest.raises(InvalidArrayError, match="Dataset"):
        simkit.compare(xarray.Dataset({"a": ("n", X[:, 0])}), Y)


def test_memory_that_numpy_cannot_take():
    torch = pytest.importorskip("torch")
    given = OnlyDLPack(torch.tensor(X, dtype=torch.bfloat16))
    with pytest.raises(InvalidArrayError, match=r"DLPack.*torch\.from_dlpack\(X\)"):
        simkit.compare(given, Y)
    tensor = torch.from_dlpack(given)
    assert float(simkit.compare(tensor, tensor)) == pytest.approx(1, rel=1e-6)


# --- values ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(backend, value):
    bad = Y.copy()
    bad[3, 1] = bad[7, 0] = value
    with pytest.raises(InvalidArrayError, match=r"Y has 2 of 80 values that are nan or inf.*row 3, column 1"):
        simkit.compare(backend.asarray(X), backend.asarray(bad))


def test_infinities_that_cancel_are_seen():
    bad = X.copy()
    bad[0, 0], bad[1, 0] = np.inf, -np.inf
    with pytest.raises(InvalidArrayError, match="2 of 60"):
        simkit.compare(bad, Y)


def test_large_finite_values_are_no_complaint():
    big = (3e37 * (1 + 0.01 * X / np.abs(X).max())).astype(np.float32)  # the sum overflows, no entry does
    assert np.isfinite(simkit.compare(big, Y))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (X + 1j, r"dtype complex128.*Y\.real and Y\.imag"),
        (X.astype(object), r"dtype object.*asarray\(Y, dtype=float\)"),
        (X.astype(str), "dtype <U"),
        (X.astype("timedelta64[s]"), "dtype timedelta64"),
    ],
)
def test_values_that_are_not_real_numbers(array, message):
    with pytest.raises(InvalidDtypeError, match=message):
        simkit.compare(X, array)


def test_complex_tensors():
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidDtypeError, match="complex64"):
        simkit.compare(torch.ones(4, 2, dtype=torch.complex64), torch.ones(4, 2))


def test_ragged_lists_masked_and_sparse_arrays():
    with pytest.raises(InvalidArrayError, match="cannot be made into one array"):
        simkit.compare([[1.0], [1.0, 2.0]], X)
    with pytest.raises(InvalidArrayError, match="masked"):
        simkit.compare(np.ma.masked_less(X, 0), Y)
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.csr_array, sparse.csr_matrix):
        with pytest.raises(InvalidArrayError, match="toarray"):
            simkit.compare(kind(X), Y)


# --- two arrays ------------------------------------------------------------------------------------------------------------


def test_two_frameworks():
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    tensor = torch.tensor(X)
    with pytest.raises(MixedArraysError, match=r"numpy\.ndarray and Y a torch\.Tensor on cpu.*Y = Y\.numpy\(force=True\)"):
        simkit.compare(X, tensor)
    with pytest.raises(MixedArraysError, match=r"Y = torch\.from_numpy\(Y\)"):
        simkit.compare(tensor, X)
    with pytest.raises(MixedArraysError, match=r"jax\.Array.*torch\.from_numpy\(numpy\.array\(Y"):
        simkit.compare(tensor, jnp.asarray(X))
    with pytest.raises(MixedArraysError, match=r"B\['y'\]"):
        simkit.pairwise({"x": X}, {"y": tensor})


@pytest.mark.parametrize("kind", ["torch", "jax"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_conversion_that_is_named_works(kind, dtype):
    torch, jnp = pytest.importorskip("torch"), pytest.importorskip("jax.numpy")
    Y = torch.tensor(X).to(getattr(torch, dtype)) if kind == "torch" else jnp.asarray(X).astype(dtype)
    with pytest.raises(MixedArraysError) as caught:
        simkit.compare(X, Y)
    code = re.search(r"Y = (.*)\.$", str(caught.value)).group(1)
    converted = eval(code, {"Y": Y, "numpy": np})  # what the message tells the user to write
    assert float(simkit.compare(X, converted)) == pytest.approx(1, abs=1e-4)


def test_sparse_tensors_masked_arrays_and_dictionaries():
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidArrayError, match=r"X is a sparse tensor.*X\.to_dense\(\)"):
        simkit.compare(torch.tensor(X).to_sparse(), torch.tensor(X))
    with pytest.raises(InvalidArrayError, match=r"X is a dict.*simkit\.pairwise"):
        simkit.compare({"layer": X}, X)
    masked = np.ma.MaskedArray(X, mask=np.zeros_like(X, dtype=bool))
    for rows in (None, 3):
        if rows is not None:
            masked[rows, 1] = np.ma.masked
        with pytest.raises(InvalidArrayError, match="keep = (.*), then X.data") as caught:
            simkit.compare(masked, X)
        keep = eval(re.search(r"keep = (.*), then", str(caught.value)).group(1), {"X": masked, "numpy": np})
        assert simkit.compare(masked.data[keep], X[keep]) == pytest.approx(1)
        assert keep.sum() == len(X) - (rows is not None)


def test_two_devices():
    strict = pytest.importorskip("array_api_strict")
    x, y = strict.asarray(X), strict.asarray(Y, device=strict.Device("device1"))
    with pytest.raises(MixedArraysError, match=r"CPU_DEVICE.*device1.*one device"):
        simkit.compare(x, y)


def test_meta_tensors_have_a_device_but_no_values():
    torch = pytest.importorskip("torch")
    here, nowhere = torch.tensor(X), torch.tensor(X, device="meta")
    with pytest.raises(MixedArraysError, match=r"X is a tensor on the device meta, which has a shape and no values"):
        simkit.compare(nowhere, here)
    with pytest.raises(MixedArraysError, match=r"Y is a tensor on the device meta"):
        simkit.compare(here, nowhere)
    score = simkit.compare(nowhere, nowhere, "cka(kernel=rbf)")
    assert (score.device.type, score.shape, score.dtype) == ("meta", (), torch.float64)


def test_subclasses_and_byte_orders():
    class Named(np.ndarray):
        pass

    expected = simkit.compare(X, Y, "cca")
    assert simkit.compare(X.view(Named), Y, "cca") == expected
    assert simkit.compare(X.astype(">f8"), Y, "cca") == pytest.approx(expected, rel=1e-13)
    assert simkit.compare(X.astype(">f4"), Y.astype(np.float32)).dtype == np.float32


def test_compiled_functions_compare():
    torch = pytest.importorskip("torch")
    x, y = torch.tensor(X), torch.tensor(Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dynamo's, about caches in array-api-compat
        compiled = torch.compile(simkit.compare, backend="eager")
        assert float(compiled(x, y)) == pytest.approx(float(simkit.compare(x, y)), rel=1e-12)
    gradient = torch.func.grad(lambda a: simkit.compare(a, y))(x)
    assert gradient.shape == x.shape


def test_lazy_arrays_are_not_computed():
    jax = pytest.importorskip("jax")
    seen = []

    def traced(x):
        score = simkit.compare(x, x)  # a look at a value would fail under jit
        seen.append(type(score))
        return score

    assert float(jax.jit(traced)(jax.numpy.asarray(X))) == pytest.approx(1)
    assert issubclass(seen[0], jax.core.Tracer)
