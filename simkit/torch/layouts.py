"""Where the features of an output are, and where the examples: by what the module is, never by its sizes alone.

PyTorch's convolutions, their norms and pooling have channels first, linear layers, layer norms and attention have features
last. What an activation or a block gives is like what such a module took or gave in the same pass in the same shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

__all__ = ["Evidence", "examples_axes", "layout_of"]

Layout: TypeAlias = Literal["first", "last"]

_FIRST: tuple[type, ...] = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._LPPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._MaxUnpoolNd,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.Upsample,
    nn.PixelShuffle,
    nn.PixelUnshuffle,
    nn.ChannelShuffle,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.Softmax2d,
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
)
_LAST: tuple[type, ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.Embedding,
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
)
_SEQUENCE_FIRST = (nn.RNNBase, nn.MultiheadAttention, nn.Transformer, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


def layout_of(module: nn.Module, shape: tuple[int, ...]) -> Layout | None:
    """Where the features of an output (n, ...) are as far as the module itself tells; None if it does not."""
    if len(shape) < 3:
        return None
    if module.__class__.__name__ == "SyncBatchNorm" or isinstance(module, _FIRST):
        count = getattr(module, "out_channels", getattr(module, "num_features", getattr(module, "num_channels", None)))
        return "first" if count is None or count == shape[1] else None
    count = _features(module)
    if count is None:
        return "last" if isinstance(module, _LAST) else None
    is_first, is_last = shape[1] == count, shape[-1] == count
    if is_first and is_last:  # a class of PyTorch itself is what it says; a layer norm made for maps may be either
        return "last" if type(module) in _LAST else None
    return "first" if is_first else "last" if is_last else None


def _features(module: nn.Module) -> int | None:
    """The number of features of a module that says it: itself, or by parameters and buffers with one number for each."""
    if isinstance(module, nn.Linear | nn.Bilinear):
        return int(module.out_features)
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return int(module.normalized_shape[0]) if len(module.normalized_shape) == 1 else None
    if isinstance(module, nn.Embedding):
        return int(module.embedding_dim)
    if any(True for _ in module.children()):
        return None
    vectors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    sizes = {len(x) for x in vectors if x.ndim == 1 and len(x) > 1}
    return sizes.pop() if len(sizes) == 1 else None


class Evidence:
    """The shapes that modules of known kinds took and gave in one pass."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], set[Layout]] = {}

    def add(self, module: nn.Module, args: tuple[Any, ...], tensor: torch.Tensor) -> None:
        """Note what a module took and gave."""
        shape = tuple(tensor.shape)
        layout = layout_of(module, shape)
        if layout is None:
            return
        self._seen.setdefault(shape[1:], set()).add(layout)
        if args and isinstance(args[0], torch.Tensor) and args[0].ndim == tensor.ndim:
            self._seen.setdefault(tuple(args[0].shape)[1:], set()).add(layout)

    def layout(self, shape: tuple[int, ...]) -> Layout | None:
        """Where the features of an output (n, ...) are that does not tell itself; None if that stays open."""
        exact = self._seen.get(shape[1:], set())
        if exact:
            return next(iter(exact)) if len(exact) == 1 else None
        if len(shape) == 3:
            return "last"
        alike = set().union(*(places for other, places in self._seen.items() if len(other) == len(shape) - 1))
        if alike:
            return next(iter(alike)) if len(alike) == 1 else None
        return None if self._seen else "first"


def examples_axes(modules: Iterable[nn.Module]) -> dict[nn.Module, int]:
    """The axis of the examples in outputs of three axes, for recurrent and attention modules and their parts."""
    axes: dict[nn.Module, int] = {}
    for module in modules:
        if isinstance(module, _SEQUENCE_FIRST):
            batch_first = getattr(module, "batch_first", None)
            if batch_first is None:
                attention = getattr(module, "self_attn", None)
                batch_first = getattr(attention, "batch_first", True)
            for part in module.modules():
                axes[part] = 0 if batch_first else 1
        elif isinstance(module, nn.TransformerEncoder | nn.TransformerDecoder):
            first = next(iter(module.layers), None)
            attention = getattr(first, "self_attn", None)
            for part in module.modules():
                axes.setdefault(part, 0 if getattr(attention, "batch_first", True) else 1)
    return axes
