"""Stochastic shape metrics (Duong, Zhou, Nassar, Berman, Olieslagers & Williams 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

import simkit
from simkit.arrays import Array, Namespace, constant_of, to_numpy
from simkit.errors import InvalidArrayError
from simkit.linalg import total
from simkit.properties import Facts, Invariances
from simkit.representation import Representation
from simkit.spec import check_number, check_whole

__all__ = ["StochasticShape"]


class _Clouds(NamedTuple):
    """A Gaussian for each condition."""

    rows: np.ndarray  # (n, p), all repeats, for a first guess
    means: np.ndarray  # (m, p)
    roots: np.ndarray  # (m, p, p), square roots of the covariances
    like: Array
    xp: Namespace


@dataclass(frozen=True)
class StochasticShape(simkit.Index[_Clouds]):
    """Distance between noisy representations: of their means and of their noise, up to one rotation.

    Rows are repeats of conditions, `repeats` consecutive ones of each: n = m * repeats. With mean mu_i and covariance S_i of
    condition i in X, nu_i and T_i in Y, and the layers centred and scaled so that the mean squared length of a row is 1,

    d^2 = min_Q 1/m sum_i W^2(N(mu_i, S_i), N(Q nu_i, Q T_i Q')),

    W^2 = |mu_i - Q nu_i|^2 + noise (tr S_i + tr T_i - 2 |S_i^1/2 Q T_i^1/2|_*),

    the 2-Wasserstein distance of Gaussians for ``noise=1``. The minimum over rotations is searched for by alternating
    between Q and the rotations inside the nuclear norms, from two starts; each step lowers d, but the minimum found may be
    local. The narrower layer gets zeros. NumPy on the host.

    Parameters
    ----------
    repeats : int
        Rows of each condition, at least 2.
    noise : float
        Weight of the covariances; 0 leaves the means.
    steps : int
        Of the search, at most.

    Raises
    ------
    SpecError
        A parameter is out of range.
    InvalidArrayError
        The number of rows is not a multiple of `repeats`.

    References
    ----------
    Duong et al. 2023, Representational dissimilarity metric spaces for stochastic neural networks.
    """

    repeats: int = 2
    noise: float = 1.0
    steps: int = 200

    name: ClassVar[str] = "stochastic_shape"
    reference: ClassVar[str] = "Duong et al. 2023"

    def __post_init__(self) -> None:
        check_whole(self.name, "repeats", self.repeats, at_least=2)
        check_whole(self.name, "steps", self.steps, at_least=1)
        check_number(self.name, "noise", self.noise, at_least=0)

    @property
    def facts(self) -> Facts:
        """No gradient flows through the search."""
        return Facts(
            symmetric=True,
            range=(0.0, math.inf),
            invariances=Invariances.both("translation", "orthogonal", "isotropic_scaling"),
            statistic="examples",
            identity=0.0,
            differentiable=False,
            min_examples=2 * int(self.repeats),
            group=int(self.repeats),
            host=True,
        )

    def prepare(self, representation: Representation) -> _Clouds:
        """Means and roots of covariances."""
        x = to_numpy(representation.precise).astype(np.float64)
        n, p = x.shape
        repeats = int(self.repeats)
        if n % repeats:
            raise InvalidArrayError(
                f"{representation.name} has {n} rows, not a multiple of repeats={repeats}: give the repeats of each "
                "condition as consecutive rows, equally many of each."
            )
        size = np.sqrt(np.mean(np.sum(x**2, axis=1)))
        x = x / (size if size > 0 else 1.0)
        groups = x.reshape(-1, repeats, p)
        means = groups.mean(axis=1)
        noise = (groups - means[:, None, :]) / np.sqrt(repeats)
        values, vectors = np.linalg.eigh(noise.mT @ noise)
        roots = (vectors * np.sqrt(np.clip(values, 0, None))[:, None, :]) @ vectors.mT
        return _Clouds(x, means, roots, total(representation.scale, representation.xp), representation.xp)

    def score(self, x: _Clouds, y: _Clouds) -> Array:
        """The distance at the best rotation found."""
        p = max(x.means.shape[1], y.means.shape[1])
        (a, mu, s), (b, nu, t) = (_padded(side, p) for side in (x, y))
        own = sum(np.sum(v**2) for v in (mu, nu)) + self.noise * sum(np.sum(v**2) for v in (s, t))
        starts = (a.T @ b, mu.T @ nu)
        shared = max(self._search(_polar(start), mu, nu, s, t) for start in starts)
        square = (own - 2 * shared) / len(mu)
        distance = np.sqrt(square) if square > 1e-13 else 0.0
        return constant_of(distance, x.like, x.xp)

    def _search(self, q: np.ndarray, mu: np.ndarray, nu: np.ndarray, s: np.ndarray, t: np.ndarray) -> float:
        """sum_i <mu_i, Q nu_i> + noise |S_i^1/2 Q T_i^1/2|_*, ascending from a first Q."""
        best = -np.inf
        for _ in range(int(self.steps)):
            inner = s @ q @ t
            u, values, vh = np.linalg.svd(inner)
            value = float(np.sum((mu @ q) * nu) + self.noise * np.sum(values))
            if value <= best + 1e-15 * abs(value):
                return max(value, best)
            best = value
            q = _polar(mu.T @ nu + self.noise * np.sum(s @ (u @ vh) @ t, axis=0))
        return best


def _padded(clouds: _Clouds, p: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """With zeros for missing features."""
    more = p - clouds.means.shape[1]
    return (
        np.pad(clouds.rows, ((0, 0), (0, more))),
        np.pad(clouds.means, ((0, 0), (0, more))),
        np.pad(clouds.roots, ((0, 0), (0, more), (0, more))),
    )


def _polar(a: np.ndarray) -> np.ndarray:
    """The rotation Q with the largest <Q, a>."""
    u, _, vh = np.linalg.svd(a)
    return np.asarray(u @ vh)
