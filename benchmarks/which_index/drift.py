"""A layer against itself with a little noise: how far does that take the score from 1?"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.which_index.indexes import score
from benchmarks.which_index.layers import bundled

__all__ = ["measure"]

LAYER = "avgpool"  # 64 units, 200 examples
NOISE = (0.001, 0.01, 0.1, 0.3, 1.0)  # of the root mean square of the centred layer
INDEXES = (
    "cka",
    "cka(estimator=unbiased)",
    "procrustes",
    "procrustes(summary=angular)",
    "linear_regression",
    "cca",
    "rsa",
    "mutual_knn",
)


def measure(quick: bool = False) -> dict[str, Any]:
    """Scores by the size of the noise; means over five draws."""
    x = bundled()[0][LAYER].astype(np.float64)
    size = (x - x.mean(axis=0)).std()
    entries: dict[str, Any] = {}
    for spec in INDEXES[:1] if quick else INDEXES:
        entries[spec] = {}
        for amount in NOISE:
            draws = (np.random.default_rng(seed).standard_normal(x.shape) for seed in range(5))
            entries[spec][str(amount)] = float(np.mean([score(x, x + amount * size * noise, spec) for noise in draws]))
    print(entries, flush=True)
    return entries
