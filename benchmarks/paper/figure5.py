"""Figure 5: CKA between the layers of networks of different architectures."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.paper.drawing import markdown, percent, sheet, show, small
from benchmarks.paper.study import Report, Study

__all__ = ["order", "run", "title"]


def title(architecture: str) -> str:
    """``plain18`` -> Plain-18."""
    family = architecture.rstrip("0123456789")
    names = {"plain": "Plain", "resnet": "ResNet", "tiny": "Tiny", "width": "Width"}
    return f"{names[family]}-{architecture.removeprefix(family)}"


def order(matrix: np.ndarray) -> float:
    """Spearman correlation of a layer's place and the place of the layer most like it, over rows and columns.

    1: later layers correspond to later layers throughout; 0: no order.
    """
    from scipy.stats import spearmanr

    values = []
    for scores in (matrix, matrix.T):
        best = scores.argmax(axis=1)
        values.append(0.0 if np.ptp(best) == 0 else float(spearmanr(np.arange(len(best)), best).statistic))
    return float(np.mean(values))


def run(study: Study) -> Report:
    """One heatmap for each pair of architectures."""
    pairs = study.size.architectures
    figure, axes = sheet(2, -(-len(pairs) // 2), (3.1, 2.4))
    numbers, rows = {}, []
    for ax, (first, second) in zip(axes.flat, pairs, strict=True):
        recipes = study.recipe(first), study.recipe(second, seed=1)
        a, b = (study.layers(recipe) for recipe in recipes)
        matrix = simkit.pairwise(a, b, "cka", progress=False).to_numpy()
        image = show(ax, matrix, limits=(0, 1))
        ax.set(xlabel=f"{title(second)} layer", ylabel=f"{title(first)} layer")
        numbers[f"{first} {second}"] = matrix
        right = [percent(study.accuracy(recipe)) for recipe in recipes]
        rows.append(
            (
                f"{title(first)} and {title(second)}",
                " and ".join(right),
                f"{order(matrix):.2f}",
                f"{matrix.max(axis=1).mean():.2f}",
            )
        )
    small(figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02), "CKA (linear)")
    text = markdown(["networks", "test, %", "order of best matches (Spearman)", "mean CKA of best matches"], rows)
    return Report("figure5", text, numbers, figure)
