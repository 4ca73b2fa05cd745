"""Figure 3: CKA within networks of 1, 2, 4 and 8 times the depth, and linear probes of the same layers."""

from __future__ import annotations

import functools

import numpy as np

import simkit
from benchmarks.paper.drawing import markdown, percent, sheet, show, small
from benchmarks.paper.study import Layers, Report, Study
from simkit.analysis import linear_probe

__all__ = ["run"]


def probes(train: Layers, test: Layers, train_labels: np.ndarray, test_labels: np.ndarray) -> dict[str, np.ndarray]:
    """Held-out accuracy of an L2-regularised logistic regression on each layer."""
    return {"accuracy": np.array(linear_probe(train, train_labels, test, test_labels).accuracy)}


def run(study: Study) -> Report:
    """Heatmaps above, the accuracy of linear probes below."""
    size = study.size
    images = study.images()
    n = min(size.probe, len(images.train_labels))
    figure, axes = sheet(2, len(size.depths), (2.4, 2.1), height_ratios=(1.25, 1))
    rows, numbers = [], {}
    lowest = 1.0
    for column, depth in enumerate(size.depths):
        recipe = study.recipe(f"plain{8 * depth + 2}")
        test, right = study.layers(recipe), study.accuracy(recipe)
        matrix = simkit.pairwise(test, index="cka", progress=False).to_numpy()
        train, held_out = study.layers(recipe, "train", draws=0, limit=n), study.layers(recipe, draws=0)
        probe = functools.partial(probes, train, held_out, images.train_labels[:n].numpy(), images.test_labels.numpy())
        settings = {"network": recipe.settings, "n": n, "grid": size.grid}
        accuracies = study.cache.arrays(f"probe-{recipe.label}", settings, probe)["accuracy"]
        numbers |= {f"cka {depth}x": matrix, f"probe {depth}x": accuracies}
        image = show(axes[0, column], matrix, f"{depth}x depth ({right:.1%})", (0, 1))
        axes[1, column].plot(range(1, len(accuracies) + 1), accuracies, marker="." if len(accuracies) < 40 else None, lw=1)
        axes[1, column].set_xlabel("Layer", fontsize=8)
        lowest = min(lowest, float(accuracies.min()))
        final = matrix[-1]
        like_last = float(np.mean(final > 0.9))
        reached = int(np.argmax(accuracies >= accuracies.max() - 0.01)) + 1
        rows.append(
            (
                f"{depth}x ({recipe.architecture})",
                percent(right),
                len(final),
                f"{like_last:.0%}",
                f"{reached} ({reached / len(final):.0%})",
                percent(float(accuracies.max())),
            )
        )
    for ax in axes[1]:
        ax.set_ylim(max(0.0, lowest - 0.05), 1.0)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("Layer")
    axes[1, 0].set_ylabel("Accuracy of probe", fontsize=8)
    small(figure.colorbar(image, ax=axes[0], fraction=0.02, pad=0.02), "CKA (linear)")
    head = [
        "depth",
        "test, %",
        "layers",
        "with CKA > 0.9 to the last",
        "probe within 1 % of its best from layer",
        "best probe, %",
    ]
    return Report("figure3", markdown(head, rows), numbers, figure)
