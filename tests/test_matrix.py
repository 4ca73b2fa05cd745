"""A matrix by its names: parts, transposes, best matches, as text and as HTML."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from data import watched
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.arrays import is_lazy, library_of
from simkit.errors import InvalidArrayError, SpecError
from simkit.io import write_matrix
from simkit.text import printable

NAMES = ("conv1", "conv2", "conv3", "conv4", "fc")
SIDES = {
    "rows": {"model": "a", "rules": {"conv1": "mean", "fc": "flatten"}, "fingerprint": "1"},
    "columns": {"model": "b", "rules": {"c0": "max", "c1": "cls"}},
}


def matrix(rows=NAMES, columns=("c0", "c1", "c2", "c3"), index="cka", *, values=None, chance=True, **details):
    if values is None:
        values = np.arange(len(rows) * len(columns), dtype=float).reshape(len(rows), len(columns)) / 100
    return simkit.SimilarityMatrix(
        values, tuple(rows), tuple(columns), index, 50, values + 1 if chance else None, SIDES | details
    )


def same(found, i, j):
    """Whether a part is of rows i and columns j of `matrix()`."""
    whole = matrix()
    np.testing.assert_array_equal(found.values, whole.values[np.ix_(i, j)])
    np.testing.assert_array_equal(found.chance, whole.chance[np.ix_(i, j)])
    assert found.rows == tuple(whole.rows[k] for k in i)
    assert found.columns == tuple(whole.columns[k] for k in j)
    assert (found.index, found.n) == (whole.index, whole.n)
    return True


# --- parts ----------------------------------------------------------------------------------------------------------------

ALL = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("key", "rows", "columns"),
    [
        ("conv3", [2], ALL),
        (2, [2], ALL),
        (-1, [4], ALL),
        (np.int64(1), [1], ALL),
        (("conv3", slice(None)), [2], ALL),
        ((slice(None), "c2"), [0, 1, 2, 3, 4], [2]),
        (slice("conv1", "conv3"), [0, 1, 2], ALL),  # both ends, as in pandas
        (slice("conv4", None), [3, 4], ALL),
        (slice(None, "conv2"), [0, 1], ALL),
        (slice("conv1", "fc", 2), [0, 2, 4], ALL),
        (slice("fc", "conv3", -1), [4, 3, 2], ALL),
        (slice("conv2", "conv1", -1), [1, 0], ALL),
        (slice(2, 5), [2, 3, 4], ALL),
        (slice(None, None, -1), [4, 3, 2, 1, 0], ALL),
        ((slice(1, -1), slice(None, None, 2)), [1, 2, 3], [0, 2]),
        (["fc", 0], [4, 0], ALL),
        ((["fc", "conv1"], ["c3", "c0"]), [4, 0], [3, 0]),
        (np.asarray([3, 1]), [3, 1], ALL),
        (np.asarray(NAMES) == "conv2", [1], ALL),
        ((slice(None), [True, False, False, True]), [0, 1, 2, 3, 4], [0, 3]),
    ],
)
def test_parts(key, rows, columns):
    assert same(matrix()[key], rows, columns)


def test_a_pair_is_a_score():
    whole = matrix()
    assert whole["conv2", "c3"] == whole[1, 3] == whole["conv2", -1] == whole["conv2"][0, "c3"] == 0.07


def test_what_is_known_of_layers_goes_along():
    part = matrix()[["conv2", "fc"], "c1":]
    assert part.details["rows"] == {"model": "a", "rules": {"fc": "flatten"}, "fingerprint": "1"}
    assert part.details["columns"] == {"model": "b", "rules": {"c1": "cls"}}
    assert SIDES["rows"]["rules"] == {"conv1": "mean", "fc": "flatten"}


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("conv9", KeyError, "no row is called 'conv9'. Did you mean conv4 or conv3 or conv2.* The rows are conv1"),
        ((0, "fc"), KeyError, "no column is called 'fc'. The columns are c0, c1, c2, c3"),
        (slice("x", None), KeyError, "no row is called 'x'"),
        (5, IndexError, "there is no row 5, only 5 of them"),
        ((0, -5), IndexError, "there is no column -5"),
        (slice(3, 3), IndexError, "chooses none of the 5 rows"),
        (slice("fc", "conv1"), IndexError, "chooses none"),
        ([], IndexError, "chooses none"),
        ([True, False], IndexError, "a mask of 2 bools; expected one for each of the 5 rows"),
        (["fc", 4], KeyError, "row 'fc' is chosen twice"),
        (slice("conv1", 3), TypeError, "expected two names or two positions"),
        (True, TypeError, "True is no row"),
        (1.0, TypeError, r"1.0 \(float\) is no row"),
        (None, TypeError, "None"),
        ((0, 0, 0), IndexError, "3 keys"),
        ((), IndexError, "0 keys"),
        (slice(0, 2, 0), ValueError, "zero"),
    ],
)
def test_what_is_not_there(key, error, message):
    with pytest.raises(error, match=message):
        matrix()[key]


def test_a_name_that_several_layers_have():
    twice = matrix(rows=("a", "b", "a"))
    with pytest.raises(KeyError, match=r"2 rows are called 'a'; say which by position, one of \[0, 2\]"):
        twice["a"]
    assert twice[2].rows == ("a",)


def test_rows_one_after_the_other():
    whole = matrix()
    assert len(whole) == 5
    assert [row.rows for row in whole] == [(name,) for name in NAMES]
    assert "fc" in whole
    assert "c0" not in whole
    assert whole._ipython_key_completions_() == [*NAMES, "c0", "c1", "c2", "c3"]
    assert matrix(columns=NAMES)._ipython_key_completions_() == list(NAMES)


def test_parts_of_every_library(backend):
    check_parts(backend.asarray, backend.to_numpy)


def test_parts_of_dask_arrays():
    da = pytest.importorskip("dask.array")
    check_parts(lambda values: da.from_array(values, chunks=2), np.asarray)


def check_parts(asarray, to_numpy):
    values = matrix().values
    whole = simkit.SimilarityMatrix(asarray(values), NAMES, ("c0", "c1", "c2", "c3"), "cka", 50, asarray(values + 1))
    part = whole[["fc", "conv1"], 1:3]
    assert library_of(part.values) == library_of(whole.values)
    assert is_lazy(part.values) == is_lazy(whole.values)
    np.testing.assert_array_equal(to_numpy(part.T.values), values[np.ix_([4, 0], [1, 2])].T)
    np.testing.assert_array_equal(to_numpy(part.T.chance), values[np.ix_([4, 0], [1, 2])].T + 1)
    np.testing.assert_array_equal(to_numpy(whole[:4].diagonal), np.diagonal(values[:4]))
    assert whole.best_matches("columns")[0] == ("fc", "c0", values[4, 0])
    computed = whole.compute()
    assert type(computed.values) is type(computed.chance) is np.ndarray
    assert same(computed, [0, 1, 2, 3, 4], ALL)


def test_gradients_flow_through_parts():
    torch = pytest.importorskip("torch")
    values = torch.ones((2, 3), requires_grad=True)
    simkit.SimilarityMatrix(values, ("a", "b"), ("x", "y", "z"), "cka", 9)["b", ["z"]].values.sum().backward()
    assert values.grad.tolist() == [[0, 0, 0], [0, 0, 1]]


# --- the transpose --------------------------------------------------------------------------------------------------------


def test_the_transpose_exchanges_sides():
    whole = matrix()
    turned = whole.T
    np.testing.assert_array_equal(turned.values, whole.values.T)
    np.testing.assert_array_equal(turned.chance, whole.chance.T)
    assert (turned.rows, turned.columns) == (whole.columns, whole.rows)
    assert (turned.details["rows"], turned.details["columns"]) == (SIDES["columns"], SIDES["rows"])
    assert (turned.title, turned.transposed) == ("cka, n = 50", False)
    assert turned.T.details == whole.details
    assert (
        "columns"
        not in simkit.SimilarityMatrix(whole.values, whole.rows, whole.columns, "cka", 9, details={"columns": {}}).T.details
    )


@pytest.mark.parametrize("index", ["linear_regression", "a_plugin_that_is_gone"])
def test_the_transpose_of_an_index_that_is_not_symmetric_says_so(index, tmp_path):
    turned = matrix(index=index).T
    assert turned.transposed
    assert turned.title == f"{index} of (column, row), n = 50"
    assert turned.title in repr(turned)
    assert turned.title in turned._repr_html_()
    assert not turned.T.transposed
    assert turned.T.details == SIDES
    assert turned["c0"].transposed
    turned.save(tmp_path / "turned.npz")
    assert simkit.SimilarityMatrix.load(tmp_path / "turned.npz").title == turned.title


def test_the_transpose_of_a_regression_is_what_it_says(rng):
    a, b = {"x": rng.standard_normal((30, 3))}, {"y": rng.standard_normal((30, 4))}
    turned = simkit.pairwise(a, b, "linear_regression").T
    assert float(turned["y", "x"]) == pytest.approx(float(simkit.compare(a["x"], b["y"], "linear_regression")), rel=1e-12)
    assert abs(float(turned["y", "x"]) - float(simkit.compare(b["y"], a["x"], "linear_regression"))) > 1e-3


# --- best matches ---------------------------------------------------------------------------------------------------------


def test_best_matches_and_ties():
    nan = np.nan
    values = np.asarray([[0.9, 0.2, 0.9 - 1e-15], [nan, 0.5, 0.4], [nan, nan, nan], [-0.3, -0.1, -0.2]])
    found = matrix(rows="abcd", columns="xyz", values=values).best_matches()
    assert found == (("a", "x", 0.9), ("a", "z", 0.9 - 1e-15), ("b", "y", 0.5), ("d", "y", -0.1))
    assert (found[0].row, found[0].column, found[0].value) == ("a", "x", 0.9)
    assert type(found[0].value) is float
    assert matrix(rows="abcd", columns="xyz", values=values).best_matches("columns") == (
        ("a", "x", 0.9),
        ("b", "y", 0.5),
        ("a", "z", 0.9 - 1e-15),
    )


def test_the_best_of_distances_is_the_smallest():
    values = np.asarray([[0.9, 0.2], [0.0, np.inf]])
    distances = matrix(rows="ab", columns="xy", values=values, index="procrustes(summary=distance)")
    assert distances.best_matches() == (("a", "y", 0.2), ("b", "x", 0.0))
    assert distances.best_matches(axis="columns") == (("b", "x", 0.0), ("a", "y", 0.2))
    with pytest.raises(SpecError, match="axis='row'; expected one of rows, columns. Did you mean rows"):
        distances.best_matches("row")


def test_values_of_files_may_be_whole_numbers():
    assert matrix(rows="ab", columns="xy", values=np.eye(2, dtype=int)).best_matches() == (("a", "x", 1.0), ("b", "y", 1.0))


def test_layers_found():
    values = np.asarray([[0.9, 0.2, 0.1], [0.5, 0.5, 0.1], [0.3, 0.2, np.nan]])
    assert matrix(rows="abc", columns="xyz", values=values).layers_found == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert matrix(rows="abc", columns="xyz", values=values).diagonal[:2].tolist() == [0.9, 0.5]
    for what in ("layers_found", "diagonal"):
        with pytest.raises(InvalidArrayError, match=rf"{what} .* 5 rows and 4 columns. best_matches\(\)"):
            getattr(matrix(), what)


# --- as text --------------------------------------------------------------------------------------------------------------


def test_printed():
    small = matrix(rows=("net.conv1", "net.fc"), columns=("x", "y"), values=np.asarray([[0.5, np.nan], [-0.0001, 1]]))
    assert repr(small) == "<SimilarityMatrix 2 x 2, cka, n = 50>"
    assert str(small).splitlines() == [
        repr(small),
        "           x      y",
        "conv1  0.500    nan",
        "fc     0.000  1.000",
    ]


@pytest.mark.parametrize("columns", [20, 40, 80])
def test_printed_no_wider_than_the_terminal(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    names = [f"model.layers.{i}.self_attn.o_proj" for i in range(48)]
    large = matrix(rows=names, columns=names)
    lines = str(large).splitlines()
    assert max(map(len, lines[1:-1])) <= columns
    assert lines[-1].startswith("20 of 48 rows, ")
    assert [line.split()[0] for line in lines[2:-1]] == [*map(str, range(10)), "...", *map(str, range(38, 48))]
    with simkit.set_options(max_shown=4, decimals=1):
        assert [line.split()[0] for line in str(large).splitlines()[2:-1]] == ["0", "1", "...", "46", "47"]
        assert str(large).splitlines()[2].split()[:3] == ["0", "0.0", "0.0" if columns > 20 else "..."]


def test_wide_characters_are_aligned():
    lines = str(matrix(rows=("层", "ab"), columns=("x",))).splitlines()
    assert [line.index("0.") for line in lines[2:]] == [3, 4]  # which are cells 4 and 4


def test_nothing_lazy_is_computed_to_be_shown():
    da = pytest.importorskip("dask.array")

    def fail(block):
        raise AssertionError("computed")

    lazy = da.ones((2, 3), chunks=(1, 3)).map_blocks(fail, meta=np.empty((0, 0)))
    whole = simkit.SimilarityMatrix(lazy, ("a", "b"), ("x", "y", "z"), "cka", 9)
    for text in (str(whole), whole._repr_html_()):
        assert "not computed yet; .compute() does" in text
    with pytest.raises(AssertionError, match="computed"):
        whole.compute()


def test_what_has_no_values_is_shown_without_them():
    jax = pytest.importorskip("jax")
    said = []

    def traced(values):
        whole = simkit.SimilarityMatrix(values, ("a", "b"), ("x", "y"), "cka", 9)
        said.extend([str(whole), whole._repr_html_(), repr(whole["a"])])
        return whole["b", "x":].T.values

    assert jax.jit(traced)(np.eye(2)).tolist() == [[0.0], [1.0]]
    assert "not known inside of a transformation" in said[0]
    assert "not known inside of a transformation" in said[1]


def test_what_two_lazy_arrays_share_is_computed_once(tmp_path):
    pytest.importorskip("dask.array")
    lazy, calls = watched(np.ones((2, 2)))
    whole = simkit.SimilarityMatrix(lazy, ("a", "b"), ("x", "y"), "cka", 9, lazy * 2)
    for use in (
        whole.compute,
        lambda: whole.save(tmp_path / "m.npz"),
        lambda: write_matrix(whole, tmp_path / "m.json"),
    ):
        calls.clear()
        use()
        assert len(calls) == 1


class Printer:
    """What IPython gives to `_repr_pretty_`."""

    def __init__(self, depth):
        self.stack, self.texts = [0] * depth, []

    def text(self, text):
        self.texts.append(text)


def test_in_ipython():
    for depth, expected in ((1, str(matrix())), (2, repr(matrix()))):
        printer = Printer(depth)
        matrix()._repr_pretty_(printer, False)
        assert printer.texts == [expected]


# --- as HTML --------------------------------------------------------------------------------------------------------------


class Table(HTMLParser):
    """Rows of (text, attributes) of cells, and the caption."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.caption, self.open = [], "", []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append(["", dict(attributes)])
        if tag in ("caption", "td", "th"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("caption", "td", "th"):
            self.open.remove(tag)

    def handle_data(self, data):
        if "caption" in self.open:
            self.caption += data
        elif self.open:
            self.rows[-1][-1][0] += data

    @property
    def texts(self):
        return [[text for text, _ in row] for row in self.rows]


def test_html():
    page = Table(
        matrix(rows=("net.conv1", "net.fc"), columns=("x", "y"), values=np.asarray([[0.5, np.nan], [0, 1]]))._repr_html_()
    )
    assert page.texts == [["", "x", "y"], ["conv1", "0.500", "nan"], ["fc", "0.000", "1.000"]]
    assert page.rows[1][0][1] == {"scope": "row", "title": "net.conv1"}
    assert page.rows[1][1][1]["title"] == "conv1, x: 0.5, by chance 1.5"
    assert page.caption == "cka, n = 50by chance 1.500 on average (1.000 to 2.000)similarity 0.000  1.000"
    assert "gradient" in page.rows[1][2][1]["style"]
    assert "background:#fcfdbf;color:#000000" in page.rows[2][2][1]["style"]
    assert "background:#000004;color:#ffffff" in page.rows[2][1][1]["style"]


def test_html_of_distances_and_of_negative_scores():
    values = np.asarray([[0, 3.25], [-0.5, 12.5]])
    distances = Table(matrix(rows="ab", columns="xy", values=abs(values), index="rsm_norm")._repr_html_())
    assert distances.caption.endswith("distance 0.00  12.50 (0 is the same)")
    assert "background:#fcfdbf" in distances.rows[1][1][1]["style"]  # 0 is bright
    assert distances.texts[2] == ["b", "0.50", "12.50"]
    shown = [matrix(rows="ab", columns="xy", values=values / size, index="rsa", chance=False) for size in (-20, 20)]
    signed, near = (Table(each._repr_html_()) for each in shown)
    assert signed.caption == "rsa, n = 50similarity -1.000  1.000"
    assert "background:#f7f6f6;color:#000000" in signed.rows[1][1][1]["style"]
    assert near.caption == "rsa, n = 50similarity 0.000 or less  1.000"
    assert "background:#000004;color:#ffffff" in near.rows[2][1][1]["style"]


def test_html_leaves_out_the_middle():
    names = [f"net.{i}" for i in range(50)]
    whole = matrix(rows=names, columns=names[:20])
    page = Table(whole._repr_html_())
    assert len(page.rows) == 1 + 10 + 1 + 10
    assert page.rows[11] == [["⋮", {"scope": "row"}], ["30 more rows", {"colspan": "20", "style": "text-align:center"}]]
    assert "20 of 50 rows shown" in page.caption
    assert [row[0] for row in page.texts[1:]] == [*map(str, range(10)), "⋮", *map(str, range(40, 50))]
    with simkit.set_options(max_shown=3):
        page = Table(whole._repr_html_())
        assert page.texts[0] == ["", "0", "1", "⋯", "19"]
        assert page.texts[4] == ["49", "9.800", "9.810", "⋯", "9.990"]
        assert "3 of 50 rows and 3 of 20 columns shown" in page.caption
    with simkit.set_options(max_shown=50):
        assert "more rows" not in whole._repr_html_()


@given(st.lists(st.text(max_size=30), min_size=1, max_size=4, unique=True), st.text(max_size=10))
def test_html_of_any_names(names, index):
    page = matrix(rows=names, columns=names, index=index)._repr_html_()
    assert set(re.findall(r"<(/?\w+)", page)) <= {
        f"{end}{tag}" for end in ("", "/") for tag in ("table", "caption", "br", "span", "thead", "tbody", "tr", "td", "th")
    }
    table = Table(page)
    assert [row[0][1]["title"] for row in table.rows[1:]] == [printable(name) for name in names]
    page.encode()


# --- options --------------------------------------------------------------------------------------------------------------


def test_options_are_set_for_good_or_for_a_while():
    before = simkit.get_options()
    assert before == {"decimals": 3, "max_shown": 20, "progress": None}
    with simkit.set_options(decimals=2, progress=False):
        assert simkit.get_options() == before | {"decimals": 2, "progress": False}
        with pytest.raises(ZeroDivisionError), simkit.set_options(decimals=1):
            1 / 0
        assert simkit.get_options()["decimals"] == 2
    assert simkit.get_options() == before
    try:
        assert "decimals=5" in repr(simkit.set_options(decimals=5))
        assert simkit.get_options()["decimals"] == 5
    finally:
        simkit.set_options(**before)
    simkit.get_options()["decimals"] = 9  # a copy
    assert simkit.get_options() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decimal": 2}, r"no option 'decimal'. Did you mean decimals\? The options are decimals, max_shown, progress"),
        ({"decimals": 2.0}, "decimals=2.0; expected a whole number from 0 to 15"),
        ({"decimals": True}, "expected a whole number"),
        ({"max_shown": 1}, "expected a whole number from 2"),
        ({"progress": "yes"}, "expected True, False or None"),
        ({"max_shown": 5, "decimals": -1}, "decimals=-1"),
    ],
)
def test_options_that_cannot_be(options, message):
    before = simkit.get_options()
    with pytest.raises(SpecError, match=message):
        simkit.set_options(**options)
    assert simkit.get_options() == before


@pytest.mark.parametrize(("method", "library"), [("to_pandas", "pandas"), ("to_xarray", "xarray")])
def test_tables_say_what_to_install(method, library, monkeypatch):
    matrix = simkit.pairwise({"a": np.eye(4)[:, :2]})
    monkeypatch.setitem(sys.modules, library, None)  # which import takes for "not installed"
    with pytest.raises(ImportError, match=rf'{method} needs {library}: pip install "simkit-similarity\[labels\]"'):
        getattr(matrix, method)()
