"""The command line as a user meets it: most of it in this process, which is quicker."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest

import simkit

pytest.importorskip("typer")
pytest.importorskip("rich")
app = pytest.importorskip("simkit.cli.app")


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments, code=0):
        found = app.run([str(argument) for argument in arguments])
        done = Done(*capsys.readouterr())
        assert found == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def run_alone(tmp_path):
    """In a process of its own."""

    def call(*arguments, code=0, env=None):
        done = subprocess.run(
            [sys.executable, "-c", "from simkit.cli import main; main()", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": "utf-8"} | (env or {}),
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(3)
    a = {"a1": rng.standard_normal((20, 3)), "a2": rng.standard_normal((20, 4))}
    b = {"b1": rng.standard_normal((20, 2)), "b2": a["a2"] * 3, "b3": rng.standard_normal((20, 5))}
    np.savez(tmp_path / "a.npz", **a)
    np.savez(tmp_path / "b.npz", **b)
    np.save(tmp_path / "x.npy", a["a1"])
    np.save(tmp_path / "y.npy", b["b1"])
    return a, b


def test_two_arrays_give_a_number(run, files):
    a, b = files
    expected = simkit.compare(a["a1"], b["b1"], "cca(summary=rho)")
    assert float(run("compare", "x.npy", "y.npy", "--index", "cca(summary=rho)").stdout) == pytest.approx(expected, rel=1e-5)
    record = json.loads(run("compare", "x.npy", "y.npy", "-i", "cca(summary=rho)", "--json").stdout)
    assert record == {"index": "cca(summary=rho)", "n": 20, "value": pytest.approx(expected, rel=1e-12)}


def test_two_files_give_a_matrix(run, files, tmp_path):
    a, b = files
    expected = simkit.pairwise(a, b)
    done = run("compare", "a.npz", "b.npz", "--output", "m.csv")
    assert "cka, n = 20" in done.stdout
    assert all(name in done.stdout for name in (*a, *b))
    assert f"{expected['a1', 'b3']:.6f}" in done.stdout
    assert (tmp_path / "m.csv").read_text().startswith(",b1,b2,b3")
    record = json.loads(run("compare", "a.npz", "b.npz", "--json").stdout)
    assert (record["rows"], record["columns"]) == (["a1", "a2"], ["b1", "b2", "b3"])
    np.testing.assert_allclose(record["values"], expected.to_numpy(), rtol=1e-12)


def test_one_file_against_itself(run, files):
    record = json.loads(run("compare", "a.npz", "--json").stdout)
    np.testing.assert_allclose(np.diag(record["values"]), 1, rtol=1e-12)
    assert record["rows"] == record["columns"] == ["a1", "a2"]


def test_a_torch_file_against_a_numpy_file(run, files, tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.from_numpy(files[1]["b1"]), tmp_path / "y.pt")
    assert run("compare", "x.npy", "y.pt").stdout == run("compare", "x.npy", "y.npy").stdout


def test_maps(run, tmp_path):
    maps = np.random.default_rng(0).standard_normal((9, 4, 4, 2))
    np.save(tmp_path / "maps.npy", maps)
    assert "no silent default" in run("compare", "maps.npy", "maps.npy", code=2).stderr
    assert float(run("compare", "maps.npy", "maps.npy", "--examples", "mean:last").stdout) == pytest.approx(1)
    assert float(run("compare", "maps.npy", "maps.npy", "--examples", "flatten").stdout) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compare", "absent.npy", "x.npy"), "absent.npy: no such file"),
        (("compare", "x.npy"), "nothing to compare it with"),
        (("compare", "x.npy", "y.npy", "--index", "ckaa"), "Did you mean cka"),
        (("compare", "x.npy", "y.npy", "--index", "cka(estimater=biased)"), "no parameter 'estimater'"),
        (("compare", "x.npy", "y.npy", "--index", "cka("), "Cannot read the spec"),
        (("compare", "x.npy", "y.npy", "--output", "m.xlsx"), "cannot write .xlsx"),
        (("compare", "x.npy", "short.npy"), "20 and 7 examples"),
        (("compare", "nan.npy", "x.npy"), "nan or inf"),
        (("compare", "x.npy", "y.npy", "--missing", "error"), "--missing is about files that are read in chunks"),
        (("sanity", "x.npy", "y.npy", "--max-bytes", "9"), "more than --max-bytes 9"),
        (("test", "x.npy", "y.npy", "--max-bytes", "9"), "more than --max-bytes 9"),
        (("subspace", "x.npy", "y.npy", "--max-bytes", "9"), "more than --max-bytes 9"),
        (("compare",), "Missing argument 'A'. See simkit compare --help."),
        (("nonsense",), "No such command"),
        (("demo", "--output", "picture.jpg"), "expected .png, .pdf, .svg"),
        (("compare", "x.npy", "y.npy", "--missing", "never"), "not one of 'warn', 'error', 'ignore'"),
        (("test", "x.npy", "y.npy", "--method", "magic"), "not one of 'permutation', 'interval', 'bootstrap', 'jackknife'"),
        (("test", "x.npy", "y.npy", "--interval", "bcaa"), "'bca'"),
        (("new-plugin", "cat", "--kind", "dog"), "'kernel', 'index'"),
        (("new-plugin", "cat"), "See simkit new-plugin --help."),
        (("indexes", "cak"), "Did you mean cka"),
        (("kernels", "rbff"), "Did you mean rbf"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, files, tmp_path, arguments, message):
    np.save(tmp_path / "short.npy", np.eye(7))
    np.save(tmp_path / "nan.npy", np.full((20, 2), np.nan))
    done = run(*arguments, code=2)
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_output_is_not_written_over(run, files, tmp_path):
    (tmp_path / "m.json").write_text("precious")
    assert "--force" in run("compare", "a.npz", "--output", "m.json", code=2).stderr
    assert (tmp_path / "m.json").read_text() == "precious"
    run("compare", "a.npz", "--output", "m.json", "--force")
    assert json.loads((tmp_path / "m.json").read_text())["n"] == 20


def test_constant_input_is_nan_with_a_warning(run, tmp_path, files):
    np.save(tmp_path / "constant.npy", np.ones((20, 2)))
    done = run("compare", "x.npy", "constant.npy")
    assert done.stdout.strip() == "nan"
    assert "warning" in done.stderr
    assert "constant" in done.stderr


def test_table_1(run):
    rows = {row["name"]: row for row in json.loads(run("indexes", "--json").stdout)}
    assert set(map(str, simkit.list_indexes())) <= set(rows)
    # the paper's Table 1: invertible linear, orthogonal, isotropic scaling
    paper = {
        "linear_regression": ("Y", "yes", "yes"),
        "cca": ("yes", "yes", "yes"),
        "svcca": ("no", "yes", "yes"),  # "if same subspace kept": not in general
        "hsic": ("no", "yes", "no"),
        "cka": ("no", "yes", "yes"),
    }
    for name, expected in paper.items():
        assert tuple(rows[name][key] for key in ("invertible_linear", "orthogonal", "isotropic_scaling")) == expected, name
    text = run("indexes").stdout
    assert "✓" in text
    assert "Y only" in text
    assert "simkit-similarity" in text


def test_kernels(run):
    rows = json.loads(run("kernels", "--json").stdout)
    assert {row["name"] for row in rows} >= {"linear", "rbf", "polynomial", "laplacian", "cosine"}
    assert "exp(-|x - y|^2 / (2 sigma^2))" in " ".join(run("kernels").stdout.split()) or "rbf" in run("kernels").stdout


def test_demo(run, tmp_path, monkeypatch):
    """With indexes computed once, which takes seconds."""
    module = importlib.import_module("simkit.cli.demo")
    results = {}

    def once(networks, spec, compute=module.layer_accuracy):
        if spec not in results:
            results[spec] = compute(networks, spec)
        return results[spec]

    monkeypatch.setattr(module, "layer_accuracy", once)
    slow = ("soft_match", "semi_match", "bipartite_match", "maximum_match", "ridge_predictivity", "pwcca", "svcca", "gulp")
    monkeypatch.setattr(module, "left_out", lambda: dict.fromkeys(slow, "tests are to be quick"))
    text = run("demo").stdout
    assert "cka" in text
    assert "soft_match is left out: tests are to be quick" in text
    assert "simkit-demo.png" in text
    picture = tmp_path / "simkit-demo.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.write_bytes(b"")
    run("demo")  # its own picture is drawn again
    assert picture.stat().st_size > 0
    (tmp_path / "precious.png").write_text("precious")
    assert "--force" in run("demo", "--output", "precious.png", code=2).stderr
    assert (tmp_path / "precious.png").read_text() == "precious"
    record = json.loads(run("demo", "--output", "other.svg", "--json").stdout)
    assert record["accuracy"]["cka"] > 0.8 > 0.3 > record["accuracy"]["cca"]
    assert record["failed"] == {}
    assert (tmp_path / "other.svg").read_text().startswith("<?xml")


def test_version(run_alone):
    assert run_alone("--version").stdout.strip() == f"simkit {simkit.__version__}"


def test_without_typer(run_alone, tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')")
    done = run_alone("demo", code=2, env={"PYTHONPATH": str(tmp_path)})
    assert 'pip install "simkit-similarity[cli]"' in done.stderr
