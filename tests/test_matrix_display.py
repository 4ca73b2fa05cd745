"""How a matrix is shown: colours by the facts of the index, numbers that are all alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.display import contrast, digits_for, ink_on, scale_of, written

NUMBERS = st.floats(allow_subnormal=False)


def scale(spec, values):
    return scale_of(None if spec is None else simkit.get_index(spec).facts, np.asarray(values, dtype=float))


@pytest.mark.parametrize(
    ("spec", "values", "kind", "low", "high"),
    [
        ("cka", [0.2, 0.4], "sequential", 0, 1),
        ("hsic", [3, 8], "sequential", 0, 8),
        ("hsic", [0, 0], "sequential", 0, 1),
        ("hsic", [math.nan], "sequential", 0, 1),
        ("mutual_information", [0.5, math.inf], "sequential", 0, 0.5),
        ("cka(estimator=unbiased)", [0.2, 0.4], "sequential", 0, 1),
        ("cka(estimator=unbiased)", [-0.1, 0.4, math.nan, -math.inf], "sequential", 0, 1),
        ("cka(estimator=unbiased)", [-0.11, 0.4], "diverging", -1, 1),
        ("rsa", [-0.2, 0.4], "diverging", -1, 1),
        ("rsa", [], "sequential", 0, 1),
        ("soft_match", [0.5], "sequential", 0, 1),
        ("hsic(estimator=unbiased)", [-2, 1], "diverging", -2, 2),
        ("hsic(estimator=unbiased)", [-2, 40], "sequential", 0, 40),
        ("hsic(estimator=unbiased)", [], "sequential", 0, 1),
        ("ridge_predictivity(measure=r2)", [-50, 0.4], "diverging", -1, 1),
        ("procrustes(summary=angular)", [0.2, 0.4], "reversed", 0, math.pi / 2),
        ("procrustes(summary=distance)", [0, 4], "reversed", 0, 4),
        (None, [0.1, 0.9], "sequential", 0, 1),
        (None, [-0.2, 0.9], "diverging", -1, 1),
        (None, [3, 8], "sequential", 0, 8),
        (None, [-3, 1], "diverging", -3, 3),
    ],
)
def test_the_scale_follows_the_facts(spec, values, kind, low, high):
    found = scale(spec, values)
    assert (found.kind, found.low, found.high) == (kind, low, high)
    assert found.centre == (0.0 if kind == "diverging" else None)
    assert found.label == ("distance" if kind == "reversed" else "similarity")


def test_bright_is_alike_for_similarities_and_distances():
    alike, different = scale("cka", []).colour(1.0), scale("cka", []).colour(0.0)
    distance = scale("procrustes(summary=distance)", [0, 4])
    assert (distance.colour(0.0), distance.colour(4.0)) == (alike, different)
    assert sum(alike) > sum(different)
    signed = scale("rsa", [-0.5])
    assert min(signed.colour(0.0)) > 240
    assert signed.colour(-1.0)[2] > signed.colour(-1.0)[0]  # blue is negative


def test_unbiased_and_biased_scores_look_alike_and_what_is_beyond_the_scale_is_told():
    unbiased, biased = scale("cka(estimator=unbiased)", [-0.02, 0.7]), scale("cka", [0.7])
    assert unbiased == biased
    assert unbiased.colour(-0.02) == unbiased.colour(0.0)
    assert unbiased.beyond(np.asarray([-0.02, 0.7, math.nan])) == (True, False)
    assert unbiased.beyond(np.asarray([-1e-4, 1 + 1e-4])) == (False, False)
    assert scale("ridge_predictivity(measure=r2)", [-3]).beyond(np.asarray([-3, 1.5])) == (True, True)


def test_colours_are_those_of_matplotlib():
    matplotlib = pytest.importorskip("matplotlib")
    for spec in ("cka", "procrustes(summary=distance)", "rsa"):
        found = scale(spec, [-4 if spec == "rsa" else 0, 4])
        for share in np.linspace(0, 1, 57):
            expected = np.asarray(matplotlib.colormaps[found.map](share)[:3]) * 255
            assert found.colour(found.low + share * (found.high - found.low)) == pytest.approx(expected, abs=5)


@given(
    st.lists(NUMBERS, max_size=4), NUMBERS, st.sampled_from([None, "cka", "hsic", "rsa", "hsic(estimator=unbiased)", "gulp"])
)
def test_any_numbers_have_a_scale(values, value, spec):
    found = scale(spec, values)
    assert -math.inf < found.low < found.high < math.inf
    share = found.share(value)
    assert math.isnan(share) if math.isnan(value) else 0 <= share <= 1
    assert (found.colour(value) is None) == math.isnan(value)
    assert (written(found.size)(value) in ("nan", "inf", "-inf")) != math.isfinite(value)


def test_contrast_is_that_of_wcag():
    assert contrast((255, 255, 255), (0, 0, 0)) == pytest.approx(21)
    assert contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.005)  # the gray that just fails
    worst = min(
        contrast(ink_on(c), c)
        for c in ((r, g, b) for r in range(0, 256, 15) for g in range(0, 256, 15) for b in (0, 80, 255))
    )
    assert worst > 4.5


@pytest.mark.parametrize(
    ("size", "decimals", "digits"),
    [
        (1, 3, 3),
        (1.57, 3, 3),
        (0.5, 3, 3),
        (0.018, 3, 4),
        (12, 3, 2),
        (402, 3, 1),
        (99999, 3, 0),
        (1, 0, 0),
        (1e6, 3, None),
        (9e-5, 3, None),
        (0, 2, 2),
    ],
)
def test_digits(size, decimals, digits):
    assert digits_for(size, decimals) == digits


@given(st.floats(min_value=1e-12, max_value=1e12), st.lists(st.floats(-1, 1), min_size=1, max_size=5), st.integers(1, 6))
def test_numbers_of_a_matrix_are_alike(size, shares, decimals):
    write = written(size, decimals)
    texts = [write(size * share) for share in shares]
    assert len({text.partition("e")[0].partition(".")[2].__len__() for text in texts}) == 1
    assert not any(text.startswith("-") and float(text) == 0 for text in texts)
    assert all(
        float(text) == pytest.approx(size * share, abs=6 * size * 10.0**-decimals)
        for text, share in zip(texts, shares, strict=True)
    )


def test_a_number_beyond_its_scale_is_not_hidden():
    assert written(1.0)(-50.25) == "-50.250"
    assert written(1.0)(1e300) == "1.00e+300"
    assert written(1.0)(math.inf) == "inf"
