"""Section 2 of the paper: activations of n examples, with columns centred.

A `Representation` is what an index prepares from. It centres and scales on demand, so that an index that needs neither pays
for neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from simkit.arrays import Array, Namespace, accumulation_dtype, constant_of, detach, namespace_of
from simkit.linalg import rank_tolerance, total

__all__ = ["Representation"]


@dataclass(frozen=True, eq=False)
class Representation:
    """Activations of one layer for n examples.

    Parameters
    ----------
    features : array, shape (rows, p)
        Real floating values as they were given; see `simkit.arrays.as_pair` for the checks.
    joint_width : int, optional
        The sum of the widths of everything that this representation will be compared with, itself included. An index may
        choose between p x p and n x n matrices by it. Default: twice its own width.
    name : str
        How error messages call it.
    examples : int, optional
        The number of examples, if it differs from the number of rows (`centred` says when). Default: the rows.
    is_centred : bool
        The columns are centred already and must not be centred again: `features` is then the root of a scatter matrix,
        whose few rows stand for all `examples`.
    given : dtype, optional
        The precision that the data were given in, where `features` is a root in another. Default: that of `features`.
    noise : float
        Singular values at or below this fraction of the largest are rounding noise of the way in which a root was found.
    """

    features: Array
    joint_width: int = 0
    name: str = "X"
    examples: int = 0
    is_centred: bool = False
    given: Any = None
    noise: float = 0.0
    xp: Namespace = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.xp is None:
            object.__setattr__(self, "xp", namespace_of(self.features))
        if not self.joint_width:
            object.__setattr__(self, "joint_width", 2 * self.p)
        if not self.examples:
            object.__setattr__(self, "examples", self.features.shape[0])

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.examples

    @property
    def p(self) -> int:
        """The number of features."""
        return self.features.shape[1]

    @property
    def dtype(self) -> Any:
        """float32 or float64: the precision of the score."""
        return self.features.dtype

    @cached_property
    def centred(self) -> Array:
        """The features minus their column means, in their own precision.

        The first example is subtracted before the mean is taken. That makes a large common offset harmless in float32
        (the difference of close numbers is exact) and a constant representation exactly zero.
        """
        return self.features if self.is_centred else self._centre(self.features)

    @property
    def scale(self) -> Array:
        """A power of two near the largest absolute centred value, a 0-d array; 1 if all are zero."""
        return self._normalised[1]

    @property
    def unit(self) -> Array:
        """`centred` / `scale`: fourth powers of it neither overflow nor vanish. For indexes that ignore scale."""
        return self._normalised[0]

    @cached_property
    def precise(self) -> Array:
        """`unit`, centred and scaled in the accumulation precision (float64 where the device has it)."""
        return self._normalise(self.xp.astype(self.features, accumulation_dtype(self.features, self.xp), copy=False))[0]

    @property
    def rank_tolerance(self) -> float:
        """Singular values at or below this fraction of the largest count as zero."""
        given = self.features if self.given is None else self.xp.empty(0, dtype=self.given)
        return max(self.noise, rank_tolerance((self.n, self.p), given, self.precise, self.xp))

    @cached_property
    def _normalised(self) -> tuple[Array, Array]:
        return self._normalise(self.features)

    def _normalise(self, x: Array) -> tuple[Array, Array]:
        xp = self.xp
        y = x if self.is_centred else self._centre(x)
        largest = detach(xp.max(xp.stack([xp.max(y), -xp.min(y)])))
        exponent = xp.floor(xp.log2(xp.where(largest > 0, largest, 1.0)))
        scale = xp.clip(xp.pow(constant_of(2.0, x, xp), exponent), min=float(xp.finfo(x.dtype).smallest_normal))
        if self.is_centred:
            return y / scale, scale
        y /= scale  # an intermediate of our own: no second copy of the layer
        return y, scale

    def _centre(self, x: Array) -> Array:
        shifted = x - x[:1, :]
        mean = total(shifted, self.xp, axis=0) / x.shape[0]
        shifted -= self.xp.astype(mean, x.dtype)
        return shifted
