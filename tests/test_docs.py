"""What pages show is true: their links lead somewhere, and the Python of those under docs/ runs."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pages
import pytest
from data import OWN_INDEXES, pair
from pages import blocks, run

import simkit
from simkit.scale.stream import Stream

ROOT = Path(__file__).parents[1]
ELSEWHERE = ("*.md", "benchmarks/*.md", "plugins/*/README.md", "simkit/demo/README.md")
PAGES = [*pages.PAGES, *sorted(path for pattern in ELSEWHERE for path in ROOT.glob(pattern))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#\s]+)[^)]*\)", text):
        assert (page.parent / target).exists(), target
    assert "<!--" not in text  # nothing that was to be filled in


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_can_be_read(page):
    for block in pages.python_in(page.read_text(encoding="utf-8")):
        ast.parse(textwrap.dedent(block))


@pytest.mark.parametrize("page", [page for page in pages.BLOCKS if page not in pages.HELD])
def test_a_page_runs_as_a_whole(page, tmp_path, monkeypatch):
    """For pages with a test of their own see `pages.HELD`."""
    monkeypatch.chdir(tmp_path)
    space = {}
    for block in pages.BLOCKS[page]:
        try:
            run(block, space)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] in ("", "simkit"):
                raise
            pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("page", pages.HELD)
def test_no_block_is_held_by_nobody(page):
    """A new block must be counted, and the test that is said to hold the page must be there and speak of it."""
    count, held_by = pages.HELD[page]
    assert len(pages.BLOCKS.get(page, ())) == count, "see HELD in tests/pages.py"
    path, _, test = held_by.partition("::")
    text = (Path(__file__).parent / path).read_text(encoding="utf-8")
    assert re.search(rf"^def {test}\(", text, flags=re.MULTILINE), held_by


def test_blocks_are_found_wherever_they_are():
    text = """
```python
one
```
```{code-cell} python
executed by the build
```
- in a list
  ```python
  two
  ```

````{note}
```{code-block} python
three
```
````
:::{tab-item} colons
```python
four
```
:::
```sh
no Python
```
"""
    assert pages.python_in(text) == ["one\n", "two\n", "three\n", "four\n"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_specs_exist(page):
    """Every spec in backticks that looks like an index with parameters can be made; `k` stands for any number."""
    for spec in re.findall(rf"`((?:{'|'.join(OWN_INDEXES)})\(\w+=[^`]*\))`", page.read_text(encoding="utf-8")):
        simkit.get_index(spec.replace("=k)", "=2)"))


def test_streams(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = pair(200, 6, 5)
    loader = [slice(start, start + 50) for start in range(0, 200, 50)]
    space = {
        "loader": loader,
        "layers_of_a": lambda rows: {"conv1": x[rows], "conv2": x[rows, :3]},
        "layers_of_b": lambda rows: {"conv1": y[rows]},
    }
    first, projected, files, resuming, _ = blocks("topics/streaming.md")
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
    (block,) = blocks("topics/activations.md")
    space = {}
    run(block, space)
    assert [x.shape for x in space["one_rule"].values()] == [(100, 288), (100, 192), (100, 10)]
    assert [x.shape for x in space["by_layer"].values()] == [(100, 8), (100, 16), (100, 10)]


def test_every_plot_is_in_the_gallery():
    """The build of the site runs the scripts."""
    drawn = {path.stem.removeprefix("plot_") for path in (ROOT / "docs" / "examples" / "plots").glob("plot_*.py")}
    draw = set(simkit.plot.__all__) - {"TITLE", "figure", "label", "plain_axes", "room_for", "save", "save_heatmap"}
    assert drawn == draw


def test_training():
    pytest.importorskip("torch")
    pytest.importorskip("torchmetrics")
    pytest.importorskip("lightning")
    pytest.importorskip("pandas")
    space = {}
    loss, metric, drift, callback = blocks("topics/training.md")
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
    run(blocks("topics/jax_keras.md")[place], space)
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
    explained, lazily, files, kernels = blocks("topics/scale.md")
    space = {}
    run(explained, space)
    assert capsys.readouterr().out in (ROOT / "docs" / "topics" / "scale.md").read_text(encoding="utf-8")
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
    models, others = blocks("topics/features.md")
    space = {}
    run(models, space)
    assert space["matrix"].shape == (4, 4)
    assert space["matrix"].details["columns"]["rules"]["0"].startswith("mean over")
    assert space["stored"]["0"].shape == (100, 8)
    run(others, space)
    assert simkit.features.open_activations("third.safetensors")["hidden"].shape == (640, 8)


def test_equation_12():
    (proof,) = [block for block in blocks("paper/reproducing.md") if block.startswith("import")]
    run(proof, {})


def test_clusters(monkeypatch):
    """Machines are not at hand: what is shown for them gets parameters that there are, and the calls are run on this one."""
    da, distributed = pytest.importorskip("dask.array"), pytest.importorskip("distributed")
    connected, computed, setting, by_ssh, *elsewhere = blocks("topics/clusters.md")
    x, y = (da.from_array(z, chunks=(50, -1)) for z in pair(200, 6, 5))
    expected = float(simkit.compare(x, y, "cka(estimator=unbiased)"))
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        space = {"simkit": simkit, "x": x, "y": y}
        run(connected.replace("tcp://scheduler:8786", cluster.scheduler_address), space)
        with space["client"]:
            assert float(simkit.compare(x, y, "cka(estimator=unbiased)")) == pytest.approx(expected, rel=1e-12)
            run(computed, space)
    assert float(space["score"]) == pytest.approx(float(simkit.compare(x, y)), rel=1e-12)
    SSHCluster = distributed.SSHCluster
    monkeypatch.setattr(distributed, "Client", lambda cluster: cluster)
    asked: dict[str, Any] = {}

    def recorded(hosts, **options):
        asked.update(inspect.signature(SSHCluster).bind(hosts, **options).arguments)

    monkeypatch.setattr(distributed, "SSHCluster", recorded)
    run(by_ssh, {})
    assert asked["hosts"][0] == "head"
    assert set(asked["worker_options"]) <= set(inspect.signature(distributed.Nanny).parameters)
    assert asked["remote_python"].endswith("python")
    import dask

    with dask.config.set({"distributed.deploy.lost-worker-timeout": "15s"}):
        run(setting, {})
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == "1 hour"
    # Stand-ins for libraries that are not dependencies of the tests: the parameters were tried by hand.
    for module in ("dask_jobqueue", "dask_kubernetes", "dask_kubernetes.operator", "dask_cuda", "cupy"):
        monkeypatch.setitem(sys.modules, module, MagicMock())
    for block in elsewhere:
        run(block, {"x": MagicMock()})


def test_the_cost_model_of_clusters():
    """The table of docs/topics/clusters.md is what its formula says."""
    page = (ROOT / "docs" / "topics" / "clusters.md").read_text(encoding="utf-8")
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


EXCERPTS = list(excerpts((ROOT / "docs" / "development" / "plugins.md").read_text(encoding="utf-8")))


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
    (use,) = [block for block in blocks("development/plugins.md") if block.startswith("import")]
    run(use, {})


def test_report(tmp_path, monkeypatch):
    pytest.importorskip("jinja2")
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("topics/report.md")
    space = {}
    run(block, space)
    assert "seed 1" in (tmp_path / "matrix.html").read_text(encoding="utf-8")
    assert space["report"].entries[1].intervals is not None


def test_the_first_page(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    import small_models

    torch.manual_seed(0)
    models, arrays = blocks("index.md")
    run(models, {"model_a": small_models.Net(), "model_b": small_models.Net(), "data": torch.randn(40, 3, 8, 8)})
    run(arrays, dict(zip("XY", pair(60, 6, 5), strict=True)))


def test_models(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    import small_models

    torch.manual_seed(0)
    images, labels = torch.randn(40, 3, 8, 8), torch.zeros(40)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=16)
    space = {"model_a": small_models.Net(), "model_b": small_models.Net(), "loader": loader}
    for block in blocks("topics/models.md"):
        run(block, space)
    assert tuple(space["found"]["conv1"].shape) == (40, 8)
    assert space["matrix"].shape == (7, 7)
    assert space["chosen"].rules == {"conv1": "flattened, 8 x 6 x 6", "fc": "as it is"}


def test_the_page_on_notebooks(capsys):
    before, space = simkit.get_options(), {}
    try:
        for block in blocks("topics/notebook.md"):
            run(block, space)
    finally:
        simkit.set_options(**before)
    said = capsys.readouterr().out
    assert "conv3    is most like conv3" in said
    assert "of the layers are most like the one in the same place" in said
    assert "5 of 10 rows" in said
    options = (ROOT / "docs" / "topics" / "notebook.md").read_text(encoding="utf-8").split("## Options")[1]
    assert dict(re.findall(r"^\| `(\w+)` \|.*\| (\w+) \|$", options, flags=re.MULTILINE)) == {
        k: str(v) for k, v in before.items()
    }
