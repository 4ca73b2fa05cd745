"""Figure 2: similarity of all layers of Tiny-10 networks from different seeds, by six indexes."""

from __future__ import annotations

import numpy as np

from benchmarks.paper.drawing import heatmaps, markdown
from benchmarks.paper.study import Report, Study, average

__all__ = ["run"]

PANELS = (
    ("CCA (R2)", "cca"),
    ("Linear regression", "linear_regression"),
    ("SVCCA (rho)", "svcca(summary=rho)"),
    ("SVCCA (R2)", "svcca"),
    ("CKA (linear)", "cka"),
    ("CKA (RBF 0.4)", "cka(kernel=rbf(fraction=0.4))"),
)


def contrast(matrix: np.ndarray) -> float:
    """Mean of the diagonal minus mean of the rest: how far corresponding layers stand out."""
    diagonal = np.eye(len(matrix), dtype=bool)
    return float(matrix[diagonal].mean() - matrix[~diagonal].mean())


def run(study: Study) -> Report:
    """Heatmaps averaged over all pairs of networks."""
    group = study.tiny10s()
    # Regression explains the layer on the x-axis by the layer on the y-axis, as in the paper: rows explain columns.
    means = {label: average(group.between(index)).T for label, index in PANELS}
    rows = [
        (label, f"{np.diag(mean).mean():.3f}", f"{mean[~np.eye(len(mean), dtype=bool)].mean():.3f}", f"{contrast(mean):.3f}")
        for label, mean in means.items()
    ]
    text = (
        f"Mean similarity over {len(group.recipes)} networks ({len(group.recipes) * (len(group.recipes) - 1) // 2} pairs), "
        f"n = {group.n} training images.\n\n" + markdown(["index", "same layer", "other layers", "difference"], rows)
    )
    return Report("figure2", text, means, heatmaps(list(means.items()), 3, limits=(0, 1)))
