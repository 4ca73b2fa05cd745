"""Kernels of the Euclidean distance: values from squared distances, whoever has computed those, and for whatever else."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from simkit.arrays import Array, constant_of, namespace_of
from simkit.kernel import Kernel
from simkit.linalg import median_of_squares, scaled_squares

__all__ = ["KernelOfDistances", "evaluated", "is_of_distances", "needs_median_alone", "values_of"]


@dataclass(frozen=True)
class KernelOfDistances(Kernel):
    """A kernel k(x, y) = f(|x - y|)."""

    @abstractmethod
    def _of_squares(self, scale: Array, like: Array) -> Callable[[Array], Array]:
        """What makes the values, of the fitted kernel, from squared distances in the square of `scale`, a 0-d array.

        They are arrays like `like`, and written over where they are of NumPy.
        """

    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel matrix, shape (n, m)."""
        fitted = self if self.fit_needs == "nothing" else self.fit(X)
        squares, scale = scaled_squares(X, Y, namespace_of(X, Y))
        return values_of(fitted, scale, squares)(squares)


def values_of(kernel: KernelOfDistances, scale: Array | None, like: Array) -> Callable[[Array], Array]:
    """What makes the values of a fitted kernel from squared distances in the square of `scale`, None for 1."""
    return kernel._of_squares(constant_of(1.0, like, namespace_of(like)) if scale is None else scale, like)


def is_of_distances(kernel: Kernel) -> bool:
    """Whether distances are all that a kernel looks at; a subclass may compute something else, or be fitted otherwise."""
    kind = type(kernel)
    return (
        isinstance(kernel, KernelOfDistances)
        and kind.__call__ is KernelOfDistances.__call__
        and kind.fit is Kernel.fit
        and kernel.fit_needs in ("nothing", "median distance")
    )


def needs_median_alone(kernel: Kernel) -> bool:
    """Whether distances, with their median, are all that a kernel looks at."""
    return is_of_distances(kernel) and kernel.fit_needs == "median distance"


def evaluated(kernel: Kernel, x: Array) -> tuple[Kernel, Array]:
    """The kernel with what depends on the data filled in, and its values for all pairs of rows of `x` (n, p)."""
    if not is_of_distances(kernel):
        fitted = kernel.fit(x)
        return fitted, fitted(x, x)
    assert isinstance(kernel, KernelOfDistances)
    xp = namespace_of(x)
    squares, scale = scaled_squares(x, x, xp)  # once, for the median and for the values
    if kernel.fit_needs == "median distance":
        kernel = kernel.with_median(median_of_squares(squares, scale, xp))
    return kernel, values_of(kernel, scale, squares)(squares)
