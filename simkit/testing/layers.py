"""Random layers to test on, and what may be done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

__all__ = ["between", "degenerate_pairs", "different", "pair", "transforms", "unrelated"]


def pair(n: int, p1: int, p2: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two layers, shapes (n, p1) and (n, p2), that see the same latent variables, so that no similarity is trivial."""
    rng = np.random.default_rng([seed, n, p1, p2])
    latent = rng.standard_normal((n, 3)) * np.array([2.0, 1.2, 0.5])
    return tuple(
        latent @ rng.standard_normal((3, p)) + 0.7 * rng.standard_normal((n, p)) + 0.5 * rng.standard_normal(p)
        for p in (p1, p2)
    )


def transforms(p: int, rng: np.random.Generator) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """One of each kind of transformation of p features that may be declared harmless; one alone only moves or scales."""
    rotation, other = (np.linalg.qr(rng.standard_normal((p, p)))[0] for _ in range(2))
    shift, order, factor = 3 * rng.standard_normal(p), rng.permutation(p), np.exp(rng.choice([-1, 1]) * rng.uniform(1, 3))
    if np.array_equal(order, np.arange(p)):
        order = np.roll(order, 1)
    stretch = rotation * np.linspace(0.5, 2, p) @ other  # well conditioned, far from orthogonal
    changes: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "translation": lambda x: x + shift,
        "permutation": lambda x: x[:, order],
        "isotropic_scaling": lambda x: x * factor,
        "orthogonal": lambda x: x @ rotation,
        "invertible_linear": lambda x: x @ stretch,
    }
    return changes if p > 1 else {name: changes[name] for name in ("translation", "isotropic_scaling")}


def unrelated(like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise of the same shape."""
    return rng.standard_normal(like.shape)


def between(X: np.ndarray, Y: np.ndarray, *, one_width: bool) -> Iterator[np.ndarray]:
    """Layers on the way from X to Y, where a square of a distance would break the triangle inequality."""
    p = max(X.shape[1], Y.shape[1])
    A, B = (_unit(np.pad(Z - Z.mean(axis=0), ((0, 0), (0, p - Z.shape[1])))) for Z in (X, Y))
    U, _, Vt = np.linalg.svd(B.T @ A)
    yield A + B
    yield A + B @ (U @ Vt)  # turned towards each other
    if not one_width:
        yield X[:, :1] + Y[:, :1]


def different(X: np.ndarray, harmless: frozenset[str], *, one_width: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Layers that no transformation of X among the `harmless` gives, with what they are."""
    if "invertible_linear" not in harmless:
        U, s, Vt = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
        yield "one with singular values 2s + 1 for s", U * (2 * s + 1) @ Vt
    if "orthogonal" not in harmless and not one_width:
        yield "one with each of its units twice", np.concatenate([X, X], axis=1)
    if len(X) > X.shape[1] + 1:  # else the others span all that there is
        yield "one without its first unit", np.concatenate([X[:, 1:], X[:, -1:]], axis=1)


def _unit(X: np.ndarray) -> np.ndarray:
    return X / np.linalg.norm(X)


def degenerate_pairs(n: int, p1: int, p2: int, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Layers at the edge of what an index is defined for, the first of each pair at least, with what is wrong with it."""
    X, Y = pair(n, p1, p2, seed)
    rng = np.random.default_rng(seed)
    yield "more features than examples", *pair(n, n + p1, n + p2, seed)
    yield "one feature", *pair(n, 1, 1, seed)
    yield "rank 2", X[:, :2] @ rng.standard_normal((2, p1)), Y
    yield "a duplicated column", np.concatenate([X[:, :-1], X[:, :1]], axis=1), Y
    yield "a constant column", np.concatenate([X[:, :-1], np.full((n, 1), 3.0)], axis=1), Y
    yield "a column of zeros", np.concatenate([X[:, :-1], np.zeros((n, 1))], axis=1), Y
    yield "three pairs of equal examples", np.concatenate([X[:3], X[:-3]]), Y
    yield "columns of very different size", X * np.geomspace(1, 1e-12, p1), Y
    sparse = np.zeros_like(X)
    sparse[: p1 // 2 + 1, 0] = 1.0
    yield "a single unit that is hardly ever active", sparse, Y
