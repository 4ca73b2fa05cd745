"""Figure F.6: CKA between networks with and without batch normalisation."""

from __future__ import annotations

import itertools

import numpy as np

import simkit
from benchmarks.paper.drawing import heatmaps, markdown
from benchmarks.paper.study import Group, Report, Study, average

__all__ = ["run"]


def across(first: Group, second: Group) -> np.ndarray:
    """CKA of all layers of networks of two groups, averaged over pairs from different seeds."""

    def compute() -> dict[str, np.ndarray]:
        pairs = itertools.permutations(range(len(first.recipes)), 2)
        matrices = [simkit.pairwise(first.layers[a], second.layers[b], "cka", progress=False).to_numpy() for a, b in pairs]
        return {"mean": np.mean(matrices, axis=0)}

    study = first.study
    settings = {
        "first": [recipe.settings for recipe in first.recipes],
        "second": [recipe.settings for recipe in second.recipes],
        "draws": study.size.draws,
        "grid": study.size.grid,
    }
    return study.cache.arrays("across", settings, compute)["mean"]


def run(study: Study) -> Report:
    """Plain-10 networks from different seeds: with, without, and one of each."""
    groups = {"BN": study.group("plain10"), "No BN": study.group("plain10-nobn")}
    panels = {
        "BN vs. BN": average(groups["BN"].between("cka")),
        "No BN vs. No BN": average(groups["No BN"].between("cka")),
        "BN vs. No BN": across(groups["BN"], groups["No BN"]),
    }
    names = groups["BN"].names
    rows = [(title, *(f"{value:.2f}" for value in np.diag(values))) for title, values in panels.items()]
    text = (
        f"{study.size.few} Plain-10 networks of each kind, test accuracy "
        + ", ".join(f"{group.accuracies().mean():.1%} ({kind})" for kind, group in groups.items())
        + f"; n = {groups['BN'].n} held-out images. CKA of the same layer:\n\n"
        + markdown(["networks", *names], rows)
    )
    return Report("figure_f6", text, panels, heatmaps(list(panels.items()), 3, limits=(0, 1), bar="CKA (linear)"))
