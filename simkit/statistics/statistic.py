"""The contract of a statistic: what an index needs of L layers that n examples have been seen by.

    activations -> matrices -- producer --> statistic -- index --> scores -> result

A statistic is made of a batch, merged with that of other examples of the same layers, written to plain arrays and read
again, and asked for the scores of rows x columns. That is all that those who make statistics know: memory, batches
(`simkit.scale.stream`), Dask chunks (`simkit.scale.dask`), tiles of Gram matrices (`simkit.scale.blocks`) and the processes
of a group (`simkit.torch.distributed`) know no index, and an index knows none of them. Which statistic an index is computed
from, `simkit.planner` says. The kinds are

    Moments         second moments, with third and fourth order for the unbiased estimators     linear HSIC
    Roots           a root of the scatter matrix                                    what whitens, CCA and its kin
    KernelSums      sums over the entries of Gram matrices                          HSIC of any kernel
    MinibatchHSIC   sums over batches of the HSIC of each                           the minibatch estimator
    Layers          the layers themselves                                           what needs all examples; gradients
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from simkit.arrays import Array, accumulation_dtype, namespace_of, placement, to_numpy
from simkit.fields import Fields
from simkit.statistics.chance import Scores
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Statistic"]


@dataclass(frozen=True, eq=False)
class Statistic(ABC):
    """What some indexes need of L layers, seen by some examples. An immutable value.

    Attributes
    ----------
    values : ValueCheck
        The layers, and what is known of their values.
    of : class method
        ``of(layers, values, **options)`` makes the statistic of one batch, of what `extended` takes; the options are those
        of the plan (`simkit.planner.Plan.options`).
    arrays_named : tuple of str
        The attributes that are arrays of the framework and on the device of the layers; one may be None.
    """

    values: ValueCheck

    of: ClassVar[Callable[..., Any]]
    arrays_named: ClassVar[tuple[str, ...]] = ()

    # --- made from a batch, merged ------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def merged(cls, parts: Sequence[Self], *, reuse: bool = False) -> Self:
        """The statistic of the examples of all `parts`, of which none changes; in any order, up to rounding.

        Parameters
        ----------
        parts : sequence of statistics
            At least one; made with the same options, of the same layers.
        reuse : bool
            The arrays of the first may be written over: nobody asks for it again.

        Raises
        ------
        InvalidArrayError
            They are of different layers.
        """

    @abstractmethod
    def extended(self, layers: Mapping[str, Array], values: ValueCheck) -> Self:
        """The statistic of these examples and of one more batch; this one may be written over.

        Parameters
        ----------
        layers : mapping of names to arrays, shapes (m, p)
            Finite matrices of the same m >= 0 examples, which are not written to.
        values : ValueCheck
            What is known of them.
        """

    @classmethod
    def rows_together(cls, width: int) -> int:
        """How many examples of layers with `width` features in all are worth making a statistic of.

        Smaller batches are held together until there are so many. 0 if a batch must stay as it is.
        """
        del width
        return 0

    @property
    def options(self) -> dict[str, Any]:
        """The options of `of` that show in what has been gathered: parts that are merged have the same."""
        return {}

    # --- asked for scores ---------------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.values.n

    @property
    def names(self) -> tuple[str, ...]:
        """The layers in order."""
        return self.values.names

    @property
    def widths(self) -> tuple[int, ...]:
        """Their numbers of features."""
        return self.values.widths

    @abstractmethod
    def scored(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str], *, by_chance: bool) -> Scores:
        """Scores of layers that vary and are finite, shape (rows, columns), in whatever precision they are computed in.

        And what they are by chance, where the index knows it and it is asked for. `simkit.scoring.scored` asks for these,
        and says of all layers what must be said.
        """

    def scores(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str]) -> Array:
        """The scores alone."""
        return self.scored(index, rows, columns, by_chance=False).values

    @property
    def nan(self) -> Array:
        """The score of a layer that has none, a 0-d array in the precision of the scores."""
        first = self.values.first[0]
        xp = namespace_of(first)
        return xp.asarray(float("nan"), dtype=getattr(xp, self.values.dtype), **placement(first))

    @abstractmethod
    def out_of_range(self, dtype: Any) -> Collection[str]:
        """The layers with values so large, or so small, that products of them leave the range of `dtype`."""

    # --- files and other devices --------------------------------------------------------------------------------------

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays that are there, by the names of the attributes."""
        found = {name: self.__dict__[name] for name in self.arrays_named}
        return {name: x for name, x in found.items() if x is not None}

    def without_arrays(self) -> Self:
        """Everything but the arrays, on the host: little, and apt to be pickled."""
        return replace(self, values=self.values.to(np.zeros(0)), **dict.fromkeys(self.arrays))

    def with_arrays(self, arrays: Mapping[str, Array], like: Array) -> Self:
        """What was without them with its arrays, which are in the framework and on the device of `like`."""
        return replace(self, values=self.values.to(like), **arrays)

    def about(self) -> dict[str, np.ndarray]:
        """What is to be known besides `values` and `arrays`, as plain NumPy arrays."""
        return {}

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays, for a file without pickle; `from_arrays` reads it."""
        return self.values.to_arrays() | self.about() | {name: to_numpy(x) for name, x in self.arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray] | Fields, like: Array | None = None) -> Self:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`.

        Raises
        ------
        CheckpointError
            A field is missing or is not what it must be.
        """
        fields = Fields.of(arrays)
        read = cls._read(fields, ValueCheck.from_arrays(fields, like))
        return read if like is None else replace(read, **{name: _placed(x, like) for name, x in read.arrays.items()})

    @classmethod
    @abstractmethod
    def _read(cls, fields: Fields, values: ValueCheck) -> Self:
        """The statistic of fields that `to_arrays` wrote, in NumPy."""

    def to(self, like: Array) -> Self:
        """The same statistic in the namespace and on the device of `like`."""
        return self.from_arrays(self.to_arrays(), like)


def _placed(values: np.ndarray, like: Array) -> Array:
    xp = namespace_of(like)
    return xp.asarray(values, dtype=accumulation_dtype(like, xp), **placement(like))
