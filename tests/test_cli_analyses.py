"""`simkit sanity`, `simkit subspace` and `simkit test` as a user meets them."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

import simkit
from simkit.analysis import layer_accuracy, shared_subspace

pytest.importorskip("typer")
from simkit.cli.app import run


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["simkit", *map(str, arguments)])
        found = run()
        captured = capsys.readouterr()
        assert found == code, captured.err
        if code:
            assert captured.err.count("\n") == 1
        return captured.out if code == 0 else captured.err

    return call


@pytest.fixture
def networks(tmp_path):
    rng = np.random.default_rng(0)
    shared = {"a": rng.standard_normal((40, 4)), "b": rng.standard_normal((40, 5)), "c": rng.standard_normal((40, 3))}
    found = [{name: x + 0.5 * rng.standard_normal(x.shape) for name, x in shared.items()} for _ in range(3)]
    for i, network in enumerate(found):
        np.savez(tmp_path / f"n{i}.npz", **network)
    np.save(tmp_path / "x.npy", found[0]["a"])
    np.save(tmp_path / "y.npy", found[1]["a"])
    np.save(tmp_path / "groups.npy", np.repeat(np.arange(10), 4))
    return found


def test_sanity(call, networks, tmp_path):
    out = call("sanity", "n0.npz", "n1.npz", "n2.npz", "-i", "cka", "-i", "linear_regression", "--symmetrise")
    assert "3 networks, n = 40, by chance 33.3%" in out
    records = json.loads(
        call("sanity", "n0.npz", "n1.npz", "n2.npz", "-i", "cka", "-i", "cca", "--json", "--output", "found.csv")
    )
    for record, spec in zip(records, ("cka", "cca"), strict=True):
        expected = layer_accuracy(networks, spec)
        assert record["accuracy"] == expected.accuracy
        assert record["standard_error"] == expected.standard_error
        assert record["by_layer"] == expected.by_layer
    assert records[0]["p"] is None
    assert 0 <= records[1]["p"] <= 1
    lines = list(csv.DictReader((tmp_path / "found.csv").open(encoding="utf-8")))
    assert [line["index"] for line in lines] == ["cka", "cca"]
    assert float(lines[0]["a"]) == records[0]["by_layer"]["a"]


def test_sanity_of_two_networks_has_no_standard_error(call, networks):
    (record,) = json.loads(call("sanity", "n0.npz", "n1.npz", "--json"))
    assert record["standard_error"] is None
    assert "found" in call("sanity", "n0.npz", "n1.npz")


def test_sanity_draws_and_complains(call, networks, tmp_path):
    pytest.importorskip("matplotlib")
    call("sanity", "n0.npz", "n1.npz", "n2.npz", "-o", "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    assert "found.png exists" in call("sanity", "n0.npz", "n1.npz", "-o", "found.png", code=2)
    assert "at least two networks; got 1" in call("sanity", "n0.npz", code=2)
    assert "expected .csv, .json, .png" in call("sanity", "n0.npz", "n1.npz", "-o", "found.txt", code=2)
    assert "No index is called 'ckaa'" in call("sanity", "n0.npz", "n1.npz", "-i", "ckaa", code=2)


def test_subspace(call, networks, tmp_path):
    records = json.loads(call("subspace", "n0.npz", "n1.npz", "--json", "-o", "s.csv"))
    assert [record["layer"] for record in records] == ["a", "b", "c"]
    expected = shared_subspace(networks[0]["b"], networks[1]["b"])
    np.testing.assert_allclose(records[1]["cosines"], expected.cosines)
    assert records[1]["effective_rank"] == pytest.approx(expected.effective_rank)
    lines = list(csv.DictReader((tmp_path / "s.csv").open(encoding="utf-8")))
    assert len(lines) == 4 + 5 + 3
    assert float(lines[4]["scaling"]) == expected.scaling[0]
    assert "effective rank" in call("subspace", "n0.npz", "n1.npz", "--layer", "b")
    (single,) = json.loads(call("subspace", "x.npy", "y.npy", "--json"))
    assert single["cka"] == pytest.approx(float(simkit.compare(networks[0]["a"], networks[1]["a"])))


def test_subspace_draws_and_complains(call, networks, tmp_path):
    pytest.importorskip("matplotlib")
    call("subspace", "n0.npz", "n1.npz", "-l", "a", "-l", "c", "-o", "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert "do not both have the layer 'z'; they share a, b, c" in call("subspace", "n0.npz", "n1.npz", "-l", "z", code=2)
    np.savez(tmp_path / "other.npz", q=np.eye(40))
    assert "no layer of the same name" in call("subspace", "n0.npz", "other.npz", code=2)


def test_permutations(call, networks, tmp_path):
    x, y = networks[0]["a"], networks[1]["a"]
    record = json.loads(call("test", "x.npy", "y.npy", "--resamples", 99, "--seed", 3, "--json", "-o", "t.json"))
    expected = simkit.permutation_test(x, y, "cka", permutations=99, rng=3)
    assert record["score"] == expected.score
    assert record["p_value"] == expected.p_value
    assert record["chance"] == pytest.approx(expected.chance)
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == record
    grouped = json.loads(call("test", "x.npy", "y.npy", "--resamples", 99, "--groups", "groups.npy", "--json"))
    labels = np.repeat(np.arange(10), 4)
    assert grouped["p_value"] == simkit.permutation_test(x, y, "cka", permutations=99, within=labels, rng=0).p_value


def test_bootstrap_and_jackknife(call, networks, tmp_path):
    x, y = networks[0]["b"], networks[1]["b"]
    options = ("--layer", "b", "-i", "cka(estimator=unbiased)", "--json")
    record = json.loads(
        call("test", "n0.npz", "n1.npz", *options, "-m", "bootstrap", "--resamples", 50, "--interval", "percentile")
    )
    expected = simkit.bootstrap(x, y, "cka(estimator=unbiased)", resamples=50, method="percentile", rng=0)
    assert record["interval"] == list(expected.interval)
    assert record["standard_error"] == expected.standard_error
    record = json.loads(call("test", "n0.npz", "n1.npz", *options, "-m", "jackknife", "--groups", "groups.npy"))
    grouped = simkit.jackknife(x, y, "cka(estimator=unbiased)", groups=np.repeat(np.arange(10), 4))
    assert record["standard_error"] == grouped.standard_error
    assert record["groups"] == 10


def test_interval(call, networks):
    x, y = networks[0]["b"], networks[1]["b"]
    files = ("test", "n0.npz", "n1.npz", "--layer", "b", "-m", "interval", "--confidence", 0.9)
    for index, method in (("cka(estimator=unbiased)", "jackknife"), ("rsa", "delete-6 jackknife, 200 subsamples")):
        record = json.loads(call(*files, "-i", index, "--json"))
        expected = simkit.interval(x, y, index, confidence=0.9)
        assert record["interval"] == list(expected.interval)
        assert record["interval_method"] == expected.method == method
        assert record["estimand"] == expected.estimand
        assert str(expected) in call(*files, "-i", index)


def test_test_draws_and_complains(call, networks, tmp_path):
    pytest.importorskip("matplotlib")
    for method in ("permutation", "interval", "bootstrap", "jackknife"):
        call(
            "test", "x.npy", "y.npy", "-m", method, "--resamples", 20, "-o", f"{method}.png", "-i", "cka(estimator=unbiased)"
        )
        assert (tmp_path / f"{method}.png").read_bytes().startswith(b"\x89PNG")
    assert "not one of 'permutation', 'interval', 'bootstrap', 'jackknife'" in call(
        "test", "x.npy", "y.npy", "-m", "magic", code=2
    )
    assert "holds 3 layers; choose one with --layer: a, b, c" in call("test", "n0.npz", "n1.npz", code=2)
    assert "has no layer 'z'" in call("test", "n0.npz", "n1.npz", "-l", "z", code=2)
    assert "x.npy" in call("test", "absent.npy", "x.npy", code=2).replace("absent.npy: no such file", "x.npy")
