"""Train Tiny-10 networks like the two that ship with simkit, and write their weights.

    python -m simkit.demo.train --output FOLDER

The architecture is Table E.1 of the paper, the data scikit-learn's handwritten digits, enlarged from 8 x 8 to 16 x 16
pixels so that every convolution still has positions. Clean digits are too easy: after a few epochs the last layers hold
little but the class. Noise is added so that the networks are about as often right as the paper's Tiny-10 on CIFAR-10 (94 %).
Everything is seeded; torch and scikit-learn are imported only when they are needed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.demo.network import CONVOLUTIONS, LAYERS, rounded
from simkit.files import whole_file

if TYPE_CHECKING:
    import torch

__all__ = ["Digits", "activations", "digits", "main", "record", "tiny10", "train", "weights"]

HELD_OUT = 400  # of 1797 digits, for testing
RECORDED = 200  # of those, which ship
NOISE = 0.25  # standard deviation on the original 8 x 8 pixels in [0, 1]: about 94 % of the held-out digits are then right
THREADS = 2  # sets the order of sums; training grows a difference in the last digit into another network


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, size, size) and classes (n,), for training and held out; the same for every seed of a network.

    `test_pixels` (n, 8, 8) are what the held-out images were enlarged from.
    """

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    test_pixels: torch.Tensor


def digits(size: int = 16, noise: float = NOISE) -> Digits:
    """scikit-learn's 1797 handwritten digits (Alpaydin & Kaynak 1998), with noise, enlarged to `size` pixels bilinearly."""
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    greys, labels = load_digits(return_X_y=True)
    pixels = torch.from_numpy(greys).float().reshape(-1, 1, 8, 8) / 16
    pixels += noise * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False)
    split = train_test_split(np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=0)
    train_rows, test_rows = (torch.from_numpy(rows) for rows in split)
    classes = torch.from_numpy(labels)
    return Digits(images[train_rows], classes[train_rows], images[test_rows], classes[test_rows], pixels[test_rows, 0])


def tiny10(channels: int = 1, classes: int = 10) -> torch.nn.Sequential:
    """Tiny-10 (Table E.1): eight convolutions with batch normalisation and ReLU, global average pooling, a linear layer.

    The children are named as in `simkit.demo.network.LAYERS`.
    """
    from collections import OrderedDict

    from torch import nn

    layers: OrderedDict[str, Any] = OrderedDict()
    for name, (width, kernel, stride, padding) in zip(LAYERS, CONVOLUTIONS, strict=False):
        layers[name] = nn.Sequential(
            nn.Conv2d(channels, width, kernel, stride, padding, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        channels = width
    layers["avgpool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers["logits"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)


def train(data: Digits, seed: int, epochs: int = 15) -> torch.nn.Sequential:
    """Train one network from `seed`, which sets the initial weights, the order of examples and the shifts.

    SGD with Nesterov momentum 0.9, one-cycle learning rate up to 0.1, weight decay 1e-3, batches of 128, random shifts by up
    to an eighth of the image (one pixel of the original digits), one shift for each batch.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = tiny10()
    n, reach = len(data.train_labels), data.train_images.shape[-1] // 8
    steps = -(-n // 128)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=epochs * steps)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(n, generator=generator).split(128):
            down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
            images = torch.roll(data.train_images[rows], (down, right), dims=(2, 3))
            loss = torch.nn.functional.cross_entropy(network(images), data.train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def activations(network: torch.nn.Sequential, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The output of every named layer for `images`, in order: maps (n, c, h, w), then (n, p)."""
    import torch

    layers, x = {}, images
    with torch.inference_mode():
        for name, layer in network.named_children():
            x = layer(x)
            layers[name] = x
    return layers


def weights(network: torch.nn.Sequential) -> dict[str, np.ndarray]:
    """The weights as `simkit.demo.network.forward` takes them: batch normalisation folded in, convolutions in 8 bits."""
    found: dict[str, np.ndarray] = {}
    for name in LAYERS[: len(CONVOLUTIONS)]:
        convolution, normalisation, _ = network.get_submodule(name).children()
        spread = (normalisation.running_var + normalisation.eps).sqrt()
        gain = (normalisation.weight / spread).detach().double().numpy()
        kernels, scale = rounded(convolution.weight.detach().double().numpy() * gain[:, None, None, None])
        bias = normalisation.bias.detach().double().numpy() - gain * normalisation.running_mean.double().numpy()
        found |= {f"{name}.weight": kernels, f"{name}.scale": scale, f"{name}.bias": bias.astype(np.float32)}
    last = network.get_submodule("logits")
    return found | {f"logits.{part}": getattr(last, part).detach().numpy() for part in ("weight", "bias")}


def record(folder: Path, seeds: tuple[int, ...] = (0, 1), *, force: bool = False) -> dict[int, float]:
    """Train a network from each seed, write ``tiny10_seed<seed>.npz`` into `folder`, and return the test accuracies.

    ``digits.npz`` has the held-out digits that ship, ``pixels`` and ``labels``.

    Sets PyTorch to deterministic algorithms and `THREADS` threads.
    """
    import torch

    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(THREADS)
    folder.mkdir(parents=True, exist_ok=True)
    data, accuracies = digits(), {}
    for seed in seeds:
        network = train(data, seed)
        logits = activations(network, data.test_images)["logits"]
        accuracies[seed] = float((logits.argmax(1) == data.test_labels).float().mean())
        with whole_file(folder / f"tiny10_seed{seed}.npz", force=force) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **weights(network))
    pixels, labels = data.test_pixels[:RECORDED].numpy(), data.test_labels[:RECORDED].numpy()
    with whole_file(folder / "digits.npz", force=force) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, pixels=pixels.astype(np.float16), labels=labels.astype(np.uint8))
    return accuracies


def main() -> None:
    """Train networks like those that ship with simkit, and write them in the form in which those ship."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the .npz files")
    parser.add_argument("--networks", type=int, default=2, help="how many, from seeds 0, 1, ...")
    parser.add_argument("--force", action="store_true", help="replace files that exist")
    options = parser.parse_args()
    for seed, accuracy in record(options.output, tuple(range(options.networks)), force=options.force).items():
        print(f"seed {seed}: {accuracy:.1%} of {HELD_OUT} held-out digits right")


if __name__ == "__main__":
    main()
