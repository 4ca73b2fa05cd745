"""The pictures of docs/plots.md, from its code: ``python docs/plots.py`` draws them into docs/images/plots."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def pictures() -> dict[str, Any]:
    """The Axes of each picture, by its name."""
    space: dict[str, Any] = {}
    page = (HERE / "plots.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "plots.md", "exec"), space)
    return {name: np.ravel(axes)[0] for name, axes in space["pictures"].items()}


if __name__ == "__main__":
    folder = HERE / "images" / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    for name, axes in pictures().items():
        dots = 75 if name == "rdms" else 120  # an inch; noise is not compressed
        axes.get_figure(root=True).savefig(folder / f"{name}.png", dpi=dots)
