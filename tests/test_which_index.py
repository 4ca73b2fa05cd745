"""docs/which_index.md shows what is stored, and what is stored comes out again where that takes little."""

from __future__ import annotations

import math

import pytest

import simkit
from benchmarks import precision, results
from benchmarks.which_index import __main__ as command
from benchmarks.which_index import distances, drift, finding, indexes, layers, neurons, synthetic, tables
from simkit.discovery import OWN

STORED = {part: entry["measured"] for part, entry in results.read(results.FOLDER, "which_index").items()}


def test_the_page_has_the_tables_of_today():
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.filled(page) == page, "python -m benchmarks.which_index --draw"
    for lines in tables.tables(results.read(results.FOLDER, "which_index")):
        assert "\n".join(lines) in page, lines[0]
    assert tables.filled(page.replace("0.06", "0.07")) == page


def test_all_indexes_have_been_measured():
    own = {str(name) for name in simkit.list_indexes() if name.distribution == OWN}
    for part in ("finding", "synthetic", "cost"):
        assert own | set(indexes.EXTRA) == set(STORED[part]), part
    assert STORED.keys() == command.PARTS.keys()


@pytest.mark.parametrize(
    "spec", ["cka", "cka(estimator=unbiased)", "cca", "procrustes", "rsa", "linear_regression", "mutual_knn"]
)
def test_made_layers_score_the_same_again(spec):
    for case in synthetic.CASES:
        if case != "unrelated, wide":
            assert synthetic.mean_score(case, spec) == pytest.approx(STORED["synthetic"][spec][case], abs=1e-6), case


def test_trained_layers_score_the_same_again():
    pair = [
        {name: x for name, x in network.items() if name in ("conv7", "conv8", "avgpool")} for network in layers.bundled()
    ]
    assert [x.shape[1] for x in pair[0].values()] == [256, 256, 64]
    found = finding.found("cka(estimator=unbiased)", 50, pair)
    assert found["decisions"] == 6
    assert 0 <= found["share"] <= 1
    assert math.isnan(found["error"])
    measured = drift.measure(quick=True)
    for spec, scores in measured.items():
        assert scores == pytest.approx(STORED["drift"][spec], abs=1e-9)
    for spec, by_units in neurons.measure(quick=True).items():
        for q, entry in by_units.items():
            assert entry == pytest.approx(STORED["neurons"][spec][q], abs=1e-5)
    for name, share in distances.measure(quick=True).items():
        assert share == STORED["distances"][name]


def test_in_small_nothing_is_written(monkeypatch):
    written = []
    monkeypatch.setattr(results, "store", lambda *a: written.append(a))
    monkeypatch.setattr(tables, "write", lambda *a: written.append(a))
    command.main(["--quick", "cost", "synthetic"])
    assert not written
    command.main(["--draw"])
    assert len(written) == 1
    with pytest.raises(SystemExit):
        command.main(["nothing"])


def test_an_index_that_refuses_scores_nan():
    x = layers.bundled(3)[0]["avgpool"]
    assert math.isnan(indexes.score(x, x, "cka(estimator=unbiased)"))  # needs four examples


def test_offsets_cost_digits_of_cosines_alone():
    """As docs/reference/precision.md says; against extended precision."""
    for spec in precision.EXACT:
        assert precision.error_at(spec, "float64", 0.0, (60, 8)) < 1e-11, spec
        error = precision.error_at(spec, "float64", 1e6, (60, 8))
        assert (error > 1e-8) == ("cosine" in spec), (spec, error)
    page = precision.PAGE.read_text(encoding="utf-8")
    for header in ("| index | shape | float64 |", "| index | float64 | float64 + 1e+02 |"):
        assert results.with_table(page, [header]) != page
