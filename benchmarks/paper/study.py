"""What all experiments share: how large they are, their networks, the layers of these and the similarities between them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

import simkit
from benchmarks.paper.cache import Cache
from benchmarks.paper.data import Images, load
from benchmarks.paper.networks import representations
from benchmarks.paper.train import Recipe, SequenceRecipe, accuracy, train, train_encoder
from simkit.analysis import LayerAccuracy
from simkit.analysis.correspondence import found_layers, jackknife_error
from simkit.arrays import to_numpy
from simkit.demo.network import GRID
from simkit.representation import Representation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FULL",
    "SMALL",
    "Group",
    "Layers",
    "Report",
    "Size",
    "Study",
    "average",
    "corresponding",
    "identified",
    "same_layer",
    "symmetric",
]

Layers = dict[str, np.ndarray]  # name -> (n, p)
_LARGE = 8192  # examples beyond which layers are prepared for one pair of networks at a time, and kernels tile by tile


@dataclass(frozen=True)
class Size:
    """How large the experiments are."""

    networks: int = 10  # of Table 2 and Table F.1
    few: int = 5  # of the other figures that average over networks
    epochs: int = 30
    divisor: int = 6  # of the channels of Plain networks
    depths: tuple[int, ...] = (1, 2, 4, 8)  # Figure 3
    residual: int = 62  # Figure 4: ResNet-62
    architectures: tuple[tuple[str, str], ...] = (  # Figure 5: rows, columns
        ("plain10", "plain18"),
        ("plain10", "resnet14"),
        ("plain18", "resnet32"),
        ("resnet14", "resnet32"),
    )
    widths: tuple[int, ...] = (4, 8, 16, 32, 64)  # Figure 6
    grid: int = GRID  # positions a side at which wider maps are taken, with all their channels
    draws: int = 4  # of the noise of held-out digits
    train_draws: int = 2  # of the noise of training digits
    growing: tuple[int, ...] = (100, 200, 400, 800, 1397, 2794)  # n, for Table 2's second part
    steps: int = 600  # of the Transformer
    width: int = 32
    sublayers: int = 12
    sequences: int = 300  # whose tokens the encoders are compared on
    probe: int = 1397  # examples that linear probes are trained on
    decay: float = 1e-3


SMALL = Size()
FULL = Size(
    few=10,
    epochs=100,
    divisor=1,
    widths=(4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    grid=8,
    draws=1,
    train_draws=1,
    growing=(1_000, 5_000, 10_000, 50_000),
    steps=20_000,
    width=512,
    sequences=3_000,
    probe=50_000,
    decay=5e-4,
)


@dataclass(frozen=True)
class Report:
    """What an experiment found: a table in Markdown, numbers by name, and a figure."""

    name: str
    text: str
    numbers: Mapping[str, np.ndarray]
    figure: Figure


@dataclass(frozen=True)
class Study:
    """The experiments on one data set, of one size, through one cache."""

    cache: Cache
    size: Size = SMALL
    data: str = "digits"
    folder: Path | None = None
    device: str = "cpu"
    _images: dict[str, Images] = field(default_factory=dict, repr=False)

    def images(self, task: str | None = None) -> Images:
        """The images of a task, by default of the study's data."""
        task = task or self.data
        if task not in self._images:
            self._images[task] = load(task, self.folder)
        return self._images[task]

    def recipe(self, architecture: str, seed: int = 0, task: str | None = None) -> Recipe:
        """How a network is trained in this study: deep Plain networks up to four times as long, since they learn slowly."""
        epochs, divisor = self.size.epochs, 1
        if architecture.startswith("plain"):
            divisor = self.size.divisor
            epochs *= min(4, int(architecture.removeprefix("plain").partition("-")[0]) // 8)
        return Recipe(architecture, task or self.data, seed, epochs, divisor, self.size.decay)

    def network(self, recipe: Recipe | SequenceRecipe, *, trained: bool = True) -> nn.Module:
        """A network on the study's device, trained or as initialised."""
        if isinstance(recipe, SequenceRecipe):
            empty, fit = recipe.build, lambda: train_encoder(recipe, self.device)
        else:
            images = self.images(recipe.task)
            empty, fit = lambda: recipe.build(images), lambda: train(recipe, images, self.device)
        network = self.cache.network(recipe.label, recipe.settings, empty, fit) if trained else empty().eval()
        return network.to(self.device)

    def accuracy(self, recipe: Recipe) -> float:
        """Share of the held-out images of its task that a network classifies rightly."""
        images = self.images(recipe.task)
        return accuracy(self.network(recipe), images.test_images, images.test_labels, self.device)

    def layers(
        self,
        recipe: Recipe,
        part: str = "test",
        *,
        task: str | None = None,
        trained: bool = True,
        draws: int | None = None,
        limit: int | None = None,
    ) -> Layers:
        """The hidden layers of a network (the logits are left out, as in the paper) for images of `task`.

        `part` is "train" or "test"; `limit` keeps the first so many.
        """
        task = task or recipe.task
        if draws is None:
            draws = self.size.train_draws if part == "train" else self.size.draws
        settings = {
            "network": recipe.settings,
            "trained": trained,
            "part": part,
            "of": task,
            "draws": draws,
            "grid": self.size.grid,
            "limit": limit,
        }

        def run() -> Layers:
            inputs = self.images(task).examples(part, draws)[0][:limit]
            return self._run(self.network(recipe, trained=trained), inputs)

        return self.cache.arrays(recipe.label, settings, run)

    def token_layers(
        self, recipe: SequenceRecipe, *, count: int | None = None, trained: bool = True, double: bool = False
    ) -> Layers:
        """All places of all sublayers of an encoder, for the tokens of `count` held-out sequences.

        `double`: its weights are taken to float64 and the layers computed in it.
        """
        count = count or self.size.sequences
        settings: dict[str, Any] = {"network": recipe.settings, "sequences": count}
        settings |= {} if trained else {"trained": False}
        settings |= {"double": True} if double else {}
        tokens, _ = recipe.draw(count, seed=1, held_out=True)

        def run() -> Layers:
            network = self.network(recipe, trained=trained)
            return self._run(network.double() if double else network, tokens)

        return self.cache.arrays(recipe.label, settings, run)

    def _run(self, network: nn.Module, inputs: torch.Tensor, batch: int = 500) -> Layers:
        pieces: dict[str, list[np.ndarray]] = {}
        with torch.inference_mode():
            for x in inputs.split(batch):
                for name, y in representations(network, x.to(self.device)):
                    if name != "logits":
                        pieces.setdefault(name, []).append(self._units(y))
        return {name: np.concatenate(parts) for name, parts in pieces.items()}

    def _units(self, maps: torch.Tensor) -> np.ndarray:
        """(n, p): all channels, at ``grid`` x ``grid`` positions where a map is wider."""
        grid = self.size.grid
        if maps.ndim == 4 and maps.shape[-1] > grid:
            step = maps.shape[-1] // grid
            maps = maps[:, :, step // 2 :: step, step // 2 :: step]
        return maps.flatten(1).cpu().numpy()

    def between(self, networks: Sequence[Layers], index: str, label: str, settings: Mapping[str, Any]) -> np.ndarray:
        """Similarities of the layers of all ordered pairs of networks, shape (m, m, layers, layers).

        ``[a, b, i, j]`` compares layer i of network a with layer j of network b. A layer is prepared once, not once for
        each pair. `settings` must say what the layers depend on.
        """

        def run() -> dict[str, np.ndarray]:
            return {"scores": self._between(networks, index)}

        return self.cache.arrays(f"{label}-{index.partition('(')[0]}", {"index": index, **settings}, run)["scores"]

    def _between(self, networks: Sequence[Layers], index: str) -> np.ndarray:
        chosen = simkit.get_index(index)
        m, layers = len(networks), len(networks[0])
        n, width = len(next(iter(networks[0].values()))), 2 * sum(x.shape[1] for x in networks[0].values())
        large = n > _LARGE

        def prepare(network: Layers) -> list[Any]:
            return [chosen.prepare(Representation(x, name, tall=n >= width)) for name, x in self._arrays(network).items()]

        prepared = [[] if large else prepare(network) for network in networks]
        scores = np.full((m, m, layers, layers), np.nan)
        for a, b in itertools.permutations(range(m), 2):
            if chosen.facts.symmetric and b < a:
                scores[a, b] = scores[b, a].T
            elif large:
                tiles: Any = "sample" if "rbf" in index else None
                pair = self._arrays(networks[a]), self._arrays(networks[b])
                scores[a, b] = simkit.pairwise(*pair, chosen, tiles=tiles, progress=False).to_numpy()
            else:
                scores[a, b] = to_numpy(chosen.scores(prepared[a], prepared[b]))
        return scores

    def _arrays(self, layers: Layers) -> dict[str, Any]:
        if self.device == "cpu":
            return dict(layers)
        return {name: torch.from_numpy(x).to(self.device) for name, x in layers.items()}

    def tiny10s(self, part: str = "train") -> Group:
        """The ten networks of Table 2 and Figures 1, 2, 8 and F.3."""
        return Group(self, [self.recipe("tiny10", seed) for seed in range(self.size.networks)], part)

    def group(self, architecture: str, part: str = "test", count: int | None = None, task: str | None = None) -> Group:
        """Networks of one architecture from seeds 0, 1, ..."""
        count = count or self.size.few
        return Group(self, [self.recipe(architecture, seed, task) for seed in range(count)], part)


@dataclass(frozen=True)
class Group:
    """Networks that differ in their seed only, and their layers for the same images."""

    study: Study
    recipes: list[Recipe]
    part: str

    @cached_property
    def layers(self) -> list[Layers]:
        """The layers of every network."""
        return [self.study.layers(recipe, self.part) for recipe in self.recipes]

    @property
    def names(self) -> list[str]:
        """The names of the layers."""
        return list(self.layers[0])

    def first(self, n: int) -> list[Layers]:
        """The layers for `n` of the images, spread over all classes."""
        return [{name: x[:n] for name, x in layers.items()} for layers in self.layers]

    @property
    def n(self) -> int:
        """The number of images."""
        return len(next(iter(self.layers[0].values())))

    def accuracies(self) -> np.ndarray:
        """Test accuracy of every network."""
        return np.array([self.study.accuracy(recipe) for recipe in self.recipes])

    def between(self, index: str, n: int | None = None) -> np.ndarray:
        """As `Study.between`, for the first `n` images."""
        size = self.study.size
        settings = {
            "networks": [recipe.settings for recipe in self.recipes],
            "part": self.part,
            "draws": [size.draws, size.train_draws],
            "grid": size.grid,
            "n": n,
        }
        networks = self.layers if n is None else self.first(n)
        return self.study.between(networks, index, f"between-{self.recipes[0].architecture}", settings)


def symmetric(scores: np.ndarray) -> np.ndarray:
    """S + S' of all pairs of networks, for asymmetric indexes."""
    return scores + scores.transpose(1, 0, 3, 2)


def identified(scores: np.ndarray, index: str, layers: Sequence[str], n: int) -> LayerAccuracy:
    """Section 6.1 from similarities that are there already; see `simkit.analysis.layer_accuracy`."""
    return LayerAccuracy(index, tuple(layers), found_layers(scores, smallest=simkit.get_index(index).facts.identity == 0), n)


def average(scores: np.ndarray) -> np.ndarray:
    """The mean over ordered pairs of different networks, (layers, layers)."""
    return scores[~np.eye(len(scores), dtype=bool)].mean(axis=0)


def same_layer(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean similarity of corresponding layers over pairs of networks, and its jackknife standard error over networks."""
    diagonal = np.diagonal(scores, axis1=2, axis2=3)  # (m, m, layers)
    m = len(diagonal)
    mean = diagonal[~np.eye(m, dtype=bool)].mean(axis=0)
    if m < 3:
        return mean, np.full_like(mean, np.nan)
    kept = [[a for a in range(m) if a != left] for left in range(m)]
    return mean, jackknife_error(
        np.array([diagonal[np.ix_(some, some)][~np.eye(m - 1, dtype=bool)].mean(axis=0) for some in kept])
    )


def corresponding(first: Sequence[Layers], second: Sequence[Layers]) -> tuple[np.ndarray, np.ndarray]:
    """`same_layer` by linear CKA of networks of two kinds from different seeds; a seed is left out of both at once."""
    m, names = len(first), list(first[0])
    scores = np.full((m, m, len(names), len(names)), np.nan)
    for a, b in itertools.permutations(range(m), 2):
        for i, name in enumerate(names):
            scores[a, b, i, i] = float(simkit.compare(first[a][name], second[b][name]))
    return same_layer(scores)
