"""Figure F.8: Tiny-10 against ResNet-14 by all indexes, on the training images, of which there are more."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.paper.drawing import heatmaps, markdown
from benchmarks.paper.figure5 import order
from benchmarks.paper.study import Report, Study

__all__ = ["run"]

PANELS = (
    ("CCA (rho)", "cca(summary=rho)"),
    ("CCA (R2)", "cca"),
    ("SVCCA (rho)", "svcca(summary=rho)"),
    ("SVCCA (R2)", "svcca"),
    ("PWCCA", "pwcca"),
    ("Linear regression", "linear_regression"),
    ("CKA (linear)", "cka"),
    ("CKA (RBF 0.4)", "cka(kernel=rbf(fraction=0.4))"),
)


def run(study: Study) -> Report:
    """A heatmap for each index, all in one scale."""
    recipes = study.recipe("tiny10"), study.recipe("resnet14", seed=1)
    settings = {
        "networks": [recipe.settings for recipe in recipes],
        "draws": study.size.train_draws,
        "grid": study.size.grid,
    }

    def compute() -> dict[str, np.ndarray]:
        a, b = (study.layers(recipe, "train") for recipe in recipes)
        return {label: simkit.pairwise(a, b, index, progress=False).to_numpy() for label, index in PANELS}

    numbers = study.cache.arrays("tiny10-resnet14", settings, compute)
    rows = [
        (label, f"{order(matrix):.2f}", f"{matrix.min():.2f}", f"{matrix.max():.2f}") for label, matrix in numbers.items()
    ]
    n = len(study.images().examples("train", study.size.train_draws)[1])
    head = ["index", "order of best matches (Spearman)", "least", "most"]
    text = f"Tiny-10 from seed 0 and ResNet-14 from seed 1, n = {n} training images.\n\n{markdown(head, rows)}"
    figure = heatmaps(list(numbers.items()), 4, labels=("Tiny-10 layer", "ResNet-14 layer"), limits=(0, 1))
    return Report("figure_f8", text, numbers, figure)
