"""MathJax from the site itself, so that formulas show without a network: what is needed of sphinx-mathjax-offline."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["setup"]

_NEEDED = ("tex-chtml.js", "output/chtml/fonts/woff-v2")


def setup(app: Any) -> None:
    """Where the distribution is not installed, Sphinx takes MathJax from the network; the checks of the site notice."""
    found = find_spec("sphinx-mathjax-offline")
    if found is None or found.origin is None:
        return
    source = Path(found.origin).parent / "static" / "mathjax"
    app.config.mathjax_path = f"mathjax/{_NEEDED[0]}"

    def copy(app: Any, error: Exception | None) -> None:
        if error is None:
            _copy(source, Path(app.outdir) / "_static" / "mathjax")

    app.connect("build-finished", copy)


def _copy(source: Path, target: Path) -> None:
    for name in _NEEDED:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copy(source / name, target / name)
