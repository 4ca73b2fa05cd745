"""Activations as matrices of examples: each rule by its definition, on every library, in every precision, with labels."""

from __future__ import annotations

import itertools
import re
import sys
import warnings
from functools import partial

import numpy as np
import pytest

import simkit
from simkit.arrays import rounding_of
from simkit.errors import InvalidArrayError, InvalidDtypeError, MixedArraysError, SpecError

RNG = np.random.default_rng(0)
MAPS = RNG.standard_normal((6, 5, 4, 3))  # n, h, w, c
TOKENS = RNG.standard_normal((6, 5, 3))
VIDEO = RNG.standard_normal((4, 2, 3, 2, 5))
MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1], [0, 1, 0, 1, 1]])
POOLS = ("mean", "max", "cls", "last")  # one row for each example, by a mask or without


def by_definition(x, rule, mask=None):
    """The matrix of (n, *positions, features), example by example and position by position."""
    rows = []
    for i, example in enumerate(x):
        places = [p for p in itertools.product(*map(range, x.shape[1:-1])) if mask is None or mask[i][p]]
        units = [[example[p][j] for j in range(x.shape[-1])] for p in places]
        if rule == "positions":
            rows += units
        elif rule == "flatten":
            rows.append([value for unit in units for value in unit])
        elif rule in ("cls", "last"):
            rows.append(units[0 if rule == "cls" else -1])
        else:
            rows.append([sum(c) / len(units) if rule == "mean" else max(c) for c in zip(*units, strict=True)])
    return np.array(rows)


CASES = [
    *((x, rule, None) for x in (MAPS, TOKENS, VIDEO) for rule in ("flatten", "mean", "max", "positions")),
    *((TOKENS, rule, None) for rule in ("cls", "last")),
    *((TOKENS, rule, MASK) for rule in (*POOLS, "positions")),
    *((MAPS, rule, RNG.random((6, 5, 4)) > 0.5) for rule in ("mean", "max", "positions")),
]


# --- each rule on every library ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", ["last", "first"])
@pytest.mark.parametrize(("x", "rule", "mask"), CASES)
def test_rules(backend, x, rule, mask, channels):
    if rule == "flatten" and channels == "first":
        pytest.skip("flattening has no place of the channels")
    given = backend.asarray(x if channels == "last" else np.moveaxis(x, -1, 1))
    expected = by_definition(x, rule, mask)
    for own in [None] if mask is None else [mask, mask.tolist(), backend.asarray(mask), backend.asarray(mask.astype(bool))]:
        found = simkit.examples(given, rule, channels=channels, mask=own)
        assert type(found) is type(given)
        assert found.dtype == given.dtype
        assert getattr(found, "device", None) == getattr(given, "device", None)
        np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-12)


@pytest.mark.parametrize(("x", "rule", "mask"), CASES)
def test_lazily(x, rule, mask):
    da, jax = pytest.importorskip("dask.array"), pytest.importorskip("jax")
    expected = by_definition(x, rule, mask)
    lazy = da.from_array(x, chunks=(4, *(2 for _ in x.shape[2:]), x.shape[-1]))
    masks = [mask] if mask is None or rule == "positions" else [mask, da.from_array(mask, chunks=2)]
    for own in masks:
        found = simkit.examples(lazy, rule, channels="last", mask=own)
        assert isinstance(found, da.Array)
        assert not np.isnan(found.shape).any()
        np.testing.assert_allclose(found.compute(scheduler="synchronous"), expected, rtol=1e-12)
    jitted = jax.jit(lambda y: simkit.examples(y, rule, channels="last", mask=mask))
    np.testing.assert_allclose(jitted(x), expected, rtol=1e-12)
    if mask is not None and rule != "positions":
        both = jax.jit(lambda y, own: simkit.examples(y, rule, channels="last", mask=own))
        np.testing.assert_allclose(both(x, mask), expected, rtol=1e-12)


def test_what_depends_on_the_values_of_a_lazy_mask():
    da, jax = pytest.importorskip("dask.array"), pytest.importorskip("jax")
    lazy, mask = da.from_array(TOKENS, chunks=3), da.from_array(MASK, chunks=3)
    with pytest.raises(InvalidArrayError, match=r"mask of x is lazy.*mask\.compute\(\)"):
        simkit.examples(lazy, "positions", mask=mask)
    assert simkit.examples(lazy, "positions", mask=mask.compute()).shape == (MASK.sum(), 3)
    with pytest.raises(InvalidArrayError, match="jax.jit needs a mask made outside"):
        jax.jit(lambda x, own: simkit.examples(x, "positions", mask=own))(TOKENS, MASK)
    with pytest.raises(MixedArraysError, match=r"lazy and of another library than x.*mask\.compute\(\)"):
        simkit.examples(TOKENS, "mean", mask=mask)


def test_examples_of_which_a_lazy_mask_leaves_nothing_are_nan():
    da = pytest.importorskip("dask.array")
    mask = MASK.copy()
    mask[2] = 0
    for rule in POOLS:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = simkit.examples(da.from_array(TOKENS, chunks=3), rule, mask=da.from_array(mask, chunks=3))
            found = found.compute(scheduler="synchronous")
        assert np.isnan(found[2]).all()
        np.testing.assert_allclose(np.delete(found, 2, axis=0), np.delete(by_definition(TOKENS, rule, MASK), 2, axis=0))


def test_examples_without_a_token_may_be_left_out_among_positions():
    mask = MASK.copy()
    mask[2] = 0
    np.testing.assert_array_equal(simkit.examples(TOKENS, "positions", mask=mask), by_definition(TOKENS, "positions", mask))


def test_lists_of_numbers_and_of_layers():
    np.testing.assert_array_equal(simkit.examples(TOKENS.tolist(), "cls"), TOKENS[:, 0])
    found = simkit.examples(dict(enumerate([TOKENS, MAPS])), {"0": "cls", "1": "flatten"})
    assert [x.shape for x in found.values()] == [(6, 3), (6, 60)]


def test_what_is_masked_may_be_anything():
    padded = np.where(MASK[..., None], TOKENS, np.nan)
    for rule in (*POOLS, "positions"):
        np.testing.assert_allclose(simkit.examples(padded, rule, mask=MASK), by_definition(TOKENS, rule, MASK), rtol=1e-12)


@pytest.mark.parametrize("rule", ["flatten", "mean", "max", "positions", "cls", "last"])
def test_gradients_flow(rule):
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    other = RNG.standard_normal((6, 2)) if rule != "positions" else RNG.standard_normal((MASK.sum(), 2))
    mask = None if rule == "flatten" else MASK

    def score(x, y):
        return simkit.compare(simkit.examples(x, rule, mask=mask), y)

    x = torch.tensor(TOKENS, requires_grad=True)
    score(x, torch.tensor(other)).backward()
    step, direction = 1e-6, RNG.standard_normal(TOKENS.shape)
    slope = (score(TOKENS + step * direction, other) - score(TOKENS - step * direction, other)) / (2 * step)
    assert float((x.grad * torch.tensor(direction)).sum()) == pytest.approx(float(slope), rel=1e-5)
    gradient = jax.jit(jax.grad(score))(TOKENS, other)
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-5)
    if mask is not None:
        assert not x.grad[torch.tensor(MASK) == 0].any()


def test_torch_transforms():
    torch = pytest.importorskip("torch")
    many = torch.tensor(np.stack([TOKENS, TOKENS + 1]))
    for rule in POOLS:
        found = torch.func.vmap(partial(simkit.examples, rule=rule, mask=MASK))(many)
        np.testing.assert_allclose(found[1], by_definition(TOKENS + 1, rule, MASK), rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dynamo's, about caches in array-api-compat
        compiled = torch.compile(lambda x: simkit.examples(x, "mean"), backend="eager")
        np.testing.assert_allclose(compiled(many[0]), TOKENS.mean(axis=1), rtol=1e-12)


# --- precision -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["flatten", "mean", "max", "positions", "cls", "last"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn"])
def test_the_precision_that_was_given_is_kept(rule, dtype):
    torch, ml_dtypes = pytest.importorskip("torch"), pytest.importorskip("ml_dtypes")
    numpy = TOKENS.astype(getattr(ml_dtypes, dtype) if dtype in ("bfloat16", "float8_e4m3fn") else dtype)
    tensor = torch.tensor(TOKENS).to(getattr(torch, dtype))
    for mask in [None] if rule == "flatten" else [None, MASK]:
        for x in (numpy, tensor):
            found = simkit.examples(x, rule, mask=mask)
            assert found.dtype == x.dtype
            assert rounding_of(found) == rounding_of(x)
            host = np.asarray(found.double()) if x is tensor else found.astype(np.float64)
            expected = by_definition(np.asarray(tensor.double()), rule, mask)
            np.testing.assert_allclose(host, expected, rtol=rounding_of(x), atol=rounding_of(x) / 4 if rule == "mean" else 0)


def test_integers_and_bools():
    whole = np.round(9 * TOKENS).astype(np.int16)
    for x in (whole, whole > 0):
        for rule in ("flatten", "positions", "cls", "last"):
            assert simkit.examples(x, rule).dtype == x.dtype
        for rule, mask in itertools.product(POOLS, (None, MASK)):
            np.testing.assert_allclose(simkit.examples(x, rule, mask=mask), by_definition(x.astype(float), rule, mask))


def test_sums_of_half_precision_do_not_overflow():
    large = np.full((3, 100, 2), 6e4, dtype=np.float16)
    np.testing.assert_array_equal(simkit.examples(large, "mean"), large[:, 0, :])
    np.testing.assert_array_equal(simkit.examples(large, "mean", mask=np.ones((3, 100), dtype=bool)), large[:, 0, :])


def test_rounding_of_the_mean_of_half_precision_is_no_direction():
    """Seven of ten directions of these means are rounding; as float32 they counted as if they were not."""
    rng = np.random.default_rng(3)
    signals = rng.standard_normal((300, 49, 3)) + rng.standard_normal((300, 1, 3))
    exact = signals @ rng.standard_normal((3, 10))
    other = rng.standard_normal((300, 4))
    true = float(simkit.compare(exact.mean(axis=1), other, "linear_regression"))
    half = exact.astype(np.float16)
    assert float(simkit.compare(other, simkit.examples(half, "mean"), "linear_regression")) == pytest.approx(
        float(simkit.compare(other, exact.mean(axis=1), "linear_regression")), rel=0.02
    )
    careless = half.astype(np.float32).mean(axis=1)
    assert float(simkit.compare(other, careless, "linear_regression")) > 1.5 * true


# --- rules by layer, by side, and of one's own -----------------------------------------------------------------------------


def test_a_rule_for_each_layer():
    layers = {"conv1": MAPS, "conv2": np.moveaxis(MAPS, -1, 1), "block": TOKENS, "pooled": TOKENS[:, 0, :]}
    found = simkit.examples(
        layers,
        {"conv*": "mean", "block": "positions", "p*": lambda x: x[:, :2]},
        channels={"conv1": "last", "conv*": "first"},
        mask={"block": MASK},
    )
    assert list(found) == list(layers)
    for name in ("conv1", "conv2"):
        np.testing.assert_allclose(found[name], by_definition(MAPS, "mean"))
    np.testing.assert_array_equal(found["block"], by_definition(TOKENS, "positions", MASK))
    np.testing.assert_array_equal(found["pooled"], TOKENS[:, 0, :2])
    same = simkit.examples(layers, "flatten")
    assert same["pooled"] is layers["pooled"]  # a matrix is one already
    np.testing.assert_array_equal(same["conv1"], MAPS.reshape(6, 60))
    assert simkit.examples({0: TOKENS, 1: TOKENS}, {"1": "cls", "*": "last"})[0].shape == (6, 3)


def test_names_with_the_signs_of_patterns():
    layers = {"net[conv]": TOKENS, "net[*]": TOKENS}
    found = simkit.examples(layers, {"net[conv]": "cls", "net[*]": "last"})
    np.testing.assert_array_equal(found["net[conv]"], TOKENS[:, 0])
    np.testing.assert_array_equal(found["net[*]"], TOKENS[:, -1])


def test_patterns_without_a_layer():
    with pytest.raises(InvalidArrayError, match=r"rule is for 'convv\*' among others, and no layer is left.*'conv1'"):
        simkit.examples({"conv1": MAPS}, {"convv*": "mean", "*": "flatten"})
    with pytest.raises(InvalidArrayError, match=r"rule is for 'conv1' .*first pattern that matches"):
        simkit.examples({"conv1": MAPS}, {"*": "flatten", "conv1": "mean"})
    with pytest.raises(InvalidArrayError, match=r"x\['conv1'\] has shape \(6, 5, 4, 3\), and no pattern of rule"):
        simkit.examples({"conv1": MAPS, "fc": TOKENS}, {"fc": "mean"})


def test_one_place_of_the_channels_is_not_for_maps_and_sequences():
    """What was silent once: with channels first, the features of tokens (n, tokens, features) were averaged away."""
    layers = {"conv": MAPS, "block": TOKENS}
    with pytest.raises(
        InvalidArrayError, match=r"One place of the channels, 'first', is for layers of three axes.*'block' and 'conv'"
    ) as caught:
        simkit.examples(layers, "mean", channels="first")
    code = re.search(r"channels=(\{.*\})\.$", str(caught.value))[1]
    found = simkit.examples(layers, "mean", channels=eval(code))  # what the message says
    np.testing.assert_allclose(found["conv"], MAPS.mean(axis=(2, 3)))
    np.testing.assert_allclose(found["block"], TOKENS.mean(axis=1))
    assert simkit.examples(layers, "mean", channels="last")["block"].shape == (6, 3)


def test_a_rule_for_each_side():
    first = np.moveaxis(MAPS, -1, 1)
    score = simkit.compare(simkit.examples(first, "mean", channels="first"), simkit.examples(TOKENS, "cls"))
    assert score == pytest.approx(simkit.compare(MAPS.mean(axis=(1, 2)), TOKENS[:, 0]), rel=1e-12)
    assert simkit.compare(MAPS, TOKENS, flatten=True) == pytest.approx(
        simkit.compare(*(simkit.examples(x, "flatten") for x in (first, TOKENS))), rel=1e-12
    )  # the order of units does not matter


def test_a_callable(backend):
    x = backend.asarray(MAPS)
    centre = simkit.examples(x, lambda maps: maps[:, 2, 2, :])
    np.testing.assert_array_equal(backend.to_numpy(centre), MAPS[:, 2, 2, :])
    with pytest.raises(InvalidArrayError, match=r"array of shape \(6, 4, 3\) of x; expected a matrix"):
        simkit.examples(x, lambda maps: maps[:, 0, :, :])
    with pytest.raises(InvalidArrayError, match="What the rule makes of x is None"):
        simkit.examples(x, lambda _: None)


# --- labels --------------------------------------------------------------------------------------------------------------


def labelled(values=TOKENS, labels="abcdef"):
    xr = pytest.importorskip("xarray")
    dims = ("stimulus", "token", "unit")
    return xr.DataArray(values, dims=dims, coords={"stimulus": list(labels), "token": range(5)}, name="layer")


@pytest.mark.parametrize("rule", ["flatten", *POOLS, lambda x: x[:, 0, :]])
def test_labels_stay_with_their_examples(rule):
    xr = pytest.importorskip("xarray")
    x = labelled()
    found = simkit.examples(x, rule)
    assert isinstance(found, xr.DataArray)
    assert found.dims == ("stimulus", "features")
    assert found.indexes["stimulus"].equals(x.indexes["stimulus"])
    np.testing.assert_allclose(found.values, simkit.examples(TOKENS, rule))
    assert simkit.compare(found, simkit.examples(x, "mean")) > 0
    with pytest.raises(InvalidArrayError, match="'a' and 'f'"):
        simkit.compare(found, simkit.examples(labelled(labels="fedcba"), rule))


@pytest.mark.parametrize("mask", [None, MASK])
def test_labels_of_positions(mask):
    pd, xr = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    indexes = {
        "strings": list("abcdef"),
        "numbers": [5, 3, 9, 1, 0, 22],
        "times": pd.date_range("2020", periods=6),
        "two levels": pd.MultiIndex.from_product([[1, 2], list("abc")], names=["subject", "stimulus"]),
    }
    for labels in indexes.values():
        several = isinstance(labels, pd.MultiIndex)
        coords = xr.Coordinates.from_pandas_multiindex(labels, "n") if several else {"n": labels}
        x = xr.DataArray(TOKENS, dims=("n", "token", "unit"), coords=coords)
        found = simkit.examples(x, "positions", mask=mask)
        np.testing.assert_array_equal(found.values, by_definition(TOKENS, "positions", mask))
        places = [(i, j) for i in range(6) for j in range(5) if mask is None or mask[i, j]]
        keys = [(*(labels[i] if several else (labels[i],)), j) for i, j in places]
        assert list(found.indexes["n"]) == keys
        assert simkit.compare(found, found) == pytest.approx(1)
        shuffled = found[::-1]
        with pytest.raises(InvalidArrayError, match="differ, first at position 0") as caught:
            simkit.compare(found, shuffled)
        space = {"X": found, "Y": shuffled}
        exec(re.search(r"align them, (.*?);", str(caught.value))[1], {}, space)  # what the message says
        assert simkit.compare(space["X"], space["Y"]) == pytest.approx(1)
    bare = xr.DataArray(TOKENS, dims=("n", "token", "unit"))
    assert not simkit.examples(bare, "positions", mask=mask).coords
    if mask is not None:  # other tokens of the same examples, as many
        other = np.roll(MASK, 1, axis=1)
        with pytest.raises(InvalidArrayError, match="labels of the examples of X and Y differ"):
            simkit.compare(
                simkit.examples(labelled(), "positions", mask=mask), simkit.examples(labelled(), "positions", mask=other)
            )


def test_data_frames_keep_their_index():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TOKENS[:, 0], index=list("abcdef"))
    assert simkit.examples(frame, "mean") is frame
    halved = simkit.examples({"a": frame}, lambda x: x[:, :2])["a"]
    assert list(halved.index) == list("abcdef")
    with pytest.raises(InvalidArrayError, match="differ"):
        simkit.compare(halved, frame[::-1])


def test_labels_of_lazy_arrays():
    da = pytest.importorskip("dask.array")
    found = simkit.examples(labelled(da.from_array(TOKENS, chunks=3)), "mean")
    assert isinstance(found.data, da.Array)
    np.testing.assert_allclose(found.compute(scheduler="synchronous").sel(stimulus="c"), TOKENS[2].mean(axis=0))


# --- what is refused -----------------------------------------------------------------------------------------------------


def remedies(message, **space):
    """What the calls that a message names return."""
    calls = re.findall(r"simkit\.examples\(.*?'(?:first|last|flatten|mean|cls)'\)", message)
    return [eval(call, {"simkit": simkit}, space) for call in calls]


def test_activations_need_a_rule(backend):
    maps, tokens = backend.asarray(MAPS), backend.asarray(TOKENS)
    with pytest.raises(
        InvalidArrayError, match=r"X has shape \(6, 5, 4, 3\); expected \(n, p\).*no silent default"
    ) as caught:
        simkit.compare(maps, maps)
    shapes = [tuple(made.shape) for made in remedies(str(caught.value), X=maps)]
    assert shapes == [(6, 60), (6, 5), (120, 3)]
    with pytest.raises(
        InvalidArrayError, match=r"A\['t'\] has shape \(6, 5, 3\).*no silent default.*flatten=True"
    ) as caught:
        simkit.pairwise({"t": tokens})
    shapes = [tuple(made.shape) for made in remedies(str(caught.value), A={"t": tokens})]
    assert shapes == [(6, 15), (6, 3), (6, 3), (6, 5)]
    with pytest.raises(InvalidArrayError, match=r"channels may be on its second axis or on its last") as caught:
        simkit.examples({"conv": maps}, "mean")
    assert [tuple(made.shape) for made in remedies(str(caught.value), x={"conv": maps})] == [(6, 5), (6, 3)]


@pytest.mark.parametrize("option", ["maps", "channels"])
def test_options_that_there_were(option):
    for call in (simkit.compare, simkit.bootstrap, simkit.permutation_test, lambda *a, **k: simkit.pairwise(a, **k)):
        with pytest.raises(SpecError, match=rf"no parameter '{option}'.*simkit\.examples\(X, 'mean', channels='first'\)"):
            call(MAPS, MAPS, **{option: "first"})
    with pytest.raises(SpecError, match=r"simkit\.examples\(X, 'mean', channels='first'\)"):
        simkit.stream(**{option: "mean"})


@pytest.mark.parametrize(
    ("x", "rule", "options", "error", "message"),
    [
        (MAPS, "spatial", {}, SpecError, r"rule='spatial'; expected one of flatten, mean, max, positions, cls, last"),
        (MAPS, "mean", {"channels": "middle"}, SpecError, r"channels='middle'; expected one of first, last"),
        (MAPS, "cls", {"channels": "last"}, InvalidArrayError, r"takes a token of a sequence"),
        (TOKENS[:, :0], "mean", {}, InvalidArrayError, r"\(6, 0, 3\): it has no features, or no positions"),
        (TOKENS[:, 0, 0], "mean", {}, InvalidArrayError, r"x has shape \(6,\).*x\.reshape\(-1, 1\)"),
        (TOKENS, "flatten", {"mask": MASK}, InvalidArrayError, r"rule 'flatten' takes none.*mask=\{pattern: mask\}"),
        (TOKENS, lambda x: x, {"mask": MASK}, InvalidArrayError, r"rule a callable takes none"),
        (TOKENS, "mean", {"mask": MASK[:4]}, InvalidArrayError, r"mask of x has shape \(4, 5\).*\(6, 5\)"),
        (TOKENS, "mean", {"mask": MASK.T}, InvalidArrayError, r"has shape \(5, 6\)"),
        (TOKENS, "mean", {"mask": MASK * 1.0}, InvalidDtypeError, r"dtype float64; expected bools, or zeros and ones"),
        (TOKENS, "mean", {"mask": MASK * 2}, InvalidDtypeError, r"other numbers than 0 and 1"),
        (TOKENS, "mean", {"mask": 0 * MASK}, InvalidArrayError, r"leaves nothing of example 0 and of 5 others"),
        ({"a": {"b": TOKENS}}, "mean", {}, InvalidArrayError, r"x\['a'\] is a dict"),
        (TOKENS * 1j, "mean", {}, InvalidDtypeError, "complex128"),
        ([TOKENS, TOKENS], "mean", {}, InvalidArrayError, r"x is a list of arrays.*dict\(enumerate\(x\)\)"),
        ([["a", "b"], ["c"]], "mean", {}, InvalidArrayError, "cannot be made into one array"),
    ],
)
def test_refused(x, rule, options, error, message):
    with pytest.raises(error, match=message):
        simkit.examples(x, rule, **options)


def test_no_library_is_imported_for_it():
    import subprocess

    code = (
        "import sys, numpy, simkit; simkit.examples(numpy.ones((3, 4, 5)), 'mean');"
        "sys.exit(any(name in sys.modules for name in ('torch', 'jax', 'dask', 'pandas', 'xarray')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
