"""The contract of a kernel: k(x_i, y_j) for all pairs of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from simkit.arrays import Array
from simkit.properties import Invariance
from simkit.spec import Specified

__all__ = ["Kernel"]


@dataclass(frozen=True)
class Kernel(Specified, ABC):
    """Base class of kernels: a frozen dataclass whose fields are the hyperparameters.

    A subclass sets `name` and `reference`, declares `invariances`, and implements ``__call__`` in the operations of the
    Array API standard. What depends on the data (a median bandwidth) is found in `fit`, once per layer, so that a tile or
    a chunk of examples sees a fixed kernel.

    Attributes
    ----------
    name : str
        The registered name, an identifier.
    reference : str
        Where the kernel was defined.
    homogeneous : bool
        Scaling the examples only multiplies K by a constant, so normalised indexes ignore scale.
    differentiable : bool
        Gradients with respect to the examples exist almost everywhere and flow through `fit` and ``__call__``.

    Notes
    -----
    HSIC centres the Gram matrix. A kernel with ``"translation"`` among its invariances is therefore handed column-centred
    features, which is safer in float32, and one with ``"isotropic_scaling"`` besides is handed features scaled to about 1.
    Any other kernel is handed the features as the user gave them.
    """

    name: ClassVar[str]
    reference: ClassVar[str] = ""
    homogeneous: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True

    @property
    @abstractmethod
    def invariances(self) -> frozenset[Invariance]:
        """What may be done to the features of one layer without changing its centred Gram matrix HKH."""

    def fit(self, X: Array) -> Kernel:
        """Return the kernel with the hyperparameters that depend on `X` (n, p) filled in; `self` if there are none."""
        del X
        return self

    @abstractmethod
    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel values of all pairs of rows.

        Parameters
        ----------
        X : array, shape (n, p)
        Y : array, shape (m, p)
            May be `X` itself, the very object.

        Returns
        -------
        array, shape (n, m)
            In the namespace, dtype and device of `X`.
        """
