"""Rows with labels: what is not the same example is not compared, and every remedy that a message names works."""

from __future__ import annotations

import re

import numpy as np
import pytest
from data import pair

import simkit
from simkit.analysis import shared_subspace, within_class
from simkit.arrays.labels import labels_of
from simkit.errors import InvalidArrayError

pd = pytest.importorskip("pandas")
xr = pytest.importorskip("xarray")

X, Y = pair(6, 3, 2)
SHUFFLE = np.array([0, 2, 1, 5, 3, 4])

INDEXES = {
    "strings": pd.Index(list("abcdef")),
    "integers": pd.Index([5, 3, 9, 1, 0, 22]),
    "times": pd.date_range("2020", periods=6),
    "times with a zone": pd.date_range("2020", periods=6, tz="UTC"),
    "categories": pd.CategoricalIndex(list("abcdef")),
    "nan": pd.Index([1.0, 2.0, np.nan, 4.0, 5.0, 6.0]),
    "a missing string": pd.Index(["a", "b", None, "c", "d", "e"]),
    "nullable": pd.Index([5, 3, None, 1, 0, 22], dtype="Int64"),
    "two levels": pd.MultiIndex.from_product([[1, 2], list("abc")], names=["subject", "stimulus"]),
    "two levels with nan": pd.MultiIndex.from_arrays([[1, 2, np.nan, 4, 5, 6], list("abcdef")], names=["u", "v"]),
    "intervals": pd.interval_range(0, 6),
    "periods": pd.period_range("2020", periods=6, freq="D"),
    "durations": pd.to_timedelta(range(6), unit="s"),
    "of many types": pd.Index([1, "a", 2.5, (1, 2), None, "1"], dtype=object),
    "a range from 10": pd.RangeIndex(10, 16),
    "a range backwards": pd.RangeIndex(5, -1, -1),
}


def frame(values, index):
    return pd.DataFrame(values, index=index)


def array(values, index):
    if isinstance(index, pd.MultiIndex):
        index = xr.Coordinates.from_pandas_multiindex(index, "example")
        return xr.DataArray(values, dims=("example", "feature"), coords=index)
    return xr.DataArray(values, dims=("example", "feature"), coords={"example": index})


def lazy(values, index):
    da = pytest.importorskip("dask.array")
    return array(da.from_array(values, chunks=(4, 3)), index)


MAKERS = {"pandas": frame, "xarray": array, "xarray and Dask": lazy}


def complaint(*arguments, **options):
    with pytest.raises(InvalidArrayError) as caught:
        simkit.compare(*arguments, **options)
    return str(caught.value)


def follow(remedy, **space):
    """Run what a message says to do; several statements are joined by words."""
    for statement in re.split(r" and then | and (?=[\w.]+ = )", remedy):
        exec(statement, {"numpy": np}, space)
    return space


def remedies(message):
    """The two that a message names."""
    align, drop = re.search(r"Either (?:.*?, )?(\S+(?:, \S+)? = .*?); or, if .* drop the labels, (.*)\.$", message).groups()
    return align, drop


# --- labels that differ -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", MAKERS)
@pytest.mark.parametrize("first", MAKERS)
@pytest.mark.parametrize("labels", INDEXES)
def test_shuffled_rows_are_an_error_and_both_remedies_work(labels, first, second):
    if (first == "xarray and Dask") != (second == "xarray and Dask"):
        pytest.skip("two frameworks, which is another error")
    index = INDEXES[labels]
    x, y = MAKERS[first](X, index), MAKERS[second](X[SHUFFLE], index[SHUFFLE])
    assert float(simkit.compare(x, MAKERS[second](X, index))) == pytest.approx(1)
    message = complaint(x, y)
    assert "X and Y differ, first at position 1: " in message
    align, drop = remedies(message)
    aligned = follow(align, X=x, Y=y)
    assert float(simkit.compare(aligned["X"], aligned["Y"])) == pytest.approx(1)
    dropped = follow(drop, X=x, Y=y)
    assert float(simkit.compare(dropped["X"], dropped["Y"])) == pytest.approx(float(simkit.compare(X, X[SHUFFLE])))


@pytest.mark.parametrize("index", ["cka", "cca", "rsa", "procrustes", "mutual_knn(k=2)"])
def test_a_frame_and_itself_shuffled(index):
    x, _ = pair(40, 3, 2)
    for labels in (None, [f"image {i}" for i in range(40)]):
        whole = pd.DataFrame(x, index=labels)
        shuffled = whole.sample(frac=1, random_state=0)
        same = pytest.approx(float(simkit.compare(x, x, index)), abs=1e-7)
        for first, second in ((whole, shuffled), (shuffled, whole)):
            align, _ = remedies(complaint(first, second, index))
            assert align == "Y = Y.loc[X.index]"
            assert float(simkit.compare(first, second.loc[first.index], index)) == same


@pytest.mark.parametrize("kind", MAKERS)
def test_other_examples(kind):
    x, y = MAKERS[kind](X[1:], list("bcdef")), MAKERS[kind](X[::-1].copy(), list("gedcba"))  # of different lengths as well
    message = complaint(x, y)
    assert "differ, first at position 0: 'b' and 'g'" in message
    assert "keep the 4 examples that both have" in message
    common = follow(remedies(message)[0], X=x, Y=y)
    np.testing.assert_array_equal(common["X"], X[1:5])
    np.testing.assert_array_equal(common["Y"], X[1:5])
    assert float(simkit.compare(common["X"], common["Y"])) == pytest.approx(1)


def test_nothing_in_common():
    message = complaint(frame(X, list("abcdef")), frame(X, list("ghijkl")))
    assert "they have none in common" in message
    assert message.endswith("drop the labels, Y = Y.to_numpy().")


@pytest.mark.parametrize("kind", ["pandas", "xarray"])
def test_numbers_and_strings(kind):
    x, y = MAKERS[kind](X, [1, 2, 3, 4, 5, 6]), MAKERS[kind](X, list("123456"))
    message = complaint(x, y)
    assert "first at position 0: 1 and '1'" in message
    assert "make the labels of one type" in message
    align, _ = remedies(message)
    fixed = follow(align, X=x, Y=y)
    assert float(simkit.compare(fixed["X"], fixed["Y"])) == pytest.approx(1)


def test_equal_labels_of_different_dtypes():
    same = [
        (pd.Index([1, 2, 3, 4, 5, 6]), pd.Index([1.0, 2, 3, 4, 5, 6])),
        (pd.Index(list("abcdef")), pd.CategoricalIndex(list("abcdef"))),
        (pd.Index(list("abcdef"), dtype=object), np.array(list("abcdef"))),
        (pd.date_range("2020", periods=6, unit="s"), pd.date_range("2020", periods=6, unit="ns")),
        (pd.Index([1, 2, 3, 4, 5, None], dtype="Int64"), pd.Index([1, 2, 3, 4, 5, np.nan])),
    ]
    for first, second in same:
        assert float(simkit.compare(frame(X, first), array(X, second))) == pytest.approx(1)


def test_times_with_and_without_a_zone_differ():
    assert "first at position 0" in complaint(
        frame(X, INDEXES["times"]), frame(X, INDEXES["times"].tz_localize("Europe/Berlin"))
    )


def test_dimensions_of_different_names():
    x, y = array(X, list("abcdef")), array(X[SHUFFLE], np.array(list("abcdef"))[SHUFFLE]).rename(example="stimulus")
    align, _ = remedies(complaint(x, y))
    assert float(simkit.compare(x, follow(align, X=x, Y=y)["Y"])) == pytest.approx(1)


def test_coordinates_without_an_index():
    x = array(X, list("abcdef"))
    for first in (x, x.drop_indexes("example")):
        y = x[SHUFFLE].drop_indexes("example")
        align, _ = remedies(complaint(first, y))
        aligned = follow(align, X=first, Y=y)
        assert float(simkit.compare(aligned["X"], aligned["Y"])) == pytest.approx(1)


# --- labels that repeat --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
def test_labels_that_repeat(kind):
    labels = ["a", "b", "a", "c", "d", "e"]
    x = MAKERS[kind](X, labels)
    message = complaint(x, x)
    assert "X repeats the label 'a' at positions 0 and 2" in message
    remedy, drop = re.search(r"every layer, (X = .*); or, if row i .* drop the labels, (X = .*)\.$", message).groups()
    unique = follow(remedy, X=x)["X"]
    assert unique.shape == (5, 3)
    assert float(simkit.compare(unique, unique)) == pytest.approx(1)
    assert float(simkit.compare(follow(drop, X=x)["X"], x)) == pytest.approx(1)
    assert "Y repeats" in complaint(MAKERS[kind](X, list("abcdef")), x)
    plain = X if kind != "xarray and Dask" else x.data
    assert float(simkit.compare(x, plain)) == pytest.approx(1)  # one side: nothing to compare with


def test_two_missing_labels_repeat():
    for missing in (np.nan, None, pd.NA, pd.NaT):
        index = pd.Index([missing, 1, 2, 3, missing, 4], dtype=object)
        assert "at positions 0 and 4" in complaint(frame(X, index), frame(X, index))


# --- no labels, and labels that say nothing ------------------------------------------------------------------------------


def test_what_carries_no_labels():
    torch = pytest.importorskip("torch")
    for x in (X, torch.tensor(X), X.tolist(), xr.DataArray(X), pd.DataFrame(X).to_numpy()):
        assert labels_of(x) is None
    shuffled = frame(X, list("abcdef")).iloc[SHUFFLE]
    for other in (X, X.tolist(), xr.DataArray(X), frame(X, None)):
        assert np.isfinite(float(simkit.compare(shuffled, other)))
        assert np.isfinite(float(simkit.compare(other, shuffled)))


def test_a_default_index_is_a_label_beside_its_own_shuffle_only():
    whole = pd.DataFrame(X)
    assert "2 and 1 (the default index)" in complaint(whole.iloc[SHUFFLE], whole)
    assert float(simkit.compare(whole, whole.iloc[SHUFFLE].sort_index())) == pytest.approx(1)
    some = pd.DataFrame(pair(12, 3, 2)[0]).iloc[[1, 3, 4, 7, 8, 11]]
    assert np.isfinite(float(simkit.compare(whole, some)))  # the rows that a filter left are no shuffle of the others
    assert np.isfinite(float(simkit.compare(whole.iloc[SHUFFLE].reset_index(drop=True), whole)))


# --- ids -----------------------------------------------------------------------------------------------------------------


def test_ids(backend):
    names = [f"image {i}" for i in range(6)]
    x, y = backend.asarray(X), backend.asarray(X[SHUFFLE])
    shuffled = [names[i] for i in SHUFFLE]
    assert float(simkit.compare(x, x, ids=(names, tuple(names)))) == pytest.approx(1)
    assert float(simkit.compare(x, x, ids=(names, None))) == pytest.approx(1)
    assert float(simkit.compare(x, x, ids=(None, None))) == pytest.approx(1)
    message = complaint(x, y, ids=(names, shuffled))
    assert "ids[0] and ids[1] differ, first at position 1: 'image 1' and 'image 2'" in message
    assert "x[numpy.argsort(ids)]" in message
    assert message.endswith("leave out ids.")
    order = np.argsort(shuffled)
    sides = [backend.asarray(X[np.argsort(names)]), backend.asarray(X[SHUFFLE][order])]
    assert float(simkit.compare(*sides, ids=(sorted(names), sorted(shuffled)))) == pytest.approx(1)


def test_sorting_by_ids_works_for_tensors():
    torch = pytest.importorskip("torch")
    ids = torch.tensor([3, 1, 2, 5, 4, 0])
    x, y = torch.tensor(X), torch.tensor(X[SHUFFLE])
    assert "first at position 1: 1 and 2" in complaint(x, y, ids=(ids, ids[SHUFFLE]))
    pairs = [(side[np.argsort(own)], own[np.argsort(own)]) for side, own in ((x, ids), (y, ids[SHUFFLE]))]
    assert float(simkit.compare(pairs[0][0], pairs[1][0], ids=(pairs[0][1], pairs[1][1]))) == pytest.approx(1)


def test_ids_beside_labels():
    names = list("abcdef")
    for kind in ("pandas", "xarray"):
        x = MAKERS[kind](X, names)
        assert float(simkit.compare(x, X, ids=(None, names))) == pytest.approx(1)
        assert float(simkit.compare(x, X, ids=(names, names))) == pytest.approx(1)
        message = complaint(x, X[SHUFFLE], ids=(None, np.array(names)[SHUFFLE]))
        assert "labels of the examples of X and ids[1] differ" in message
        align, drop = remedies(message)
        ids = (None, np.array(names)[SHUFFLE])
        aligned = follow(align, X=x, ids=ids)["X"]
        assert float(simkit.compare(aligned, X[SHUFFLE], ids=ids)) == pytest.approx(1)
        assert np.isfinite(float(simkit.compare(follow(drop, X=x)["X"], X, ids=ids)))
        assert "ids[0] and X differ" in complaint(x, X, ids=(names[::-1], None))  # two opinions on one array


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((), r"ids is a tuple of length 0; expected a pair \(ids of X, ids of Y\)"),
        (list("abcdef"), "ids is a list of length 6; expected a pair"),
        ("ab", "ids is a str of length 2; expected a pair"),
        (7, "ids is a int; expected a pair"),
        (([], []), r"ids\[0\] has 0 labels and X 6 examples; expected one for each"),
        ((list("abcdef"), list("abc")), r"ids\[1\] has 3 labels and Y 6 examples"),
        (("abcdef", None), r"ids\[0\] is a str; expected a sequence of labels"),
        ((None, {"a": 1}), r"ids\[1\] is a dict; expected a sequence"),
        ((None, iter("abcdef")), r"ids\[1\] is a str_?\w*iterator; expected a sequence"),
        ((np.zeros((6, 2)), None), r"ids\[0\] has shape \(6, 2\); expected one label for each example"),
        (([[0]] * 6, [[0]] * 6), "label of an example is a list; expected hashable"),
        (([0] * 6, [0] * 6), r"ids\[0\] repeats the label 0 at positions 0 and 1"),
    ],
)
def test_ids_that_are_none(ids, message):
    with pytest.raises(InvalidArrayError, match=message):
        simkit.compare(X, Y, ids=ids)


def test_ids_keep_their_types():
    assert "1 and '1'" in complaint(X, X, ids=([1, 2, 3, 4, 5, 6], list("123456")))
    pairs = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "b")]
    assert float(simkit.compare(X, frame(X, pd.MultiIndex.from_tuples(pairs)), ids=(pairs, None))) == pytest.approx(1)


# --- everywhere ----------------------------------------------------------------------------------------------------------


def test_pairwise():
    x, y = frame(X, list("abcdef")), frame(X[SHUFFLE], np.array(list("abcdef"))[SHUFFLE])
    with pytest.raises(InvalidArrayError, match=r"A\['p'\] and B\['q'\] differ, first at position 1") as caught:
        simkit.pairwise({"p": x}, {"q": y})
    align, drop = remedies(str(caught.value))
    for remedy in (align, drop):
        space = follow(remedy, A={"p": x}, B={"q": y})
        assert np.isfinite(simkit.pairwise(space["A"], space["B"]).to_numpy()).all()
    with pytest.raises(InvalidArrayError, match=r"A\['first'\] and A\['last'\] differ"):
        simkit.pairwise({"first": x, "plain": X, "last": y})
    with pytest.raises(InvalidArrayError, match=r"A\['1'\] and B\['0'\] differ"):
        simkit.pairwise([X, x], [y])
    simkit.pairwise([x, X], [X, x])
    names = list("abcdef")
    simkit.pairwise([X, Y], [Y], ids=(names, names))
    simkit.pairwise([X, Y], ids=(names, None))
    with pytest.raises(InvalidArrayError, match=r"ids\[0\] and ids\[1\] differ, first at position 0: 'a' and 'f'"):
        simkit.pairwise([X, Y], [Y], ids=(names, names[::-1]))
    with pytest.raises(InvalidArrayError, match="B is None"):
        simkit.pairwise([X, Y], ids=(names, names))
    with pytest.raises(InvalidArrayError, match=r"ids\[0\] has 5 labels and A\['0'\] 6 examples"):
        simkit.pairwise([X, Y], ids=(names[:5], None))


def test_layers_may_come_from_an_iterator():
    rows = simkit.pairwise((x for x in (X, Y)), (x for x in (Y, X))).to_numpy()
    np.testing.assert_array_equal(rows, simkit.pairwise([X, Y], [Y, X]).to_numpy())


def test_streams():
    names = np.array(list("abcdef"))
    stream = simkit.stream("cka")
    x = frame(X, names)
    stream.update(x, x)
    with pytest.raises(InvalidArrayError, match="X and Y differ, first at position 1"):
        stream.update(x, x.iloc[SHUFFLE])
    with pytest.raises(InvalidArrayError, match=r"ids\[0\] and ids\[1\] differ"):
        stream.update(X, X, ids=(names, names[::-1]))
    assert stream.n == 6
    stream.update(X + 1, X + 1, ids=(names, names))
    assert stream.n == 12
    layers = simkit.stream("cka")
    with pytest.raises(InvalidArrayError, match=r"A\['p'\] and A\['q'\] differ"):
        layers.update({"p": x, "q": x.iloc[SHUFFLE]})
    with pytest.raises(InvalidArrayError, match=r"A\['0'\] and B\['0'\] differ"):
        layers.update([x], [x.iloc[SHUFFLE]])
    assert layers.n == 0


def test_other_ways_in():
    x = frame(X, list("abcdef"))
    y = x.iloc[SHUFFLE]
    for call in (
        lambda: simkit.get_index("cka")(x, y),
        lambda: simkit.compare(x, y, "cka(kernel=rbf)", tiles="exact"),
        lambda: simkit.bootstrap(x, y, resamples=100),
        lambda: shared_subspace(x, y),
        lambda: within_class(x, y, [0, 0, 0, 1, 1, 1]),
    ):
        with pytest.raises(InvalidArrayError, match="X and Y differ, first at position 1: 'b' and 'c'"):
            call()
    with pytest.raises(InvalidArrayError, match=r"X\['p'\] and Y\['p'\] differ"):
        within_class({"p": x}, {"p": y}, [0, 0, 0, 1, 1, 1])


def test_dask_inside_xarray_is_not_computed():
    da = pytest.importorskip("dask.array")
    read = []

    def rows(block):
        read.append(block.shape)
        return block

    x = array(da.from_array(X, chunks=(3, 3)).map_blocks(rows, dtype=X.dtype, meta=np.empty((0, 0))), list("abcdef"))
    score = simkit.compare(x, x)
    matrix = simkit.pairwise({"x": x})
    assert not read
    assert float(score) == pytest.approx(float(simkit.compare(X, X)))
    assert float(matrix.values[0, 0]) == pytest.approx(1)
    assert sorted(set(read)) == [(3, 3)]
