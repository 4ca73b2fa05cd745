"""Batches: the similarity of representations that are seen a few examples at a time, once.

The result is that of all examples in memory (`simkit.compare`, `simkit.pairwise`), up to rounding; a stream keeps their
moments or a root of these, P x P numbers for layers of P features in all, whatever the number of examples and of pairs of
layers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from simkit.arrays import (
    Array,
    as_matrix,
    check_labels,
    check_same_examples,
    check_same_framework,
    check_values,
    describe,
    detach,
    is_lazy,
    namespace_of,
    rounding_of,
)
from simkit.arrays.modes import own_modes
from simkit.checkpoint import Format
from simkit.errors import CheckpointError, InvalidArrayError, SpecError
from simkit.feasibility import check_width
from simkit.fields import Fields, text_array
from simkit.matrix import SimilarityMatrix
from simkit.origin import origin
from simkit.planner import Plan, Question, plan
from simkit.registry import get_index
from simkit.scale.batches import Batches
from simkit.scale.locks import Lock
from simkit.scale.projection import RandomProjection
from simkit.scoring import scored
from simkit.sides import Kind, Sides, are_layers
from simkit.statistics.hsic_sums import takes_minibatch
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.statistic import Statistic

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Stream", "stream"]

# Before version 4 every kind of state had a format of its own.
_FORMAT = Format(
    "simkit_stream",
    version=4,
    signed=3,
    what="stream",
    remedy="Stream the batches again, or those since an earlier checkpoint.",
)

_BYTES = 2**32


def stream(
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    check_finite: bool = True,
    flatten: bool = False,
    projection: RandomProjection | None = None,
    max_bytes: int = _BYTES,
    **parameters: Any,
) -> Stream:
    """Similarity of representations that come in batches, exactly as if they had come at once.

    Parameters
    ----------
    index : str or Index
        As in `simkit.compare`: any whose declared statistic is "moments", and HSIC and CKA with the linear kernel (biased,
        unbiased and lange, all exact). With ``estimator="minibatch"`` any kernel.
    check_finite : bool
        Look for nan and inf in each batch at once; without it `Stream.compute` reports them.
    flatten : bool
        As in `simkit.compare`.
    projection : RandomProjection, optional
        An approximation for layers that are too wide: features are projected at random first. See
        `simkit.scale.projection` for its error.
    max_bytes : int
        The largest joint scatter matrix that may be made.
    **parameters
        Parameters of the index.

    Returns
    -------
    Stream
        Give it batches with `Stream.update`, ask it with `Stream.compute`, at any time and as often as you like; begin anew
        with `Stream.reset`.

    Raises
    ------
    NeedsAllExamplesError
        The index cannot be computed in one pass over batches; the message says what can be done.
    UnknownNameError, SpecError, PluginError
        The index cannot be made; see `simkit.get_index`.

    Examples
    --------
    >>> import numpy as np, simkit
    >>> rng = np.random.default_rng(0)
    >>> cka = simkit.stream("cka", estimator="unbiased")
    >>> for _ in range(10):
    ...     X = rng.standard_normal((100, 20))
    ...     cka.update(X, X[:, :5] + rng.standard_normal((100, 5)))
    >>> print(f"{cka.compute():.2f}")
    0.25
    """
    chosen = get_index(index, **parameters)
    return Stream(chosen, flatten=flatten, check_finite=check_finite, projection=projection, max_bytes=max_bytes)


class Stream:
    """What `simkit.stream` returns: the state of a pass over batches.

    Attributes
    ----------
    index : Index
    rows, columns : tuple of str
        Names of the layers, once there has been an update; ``("X",)`` and ``("Y",)`` for two arrays.
    n : int
        The number of examples so far.

    Notes
    -----
    Threads may share a stream: each call sees all of a batch or none of it.
    """

    def __init__(
        self,
        index: Index[Any],
        *,
        flatten: bool = False,
        check_finite: bool = True,
        projection: RandomProjection | None = None,
        max_bytes: int = _BYTES,
    ) -> None:
        self.index, self.flatten, self.check_finite = index, flatten, check_finite
        self.projection, self.max_bytes = projection, max_bytes
        _plan_of(index)
        if projection is not None and not _is_projectable(index):
            raise SpecError(
                f"projection: {index} depends on more than the products of examples, so a random projection says nothing "
                "about it. It approximates indexes that are invariant to rotations but not to all invertible transforms, "
                "such as cka."
            )
        self._sides: Sides | None = None
        self._widths: tuple[int, ...] = ()
        self._batches: Batches | None = None
        self._lock = Lock()

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the layers of the first side."""
        return () if self._sides is None else self._sides.rows

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the layers of the second side."""
        return () if self._sides is None else self._sides.columns

    @property
    def n(self) -> int:
        """The number of examples so far."""
        with self._lock.here:
            return 0 if self._batches is None else self._batches.n

    @property
    def batches(self) -> int:
        """The number of batches so far."""
        return 0 if self._batches is None else self._batches.count

    # --- batches ---------------------------------------------------------------------------------------------------------

    def update(self, A: Any, B: Any = None, *, ids: Any = None) -> None:
        """Add a batch.

        Parameters
        ----------
        A, B : array, shapes (m, p1) and (m, p2); or mappings of names to arrays, or sequences of arrays
            The same m examples in all, m >= 0; the same kind, names and widths in each batch. With layers, ``B=None``
            compares `A` with itself. The arrays may be changed afterwards; gradients do not flow through a stream.
        ids : (ids of A, ids of B), optional
            Labels of the examples of this batch, as in `simkit.compare` and `simkit.pairwise`.

        Raises
        ------
        InvalidArrayError
            Different numbers of examples or other labels of them, other layers or widths than before, values that are not
            finite, or layers that are too wide together. The state is as before the call. Or an earlier call was
            interrupted in the middle.
        TooLargeError
            The joint scatter matrix does not fit into memory.
        InvalidDtypeError, MixedArraysError
            As in `simkit.compare`; also if the framework or the device changes between batches.
        """
        sides, given = _sides(A, B)
        rounding = {name: rounding_of(x) for name, x in given.items()}
        layers = {name: self._matrix(x, name) for name, x in given.items()}
        check_labels(*sides.by_side(given), ids=ids)
        with self._lock.here:
            self._check(sides, layers)
            widths = tuple(x.shape[1] for x in layers.values())
            if self.projection is not None:
                with own_modes(next(iter(layers.values()))):
                    layers = {name: self.projection(x, namespace_of(x)) for name, x in layers.items()}
            batches = self._batches or Batches(*_made_by(self.index, sides, self._kept(widths)))
            batches.add(layers, rounding, finite=self.check_finite)
            self._sides, self._widths, self._batches = sides, widths, batches

    def reset(self) -> None:
        """Forget all batches, the names and widths of their layers too; index and settings stay.

        The next batch may be of other layers, of another framework or on another device. After an update that was
        interrupted, the stream can be used again.

        Examples
        --------
        >>> import numpy as np, simkit
        >>> stream = simkit.stream("cka")
        >>> stream.update(np.eye(5), np.eye(5))
        >>> stream.reset()
        >>> stream
        <Stream of cka: no batch yet>
        """
        with self._lock.here:
            self._sides, self._widths, self._batches = None, (), None

    def _matrix(self, x: Any, name: str) -> Array:
        called = f"{name} of batch {self.batches}"
        x = as_matrix(x, called, flatten=self.flatten)
        if is_lazy(x):
            raise InvalidArrayError(
                f"{called} is a {describe(x)}, whose values are not there yet; batches are arrays in memory. Give Dask "
                "arrays to simkit.compare or simkit.pairwise, which read them chunk by chunk."
            )
        return detach(x)

    def _check(self, sides: Sides, layers: Mapping[str, Array]) -> None:
        names = {name: f"{name} of batch {self.batches}" for name in layers}
        first_name, first = next(iter(layers.items()))
        if self._batches is not None and self._batches.like is not None:
            check_same_framework(self._batches.like, first, ("the batches before", names[first_name]))
        for name, x in layers.items():
            check_same_framework(first, x, (names[first_name], names[name]))
            check_same_examples(first, x, (names[first_name], names[name]))
        widths = tuple(x.shape[1] for x in layers.values())
        if self._sides is None:
            check_state_fits(self.index, self._kept(widths), self.max_bytes)
        elif (sides, widths) != (self._sides, self._widths):
            before = dict(zip(self._sides.names, self._widths, strict=True))
            raise InvalidArrayError(
                f"Batch {self.batches} has other layers than those before. Layers and widths were "
                f"{before}; now {dict(zip(layers, widths, strict=True))}."
            )
        if self.check_finite:
            for name, x in layers.items():
                check_values(x, names[name])

    def _kept(self, widths: tuple[int, ...]) -> tuple[int, ...]:
        """The widths of the layers in the statistic."""
        most = self.projection.features if self.projection is not None else None
        return tuple(p if most is None else min(p, most) for p in widths)

    # --- merging -----------------------------------------------------------------------------------------------------------

    def merge(self, other: Stream) -> Stream:
        """The stream of the examples of both; neither changes.

        Raises
        ------
        InvalidArrayError
            They are of different indexes, layers or projections.
        """
        first, second = sorted((self._lock.here, other._lock.here), key=id)  # one order for all threads
        with first, second:
            pairs: dict[str, tuple[Any, Any]] = {
                "index": (self.index, other.index),
                "projection": (self.projection, other.projection),
            }
            if self._sides is not None and other._sides is not None:
                pairs |= {"layers": (self._sides, other._sides), "widths": (self._widths, other._widths)}
            for what, (ours, theirs) in pairs.items():
                if ours != theirs:
                    raise InvalidArrayError(f"Cannot merge streams of different {what}: {ours} and {theirs}.")
            states = [stream._batches for stream in (self, other) if stream._batches is not None]
            return (self if self._sides is not None else other)._of(Batches.merged(states) if states else None)

    @property
    def statistic(self) -> Statistic | None:
        """What the scores are computed from; None before the first batch. The next batch may write it over."""
        with self._lock.here:
            return None if self._batches is None else self._batches.statistic

    @property
    def like(self) -> Array | None:
        """An empty array of the framework, the device and the precision of the batches; None before the first."""
        return None if self._batches is None else self._batches.like

    def with_statistic(self, statistic: Statistic, batches: int, like: Array) -> Stream:
        """The stream of other batches of the same layers, in the framework of `like`."""
        assert self._sides is not None
        return self._of(Batches(*_made_by(self.index, self._sides, self._kept(self._widths)), statistic, batches, like))

    def without_batches(self) -> Stream:
        """The stream of the same layers without what is large or lies on a device."""
        return self._of(None)

    def _of(self, batches: Batches | None) -> Stream:
        twin = Stream(
            self.index,
            flatten=self.flatten,
            check_finite=self.check_finite,
            projection=self.projection,
            max_bytes=self.max_bytes,
        )
        twin._sides, twin._widths, twin._batches = self._sides, self._widths, batches
        return twin

    def __getstate__(self) -> dict[str, Any]:
        with self._lock.here:  # a copy, since an update would change the sums while they are being copied or pickled
            return self.__dict__ | {"_batches": None if self._batches is None else self._batches.copy()}

    # --- results -----------------------------------------------------------------------------------------------------------

    def compute(self) -> Any:
        """The similarity of all examples so far.

        Returns
        -------
        0-d array or SimilarityMatrix
            For two arrays a 0-d array, for layers a `SimilarityMatrix`: in the namespace, on the device and in the precision
            of the batches. nan if a representation is constant.

        Raises
        ------
        InvalidArrayError
            Too few examples, or values that are not finite.

        Warns
        -----
        ConstantInputWarning
            A score is nan.
        AccuracyWarning
            Some directions of a representation are of the size of the rounding of its values, so its rank is uncertain.
        ChanceWarning
            The scores hardly rise above chance.
        """
        with self._lock.here:
            if self._sides is None or self._batches is None:
                raise InvalidArrayError("No batch yet, so there is nothing to compute; call update first.")
            statistic = self._batches.statistic
            statistic.values.check(self.index.facts.min_examples)
            values, chance = scored(self.index, statistic, self._sides)
            if self._sides.kind == "pair":
                return values
            details = origin(_plan_of(self.index), [values])
            return SimilarityMatrix(values, self.rows, self.columns, str(self.index), statistic.n, chance, details)

    # --- files -------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write a checkpoint, an ``.npz`` file that needs no pickle, from which `load` resumes the pass.

        Raises
        ------
        FileExistsError
            The file exists and `force` is false.
        OSError
            There is no room for it, or its folder cannot be written to. The file that was there is as it was.
        """
        with self._lock.here:  # the arrays are those that an update would change
            _FORMAT.write(path, self._arrays(), force=force)

    def _arrays(self) -> dict[str, np.ndarray]:
        about = {
            "index": np.array(str(self.index)),
            "flatten": np.array(self.flatten),
            "check_finite": np.array(self.check_finite),
            "max_bytes": np.array(self.max_bytes),
        }
        if self.projection is not None:
            p = self.projection
            about["projection"] = np.array([str(p.features), str(p.seed), p.kind])
        if self._sides is None or self._batches is None:
            return about
        about |= {
            "kind": np.array(self._sides.kind),
            "rows": text_array(self.rows),
            "columns": text_array(self.columns),
            "layer_widths": np.array(self._widths, dtype=np.int64),
            "batches_seen": np.array(self.batches),
        }
        return about | {f"state_{name}": value for name, value in self._batches.statistic.to_arrays().items()}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Stream:
        """Read a checkpoint; the next batch decides on framework and device.

        Raises
        ------
        CheckpointError
            The file holds no saved stream, is damaged, or is of a newer format.
        UnknownNameError, PluginError
            Its index is not installed here.
        """
        version, fields = _FORMAT.read(path)
        if version < _FORMAT.version:
            raise CheckpointError(
                f"{os.fspath(path)} was written by an earlier simkit, in format {version}, and this one gathers other sums. "
                "Go on with that version, or stream the batches again."
            )
        loaded = cls._restored(fields)
        fields.finish()
        return loaded

    @classmethod
    def _restored(cls, fields: Fields) -> Stream:
        try:
            loaded = cls(
                get_index(fields.text("index")),
                flatten=fields.flag("flatten"),
                check_finite=fields.flag("check_finite"),
                projection=_projection(fields),
                max_bytes=fields.whole("max_bytes"),
            )
        except SpecError as error:
            raise fields.wrong(str(error)) from error
        if "kind" not in fields:  # no batch yet
            return loaded
        kinds: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
        kind = kinds[fields.text("kind", tuple(kinds))]
        rows, columns = (fields.texts(side, distinct=True) for side in ("rows", "columns"))
        expected = {"pair": (("X",), ("Y",)), "layers": (rows, rows)}.get(kind, (rows, columns))
        if (rows, columns) != expected:
            raise fields.wrong(f"'rows' {rows} and 'columns' {columns} are not those of {kind!r}")
        sides = Sides(kind, rows, columns)
        widths = fields.wholes("layer_widths", length=len(sides.names))
        kept = loaded._kept(widths)
        statistic, options = _made_by(loaded.index, sides, kept)
        state = statistic.from_arrays(fields.below("state_"))
        if (state.names, state.widths) != (sides.names, kept):
            raise fields.wrong(f"its sums are of other layers, {dict(zip(state.names, state.widths, strict=True))}")
        for name, found in state.options.items():
            if found != options[name]:
                raise fields.wrong(f"its sums were gathered with {name}={found}, and {loaded.index} needs {options[name]}")
        loaded._sides, loaded._widths = sides, widths
        loaded._batches = Batches(statistic, options, state, fields.whole("batches_seen"))
        return loaded

    def __repr__(self) -> str:
        if self._sides is None:
            return f"<Stream of {self.index}: no batch yet>"
        return f"<Stream of {self.index}: {self.n} examples, {len(self.rows)} x {len(self.columns)} pairs>"


def _sides(A: Any, B: Any) -> tuple[Sides, dict[str, Any]]:
    """The sides of a batch, and its layers by name."""
    if B is not None and are_layers(A) != are_layers(B):
        raise InvalidArrayError("One side of the batch is an array and the other holds several layers; give two of a kind.")
    if are_layers(A):
        return Sides.of_layers(A, B)
    if B is None:
        raise InvalidArrayError("A batch of two representations needs both: update(X, Y). For layers give a mapping.")
    return Sides.of_pair(A, B)


def check_state_fits(index: Index[Any], widths: Sequence[int], max_bytes: int = _BYTES) -> None:
    """Raise if what a stream gathers of layers with these widths is larger than allowed, or than there is memory.

    Raises
    ------
    InvalidArrayError, TooLargeError
        See `simkit.feasibility.check_width`.
    """
    if _plan_of(index).statistic is not MinibatchHSIC:  # which does not grow with the widths
        check_width(widths, max_bytes, projectable=_is_projectable(index), by_batches=takes_minibatch(index))


def _plan_of(index: Index[Any], rows: tuple[int, ...] = (1,), columns: tuple[int, ...] | None = None) -> Plan:
    """What is gathered of batches of layers with these widths, which make no difference to the kind of the statistic."""
    return plan(Question(index, "batches", None, rows, columns))


def _made_by(index: Index[Any], sides: Sides, widths: tuple[int, ...]) -> tuple[type[Statistic], dict[str, Any]]:
    """The statistic of batches of some layers, and the options of its `of`."""
    rows = len(sides.row_names)
    chosen = _plan_of(index, widths[:rows], None if sides.kind == "layers" else widths[rows:])
    options = dict(chosen.options)
    if chosen.statistic is MinibatchHSIC:
        options |= {"rows": sides.row_names, "columns": sides.column_names}
    return chosen.statistic, options


def _projection(fields: Fields) -> RandomProjection | None:
    if "projection" not in fields:
        return None
    features, seed, kind = fields.texts("projection", length=3)
    if not (features.isdecimal() and seed.isdecimal()):
        raise fields.wrong(f"'projection' holds {(features, seed, kind)}")
    return RandomProjection(int(features), int(seed), kind)  # type: ignore[arg-type]


def _is_projectable(index: Index[Any]) -> bool:
    kept = index.facts.invariances
    return "invertible_linear" not in kept.x | kept.y and "orthogonal" in kept.x & kept.y
