"""A matrix of n rows that is kept as a product, since most of what is asked of it needs no matrix of that size."""

from __future__ import annotations

from dataclasses import dataclass

from simkit.arrays import Array, namespace_of
from simkit.caching import cached_property
from simkit.linalg.products import cross

__all__ = ["Factored"]


@dataclass(frozen=True, eq=False)
class Factored:
    """The matrix x w, shape (n, k), or x itself.

    Attributes
    ----------
    x : array, shape (n, m)
    w : array, shape (m, k), optional
    """

    x: Array
    w: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n, k)."""
        return self.x.shape[0], (self.x if self.w is None else self.w).shape[1]

    @cached_property
    def full(self) -> Array:
        """The matrix itself, formed once it has been asked for."""
        return self.x if self.w is None else self.x @ self.w

    def cross(self, other: Factored) -> Array:
        """The transpose of this matrix times another, by one product of n rows, that of the left factors."""
        product = cross(self.x, other.x)
        if self.w is not None:
            product = cross(self.w, product)
        return product if other.w is None else product @ other.w

    def times(self, w: Array) -> Factored:
        """The product with a matrix of k rows."""
        return Factored(self.x, w if self.w is None else self.w @ w)

    def for_products(self, count: int) -> Factored:
        """The same matrix, formed if that takes less time than so many products of its factors do."""
        n, k = self.shape
        return self if self.w is None or count * k < n else Factored(self.full)

    def permuted(self, order: Array) -> Factored:
        """The rows in another order."""
        return Factored(namespace_of(self.x).take(self.full, order, axis=0))
