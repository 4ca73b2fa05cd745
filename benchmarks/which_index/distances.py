"""Is what an index gives, turned into a distance, one? The triangle inequality among the layers of both bundled networks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import simkit
from simkit import demo

__all__ = ["measure"]

# (name, spec, from score to distance)
DISTANCES = {
    "1 - cka": ("cka", lambda s: 1 - s),
    "arccos cka": ("cka", lambda s: np.arccos(np.clip(s, -1, 1))),
    "1 - procrustes": ("procrustes", lambda s: 1 - s),
    "procrustes(summary=distance)": ("procrustes(summary=distance)", lambda s: s),
    "procrustes(summary=angular)": ("procrustes(summary=angular)", lambda s: s),
    "1 - rsa": ("rsa", lambda s: 1 - s),
    "1 - mutual_knn": ("mutual_knn", lambda s: 1 - s),
    "gulp": ("gulp", lambda s: s),
    "rsm_norm": ("rsm_norm", lambda s: s),
}
_ROUNDING = 1e-6


def broken(distance: np.ndarray) -> float:
    """The share of ways from a layer to another by a third that are shorter than the direct one; three layers have three."""
    triples = list(itertools.permutations(range(len(distance)), 3))
    return float(np.mean([distance[a, c] > distance[a, b] + distance[b, c] + _ROUNDING for a, b, c in triples if a < c]))


def measure(quick: bool = False) -> dict[str, Any]:
    """For each distance."""
    layers = {f"{seed} {name}": x.astype(np.float64) for seed in (0, 1) for name, x in demo.load(seed).items()}
    entries = {}
    for name, (spec, distance) in list(DISTANCES.items())[: 2 if quick else None]:
        entries[name] = broken(distance(simkit.pairwise(layers, index=spec).to_numpy()))
        print(name, entries[name], flush=True)
    return entries
