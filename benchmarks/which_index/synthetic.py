"""Pairs of layers that are the same, or have nothing to do with each other, by construction.

X has 200 examples of 50 units with variances 1, 1/2, 1/3, ..., mixed by a rotation, as activations have few directions with
much variance. Each score is a mean over seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.which_index.indexes import score, specs

__all__ = ["CASES", "measure"]

N, P, WIDE = 200, 50, 800
SEEDS = 3
MASSIVE = 30.0  # an outlier or a unit with so many times the standard deviation of the whole layer

Pair = tuple[np.ndarray, np.ndarray]
Generator = np.random.Generator


def layer(rng: Generator, n: int = N, p: int = P) -> np.ndarray:
    """A few directions have most of the variance."""
    return (rng.standard_normal((n, p)) / np.sqrt(np.arange(1, p + 1))) @ rotation(rng, p)


def rotation(rng: Generator, p: int) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((p, p)))[0]


def rotated(rng: Generator) -> Pair:
    x = layer(rng)
    return x, x @ rotation(rng, P)


def permuted(rng: Generator) -> Pair:
    x = layer(rng)
    return x, x[:, rng.permutation(P)]


def mixed(rng: Generator) -> Pair:
    """Any invertible map, here one whose singular values go from 1 to 100."""
    x = layer(rng)
    return x, x @ rotation(rng, P) @ np.diag(np.geomspace(1, 100, P)) @ rotation(rng, P)


def noisy(rng: Generator) -> Pair:
    """As much noise as signal, of the same covariance."""
    x = layer(rng)
    return x, (x + rng.permutation(x)) @ rotation(rng, P)


def unrelated(rng: Generator) -> Pair:
    return layer(rng), layer(rng)


def unrelated_wide(rng: Generator) -> Pair:
    return layer(rng, p=WIDE), layer(rng, p=WIDE)


def shared_outlier(rng: Generator) -> Pair:
    """Unrelated, but one example is large in both."""
    x, y = unrelated(rng)
    for z in (x, y):
        z[0] *= MASSIVE * np.linalg.norm(z, axis=1).mean() / np.linalg.norm(z[0])
    return x, y


def shared_unit(rng: Generator) -> Pair:
    """Unrelated, but one unit of each has most of the variance and says the same."""
    x, y = unrelated(rng)
    common = rng.standard_normal(N)
    for z in (x, y):
        z[:, 0] = MASSIVE * common * z.std()
    return x, y


def own_outlier(rng: Generator) -> Pair:
    """The same layer rotated, but in each another example is large."""
    x, y = rotated(rng)
    for i, z in enumerate((x, y)):
        z[i] *= MASSIVE * np.linalg.norm(z, axis=1).mean() / np.linalg.norm(z[i])
    return x, y


def own_unit(rng: Generator) -> Pair:
    """The same layer rotated, and each has one more unit of its own that has most of the variance."""
    x, y = rotated(rng)
    return tuple(np.column_stack([z, MASSIVE * z.std() * rng.standard_normal(N)]) for z in (x, y))  # type: ignore[return-value]


CASES: dict[str, Callable[[Generator], Pair]] = {
    "rotated": rotated,
    "permuted": permuted,
    "mixed": mixed,
    "noisy": noisy,
    "unrelated": unrelated,
    "unrelated, wide": unrelated_wide,
    "unrelated, shared outlier": shared_outlier,
    "unrelated, shared unit": shared_unit,
    "rotated, own outliers": own_outlier,
    "rotated, own units": own_unit,
}


def mean_score(case: str, spec: str, seeds: int = SEEDS) -> float:
    """The mean over some pairs of this kind."""
    make = CASES[case]
    return float(np.mean([score(*make(np.random.default_rng(seed)), spec) for seed in range(seeds)]))


def measure(quick: bool = False) -> dict[str, Any]:
    """For each index, each kind of pair."""
    chosen = ("cka", "cca") if quick else specs()
    entries = {}
    for spec in chosen:
        seeds = 1 if quick or spec == "soft_match" else SEEDS
        entries[spec] = {case: mean_score(case, spec, seeds) for case in CASES}
        print(spec, {case: round(value, 2) for case, value in entries[spec].items()}, flush=True)
    return entries
