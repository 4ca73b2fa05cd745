"""The plan: which statistic an index is computed from; and that all routes to a score give the same, that of the definition."""

from __future__ import annotations

import itertools

import definitions
import numpy as np
import pytest
from data import pair

import simkit
from simkit import planner
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.planner import Question, plan
from simkit.scoring import scores
from simkit.sides import Sides
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.layers import Layers
from simkit.statistics.values import ValueCheck
from simkit.threads import most_threads

SPECS = [
    "cka",
    "cka(estimator=unbiased)",
    "cka(estimator=minibatch)",
    "cka(kernel=rbf)",
    "hsic(kernel=laplacian)",
    "cca",
    "rsa",
]


class Undeclared(simkit.get_kernel("rbf").__class__):
    """A kernel whose `fit` is its own and says nothing of what it needs."""

    def fit(self, X):
        return super().fit(X)


def questions():
    """All that the choice depends on."""
    undeclared = simkit.indexes.CKA(kernel=Undeclared())
    for index, source, n, width in itertools.product(
        [*map(simkit.get_index, SPECS), undeclared], ("memory", "batches", "chunks"), (100, 5000, 50_000), (20, 3000)
    ):
        for change in ({}, {"lazy": True}, {"whole": True}, {"blocks": True}, {"accelerator": True}):
            yield Question(index, source, None if source == "batches" else n, (width,), (width,), **change)


def test_every_row_of_the_table_is_taken():
    taken, refused, told = set(), set(), []
    for question in questions():
        try:
            found = plan(question)
        except NeedsAllExamplesError as error:
            refused.add((question.source, question.needs))
            told.append((question.index, str(error)))
        else:
            taken.add((found.source, question.needs, found.form, found.reason))
            assert found.bytes >= 0
            assert found.operations is None or found.operations > 0
    assert taken == {(row.source, row.needs, row.form, row.reason) for row in planner._TABLE}
    assert all(str(index) in message or "Undeclared has a fit of its own" in message for index, message in told)
    assert refused >= {("batches", "examples"), ("chunks", "examples"), ("memory", "moments"), ("memory", "examples")}


@pytest.mark.parametrize(("layers", "p"), [(1, 64), (4, 64), (10, 256)])
def test_features_and_gram_matrices_cross_where_they_cost_the_same(layers, p):
    """n L (L + 1) p^2 for the features of L + L layers, n^2 (L p + L^2 / 2 + L) for upper halves of n x n matrices.

    An entry of a Gram matrix takes the time of 15 multiply-adds besides, and a product of two that of 5.
    """
    cka = simkit.get_index("cka")
    for columns, crossing in (
        ((p,) * layers, (layers + 1) * p**2 / (p + 15 + 5 * (layers / 2 + 1))),
        (None, layers * p**2 / (p + 15 + 5 * layers / 2)),
    ):
        below, above = (Question(cka, "memory", int(crossing) + d, (p,) * layers, columns) for d in (-1, 2))
        assert (below.tall, above.tall) == (False, True)
    n = 1000
    question = Question(cka, "memory", n, (p,) * layers, (p,) * layers)
    assert n * question.by_features == n * layers * (layers + 1) * p**2
    assert n**2 * question.by_examples == n**2 * (layers * p + layers**2 / 2 + layers)


@pytest.mark.parametrize("estimator", ["biased", "unbiased", "lange"])
@pytest.mark.parametrize(("n", "p", "q"), [(60, 5, 4), (30, 40, 35)])
def test_all_routes_lead_to_the_definition(estimator, n, p, q):
    X, Y = pair(n, p, q)
    index = simkit.get_index("cka", estimator=estimator)
    expected = definitions.cka(X, Y, estimator=estimator)
    values, layers = ValueCheck.of({"X": X, "Y": Y})
    sides, _ = Sides.of_pair(X, Y)
    found = {f"tall={tall}": scores(index, Layers(values, layers, tall), sides) for tall in (False, True)}
    found["blocks"] = simkit.compare(X, Y, index, tiles="exact")
    stream = simkit.stream(index)
    for part in np.array_split(np.arange(n), 7):
        stream.update(X[part], Y[part])
    found["batches"] = stream.compute()
    if dask := pytest.importorskip("dask.array"):
        found["chunks"] = simkit.compare(*(dask.from_array(x, chunks=(11, 3)) for x in (X, Y)), index).compute()
    for route, score in found.items():
        assert float(score) == pytest.approx(expected, rel=1e-10), route


def test_explain_says_what_will_be_done():
    X, Y = np.zeros((10_000, 512), dtype=np.float32), np.zeros((10_000, 256), dtype=np.float32)
    found = simkit.explain(X, Y)
    assert (found.form, found.statistic) == ("products of features in blocks of rows", KernelSums)
    assert found.bytes < 10e6 * most_threads()  # of one block of rows and its products, for each thread
    assert found.operations == 10_000 * (512 * 256 + 512**2 / 2 + 256**2 / 2)
    text = str(found)
    for part in ("cka\n", "products of features in blocks of rows, from arrays in memory", " MB", "2.9e+09 multiply-adds"):
        assert part in text
    assert simkit.explain({"a": X, "b": Y}, index="cka(kernel=rbf)").form == "Gram matrices in blocks"
    assert simkit.explain(X, Y, "cca", batches=True).form == "a root of the scatter matrix"
    assert simkit.explain(X, Y, "cka", estimator="unbiased", batches=True).options == {"third_order": True}
    assert simkit.explain([X, Y], [Y], "rsa").operations is None


def test_explain_reads_no_value():
    dask = pytest.importorskip("dask.array")

    def fail(block):
        raise AssertionError("computed")

    lazy = dask.ones((5000, 4), chunks=(1000, 4)).map_blocks(fail, dtype=float, meta=np.ones((0, 0)))
    assert simkit.explain(lazy, lazy).form == "second moments"
    assert simkit.explain(lazy, lazy, "cka(kernel=rbf)").form == "tiles of the Gram matrices"
    assert simkit.explain(np.full((5, 3), np.nan), np.ones((5, 2))).form == "products of features"


def test_explain_refuses_what_compare_refuses():
    X = np.ones((10, 3))
    with pytest.raises(NeedsAllExamplesError, match="rsa needs all examples at once"):
        simkit.explain(X, X, "rsa", batches=True)
    with pytest.raises(NeedsAllExamplesError, match=r"kernel rbf.*also those of different"):
        simkit.explain(X, X, "cka(kernel=rbf)", batches=True)
    with pytest.raises(NeedsAllExamplesError, match="cca is not a function of HSIC sums"):
        simkit.explain(X, X, "cca", tiles="exact")
    with pytest.raises(InvalidArrayError, match="expected"):
        simkit.explain(X, X[0])
    with pytest.raises(InvalidArrayError, match="10 and 9 examples"):
        simkit.explain(X, X[:9])
    wide = np.broadcast_to(np.float32(0), (10, 20_000))
    with pytest.raises(InvalidArrayError, match=r"The layers have 40000 features in all.*max_bytes=4294967296") as raised:
        simkit.explain(wide, wide, batches=True)
    with pytest.raises(InvalidArrayError) as streamed:
        simkit.stream("cka").update(wide, wide)
    assert str(raised.value) == str(streamed.value)


def test_a_dask_layer_on_both_sides_counts_once():
    dask = pytest.importorskip("dask.array")
    layers = {name: dask.ones((5000, 40), chunks=(1000, 40)) + k for k, name in enumerate("ab")}
    once, twice = simkit.explain(layers), simkit.explain(layers, dict(layers))
    assert (once.form, once.bytes) == (twice.form, twice.bytes) == ("second moments", 3 * 8 * 80**2)
