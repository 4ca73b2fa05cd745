"""`simkit compare` on a terminal, and what `simkit indexes` and `simkit kernels` tell."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest

import simkit

console = pytest.importorskip("simkit.cli.console")
app = pytest.importorskip("simkit.cli.app")
listing = pytest.importorskip("simkit.cli.listing")
details = pytest.importorskip("simkit.cli.details")
table = pytest.importorskip("simkit.cli.matrix_table")

cell_len = pytest.importorskip("rich.cells").cell_len
Text = pytest.importorskip("rich.text").Text


def terminal(width, **options):
    return console.PlainConsole(file=io.StringIO(), width=width, force_terminal=True, **({"color_system": "256"} | options))


def printed(on, plain=True):
    text = on.file.getvalue()
    return Text.from_ansi(text).plain if plain else text


@pytest.fixture(scope="module")
def matrix():
    return simkit.pairwise(simkit.demo.load(0), simkit.demo.load(1), "cka")


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_demo_on_a_terminal(matrix, width):
    on = terminal(width)
    table.print_matrix(matrix, ("a.npz", "b.npz"), on=on)
    text = printed(on)
    assert max(map(cell_len, text.splitlines())) <= width
    assert all(name in text for name in matrix.rows)
    assert text.count(".") >= 100
    assert "rows: a.npz, columns: b.npz" in text
    assert "\x1b[" in printed(on, plain=False)


def test_colours_only_where_there_are_many(matrix):
    def backgrounds(**options):
        on = terminal(80, **options)
        table.print_matrix(matrix, on=on)
        return printed(on, plain=False).count(";48;")

    assert backgrounds() == 100
    assert backgrounds(color_system="truecolor") == 100
    assert backgrounds(color_system="standard") == 0
    assert backgrounds(no_color=True) == 0


def test_bright_is_alike_for_distances_too():
    values = np.array([[0.0, 0.9], [0.9, 0.0]])
    pieces = {}
    for spec, near in (("cka", 1.0), ("procrustes(summary=distance)", 0.0)):
        made = simkit.SimilarityMatrix(values if near == 0 else 1 - values, ("a", "b"), ("x", "y"), spec, 9)
        on = terminal(80, color_system="truecolor")
        table.print_matrix(made, ("a", "b"), on=on)
        best = [line for line in printed(on, plain=False).splitlines() if line.startswith(("a", "b"))]
        pieces[spec] = ["252;253;191" in line for line in best]  # the brightest of the scale
        assert all("\x1b[1;" in line for line in best)
    assert pieces["cka"] == pieces["procrustes(summary=distance)"] == [True, True]


def test_scores_tie_as_they_do_in_the_matrix():
    """In their own precision: the two differ by one eps of float32."""
    values = np.array([[0.5, 0.5, 0.1]], dtype=np.float32)
    values[0, 1] += np.float32(2.0**-24)
    made = simkit.SimilarityMatrix(values, ("a",), ("x", "y", "z"), "cka", 9)
    on = terminal(80, color_system="truecolor")
    table.print_matrix(made, ("a", "b"), on=on)
    (line,) = [line for line in printed(on, plain=False).splitlines() if line.startswith("a")]
    assert line.count("\x1b[1;") == len(made.best_matches()) == 2


def test_a_network_with_itself_is_not_told_that_layers_are_like_themselves():
    layers = {f"l{i}": np.random.default_rng(i).standard_normal((9, 2)) for i in range(150)}
    on = terminal(80)
    table.print_matrix(simkit.pairwise(layers), on=on)
    text = printed(on)
    assert "the best match of each row, other than itself; all 22500 scores: --output m.csv" in " ".join(text.split())
    assert not any(line.split()[0] == line.split()[-1] for line in text.splitlines() if line.startswith("l"))


def test_chance_is_told():
    values, chance = np.array([[0.9, 0.2]]), np.array([[0.12, 0.8]])
    made = simkit.SimilarityMatrix(values, ("a",), ("x", "y"), "cka", 9, chance=chance)
    on = terminal(80)
    table.print_matrix(made, on=on)
    assert "chance: .120 to .800 (what unrelated layers score on average)" in printed(on)


def test_a_pipe_gets_everything(matrix):
    on = console.PlainConsole(file=io.StringIO(), width=40)
    table.print_matrix(matrix, on=on)
    head, names, *lines = on.file.getvalue().splitlines()[:12]
    assert head == "cka, n = 200"
    assert names.split() == list(matrix.columns)
    assert "\x1b" not in on.file.getvalue()
    for row, line in zip(matrix.rows, lines, strict=True):
        name, *values = line.split()
        assert name == row
        np.testing.assert_allclose(list(map(float, values)), [matrix[row, c] for c in matrix.columns], atol=5e-7)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 250])
@pytest.mark.parametrize("kind", ["indexes", "kernels"])
def test_lists_cut_no_name(monkeypatch, width, kind):
    on = terminal(width)
    for module in (listing, console, details):
        monkeypatch.setattr(module, "console", on)
    assert app.run([kind]) == 0
    text = printed(on)
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width
    names = simkit.list_indexes() if kind == "indexes" else simkit.list_kernels()
    for name in names:
        assert any(line.lstrip("│ ").startswith(f"{name} ") for line in lines), name
    assert "…" not in text
    assert ("Left out:" in text) == (width < 200)


@pytest.mark.parametrize("name", simkit.list_indexes())
def test_everything_about_an_index(capsys, name):
    assert app.run(["indexes", name, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    made = simkit.get_index(name)
    assert record["summary"]
    assert record["references"]
    assert record["distribution"]
    fields = [field.name for field in dataclasses.fields(made) if field.init]
    assert [parameter["name"] for parameter in record["parameters"]] == fields
    for parameter in record["parameters"]:
        assert parameter["text"] or parameter["type"], f"{parameter['name']} is not described"
        if parameter["choices"]:
            assert parameter["default"] in parameter["choices"]
            for choice in parameter["choices"]:
                simkit.get_index(name, **{parameter["name"]: choice})


@pytest.mark.parametrize("name", simkit.list_kernels())
def test_everything_about_a_kernel(capsys, name):
    assert app.run(["kernels", name, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["spec"] == str(simkit.get_kernel(name))
    assert all(parameter["text"] or parameter["type"] for parameter in record["parameters"])


def test_cka_in_words(monkeypatch):
    on = terminal(80)
    for module in (listing, console, details):
        monkeypatch.setattr(module, "console", on)
    assert app.run(["indexes", "cka(kernel=rbf(fraction=0.4))"]) == 0
    text = printed(on)
    assert max(map(cell_len, text.splitlines())) <= 80
    for told in (
        "cka(kernel=rbf(fraction=0.4))",
        "CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))",
        "(equation 4)",
        "kernel: default linear",
        "estimator: default biased; one of biased, unbiased, lange, minibatch",
        "laplacian, linear",
        "range: 0 to 1",
        "Kornblith et al. 2019, equation 4",
        "simkit-similarity",
    ):
        assert told in " ".join(text.split()), told
    assert "``" not in text


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_pictures_are_the_same_each_time(tmp_path, suffix):
    pytest.importorskip("matplotlib")
    made = simkit.SimilarityMatrix(np.array([[0.25]]), ("conv1",), ("b",), "cka", 9)
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        simkit.io.write_matrix(made, path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"Date" not in first
    assert first.startswith({".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix])
    if suffix == ".svg":
        assert b">conv1</text>" in first
