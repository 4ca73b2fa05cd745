"""Random layers to test on, and what may be done to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["pair", "transforms"]


def pair(n: int, p1: int, p2: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two layers, shapes (n, p1) and (n, p2), that see the same latent variables, so that no similarity is trivial."""
    rng = np.random.default_rng([seed, n, p1, p2])
    latent = rng.standard_normal((n, 3)) * np.array([2.0, 1.2, 0.5])
    return tuple(
        latent @ rng.standard_normal((3, p)) + 0.7 * rng.standard_normal((n, p)) + 0.5 * rng.standard_normal(p)
        for p in (p1, p2)
    )


def transforms(p: int, rng: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """One of each kind of transformation of p features that may be declared harmless."""
    rotation, other = (np.linalg.qr(rng.standard_normal((p, p)))[0] for _ in range(2))
    shift, order, factor = 3 * rng.standard_normal(p), rng.permutation(p), np.exp(rng.choice([-1, 1]) * rng.uniform(1, 3))
    if p > 1 and np.array_equal(order, np.arange(p)):
        order = np.roll(order, 1)
    stretch = rotation * np.linspace(0.5, 2, p) @ other  # well conditioned, far from orthogonal
    return {
        "translation": lambda x: x + shift,
        "permutation": lambda x: x[:, order],
        "isotropic_scaling": lambda x: x * factor,
        "orthogonal": lambda x: x @ rotation,
        "invertible_linear": lambda x: x @ stretch,
    }
