"""Why CCA misses the sublayers of Table F.1, and why SVCCA finds layers of Figure F.3: one factor at a time, then two.

Not in the paper. Everything is compared with the settings of the table (`BASE`) and of the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from matplotlib.axes import Axes

import simkit
from benchmarks.paper.data import NOTHING
from benchmarks.paper.drawing import markdown, percent, sheet
from benchmarks.paper.study import Layers, Report, Study, average, identified
from benchmarks.paper.train import Recipe, SequenceRecipe
from simkit.analysis import LayerAccuracy

__all__ = ["run", "tied"]

NETWORKS = 4  # of each kind, at most
BASE = "as in Table F.1"
TEXT = {"task": "text", "length": 20, "symbols": 40}
PLACES = ("Layer Norm", "Attn/FFN", "Residual")  # CCA is the same before and after the scale
RATIOS = (0.5, 1, 2, 5, 10, 20, 50)  # n / p
THRESHOLDS = (0.5, 0.9, 0.99)
TIE = 1e-10


@dataclass(frozen=True)
class Encoders:
    """Encoders that differ in their seed only, and how their tokens are computed."""

    recipes: tuple[SequenceRecipe, ...]
    trained: bool = True
    double: bool = False
    more: int = 1  # times as many sequences

    @property
    def recipe(self) -> SequenceRecipe:
        """One of the recipes."""
        return self.recipes[0]

    def count(self, study: Study) -> int:
        """Sequences, so many that there are as many tokens as in Table F.1, times `more`."""
        return max(1, self.more * study.size.sequences * SequenceRecipe(0, 1).length // self.recipe.length)

    def layers(self, study: Study) -> list[Layers]:
        """All places of all sublayers of every network."""
        count = self.count(study)
        return [study.token_layers(recipe, count=count, trained=self.trained, double=self.double) for recipe in self.recipes]

    def between(self, study: Study, index: str, place: str, n: int | None = None) -> np.ndarray:
        """As `Study.between`, at one place, for `n` tokens spread evenly over all sequences."""
        settings = {
            "networks": [recipe.settings for recipe in self.recipes],
            "sequences": self.count(study),
            "trained": self.trained,
            "double": self.double,
            "place": place,
            "tokens": n,
        }
        networks = [
            {name: x[:: len(x) // n][:n] if n else x for name, x in layers.items() if name.endswith(f" {place}")}
            for layers in self.layers(study)
        ]
        return study.between(networks, index, "causes-encoders", settings)

    def unchanged(self, study: Study) -> float:
        """CCA of the residual stream with what it was before training, mean over sublayers and networks."""
        settings = {
            "networks": [recipe.settings for recipe in self.recipes],
            "sequences": self.count(study),
            "trained": self.trained,
            "double": self.double,
        }

        def run() -> dict[str, np.ndarray]:
            before = replace(self, trained=False, double=False).layers(study)
            pairs = zip(self.layers(study), before, strict=True)
            names = [f"{i + 1} {PLACES[-1]}" for i in range(study.size.sublayers)]
            return {"cca": np.array([[float(simkit.compare(x[i], y[i], "cca")) for i in names] for x, y in pairs])}

        if not self.trained:
            return 1.0
        return float(study.cache.arrays("causes-unchanged", settings, run)["cca"].mean())

    def right(self, study: Study) -> float:
        """Share of what is to be said at the positions of held-out sequences that is said rightly."""
        if not self.trained:
            return float("nan")
        shares = []
        for recipe in self.recipes:
            tokens, targets = recipe.draw(study.size.sequences, seed=1, held_out=True)
            with torch.inference_mode():
                said = study.network(recipe)(tokens.to(study.device)).argmax(1).cpu()
            shares.append((said == targets)[targets != NOTHING].double().mean().item())
        return float(np.mean(shares))


@dataclass(frozen=True)
class Convolutional:
    """Convolutional networks that differ in their seed only."""

    recipes: tuple[Recipe, ...]
    trained: bool = True

    def layers(self, study: Study) -> list[Layers]:
        """The layers of every network for images of the training part."""
        return [study.layers(recipe, "train", trained=self.trained) for recipe in self.recipes]

    def between(self, study: Study, index: str, n: int | None = None) -> np.ndarray:
        """As `Study.between`, for the first `n` images."""
        settings = {
            "networks": [recipe.settings for recipe in self.recipes],
            "trained": self.trained,
            "draws": study.size.train_draws,
            "grid": study.size.grid,
            "n": n,
        }
        networks = [{name: x[:n] for name, x in layers.items()} for layers in self.layers(study)]
        return study.between(networks, index, "causes-convolutional", settings)


def encoders(study: Study) -> dict[str, Encoders]:
    """Label -> encoders, each other than those of Table F.1 in what the label says."""
    size = study.size
    seeds = range(min(size.few, NETWORKS))

    def kind(**changes: object) -> tuple[SequenceRecipe, ...]:
        base = SequenceRecipe(0, size.steps, width=size.width, sublayers=size.sublayers)
        return tuple(replace(base, seed=seed, **changes) for seed in seeds)  # type: ignore[arg-type]

    usual, wide = kind(), 4 * size.width
    return {
        BASE: Encoders(usual),
        "computed in float64": Encoders(usual, double=True),
        "10 times the tokens": Encoders(usual, more=10),
        "untrained": Encoders(usual, trained=False),
        "trained 3 times as long": Encoders(kind(steps=3 * size.steps)[:3]),
        f"width {wide}": Encoders(kind(width=wide)),
        f"untrained, width {wide}": Encoders(kind(width=wide), trained=False),
        f"sorts 10 of {2 * size.width} symbols": Encoders(kind(symbols=2 * size.width)),
        f"width {wide}, sorts 10 of {2 * wide} symbols": Encoders(kind(width=wide, symbols=2 * wide)[:3]),
        "sorts 20 of 64 symbols": Encoders(kind(length=20, symbols=64)),
        "text": Encoders(kind(**TEXT)),
    }


def convolutional(study: Study) -> dict[str, Convolutional]:
    """Label -> networks, each other than those of Figure F.3 in what the label says."""
    size = study.size
    seeds = range(min(size.few, NETWORKS))

    def kind(architecture: str = "tiny10", task: str | None = None, share: int = 1) -> tuple[Recipe, ...]:
        usual = [study.recipe(architecture, seed, task) for seed in seeds]
        return tuple(replace(recipe, epochs=max(1, recipe.epochs // share)) for recipe in usual)

    narrow = size.widths[1]
    cells = {
        "as in Figure F.3": Convolutional(kind()),
        "untrained": Convolutional(kind(), trained=False),
        "trained a third as long": Convolutional(kind(share=3)),
        f"width {narrow}": Convolutional(kind(f"width{narrow}")),
    }
    if study.data == "digits":
        cells["photographs"] = Convolutional(kind(task="photographs"))
    return cells


def tied(scores: np.ndarray) -> float:
    """Share of rows in which several layers are the most similar, up to `TIE`; networks (m, m, layers, layers)."""
    rows = _rows(scores)
    return float(np.mean((rows >= rows.max(axis=-1, keepdims=True) - TIE).sum(axis=-1) > 1))


def favoured(scores: np.ndarray) -> tuple[int, float]:
    """The layer that is most often the most similar one, numbered from 1, and in what share of the rows it is."""
    count = np.bincount(_rows(scores).argmax(axis=-1).ravel(), minlength=scores.shape[-1])
    return int(count.argmax()) + 1, float(count.max() / count.sum())


def rank(layer: np.ndarray) -> int:
    """How many singular values of the centred layer are not lost in the rounding of float32."""
    values = np.linalg.svd(layer.astype(np.float64) - layer.mean(axis=0, dtype=np.float64), compute_uv=False)
    return int((values > 1e-5 * values[0]).sum())


def apart(scores: np.ndarray) -> float:
    """Mean similarity of corresponding layers minus that of all others."""
    mean = average(scores)
    same = np.eye(len(mean), dtype=bool)
    return float(mean[same].mean() - mean[~same].mean())


def kept(networks: Sequence[Layers], threshold: float) -> list[int]:
    """How many leading components hold `threshold` of the variance of each layer, as a mean over networks."""
    counts = []
    for layers in networks:
        variances = [np.linalg.eigvalsh(np.cov(x.astype(np.float64), rowvar=False))[::-1] for x in layers.values()]
        counts.append([int((np.cumsum(v) / v.sum() < threshold).sum()) + 1 for v in variances])
    return [round(count) for count in np.mean(counts, axis=0)]


def _rows(scores: np.ndarray) -> np.ndarray:
    return scores[~np.eye(len(scores), dtype=bool)]


def _found(scores: np.ndarray, index: str, n: int) -> LayerAccuracy:
    return identified(scores, index, [str(i + 1) for i in range(scores.shape[-1])], n)


def _with_error(result: LayerAccuracy) -> str:
    return f"{percent(result.accuracy)} ({percent(result.standard_error)})"


def _about_encoders(study: Study, axis: Axes, numbers: dict[str, np.ndarray]) -> list[str]:
    """Tables, `numbers` and a curve about Table F.1."""
    lines, details, growth = [], [], []
    cells = encoders(study)
    for label, cell in cells.items():
        layers = cell.layers(study)[0]
        n, p = next(iter(layers.values())).shape
        scores = {(index, place): cell.between(study, index, place) for index in ("cca", "cka") for place in PLACES}
        found = {key: _found(value, key[0], n) for key, value in scores.items()}
        numbers |= {f"{label}, {index}, {place}": value.hits for (index, place), value in found.items()}
        cca = [scores["cca", place] for place in PLACES]
        lines.append(
            (
                label,
                percent(cell.right(study)),
                p,
                n,
                *(_with_error(found["cca", place]) for place in PLACES),
                *(percent(found["cka", place].accuracy) for place in PLACES),
            )
        )
        best, share = favoured(cca[0])
        details.append(
            (
                label,
                f"{cell.unchanged(study):.2f}",
                f"{np.diagonal(average(cca[-1])).mean():.2f}",
                rank(layers[f"1 {PLACES[0]}"]),
                f"{best} ({share:.0%})",
                *(percent(_found(value[..., 1:, 1:], "cca", n).accuracy) for value in cca),
                *(percent(tied(value)) for value in cca),
            )
        )
        if label == BASE or label.startswith("width"):
            sizes = [int(ratio * p) for ratio in RATIOS if ratio * p < n]
            at = [cell.between(study, "cca", "Residual", size) for size in sizes]
            shares = [_found(value, "cca", size).accuracy for value, size in zip(at, sizes, strict=True)]
            axis.plot([size / p for size in sizes], [100 * share for share in shares], marker="o", ms=3, lw=1, label=label)
            growth += [
                (label, f"{size / p:g}", size, percent(share), percent(tied(value)))
                for value, size, share in zip(at, sizes, shares, strict=True)
            ]
    axis.axhline(100 / study.size.sublayers, color="0.4", lw=0.8, ls=":", label="by chance")
    axis.set(xscale="log", xlabel="n / p", ylabel="sublayers found by CCA, %", title="Encoders, Residual", ylim=(0, 100))
    return [
        f"Encoders, {len(cells[BASE].recipes)} of each kind, 3 of those that take longest: sublayers found, % (jackknife "
        f"standard error); chance {100 / study.size.sublayers:.1f}.",
        markdown(["encoders", "right, %", "p", "n", *(f"CCA, {p}" for p in PLACES), *(f"CKA, {p}" for p in PLACES)], lines),
        "Mean CCA of the residual stream with what it was before training, and with the same sublayer from another seed; "
        "after Layer Norm the rank of the first sublayer, and the sublayer that is found most often, whatever is looked "
        "for; the share found among all sublayers but the first, %; the share of rows in which several sublayers are the "
        f"most similar up to {TIE:g}, %.",
        markdown(
            ["encoders", "before", "other seed", "rank", "most often", *(f"without 1, {p}" for p in PLACES),
             *(f"tied, {p}" for p in PLACES)],
            details,
        ),
        "CCA of the residual stream on fewer tokens:",
        markdown(["encoders", "n / p", "n", "found, %", "tied, %"], growth),
    ]  # fmt: skip


def _about_convolutional(study: Study, axis: Axes, numbers: dict[str, np.ndarray]) -> list[str]:
    """Tables, `numbers` and a curve about Figure F.3."""
    lines = []
    cells = convolutional(study)
    for label, cell in cells.items():
        layers = cell.layers(study)
        n = len(next(iter(layers[0].values())))
        right = np.mean([study.accuracy(recipe) for recipe in cell.recipes]) if cell.trained else np.nan
        scores = {t: cell.between(study, f"svcca(threshold={t})") for t in THRESHOLDS}
        found = {t: _found(value, "svcca", n) for t, value in scores.items()}
        numbers |= {f"{label}, svcca {t}": value.hits for t, value in found.items()}
        count, least = kept(layers, THRESHOLDS[0]), THRESHOLDS[0]
        lines.append(
            (
                label,
                percent(float(right)),
                n,
                f"{min(count)} to {max(count)}",
                f"{apart(scores[least]):+.3f}",
                _with_error(found[least]),
                *(percent(found[t].accuracy) for t in THRESHOLDS[1:]),
                percent(_found(cell.between(study, "cka"), "cka", n).accuracy),
                percent(max(tied(value) for value in scores.values())),
            )
        )
        axis.plot(THRESHOLDS, [100 * found[t].accuracy for t in THRESHOLDS], marker="o", ms=3, lw=1, label=label)
    first = next(iter(cells.values()))
    total = len(next(iter(first.layers(study)[0].values())))
    growth = [
        (k, *(percent(_found(first.between(study, f"svcca(threshold={t})", k), "svcca", k).accuracy) for t in THRESHOLDS))
        for k in study.size.growing
        if k <= total
    ]
    axis.axhline(100 / 9, color="0.4", lw=0.8, ls=":", label="by chance")
    axis.set(xlabel="threshold", ylabel="layers found by SVCCA, %", title="Convolutional networks", ylim=(0, 100))
    return [
        f"Convolutional networks, {len(first.recipes)} of each kind: layers found by SVCCA (R2), % (jackknife standard "
        "error at 0.5); chance 11.1. At threshold 0.5: the components kept (of the layer with fewest, with most), and the "
        "mean for corresponding layers minus that for all others.",
        markdown(
            ["networks", "test, %", "n", "kept", "apart", *(f"{t}" for t in THRESHOLDS), "CKA", "tied, %"],
            lines,
        ),
        "The networks of Figure F.3 on fewer images, layers found by SVCCA (R2), %:",
        markdown(["n", *(f"{t}" for t in THRESHOLDS)], growth),
    ]  # fmt: skip


def run(study: Study) -> Report:
    """Layers found by CCA in encoders and by SVCCA in convolutional networks, under one change after the other."""
    numbers: dict[str, np.ndarray] = {}
    figure, axes = sheet(1, 2, (4.2, 3.2))
    parts = [
        part
        for about, axis in zip((_about_encoders, _about_convolutional), axes[0], strict=True)
        for part in about(study, axis, numbers)
    ]
    for axis in axes[0]:
        axis.legend(fontsize=6, frameon=False)
        axis.title.set_fontsize(9)
    return Report("causes", "\n\n".join(parts), numbers, figure)
