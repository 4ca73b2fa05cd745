"""The same layer of two networks, of which only some units are recorded: what happens to the score?

Chun, Canatar, Chung & Lee (2025): estimators correct for few examples, not for few units.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.which_index.indexes import score
from benchmarks.which_index.layers import bundled

__all__ = ["measure"]

LAYER = "conv5"
UNITS = (8, 16, 32, 64, 128, 256, 512)
DRAWS = 20
INDEXES = ("cka", "cka(estimator=unbiased)", "procrustes", "rsa", "mutual_knn", "cca")


def measure(quick: bool = False) -> dict[str, Any]:
    """Mean and standard deviation over random sets of units, each index by the number of units."""
    x, y = (network[LAYER] for network in bundled())
    entries: dict[str, Any] = {spec: {} for spec in INDEXES}
    for q in UNITS[:1] if quick else UNITS:
        rng = np.random.default_rng(q)
        draws = [(rng.permutation(x.shape[1])[:q], rng.permutation(y.shape[1])[:q]) for _ in range(DRAWS)]
        for spec in INDEXES:
            scores = [score(x[:, a], y[:, b], spec) for a, b in (draws[:1] if q == x.shape[1] else draws)]
            entries[spec][str(q)] = {"mean": float(np.mean(scores)), "deviation": float(np.std(scores))}
    print({spec: {q: round(entry["mean"], 2) for q, entry in row.items()} for spec, row in entries.items()}, flush=True)
    return entries
