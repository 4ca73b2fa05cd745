"""The contract of a kernel: k(x_i, y_j) for all pairs of examples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, TypeAlias, get_args

from simkit.arrays import Array, namespace_of
from simkit.errors import NeedsAllExamplesError
from simkit.guard import guard
from simkit.linalg import median_of_squares, scaled_squares
from simkit.properties import Capability, Invariance, capabilities
from simkit.spec import Specified

__all__ = ["FitNeeds", "Kernel"]

FitNeeds: TypeAlias = Literal["nothing", "median distance", "all examples"]


@dataclass(frozen=True)
class Kernel(Specified, ABC):
    """Base class of kernels: a frozen dataclass whose fields are the hyperparameters.

    A subclass sets `name` and `reference`, declares `invariances`, and implements ``__call__`` in the operations of the
    Array API standard. What depends on the data (a median bandwidth) is filled in once per layer, so that a tile or a chunk
    of examples sees a fixed kernel: a subclass declares in `fit_needs` what it needs to know of the layer, and implements
    `with_median` or overrides `fit`.

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
    without : frozenset of str
        What does not work besides, as in `simkit.properties.Facts`; an index of the kernel does not work there either.
    fit_needs : {"nothing", "median distance", "all examples"}
        What the hyperparameters that `fit` fills in are found from; a property where a parameter decides it. A class that
        overrides `fit` declares it as well, since tiles and Dask arrays go by it:

        - ``"nothing"`` (the default): `fit` returns `self`;
        - ``"median distance"``: `fit` is `with_median` of the median Euclidean distance over the distinct pairs of examples,
          which is found without an n x n matrix;
        - ``"all examples"``: only `fit` knows, and is handed all examples of a layer at once.

    Notes
    -----
    HSIC centres the Gram matrix. A kernel with ``"translation"`` among its invariances is therefore handed features less
    an origin amid the examples, and one with ``"isotropic_scaling"`` besides is handed features scaled to about 1: both are
    safer in float32. Any other kernel is handed the features as the user gave them, in float64 where the device has it,
    because what is left of its values after centring may be much smaller than they are.
    """

    kind: ClassVar[str] = "kernel"
    reference: ClassVar[str] = ""
    homogeneous: ClassVar[bool] = False
    differentiable: ClassVar[bool] = True
    without: ClassVar[frozenset[Capability]] = frozenset()
    fit_needs: ClassVar[FitNeeds] = "nothing"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        guard(cls)

    @property
    @abstractmethod
    def invariances(self) -> frozenset[Invariance]:
        """What may be done to the features of one layer without changing its centred Gram matrix HKH."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Where the kernel runs besides NumPy, and inside which transformations: all that is not declared to be missing."""
        return capabilities(self.without, differentiable=self.differentiable)

    def fit(self, X: Array) -> Self:
        """Return the kernel with the hyperparameters that depend on `X` (n, p) filled in; `self` if there are none."""
        if self.fit_needs != "median distance":
            return self
        xp = namespace_of(X)
        return self.with_median(median_of_squares(*scaled_squares(X, X, xp), xp))

    def with_median(self, median: Array) -> Self:
        """Return the kernel for a layer of this median distance, whose ``fit_needs`` is then ``"nothing"``.

        Parameters
        ----------
        median : array, shape ()
            The median of the Euclidean distances, not of their squares (for an even number of pairs the two differ). 0 if
            most examples coincide, as then no scale can be read off the data.

        Raises
        ------
        NotImplementedError
            The kernel declares ``"median distance"`` but does not say what it does with one.
        """
        raise NotImplementedError(
            f"{type(self).__name__} declares fit_needs = {self.fit_needs!r}; with_median is for 'median distance', and then "
            "the class must define it."
        )

    def declared_needs(self) -> FitNeeds:
        """`fit_needs`, if it is about the `fit` that this kernel has; producers that do not hold a layer ask this.

        Raises
        ------
        NeedsAllExamplesError
            `fit` is overridden below the class that declares ``fit_needs``, so that the declaration is about another `fit`.
        """
        order = type(self).__mro__
        fits, says = (next(k for k, cls in enumerate(order) if name in vars(cls)) for name in ("fit", "fit_needs"))
        needs = self.fit_needs
        if fits < says or needs not in get_args(FitNeeds):
            found = "does not declare what it needs" if fits < says else f"declares fit_needs = {needs!r}"
            raise NeedsAllExamplesError(
                f"{order[fits].__name__} has a fit of its own and {found}, so the kernel cannot be fitted without "
                'all examples in memory. Set fit_needs = "all examples" in that class if fit must see all examples of a '
                'layer at once, "median distance" if it follows the median distance between examples (define with_median '
                'instead of fit then), or "nothing" if it returns the kernel as it is.'
            )
        return needs

    @abstractmethod
    def __call__(self, X: Array, Y: Array) -> Array:
        """Kernel values of all pairs of rows.

        Parameters
        ----------
        X : array, shape (n, p)
        Y : array, shape (m, p)
            May be `X` itself, the very object. Neither is to be written into.

        Returns
        -------
        array, shape (n, m)
            In the namespace, dtype and device of `X`.
        """
