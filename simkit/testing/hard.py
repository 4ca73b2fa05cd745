"""Layers that are hard on arithmetic: what real networks, and real files, do to the numbers.

Every index, library and producer is tried on each of them, by the conformance kit and by simkit's own tests. The truth is
the score of the very same numbers in float64, on NumPy, in memory; indexes themselves are tested against their definitions
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from simkit.testing.layers import pair

__all__ = ["HardPair", "hard_pairs"]


class HardPair(NamedTuple):
    """Two layers of the same examples.

    Attributes
    ----------
    what : str
        What is hard about them, to be read after "layers with".
    X, Y : ndarray, shapes (n, p1) and (n, p2)
        In float32 or float64, as such data come.
    """

    what: str
    X: np.ndarray
    Y: np.ndarray


def hard_pairs(n: int = 25, p1: int = 6, p2: int = 5, seed: int = 0) -> Iterator[HardPair]:
    """Pairs of layers that have made an index wrong somewhere, with n examples and p1 and p2 units (at least 5 each).

    Parameters
    ----------
    n, p1, p2 : int
    seed : int

    Yields
    ------
    HardPair
        Of dead units; of equal and nearly equal ones; of features divided by their largest absolute value; with a large
        common offset; with one feature that is large and constant, or of much larger variance than the others; with an
        outlier; of values whose squares leave the range of float64; of binary features and of repeated examples, where
        distances are tied; two layers that hardly differ; with a large condition number.

    Examples
    --------
    >>> from simkit.testing import hard_pairs
    >>> next(hard_pairs(n=100, p1=6, p2=5)).X.shape
    (100, 6)
    """
    X, Y = pair(n, p1, p2, seed)
    rng = np.random.default_rng([seed, n, p1, p2])
    single = np.float32

    dead = X.copy(), Y.copy()
    for Z in dead:
        Z[:, 1], Z[:, 3], Z[:, 4] = 0.0, 0.1, 0.0
    yield HardPair("dead units", *dead)
    yield HardPair("dead units, in float32", *(Z.astype(single) for Z in dead))
    equal = X.copy(), Y.copy()
    for Z in equal:
        Z[:, 1], Z[:, 4] = Z[:, 0], -2 * Z[:, 2]
    yield HardPair("units that are equal up to a factor", *equal)
    near = X.copy(), Y.copy()
    for Z in near:
        Z[:, 1] = Z[:, 0] + 1e-6 * Z[:, 2]
    yield HardPair("units that are nearly equal", *near)

    scaled = (X - X.mean(axis=0), Y - Y.mean(axis=0))
    yield HardPair(
        "features divided by their largest absolute value, in float32",
        *((Z / np.max(np.abs(Z))).astype(single) for Z in scaled),
    )
    yield HardPair("an offset of 1e4, in float32", *((Z + 1e4).astype(single) for Z in (X, Y)))
    massive = X.copy(), Y.copy()
    for Z in massive:
        Z[:, 2] = 15000.0
    yield HardPair("one constant feature of 15000, in float32", *(Z.astype(single) for Z in massive))
    stretched = X.copy()
    stretched[:, 1] *= 1e5
    yield HardPair("one feature 1e5 times as large as the others, in float32", stretched.astype(single), Y.astype(single))
    close = X + 1e-4 * rng.standard_normal(X.shape)
    yield HardPair("hardly any difference, in float32", X.astype(single), close.astype(single))

    for factor in (1e4, 1e8):
        outlier = X.copy()
        outlier[0] *= factor
        yield HardPair(f"an outlier of {factor:g} in the first example", outlier, Y)
    outlier = X.copy()
    outlier[0] *= 1e3
    yield HardPair("an outlier of 1000 in the first example, in float32", outlier.astype(single), Y.astype(single))
    yield HardPair("values of 1e-200", X * 2.0**-664, Y)
    yield HardPair("values of 1e200", X * 2.0**664, Y * 2.0**664)
    yield HardPair("binary features", *((Z > 0.3).astype(np.float64) for Z in (X, Y)))
    repeated = rng.permutation(np.concatenate([np.arange(n - n // 4), np.arange(n // 4)]))
    yield HardPair("examples that come several times", X[repeated], Y[repeated])

    for condition in (1e4, 1e8):
        layers = []
        for Z in (X, Y):
            U, s, Vt = np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)
            layers.append(U * np.geomspace(s[0], s[0] / condition, len(s)) @ Vt)
        yield HardPair(f"a condition number of {condition:g}", *layers)
