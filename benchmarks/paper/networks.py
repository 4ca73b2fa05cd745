"""Appendix E of the paper: Tiny-10, Plain-(8n+2), Width-n and ResNet-(6n+2); appendix F.1: the Transformer encoder.

Networks are chains of named children. `representations` runs one and yields what every layer makes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from simkit.demo.train import tiny10

__all__ = ["Block", "Encoder", "build", "plain", "representations", "resnet", "tiny10", "width"]

Convolution = tuple[int, int, int, int]  # channels, kernel, stride, padding


def build(architecture: str, channels: int, classes: int, divisor: int = 1) -> nn.Module:
    """The network called `architecture`: ``tiny10``, ``plain18``, ``width64``, ``resnet14``.

    ``plain10-nobn`` has no batch normalisation. Plain networks get 1/`divisor` of the paper's channels.
    """
    name, _, variant = architecture.partition("-")
    normalised = {"": True, "nobn": False}.get(variant)
    family = name.rstrip("0123456789")
    number = int(name.removeprefix(family) or 0)
    if normalised is not None and (normalised or family == "plain"):
        if architecture == "tiny10":
            return tiny10(channels, classes)
        if family == "plain" and number >= 10 and number % 8 == 2:
            return plain((number - 2) // 8, channels, classes, divisor=divisor, normalised=normalised)
        if family == "resnet" and number >= 8 and number % 6 == 2:
            return resnet((number - 2) // 6, channels, classes)
        if family == "width" and number > 0:
            return width(number, channels, classes)
    raise ValueError(
        f"There is no architecture {architecture!r}; tiny10, plain(8n+2), plain(8n+2)-nobn, width(n), resnet(6n+2)."
    )


def plain(n: int, channels: int, classes: int, *, divisor: int = 1, normalised: bool = True) -> nn.Sequential:
    """Plain-(8n+2), Table E.2: 8n convolutions of 96 and 192 channels, global average pooling, a linear layer."""
    narrow, wide = 96 // divisor, 192 // divisor
    return _chain(
        [
            *[(narrow, 3, 1, 1)] * (3 * n - 1),
            (narrow, 3, 2, 1),
            *[(wide, 3, 1, 1)] * (3 * n - 1),
            (wide, 3, 2, 1),
            *[(wide, 3, 1, 1)] * (n - 1),
            (wide, 3, 1, 0),
            *[(wide, 1, 1, 0)] * n,
        ],
        channels,
        classes,
        normalised,
    )


def width(n: int, channels: int, classes: int) -> nn.Sequential:
    """Width-n, Table E.3: Tiny-10's eight convolutions, all of n channels."""
    shapes = [(3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 1), (3, 1, 1), (3, 2, 1), (3, 1, 0), (1, 1, 0)]
    return _chain([(n, *shape) for shape in shapes], channels, classes)


def _chain(convolutions: Iterable[Convolution], channels: int, classes: int, normalised: bool = True) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (out, kernel, stride, padding) in enumerate(convolutions, 1):
        convolution = nn.Conv2d(channels, out, kernel, stride, padding, bias=not normalised)
        if normalised:
            layers[f"conv{i}"] = nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())
        else:  # nothing else then keeps the scale from layer to layer
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers[f"conv{i}"] = nn.Sequential(convolution, nn.ReLU())
        channels = out
    return _with_head(layers, channels, classes)


def _with_head(layers: OrderedDict[str, nn.Module], channels: int, classes: int) -> nn.Sequential:
    layers["avgpool"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers["logits"] = nn.Linear(channels, classes)
    return nn.Sequential(layers)


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016): ReLU(x + F(x)).

    The shortcut has no parameters: where the maps shrink it takes every second position and adds channels of zeros.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, out - channels
        self.first = nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out))

    def join(self, x: Tensor, interior: Tensor) -> Tensor:
        """The block's output, from its input and its interior activations."""
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.missing:
            shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.missing))
        return torch.relu(shortcut + self.second(interior))

    def forward(self, x: Tensor) -> Tensor:
        """ReLU(x + F(x))."""
        return self.join(x, self.first(x))


def resnet(n: int, channels: int, classes: int, widths: tuple[int, int, int] = (16, 32, 64)) -> nn.Sequential:
    """ResNet-(6n+2) of He et al. 2016 for CIFAR: a convolution, three groups of n blocks, pooling, a linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Sequential(
        nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
    )
    channels, number = widths[0], 0
    for group, out in enumerate(widths):
        for i in range(n):
            number += 1
            layers[f"block{number}"] = Block(channels, out, 2 if group and i == 0 else 1)
            channels = out
    return _with_head(layers, channels, classes)


def representations(network: nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Run a network and yield every layer's name and output: of a block its interior, then the sum with the shortcut."""
    if isinstance(network, Encoder):
        yield from network.places(x)
        return
    for name, layer in network.named_children():
        if isinstance(layer, Block):
            interior = layer.first(x)
            yield f"{name}.interior", interior
            x = layer.join(x, interior)
        else:
            x = layer(x)
        yield name, x


PLACES = ("Layer Norm", "Scale", "Attn/FFN", "Residual")  # of Figure F.2, in this order


class Sublayer(nn.Module):
    """Figure F.2: layer normalisation, channel-wise scale, self-attention or feed-forward network, plus the residual."""

    def __init__(self, width: int, heads: int, attends: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.gain, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True) if attends else None
        self.network = (
            None if attends else nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        )

    def places(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The representation after each of the four operations."""
        normed = self.norm(x)
        scaled = normed * self.gain + self.shift
        if self.attention is not None:
            made = self.attention(scaled, scaled, scaled, need_weights=False)[0]
        else:
            assert self.network is not None
            made = self.network(scaled)
        return normed, scaled, made, x + made


class Encoder(nn.Module):
    """A Transformer encoder (Vaswani et al. 2017) with a classifier at each position.

    `sublayers` alternate between self-attention and feed-forward networks, as in appendix F.1, which has 12.
    """

    def __init__(self, symbols: int, length: int, width: int = 32, sublayers: int = 12, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.position = nn.Parameter(0.5 * torch.randn(length, width))
        self.sublayers = nn.ModuleList(Sublayer(width, heads, attends=i % 2 == 0) for i in range(sublayers))
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, symbols)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of symbols, (n, symbols, length)."""
        x = self.embedding(tokens) + self.position
        for sublayer in self.sublayers:
            x = sublayer.places(x)[-1]
        return self.logits(self.norm(x)).movedim(-1, 1)

    def places(self, tokens: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Representations of tokens, (n * length, width), named ``"<sublayer> <place>"``."""
        x = self.embedding(tokens) + self.position
        for i, sublayer in enumerate(self.sublayers, 1):
            after = sublayer.places(x)
            for place, representation in zip(PLACES, after, strict=True):
                yield f"{i} {place}", representation.flatten(0, 1)
            x = after[-1]
