"""Tiny-10 (Table E.1 of Kornblith et al. 2019) in NumPy: how the bundled networks turn digits into activations.

Everything is computed in float64 and rounded to half precision at the end, so that every machine gets the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["CONVOLUTIONS", "GRID", "LAYERS", "enlarged", "forward", "rounded", "units"]

# (channels, kernel, stride, padding) of the convolutions, each followed by batch normalisation and ReLU.
CONVOLUTIONS = (
    (16, 3, 1, 1),
    (16, 3, 1, 1),
    (32, 3, 2, 1),
    (32, 3, 1, 1),
    (32, 3, 1, 1),
    (64, 3, 2, 1),
    (64, 3, 1, 0),
    (64, 1, 1, 0),
)
LAYERS = (*(f"conv{i}" for i in range(1, len(CONVOLUTIONS) + 1)), "avgpool", "logits")
GRID = 4  # positions a side at which wide maps are read
LEVELS = 127  # of 8 bits with a sign


def rounded(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (channels, ...) in 8 bits, and the scale of each channel that they are to be multiplied by."""
    largest = np.abs(weight).max(axis=tuple(range(1, weight.ndim)))
    scale = (np.where(largest > 0, largest, 1) / LEVELS).astype(np.float32)
    return np.rint(weight / _by_channel(scale, weight)).astype(np.int8), scale


def enlarged(pixels: np.ndarray) -> np.ndarray:
    """Images (n, h, w) twice as large, bilinearly: (n, 2h, 2w)."""
    for axis in (1, 2):
        before, after = (np.concatenate(parts, axis) for parts in _neighbours(pixels, axis))
        pixels = np.stack([0.75 * pixels + 0.25 * before, 0.75 * pixels + 0.25 * after], axis + 1)
        pixels = pixels.reshape(*pixels.shape[:axis], -1, *pixels.shape[axis + 2 :])
    return pixels


def forward(weights: Mapping[str, np.ndarray], images: np.ndarray) -> dict[str, np.ndarray]:
    """The output of every layer for images (n, h, w): maps (n, c, h, w) after ReLU, then (n, 64) and (n, 10)."""
    layers = {}
    x = np.asarray(images, np.float64)[:, None]
    for name, (_, kernel, stride, padding) in zip(LAYERS, CONVOLUTIONS, strict=False):
        weight = weights[f"{name}.weight"]
        weight = weight * _by_channel(weights[f"{name}.scale"].astype(np.float64), weight)
        x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
        patches = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
        patches = patches.transpose(0, 2, 3, 1, 4, 5)
        sums = patches.reshape(*patches.shape[:3], -1) @ weight.reshape(len(weight), -1).T
        x = np.maximum(sums + weights[f"{name}.bias"], 0).transpose(0, 3, 1, 2)
        layers[name] = x
    layers["avgpool"] = x.mean((2, 3))
    layers["logits"] = layers["avgpool"] @ weights["logits.weight"].T.astype(np.float64) + weights["logits.bias"]
    return layers


def units(maps: np.ndarray) -> np.ndarray:
    """Activations (n, p) of half precision: all channels, on a `GRID` x `GRID` grid of positions where a map is wider."""
    if maps.ndim == 4 and maps.shape[-1] > GRID:
        step = maps.shape[-1] // GRID
        maps = maps[:, :, step // 2 :: step, step // 2 :: step]
    return maps.reshape(len(maps), -1).astype(np.float16).astype(np.float32)


def _by_channel(scale: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return scale.reshape(-1, *[1] * (weight.ndim - 1))


def _neighbours(x: np.ndarray, axis: int) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """What to join to have the pixel before and after each; at the edge the pixel itself."""
    first, last = x.take([0], axis), x.take([-1], axis)
    but_first, but_last = (x.take(range(a, x.shape[axis] + b), axis) for a, b in ((1, 0), (0, -1)))
    return (first, but_last), (but_first, last)
