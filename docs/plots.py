"""The pictures of docs/plots.md, from its code: ``python docs/plots.py`` draws them into docs/images/plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from guides import space_of

HERE = Path(__file__).parent


def pictures() -> dict[str, Any]:
    """The Axes of each picture, by its name."""
    return {name: np.ravel(axes)[0] for name, axes in space_of("plots.md")["pictures"].items()}


if __name__ == "__main__":
    folder = HERE / "images" / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    for name, axes in pictures().items():
        dots = 75 if name == "rdms" else 120  # an inch; noise is not compressed
        axes.get_figure(root=True).savefig(folder / f"{name}.png", dpi=dots)
