"""Reports in HTML: what a page says, that it is safe to open, and, in Chromium, that it can be used."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
from data import watched

import simkit
from simkit.errors import InvalidArrayError
from simkit.page.citation import citations, key_of
from simkit.page.model import page_of
from simkit.report import Entry, of_layers, of_matrices
from simkit.scale.sources.store import DescribedLayers

pytest.importorskip("jinja2")

HOSTILE = (
    "<script>alert(1)</script>",
    '"quoted" onmouseover="alert(1)',
    "</script><img src=x onerror=alert(1)>",
    "line\u2028and\u2029paragraph",
    "half \ud800 character",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b[31mred\u202e",
    "<!--<script>",
    "long " * 2000,
    "",
)


def matrix(values, index="cka", **more):
    values = np.asarray(values, dtype=float)
    rows, columns = (tuple(f"{side}{i}" for i in range(size)) for side, size in zip("ab", values.shape, strict=True))
    return replace(simkit.SimilarityMatrix(values, rows, columns, index, 123), **more)


def layers(seed, n=40, widths=(4, 6, 5), like=None):
    rng = np.random.default_rng(seed)
    made = {f"layer{i}": rng.standard_normal((n, p)) for i, p in enumerate(widths)}
    return made if like is None else {name: x + 2 * like[name] for name, x in made.items()}


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="simkit-data">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(packed):
    return np.frombuffer(base64.b64decode(packed["base64"]), dtype=f"<f{packed['bytes']}")


# --- what it says ---------------------------------------------------------------------------------------------------------


def test_numbers_of_the_page_are_those_of_the_matrix(tmp_path):
    values = [[0.9, 0.1, np.nan], [0.2, 0.4, 0.8]]
    m = matrix(values, chance=np.full((2, 3), 0.25))
    m.report(tmp_path / "out.html", title="A title", labels=("ours", "theirs"))
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    (index,) = data_of(text)["indexes"]
    np.testing.assert_array_equal(unpacked(index["values"]).reshape(2, 3), np.float32(values))
    np.testing.assert_array_equal(unpacked(index["chance"]), np.float32(0.25))
    assert index["best"] == [[0], [2]]
    assert "<h1>A title</h1>" in text
    assert "1 score is undefined" in text
    assert all(part in text for part in ("ours", "theirs", "0.900", "0.250", "123 examples"))
    assert "Layers found in their place" not in text  # 2 x 3


def test_numbers_that_float32_cannot_hold_stay():
    for values in ([[1e300, 1.0]], [[1.0, 2e-300]], [[1e-42, 1.0]], [[np.inf, 1.0]]):
        page = page_of(of_matrices(matrix(values, "hsic")))
        np.testing.assert_array_equal(unpacked(page["data"]["indexes"][0]["values"]), np.ravel(values))


def test_layers_found_in_their_place():
    m = matrix([[0.9, 0.9, 0.1], [0.2, 0.8, 0.3], [0.3, 0.5, 0.4]])
    (section,) = page_of(of_matrices(m))["sections"]
    found = section["figures"][0]
    assert (found["value"], found["note"]) == ("50%", "1.5 of 3 rows; by guessing 33.3%. Columns: 67%")
    assert [match["place"] for match in section["matches"]] == ["same place, one of 2", "same place", "1 earlier"]


def test_of_a_distance_the_smallest_is_the_best():
    (section,) = page_of(of_matrices(matrix([[0.1, 3.0], [2.0, 0.5]], "procrustes(summary=distance)")))["sections"]
    assert section["data"]["best"] == [[0], [1]]
    assert section["data"]["distance"]
    assert "the smaller, the more alike" in section["meaning"]
    assert section["data"]["scale"]["colours"][-1] == [0, 0, 4]  # dark is far apart


def test_an_index_that_is_not_installed_and_rows_of_nan():
    (section,) = page_of(of_matrices(matrix([[np.nan, np.nan], [0.1, 0.2]], "gone")))["sections"]
    assert section["matches"][0]["score"] == "nan"
    assert section["data"]["best"] == [[], [1]]
    assert "not installed" in section["meaning"]
    assert "none: undefined" in of_matrices(matrix([[np.nan]], "gone")).html()


def test_the_order_of_a_turned_matrix_is_told():
    m = matrix([[0.9, 0.1], [0.2, 0.4]], "linear_regression")
    for given, told in ((m, False), (m.T, True), (matrix(np.eye(2)).T, False)):
        (section,) = page_of(of_matrices(given))["sections"]
        assert ("Scores are of (column, row)." in section["meaning"]) == told


def test_a_matrix_of_integers():
    (section,) = page_of(of_matrices(replace(matrix(np.eye(2)), values=np.eye(2, dtype=int))))["sections"]
    assert section["data"]["best"] == [[0], [1]]
    with pytest.raises(InvalidArrayError, match="of SimilarityMatrix, as simkit.pairwise gives it; got ndarray"):
        of_matrices([matrix(np.eye(2)), np.eye(2)])
    with pytest.raises(InvalidArrayError, match="got str"):
        of_matrices({"title": matrix(np.eye(2))})


def test_a_lazy_matrix_is_computed_once():
    pytest.importorskip("dask.array")
    x, seen = watched(layers(1)["layer0"])
    m = simkit.pairwise({"x": x, "y": x**2})
    seen.clear()
    page_of(of_matrices(m))
    assert len(seen) == 1


def test_settings_and_what_is_not_known_is_left_out():
    details = {
        "library": "torch 2.13.0",
        "dtype": "float32",
        "versions": {"numpy": "2.3"},
        "route": "products of features",
        "rows": {"model": "net", "rules": {"a0": "mean", "a1": "flatten"}, "fingerprint": "abc"},
    }
    text = of_matrices(matrix([[0.1, 0.2], [0.3, 0.4]], details=details)).html()
    for part in (
        "torch 2.13.0",
        "numpy 2.3",
        "products of features",
        "Rule: mean",
        "Rule: flatten",
        "abc",
        "Layers of net and B",
    ):
        assert part in text
    assert "Device" not in text
    assert "Intervals" not in text


def test_a_report_is_the_same_each_time():
    m = matrix([[0.5]])
    assert of_matrices(m).html() == of_matrices([Entry(m)]).html()


def test_citations():
    text = citations(["cka", "cka(estimator=unbiased)", "gone"])
    assert text.count("@inproceedings{kornblith2019,") == text.count("@article{cortes2012,") == text.count("@software{") == 1
    assert f"version = {{{simkit.__version__}}}" in text
    own = text.split("@inproceedings")[0]
    assert re.findall(r"author = .*", own) == ["author = {{simkit contributors}},"]  # nobody else
    assert (key_of("Székely et al. 2007"), key_of("Boix-Adsera et al. 2022")) == ("szekely2007", "boixadsera2022")


def test_every_index_of_simkit_has_its_sources_in_full():
    own = [simkit.get_index(name) for name in simkit.list_indexes()]
    for index in (index for index in own if type(index).__module__.startswith("simkit.indexes")):
        assert "@misc" not in citations([str(index)]), index
        assert citations([str(index)]).count("@") == 1 + len(type(index).reference.split(";"))


def test_the_source_of_a_plugin_is_a_note():
    class Index(simkit.Index):
        name = "of_a_plugin"
        reference = "Somebody 1999 {and} more"
        facts = simkit.get_index("cka").facts
        prepare = score = None

    simkit.register_index(Index)
    assert "@misc{somebody1999,\n  note = {Somebody 1999 and more}\n}" in citations(["of_a_plugin"])


# --- of activations -------------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_interval():
    a = layers(1)
    b = layers(2, like=a)
    report = of_layers(a, b, ["cka", "procrustes"], subsamples=5)
    cka, procrustes = report.entries
    expected = simkit.interval(a, b, "cka")
    np.testing.assert_allclose(cka.intervals.low, expected.interval.low, rtol=1e-12)
    one = simkit.interval(a["layer1"], b["layer1"], "procrustes", subsamples=5)
    assert procrustes.intervals.high[1, 1] == pytest.approx(one.interval.high, rel=1e-9)
    assert procrustes.intervals.method == one.method
    assert np.isfinite(procrustes.intervals.low).sum() < 9  # best matches and the diagonal
    np.testing.assert_array_equal(cka.matrix.to_numpy(), simkit.pairwise(a, b).to_numpy())
    text = report.html()
    assert "95 % intervals: jackknife" in text
    assert len(data_of(text)["indexes"][0]["intervals"]) == 9


def test_of_layers_with_themselves_and_without_intervals():
    a = layers(1)
    (entry,) = of_layers(a).entries
    assert np.isnan(np.diagonal(entry.intervals.low)).all()
    assert np.isfinite(entry.intervals.low[0, 1])
    assert "a network with itself" in of_layers(a, intervals=False).html()
    assert of_layers(a, intervals=False).entries[0].intervals is None


def test_warnings_are_given_and_are_on_the_page():
    a = layers(1) | {"flat": np.ones((40, 2))}
    with pytest.warns(simkit.ConstantInputWarning, match="flat"):
        report = of_layers(a, layers(2) | {"other": layers(3)["layer0"]}, subsamples=5)
    text = report.html()
    assert "is constant" in text
    assert 'href="#warnings"' in text
    low = report.entries[0].intervals.low
    assert np.isfinite(low[0, 0])
    assert np.isnan(low[3]).all()


def test_many_pairs_without_a_width_give_one_warning():
    rng = np.random.default_rng(0)
    a, b = ({f"{side}{i}": rng.standard_normal((20, 30)) for i in range(3)} for side in "ab")  # p > n: R2 of 1
    with pytest.warns(simkit.errors.InferenceWarning) as caught:
        report = of_layers(a, b, "linear_regression", subsamples=4)
    told = [str(each.message) for each in caught if issubclass(each.category, simkit.errors.InferenceWarning)]
    assert len(told) == 1
    assert told[0].startswith("linear_regression of A['a0'] and B['b0'] is 1 whatever is left out")
    pairs = int(np.isfinite(report.entries[0].intervals.low).sum())
    assert told[0].endswith(f"So is that of {pairs - 1} more of these pairs.")


def test_layers_are_read_once_and_say_where_they_are_from():
    class Stored(dict):
        read = 0

        def items(self):
            for item in super().items():
                self.read += 1
                yield item

        def __getitem__(self, name):
            raise AssertionError("read again")

    a, b = Stored(layers(1)), layers(2)
    a.details = {"model": "a", "fingerprint": "1"}
    report = of_layers(a, b, ["cka", "procrustes"], intervals=False)
    assert a.read == len(a)
    assert [matrix.details["rows"] for matrix in report.matrices] == [a.details] * 2
    assert "columns" not in report.matrices[0].details
    own = of_layers(a, intervals=False).matrices[0].details
    assert own["rows"] == own["columns"] == a.details


@pytest.fixture
def asked(monkeypatch):
    """What `simkit.scale.dask.compute` is asked for."""
    pytest.importorskip("dask.array")
    from simkit.scale import dask

    real, seen = dask.compute, []

    def compute(*lazy, progress, timeout):
        seen.append({"progress": progress, "timeout": timeout})
        return real(*lazy, progress=False, timeout=timeout)

    monkeypatch.setattr(dask, "compute", compute)
    return seen


def test_how_long_a_cluster_is_waited_for(asked):
    import dask.array as da

    of_layers({name: da.from_array(x) for name, x in layers(1).items()}, timeout=7.0)
    assert [each["timeout"] for each in asked] == [7.0]


@pytest.mark.parametrize("progress", [True, False])
def test_progress_of_a_computation_by_dask_is_shown_or_not(asked, monkeypatch, progress):
    import dask.array as da

    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    of_layers({name: da.from_array(x) for name, x in layers(1).items()}, progress=progress)
    with simkit.set_options(progress=progress):
        of_layers({name: da.from_array(x) for name, x in layers(1).items()})
    assert [each["progress"] for each in asked] == [progress] * 2


def test_what_is_known_of_the_layers_is_on_the_page():
    a, b = (DescribedLayers(layers(seed), {"model": name, "fingerprint": name * 9}) for seed, name in ((1, "x"), (2, "y")))
    with pytest.warns(simkit.errors.DataWarning, match="different inputs") as caught:
        (entry,) = of_layers(a, b, intervals=False).entries
    told = [str(each.message) for each in caught if issubclass(each.category, simkit.errors.DataWarning)]
    assert told == [text for text in entry.warnings if "different inputs" in text]
    assert len(told) == 1
    assert entry.matrix.details["columns"] == {"model": "y", "fingerprint": "y" * 9}
    (entry,) = of_layers(a, intervals=False).entries
    assert entry.matrix.details["rows"] == entry.matrix.details["columns"] == a.details


def test_progress_of_a_computation_by_dask_is_not_shown_without_a_terminal(asked):
    import dask.array as da

    of_layers({name: da.from_array(x) for name, x in layers(1).items()})
    assert [each["progress"] for each in asked] == [False]


def test_of_dask_arrays_there_are_scores():
    da = pytest.importorskip("dask.array")
    a = layers(1)
    chunked = {name: da.from_array(x, chunks=(20, -1)) for name, x in a.items()}
    (entry,) = of_layers(chunked).entries
    np.testing.assert_allclose(entry.matrix.to_numpy(), simkit.pairwise(a).to_numpy(), rtol=1e-10)
    assert entry.intervals is None


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: of_matrices([]), InvalidArrayError, "at least one matrix"),
        (lambda: of_layers(layers(1), indexes=[]), InvalidArrayError, "at least one index"),
        (lambda: of_layers(layers(1), indexes=["cka", "cka()"]), InvalidArrayError, "cka is given twice"),
        (lambda: of_layers(layers(1), confidence=2), simkit.SimkitError, "confidence"),
        (
            lambda: of_matrices([matrix([[1.0]]), matrix([[1.0, 2.0]])]),
            InvalidArrayError,
            "different columns, b0, b1 and b0",
        ),
        (lambda: of_matrices(matrix([[1.0]])).write("page.txt"), ValueError, "not .txt; expected .html"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_files_are_not_written_over(tmp_path):
    path = tmp_path / "out.html"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        matrix([[0.5]]).report(path)
    assert path.read_text() == "mine"
    matrix([[0.5]]).report(path, force=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_without_jinja2_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'pip install "simkit-similarity\[report\]"'):
        matrix([[0.5]]).report(tmp_path / "out.html")


def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("typer")
    from simkit.cli.app import run

    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", **layers(1))
    np.savez("b.npz", **layers(2), extra=np.ones((40, 3, 2)) * np.arange(40)[:, None, None])
    assert (
        run(
            [
                "report",
                "a.npz",
                "b.npz",
                "-i",
                "cka",
                "-i",
                "procrustes",
                "--examples",
                "extra=mean",
                "--no-intervals",
                "-o",
                "r.html",
            ]
        )
        == 0
    )
    assert "Written to r.html" in capsys.readouterr().out
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Layers of a and b" in text
    assert "Rule: mean" in text
    assert hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest() in text
    assert [index["spec"] for index in data_of(text)["indexes"]] == ["cka", "procrustes"]
    assert run(["report", "a.npz", "b.npz", "-o", "r.html"]) == 2
    assert "--force" in capsys.readouterr().err


# --- that it is safe ------------------------------------------------------------------------------------------------------


def hostile():
    values = np.random.default_rng(0).random((len(HOSTILE), len(HOSTILE)))
    names = tuple(HOSTILE)
    details = {"library": HOSTILE[0], "rows": {"model": HOSTILE[2], "rules": {HOSTILE[0]: HOSTILE[1]}}}
    m = simkit.SimilarityMatrix(values, names, names, "cka", 9, details=details)
    return of_matrices(Entry(m, warnings=(HOSTILE[2],)), title=HOSTILE[0])


def test_names_of_strangers_are_text():
    text = hostile().html()
    assert text.count("<script") == text.count("</script>") == 2  # the data and the script of the page
    assert "<img" not in text
    assert "<!--" not in text
    assert not re.search("[\u2028\u2029\u202e\x1b\ud800]", text)
    assert html.escape(HOSTILE[0]) in text
    assert len(text.encode()) < 500_000
    assert data_of(text)["rows"][0][1] == HOSTILE[0]


def test_the_policy_allows_the_style_and_the_script_of_the_page_alone():
    text = hostile().html()
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        part = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        assert base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() in policy
    assert not re.search(r'\b(src|href)="(?!#)', text)
    assert not re.search(r"https?:(?!//www.w3.org/2000/svg)|@import|url\(", text)


# --- in a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a report; fails at its end if the page asked for anything or complained."""
    with contextlib.ExitStack() as stack:
        asked, said = [], []

        def open_(report, width=1280, height=900, **options):
            report.write(tmp_path / "page.html", force=True)
            page = browser.new_page(viewport={"width": width, "height": height}, **options)
            stack.callback(page.close)
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
            page.goto((tmp_path / "page.html").as_uri())
            return page

        yield open_
        assert [url for url in asked if not url.endswith("page.html")] == []
        assert said == []


def two_indexes():
    rng = np.random.default_rng(5)
    first = matrix(rng.random((4, 4)) * 0.5 + 0.5 * np.eye(4), chance=np.full((4, 4), 0.2))
    return of_matrices([first, replace(first, values=5 * rng.random((4, 4)), index="rsm_norm", chance=None)])


def numbers(page):
    return page.inner_text("section.index:not([hidden]) .numbers")


def test_a_click_shows_the_pair(opened):
    report = two_indexes()
    page, m = opened(report), report.matrices[0]
    box = page.locator(".field").first.bounding_box()
    at = box["x"] + box["width"] * 2.5 / 4, box["y"] + box["height"] * 1.5 / 4
    page.mouse.move(*at)
    assert page.inner_text(".tip").startswith("1, 2") or page.inner_text(".tip").startswith("a1, b2")
    page.mouse.click(*at)
    page.mouse.move(0, 0)
    assert f"{m.to_numpy()[1, 2]:.3f}" in numbers(page)
    assert "0.200" in numbers(page)
    assert page.eval_on_selector("select.row", "s => s.value") == "1"
    assert page.inner_text(".said").startswith("a1 and b2: ")


def test_arrow_keys_move_and_are_said(opened):
    report = two_indexes()
    page, m = opened(report), report.matrices[0]
    page.focus(".field")
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    assert f"a1 and b3: {m.to_numpy()[1, 3]:.3f}, chance 0.200" in page.inner_text(".said")
    page.keyboard.press("Enter")
    assert "best match of the row" in page.inner_text(".said")
    page.keyboard.press("PageDown")
    assert page.inner_text(".said").startswith("a3 and ")
    outline = page.eval_on_selector(".field", "f => getComputedStyle(f).outlineStyle")
    assert outline != "none"


def test_the_index_is_switched_and_the_pair_stays(opened):
    report = two_indexes()
    page = opened(report)
    page.select_option("section.index:not([hidden]) select.column", "3")
    page.check('input[name="index"][value="1"]', force=True)
    assert page.locator("section.index:visible").count() == 1
    value = report.matrices[1].to_numpy()[0, 3]
    assert f"{value:.3f}" in numbers(page)
    assert "not computed" in numbers(page)
    assert page.locator("section.index:visible .mini tbody tr").count() == 2
    page.focus('input[name="index"]:checked')
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("section.index:visible h2") == "cka"


def test_tables_are_tables_to_a_screen_reader(opened):
    page = opened(two_indexes())
    page.click("section.index:visible summary")
    page.wait_for_selector("table[data-done]")
    for selector in (".matches", ".all table"):
        tree = page.locator(f"section.index:visible {selector}").aria_snapshot()
        assert re.match(r"- '?table", tree)
        assert "rowheader" in tree
        assert "columnheader" in tree
    assert page.locator(".all tbody td").count() == 16
    assert page.get_by_role("radio").count() == 2
    assert page.get_by_role("application", name=re.compile("Heatmap of cka")).count() == 1


def contrast(page, selector):
    """WCAG's ratio of an element's colour and the first background behind it."""
    colours = page.eval_on_selector(
        selector,
        """(e) => { let b = e; while (b && getComputedStyle(b).backgroundColor === 'rgba(0, 0, 0, 0)') b = b.parentElement;
        return [getComputedStyle(e).color, getComputedStyle(b).backgroundColor].map((c) => c.match(/[\\d.]+/g).slice(0, 3).map(Number)); }""",
    )
    from simkit.display import contrast as ratio

    return ratio(*map(tuple, colours))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_both_schemes(opened, scheme):
    page = opened(
        replace(two_indexes(), entries=tuple(replace(e, warnings=("careful",)) for e in two_indexes().entries)),
        color_scheme=scheme,
    )
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 25)"
    assert dark == (scheme == "dark")
    for selector in (
        ".lead",
        "h1",
        ".alert a",
        ".switch input:checked + span",
        ".meaning",
        ".figures .small",
        ".hint",
        ".matches thead th",
        ".matches td",
        ".settings dt",
        "pre",
        "footer",
        ".copy",
        "summary",
    ):
        assert contrast(page, selector) >= 4.5, selector


def test_on_paper_all_indexes_are_there(opened, tmp_path):
    page = opened(two_indexes(), color_scheme="dark")
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("section.index:visible").count() == 2
    assert [box["width"] > 100 for box in (field.bounding_box() for field in page.locator(".field").all())] == [True, True]
    assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--card').trim()") == "#ffffff"


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (10, 10), (1, 1)])
def test_on_a_telephone_nothing_is_wider_than_the_screen(opened, shape):
    values = np.random.default_rng(1).random(shape)
    names = [tuple(f"encoder.block{i}.attention.output.dense_with_a_long_name" for i in range(size)) for size in shape]
    page = opened(of_matrices(replace(matrix(values), rows=names[0], columns=names[1])), 360, 780)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator(".field").bounding_box()["width"] > (100 if shape[1] > 1 else 20)


def test_200_layers_do_not_freeze_the_page(opened, record_property):
    rng = np.random.default_rng(0)
    m = matrix(rng.random((200, 200)), chance=rng.random((200, 200)))
    begin = time.perf_counter()
    page = opened(of_matrices([m, replace(m, index="rsa")]))
    record_property("seconds to open", round(time.perf_counter() - begin, 2))
    times = page.evaluate(
        """async () => { const f = document.querySelector('.field'), b = f.getBoundingClientRect(), t = performance.now();
        for (let k = 0; k < 100; k++) f.dispatchEvent(new PointerEvent('pointermove', {clientX: b.left + k, clientY: b.top + k}));
        return (performance.now() - t) / 100; }"""
    )
    record_property("milliseconds to show a cell", round(times, 2))
    assert times < 200
    page.click("section.index:visible summary")
    page.wait_for_selector("table[data-done]", timeout=30_000)
    assert page.locator(".all tbody td").count() == 40_000
    assert (page.locator(".field").first.bounding_box() or {})["width"] > 400


def test_hostile_names_do_nothing(opened):
    page = opened(hostile())
    page.focus(".field")
    page.keyboard.press("ArrowDown")
    page.click("summary")
    page.wait_for_selector("table[data-done]")
    assert page.title().startswith("<script>alert(1)</script>")
    assert page.locator("img").count() == 0
    assert page.eval_on_selector("select.row", "s => s.options[0].title") == HOSTILE[0]


def test_without_script_the_tables_are_there(opened):
    page = opened(two_indexes(), java_script_enabled=False)
    assert page.locator("section.index:visible .matches").count() == 2
    assert page.locator("noscript").is_visible()


def test_undefined_scores_are_hatched_and_said(opened):
    page = opened(of_matrices(matrix([[np.nan, 0.5], [-0.3, -np.inf]], "rsa")))
    page.focus(".field")
    page.keyboard.press("Control+Home")
    page.keyboard.press("ArrowDown")
    assert "-0.300" in numbers(page)
    page.keyboard.press("ArrowUp")
    assert "a0 and b0: undefined" in page.inner_text(".said")
    shades = page.evaluate(
        """() => { const c = document.querySelector('.field canvas'), d = c.getContext('2d').getImageData(4, 4, 40, 40).data, s = new Set();
        for (let k = 0; k < d.length; k += 4) s.add(d.slice(k, k + 3).join()); return s.size; }"""
    )
    assert shades > 1
