"""The linear kernel on the host, by blocks of rows or of examples in threads: the scores of the definition, in little memory."""

from __future__ import annotations

import tracemalloc
import warnings

import definitions
import numpy as np
import pytest
from data import pair

import simkit
from simkit import planner
from simkit.errors import AccuracyWarning, ConstantInputWarning, InvalidArrayError, NeedsAllExamplesError
from simkit.linalg import by_examples, by_features, centring
from simkit.planner import Question, plan
from simkit.scale.linear import linear_sums
from simkit.sides import Sides
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.layers import Layers
from simkit.statistics.values import ValueCheck
from simkit.testing import hard_pairs

ESTIMATORS = ("biased", "unbiased", "lange")
WIDTHS = (3, 9, 1, 23, 30)


@pytest.fixture
def small(monkeypatch):
    """Everything is large, and cut into many pieces, also layers."""
    monkeypatch.setattr(planner, "_LARGE", 0)
    monkeypatch.setattr(centring, "_LARGE", 0)
    monkeypatch.setattr(centring, "_ROWS", 7)
    monkeypatch.setattr(by_features, "_WIDTH", 10)
    monkeypatch.setattr(by_features, "_VALUES", 100)
    monkeypatch.setattr(by_features, "_ROWS", (3, 11))
    monkeypatch.setattr(by_examples, "_SIDES", (5, 8))
    monkeypatch.setattr(by_examples, "_ENTRIES", 20)


def layers(n, widths=WIDTHS, *, seed=0, offset=0.5):
    """Layers of one input."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).standard_normal((n, 3))
    return [
        shared @ rng.standard_normal((3, p)) + rng.standard_normal((n, p)) + offset * rng.standard_normal(p) for p in widths
    ]


def sums_of(rows, columns=None, *, tall, estimator="biased"):
    sides, given = Sides.of_layers(rows, columns)
    values, _ = ValueCheck.of(given, finite=True)
    return sides, linear_sums(given, values, sides, tall=tall, estimator=estimator)


def scores_of(rows, columns=None, *, tall, estimator="biased"):
    sides, sums = sums_of(rows, columns, tall=tall, estimator=estimator)
    return sums.scores(simkit.get_index("cka", estimator=estimator), sides.row_names, sides.column_names)


@pytest.mark.parametrize("tall", [True, False])
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("offset", [0.5, 1e6])
def test_all_pairs_are_those_of_the_definition(estimator, offset, tall, small):
    a, b = layers(90, offset=offset), layers(90, (4, 12, 25), seed=1, offset=offset)
    for rows, columns in ((a, b), (a, None), (a[3:4], b[:1]), (a[:1], b)):
        found = scores_of(rows, columns, tall=tall, estimator=estimator)
        centred = [[x - x.mean(axis=0) for x in side] for side in (rows, columns or rows)]  # for the definition's digits
        expected = [[definitions.cka(x, y, estimator=estimator) for y in centred[1]] for x in centred[0]]
        np.testing.assert_allclose(found, expected, rtol=1e-10 if offset < 1 else 1e-8)


@pytest.mark.parametrize("tall", [True, False])
@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4])
def test_float32_is_as_exact_as_its_values(tall, offset):
    """3e-8 was the largest error of whole matrices."""
    a, b = ([x.astype(np.float32) for x in layers(400, (20, 150), seed=k, offset=offset)] for k in range(2))
    wide = [[x.astype(np.float64) - x.mean(axis=0, dtype=np.float64) for x in side] for side in (a, b)]
    for estimator in ESTIMATORS:
        expected = [[definitions.cka(x, y, estimator=estimator) for y in wide[1]] for x in wide[0]]
        np.testing.assert_allclose(scores_of(a, b, tall=tall, estimator=estimator), expected, atol=6e-8)


@pytest.mark.parametrize("tall", [True, False])
def test_float32_sums_over_many_examples(tall):
    """Sums of millions of products of one sign."""
    X, Y = pair(4000, 60, 50, dtype=np.float32)
    found = scores_of([X], [Y], tall=tall)[0, 0]
    X, Y = (x.astype(float) - x.mean(axis=0, dtype=float) for x in (X, Y))
    norms = [np.linalg.norm(a.T @ b) for a, b in ((X, Y), (X, X), (Y, Y))]
    assert found == pytest.approx(norms[0] ** 2 / norms[1] / norms[2], abs=6e-8)


@pytest.mark.parametrize(
    "spec", ["cka", "cka(estimator=unbiased)", "cka(estimator=lange)", "hsic", "hsic(estimator=unbiased)"]
)
def test_hard_data_have_the_scores_of_layers_as_they_are(spec, small, monkeypatch):
    """What asks for more care gets it, and the warnings that go with it."""
    for case in hard_pairs(n=30):
        for form in ({}, {"tiles": "exact"}):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = simkit.compare(case.X, case.Y, spec, **form)
                with monkeypatch.context() as without:
                    without.setattr(planner.Question, "plain", False)
                    expected = simkit.compare(case.X, case.Y, spec, **form)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6, err_msg=f"{case.what} {form}")
            assert found.dtype == expected.dtype


@pytest.mark.parametrize("factor", [1e30, 1e-30, 1e-20])
def test_values_at_the_ends_of_the_range(factor, small):
    X, Y = pair(60, 9, 7, dtype=np.float32)
    for spec in ("cka", "cka(estimator=unbiased)"):
        found = simkit.compare(X * np.float32(factor), Y, spec)
        assert found == pytest.approx(float(simkit.compare(X, Y, spec)), rel=1e-5)


def test_an_outlier_is_taken_care_of(small):
    X, Y = pair(200, 9, 7, dtype=np.float32)
    X[17] *= 1e4
    for estimator in ESTIMATORS:
        expected = definitions.cka(X.astype(float), Y.astype(float), estimator=estimator)
        assert simkit.compare(X, Y, "cka", estimator=estimator) == pytest.approx(expected, rel=1e-4)
    X[17] *= 1e6
    with pytest.warns(AccuracyWarning, match="An example of X is so much larger"):
        simkit.compare(X, Y, "cka", estimator="unbiased")


@pytest.mark.parametrize("n", [4, 40])
def test_constant_features_count_for_nothing(n, small):
    X, Y = pair(n, 5, 4)
    for dtype in (np.float32, np.float64):
        with_constants = np.concatenate([X, np.full((n, 2), 0.1), np.full((n, 1), 1e9)], axis=1).astype(dtype)
        found = simkit.compare(with_constants, Y.astype(dtype))
        assert found == pytest.approx(float(simkit.compare(X.astype(dtype), Y.astype(dtype))), rel=1e-6)


def test_what_is_not_finite_is_found_in_the_sums(small):
    a, b = layers(40), layers(40, (4, 12), seed=1)
    a[1][7, 2], a[1][9, 0] = np.nan, np.inf
    with pytest.raises(
        InvalidArrayError, match=r"A\['1'\] has 2 of 360 values that are nan or inf, the first at row 7, column 2"
    ):
        simkit.pairwise(a, b)
    found = simkit.pairwise(a, b, check_finite=False).to_numpy()
    expected = simkit.pairwise(a, b, check_finite=False, tiles="exact").to_numpy()
    np.testing.assert_array_equal(np.isnan(found), np.arange(5)[:, None] == np.ones(2))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    with pytest.raises(InvalidArrayError, match="X has 4 of"):
        simkit.compare(np.where(np.arange(40)[:, None] == 3, np.inf, b[0]), b[1])


def test_layers_that_are_undefined_stand_beside_others(small):
    a, b = layers(40), layers(40, (4, 12), seed=1)
    a[2] = np.full((40, 3), 2.5)
    with pytest.warns(ConstantInputWarning, match=r"A\['2'\] is constant"):
        found = simkit.pairwise(a, b).to_numpy()
    assert np.isnan(found[2]).all()
    others = [k for k in range(5) if k != 2]
    np.testing.assert_allclose(found[others], scores_of([a[k] for k in others], b, tall=True), rtol=1e-12)
    with pytest.warns(ConstantInputWarning):
        assert np.isnan(simkit.compare(a[2], a[2] + 1))
    with pytest.warns(ConstantInputWarning):
        assert np.isnan(simkit.compare(a[0], a[2]))


@pytest.mark.parametrize("spec", ["cka", "hsic(estimator=unbiased)"])
@pytest.mark.parametrize("n", [50, 12])
def test_every_library(spec, n, backend, small):
    """The scores are arrays of the library that the layers came in, whoever computes them."""
    a, b = layers(n, (9, 3)), layers(n, (4, 12), seed=1)
    there = [[backend.asarray(x) for x in side] for side in (a, b)]
    expected = [[getattr(definitions, spec[:4].strip("("))(x, y, estimator=_estimator(spec)) for y in b] for x in a]
    found = simkit.pairwise(*there, spec).values
    one = simkit.compare(there[0][0], there[1][1], spec)
    assert type(found) is type(there[0][0])
    assert found.dtype == one.dtype == backend.dtype("float64")
    assert (found.shape, one.shape) == ((2, 2), ())
    np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=1e-10)
    np.testing.assert_allclose(backend.to_numpy(one), expected[0][1], rtol=1e-10)


def _estimator(spec):
    return simkit.get_index(spec).estimator


@pytest.mark.parametrize("tall", [True, False])
def test_memory_order_and_strides_do_not_matter(tall, small):
    X, Y = pair(60, 9, 7)
    expected = scores_of([X], [Y], tall=tall)
    spread = np.zeros((120, 27))
    spread[::2, ::3] = X
    for other in (np.asfortranarray(X), spread[::2, ::3], X[::-1, ::-1].copy()[::-1, ::-1], np.broadcast_to(X, X.shape)):
        np.testing.assert_allclose(scores_of([other], [Y], tall=tall), expected, rtol=1e-12)


def test_a_torch_subclass_keeps_to_its_library(small):
    torch = pytest.importorskip("torch")

    class Own(torch.Tensor):
        pass

    X, Y = (torch.tensor(x) for x in pair(60, 9, 7))
    assert simkit.compare(X, Y) == pytest.approx(float(simkit.compare(X.as_subclass(Own), Y.as_subclass(Own))), rel=1e-12)
    negative = torch.view_as_complex(torch.stack([Y, -X[:, :7]], dim=-1)).conj().imag
    assert negative.is_neg()
    assert simkit.compare(negative, Y) == pytest.approx(float(simkit.compare(X[:, :7].clone(), Y)), rel=1e-12)


@pytest.mark.parametrize("tall", [True, False])
def test_gradients_and_precision_ask_for_the_library(tall, small):
    torch = pytest.importorskip("torch")
    n = 60 if tall else 12
    X, Y = (torch.tensor(x, dtype=torch.float32) for x in pair(n, 9, 7))
    expected = float(simkit.compare(X, Y))
    X.requires_grad_(True)
    score = simkit.compare(X, Y)
    score.backward()
    assert bool(torch.any(X.grad != 0))
    assert float(score.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(simkit.compare(X.detach(), Y, precision="bf16")) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("tall", [True, False])
def test_sums_of_pairs_that_nobody_asked_for_are_nan(small, tall):
    """Neither parts of them nor zeros, which might be taken for scores."""
    _, sums = sums_of(layers(30)[:2], layers(30)[2:], tall=tall)
    asked = np.eye(5, dtype=bool)
    asked[:2, 2:] = asked[2:, :2] = True
    np.testing.assert_array_equal(np.isnan(sums.inner), ~asked)
    _, sums = sums_of(layers(30), tall=tall)
    assert np.isfinite(sums.inner).all()


def test_memory_is_that_of_blocks():
    """Neither copies of the layers nor Gram matrices nor the joint scatter."""
    rng = np.random.default_rng(0)
    tall = rng.standard_normal((40_000, 64), dtype=np.float32)
    wide = [rng.standard_normal((1200, p), dtype=np.float32) for p in (1500, 64, 64, 64)]
    for rows, columns in (([tall], [tall]), (wide, wide)):
        simkit.pairwise(rows, columns)
        tracemalloc.start()
        simkit.pairwise(rows, columns)
        _, high = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert high < 1.1 * simkit.explain(dict(enumerate(rows)), dict(enumerate(columns))).bytes
    many = Question(simkit.get_index("cka"), "memory", 10**6, (1024,) * 20, (1024,) * 20, itemsize=4)
    assert plan(many).bytes < 1e8 * by_features.most_threads()  # the joint scatter would take 13 GB


def test_the_better_form_is_chosen():
    cka = simkit.get_index("cka")

    def form(n, rows, columns=None, **changes):
        found = plan(Question(cka, "memory", n, rows, rows if columns is None else columns, itemsize=4, **changes))
        return found.statistic, found.options

    widths = (64, 64, 128, 128, 256, 256, 512, 512, 512, 512, 1024, 1024, 2048, 2048, 4096, 4096)
    assert form(3000, (256,) * 10) == (KernelSums, {"tall": True})  # 405 ms, 1146 by Gram matrices
    assert form(1024, (64,) * 20) == (KernelSums, {"tall": True})  # 45 ms, 260
    assert form(2048, widths) == form(2048, (8192,)) == (KernelSums, {"tall": False})
    assert form(10_000, (512,)) == form(50_000, (256,)) == (KernelSums, {"tall": True})
    assert form(10, (3,)) == (Layers, {"tall": True})  # a few calls of NumPy, not a machine
    for change in ({"whole": True}, {"accelerator": True}, {"lazy": True}, {"numpy": False}):
        assert form(10_000, (512,), **change) == (Layers, {"tall": True})
    assert form(2048, widths, blocks=True) == (KernelSums, {"tall": False})
    assert form(2048, widths, blocks=True, accelerator=True) == (KernelSums, {})


def test_sums_without_diagonals_are_for_the_biased_estimator():
    X, Y = pair(60, 9, 7)
    sides, sums = sums_of([X], [Y], tall=True)
    again = KernelSums.from_arrays(sums.to_arrays())
    assert sums.diagonal is sums.rows is again.diagonal is None
    index = simkit.get_index("cka")
    expected = definitions.cka(X, Y)
    for each in (sums, again):
        np.testing.assert_allclose(each.scores(index, sides.row_names, sides.column_names), [[expected]], rtol=1e-12)
    with pytest.raises(NeedsAllExamplesError, match="made for the biased estimator"):
        sums.scores(simkit.get_index("cka(estimator=lange)"), sides.row_names, sides.column_names)


@pytest.mark.parametrize("tall", [True, False])
@pytest.mark.parametrize("columns", [None, (4, 12, 25)])
def test_progress_is_told_twice_for_each_layer(tall, columns, small):
    a, told = layers(40), []
    sides, given = Sides.of_layers(a, columns and layers(40, columns, seed=1))
    values, _ = ValueCheck.of(given, finite=True)
    linear_sums(given, values, sides, tall=tall, estimator="biased", advance=lambda: told.append(1))
    assert len(told) == 2 * len(given)
