"""Whether the working precision resolves what an index looks at, and what to do where it does not.

A kernel that notices the origin has values that are large next to their differences where the features have a large offset,
and centring leaves the differences only. Distances by the expansion |x|^2 + |y|^2 - 2x'y lose digits where rows are far from
the origin and near each other. float64 resolves both where the device has it; these checks read a few values, and are left
out where reading one would start a computation or fail (`simkit.arrays.is_lazy`).
"""

from __future__ import annotations

from simkit.arrays import Array, Namespace, accumulation_dtype, detach, is_lazy, warn_caller
from simkit.errors import AccuracyWarning
from simkit.kernel import Kernel
from simkit.linalg import double_centre, power_of_two, squared_norm, widen
from simkit.linalg.distances import squared_lengths
from simkit.linalg.selection import few_of

__all__ = [
    "resolves_distances",
    "resolving_distances",
    "warn_if_directions_unresolved",
    "warn_if_kernel_unresolved",
    "warn_if_unresolved",
]

_DOUBLE = 1e-10  # above eps of float64, below that of float32
_ROUNDING = 1e-3  # as a share of the root mean square of HKH
_BLURRED = 1e-4  # as a share of the differences of directions, of which many may be near the k-th
_FAR = 64.0  # times the typical squared distance from the origin: float32 is then right to about 1e-5 of it
_RANGE = 1e30  # squares beyond this, or below its inverse, are near the end of float32


def warn_if_unresolved(k: Array, name: str, xp: Namespace) -> bool:
    """Warn if rounding of the entries of a Gram matrix is no longer small next to the entries of HKH.

    Parameters
    ----------
    k : array, shape (n, n)
        Not yet centred; or the part of it that belongs to some of the examples. At most some hundred rows are looked at.
    name : str
        How the warning calls the layer.

    Returns
    -------
    bool
        Whether it warned.

    Warns
    -----
    AccuracyWarning
        eps max |K| exceeds a thousandth of the root mean square of HKH.
    """
    if is_lazy(k):
        return False
    k = few_of(few_of(detach(k)).mT).mT
    eps, largest = float(xp.finfo(k.dtype).eps), float(xp.max(xp.abs(k)))
    if float(xp.max(k)) == float(xp.min(k)):  # no difference to be resolved: the score is undefined, which is said elsewhere
        return False
    spread = float(xp.sqrt(squared_norm(double_centre(k / largest, xp), xp))) / k.shape[0]
    if not eps > _ROUNDING * spread:
        return False
    _say_unresolved(k, name, xp)
    return True


def warn_if_directions_unresolved(u: Array, noise: float, name: str, xp: Namespace) -> None:
    """Warn if the rounding of the directions of examples is no longer small next to the differences between them.

    Parameters
    ----------
    u : array, shape (n, p)
        Directions, not centred: in float64 distances between them, from a point amid them, say what their products do not.
    noise : float
        What rounding may have added to a direction.

    Warns
    -----
    AccuracyWarning
        The noise exceeds a ten-thousandth of the typical distance of a direction from their mean; in lower precision,
        products of directions do not resolve their cosines.
    """
    if is_lazy(u):
        return
    few = few_of(u)
    if float(xp.finfo(u.dtype).eps) > _DOUBLE:
        warn_if_unresolved(few @ few.mT, name, xp)
        return
    away = few - xp.mean(few, axis=0)
    spread = float(xp.sqrt(squared_norm(away, xp) / few.shape[0]))
    if noise > _BLURRED * spread and float(xp.max(xp.abs(few - few[:1, :]))) > 0:
        _say_unresolved(u, name, xp)


def _say_unresolved(k: Array, name: str, xp: Namespace) -> None:
    warn_caller(
        f"The kernel of {name} has large values with small differences, of which the score is made and which this precision "
        f"(eps = {float(xp.finfo(k.dtype).eps):.0e}) does not resolve: the features have a large offset, or point in one "
        f"direction, and the kernel depends on the origin. {_remedy(k, xp)}If the offset means nothing, take it off first: "
        f"{name} - {name}.mean(axis=0).",
        AccuracyWarning,
    )


def warn_if_kernel_unresolved(kernel: Kernel, x: Array, name: str, xp: Namespace) -> None:
    """`warn_if_unresolved` of a fitted kernel that notices the origin, and of the inner products that it is likely made of.

    A kernel of the angle between examples has more noise than the rounding of its values, where inner products are rounded.
    """
    if "translation" in kernel.invariances or is_lazy(x):
        return
    few = few_of(x)
    unit = few / power_of_two(few, xp)
    if not warn_if_unresolved(unit @ unit.mT, name, xp):
        warn_if_unresolved(kernel(few, few), name, xp)


def resolving_distances(x: Array, name: str, xp: Namespace) -> Array:
    """`x` (n, p) in a precision that resolves the distances between its rows: its own, or float64 where that does not.

    Parameters
    ----------
    x : array, shape (n, p)
        Less an origin amid its rows (`simkit.linalg.robust_origin`).
    name : str
        How the warning calls the layer.

    Warns
    -----
    AccuracyWarning
        float64 would be needed and is not available.
    """
    if is_lazy(x) or float(xp.finfo(x.dtype).eps) < _DOUBLE:
        return x
    squares = squared_lengths(detach(x), xp)
    largest, typical = float(xp.max(squares)), float(xp.sort(squares)[squares.shape[0] // 2])
    if resolves_distances(largest, typical):
        return x
    wide = widen(x, xp)
    if wide.dtype == x.dtype:
        warn_caller(
            f"Some examples of {name} are so far from most others that this precision may not resolve the distances among "
            f"them. {_remedy(x, xp)}If they are outliers, leave them out.",
            AccuracyWarning,
        )
    return wide


def resolves_distances(largest: float, typical: float) -> bool:
    """Whether float32 tells distances apart, given the largest and a typical squared distance from the origin."""
    return not (largest > _FAR * typical or largest > _RANGE or typical < 1 / _RANGE)


def _remedy(x: Array, xp: Namespace) -> str:
    if float(xp.finfo(x.dtype).eps) < _DOUBLE or accumulation_dtype(x, xp) != x.dtype:
        return ""
    return (
        'Compute in float64: in JAX jax.config.update("jax_enable_x64", True) before arrays are made; elsewhere on a device '
        "that has it, such as the CPU. "
    )
