"""The heatmap says what it shows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import simkit
from simkit.plot import heatmap

pytest.importorskip("matplotlib")


def matrix(values, index="cka"):
    values = np.asarray(values, dtype=float)
    rows, columns = (tuple(f"{side}{i}" for i in range(size)) for side, size in zip("ab", values.shape, strict=True))
    return simkit.SimilarityMatrix(values, rows, columns, index, 123)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_labels_title_and_colour_bar():
    ax = heatmap(matrix([[0.1, 0.9, 0.5], [0.3, 1.0, 0.0]], "cka(estimator=unbiased)"), labels=("ours", "theirs"))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a0", "a1"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["b0", "b1", "b2"]
    assert ax.get_title() == "cka(estimator=unbiased), n = 123"
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("ours", "theirs")
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), [[0.1, 0.9, 0.5], [0.3, 1.0, 0.0]])
    assert image.get_clim() == (0.0, 1.0)
    assert len(ax.figure.axes) == 2
    assert texts(ax) == [".10", ".90", ".50", ".30", "1", ".00"]
    assert ax.yaxis_inverted()  # the first row is on top


def test_values_outside_widen_the_scale():
    assert heatmap(matrix([[-0.2, 0.4]], "cka(estimator=unbiased)")).images[0].get_clim() == (-0.2, 1.0)
    assert heatmap(matrix([[3.0, 8.0]], "hsic")).images[0].get_clim() == (3.0, 8.0)
    assert heatmap(matrix([[3.0, 8.0]], "a_plugin_that_is_gone")).images[0].get_clim() == (3.0, 8.0)
    assert heatmap(matrix([[5.0]], "hsic")).images[0].get_clim() == (5.0, 6.0)


def test_nan_and_negative_cells():
    assert texts(heatmap(matrix([[np.nan, -0.25]]))) == ["nan", "-.25"]


def test_very_many_layers_have_a_picture_of_ordinary_size():
    """One inch for each of 5000 layers would take 10 GB."""
    ax = heatmap(matrix(np.eye(5000)[:, :101]))
    assert [label.get_text() for label in ax.get_yticklabels()[:2]] == ["a0", "a50"]
    assert [label.get_text() for label in ax.get_xticklabels()[:2]] == ["b0", "b2"]
    assert max(ax.get_figure().get_size_inches()) < 50


def test_numbers_only_where_they_can_be_read():
    assert texts(heatmap(matrix(np.zeros((15, 3))))) == []
    assert len(texts(heatmap(matrix(np.zeros((15, 3))), numbers=True))) == 45


def test_draws_on_given_axes():
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert matrix([[0.5]]).plot(ax=ax) is ax


def test_does_not_touch_pyplot():
    code = "import simkit, numpy, sys; simkit.pairwise([numpy.eye(4)]).plot(); sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
