"""Table F.1 and Figure F.1: the sanity check for Transformer encoders, at four places of each sublayer.

The paper trained on translation, which takes days and gigabytes. These encoders learn to sort sequences of symbols: there
too attention has to look at all other positions, and any number of sequences can be drawn.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from benchmarks.paper.data import sequences
from benchmarks.paper.drawing import markdown, percent, sheet, show, small
from benchmarks.paper.networks import PLACES
from benchmarks.paper.study import Layers, Report, Study, average, identified, symmetric
from benchmarks.paper.train import SequenceRecipe, accuracy
from simkit.analysis import LayerAccuracy, jackknife_test

__all__ = ["PAPER", "run"]

# Label, index, whether S + S' is taken, the paper's accuracies in percent at the four places.
PAPER = (
    ("CCA (rho)", "cca(summary=rho)", False, (85.3, 85.3, 94.9, 90.9)),
    ("CCA (R2)", "cca", False, (87.8, 87.8, 95.3, 95.2)),
    ("SVCCA (rho)", "svcca(summary=rho)", False, (78.2, 83.0, 89.5, 75.9)),
    ("SVCCA (R2)", "svcca", False, (85.4, 86.9, 90.8, 84.7)),
    ("PWCCA", "pwcca", True, (88.5, 88.9, 96.1, 87.0)),
    ("Linear regression", "linear_regression", True, (78.1, 83.7, 76.0, 36.9)),
    ("CKA (linear)", "cka", False, (78.6, 95.6, 86.0, 73.6)),
    ("CKA (RBF 0.2)", "cka(kernel=rbf(fraction=0.2))", False, (76.5, 73.1, 70.5, 76.2)),
    ("CKA (RBF 0.4)", "cka(kernel=rbf(fraction=0.4))", False, (92.3, 96.5, 89.1, 98.1)),
    ("CKA (RBF 0.8)", "cka(kernel=rbf(fraction=0.8))", False, (80.8, 95.8, 93.6, 90.0)),
)
PANELS = ("CCA (R2)", "SVCCA (R2)", "Linear regression", "CKA (linear)", "CKA (RBF 0.4)")  # of Figure F.1


class Encoders:
    """Encoders from different seeds, and the similarities of their sublayers at each place."""

    def __init__(self, study: Study) -> None:
        self.study, size = study, study.size
        self.recipes = [
            SequenceRecipe(seed, size.steps, width=size.width, sublayers=size.sublayers) for seed in range(size.networks)
        ]

    @cached_property
    def layers(self) -> list[Layers]:
        """All places of all sublayers of every network."""
        return [self.study.token_layers(recipe) for recipe in self.recipes]

    def at(self, place: str) -> list[Layers]:
        """The sublayers at one place, named by number."""
        return [
            {name.split(" ")[0]: x for name, x in layers.items() if name.split(" ", 1)[1] == place} for layers in self.layers
        ]

    def between(self, index: str, place: str) -> np.ndarray:
        """As `Study.between`."""
        settings = {
            "networks": [recipe.settings for recipe in self.recipes],
            "sequences": self.study.size.sequences,
            "place": place,
        }
        return self.study.between(self.at(place), index, "between-encoders", settings)

    def accuracies(self) -> np.ndarray:
        """Share of positions of held-out sequences that are right."""
        recipe, study = self.recipes[0], self.study
        tokens, ordered = sequences(study.size.sequences, recipe.length, recipe.symbols, seed=1)
        return np.array([accuracy(study.network(recipe), tokens, ordered, study.device) for recipe in self.recipes])


def cell(result: LayerAccuracy, best: LayerAccuracy, paper: float) -> str:
    """Accuracy in percent, bold where it is not significantly different from the best, and the paper's in brackets."""
    value = percent(result.accuracy)
    tied = result is best or jackknife_test(best, result)[1] >= 0.05
    return f"{f'**{value}**' if tied else value} ({paper})"


def run(study: Study) -> Report:
    """Layer identification at each place by each index, and heatmaps of five of the indexes."""
    encoders = Encoders(study)
    count, tokens = study.size.sublayers, len(encoders.layers[0][f"1 {PLACES[0]}"])
    found: dict[tuple[str, str], LayerAccuracy] = {}
    means: dict[str, np.ndarray] = {}
    for label, index, symmetrise, _ in PAPER:
        for place in PLACES:
            scores = encoders.between(index, place)
            names = [str(i + 1) for i in range(count)]
            found[label, place] = identified(symmetric(scores) if symmetrise else scores, index, names, tokens)
            means[f"{label}, {place}"] = average(scores).T  # of regression, rows explain columns, as in Figure 2
    best = {place: max((found[label, place] for label, *_ in PAPER), key=lambda result: result.accuracy) for place in PLACES}
    table = markdown(
        ["index", *PLACES],
        [
            (label, *(cell(found[label, place], best[place], value) for place, value in zip(PLACES, paper, strict=True)))
            for label, _, _, paper in PAPER
        ],
    )
    figure, axes = sheet(len(PANELS), len(PLACES), (1.9, 1.7))
    for i, (row, label) in enumerate(zip(axes, PANELS, strict=True)):
        for ax, place in zip(row, PLACES, strict=True):
            image = show(ax, means[f"{label}, {place}"], "" if i else place, (0, 1))
        row[0].set_ylabel(f"{label}\nSublayer", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("Sublayer", fontsize=8)
    small(figure.colorbar(image, ax=axes, fraction=0.02, pad=0.02), "Mean similarity over pairs of networks")
    odd = np.add.outer(np.arange(count), np.arange(count)) % 2 == 1
    apart = ~np.eye(count, dtype=bool)
    checks = [
        (label, *(f"{m[apart & ~odd].mean() - m[odd].mean():+.3f}" for m in (means[f"{label}, {p}"] for p in PLACES)))
        for label in PANELS
    ]
    right, chance = encoders.accuracies().mean(), 100 / count
    text = "\n\n".join(
        [
            f"{len(encoders.recipes)} encoders of {count} sublayers of width {study.size.width} that sort sequences of "
            f"{encoders.recipes[0].length} of {encoders.recipes[0].symbols} symbols; {right:.1%} of the "
            f"positions of held-out sequences right; n = {tokens} tokens. Sublayers found, % (the paper's in brackets; "
            f"chance {chance:.1f}). Bold: not significantly different from the best of the column (jackknife z-test, "
            "p >= 0.05).",
            table,
            "Mean similarity of sublayers of one kind (attention, feed-forward) minus that of different kinds:",
            markdown(["index", *PLACES], checks),
        ]
    )
    return Report("table_f1", text, {f"{label}, {place}": result.hits for (label, place), result in found.items()}, figure)
