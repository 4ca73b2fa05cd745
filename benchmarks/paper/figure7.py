"""Figure 7: do networks that were trained on different data develop similar representations?

On CIFAR the two data sets are CIFAR-10 and CIFAR-100, as in the paper; on digits they are the digits 0 to 4 and 5 to 9,
which share neither images nor classes.
"""

from __future__ import annotations

import numpy as np

from benchmarks.paper.drawing import markdown, sheet
from benchmarks.paper.study import Report, Study, corresponding
from benchmarks.paper.train import Recipe

__all__ = ["run"]


def same_layers(study: Study, first: list[Recipe], second: list[Recipe], task: str, trained: bool) -> np.ndarray:
    """CKA of corresponding layers of each network of `first` and each of `second` from another seed: mean and error."""

    def compute() -> dict[str, np.ndarray]:
        a = [study.layers(recipe, task=task, trained=trained) for recipe in first]
        b = [study.layers(recipe, task=task) for recipe in second]
        return {"result": np.array(corresponding(a, b))}

    settings = {
        "first": [recipe.settings for recipe in first],
        "second": [recipe.settings for recipe in second],
        "of": task,
        "trained": trained,
        "draws": study.size.draws,
        "grid": study.size.grid,
    }
    return study.cache.arrays("same-layers", settings, compute)["result"]


def run(study: Study) -> Report:
    """One panel for the held-out images of each data set."""
    tasks = ("digits-low", "digits-high") if study.data == "digits" else ("cifar10", "cifar100")
    names = {"digits-low": "digits 0-4", "digits-high": "digits 5-9", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
    one, two = names[tasks[0]], names[tasks[1]]
    nets = [study.group("plain10", task=task).recipes for task in tasks]
    lines = {
        f"{one} net vs. {one} net": (nets[0], nets[0], True),
        f"{two} net vs. {two} net": (nets[1], nets[1], True),
        f"{one} net vs. {two} net": (nets[0], nets[1], True),
        f"Untrained vs. {one} net": (nets[0], nets[0], False),
        f"Untrained vs. {two} net": (nets[1], nets[1], False),
    }
    figure, axes = sheet(1, 2, (3.1, 2.9), sharey=True)
    numbers, tables = {}, []
    for ax, task in zip(axes[0], tasks, strict=True):
        rows = []
        for label, (first, second, trained) in lines.items():
            mean, error = same_layers(study, first, second, task, trained)
            places = np.arange(1, len(mean) + 1)
            ax.plot(places, mean, marker=".", lw=1.2, label=label)
            ax.fill_between(places, mean - error, mean + error, alpha=0.25, lw=0)
            numbers[f"{label}, on {names[task]}"] = mean
            rows.append((label, *(f"{value:.2f}" for value in mean)))
        ax.set(xlabel="Layer", title=f"Similarity on {names[task]}", ylim=(0, 1.02))
        ax.set_xticks(places)
        ax.title.set_fontsize(9)
        ax.spines[["top", "right"]].set_visible(False)
        tables.append(f"On held-out {names[task]}:\n\n" + markdown(["networks", *map(str, places)], rows))
    axes[0, 0].set_ylabel("CKA (linear)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7, frameon=False)
    right = [np.mean([study.accuracy(recipe) for recipe in recipes]) for recipes in nets]
    text = (
        f"{len(nets[0])} Plain-10 networks of each kind; test accuracy {right[0]:.1%} ({one}), {right[1]:.1%} ({two}).\n\n"
    )
    return Report("figure7", text + "\n\n".join(tables), numbers, figure)
