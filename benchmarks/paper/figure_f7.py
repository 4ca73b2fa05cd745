"""Figure F.7: CKA within classes beside CKA of all examples."""

from __future__ import annotations

import itertools

import numpy as np

import simkit
from benchmarks.paper.drawing import heatmaps, markdown
from benchmarks.paper.study import Report, Study
from simkit.analysis import within_class
from simkit.analysis.correspondence import found_layers

__all__ = ["run"]

# With few examples of a class, biased CKA is high whatever the layers; the unbiased one is not.
INDEXES = {"biased": "cka", "unbiased": "cka(estimator=unbiased)"}


def run(study: Study) -> Report:
    """Averages over pairs of Plain-10 networks, and over classes on the right."""
    group = study.group("plain10", part="train")
    labels = study.images().examples("train", study.size.train_draws)[1].numpy()
    settings = {
        "networks": [recipe.settings for recipe in group.recipes],
        "draws": study.size.train_draws,
        "grid": study.size.grid,
    }

    def compute(index: str) -> dict[str, np.ndarray]:
        found = [within_class(a, b, labels, index) for a, b in itertools.combinations(group.layers, 2)]
        within = np.mean([result.mean.to_numpy() for result in found], axis=0)  # type: ignore[union-attr]
        return {"all": np.mean([result.overall.to_numpy() for result in found], axis=0), "within": within}  # type: ignore[union-attr]

    numbers, rows = {}, []
    for kind, index in INDEXES.items():
        means = study.cache.arrays("within-class", {"index": index, **settings}, lambda index=index: compute(index))  # type: ignore[misc]
        for part, title in (("all", "All examples"), ("within", "Within class")):
            numbers[f"{title}, {kind}"] = matrix = means[part]
            hits = np.mean(found_layers(matrix, smallest=simkit.get_index(index).facts.identity == 0))
            rows.append((f"{title}, {kind}", *(f"{value:.2f}" for value in np.diag(matrix)), f"{hits:.0%}"))
    same = np.corrcoef(numbers["All examples, biased"].ravel(), numbers["Within class, biased"].ravel())[0, 1]
    text = (
        f"{len(group.recipes)} Plain-10 networks, n = {group.n} training images, {len(labels) // len(set(labels.tolist()))} "
        f"of a class. CKA of the same layer; the last column says for how many layers the mean is highest for the "
        f"corresponding layer. The two heatmaps correlate with r = {same:.3f}.\n\n"
        + markdown(["examples, estimator", *group.names, "found"], rows)
    )
    shown = [(title, numbers[f"{title}, biased"]) for title in ("All examples", "Within class")]
    return Report("figure_f7", text, numbers, heatmaps(shown, 2, limits=(0, 1), bar="CKA (linear)"))
