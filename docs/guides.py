"""The pictures of the guides to real networks, from the code of their pages.

python docs/guides.py            # draws docs/images/vision.png and docs/images/language.png
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import simkit

HERE = Path(__file__).parent


def space_of(page: str) -> dict[str, Any]:
    """What is defined after all Python of a page."""
    space: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", (HERE / page).read_text(encoding="utf-8"), flags=re.DOTALL):
        exec(compile(block, page, "exec"), space)
    return space


def main() -> None:
    """Run both pages and draw."""
    vision, language = space_of("vision.md"), space_of("language.md")
    cca = simkit.pairwise(vision["of_a"], vision["of_b"], "cca")
    grids = {
        "vision": {"unbiased CKA": vision["matrix"], "CCA": cca},
        "language": {
            "mean over tokens": language["matrix"],
            "tokens and padding": language["padded"],
            "tokens as examples": language["tokens"],
        },
    }
    labels = {"vision": ("blocks of EfficientNet-Lite0", "blocks of EfficientNet-Lite1"), "language": None}
    for name, matrices in grids.items():
        axes = simkit.plot.heatmaps(matrices, labels=labels[name])
        simkit.plot.save(axes.flat[0], HERE / "images" / f"{name}.png", force=True)


if __name__ == "__main__":
    main()
