"""What the pages under docs/ show is true: their links lead somewhere, and their Python runs."""

from __future__ import annotations

import ast
import re
import runpy
import textwrap
import warnings
from pathlib import Path

import capabilities
import numpy as np
import pytest
from data import pair

import simkit
from simkit.scale.stream import Stream

ROOT = Path(__file__).parents[1]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "CHANGELOG.md", *(ROOT / "benchmarks").glob("*.md")])


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def run(block, space):
    exec(compile(block, "a page", "exec"), space)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#\s]+)[^)]*\)", text):
        assert (page.parent / target).exists(), target
    assert "<!--" not in text  # nothing that was to be filled in


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_can_be_read(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_specs_and_commands_exist(page):
    """Every spec in backticks that looks like an index with parameters can be made."""
    for spec in re.findall(r"`((?:cka|hsic|cca|svcca|pwcca|procrustes|rsa)\([^`)]*\)+)`", page.read_text(encoding="utf-8")):
        if "=k" not in spec:
            simkit.get_index(spec)


def test_where_an_index_runs_is_what_the_indexes_declare():
    page = capabilities.PAGE.read_text(encoding="utf-8")
    assert capabilities.with_table(page) == page, "python tests/capabilities.py writes the table"
    assert capabilities.table() in page


def test_streams(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = pair(200, 6, 5)
    loader = [slice(start, start + 50) for start in range(0, 200, 50)]
    space = {
        "loader": loader,
        "layers_of_a": lambda rows: {"conv1": x[rows], "conv2": x[rows, :3]},
        "layers_of_b": lambda rows: {"conv1": y[rows]},
    }
    first, projected, files, resuming, _ = blocks("streaming.md")
    run(first, space)
    expected = simkit.compare(x, y, "cka", estimator="unbiased")
    assert space["cka"].compute()["conv1", "conv1"] == pytest.approx(float(expected), rel=1e-12)
    run(projected.replace("4096", "4"), {"simkit": simkit})
    space |= {"part_one": space["cka"], "part_two": space["cka"]}
    run(files, space)
    assert space["whole"].n == 400
    (tmp_path / "pass.npz").unlink()
    for some in (3, 4, 6):  # interrupted twice
        space["loader"] = (loader * 2)[:some]
        run(resuming.replace("% 100", "% 2"), space)
    assert space["cka"].n == 300
    expected = simkit.stream("cka")
    for rows in space["loader"]:
        expected.update(space["layers_of_a"](rows), space["layers_of_b"](rows))
    found = Stream.load("pass.npz").compute()
    np.testing.assert_allclose(found.to_numpy(), expected.compute().to_numpy(), rtol=1e-10)


def test_activations():
    (block,) = blocks("activations.md")
    space = {}
    run(block, space)
    assert [x.shape for x in space["one_rule"].values()] == [(100, 288), (100, 192), (100, 10)]
    assert [x.shape for x in space["by_layer"].values()] == [(100, 8), (100, 16), (100, 10)]


def test_plots(monkeypatch):
    """Each picture of the page is one that its code draws."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(ROOT / "docs")
    page = runpy.run_path(str(ROOT / "docs" / "plots.py"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", simkit.errors.ChanceWarning)
        drawn = page["pictures"]()
    shown = re.findall(r"images/plots/(\w+)\.png", (ROOT / "docs" / "plots.md").read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(drawn)


def test_training():
    pytest.importorskip("torch")
    pytest.importorskip("torchmetrics")
    pytest.importorskip("lightning")
    pytest.importorskip("pandas")
    space = {}
    loss, metric, drift, callback = blocks("training.md")
    run(loss, space)
    run(metric, space)
    assert 0 < float(space["metric"](space["student"](space["images"]), space["teacher"](space["images"]))) < 1
    run(drift, space)
    assert space["drift"].table().shape == (4, 2)
    assert space["drift"].table("previous").rows == ("1", "2", "3")
    run(callback, space)
    assert list(space["drift"].to_pandas().index) == [-1, 0, 1, 2]


@pytest.mark.parametrize(("place", "library"), [(0, "jax"), (1, "flax"), (2, "keras")], ids=("jax", "flax", "keras"))
def test_jax_keras(place, library, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # else Keras is not imported where TensorFlow is not installed
    pytest.importorskip(library)
    space = {}
    run(blocks("jax_keras.md")[place], space)
    if "stream" in space:
        np.testing.assert_allclose(space["stream"].compute().to_numpy(), space["matrix"].to_numpy(), atol=1e-5)
    assert len(set(space["matrix"].rows)) == len(space["matrix"].rows) > 1


def test_scale(tmp_path, monkeypatch, capsys):
    da, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    arrays = dict(zip(("conv1", "conv2"), pair(300, 8, 6), strict=True))
    for name, array in arrays.items():
        zarr.save(f"{name}.zarr", array)
        np.save(f"{name}.npy", array)
    pandas, _, _ = (pytest.importorskip(name) for name in ("pandas", "pyarrow", "xarray"))
    table = pandas.DataFrame(arrays["conv1"], columns=[f"unit{j}" for j in range(8)])
    table.assign(id=np.arange(300)).to_parquet("conv1.parquet")
    explained, lazily, files, kernels = blocks("scale.md")
    space = {}
    run(explained, space)
    assert capsys.readouterr().out in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    run(lazily, space)
    assert isinstance(space["lazy"], da.Array)
    assert float(space["lazy"]) == pytest.approx(float(simkit.compare(*arrays.values(), "cca")), rel=1e-12)
    run(files, space)
    np.testing.assert_array_equal(space["x"], arrays["conv1"])
    assert simkit.compare(space["x"], space["x"]).compute() == pytest.approx(1)
    run(kernels, space)


def test_activations_on_disk(tmp_path, monkeypatch):
    pytest.importorskip("torch"), pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    models, others = blocks("features.md")
    space = {}
    run(models, space)
    assert space["matrix"].shape == (4, 4)
    assert space["matrix"].details["columns"]["rules"]["0"].startswith("mean over")
    assert space["stored"]["0"].shape == (100, 8)
    run(others, space)
    assert simkit.features.open_activations("third.safetensors")["hidden"].shape == (640, 8)


def test_equation_12():
    (proof,) = [block for block in blocks("reproducing.md") if block.startswith("import")]
    run(proof, {})


def test_the_cost_model_of_clusters():
    """The table of docs/clusters.md is what its formula says."""
    page = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, flags=re.MULTILINE)
    assert len(rows) == 4
    n, width, block, rate, disk, net = 1e8, 512, 8192, 1e11, 5e8, 1e9
    for row in rows:
        workers, *seconds = map(float, row)
        chunks = n / block
        products = chunks * block * width**2 / (workers * rate)
        reading = chunks * block * width * 4 / (workers * disk)
        states = 8 * width**2 * (chunks / workers + np.log2(workers)) / net if workers > 1 else 0
        assert seconds == pytest.approx([products, reading, states, products + reading + states], rel=0.06, abs=0.6)


def excerpts(page):
    """The blocks of a page with the file that the text before them names last in brackets."""
    path = None
    for named, language, block in re.findall(r"\(`([\w/.-]+)`\)|```(python|toml)\n(.*?)```", page, flags=re.DOTALL):
        path = named or path
        if language and not block.startswith("import"):
            yield path, block


EXCERPTS = list(excerpts((ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize(("path", "block"), EXCERPTS, ids=[f"{i}-{path}" for i, (path, _) in enumerate(EXCERPTS)])
def test_excerpts_are_what_the_plugins_say(path, block):
    source = (ROOT / path).read_text(encoding="utf-8")
    place = 0
    for part in re.split(r"^ *\.\.\.\n", block, flags=re.MULTILINE):
        place = source.find(part, place)
        assert place >= 0, part
        assert place == 0 or source[place - 1] == "\n", part
        place += len(part)


def test_plugins_are_used_as_the_page_shows():
    pytest.importorskip("simkit_nngp")
    (use,) = [block for block in blocks("plugins.md") if block.startswith("import")]
    run(use, {})


def test_report(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("report.md")
    space = {}
    run(block, space)
    assert "seed 1" in (tmp_path / "matrix.html").read_text(encoding="utf-8")
    assert space["report"].entries[1].intervals is not None


def test_models(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    import small_models

    torch.manual_seed(0)
    images, labels = torch.randn(40, 3, 8, 8), torch.zeros(40)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=16)
    space = {"model_a": small_models.Net(), "model_b": small_models.Net(), "loader": loader}
    for block in blocks("models.md"):
        run(block, space)
    assert tuple(space["found"]["conv1"].shape) == (40, 8)
    assert space["matrix"].shape == (7, 7)
    assert space["chosen"].rules == {"conv1": "flattened, 8 x 6 x 6", "fc": "as it is"}


def test_the_page_on_notebooks(capsys):
    before, space = simkit.get_options(), {}
    try:
        for block in blocks("notebook.md"):
            run(block, space)
    finally:
        simkit.set_options(**before)
    said = capsys.readouterr().out
    assert "conv3    is most like conv3" in said
    assert "of the layers are most like the one in the same place" in said
    assert "5 of 10 rows" in said
    options = (ROOT / "docs" / "notebook.md").read_text(encoding="utf-8").split("## Options")[1]
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|$", options, flags=re.MULTILINE)) == {
        k: str(v) for k, v in before.items()
    }
