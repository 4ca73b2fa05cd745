"""Names are data: of layers, files, specs and plugins, in every way out, they are shown and never act."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simkit
from simkit.arrays import warn_caller
from simkit.errors import ConstantInputWarning, InvalidArrayError
from simkit.io import write_matrix
from simkit.text import printable, shortened, shown

pytest.importorskip("typer")
pytest.importorskip("rich")

HOSTILE = {
    "markup": "net[conv]",
    "closing markup": "layer[/foo]",
    "markup of a style": "[bold red]x[/]",
    "link": "[link=https://example.org]x[/link]",
    "emoji code": ":skull:",
    "trailing backslash": "x\\",
    "colour": "a\x1b[31mred",
    "title of the terminal": "a\x1b]0;owned\x07",
    "link of the terminal": "\x1b]8;;https://example.org\x1b\\x\x1b]8;;\x1b\\",
    "C1": "a\x9b31mred",
    "carriage return": "good\rbad",
    "newline": "a\nsimkit: warning: b",
    "backspace": "abc\b\b\bxyz",
    "tab": "a\tb",
    "bidi": "abc\u202egpj.exe",
    "isolate": "a\u2066b\u2069",
    "zero width": "con\u200bv",
    "line separator": "a\u2028b",
    "surrogate of a file name": "caf\udce9",
    "lone surrogate": "\ud800",
    "private use": "\ue000",
    "mathematics": "$x_1$",
    "unbalanced dollar": "cost$",
    "bad mathematics": r"$\frac{$",
    "tag": "<script>alert(1)</script>",
    "attribute": "\"' onload=x",
    "formula": "=cmd|'/c calc'!A1",
    "percent": "%s %(x)s {0}",
    "NUL": "a\0b",
    "empty": "",
    "blank": "   ",
    "long": "l" * 10_000,
    "wide": "层" * 30,
    "emoji": "😀",
    "looks escaped": "a\\x1b[31m",
}
# What acts on a terminal, or reorders or hides what stands there; and half characters.
ACTS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]")

by_name = pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)


@pytest.fixture
def run(capsys, monkeypatch):
    """The command line in this process: the exit code, what it printed, and its errors and warnings."""
    from simkit.cli.app import run

    def call(*arguments):
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert not ACTS.search(out)
        assert not ACTS.search(err)
        out.encode(), err.encode()
        return code, out, err

    return call


def layers(*names, n=12):
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal((n, 3)) for name in names}


def saved(path, arrays):
    """An .npz with names as they are; zip files hold no half characters."""
    try:
        np.savez(path, allow_pickle=False, **arrays)
    except (UnicodeEncodeError, ValueError):
        pytest.skip("no file can hold this name")
    with np.load(path) as found:
        if set(found.files) != set(arrays):
            pytest.skip("no file can hold this name")
    return path


# --- text -----------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(), max_size=30))
def test_printable_text_is_printable(text):
    assert printable(text).isprintable()
    printable(text).encode()
    assert printable(text.replace("\n", ""), keep="\n") == printable(text.replace("\n", ""))


@given(st.text(max_size=30))
def test_text_may_be_made_printable_again(text):
    """A message with a path in it is made printable, and so is the line that the message stands in."""
    assert printable(printable(text)) == printable(text)


def test_shortened_text_keeps_both_ends():
    assert shortened("layer") == "layer"
    assert shortened("a" * 50 + "b" * 50, 11) == "aaaa...bbbb"
    assert len(shortened("x" * 10_000)) == 60


class Unwritable:
    def __repr__(self):
        raise RuntimeError("no")


def test_any_value_can_be_shown():
    for value in (10**5000, Unwritable(), "x" * 10**6, list(range(10**5)), "\ud800", b"\x1b", np.zeros(3)):
        assert len(shown(value)) <= 102
        assert shown(value).isprintable()


# --- the command line -----------------------------------------------------------------------------------------------------


@by_name
def test_tables_and_json(run, tmp_path, name):
    path = saved(tmp_path / "a.npz", layers(name, "other"))
    code, out, err = run("compare", path, "--index", "cka(estimator=unbiased)")
    assert (code, err) == (0, "")
    expected = printable(name).strip()  # whole, in a pipe
    assert expected in re.sub(r" *\n", "\n", out)
    code, out, _ = run("compare", path, "--json")
    assert code == 0
    assert json.loads(out)["rows"] == [name, "other"]


@by_name
def test_errors_and_warnings(run, tmp_path, name):
    path = saved(tmp_path / "a.npz", {name: layers("x")["x"], "short": layers("x", n=5)["x"]})
    for command in (("compare", path), ("test", path, path), ("sanity", path, path)):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        assert len(err.splitlines()) == 1
        assert len(err) < 4000
    path = saved(tmp_path / "b.npz", {name: np.ones((12, 3)), "good": layers("good")["good"]})
    code, _, err = run("compare", path)
    assert code == 0
    assert "constant" in err
    assert len(err.splitlines()) == 1


def test_analyses(run, tmp_path):
    pytest.importorskip("matplotlib")
    names = [name for name in HOSTILE.values() if not re.search("[\0\ud800-\udfff]", name)]
    path, drawn = tmp_path / "a.npz", tmp_path / "drawn.npz"
    np.savez(path, allow_pickle=False, **layers(*names))
    np.savez(drawn, allow_pickle=False, **layers(*(HOSTILE[k] for k in ("bad mathematics", "colour", "wide", "long"))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for command, file in (("subspace", drawn), ("sanity", path)):
            code, _, err = run(command, file, file, "--output", tmp_path / f"{command}.png")
            assert (code, err) == (0, "")
            assert (tmp_path / f"{command}.png").stat().st_size > 1000
    code, out, err = run("subspace", path, path, "--output", tmp_path / "s.csv")
    assert (code, err) == (0, "")
    assert all(printable(shortened(name)).strip() in out for name in names)
    with (tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        assert {row["layer"] for row in csv.DictReader(file)} == set(names)
    for name in names:
        code, _, err = run("test", path, path, "--layer", name, "--resamples", 9)
        assert (code, err) == (0, "")


@by_name
def test_paths(run, tmp_path, name):
    if not name or "/" in name or "\0" in name or len(name) > 200:
        pytest.skip("no file can have this name")
    try:
        np.save(tmp_path / f"{name}.npy", layers("x")["x"])
    except (OSError, UnicodeEncodeError):
        pytest.skip("no file can have this name")
    path = tmp_path / f"{name}.npy"
    matrix = tmp_path / "layers.npz"
    np.savez(matrix, **layers("p", "q"))
    assert run("compare", path, path)[0] == 0
    assert run("compare", path)[0] == 2
    code, out, _ = run("compare", path, matrix, "--output", tmp_path / f"{name}.csv")
    assert code == 0
    assert printable(name) in out
    assert run("compare", path, matrix, "--output", tmp_path / f"{name}.csv")[0] == 2  # it exists
    code, _, err = run("compare", tmp_path / f"{name}.absent.npy", path)
    assert code == 2
    assert len(err.splitlines()) == 1
    code, _, err = run("compare", path, path, "--index", name)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert run("plugins", "--", name)[0] == 2
    assert run("new-plugin", "--kind", "kernel", "--", name)[0] == 2


@by_name
def test_arguments(run, name):
    """Where no file of that name could be."""
    for command in (["compare", name], ["compare", "--index", name, "x.npy"], [name], ["plugins", name], ["indexes", name]):
        if command == [""]:
            continue
        code, _, err = run(*command)
        assert code in (0, 2) if "plugins" in command else code == 2
        assert len(err.splitlines()) <= 1


@by_name
def test_what_plugins_say(run, name, monkeypatch):
    from simkit import discovery

    class Point:
        value = f"module{name}:Class"
        dist = None

        def load(self):
            raise RuntimeError(name)

    entry = discovery.Entry("kernel", name or "x", Point(), f"dist{name}", f"1{name}")
    monkeypatch.setattr(discovery, "installed", lambda kind: {entry.name: (entry,)} if kind == "kernel" else {})
    for command in ("kernels", "plugins"):
        code, out, err = run(command)
        assert (code, err) == (0, "")
        assert "broken:" in out
    code, out, _ = run("plugins", "--json")
    assert f"dist{name}" in [row["distribution"] for row in json.loads(out)["entries"]]
    assert run("plugins", "--check")[0] == 1


def test_names_are_told_apart_in_tables(run, tmp_path):
    long = ["l" * 5000 + "1", "l" * 5000 + "2"]
    saved(tmp_path / "a.npz", layers(*long))
    out = run("compare", tmp_path / "a.npz")[1]
    rows = [line.split()[0] for line in out.splitlines() if re.search(r"\d\.\d{6}$", line) and line.startswith("l")]
    assert rows == long  # whole, since nothing that goes into a pipe is hidden


def test_an_encoding_that_lacks_characters(monkeypatch, tmp_path):
    from simkit.cli.app import run

    saved(tmp_path / "a.npz", layers("λ", "😀"))
    for arguments in (["compare", str(tmp_path / "a.npz")], ["indexes"], ["kernels"], ["plugins"], ["--help"], ["λ"]):
        raw = [io.BytesIO(), io.BytesIO()]
        out, err = (io.TextIOWrapper(stream, encoding="ascii", write_through=True) for stream in raw)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            assert run(arguments) == (2 if arguments == ["λ"] else 0)
        assert raw[0].getvalue() or raw[1].getvalue()


# --- Python ---------------------------------------------------------------------------------------------------------------


class Text(HTMLParser):
    """The tags of a page and the text of its cells."""

    def __init__(self):
        super().__init__()
        self.tags, self.cells = set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.cells.append("")

    def handle_data(self, data):
        self.cells[-1] += data


@by_name
def test_matrices(name, tmp_path):
    matrix = simkit.pairwise(layers(name, "other"))
    page = matrix._repr_html_()
    assert not ACTS.search(page.replace("\n", ""))
    read = Text()
    read.feed(page)
    assert read.tags == {"table", "caption", "br", "span", "thead", "tr", "th", "tbody", "td"}
    assert read.cells.count(shortened(printable(name or "''"), 40)) >= 2
    hostile = simkit.SimilarityMatrix(matrix.values, matrix.rows, matrix.columns, name, 12)
    assert not ACTS.search(repr(hostile) + hostile._repr_html_() + str(hostile).replace("\n", ""))

    write_matrix(matrix, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text())["columns"] == [name, "other"]
    write_matrix(matrix, tmp_path / "m.csv")
    if not re.search("[\ud800-\udfff]", name):  # which no encoding of text has
        with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
            assert [row[0] for row in csv.reader(file)] == ["", name, "other"]
    matrix.save(tmp_path / "m.npz")
    assert simkit.SimilarityMatrix.load(tmp_path / "m.npz").rows == (name, "other")


@by_name
def test_heatmaps(name, tmp_path):
    pytest.importorskip("matplotlib")
    matrix = simkit.SimilarityMatrix(np.eye(2), (name, "other"), (name, "x"), name, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_matrix(matrix, tmp_path / "m.png")
    text = matrix.plot().get_yticklabels()[0].get_text().replace("\\$", "$")
    name = name or "''"  # nothing would be nothing to see
    assert text == shortened(re.sub("[层\ue000]", lambda c: f"\\u{ord(c[0]):04x}", printable(shortened(name, 40))), 40)


@by_name
def test_messages(name):
    with pytest.raises(InvalidArrayError) as caught:
        simkit.pairwise({name: np.zeros((4, 2)), "short": np.zeros((3, 2))})
    assert not ACTS.search(str(caught.value))
    with pytest.warns(ConstantInputWarning) as told:
        simkit.pairwise({name: np.ones((9, 2)), "good": layers("x", n=9)["x"]})
    assert not ACTS.search(str(told[0].message))
    with pytest.warns(ConstantInputWarning) as told:
        warn_caller(f"{name} is constant.")
    assert not ACTS.search(str(told[0].message))
    with pytest.raises(KeyError) as missing:
        simkit.pairwise(layers(name))["absent", 0]
    assert not ACTS.search(str(missing.value))


@by_name
def test_progress_bars(name, monkeypatch):
    from simkit.progress import track

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)) * 10)
    with track(2, name, show=True) as advance:
        advance()
        advance()
    written = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]", "", terminal.getvalue())  # Rich's own
    assert not ACTS.search(written)
