"""Figure F.5: CKA between the layers of deeper networks at initialisation."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.paper.drawing import heatmaps, markdown
from benchmarks.paper.figure5 import title
from benchmarks.paper.study import Report, Study

__all__ = ["run"]


def run(study: Study) -> Report:
    """The two deepest Plain networks of Figure 3 and the residual network of Figure 4, untrained."""
    architectures = [*(f"plain{8 * depth + 2}" for depth in study.size.depths[-2:]), f"resnet{study.size.residual}"]
    panels, rows = {}, []
    for architecture in architectures:
        layers = study.layers(study.recipe(architecture), trained=False)
        panels[title(architecture)] = matrix = simkit.pairwise(layers, index="cka", progress=False).to_numpy()
        beside = np.diagonal(matrix, 1)
        rows.append(
            (title(architecture), len(layers), f"{beside.mean():.3f}", f"{matrix[0, -1]:.3f}", f"{matrix.min():.3f}")
        )
    head = ["untrained network", "layers", "neighbouring layers", "first and last layer", "least"]
    figure = heatmaps(list(panels.items()), 3, limits=(0, 1), bar="CKA (linear)")
    return Report("figure_f5", markdown(head, rows), panels, figure)
