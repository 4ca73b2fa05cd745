"""Figures and progress in notebooks: with IPython as far as it is asked, and in a real kernel."""

from __future__ import annotations

import io
import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import simkit
from simkit import progress
from simkit.notebook import shell, show_after_cell
from simkit.progress import track


def matrix():
    return simkit.SimilarityMatrix(np.eye(2), ("a", "b"), ("x", "y"), "cka", 9)


class Kernel:
    """IPython in a notebook: what was displayed, and what runs after a cell."""

    def __init__(self, monkeypatch, kernel=True, formats=()):
        self.displayed, self.waiting = [], []
        self.kernel = object() if kernel else None
        self.events = SimpleNamespace(
            register=lambda event, f: self.waiting.append((event, f)),
            unregister=lambda event, f: self.waiting.remove((event, f)),
        )
        self.display_formatter = SimpleNamespace(formatters={"image/png": set(formats), "text/plain": set()})
        ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
        ipython.get_ipython = lambda: self
        ipython.version_info = (9, 0)  # matplotlib asks
        display.display = self.displayed.append
        display.Image = lambda data, width: SimpleNamespace(data=data, width=width)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", display)

    def end_of_cell(self):
        for event, f in list(self.waiting):
            assert event == "post_execute"
            f()


# --- figures --------------------------------------------------------------------------------------------------------------


def test_a_figure_is_shown_once_after_the_cell(monkeypatch):
    pytest.importorskip("matplotlib")
    kernel = Kernel(monkeypatch)
    axes = matrix().plot()
    assert kernel.displayed == []  # it may still be changed
    axes.figure.set_size_inches(5, 3)
    kernel.end_of_cell()
    kernel.end_of_cell()
    (picture,) = kernel.displayed
    assert picture.data[:4] == b"\x89PNG"
    assert picture.width == 480


def test_a_figure_is_shown_as_the_user_has_set(monkeypatch):
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    kernel = Kernel(monkeypatch, formats=[matplotlib_figure.Figure])
    axes = matrix().plot()
    kernel.end_of_cell()
    assert kernel.displayed == [axes.figure]


def test_nothing_is_shown_of_given_axes_and_outside_of_notebooks(monkeypatch):
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    kernel = Kernel(monkeypatch)
    matrix().plot(ax=matplotlib_figure.Figure().add_subplot())
    assert kernel.waiting == []
    terminal = Kernel(monkeypatch, kernel=False)
    matrix().plot()
    assert shell() is None
    assert terminal.waiting == []
    monkeypatch.delitem(sys.modules, "IPython")
    show_after_cell(None)


def test_whatever_plot_draws_is_shown_once(monkeypatch):
    pytest.importorskip("matplotlib")
    drawings = [
        lambda: simkit.plot.lines({"a": [0.1, 0.2]}),
        lambda: simkit.plot.heatmaps([matrix(), matrix()]),
        lambda: simkit.plot.diagonal(matrix()),
        lambda: simkit.plot.best_matches(matrix()),
        lambda: simkit.plot.rdms({"a": np.eye(4), "b": np.eye(4)}),
    ]
    for drawing in drawings:
        kernel = Kernel(monkeypatch)
        drawing()
        kernel.end_of_cell()
        assert len(kernel.displayed) == 1


def test_what_is_written_to_a_file_is_not_shown(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    kernel = Kernel(monkeypatch)
    simkit.plot.save_heatmap(matrix(), tmp_path / "m.png")
    assert kernel.waiting == []
    simkit.plot.heatmap(matrix())
    assert len(kernel.waiting) == 1


# --- progress -------------------------------------------------------------------------------------------------------------


class Screen(io.StringIO):
    """Standard error, of a terminal or not."""

    def __init__(self, monkeypatch, terminal):
        super().__init__()
        self.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stderr", self)


def only(monkeypatch, *installed):
    find = progress.importlib.util.find_spec
    monkeypatch.setattr(
        progress.importlib.util, "find_spec", lambda name: None if name in {"rich", "tqdm"} - set(installed) else find(name)
    )


def chosen(show=None):
    bar = progress._bar(show)
    return next((name for name, known in progress._BARS.items() if known is bar), None)


def test_which_bar(monkeypatch):
    pytest.importorskip("rich")
    pytest.importorskip("tqdm")
    Screen(monkeypatch, terminal=False)
    assert [chosen(show) for show in (None, False, True)] == [None, None, "tqdm"]  # a log
    Screen(monkeypatch, terminal=True)
    assert [chosen(show) for show in (None, False, True)] == ["rich", None, "rich"]
    only(monkeypatch, "tqdm")
    assert chosen() == "tqdm"
    only(monkeypatch)
    assert chosen() is None
    Screen(monkeypatch, terminal=False)
    with pytest.raises(ImportError, match="pip install rich, or pip install tqdm"), track(3, "x", True):
        pass


def test_which_bar_in_a_notebook(monkeypatch):
    pytest.importorskip("rich")
    pytest.importorskip("tqdm")
    Screen(monkeypatch, terminal=False)
    Kernel(monkeypatch)
    assert [chosen(show) for show in (None, False, True)] == ["tqdm", None, "tqdm"]


def test_the_option_is_what_counts_where_nothing_is_said(monkeypatch):
    pytest.importorskip("tqdm")
    screen = Screen(monkeypatch, terminal=False)
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    layers = [np.random.default_rng(0).standard_normal((20, 3))] * 2
    for option, show, seen in ((None, None, False), (True, None, True), (True, False, False), (False, True, True)):
        with simkit.set_options(progress=option):
            screen.seek(0)
            screen.truncate()
            simkit.pairwise(layers, progress=show)
            assert bool(screen.getvalue()) == seen


@pytest.mark.parametrize("library", ["rich", "tqdm"])
@pytest.mark.parametrize("steps", [3, None])
def test_short_work_shows_nothing_and_long_work_its_steps(monkeypatch, library, steps):
    pytest.importorskip(library)
    only(monkeypatch, library)
    screen = Screen(monkeypatch, terminal=True)
    with track(steps, "short\x1b[31m [red]", True) as advance:
        advance()
    assert "short" not in screen.getvalue()
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    with track(steps, "long\x1b[31m [red]", True) as advance:
        for _ in range(3):
            time.sleep(0.12)
            advance()
    text = screen.getvalue()
    assert "long" in text
    assert "\x1b[31m [red]" not in text
    assert "[red]" in text


# --- a real notebook ------------------------------------------------------------------------------------------------------


def test_in_a_real_kernel():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    cells = [
        "import simkit, numpy\nm = simkit.SimilarityMatrix(numpy.eye(2), ('a', 'b'), ('x', 'y'), 'cka', 9)\nm",
        "axes = m.plot()\naxes.set_title('')\nNone",
        "[m]",
        "import sys\n'matplotlib.pyplot' in sys.modules",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    table, figure, listed, pyplot = (cell.outputs for cell in notebook.cells)
    assert table[0].data["text/html"] == matrix()._repr_html_()
    assert table[0].data["text/plain"] == str(matrix())
    assert [sorted(output.data) for output in figure] == [["image/png", "text/plain"]]
    assert listed[0].data["text/plain"] == f"[{matrix()!r}]"
    assert pyplot[0].data["text/plain"] == "False"
