"""The data on which these pages compare libraries, and what the other libraries gave on it.

It needs NumPy alone, so that `measure.py` can use it in an environment that has the other library and not simkit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["BATCH", "MEASURED", "layers", "networks", "pair", "recorded", "show", "some_in_common", "unrelated"]

MEASURED = Path(__file__).with_name("measured.json")
BATCH = 32  # examples in a batch, where a library reads batches


def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two layers of 60 examples, of 10 and of 8 units, with something in common."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 10)) + 1
    Y = X @ rng.standard_normal((10, 8)) + 3 * rng.standard_normal((60, 8))
    return X, Y


def unrelated() -> tuple[np.ndarray, np.ndarray]:
    """Two layers with nothing in common, for which an unbiased estimate is below zero."""
    rng = np.random.default_rng(4)
    return rng.standard_normal((60, 10)), rng.standard_normal((60, 8))


def some_in_common() -> tuple[np.ndarray, np.ndarray]:
    """Two layers of 1000 examples whose common part is three directions, so that other canonical correlations are small."""
    rng = np.random.default_rng(7)
    common = rng.standard_normal((1000, 3))
    X = np.hstack([common, rng.standard_normal((1000, 5))])
    Y = np.hstack([common + 0.3 * rng.standard_normal((1000, 3)), rng.standard_normal((1000, 5))])
    return X, Y


def networks() -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """128 inputs of 12 features, and the two weight matrices of each of two networks: 12 -> 16 -> 6, no bias."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((128, 12)) + 0.5
    weights = [(rng.standard_normal((12, 16)) / 12**0.5, rng.standard_normal((16, 6)) / 4) for _ in "ab"]
    return inputs, weights


def layers(inputs: np.ndarray, weights: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """What the three modules of `Sequential(Linear, ReLU, Linear)` give, under PyTorch's names for them."""
    first = inputs @ weights[0]
    return {"0": first, "1": np.maximum(first, 0), "2": np.maximum(first, 0) @ weights[1]}


def recorded(library: str) -> dict[str, Any]:
    """The figures that a library gave, by the call."""
    figures: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))[library]["figures"]
    return figures


def show(figures: Mapping[str, Any]) -> None:
    """Print each figure beside its name; a matrix below it."""
    width = max(map(len, figures))
    for name, value in figures.items():
        array = np.asarray(value, dtype=float)
        print(f"{name:{width}}  {array:.6f}" if array.ndim == 0 else f"{name}\n{np.round(array, 4)}")
