"""Section 2 of the paper: activations of n examples, with columns centred.

A `Representation` is what an index prepares from. It centres and scales on demand, so that an index that needs neither pays
for neither.

How many directions a layer has is decided here, for all indexes. Storing a value x_ij rounds it by up to eps |x_ij| / 2,
with the eps of the precision in which it was *given*; so feature j carries noise of up to eps times the root mean square
of its raw values, whatever its variance is. Computing it as a sum of products in that precision adds a few eps of its
deviations.
When features are scaled so that the noise is the same for all, its singular values reach about eps (sqrt(n) + sqrt(p))
(Davidson & Szarek 2001), and what lies below is no direction of the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from simkit.arrays import (
    Array,
    Namespace,
    accumulation_dtype,
    constant_of,
    detach,
    is_lazy,
    namespace_of,
    warn_caller,
)
from simkit.caching import cached_property
from simkit.errors import AccuracyWarning
from simkit.linalg import (
    Basis,
    Factored,
    column_squares,
    is_ordinary,
    orthonormal_basis,
    power_of_two,
    powers_of_two,
    principal_basis,
    squared_norm,
    total,
    widen,
)
from simkit.linalg.products import sums_as_given
from simkit.linalg.safe import in_one, power_at_hand

__all__ = ["Representation"]

_UNSEEN = 1e-9  # of a standard deviation: its square is less than an eps
# Layers whose largest values are of this size need not be divided, where a look at it costs nothing.
_AS_THEY_ARE = (2.0**-4, 2.0**10)
_SUMMED = 4.0  # roundings of a sum of products, as activations are; in float32 or more also where they are stored in less
# Singular values between these multiples of the noise may be noise or not; storing alone makes less than a third of it.
_DOUBTFUL = (1 / 3, 4.0)


@dataclass(frozen=True, eq=False)
class Representation:
    """Activations of one layer for n examples.

    Parameters
    ----------
    features : array, shape (rows, p)
        Real floating values as they were given; see `simkit.arrays.as_pair` for the checks.
    name : str
        How error messages call it.
    examples : int, optional
        The number of examples, if it differs from the number of rows (`centred` says when). Default: the rows.
    is_centred : bool
        The columns are centred already and must not be centred again: `features` is then the root of a scatter matrix,
        whose few rows stand for all `examples`.
    mean : array, shape (p,), optional
        The column means of the data that a root stands for, in the units of its columns. Default: zeros.
    column_unit : array, shape (p,), optional
        Powers of two that the columns of a root have been divided by, to keep their squares in range. Default: ones.
    rounding : float
        The eps of the precision that the data were given in, before they were brought to that of `features`. Default (0):
        that of `features`.
    tall : bool, optional
        Products of features, p x p, cost less than Gram matrices, n x n, for all layers that this one is compared with: an
        index of HSIC sums takes the one or the other, for all alike. `simkit.planner` knows; default: n >= 2p.
    """

    features: Array
    name: str = "X"
    examples: int = 0
    is_centred: bool = False
    mean: Array | None = None
    rounding: float = 0.0
    column_unit: Array | None = None
    tall: bool | None = None
    xp: Namespace = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.xp is None:
            object.__setattr__(self, "xp", namespace_of(self.features))
        if not self.examples:
            object.__setattr__(self, "examples", self.features.shape[0])
        if self.tall is None:
            object.__setattr__(self, "tall", self.n >= 2 * self.p)
        if not self.rounding:
            object.__setattr__(self, "rounding", float(self.xp.finfo(self.features.dtype).eps))

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

    # --- centred and scaled ---------------------------------------------------------------------------------------------

    @cached_property
    def centred(self) -> Array:
        """The features minus their column means, in their own precision; a constant feature is exactly zero."""
        if self.column_unit is not None:
            return self.features * self.column_unit
        return self.features if self.is_centred else self._centred(self.features)

    @property
    def scale(self) -> Array:
        """A power of two near the largest absolute centred value, a 0-d array; 1 if all are zero, or if it is ordinary.

        It is found once, in the precision of the features, so that everything that is scaled is scaled by one number.
        """
        return self._normalised[1]

    @property
    def unit(self) -> Array:
        """`centred` / `scale`: fourth powers of it neither overflow nor vanish. For indexes that ignore scale."""
        return self._normalised[0]

    @cached_property
    def _normalised(self) -> tuple[Array, Array]:
        xp = self.xp
        if self.column_unit is not None:
            return self._normalised_in_units(self.column_unit)
        y = self.features if self.is_centred else self._centred(self.features)
        power = power_at_hand(y, xp)
        if power is not None and _AS_THEY_ARE[0] <= power <= _AS_THEY_ARE[1]:
            return y, constant_of(1.0, y, xp)
        scale = power_of_two(y, xp) if power is None else constant_of(power, y, xp)
        if self.is_centred:
            return y / scale, scale
        if self._is_subnormal(scale):  # deviations of such numbers are rounded to few digits in their own precision
            y = self._centred(widen(self.features, xp))
            y /= widen(scale, xp)
            return xp.astype(y, self.dtype), scale
        y /= scale  # an intermediate of our own: no second copy of the layer
        return y, scale

    def _is_subnormal(self, scale: Array) -> bool:
        """Whether the accumulation precision has digits for values near `scale` that their own has not."""
        if is_lazy(scale) or self.dtype == accumulation_dtype(self.features, self.xp):
            return False
        limits = self.xp.finfo(self.dtype)
        return float(scale) < float(limits.smallest_normal) / float(limits.eps)

    def _normalised_in_units(self, unit: Array) -> tuple[Array, Array]:
        """`unit` and `scale` of a root whose columns have units, by exponents: the values themselves may be out of range."""
        xp, x = self.xp, self.features
        size = xp.max(xp.abs(x), axis=0)
        exponents = xp.log2(unit) + xp.log2(powers_of_two(size, xp))
        exponent = xp.max(xp.where(size > 0, exponents, -float("inf")))
        exponent = xp.where(xp.isfinite(exponent), exponent, 0.0)
        two, limits = constant_of(2.0, exponent, xp), xp.finfo(x.dtype)
        scale = xp.clip(xp.pow(two, exponent), min=float(limits.smallest_normal), max=float(limits.max))
        return x * xp.pow(two, xp.log2(unit) - exponent), scale

    @cached_property
    def precise(self) -> Array:
        """`unit`, centred and scaled in the accumulation precision (float64 where the device has it)."""
        if self.is_centred or self.dtype == accumulation_dtype(self.features, self.xp):
            return widen(self.unit, self.xp)
        y = self._centred(widen(self.features, self.xp))
        y /= widen(self.scale, self.xp)  # an intermediate of our own: no second copy of the layer
        return y

    @property
    def _wide(self) -> Array:
        """The centred features in the accumulation precision, in units that have no effect on their range."""
        return self._wide_with_squares[0]

    @cached_property
    def _wide_with_squares(self) -> tuple[Array, Array | None]:
        """`_wide`; and the sums of squares of its columns, if they are found on the way."""
        if self.is_centred:
            return widen(self.features, self.xp), None
        if isinstance(self.features, np.ndarray):
            return _deviations(self.features, self._means)
        return self._centred(widen(self.features, self.xp)), None

    @cached_property
    def _squares(self) -> Array | None:
        """Sums of squares of the columns of `_wide`; None unless they are seen to be in range, those of constants zero."""
        xp = self.xp
        if is_lazy(self.features) or self.column_unit is not None:
            return None
        x, squares = self._wide_with_squares
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            squares = detach(column_squares(x, xp)) if squares is None else squares
            zero = squares == 0
            if not bool(xp.all(xp.logical_or(zero, is_ordinary(squares, xp)))):
                return None
        return None if bool(xp.any(zero)) and bool(xp.any((x != 0) & zero)) else squares

    @property
    def columns(self) -> Factored:
        """The centred features for products, in the accumulation precision, divided by `columns_scale`."""
        return Factored(self.precise if self._squares is None else self._wide)

    @cached_property
    def squared_norm(self) -> Array:
        """The sum of squares of `columns`, a 0-d array."""
        if not isinstance(self._squares, np.ndarray):
            return squared_norm(self.columns.full, self.xp)
        return self.xp.sum(self._squares)  # they are known

    @property
    def columns_scale(self) -> Array:
        """A power of two in the accumulation precision, a 0-d array; 1 where products of centred features are in range."""
        return widen(self.scale, self.xp) if self._squares is None else constant_of(1.0, self._squares, self.xp)

    @cached_property
    def _means(self) -> Array:
        """Means of the features in the accumulation precision; zeros if nothing is known of those of a root."""
        if not self.is_centred:
            return total(self.features, self.xp, axis=0) / self.n
        return widen(self.features[0, :] * 0 if self.mean is None else self.mean, self.xp)

    def _centred(self, x: Array) -> Array:
        """`x`, the features in some precision, without their column means."""
        if x.dtype != accumulation_dtype(x, self.xp) and sums_as_given(x):
            return _less(x, self.xp.sum(detach(x), axis=0) / x.shape[0])
        return in_one(_less, x, self._means)

    # --- rank -----------------------------------------------------------------------------------------------------------

    @property
    def equilibrated(self) -> Array:
        """The centred features, each divided by a power of two, so that rounding has put equal noise, about eps, on all.

        In the accumulation precision. The columns span the space of the centred features.
        """
        return self._equilibrated[0]

    @cached_property
    def _equilibrated(self) -> tuple[Array, Array]:
        """`equilibrated`; and the noise of each feature over eps in the units of `features`, 1 if it does not vary.

        Each column is brought to one size first, since its square alone may be out of range.
        """
        xp = self.xp
        x = self._wide
        unit = powers_of_two(detach(xp.maximum(xp.max(x, axis=0), -xp.min(x, axis=0))), xp)
        x = x / unit
        unit_squares = column_squares(detach(x), xp)
        sizes = self._noise_of(detach(self._means) / unit, unit_squares)
        return x / self._power_above(sizes), xp.where(unit_squares > 0, sizes * unit, 1.0)

    def _noise_of(self, mean: Array, squares: Array) -> Array:
        """The noise of each feature over eps, from its mean and its sum of squared deviations; 1 if there are none."""
        xp, variance = self.xp, squares / self.n
        double, single = (float(np.finfo(dtype).eps) for dtype in (np.float64, np.float32))
        summed = _SUMMED * (double if self.rounding <= double else single) / self.rounding
        mean = xp.where(variance > 0, mean, 0.0)
        stored, computed = xp.sqrt(mean * mean + variance), summed * xp.sqrt(variance)
        return xp.where(variance > 0, xp.maximum(stored, computed), 1.0)

    def _power_above(self, sizes: Array) -> Array:
        """Powers of two at or just above positive numbers."""
        return self.xp.pow(constant_of(2.0, sizes, self.xp), self.xp.ceil(self.xp.log2(sizes)))

    @property
    def _noise_sizes(self) -> Array:
        """The noise of each feature over eps in the units of `features`, 1 if it does not vary."""
        return self._equilibrated[1] if self._squares is None else self._noise_of(detach(self._means), self._squares)

    @property
    def noise_level(self) -> float:
        """Singular values of `equilibrated` at or below this may be made by the rounding of the values as given."""
        return self.rounding * (math.sqrt(self.n) + math.sqrt(self.p))

    @property
    def rank_tolerance(self) -> float:
        """Singular values at or below this fraction of the largest are lost in the precision that is computed in."""
        return max(self.n, self.p) * float(self.xp.finfo(accumulation_dtype(self.features, self.xp)).eps)

    @cached_property
    def basis(self) -> Basis:
        """Orthonormal basis of the space that the centred features span, without directions that rounding may have made.

        Singular values of `equilibrated` count as zero at or below the larger of max(n, p) eps of the largest, eps of the
        precision that is computed in, and eps (sqrt(n) + sqrt(p)), eps that of the values as they were given.

        Warns
        -----
        AccuracyWarning
            Some directions are of the size of the rounding of the values, so that their number is uncertain.
        """
        noise = self.noise_level
        centred = not self.is_centred
        if self._squares is None:
            x, scales = self.equilibrated, None
        else:  # what `equilibrated` is, without another matrix of that size
            x, scales = self._wide, self._power_above(self._noise_sizes)
        basis = orthonormal_basis(x, self.rank_tolerance, self.xp, noise=noise, scales=scales, is_centred=centred)
        squares = basis.squares
        if squares is not None and self.rounding > float(self.xp.finfo(squares.dtype).eps) and not is_lazy(squares):
            low, high = (factor * noise for factor in _DOUBTFUL)
            doubtful = int(self.xp.count_nonzero((squares > low * low) & (squares < high * high)))
            if doubtful:
                warn_caller(
                    f"{self.name} has {doubtful} direction{'s' * (doubtful > 1)} of about the size of the rounding of its "
                    f"values (eps = {self.rounding:.2g}), so its rank, {int(basis.rank)} here, is uncertain, and an index "
                    "that weighs all directions alike with it. Compute the layer in float64, or take an index that weighs "
                    "directions by their variance, such as cka, procrustes or svcca(threshold=0.99).",
                    AccuracyWarning,
                )
        return basis

    @cached_property
    def coordinates(self) -> Array:
        """Q'X: the centred features in the coordinates of `basis`, divided by `columns_scale`, shape (k, p)."""
        return self.basis.columns.cross(self.columns)

    def principal_basis(self, threshold: float) -> Basis:
        """Leading left singular vectors of the centred features that reach `threshold` of their variance, in (0, 1]."""
        if threshold == 1:
            return self.basis
        xp = self.xp
        sizes = self._noise_sizes / self.columns_scale * (1.0 if self.column_unit is None else self.column_unit)
        # The noise of all features is at most that of one with the largest values, and at most that of all together.
        noise = self.rounding * (math.sqrt(self.n) * xp.max(sizes) + xp.sqrt(xp.sum(sizes * sizes)))
        return principal_basis(self.columns.x, threshold, self.rank_tolerance, xp, noise=noise)


def _less(x: Array, mean: Array) -> Array:
    """`x` without its column means, in a new array.

    A number of the precision of `x` near the mean is subtracted first, which is exact where there is a large common
    offset, then what it lacks. No example is special: an outlier must not take the digits of the others.
    """
    xp = namespace_of(x)
    if x.dtype != mean.dtype:  # the mean of equal float32 numbers in float64 is that number
        near = xp.astype(detach(mean), x.dtype)
        y = x - near
        y -= xp.astype(mean - near, x.dtype)
        return y
    y = x - _near(detach(x[0, :]), detach(mean), xp)
    y += xp.sum(y, axis=0) / -x.shape[0]  # so that what is negated in the gradient is the mean, and not the layer
    return y


def _near(first: Array, mean: Array, xp: Namespace) -> Array:
    """The first value of each column where it is near the mean: of equal numbers it is all of them, their mean is not."""
    return xp.where(xp.abs(first - mean) <= float(xp.finfo(mean.dtype).eps) ** (1 / 3) * xp.abs(mean), first, mean)


def _deviations(x: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """`_less` in the precision of the mean; and sums of squares of the columns, if they are found on the way."""
    near = _near(x[0, :].astype(mean.dtype), mean, np)
    y = x - near
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = column_squares(y, np)
        if _is_mean(near, mean, squares, x.shape[0]):
            return y, squares
    y -= np.sum(y, axis=0) / x.shape[0]
    return y, None


def _is_mean(near: np.ndarray, mean: np.ndarray, squares: np.ndarray, n: int) -> bool:
    """Whether rounding of the mean is too small to be seen in sums of squares of the deviations from it.

    A sum of n numbers in any order is wrong by at most n eps of the sum of their sizes.
    """
    info = np.finfo(squares.dtype)
    if not (squares > info.tiny / info.eps).all():
        return False
    variance = squares / n
    wrong = np.abs(mean - near) + n * info.eps * np.sqrt(mean * mean + variance)
    return bool((wrong <= _UNSEEN * np.sqrt(variance)).all())
