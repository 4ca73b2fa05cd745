"""What every state of a pass over batches knows: the layers, the precision that they were given in, and what was not finite.

`RootsOfBatches` is the state for the indexes that need a root of the scatter matrix; `Moments` are that for linear HSIC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from simkit.arrays import Array, constant_of, detach, namespace_of, placement, to_numpy
from simkit.errors import InvalidArrayError
from simkit.fields import Fields, text_array
from simkit.representation import Representation
from simkit.statistics.roots import Roots, rows_together

__all__ = ["Batched", "RootsOfBatches"]


class Batched:
    """Layers of the same names and widths in each batch.

    Attributes
    ----------
    names : tuple of str
        The layers, once there has been an update.
    widths : tuple of int
        Their numbers of features.
    given : tuple of str
        The widest precision that each layer came in: "float32" or "float64".
    """

    _is_whole = True

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.widths: tuple[int, ...] = ()
        self.given: tuple[str, ...] = ()

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Around changes of which all or none must happen: sums that were interrupted here are not used again.

        Raises
        ------
        InvalidArrayError
            An earlier change was interrupted.
        """
        self._check_whole()
        self._is_whole = False
        yield
        self._is_whole = True

    def _check_whole(self) -> None:
        if not self._is_whole:
            raise InvalidArrayError(
                "An update was interrupted, so that a part of a batch is in these sums. Go on from the last checkpoint "
                "(Stream.load, and the batches after it), or stream the batches again."
            )

    @property
    def n(self) -> int:
        """The number of examples."""
        raise NotImplementedError

    @property
    def nonfinite(self) -> Array:
        """How many values of each layer were nan or inf, shape (L,)."""
        raise NotImplementedError

    @property
    def slices(self) -> tuple[slice, ...]:
        """Where the features of each layer stand among all."""
        ends = np.cumsum((0, *self.widths)).tolist()
        return tuple(map(slice, ends[:-1], ends[1:]))

    def position(self, name: str) -> int:
        """Where a layer stands among all.

        Raises
        ------
        KeyError
            There is none of this name.
        """
        if name not in self.names:
            raise KeyError(f"no layer is called {name!r}; they are {', '.join(self.names)}")
        return self.names.index(name)

    def precision(self, names: Sequence[str]) -> str:
        """The common precision of the batches of some layers: that of their scores."""
        return max(self.given[self.position(name)] for name in names)  # "float64" > "float32"

    def check(self, min_examples: int = 2) -> None:
        """Raise unless there are enough examples and all values were finite.

        Raises
        ------
        InvalidArrayError
            Too few examples, or values that were nan or inf: how many in which layer.
        """
        if self.n < min_examples:
            raise InvalidArrayError(
                f"{self.n} example{'s' * (self.n != 1)} in all; this index needs at least {min_examples}."
            )
        counts = to_numpy(self.nonfinite)
        if counts.any():
            found = ", ".join(f"{int(count)} in {name}" for name, count in zip(self.names, counts, strict=True) if count)
            raise InvalidArrayError(
                f"Values that are nan or inf: {found}. Remove those examples or find out where they come from "
                "(half precision overflows at 65504)."
            )

    def _noted(self, layers: Mapping[str, Array]) -> dict[str, Array]:
        """A batch as constants, after a look at its layers and their precision."""
        batch = {str(name): detach(x) for name, x in layers.items()}
        if not batch:
            raise InvalidArrayError("A batch needs at least one layer.")
        names, widths = tuple(batch), tuple(x.shape[1] for x in batch.values())
        if self.names and (names, widths) != (self.names, self.widths):
            raise InvalidArrayError(
                f"This batch has the layers {_listed(names, widths)}; the batches before had "
                f"{_listed(self.names, self.widths)}. The layers, their order and their widths must stay the same."
            )
        sizes = {name: x.shape[0] for name, x in batch.items()}
        if len(set(sizes.values())) > 1:
            raise InvalidArrayError(f"The layers of one batch have different numbers of examples: {sizes}.")
        given = tuple("float32" if "float32" in str(x.dtype) else "float64" for x in batch.values())
        self.given = tuple(map(max, self.given, given)) if self.names else given
        self.names, self.widths = names, widths
        return batch

    def _check_mergeable(self, other: Batched, *also: str) -> None:
        for what in ("names", "widths", *also):
            ours, theirs = getattr(self, what), getattr(other, what)
            if ours != theirs:
                raise InvalidArrayError(f"Cannot merge {type(self).__name__} of different {what}: {ours} and {theirs}.")

    def _members(self, like: Array) -> Array:
        """0/1 matrix (L, P): which features belong to which layer."""
        return constant_of(np.repeat(np.eye(len(self.widths)), self.widths, axis=1), like, namespace_of(like))

    def _about(self) -> dict[str, np.ndarray]:
        """The layers as plain arrays."""
        return {
            "names": text_array(self.names),
            "widths": np.array(self.widths, dtype=np.int64),
            "given": text_array(self.given),
        }

    def _set_about(self, fields: Fields) -> None:
        self.names = fields.texts("names", distinct=True)
        self.widths = fields.wholes("widths", length=len(self.names))
        self.given = fields.texts("given", length=len(self.names))
        if not set(self.given) <= {"float32", "float64"}:
            raise fields.wrong(f"'given' holds {self.given}; expected float32 or float64")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.n} examples: {_listed(self.names, self.widths) or 'no layers yet'}>"


class RootsOfBatches(Batched):
    """A root of the joint scatter of all batches; `update`, `merge`, then `representations`.

    Attributes
    ----------
    rounding : dict of str to float
        The largest eps that each layer was given with, in half precision too; 0 where it is not known.

    Notes
    -----
    The state lives in the namespace and on the device of the batches, in float64 where the device has it. Small batches are
    put together until there are 2048 rows, or twice as many as features if that is more, so that many are held besides.
    Gradients do not flow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rounding: dict[str, float] = {}
        self._roots: Roots | None = None
        self._nonfinite: Array = None
        self._pending: list[Array] = []

    def update(self, layers: Mapping[str, Array], rounding: Mapping[str, float] | None = None) -> None:
        """Add the examples of a batch.

        Parameters
        ----------
        layers : mapping of names to arrays of shape (m, p_k)
            Real floating matrices, of one framework, on one device; the same names and widths each time.
        rounding : mapping of names to float, optional
            The eps of the precision that the batch was given in, if it is not that of the matrices.

        Raises
        ------
        InvalidArrayError
            Other layers than before, or different numbers of examples.
        """
        batch = self._noted(layers)
        for name, x in batch.items():
            eps = (rounding or {}).get(name, 0.0) or float(namespace_of(x).finfo(x.dtype).eps)
            self.rounding[name] = max(eps, self.rounding.get(name, 0.0))
        with self._changing():
            self._put_aside(list(batch.values()))

    def _put_aside(self, parts: Sequence[Array]) -> None:
        xp, m = namespace_of(*parts), parts[0].shape[0]
        if self._roots is None:
            self._roots = Roots.empty(self.names, self.widths, parts[0])
            self._nonfinite = xp.zeros((len(parts),), dtype=self._roots.origin.dtype, **placement(parts[0]))
        common, together = xp.result_type(*(x.dtype for x in parts)), rows_together(sum(self.widths))
        start = 0
        while start < m:
            rows = slice(start, min(start + together - self._waiting, m))
            start = rows.stop
            # A copy, since the caller may use the memory of the batch again.
            self._pending.append(xp.concat([xp.astype(x[rows, :], common, copy=False) for x in parts], axis=1))
            if self._waiting >= together:
                self._take_in()

    def merge(self, other: RootsOfBatches) -> RootsOfBatches:
        """The state of the examples of both; neither changes.

        Raises
        ------
        InvalidArrayError
            They are of different layers.
        """
        if not (self.names and other.names):
            return (self if self.names else other)._copy()
        self._check_mergeable(other)
        return self.with_roots(
            Roots.merged([self.roots, other.roots]),
            nonfinite=self.nonfinite + other.nonfinite,
            given=tuple(map(max, self.given, other.given)),
            rounding={name: max(eps, other.rounding[name]) for name, eps in self.rounding.items()},
        )

    def with_roots(
        self, roots: Roots, *, nonfinite: Array, given: tuple[str, ...], rounding: Mapping[str, float]
    ) -> RootsOfBatches:
        """The state of other examples of the same layers."""
        twin = self._copy()
        twin._roots, twin._nonfinite, twin.given, twin.rounding = roots, nonfinite, given, dict(rounding)
        return twin

    def _copy(self) -> RootsOfBatches:
        twin = RootsOfBatches()
        self._flush()
        twin.__dict__ |= self.__dict__ | {"_pending": [], "rounding": dict(self.rounding)}
        return twin

    def _flush(self) -> None:
        """Take the rows that were put aside into the root."""
        self._check_whole()
        if self._pending:
            with self._changing():
                self._take_in()

    def _take_in(self) -> None:
        assert self._roots is not None
        xp = namespace_of(self._pending[0])
        rows = self._pending[0] if len(self._pending) == 1 else xp.concat(self._pending, axis=0)
        self._pending = []
        with np.errstate(invalid="ignore", over="ignore"):
            suspicious = not bool(xp.isfinite(xp.sum(rows)))
        if suspicious:
            # They are counted, and reported by `check`; zeros keep the linear algebra from failing before.
            finite = xp.isfinite(rows)
            counts = xp.sum(xp.astype(xp.logical_not(finite), self._nonfinite.dtype), axis=0)
            self._nonfinite = self._nonfinite + self._members(self._nonfinite) @ counts
            rows = xp.where(finite, rows, 0.0)
        self._roots = self._roots.extended([rows])

    @property
    def _waiting(self) -> int:
        return sum(rows.shape[0] for rows in self._pending)

    @property
    def n(self) -> int:
        """The number of examples."""
        return self._waiting + (0 if self._roots is None else self._roots.n)

    @property
    def nonfinite(self) -> Array:
        """How many values of each layer were nan or inf, shape (L,)."""
        self._flush()
        return self._nonfinite

    @property
    def roots(self) -> Roots:
        """The root of all examples so far.

        Raises
        ------
        InvalidArrayError
            There has been no batch, so that the layers are not known.
        """
        self._flush()
        if self._roots is None:
            raise InvalidArrayError("No batch yet, so there is no root of a scatter matrix.")
        return self._roots

    def representations(self) -> dict[str, Representation]:
        """Small matrices that stand for the layers: see `Roots.representations`."""
        return self.roots.representations(self.rounding)

    # --- files, pickles and other devices -----------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        self._flush()
        return dict(self.__dict__)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays, for a file without pickle; `from_arrays` reads it."""
        rounding = np.array([self.rounding[name] for name in self.names], dtype=np.float64)
        arrays = self._about() | {"rounding": rounding, "nonfinite": to_numpy(self.nonfinite)}
        return arrays | {f"root_{name}": values for name, values in self.roots.to_arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray] | Fields, like: Array | None = None) -> RootsOfBatches:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`.

        Raises
        ------
        CheckpointError
            A field is missing or is not what it must be.
        """
        state, fields = cls(), Fields.of(arrays)
        state._set_about(fields)
        rounding = fields.reals("rounding", (len(state.names),))
        state.rounding = dict(zip(state.names, map(float, rounding), strict=True))
        state._roots = Roots.from_arrays(fields.below("root_"), like)
        if (state._roots.names, state._roots.widths) != (state.names, state.widths):
            raise fields.wrong(f"its root is of the layers {_listed(state._roots.names, state._roots.widths)}")
        counts = np.array(fields.reals("nonfinite", (len(state.names),)))
        state._nonfinite = counts if like is None else constant_of(counts, state._roots.origin, namespace_of(like))
        return state

    def to(self, like: Array) -> RootsOfBatches:
        """The same state in the namespace and on the device of `like`."""
        return RootsOfBatches.from_arrays(self.to_arrays(), like)


def _listed(names: Sequence[str], widths: Sequence[int]) -> str:
    return ", ".join(f"{name} ({width})" for name, width in zip(names, widths, strict=True))
