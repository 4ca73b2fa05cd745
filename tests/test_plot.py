"""Pictures show what they say: on the artists, and, within a tolerance, on pixels."""

from __future__ import annotations

import dataclasses
import functools
import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from data import pair, watched
from test_names import HOSTILE

import simkit
from simkit import plot
from simkit.analysis import shared_subspace
from simkit.errors import InvalidArrayError, SpecError
from simkit.plot import heatmap

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("matplotlib.style")
pytest.importorskip("matplotlib.image")

BASELINES = Path(__file__).with_name("images")
TOLERANCE = (
    0.02  # root mean square over all pixels and colours in [0, 1]; another version of FreeType moves edges of letters
)
ANGULAR = "procrustes(summary=angular)"


def matrix(values, index="cka", **changes):
    values = np.asarray(values, dtype=float)
    rows, columns = (tuple(f"{side}{i}" for i in range(size)) for side, size in zip("ab", values.shape, strict=True))
    return dataclasses.replace(simkit.SimilarityMatrix(values, rows, columns, index, 123), **changes)


def networks(count=6):
    """Distances among points on a line, which are a metric."""
    places = np.array([0.0, 0.1, 0.15, 0.9, 1.0, 1.05])[:count]
    names = tuple(f"net{i}" for i in range(count))
    return simkit.SimilarityMatrix(np.abs(np.subtract.outer(places, places)), names, names, ANGULAR, 50)


def texts(ax):
    return [text.get_text() for text in ax.texts]


def drawn(axes):
    """The pixels of the figure of some axes, shape (height, width, 3), in [0, 1]."""
    buffer = io.BytesIO()
    axes.get_figure(root=True).savefig(buffer, format="png", dpi=80)
    buffer.seek(0)
    return matplotlib.image.imread(buffer)[..., :3]


def pixels(ax):
    return ax.get_figure(root=True).get_size_inches() * 150


# --- one heatmap ----------------------------------------------------------------------------------------------------------


def test_labels_title_and_colour_bar():
    ax = heatmap(matrix([[0.1, 0.9, 0.5], [0.3, 1.0, 0.0]]), labels=("ours", "theirs"))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a0", "a1"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["b0", "b1", "b2"]
    assert ax.get_title() == "cka, n = 123"
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("ours", "theirs")
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), [[0.1, 0.9, 0.5], [0.3, 1.0, 0.0]])
    assert image.get_clim() == (0.0, 1.0)
    assert len(ax.figure.axes) == 2
    assert ax.figure.axes[1].get_xlabel().replace("\n", " ") == "linear CKA (similarity)"  # flat: the bar is below
    assert texts(ax) == [".10", ".90", ".50", ".30", "1.00", ".00"]
    assert ax.yaxis_inverted()  # the first row is on top


@pytest.mark.parametrize(
    ("index", "values", "limits", "cmap", "said"),
    [
        ("cka", [[0.2, 0.4]], (0, 1), "magma", "linear CKA (similarity)"),
        ("cka(kernel=rbf(fraction=0.4))", [[0.2, 0.4]], (0, 1), "magma", "RBF CKA (similarity)"),
        ("cka(estimator=unbiased)", [[-0.2, 0.4]], (-1, 1), "RdBu_r", "unbiased linear CKA (similarity)"),
        ("cka(estimator=unbiased)", [[-0.02, 0.4]], (0, 1), "magma", "unbiased linear CKA (similarity)"),
        ("rsa", [[0.2, 0.4]], (0, 1), "magma", "RSA (similarity)"),
        ("hsic", [[3.0, 8.0]], (0, 8), "magma", "linear HSIC (similarity)"),
        ("gulp", [[0.0, 2.0]], (0, 2), "magma_r", "GULP distance: smaller is more alike"),
        (ANGULAR, [[0.0, 0.4]], (0, np.pi / 2), "magma_r", "procrustes angle: smaller is more alike"),
        ("procrustes(summary=distance)", [[0, 0.4]], (0, 0.4), "magma_r", "procrustes distance: smaller is more alike"),
        ("a_plugin_that_is_gone", [[3.0, 8.0]], (0, 8), "magma", "a_plugin_that_is_gone"),
    ],
)
def test_colours_follow_the_facts(index, values, limits, cmap, said):
    ax = heatmap(matrix(np.repeat(values, 4, axis=0), index))
    assert ax.images[0].get_clim() == pytest.approx(limits)
    assert ax.images[0].get_cmap().name == cmap
    bar = ax.figure.axes[1]
    assert (bar.get_ylabel() + bar.get_xlabel()).replace("\n", " ") == said


def test_a_lazy_matrix_is_computed_once():
    pytest.importorskip("dask.array")
    x, seen = watched(pair(20, 4, 3)[0])
    lazy = simkit.pairwise({"x": x, "y": x**2})
    for draw in (heatmap, plot.diagonal, plot.best_matches, plot.heatmaps, lambda one: plot.over_epochs({1: one})):
        seen.clear()
        draw(lazy)
        assert len(seen) == 1


def test_the_title_tells_the_order_of_a_turned_matrix():
    turned = matrix(np.eye(3), "linear_regression").T
    for draw in (heatmap, plot.best_matches, plot.diagonal):
        assert draw(turned).get_title().replace("\n", " ") == "linear_regression of (column, row), n = 123"


def test_options_pass_through():
    ax = heatmap(matrix([[0.2, 0.4]]), vmin=0.1, vmax=0.5, cmap="cividis", title="$x$", bar=False, numbers=False)
    assert ax.images[0].get_clim() == (0.1, 0.5)
    assert ax.images[0].get_cmap().name == "cividis"
    assert (ax.get_title(), texts(ax), len(ax.figure.axes)) == ("$x$", [], 1)
    norm = matplotlib.colors.LogNorm(0.1, 0.5)
    for ax in (heatmap(matrix([[0.2, 0.4]]), norm=norm), *plot.heatmaps([matrix([[0.2, 0.4]])], norm=norm)):
        assert ax.images[0].norm is norm


@pytest.mark.parametrize(
    ("values", "index", "expected"),
    [
        ([[3.9, 4.0, 4.02, -0.0]], "hsic", ["3.90", "4.00", "4.02", "0.00"]),
        ([[-0.25, -0.001, 0.999, 0.5]], "rsa", ["-.25", ".00", "1.00", ".50"]),
        ([[np.nan, np.inf, 0.5, 312.0]], "mutual_information", ["nan", "inf", "0", "312"]),
        ([[2e-6, 3e-6]], "hsic", ["2.0e-06", "3.0e-06"]),
    ],
)
def test_numbers_have_the_same_decimals(values, index, expected):
    assert texts(heatmap(matrix(values, index))) == expected


def test_undefined_scores_are_hatched():
    values = np.eye(3)
    values[0, 1:] = np.nan
    ax = heatmap(matrix(values))
    (patch,) = [patch for patch in ax.patches if patch.get_hatch()]
    np.testing.assert_array_equal(
        patch.get_extents().get_points() * 0 + patch.get_path().vertices[:4].min(axis=0), [[0.5, -0.5]] * 2
    )
    assert len(patch.get_path().vertices) == 5  # two cells side by side are one rectangle
    assert ax.get_title().endswith("hatched: undefined (nan)")
    white = drawn(ax)
    cell = np.ceil(np.array(ax.transData.transform((1.0, 0.0))) * 80 / 150).astype(int)
    around = white[-cell[1] - 9 : -cell[1] + 9, cell[0] - 9 : cell[0] + 9]
    assert around.std() > 0.05  # neither white on white nor one colour
    assert not [patch for patch in heatmap(matrix(np.eye(3))).patches if patch.get_hatch()]


def test_all_is_undefined():
    ax = heatmap(matrix(np.full((2, 2), np.nan)))
    assert texts(ax) == ["nan"] * 4


def test_scores_beyond_the_scale_point_the_colour_bar():
    ax = heatmap(matrix([[-0.2, 0.4], [0.1, 0.2]] * 3))
    assert ax.images[0].colorbar.extend == "min"
    assert heatmap(matrix([[np.inf, 0.4]] * 4, "mutual_information")).images[0].colorbar.extend == "max"


def test_chance_is_shown():
    chance = np.linspace(0.12, 0.8, 16).reshape(4, 4)
    ax = heatmap(matrix(np.eye(4), chance=chance))
    assert ax.get_title() == "cka, n = 123\nchance .12-.80"
    marks = [line for line in ax.images[0].colorbar.ax.lines if line.get_gid() == "chance"]
    np.testing.assert_allclose(marks[0].get_ydata(), [0.12, 0.8])
    np.testing.assert_allclose(marks[1].get_ydata(), [chance.mean()])
    assert heatmap(matrix(np.eye(2), chance=np.full((2, 2), 0.311))).get_title().endswith("chance .31")
    low = matrix(np.eye(2), "cka(estimator=unbiased)", chance=np.array([[-0.02, 0.0], [0.01, np.nan]]))
    assert heatmap(low).get_title().endswith("chance -.02 to .01")
    assert "chance" not in heatmap(matrix(np.eye(2), chance=np.full((2, 2), np.nan))).get_title()


@pytest.mark.parametrize(
    ("rows", "columns", "most"),
    [(200, 200, 1500), (1, 40, 1400), (40, 1, 1400), (1, 1, 600), (5000, 101, 1500), (3, 300, 1500)],
)
def test_pictures_have_a_sensible_size_and_few_ticks(rows, columns, most):
    """One inch for each of 5000 layers would take 10 GB."""
    ax = heatmap(matrix(np.random.default_rng(0).random((rows, columns))))
    assert pixels(ax).max() < most
    assert len(ax.get_yticks()) <= min(rows, 50)
    assert len(ax.get_xticks()) <= min(columns, 50)
    ax.figure.draw_without_rendering()
    box = ax.get_window_extent()  # the cells fill the picture
    share = box.width * box.height / np.prod(ax.figure.bbox.size)
    assert share > (0.14 if rows == columns == 1 else 0.25)
    inside = ax.get_tightbbox()
    assert inside.x0 >= -1
    assert inside.y0 >= -1
    assert inside.y1 <= ax.figure.bbox.height + 1


def test_thinned_ticks_name_the_layers_they_stand_at():
    ax = heatmap(matrix(np.eye(400)[:, :101]))
    assert [label.get_text() for label in ax.get_yticklabels()[:3]] == ["a0", "a10", "a20"]
    assert list(ax.get_yticks()[:3]) == [0, 10, 20]
    assert [label.get_text() for label in ax.get_xticklabels()[:2]] == ["b0", "b10"]


def test_names_are_shortened_by_what_they_share():
    names = tuple(f"model.layers.{i}.self_attn.o_proj" for i in range(4))
    ax = heatmap(matrix(np.eye(4), rows=names, columns=names))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2", "3"]


def test_models_name_the_sides():
    told = {"rows": {"model": "ResNet $18$"}, "columns": {"model": "ViT"}}
    ax = heatmap(matrix(np.eye(2), details=told))
    assert (ax.get_ylabel(), ax.get_xlabel()) == (r"ResNet \$18\$", "ViT")
    assert heatmap(matrix(np.eye(2), details={"rows": {"model": None}, "columns": 3})).get_ylabel() == ""


def test_numbers_only_where_they_can_be_read():
    assert texts(heatmap(matrix(np.zeros((15, 3))))) == []
    assert len(texts(heatmap(matrix(np.zeros((15, 3))), numbers=True))) == 45


def test_draws_on_given_axes():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 3))
    ax, other = figure.subplots(1, 2)
    before = figure.get_size_inches().copy()
    assert matrix([[0.5] * 30] * 30).plot(ax=ax) is ax
    np.testing.assert_array_equal(figure.get_size_inches(), before)
    assert len(ax.get_xticks()) <= 15  # axes of an inch
    assert not other.images


# --- nothing else is touched ----------------------------------------------------------------------------------------------


def everything():
    """Each picture once."""
    x, y = pair(12, 4, 3)
    square, result = matrix(np.eye(4)), shared_subspace(x, y)
    yield heatmap(matrix([[0.1, np.nan]]))
    yield plot.heatmaps([square, matrix(np.eye(4), "rsa")])[0]
    yield plot.diagonal([square, matrix(np.eye(4), "cca")])
    yield plot.lines({"a": [1, 2], "b": [2, 3]}, [1, 2])
    yield plot.best_matches(square)
    yield plot.shared_subspace(result)[0, 0]
    yield plot.rdms({"x": x, "y": y}, groups=list("aab") * 4)[0]
    yield plot.mds(networks())
    yield plot.dendrogram(networks())
    yield plot.over_epochs({1: square, 2: square})


def test_no_pyplot_and_no_settings():
    code = (
        "import sys, matplotlib; before = dict(matplotlib.rcParams); sys.path.insert(0, sys.argv[1]); import test_plot\n"
        "for ax in test_plot.everything(): ax.get_figure(root=True).draw_without_rendering()\n"
        "assert dict(matplotlib.rcParams) == before; sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True)


@pytest.mark.parametrize("style", ["dark_background", "ggplot", "classic"])
def test_other_styles(style):
    with matplotlib.style.context(style), warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = heatmap(matrix([[0.1, np.nan], [0.2, 0.3]]))
        drawn(ax)
        assert ax.yaxis_inverted()
        assert not any(line.get_visible() for line in (*ax.get_xgridlines(), *ax.get_ygridlines()))


def test_without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("matplotlib", "simkit.plot."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    from simkit.plot.curves import lines
    from simkit.plot.heat import heatmap as fresh

    for draw in (lambda: fresh(matrix(np.eye(2))), lambda: lines({"a": [1, 2]})):
        with pytest.raises(ImportError, match=r"simkit-similarity\[plot\]"):
            draw()


def test_saved_by_suffix(tmp_path):
    ax = heatmap(matrix(np.eye(2)))
    for suffix, head in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")):
        plot.save(ax, tmp_path / f"m{suffix}")
        assert (tmp_path / f"m{suffix}").read_bytes().startswith(head)
    with pytest.raises(ValueError, match=r"m\.txt does not end like a picture; expected .*\.png"):
        plot.save(ax, tmp_path / "m.txt")
    with pytest.raises(FileExistsError):
        plot.save_heatmap(matrix(np.eye(2)), tmp_path / "m.png")


# --- the other pictures ---------------------------------------------------------------------------------------------------


def test_heatmaps_share_one_scale_and_one_bar():
    axes = plot.heatmaps(
        {"first": matrix(np.eye(3)), "second": matrix(np.eye(3) / 2, "cca"), "third": matrix(np.eye(3))}, columns=2
    )
    assert [ax.get_title() for ax in axes] == ["first", "second", "third"]
    assert {ax.images[0].get_clim() for ax in axes} == {(0.0, 1.0)}
    figure = axes[0].figure
    assert len([ax for ax in figure.axes if ax.get_visible()]) == 4  # three panels and one bar
    assert [[t.get_text() for t in ax.get_yticklabels()] for ax in axes] == [
        ["a0", "a1", "a2"],
        [""] * 3,
        ["a0", "a1", "a2"],
    ]
    for sign, limits in ((1, (0.0, 1.0)), (-1, (-1.0, 1.0))):
        mixed = plot.heatmaps([matrix(np.eye(2)), matrix(sign * np.eye(2), "rsa")])
        assert {ax.images[0].get_clim() for ax in mixed} == {limits}
    assert [ax.get_title() for ax in plot.heatmaps([matrix(np.eye(2)), matrix(np.eye(2))])] == ["linear CKA", "cka"]


@pytest.mark.parametrize("labels", [None, ("network trained from seed 0", "network trained from seed 1")])
def test_nothing_of_many_heatmaps_is_cut_off(labels, tmp_path):
    first, second = simkit.demo.load(0), simkit.demo.load(1)
    axes = plot.heatmaps([simkit.pairwise(first, second)] * 3, labels=labels)
    plot.save(axes[0], tmp_path / "picture.png")
    edge = np.asarray(matplotlib.image.imread(tmp_path / "picture.png"))
    for line in (edge[0], edge[-1], edge[:, 0], edge[:, -1]):
        assert (line[..., :3] == 1).all()


def test_heatmaps_without_a_common_scale():
    both = [matrix(np.eye(2)), matrix(1 - np.eye(2), "gulp")]
    with pytest.raises(
        SpecError, match=r"no scale in common: cka \(similarity, 0 to 1\); gulp \(distance, 0 and up\).*shared=False"
    ):
        plot.heatmaps(both)
    axes = plot.heatmaps(both, shared=False)
    assert [ax.images[0].get_cmap().name for ax in axes] == ["magma", "magma_r"]
    assert len(axes[0].figure.axes) == 4


def test_diagonal():
    values, chance = np.arange(9.0).reshape(3, 3) / 9, np.full((3, 3), 0.3)
    ax = plot.diagonal({"one": matrix(values, chance=chance), "two": matrix(values / 2)})
    one, two, by_chance = ax.lines
    np.testing.assert_allclose(one.get_ydata(), np.diag(values))
    np.testing.assert_allclose(two.get_ydata(), np.diag(values) / 2)
    np.testing.assert_allclose(by_chance.get_ydata(), 0.3)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["one", "two", "by chance"]
    assert ax.get_title() == "cka, n = 123"
    chance[1, 1] = np.nan
    both = {name: matrix(values, chance=chance.copy()) for name in ("one", "two")}
    assert len(plot.diagonal(both).lines) == 3  # what both are by chance once
    assert [t.get_text() for t in plot.diagonal({"one": matrix(values)}).get_legend().get_texts()] == ["one"]
    assert plot.diagonal(matrix(values)).get_legend() is None
    with pytest.raises(InvalidArrayError, match="2 rows and 3 columns.*best_matches"):
        plot.diagonal(matrix(np.zeros((2, 3))))


def test_bands_are_the_intervals():
    x, y = pair(40, 4, 4)
    result = simkit.interval({"a": x, "b": y}, {"a": y + x**2, "b": x**3}, progress=False)
    ax = plot.diagonal(result)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(min(result.interval.low[i, i] for i in (0, 1)))
    ax = plot.lines({"a": [result["a", "a"], result["b", "b"]]}, ["first", "second"])
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(np.diag(result.interval.high).max())
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.diag(result.score))


def test_lines():
    ax = plot.lines({"a": [1, 2, 3], "b": [3, 2, 1]}, [4, 8, 16], errors={"a": [0.5, 0.5, 1]}, log=True, ordered=True)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["4", "8", "16"]
    assert ax.get_xscale() == "log"
    assert ax.collections[0].get_paths()[0].vertices[:, 1].max() == 4
    for names in (["first", "second"], np.array(["first", "second"])):
        for log in (False, True):
            labels = plot.lines({"a": [1, 2]}, names, log=log).get_xticklabels()
            assert [t.get_text() for t in labels] == ["first", "second"]
    for curves, options, told in [
        ({}, {}, "a dictionary of lines"),
        ({"a": [1], "b": [1, 2]}, {}, "'b' has 2 points, 'a' has 1"),
        ({"a": [1]}, {"x": [1, 2]}, "x has 2 values"),
        ({"a": [1]}, {"errors": {"c": [1]}}, "'c', which is no line"),
        ({"a": [1]}, {"errors": {"a": [1, 2]}}, "expected"),
        ({"a": [1]}, {"errors": {"a": [-1]}}, "negative"),
        ({"a": "text"}, {}, "no sequence of numbers"),
        ({"a": [1, 2]}, {"x": [0, 1], "log": True}, "above 0"),
    ]:
        with pytest.raises(InvalidArrayError, match=told):
            plot.lines(curves, **options)


def test_best_matches_have_an_arrow_each():
    values = [[0.9, 0.1, 0.1], [0.5, 0.5, 0.1], [np.nan] * 3]
    ax = plot.best_matches(matrix(values))
    assert len(ax.patches) == 3  # one, a tie of two, none
    assert len(plot.best_matches(matrix([[0.1, 0.9]], "gulp")).patches) == 1
    assert not plot.best_matches(matrix([[np.nan] * 3])).patches
    ends = plot.best_matches(matrix([[0.1, 0.9], [0.2, 0.1]], "gulp")).patches
    assert [patch._posA_posB[1][1] for patch in ends] == [0.0, 1.0]  # the smallest of a distance


def test_shared_subspaces():
    x, y = pair(30, 5, 4)
    result = shared_subspace(x, y)
    axes = plot.shared_subspace({"conv1": result, "conv2": result}, compact=True)
    assert axes.shape == (2, 2)
    np.testing.assert_allclose(axes[0, 0].lines[0].get_ydata(), result.eigenvalues)
    np.testing.assert_allclose(axes[1, 1].lines[0].get_ydata(), result.cosines)
    left, right = result.plot()
    assert result.plot((left, right)) == (left, right)
    with pytest.raises(InvalidArrayError, match="simkit.analysis.shared_subspace"):
        plot.shared_subspace(3)


def test_rdms_are_those_of_rsa():
    x, _ = pair(9, 4, 3)
    labels = list("bab") * 3
    (ax,) = plot.rdms({"x": x}, groups=labels)
    order = np.argsort(labels, kind="stable")
    np.testing.assert_allclose(ax.images[0].get_array(), 1 - np.corrcoef(x[order]), atol=1e-12)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]
    (ax,) = plot.rdms({"x": x}, kernel="linear")
    centred = x - x.mean(axis=0)
    np.testing.assert_allclose(ax.images[0].get_array(), centred @ centred.T, atol=1e-9)
    with pytest.raises(InvalidArrayError, match="'y' has 8 examples"):
        plot.rdms({"x": x, "y": x[:8]})
    with pytest.raises(InvalidArrayError, match=r"^layers\['y'\] has shape \(9, 2, 2\)"):
        plot.rdms({"x": x, "y": x.reshape(9, 2, 2)})
    with pytest.raises(InvalidArrayError, match="at most 4000 examples"):
        plot.rdms({"x": np.zeros((4001, 1))})
    with pytest.raises(InvalidArrayError, match="groups has 2"):
        plot.rdms({"x": x}, groups=[1, 2])


def test_rdms_of_dask_arrays():
    da = pytest.importorskip("dask.array")
    x, _ = pair(9, 4, 3)
    for options in ({}, {"kernel": "linear"}):
        (now,), (lazy,) = (plot.rdms({"x": one}, **options) for one in (x, da.from_array(x, chunks=(4, -1))))
        np.testing.assert_allclose(lazy.images[0].get_array(), now.images[0].get_array(), atol=1e-12)


def test_scaling_recovers_points_of_the_plane():
    from simkit.plot.maps import classical_scaling

    points = np.random.default_rng(0).standard_normal((9, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found, share = classical_scaling(distances)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), distances, atol=1e-12)
    assert share == pytest.approx(1)
    ax = plot.mds(networks(), groups=list("aaabbb"))
    assert [len(points.get_offsets()) for points in ax.collections] == [3, 3]
    assert ax.get_title().endswith("100% of the distances shown")


def test_tree_is_that_of_scipy():
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    ax = plot.dendrogram(networks())
    order = [int(label.get_text()[-1]) for label in ax.get_yticklabels()]  # common parts stay where they are not parts
    assert {frozenset(order[:3]), frozenset(order[3:])} == {frozenset({0, 1, 2}), frozenset({3, 4, 5})}
    distances = networks().to_numpy()
    for method in ("average", "complete"):
        expected = hierarchy.linkage(distances[np.triu_indices(6, 1)], method)
        (links,) = plot.dendrogram(networks(), method=method).collections
        np.testing.assert_allclose(sorted(link[:, 0].max() for link in links.get_segments()), expected[:, 2])
    with pytest.raises(SpecError, match="average"):
        plot.dendrogram(networks(), method="ward")


@pytest.mark.parametrize("draw", [plot.mds, plot.dendrogram], ids=["mds", "dendrogram"])
def test_only_metrics(draw):
    with pytest.raises(SpecError, match=r"cka is a similarity.*gulp.*procrustes\(summary=angular\)"):
        draw(matrix(np.eye(3)))
    with pytest.raises(SpecError, match="need not"):
        draw(matrix(np.eye(3), "procrustes(summary=distance)"))
    with pytest.raises(SpecError, match="not installed"):
        draw(matrix(np.eye(3), "gone"))
    with pytest.raises(InvalidArrayError, match="rows and columns the same"):
        draw(matrix(np.zeros((3, 3)), ANGULAR))
    with pytest.raises(InvalidArrayError, match="net0 and net1 is nan"):
        values = networks().values.copy()
        values[0, 1] = np.nan
        draw(dataclasses.replace(networks(), values=values))


def test_over_epochs():
    square = matrix(np.diag([0.5, 0.25]), chance=np.full((2, 2), 0.1))
    ax = plot.over_epochs({1: square, 5: matrix(np.eye(2), chance=np.full((2, 2), 0.2))})
    np.testing.assert_allclose(ax.images[0].get_array(), [[0.5, 1.0], [0.25, 1.0]])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "5"]
    assert "chance .10-.20" in ax.get_title()
    ax = plot.over_epochs({0: {"a": 1.0}, 1: {"a": 0.5}}, index="cka", n=9)
    assert ax.get_title() == "cka, n = 9"
    for wrong, told in [
        ({}, "an empty one"),
        ({0: {"a": 1.0}}, 'index="cka"'),
        ({0: square, 1: matrix(np.eye(3))}, "must be the same"),
        ({0: square, 1: matrix(np.eye(2), "cca")}, "index cca"),
        ({0: matrix(np.zeros((2, 3)))}, "2 rows and 3 columns"),
    ]:
        with pytest.raises(InvalidArrayError, match=told):
            plot.over_epochs(wrong)


def test_what_is_no_matrix_and_no_axes():
    for draw in (heatmap, plot.diagonal, plot.best_matches, plot.mds, plot.dendrogram):
        with pytest.raises(InvalidArrayError, match="SimilarityMatrix.*got ndarray"):
            draw(np.eye(3))
    with pytest.raises(InvalidArrayError, match="0 x 2"):
        heatmap(matrix(np.zeros((0, 2))))
    with pytest.raises(TypeError, match=r"ax=axes\[0\]"):
        heatmap(matrix(np.eye(2)), ax=plot.figure(2, 2).subplots(1, 2))
    with pytest.raises(ValueError, match="1 Axes, but there are 2 panels"):
        plot.heatmaps([matrix(np.eye(2))] * 2, ax=plot.figure(2, 2).subplots(1, 1))


def hostile_pictures():
    """Each picture of layers with hostile names, all of them where many fit."""
    names = tuple(HOSTILE.values())
    x, y = pair(len(names), 3, 3)
    count = len(names)
    model = {"model": HOSTILE["bad mathematics"]}
    square = matrix(np.eye(count), rows=names, columns=names, details={"rows": model, "columns": model})
    few = matrix(np.eye(3), rows=names[:3], columns=names[3:6])
    far = dataclasses.replace(square, index=ANGULAR, values=np.abs(np.subtract.outer(np.arange(count), np.arange(count))))
    yield lambda: heatmap(square)
    yield lambda: plot.heatmaps(dict.fromkeys(names[:4], few), columns=2)[0]
    yield lambda: plot.diagonal(dict.fromkeys(names[:3], square))
    yield lambda: plot.lines({name: range(count) for name in names}, names)
    yield lambda: plot.best_matches(square)
    yield lambda: plot.shared_subspace({name: shared_subspace(x, y) for name in names[:2]})[0, 0]
    yield lambda: plot.rdms(dict.fromkeys(names[:2], x), groups=names)[0]
    yield lambda: plot.mds(far, groups=names)
    yield lambda: plot.dendrogram(far)
    yield lambda: plot.over_epochs(dict.fromkeys(names, square))
    yield from (lambda name=name: heatmap(dataclasses.replace(few, index=name)) for name in names[:3])


@pytest.mark.parametrize("draw", list(hostile_pictures()))
def test_hostile_names(draw):
    """Names are drawn as they are, in every picture."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw().get_figure(root=True).draw_without_rendering()


# --- pixels ---------------------------------------------------------------------------------------------------------------


@functools.cache
def pictures():
    """A few pictures whose pixels are compared: every kind of cell, and arrows."""
    rng = np.random.default_rng(3)
    values = np.round(rng.random((5, 6)), 2)
    values[1, 2] = values[3, :2] = np.nan
    return {
        "heatmap": heatmap(matrix(values, chance=np.full((5, 6), 0.3))),
        "distances": heatmap(matrix(values, ANGULAR)),
        "negative": heatmap(matrix(2 * values - 1, "rsa")),
        "matches": plot.best_matches(matrix(np.round(rng.random((6, 4)), 2))),
    }


@pytest.mark.parametrize("name", ["heatmap", "distances", "negative", "matches"])
def test_pixels(name):
    """``python tests/test_plot.py`` draws the baselines anew; look at them."""
    now, then = drawn(pictures()[name]), matplotlib.image.imread(BASELINES / f"{name}.png")[..., :3]
    if now.shape != then.shape:  # letters of another version have other widths
        assert np.abs(np.subtract(now.shape, then.shape)).max() <= 4
        height, width = np.minimum(now.shape, then.shape)[:2]
        now, then = now[:height, :width], then[:height, :width]
        assert np.sqrt(np.mean((now - then) ** 2)) < 5 * TOLERANCE
        return
    assert np.sqrt(np.mean((now - then) ** 2)) < TOLERANCE


if __name__ == "__main__":
    BASELINES.mkdir(exist_ok=True)
    for name, ax in pictures().items():
        matplotlib.image.imsave(BASELINES / f"{name}.png", drawn(ax))
