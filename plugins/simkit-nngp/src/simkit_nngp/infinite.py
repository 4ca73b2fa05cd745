"""Fully connected networks in the limit of infinite width: at initialisation (NNGP) and in training (NTK).

With K the covariance of the pre-activations of one layer over examples, and weights N(0, weight_variance / fan-in), biases
N(0, bias_variance),

    K^0     = bias_variance + weight_variance x'y / p
    K^{l+1} = bias_variance + weight_variance E[phi(u) phi(v)],           (u, v) ~ N(0, K^l of the two examples)
    T^0     = K^0
    T^{l+1} = K^{l+1} + weight_variance E[phi'(u) phi'(v)] T^l

K^depth is the NNGP kernel of a network with `depth` hidden layers, T^depth its neural tangent kernel. The expectations are
known for rectified linear units (Cho & Saul 2009) and for the error function (Williams 1997). A convolutional network
without pooling whose outputs depend on each position alone has the same kernel at each position (Garriga-Alonso et al. 2019;
Novak et al. 2019), so positions taken as examples reduce it to this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias, get_args

import simkit
from simkit.arrays import Array, Namespace, namespace_of
from simkit.linalg import root
from simkit.properties import Invariance, implied
from simkit.spec import check_choice, check_number, check_whole
from simkit_nngp.angles import cosine_of, j0, j1, squared_lengths

__all__ = ["NNGP", "NTK"]

Activation: TypeAlias = Literal["relu", "erf"]


class _Covariance(NamedTuple):
    """Of the pre-activations of a layer: of X with Y, and the variances of each."""

    xy: Array
    x: Array
    y: Array


@dataclass(frozen=True)
class _InfiniteNetwork(simkit.Kernel):
    """What the two kernels share: the architecture, and how a covariance passes through a layer."""

    depth: int = 3
    activation: Activation = "relu"
    weight_variance: float = 2.0
    bias_variance: float = 0.0

    def __post_init__(self) -> None:
        check_whole(self.name, "depth", self.depth, at_least=1)
        check_choice(self.name, "activation", self.activation, get_args(Activation))
        check_number(self.name, "weight_variance", self.weight_variance, above=0)
        check_number(self.name, "bias_variance", self.bias_variance, at_least=0)

    @property
    def homogeneous(self) -> bool:  # type: ignore[override]
        """Without biases rectified linear units only pass a factor on."""
        return self.activation == "relu" and self.bias_variance == 0

    @property
    def invariances(self) -> frozenset[Invariance]:
        """Rotations only: offsets and scales pass through the network."""
        return implied("orthogonal")

    def _first(self, X: Array, Y: Array, xp: Namespace) -> _Covariance:
        """K^0."""
        p = X.shape[1]
        inner = (X @ Y.mT, squared_lengths(X, xp), squared_lengths(Y, xp))
        return _Covariance(*(self.bias_variance + self.weight_variance / p * part for part in inner))

    def _activated(self, k: _Covariance, xp: Namespace) -> _Covariance:
        """E[phi(u) phi(v)]."""
        if self.activation == "relu":
            c = cosine_of(k.xy, k.x, k.y, xp)
            lengths = root(k.x, xp)[:, None] * root(k.y, xp)[None, :]
            return _Covariance(lengths * j1(c, xp) / (2 * math.pi), k.x / 2, k.y / 2)
        scale = 2 / math.pi
        across = 2 * k.xy / xp.sqrt((1 + 2 * k.x)[:, None] * (1 + 2 * k.y)[None, :])
        x, y = (scale * xp.asin(2 * v / (1 + 2 * v)) for v in (k.x, k.y))
        return _Covariance(scale * xp.asin(across), x, y)

    def _slopes(self, k: _Covariance, xp: Namespace) -> Array:
        """E[phi'(u) phi'(v)]."""
        if self.activation == "relu":
            return j0(cosine_of(k.xy, k.x, k.y, xp), xp) / (2 * math.pi)
        return 4 / math.pi / xp.sqrt((1 + 2 * k.x)[:, None] * (1 + 2 * k.y)[None, :] - 4 * k.xy * k.xy)

    def _through(self, k: _Covariance, xp: Namespace) -> _Covariance:
        """K of the next layer."""
        return _Covariance(*(self.bias_variance + self.weight_variance * part for part in self._activated(k, xp)))


@dataclass(frozen=True)
class NNGP(_InfiniteNetwork):
    """Covariance of the outputs of a random, infinitely wide network: the neural network Gaussian process kernel.

    K^{l+1} = bias_variance + weight_variance E[phi(u) phi(v)], (u, v) ~ N(0, K^l), from K^0 = bias_variance +
    weight_variance x'y / p to K^depth. With ``activation="relu"`` E[phi(u) phi(v)] = sqrt(K_xx K_yy) (sin(theta) + (pi -
    theta) cos(theta)) / (2 pi), with ``"erf"`` 2/pi asin(2 K_xy / sqrt((1 + 2 K_xx)(1 + 2 K_yy))).

    Parameters
    ----------
    depth : int
        Number of hidden layers, at least 1.
    activation : {"relu", "erf"}
    weight_variance : float
        Times the fan-in; 2 keeps the scale of rectified linear layers.
    bias_variance : float

    Raises
    ------
    SpecError
        A parameter is out of range.

    References
    ----------
    Lee et al. 2018, Deep neural networks as Gaussian processes; Matthews et al. 2018; Williams 1997 (erf); Kornblith et al.
    2019, section 3.
    """

    name: ClassVar[str] = "nngp"
    reference: ClassVar[str] = "Lee et al. 2018"

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel values, shape (n, m)."""
        xp = namespace_of(X, Y)
        k = self._first(X, Y, xp)
        for _ in range(int(self.depth)):
            k = self._through(k, xp)
        return k.xy


@dataclass(frozen=True)
class NTK(_InfiniteNetwork):
    """Inner product of the gradients of an infinitely wide network: the neural tangent kernel.

    T^{l+1} = K^{l+1} + weight_variance E[phi'(u) phi'(v)] T^l, (u, v) ~ N(0, K^l), from T^0 = K^0 to T^depth; K is `NNGP`.
    With ``activation="relu"`` E[phi'(u) phi'(v)] = (pi - theta) / (2 pi), with ``"erf"`` 4 / (pi sqrt((1 + 2 K_xx)(1 + 2
    K_yy) - 4 K_xy^2)). All weights and biases are trained, as standard normal variables that the network scales.

    Parameters
    ----------
    depth, activation, weight_variance, bias_variance
        As in `NNGP`.

    Raises
    ------
    SpecError
        A parameter is out of range.

    References
    ----------
    Jacot, Gabriel & Hongler 2018, Neural tangent kernel; Lee et al. 2019.
    """

    name: ClassVar[str] = "ntk"
    reference: ClassVar[str] = "Jacot et al. 2018"

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel values, shape (n, m)."""
        xp = namespace_of(X, Y)
        k = self._first(X, Y, xp)
        tangent = k.xy
        for _ in range(int(self.depth)):
            through = self.weight_variance * self._slopes(k, xp) * tangent
            k = self._through(k, xp)
            tangent = k.xy + through
        return tangent
