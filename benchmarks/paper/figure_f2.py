"""Figure F.2: one sublayer of the Transformer encoder, drawn."""

from __future__ import annotations

import itertools

from benchmarks.paper.drawing import sheet
from benchmarks.paper.networks import PLACES
from benchmarks.paper.study import Report, Study

__all__ = ["run"]

OPERATIONS = {
    "Layer Norm": "Layer normalisation",
    "Scale": "Channel-wise scale",
    "Attn/FFN": "Self-attention or\nfeed-forward network",
    "Residual": "+ residual",
}


def run(study: Study) -> Report:
    """Boxes from top to bottom, and the connection that passes them by."""
    figure, axes = sheet(1, 1, (2.8, 3.6))
    ax = axes[0, 0]
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.axis("off")
    heights = [0.82, 0.62, 0.40, 0.18]
    box = {"boxstyle": "round,pad=0.5", "facecolor": "#f4ecd8", "edgecolor": "0.4"}
    arrow = {"arrowstyle": "-|>", "color": "0.3", "shrinkA": 0, "shrinkB": 0}
    stops = [1.0, *heights, 0.0]
    for above, below in itertools.pairwise(stops):
        ax.annotate("", xy=(0.55, below + (0.07 if below else 0)), xytext=(0.55, above), arrowprops=arrow)
    for place, height in zip(PLACES, heights, strict=True):
        ax.text(0.55, height, OPERATIONS[place], ha="center", va="center", fontsize=8, bbox=box)
    ax.plot([0.55, 0.1, 0.1], [0.95, 0.95, heights[-1]], color="0.3", lw=1)
    ax.annotate("", xy=(0.36, heights[-1]), xytext=(0.1, heights[-1]), arrowprops=arrow)
    ax.text(0.6, 0.985, "from the sublayer before", fontsize=7, va="top")
    ax.text(0.6, 0.015, "to the next sublayer", fontsize=7)
    text = (
        f"{study.size.sublayers} such sublayers in turn attend and feed forward. Representations are taken after each "
        f"operation: {', '.join(PLACES)}."
    )
    return Report("figure_f2", text, {}, figure)
