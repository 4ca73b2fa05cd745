"""Figure 4: CKA within a residual network, and separately for block interiors and sums with the shortcut."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.paper.drawing import markdown, sheet, show, small
from benchmarks.paper.study import Report, Study

__all__ = ["run"]


def run(study: Study) -> Report:
    """One large heatmap of all layers, two small ones."""
    recipe = study.recipe(f"resnet{study.size.residual}")
    layers = study.layers(recipe)
    everything = simkit.pairwise(layers, index="cka", progress=False).to_numpy()
    names = list(layers)
    inside = np.array([name.endswith("interior") for name in names])
    joined = np.array([name.startswith("block") for name in names]) & ~inside
    panels = {
        "All layers": everything,
        "Post-residual": everything[np.ix_(joined, joined)],
        "Block interior": everything[np.ix_(inside, inside)],
    }
    figure, axes = sheet(1, 3, (2.7, 2.5))
    for ax, (title, values) in zip(axes[0], panels.items(), strict=True):
        image = show(ax, values, title, (0, 1))
        ax.set_xlabel("Layer")
    axes[0, 0].set_ylabel("Layer")
    small(figure.colorbar(image, ax=axes, fraction=0.02, pad=0.02), "CKA (linear)")

    blocks = int(inside.sum())
    group = np.arange(blocks) // (blocks // 3)
    same = group[:, None] == group[None, :]
    apart = ~np.eye(blocks, dtype=bool)
    rows = [
        (title, f"{values[same & apart].mean():.3f}", f"{values[~same].mean():.3f}")
        for title, values in list(panels.items())[1:]
    ]
    neighbours = np.abs(np.subtract.outer(np.arange(blocks), np.arange(blocks))) == 1
    across = everything[np.ix_(joined, inside)]
    rows.append(("Post-residual against interior", f"{across[same & apart].mean():.3f}", f"{across[~same].mean():.3f}"))
    text = (
        f"ResNet-{study.size.residual}, test accuracy {study.accuracy(recipe):.1%}, n = {len(layers['conv1'])} held-out "
        f"images. Mean CKA of neighbouring blocks: post-residual {panels['Post-residual'][neighbours].mean():.3f}, "
        f"interiors {panels['Block interior'][neighbours].mean():.3f}.\n\n"
        + markdown(["layers", "same group of blocks", "other groups"], rows)
    )
    return Report("figure4", text, panels, figure)
