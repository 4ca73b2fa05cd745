"""The gallery: one script for each index of simkit, written from the registry, and what sphinx-gallery needs to draw Axes.

sphinx-gallery runs the scripts in docs/examples, also those by hand in docs/examples/plots, and makes a page of each.
A new index is in the gallery as soon as it is registered.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from simkit_docs.equations import plain
from simkit_docs.generated import write_all
from sphinx.application import Sphinx
from sphinx_gallery.scrapers import figure_rst

import simkit
from simkit.discovery import OWN

SCRIPT = '''"""
{name}
{line}

{summary}

:class:`{module}.{cls}`
"""

import simkit

first, second = simkit.demo.load(0), simkit.demo.load(1)
matrix = simkit.pairwise(first, second, "{name}")
ax = matrix.plot()

# %%
# How many of the ten layers are most like the one in the same place:

print(f"{{10 * matrix.layers_found:.1f}} of 10")
'''


def write_scripts(app: Sphinx, config: Any) -> None:
    """One script for each index."""
    folder = Path(app.srcdir) / "examples" / "indexes"
    scripts = {}
    for entry in simkit.list_indexes():
        if entry.distribution != OWN:
            continue
        cls = entry.load()
        summary = (cls.__doc__ or "").strip().partition("\n\n")[0].replace("\n    ", "\n")
        summary = plain(summary)  # names of its parameters mean nothing on another page
        scripts[f"plot_{entry}.py"] = SCRIPT.format(
            name=entry, line="=" * len(entry), summary=summary, module="simkit.indexes", cls=cls.__name__
        )
    write_all(folder, "plot_*.py", scripts)


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures of all Axes among the variables of a script; simkit registers none with pyplot."""
    space = block_vars["example_globals"]
    done: set[Figure] = space.setdefault("__drawn__", set())
    found: list[Figure | None] = []
    for value in list(space.values()):
        for ax in value.flat if isinstance(value, np.ndarray) and value.dtype == object else (value,):
            if isinstance(ax, Axes):
                found.append(ax.get_figure(root=True))
    paths = []
    for figure in dict.fromkeys(found):
        if figure is not None and figure not in done:
            path = next(block_vars["image_path_iterator"])
            figure.savefig(path, dpi=120, bbox_inches="tight")
            paths.append(path)
            done.add(figure)
    return figure_rst(paths, gallery_conf["src_dir"])


def plain_warnings(gallery_conf: dict[str, Any], script: str) -> None:
    """Warnings are shown under a script without the folder that it was run in; called before each."""
    warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"


def setup(app: Sphinx) -> dict[str, Any]:
    """Sphinx calls this."""
    app.connect("config-inited", write_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
