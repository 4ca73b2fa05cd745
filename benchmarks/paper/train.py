"""Train one network from one recipe, seeded: the seed sets the initial weights, the order of examples, shifts and flips.

Images: the recipe of `simkit.demo.train` (SGD with Nesterov momentum 0.9, one-cycle learning rate, batches of 128, one
random shift for each batch), for CIFAR with mirrored images. Sequences: Adam, one-cycle, fresh sequences in every batch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.paper.data import Images, sequences, text
from benchmarks.paper.networks import Encoder, build

__all__ = ["Recipe", "SequenceRecipe", "accuracy", "train", "train_encoder"]

BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """Everything that a network on images depends on, except the images themselves, which `task` names."""

    architecture: str
    task: str
    seed: int
    epochs: int
    divisor: int = 1
    decay: float = 1e-3

    @property
    def rate(self) -> float:
        """The highest learning rate; lower where no batch normalisation keeps the scale."""
        return 0.02 if self.architecture.endswith("nobn") else 0.1

    def build(self, images: Images) -> nn.Module:
        """The network with its initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return build(self.architecture, images.channels, images.classes, self.divisor)

    @property
    def settings(self) -> dict[str, Any]:
        """For the cache."""
        return {"kind": "images", **asdict(self), "rate": self.rate}

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.architecture}-{self.task}-seed{self.seed}"


@dataclass(frozen=True)
class SequenceRecipe:
    """Everything that a Transformer encoder depends on.

    It learns to sort `length` of `symbols` symbols, or (``task="text"``) to guess hidden letters of English text.
    """

    seed: int
    steps: int
    length: int = 10
    symbols: int = 16
    width: int = 32
    sublayers: int = 12
    rate: float = 2e-3
    task: str = "sort"

    def build(self) -> Encoder:
        """The encoder with its initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Encoder(self.symbols, self.length, self.width, self.sublayers)

    @property
    def settings(self) -> dict[str, Any]:
        """For the cache."""
        settings = asdict(self)
        return {"kind": {"sort": "sequences", "text": "text"}[settings.pop("task")], **settings}

    @property
    def label(self) -> str:
        """For people."""
        return f"encoder{self.sublayers}-{self.task}-seed{self.seed}"

    def draw(self, n: int, seed: int, *, held_out: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Sequences (n, length) and what is to be said at each of their positions."""
        if self.task == "text":
            return text(n, self.length, self.symbols, seed, held_out=held_out)
        return sequences(n, self.length, self.symbols, seed)


def train(recipe: Recipe, images: Images, device: str = "cpu") -> nn.Module:
    """A trained network, in evaluation mode on `device`."""
    network = recipe.build(images).to(device)
    pixels, labels = images.train_images.to(device), images.train_labels.to(device)
    generator = torch.Generator().manual_seed(recipe.seed)
    n, reach = len(labels), pixels.shape[-1] // 8
    optimizer = torch.optim.SGD(network.parameters(), lr=recipe.rate, momentum=0.9, nesterov=True, weight_decay=recipe.decay)
    steps = recipe.epochs * -(-n // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.rate, total_steps=steps)
    network.train()
    for _ in range(recipe.epochs):
        for rows in torch.randperm(n, generator=generator).split(BATCH):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            batch = torch.roll(pixels[rows.to(device)], (down, right), dims=(2, 3))
            if images.channels == 3:  # a mirrored digit is no digit; a mirrored photograph is a photograph
                mirrored = (torch.rand(len(rows), generator=generator) < 0.5).to(device)
                batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
            loss = nn.functional.cross_entropy(network(batch), labels[rows.to(device)])
            _step(network, loss, optimizer, schedule, 5.0)
    return network.eval()


def _step(
    network: nn.Module,
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    longest: float,
) -> None:
    """Go down the gradient, shortened to `longest`."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), longest)
    optimizer.step()
    schedule.step()


def train_encoder(recipe: SequenceRecipe, device: str = "cpu") -> Encoder:
    """A trained encoder, in evaluation mode on `device`."""
    network = recipe.build().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.rate, total_steps=recipe.steps)
    network.train()
    for step in range(recipe.steps):
        tokens, targets = recipe.draw(BATCH, seed=(recipe.seed + 1) * 1_000_000 + step)
        loss = nn.functional.cross_entropy(network(tokens.to(device)), targets.to(device))
        _step(network, loss, optimizer, schedule, 1.0)
    return network.eval()


def accuracy(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, device: str = "cpu", batch: int = 500) -> float:
    """Share of predictions that are right."""
    with torch.inference_mode():
        right = [
            (network(x.to(device)).argmax(1).cpu() == y).float().flatten()
            for x, y in zip(inputs.split(batch), labels.split(batch), strict=True)
        ]
    return float(torch.cat(right).mean())
