"""Batches: the similarity of representations that are seen a few examples at a time, once.

The result is that of all examples in memory (`simkit.compare`, `simkit.pairwise`), up to rounding; a stream keeps their
moments or a root of these, P x P numbers for layers of P features in all, whatever the number of examples and of pairs of
layers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, get_args

import numpy as np

from simkit.arrays import (
    Array,
    Channels,
    Maps,
    as_matrix,
    check_one_rule,
    check_same_examples,
    check_same_framework,
    check_values,
    describe,
    detach,
    is_lazy,
    namespace_of,
    placement,
    rounding_of,
)
from simkit.checkpoint import Format
from simkit.errors import CheckpointError, InvalidArrayError, SpecError
from simkit.fields import Fields, text_array
from simkit.index import Index
from simkit.labels import check_labels
from simkit.matrix import SimilarityMatrix
from simkit.memory import refuse_if_too_large
from simkit.registry import get_index
from simkit.scale.locks import Lock
from simkit.scale.projection import RandomProjection
from simkit.statistics.batched import RootsOfBatches
from simkit.statistics.hsic_sums import declared_sums
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.moments import Moments, needs, score_pairs
from simkit.statistics.roots import scores_of
from simkit.statistics.survey import nan_where_undefined
from simkit.undefined import in_silence, warn_if_not_finite

__all__ = ["Stream", "stream"]

State: TypeAlias = Moments | RootsOfBatches | MinibatchHSIC

# In version 1 there were moments for every index.
_FORMAT = Format(
    "simkit_stream",
    version=3,
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
    maps: Maps | None = None,
    channels: Channels | None = None,
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
    flatten, maps, channels
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
        Give it batches with `Stream.update`, ask it with `Stream.compute`, at any time and as often as you like.

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
    rule = {"flatten": flatten, "maps": maps, "channels": channels}
    return Stream(chosen, rule=rule, check_finite=check_finite, projection=projection, max_bytes=max_bytes)


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
        rule: Mapping[str, Any] | None = None,
        check_finite: bool = True,
        projection: RandomProjection | None = None,
        max_bytes: int = _BYTES,
    ) -> None:
        self.index, self.check_finite, self.projection, self.max_bytes = index, check_finite, projection, max_bytes
        self._rule = dict(rule or {})
        self._state: State = self._fresh()
        if projection is not None:
            _check_projectable(index)
        self.rows: tuple[str, ...] = ()
        self.columns: tuple[str, ...] = ()
        self.batches = 0
        self._kind = ""  # "pair", "layers" (A with itself) or "layers of two"
        self._widths: tuple[int, ...] = ()
        self._like: Array = None  # an empty array of the batches' framework and device; None after a load
        self._lock = Lock()

    def _fresh(self) -> State:
        sums = self.index.kernel_estimator
        if sums is not None and sums.estimator == "minibatch":
            return MinibatchHSIC(sums.kernel)
        if self.index.facts.statistic == "moments":
            return RootsOfBatches()
        return Moments(**needs(self.index))

    @property
    def n(self) -> int:
        """The number of examples so far."""
        with self._lock.here:
            return self._state.n

    @property
    def state(self) -> State:
        """The sums over the batches so far."""
        return self._state

    @property
    def like(self) -> Array | None:
        """An empty array of the framework, the device and the precision of the batches; None before the first."""
        return self._like

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
        kind, rows, columns = self._sides(A, B)
        given = [_by_name(side, name) for side, name in zip((A, B), _SIDES[kind], strict=False)]
        check_one_rule({name: x for side in given for name, x in side.items()}, self._rule.get("maps"))
        check_labels(*given, ids=ids)
        with self._lock.here:
            self._add(kind, rows, columns, {} if isinstance(self._state, MinibatchHSIC) else self._roundings(A, B))

    def _add(self, kind: str, rows: dict[str, Array], columns: dict[str, Array], roundings: Mapping[str, float]) -> None:
        everything = rows | columns
        self._check(kind, tuple(rows), tuple(columns), everything)
        first = next(iter(everything.values()))
        if self.projection is not None:
            xp = namespace_of(first)
            rows, columns = ({name: self.projection(x, xp) for name, x in side.items()} for side in (rows, columns))
        names = tuple(_plain(kind, name) for name in rows)
        after = {
            "_kind": kind,
            "rows": names,
            "columns": tuple(_plain(kind, name) for name in columns) or names,
            "_widths": tuple(x.shape[1] for x in everything.values()),
            "_like": first[:0, :] + 0,  # a copy: a view would keep the batch in memory
            "batches": self.batches + 1,
        }
        if isinstance(self._state, MinibatchHSIC):
            if self._like is None and self._kind:
                self._state = MinibatchHSIC.from_arrays(self._state.to_arrays(), first)
            with in_silence(first):
                self._state.update(rows, columns or None)
        else:
            if self._like is None and self._kind:
                self._state = self._state.to(first)
            if isinstance(self._state, RootsOfBatches):
                self._state.update(rows | columns, roundings)
            else:
                self._state.update(rows | columns)
        self.__dict__.update(after)

    def _sides(self, A: Any, B: Any) -> tuple[str, dict[str, Array], dict[str, Array]]:
        if _is_layers(A) != _is_layers(B) and B is not None:
            raise InvalidArrayError(
                "One side of the batch is an array and the other holds several layers; give two of a kind."
            )
        if not _is_layers(A):
            if B is None:
                raise InvalidArrayError(
                    "A batch of two representations needs both: update(X, Y). For layers give a mapping."
                )
            return "pair", {"X": self._matrix(A, "X")}, {"Y": self._matrix(B, "Y")}
        rows = self._matrices(A, "A")
        return ("layers", rows, {}) if B is None else ("layers of two", rows, self._matrices(B, "B"))

    def _matrices(self, layers: Any, side: str) -> dict[str, Array]:
        named = _named(layers)
        if not named:
            raise InvalidArrayError(f"{side} is empty; expected at least one layer.")
        return {f"{side}/{name}": self._matrix(x, f"{side}[{str(name)!r}]") for name, x in named.items()}

    @staticmethod
    def _roundings(A: Any, B: Any) -> dict[str, float]:
        """The eps that the layers of a batch were given with, by their names in the state."""
        if not _is_layers(A):
            return {"X": rounding_of(A), "Y": rounding_of(B)}
        return {
            f"{side}/{name}": rounding_of(x)
            for side, layers in (("A", A), ("B", B))
            for name, x in ({} if layers is None else _named(layers)).items()
        }

    def _matrix(self, x: Any, name: str) -> Array:
        x = as_matrix(x, f"{name} of batch {self.batches}", **self._rule)
        if is_lazy(x):
            raise InvalidArrayError(
                f"{name} of batch {self.batches} is a {describe(x)}, whose values are not there yet; batches are arrays in "
                "memory. Give Dask arrays to simkit.compare or simkit.pairwise, which read them chunk by chunk."
            )
        return detach(x)

    def _check(self, kind: str, rows: tuple[str, ...], columns: tuple[str, ...], everything: dict[str, Array]) -> None:
        names = {name: f"{name} of batch {self.batches}" for name in everything}
        first_name, first = next(iter(everything.items()))
        if self._like is not None:
            check_same_framework(self._like, first, ("the batches before", names[first_name]))
        for name, x in everything.items():
            check_same_framework(first, x, (names[first_name], names[name]))
            check_same_examples(first, x, (names[first_name], names[name]))
        widths = tuple(x.shape[1] for x in everything.values())
        if not self._kind:
            self._check_width(everything)
        elif kind != self._kind or (rows, columns) != self._labels or widths != self._widths:
            before = dict(zip((*self._labels[0], *self._labels[1]), self._widths, strict=True))
            raise InvalidArrayError(
                f"Batch {self.batches} has other layers than those before. Layers and widths were "
                f"{before}; now {dict(zip(everything, widths, strict=True))}."
            )
        if self.check_finite:
            for name, x in everything.items():
                check_values(x, names[name])

    def _check_width(self, everything: dict[str, Array]) -> None:
        if isinstance(self._state, MinibatchHSIC):
            return
        widths = self._kept_widths([x.shape[1] for x in everything.values()])
        total, fits = sum(widths), int((self.max_bytes / 8) ** 0.5)
        if total <= fits:
            refuse_if_too_large(
                total**2 * 8,
                f"The joint scatter matrix of {total} features",
                lambda room: f"At most {int((room / 8) ** 0.5)} features in all fit: give fewer layers to one stream.",
            )
            return
        each, wanted = max(1, fits // len(widths)), total**2 * 8
        projected = (
            f"projection=simkit.scale.projection.RandomProjection({each}), an approximation with a stated error; "
            if _is_projectable(self.index)
            else ""
        )
        raise InvalidArrayError(
            f"The layers have {total} features in all, so their joint scatter matrix would take {wanted / 1e9:.1f} GB; "
            f"max_bytes={self.max_bytes} allows {fits} features. What fits: fewer layers per stream; maps averaged "
            f"over positions (maps='mean' with channels='first' or 'last'); {projected}or, if there is the memory, "
            f"max_bytes={wanted}."
        )

    def _kept_widths(self, widths: Sequence[int]) -> tuple[int, ...]:
        """The widths of the layers in the state."""
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
        for what in (
            "index",
            "projection",
            *(("_kind", "rows", "columns", "_widths") if self._kind and other._kind else ()),
        ):
            ours, theirs = getattr(self, what), getattr(other, what)
            if ours != theirs:
                raise InvalidArrayError(f"Cannot merge streams of different {what.strip('_')}: {ours} and {theirs}.")
        first, second = sorted((self._lock.here, other._lock.here), key=id)  # one order for all threads
        with first, second:
            return self._merged(other)

    def _merged(self, other: Stream) -> Stream:
        merged = (self if self._kind else other)._twin()
        state, addition = self._state, other._state
        if self._like is None and other._like is not None and self._kind:
            state = type(state).from_arrays(state.to_arrays(), other._like)
        elif other._like is None and self._like is not None and other._kind:
            addition = type(addition).from_arrays(addition.to_arrays(), self._like)
        merged._state = state.merge(addition)  # type: ignore[arg-type]
        merged._like = other._like if self._like is None else self._like
        merged.batches = self.batches + other.batches
        return merged

    def shell(self) -> Stream:
        """The stream without what is large or tied to a device: its sums and the framework of its batches."""
        return self.filled(self._fresh(), None)

    def filled(self, state: State, like: Array | None) -> Stream:
        """The stream with other sums, in the namespace of `like`."""
        full = self._twin()
        full._state, full._like = state, like
        return full

    def __getstate__(self) -> dict[str, Any]:
        with self._lock.here:  # a copy, since an update would change the sums while they are being copied or pickled
            return self.__dict__ | {"_state": self._state.merge(self._fresh())}  # type: ignore[arg-type]

    def _twin(self) -> Stream:
        twin = Stream.__new__(Stream)
        twin.__dict__ |= self.__dict__ | {"_lock": Lock()}
        return twin

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
        """
        with self._lock.here:
            return self._result()

    def _result(self) -> Any:
        if not self._kind:
            raise InvalidArrayError("No batch yet, so there is nothing to compute; call update first.")
        if isinstance(self._state, MinibatchHSIC):
            values = self._minibatch_scores(self._state)
        elif isinstance(self._state, RootsOfBatches):
            values = self._root_scores(self._state)
        else:
            values = score_pairs(self.index, self._state, *self._sides_of_state)
        if self._kind == "pair":
            return values[0, 0]
        return SimilarityMatrix(values, self.rows, self.columns, str(self.index), self.n)

    @property
    def _labels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of rows and columns among those of the state."""
        if self._kind == "pair":
            return self.rows, self.columns
        rows = tuple(f"A/{name}" for name in self.rows)
        return rows, () if self._kind == "layers" else tuple(f"B/{name}" for name in self.columns)

    @property
    def _sides_of_state(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        rows, columns = self._labels
        return rows, columns or rows

    def _root_scores(self, state: RootsOfBatches) -> Array:
        state.check(self.index.facts.min_examples)
        rows, columns = self._sides_of_state
        layers, constant, xp = state.representations(), state.roots.constant, namespace_of(state.roots.origin)
        dtype = getattr(xp, state.precision((*rows, *columns)))
        empty = xp.zeros((0,), dtype=dtype, **placement(state.roots.origin))
        with in_silence(empty):
            values = nan_where_undefined(partial(scores_of, self.index, layers), rows, columns, constant, empty)
        if not bool(xp.all(xp.isfinite(values))):
            warn_if_not_finite(
                self.index, values, rows, columns, constant=constant, extreme=state.roots.extreme(empty.dtype)
            )
        return values

    def _minibatch_scores(self, state: MinibatchHSIC) -> Array:
        if not state.batches:
            raise InvalidArrayError("All batches were empty, so there is nothing to compute.")
        xp, (rows, columns) = namespace_of(state.xy), self._sides_of_state
        with in_silence(state.xy):
            scales = state.across[:, None] * state.down[None, :]
            values = self.index.rescaled(self.index.from_sums(*state.sums()), scales)
            if self._like is not None:
                values = xp.astype(values, self._like.dtype, copy=False)
        if not bool(xp.all(xp.isfinite(values))):
            units = [*zip(rows, state.across, strict=True), *zip(columns, state.down, strict=True)]
            extreme = [name for name, unit in units if float(unit) != 1]
            warn_if_not_finite(self.index, values, rows, columns, extreme=extreme)
        return values

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
            "rule": text_array([f"{key}={value}" for key, value in self._rule.items() if value]),
            "check_finite": np.array(self.check_finite),
            "max_bytes": np.array(self.max_bytes),
            "kind": np.array(self._kind),
            "rows": text_array(self.rows),
            "columns": text_array(self.columns),
            "layer_widths": np.array(self._widths, dtype=np.int64),
            "batches_seen": np.array(self.batches),
        }
        if self.projection is not None:
            p = self.projection
            about["projection"] = np.array([str(p.features), str(p.seed), p.kind])
        state = self._state.to_arrays() if self._kind else {}
        return about | {f"state_{name}": value for name, value in state.items()}

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
        loaded = cls._restored(version, fields)
        if version >= _FORMAT.signed:
            fields.finish()
        return loaded

    @classmethod
    def _restored(cls, version: int, fields: Fields) -> Stream:
        try:
            loaded = cls(
                get_index(fields.text("index")),
                rule=_rule(fields),
                check_finite=fields.flag("check_finite"),
                projection=_projection(fields),
                max_bytes=fields.whole("max_bytes"),
            )
        except SpecError as error:
            raise fields.wrong(str(error)) from error
        loaded._kind = fields.text("kind", ("", *_SIDES))
        loaded.rows, loaded.columns = (fields.texts(side, distinct=True) for side in ("rows", "columns"))
        expected = {"": ((), ()), "pair": (("X",), ("Y",)), "layers": (loaded.rows,) * 2}
        if (loaded.rows, loaded.columns) != expected.get(loaded._kind, (loaded.rows, loaded.columns)):
            raise fields.wrong(f"'rows' {loaded.rows} and 'columns' {loaded.columns} are not those of {loaded._kind!r}")
        loaded.batches = fields.whole("batches_seen")
        names = list(dict.fromkeys(name for side in loaded._labels for name in side))
        loaded._widths = fields.wholes("layer_widths", length=len(names))
        if loaded._kind:
            if version == 1 and isinstance(loaded._state, RootsOfBatches):
                raise CheckpointError(
                    f"An earlier simkit gathered moments for {loaded.index}, in which small singular values are lost; this "
                    "one needs a root. Stream the batches again."
                )
            loaded._state = type(loaded._state).from_arrays(fields.below("state_"))
            loaded._check_restored(fields, names)
        return loaded

    def _check_restored(self, fields: Fields, names: Sequence[str]) -> None:
        """Raise unless the sums are of the layers and the kernel that the rest of a file speaks of."""
        state = self._state
        if isinstance(state, MinibatchHSIC):
            rows, columns = self._sides_of_state
            found = (state.kernel, *((state.xx.shape[0], state.yy.shape[0]) if state.batches else (len(rows), len(columns))))
            if found != (declared_sums(self.index).kernel, len(rows), len(columns)):
                raise fields.wrong("its sums are of other layers or of another kernel")
        elif (state.names, state.widths) != (tuple(names), self._kept_widths(self._widths)):
            raise fields.wrong(f"its sums are of other layers, {dict(zip(state.names, state.widths, strict=True))}")

    def __repr__(self) -> str:
        if not self._kind:
            return f"<Stream of {self.index}: no batch yet>"
        return f"<Stream of {self.index}: {self.n} examples, {len(self.rows)} x {len(self.columns)} pairs>"


def _is_layers(x: Any) -> bool:
    if isinstance(x, Mapping):
        return True
    return isinstance(x, Sequence) and not isinstance(x, str) and len(x) > 0 and hasattr(x[0], "shape") and x[0].ndim > 1


_SIDES = {"pair": "XY", "layers": "A", "layers of two": "AB"}


def _by_name(side: Any, name: str) -> dict[str, Any]:
    """A side of a batch as it was given, by the names of messages."""
    if not _is_layers(side):
        return {name: side}
    return {f"{name}[{str(key)!r}]": x for key, x in (side.items() if isinstance(side, Mapping) else enumerate(side))}


def _named(layers: Any) -> Mapping[Any, Any]:
    return layers if isinstance(layers, Mapping) else {str(i): x for i, x in enumerate(layers)}


def _plain(kind: str, name: str) -> str:
    """The name that the user gave."""
    return name if kind == "pair" else name[2:]


def _rule(fields: Fields) -> dict[str, Any]:
    """The rule for maps of a file."""
    rule: dict[str, Any] = dict(item.partition("=")[::2] for item in fields.texts("rule"))
    allowed = {"flatten": ("True",), "maps": get_args(Maps), "channels": get_args(Channels)}
    for key, value in rule.items():
        if value not in allowed.get(key, ()):
            raise fields.wrong(f"'rule' holds {key}={value}")
    return {key: True if key == "flatten" else value for key, value in rule.items()}


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


def _check_projectable(index: Index[Any]) -> None:
    if not _is_projectable(index):
        raise SpecError(
            f"projection: {index} depends on more than the products of examples, so a random projection says nothing about "
            "it. It approximates indexes that are invariant to rotations but not to all invertible transforms, such as cka."
        )
