"""Figure F.4: CKA of Plain-18 networks at initialisation."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.paper.drawing import heatmaps, markdown
from benchmarks.paper.study import Report, Study

__all__ = ["run"]


def run(study: Study) -> Report:
    """Of one untrained network, between two, and between an untrained and a trained one from another seed."""
    first, second = study.recipe("plain18"), study.recipe("plain18", seed=1)
    untrained, other = (study.layers(recipe, trained=False) for recipe in (first, second))
    trained = study.layers(first)
    pairs = {
        "Same net": (untrained, untrained),
        "Different nets": (untrained, other),
        "Vs. trained": (other, trained),
        "Vs. itself trained": (untrained, trained),
    }
    panels = {title: simkit.pairwise(a, b, "cka", progress=False).to_numpy() for title, (a, b) in pairs.items()}
    rows = [
        (title, f"{np.diag(values).mean():.2f}", f"{values[0, -1]:.2f}", f"{values[-1].mean():.2f}")
        for title, values in panels.items()
    ]
    head = ["untrained Plain-18", "same layer", "first and last layer", "last untrained layer and all"]
    text = f"n = {len(trained['conv1'])} held-out images.\n\n{markdown(head, rows)}"
    titles = {"Same net": "Same net", "Different nets": "Different nets", "Vs. trained": "Vs. trained (x-axis)"}
    shown = [(title, panels[name]) for name, title in titles.items()]
    return Report("figure_f4", text, panels, heatmaps(shown, 3, limits=(0, 1), bar="CKA (linear)"))
