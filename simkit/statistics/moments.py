"""Second moments of a stack of layers: one mergeable state for streams, Dask chunks, processes and devices.

HSIC with the linear kernel depends on the data only through

    n        S = sum_i z_i z_i'        of the stacked, centred features z_i = (x_i, y_i, ...) - mean

so the heatmap of L layers needs one state of P x P numbers, P the sum of their widths, and one pass over the data. States of
two sets of examples merge exactly (Chan, Golub & LeVeque 1979): moving the origin by d turns S into S + n d d', and sums
about a common origin add.

The unbiased estimators of linear HSIC need more, also in one pass. With a_ik the squared length of z_i in layer k, the
centred Gram matrices without their diagonals have <K, L> = |S_kl|^2 - A_kl and K1 = -a_k, where

    A_kl = sum_i a_ik a_il        T_k = sum_i a_ik z_i

and the third moments T serve to move the origin. With d_k the part of d that belongs to layer k (zero elsewhere),

    T_k  ->  T_k + 2 S d_k + tr(S_kk) d + n |d_k|^2 d
    A_kl ->  A_kl + 2 T_k'd_l + 2 T_l'd_k + 4 d_k'S d_l + tr(S_kk) |d_l|^2 + tr(S_ll) |d_k|^2 + n |d_k|^2 |d_l|^2

since the sum of the z_i is zero. Indexes that depend on small eigenvalues of S need its root: see `simkit.statistics.roots`.

Layers whose products would overflow or vanish are divided by a power of two, their unit, which every state keeps.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, namespace_of, placement, to_numpy
from simkit.checkpoint import Format
from simkit.errors import CheckpointError, NeedsAllExamplesError
from simkit.fields import Fields
from simkit.index import Index
from simkit.kernels.linear import is_linear
from simkit.linalg import is_ordinary, power_of_two, squared_norm, total, vecdot, widen
from simkit.statistics.batched import Batched
from simkit.statistics.hsic_sums import Estimator, HSICSums, are_many, warn_if_lost
from simkit.undefined import in_silence, warn_if_not_finite

__all__ = ["Moments", "needs", "score_pairs", "scores_from"]

# Rows per matrix product: enough for its full speed, few enough to stay in the cache and for float32 sums.
_ROWS = 4096
# Mean squared lengths whose squares and cubes stay in the range of float32, also summed over a block.
_ORDINARY = (1e-15, 1e15)
_FORMAT = Format("simkit_moments", version=2, signed=2, what="Moments", remedy="Gather the moments again.")
_ARRAYS = ("_origin", "_shift", "_unit", "_scatter", "_nonfinite", "_third", "_fourth")


class Moments(Batched):
    """Count, means and joint scatter of several layers of the same examples; `update`, `merge`, then score.

    Parameters
    ----------
    third_order : bool
        Also keep the sums that the unbiased estimators of linear HSIC need.

    Notes
    -----
    The state lives in the namespace and on the device of the batches, in float64 where the device has it. Matrix products of
    float32 data, which are centred before and summed in float64 after, run in float32: right to about 1e-7 of the norms,
    enough for HSIC. Small batches are put together until a matrix product is worth its while, so fewer than 4096 rows are
    held besides. Gradients do not flow.
    """

    def __init__(self, *, third_order: bool = False) -> None:
        super().__init__()
        self.third_order = third_order
        self._n = 0
        self._origin: Array = None  # a number near the mean, and what it lacks
        self._shift: Array = None
        self._unit: Array = None
        self._scatter: Array = None
        self._third: Array = None
        self._fourth: Array = None
        self._nonfinite: Array = None
        self._pending: list[Array] = []

    # --- one pass over the data ---------------------------------------------------------------------------------------

    @classmethod
    def of(cls, layers: Mapping[str, Array], *, third_order: bool = False) -> Moments:
        """The moments of one batch: a mapping of names to matrices (m, p_k) of the same m examples; m may be 0."""
        moments = cls(third_order=third_order)
        moments.update(layers)
        moments._flush()
        return moments

    def update(self, layers: Mapping[str, Array]) -> None:
        """Add the examples of a batch.

        Parameters
        ----------
        layers : mapping of names to arrays of shape (m, p_k)
            Real floating matrices, of one framework, on one device; the same names and widths each time.

        Raises
        ------
        InvalidArrayError
            Other layers than before, or different numbers of examples.
        """
        batch = self._noted(layers)
        with self._changing():
            self._put_aside(list(batch.values()))

    def _put_aside(self, parts: Sequence[Array]) -> None:
        xp, m = namespace_of(*parts), parts[0].shape[0]
        if self._origin is None:
            self._begin(parts[0], xp)
        common = xp.result_type(*(x.dtype for x in parts))
        start = 0
        while start < m:
            many = slice(start, min(start + 2 * _ROWS, m))
            if not self._pending and m - start >= _ROWS and self._take_plain([x[many, :] for x in parts]):
                start = many.stop
                continue
            rows = slice(start, min(start + _ROWS, m))
            start = rows.stop
            # A copy, since the caller may use the memory of the batch again.
            self._pending.append(xp.concat([xp.astype(x[rows, :], common, copy=False) for x in parts], axis=1))
            if sum(part.shape[0] for part in self._pending) >= _ROWS:
                self._take_in()

    def merge(self, other: Moments) -> Moments:
        """The moments of the examples of both; neither changes.

        Raises
        ------
        InvalidArrayError
            They are of different layers.
        """
        merged = self.copy()
        merged.absorb(other)
        return merged

    def absorb(self, other: Moments) -> None:
        """Add the examples of another state to this one: `merge` in place.

        Raises
        ------
        InvalidArrayError
            They are of different layers.
        """
        if not other.names:
            return
        if not self.names:
            self.__setstate__(other.copy().__getstate__())
            return
        self._check_mergeable(other, "third_order")
        self._flush()
        other._flush()
        with self._changing():
            self.given = tuple(map(max, self.given, other.given))
            self._nonfinite = self._nonfinite + other._nonfinite
            self._add(other._sums if self._n else other.copy()._sums)  # sums are added to in place

    @property
    def place(self) -> Array:
        """Where the features are: the rows of an array of shape (3, P) are the `origin`, `shift` and `unit` of `reduced`."""
        self._flush()
        return namespace_of(self._origin).stack([self._origin, self._shift, self._unit])

    def reduced(self, elsewhere: Sequence[tuple[int, Array]], add: Callable[[Array], Array]) -> Moments:
        """The moments of the examples of many places at once, by a collective sum.

        Parameters
        ----------
        elsewhere : sequence of (int, array of shape (3, P))
            `n` and `place` of every process, this one included, in the same order everywhere: in units of `unit`, the mean
            is `origin` + `shift`.
        add : callable
            The sum of an array over all places.
        """
        self._flush()
        xp, merged = namespace_of(self._origin), self.copy()
        n = sum(count for count, _ in elsewhere)
        full = [(count, place) for count, place in elsewhere if count] or [(self._n, self.place)]
        unit = full[0][1][2, :]
        for _, place in full[1:]:
            unit = xp.maximum(unit, place[2, :])
        places = [(count, place[0, :] * (place[2, :] / unit), place[1, :] * (place[2, :] / unit)) for count, place in full]
        origin = places[0][1]
        shift = sum((((far - origin) + near) * (count / max(n, 1)) for count, far, near in places), xp.zeros_like(origin))
        merged._n, merged._origin, merged._shift, merged._unit = n, origin, shift, unit
        own = self._sums.in_unit(unit) if self._n else merged._sums
        d = (own.origin - origin) + (own.shift - shift) if self._n else xp.zeros_like(origin)
        if self.third_order:
            third, fourth = self._moved(self._n, own.scatter, own.third, own.fourth, d)
            merged._third, merged._fourth = add(third), add(fourth)
        merged._scatter = add(own.scatter + d[:, None] * (d * self._n)[None, :])
        merged._nonfinite = add(self._nonfinite)
        return merged

    def copy(self) -> Moments:
        """An independent state of the same examples."""
        twin = Moments()
        state = self.__getstate__()
        twin.__setstate__({name: _copy(x) if name in _ARRAYS and x is not None else x for name, x in state.items()})
        return twin

    def _begin(self, like: Array, xp: Namespace) -> None:
        options: dict[str, Any] = {"dtype": accumulation_dtype(like, xp), **placement(like)}
        layers, width = len(self.widths), sum(self.widths)
        self._origin, self._shift = xp.zeros((width,), **options), xp.zeros((width,), **options)
        self._unit = xp.ones((width,), **options)
        self._scatter = xp.zeros((width, width), **options)
        self._nonfinite = xp.zeros((layers,), **options)
        if self.third_order:
            self._third, self._fourth = xp.zeros((layers, width), **options), xp.zeros((layers, layers), **options)

    def _flush(self) -> None:
        """Take the rows that were put aside into the sums."""
        self._check_whole()
        if self._pending:
            with self._changing():
                self._take_in()

    def _take_in(self) -> None:
        xp = namespace_of(self._pending[0])
        rows = self._pending[0] if len(self._pending) == 1 else xp.concat(self._pending, axis=0)
        self._pending = []
        with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite are counted, and reported by `check`
            for start in range(0, rows.shape[0], _ROWS):
                self._take(rows[start : min(start + _ROWS, rows.shape[0]), :], xp)

    def _take_plain(self, parts: Sequence[Array]) -> bool:
        """`_take` of float32 layers in NumPy of ordinary size, in few passes over them; False if they are anything else.

        Sums of a constant of float32 are exact in float64, so its mean is, too. That the sums stayed in range is seen after.
        """
        if not all(isinstance(x, np.ndarray) and x.dtype == np.float32 for x in parts):
            return False
        m, width = parts[0].shape[0], sum(self.widths)
        mean, z = np.empty(width), np.empty((m, width), dtype=np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            for x, s in zip(parts, self.slices, strict=True):
                np.sum(x, axis=0, dtype=np.float64, out=mean[s])
            mean /= m
            near = mean.astype(np.float32)
            for x, s in zip(parts, self.slices, strict=True):
                np.subtract(x, near[s], out=z[:, s])
            missing = mean - near
            if self.third_order:
                z -= missing.astype(np.float32)
                a = np.stack([np.vecdot(z[:, s], z[:, s]) for s in self.slices])
                if not all(are_many(lengths, np) for lengths in a):
                    return False
            scatter = (z.T @ z).astype(np.float64)
        traces = np.add.reduceat(np.diagonal(scatter), [s.start for s in self.slices]) / m
        if not np.all((traces > _ORDINARY[0]) & (traces < _ORDINARY[1])):
            return False
        if not self.third_order:
            scatter -= missing[:, None] * (m * missing)[None, :]
        third = fourth = None
        if self.third_order:
            wide = a.astype(np.float64)
            third, fourth = (a @ z).astype(np.float64), wide @ wide.T
        self._add(_Sums(m, near.astype(np.float64), missing, self._ones(np), scatter, third, fourth, self.slices))
        return True

    def _take(self, x: Array, xp: Namespace) -> None:
        """Add the sums of a block of rows, which is written over."""
        m = x.shape[0]
        finite = xp.isfinite(x) if not isinstance(x, np.ndarray) or not np.isfinite(x.sum()) else None
        if finite is not None:
            counts = xp.sum(xp.astype(xp.logical_not(finite), self._origin.dtype), axis=0)
            self._nonfinite = self._nonfinite + self._members(self._origin) @ counts
        # A number near the mean goes first: it makes a large common offset harmless. No example is special, and rounding
        # cannot move the mean out of the range of the values, so the deviations of a constant feature are exactly zero.
        low, high = xp.min(x, axis=0), xp.max(x, axis=0)
        scale = self._scale(low, high, xp)
        if scale is not None:
            own = xp.astype(scale, x.dtype)
            x /= own
            low, high = low / own, high / own
        near = xp.maximum(xp.minimum(xp.astype(total(x, xp, axis=0) / m, x.dtype), high), low)
        z = x
        z -= near
        missing = total(z, xp, axis=0) / m
        z -= xp.astype(missing, z.dtype)
        a = third = fourth = None
        if self.third_order:
            a = xp.stack([vecdot(z[:, s], z[:, s], xp) for s in self.slices])
            if not all(are_many(a[k, :], xp) for k in range(len(self.widths))):
                z = widen(z, xp)
                a = xp.stack([vecdot(z[:, s], z[:, s], xp) for s in self.slices])
        scatter = widen(z.mT @ z, xp)
        if a is not None:
            third, fourth = widen(a @ z, xp), widen(a, xp) @ widen(a, xp).mT
        unit = self._ones(xp) if scale is None else scale
        part = _Sums(m, widen(near, xp), missing, unit, scatter, third, fourth, self.slices)
        if scale is not None:  # what was scaled for a product in float32 alone is in range in float64
            part = part.in_unit(xp.where(is_ordinary(scale, xp), 1.0, scale))
        self._add(part)

    def _scale(self, low: Array, high: Array, xp: Namespace) -> Array | None:
        """A power of two near the largest value of each layer, shape (P,), where products of its values may leave the range.

        Of values in the accumulation precision: 1 for layers of ordinary size, and None if all are.
        """
        largest = widen(xp.maximum(xp.abs(low), xp.abs(high)), xp)
        scale = xp.concat([xp.broadcast_to(power_of_two(largest[s], xp), (s.stop - s.start,)) for s in self.slices])
        if low.dtype != self._origin.dtype:
            return scale
        ordinary = is_ordinary(scale, xp)
        return None if bool(xp.all(ordinary)) else xp.where(ordinary, 1.0, scale)

    def _ones(self, xp: Namespace) -> Array:
        return xp.ones_like(self._unit)

    @property
    def _sums(self) -> _Sums:
        return _Sums(self._n, self._origin, self._shift, self._unit, self._scatter, self._third, self._fourth, self.slices)

    def _add(self, part: _Sums) -> None:
        """Merge with sums of other examples about their own mean; the formulas are at the head of this file."""
        if part.n == 0:
            return
        own = self._sums
        if self._n == 0:
            own = part
        else:
            xp = namespace_of(self._origin)
            if not bool(xp.all(own.unit == part.unit)):
                unit = xp.maximum(own.unit, part.unit)
                own, part = own.in_unit(unit), part.in_unit(unit)
            n, m = own.n + part.n, part.n
            # Origins are nearly the same numbers, so their difference is exact, as that of means would not be.
            d = (part.origin - own.origin) + (part.shift - own.shift)
            third, fourth = own.third, own.fourth
            if self.third_order:
                ours = self._moved(own.n, own.scatter, third, fourth, -d * (m / n))
                theirs = self._moved(m, part.scatter, part.third, part.fourth, d * (own.n / n))
                third, fourth = ours[0] + theirs[0], ours[1] + theirs[1]
            scatter = own.scatter
            scatter += part.scatter
            scatter += d[:, None] * (d * (own.n * m / n))[None, :]
            own = own._replace(n=n, shift=own.shift + d * (m / n), scatter=scatter, third=third, fourth=fourth)
        self._n, self._origin, self._shift, self._unit, self._scatter, self._third, self._fourth, _ = own

    def _moved(self, n: int, scatter: Array, third: Array, fourth: Array, d: Array) -> tuple[Array, Array]:
        """Third- and fourth-order sums after all examples have moved by `d`."""
        xp = namespace_of(d)
        by_layer = self._members(self._origin) * d
        squares, traces = xp.sum(by_layer * by_layer, axis=1), self._traces(scatter, xp)
        turned = by_layer @ scatter
        moved_third = third + 2 * turned + (traces + n * squares)[:, None] * d
        across = 2 * (third @ by_layer.mT) + traces[:, None] * squares[None, :]
        moved_fourth = fourth + across + across.mT + 4 * (turned @ by_layer.mT) + n * squares[:, None] * squares[None, :]
        return moved_third, moved_fourth

    def _traces(self, scatter: Array, xp: Namespace) -> Array:
        return self._members(self._origin) @ xp.linalg.diagonal(scatter)

    # --- what has been gathered ---------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """The number of examples."""
        return self._n + sum(rows.shape[0] for rows in self._pending)

    @property
    def mean(self) -> Array:
        """Means of the stacked features, shape (P,)."""
        self._flush()
        return (self._origin + self._shift) * self._unit

    @property
    def scatter(self) -> Array:
        """Centred joint scatter of the stacked features, shape (P, P); divide by n - 1 for covariances."""
        self._flush()
        return self._scatter * self._unit[:, None] * self._unit[None, :]

    def extreme(self, dtype: Any) -> set[str]:
        """The layers whose values are so large, or so small, that products of them are out of the range of `dtype`."""
        xp = namespace_of(self.mean)
        largest = xp.sqrt(xp.linalg.diagonal(self._scatter) / max(self.n, 1)) * self._unit
        limit = float(xp.finfo(dtype).max) ** 0.2
        large, small = largest > limit, largest < 1 / limit
        return {
            name for name, s in zip(self.names, self.slices, strict=True) if bool(xp.any(large[s])) or bool(xp.all(small[s]))
        }

    def units(self, names: Sequence[str]) -> Array:
        """The powers of two by which some layers were divided for `hsic_sums`, 1 for layers of ordinary size."""
        xp = namespace_of(self.mean)
        return xp.stack([self._unit[self.slices[self.position(name)].start] for name in names])

    @property
    def nonfinite(self) -> Array:
        """How many values of each layer were nan or inf, shape (L,)."""
        self._flush()
        return self._nonfinite

    @property
    def constant(self) -> Array:
        """Which layers do not vary, a boolean array of shape (L,)."""
        self._flush()
        return self._traces(self._scatter, namespace_of(self._origin)) == 0

    # --- what the indexes are fed -------------------------------------------------------------------------------------

    def hsic_sums(self, i: str, j: str, estimator: Estimator = "biased") -> HSICSums:
        """The three sums of the linear kernels of two layers in their `units`, exactly.

        Raises
        ------
        NeedsAllExamplesError
            An unbiased estimator is asked for, and the state was made without ``third_order=True``.

        Warns
        -----
        AccuracyWarning
            One example is so much larger than the others that an unbiased estimator loses most digits to it.
        """
        a, b = self.position(i), self.position(j)
        xp = namespace_of(self.mean)
        whole = squared_norm(self._scatter[self.slices[a], self.slices[b]], xp)
        if estimator == "biased":
            return HSICSums(whole, xp.zeros_like(whole), xp.zeros_like(whole), self.n)
        if not self.third_order:
            raise NeedsAllExamplesError(
                f"HSIC with estimator={estimator} is not a function of second moments alone; gather Moments with "
                "third_order=True."
            )
        shared, traces = self._fourth[a, b], self._traces(self._scatter, xp)
        sums = HSICSums(whole - shared, shared, traces[a] * traces[b], self.n)
        if a == b:
            warn_if_lost(sums, i, xp)
        return sums

    def all_hsic_sums(self, rows: Sequence[str], columns: Sequence[str], estimator: Estimator) -> HSICSums:
        """`hsic_sums` of every pair, as arrays of shape (len(rows), len(columns))."""
        xp = namespace_of(self.mean)
        known: dict[tuple[str, str], HSICSums] = {}
        for i in rows:
            for j in columns:
                known[i, j] = known[j, i] if (j, i) in known else self.hsic_sums(i, j, estimator)
        inner, by_row, totals = (xp.stack([xp.stack([known[i, j][k] for j in columns]) for i in rows]) for k in range(3))
        return HSICSums(inner, by_row, totals, self.n)

    # --- files, pickles and other devices -----------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        self._flush()
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._pending = []

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays, for a file without pickle; `from_arrays` reads it."""
        self._flush()
        arrays = self._about() | {"third_order": np.array(self.third_order), "n": np.array(self._n)}
        arrays |= {name[1:]: to_numpy(getattr(self, name)) for name in _ARRAYS if getattr(self, name) is not None}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray] | Fields, like: Array | None = None) -> Moments:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`.

        Raises
        ------
        CheckpointError
            A field is missing or is not what it must be, or the state is of another kind.
        """
        fields = Fields.of(arrays)
        if "whitening_mean" in fields:
            raise CheckpointError(
                "This state was gathered in whitened coordinates, by the second pass of an earlier simkit, which needs none "
                "any more. Stream the batches again with simkit.stream, once."
            )
        moments = cls(third_order=fields.flag("third_order"))
        moments._set_about(fields)
        moments._n = fields.whole("n")
        layers, width = len(moments.widths), sum(moments.widths)
        shapes = {
            **dict.fromkeys(("_origin", "_shift", "_unit"), (width,)),
            **{"_scatter": (width, width), "_nonfinite": (layers,)},
            **({"_third": (layers, width), "_fourth": (layers, layers)} if moments.third_order else {}),
        }
        for name, shape in shapes.items():
            values = _field(fields, name[1:], shape)
            if like is not None:
                xp = namespace_of(like)
                values = xp.asarray(values, dtype=accumulation_dtype(like, xp), **placement(like))
            setattr(moments, name, values)
        return moments

    def to(self, like: Array) -> Moments:
        """The same state in the namespace and on the device of `like`."""
        return Moments.from_arrays(self.to_arrays(), like)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write an ``.npz`` file, readable without pickle, from which a pass can be resumed.

        Raises
        ------
        FileExistsError
            The file exists and `force` is false.
        """
        _FORMAT.write(path, self.to_arrays(), force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str], like: Array | None = None) -> Moments:
        """Read what `save` wrote, into NumPy or into the namespace and onto the device of `like`.

        Raises
        ------
        CheckpointError
            The file holds no saved Moments, is damaged, or is of a newer format.
        """
        version, fields = _FORMAT.read(path)
        moments = cls.from_arrays(fields, like)
        if version >= _FORMAT.signed:
            fields.finish()
        return moments


def _field(fields: Fields, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A copy of a field, since states add in place; an earlier simkit had no units, and means in one number."""
    if name in ("origin", "shift", "unit") and name not in fields and "mean" in fields:
        mean = fields.reals("mean", shape)
        return {"origin": np.array(mean), "shift": np.zeros_like(mean), "unit": np.ones_like(mean)}[name]
    return np.array(fields.reals(name, shape))


class _Sums(NamedTuple):
    """Sums over n examples about their mean, `origin` + `shift`, of features divided by `unit`."""

    n: int
    origin: Array
    shift: Array
    unit: Array
    scatter: Array
    third: Array | None
    fourth: Array | None
    slices: tuple[slice, ...]

    def in_unit(self, unit: Array) -> _Sums:
        """The same sums of features divided by other powers of two."""
        xp = namespace_of(unit)
        by = self.unit / unit
        moved = self._replace(
            origin=self.origin * by, shift=self.shift * by, unit=unit, scatter=self.scatter * by[:, None] * by[None, :]
        )
        if self.third is None or self.fourth is None:
            return moved
        squares = xp.stack([by[s.start] for s in self.slices]) ** 2
        third, fourth = self.third * squares[:, None] * by, self.fourth * squares[:, None] * squares[None, :]
        return moved._replace(third=third, fourth=fourth)


def _copy(x: Array) -> Array:
    return namespace_of(x).asarray(x, copy=True)


# --- scoring ------------------------------------------------------------------------------------------------------------


def needs(index: Index[Any]) -> dict[str, Any]:
    """The options of the `Moments` that `index` can be computed from.

    Raises
    ------
    NeedsAllExamplesError
        It cannot be computed from moments.
    """
    statistic = index.facts.statistic
    if statistic == "moments":
        raise NeedsAllExamplesError(
            f"{index} depends on small eigenvalues, which are lost in moments: feed it with simkit.statistics.roots, as "
            "simkit.stream does."
        )
    if statistic == "examples":
        raise NeedsAllExamplesError(
            f"{index} needs all examples at once, so it cannot be computed from batches or chunks: use simkit.compare on "
            "arrays in memory, or an index of moments or HSIC sums (`simkit indexes` lists what each needs)."
        )
    kernel, estimator = getattr(index, "kernel", None), getattr(index, "estimator", "biased")
    if estimator == "minibatch":
        raise NeedsAllExamplesError(
            f"{index} is a mean over batches, not a function of moments: use simkit.stream, or "
            "simkit.statistics.minibatch.MinibatchHSIC batch by batch."
        )
    if not is_linear(kernel):
        raise NeedsAllExamplesError(
            f"{index} compares all pairs of examples by the kernel {kernel}, also those of different batches, so one pass "
            "over batches is not enough. Use compare(..., tiles='exact') or Dask arrays (all pairs, tile by tile), the "
            "linear kernel, or estimator=minibatch (pairs within a batch only)."
        )
    return {"third_order": estimator != "biased"}


def score_pairs(index: Index[Any], moments: Moments, rows: Sequence[str], columns: Sequence[str]) -> Array:
    """Scores of all pairs of layers from their moments.

    Parameters
    ----------
    index : Index
        HSIC sums with the linear kernel.
    moments : Moments
        Gathered with the options that `needs` gives for the index.
    rows, columns : sequence of str
        Names of layers.

    Returns
    -------
    array, shape (len(rows), len(columns))
        In the namespace and on the device of the batches, and in their precision; nan where a layer is constant.

    Raises
    ------
    NeedsAllExamplesError
        The index is no function of these moments.
    InvalidArrayError
        Too few examples, or values that were nan or inf.
    """
    rows, columns = tuple(rows), tuple(columns)
    xp = namespace_of(moments.mean)
    values = scores_from(index, moments, rows, columns)
    constant = moments.constant
    across, down = (xp.stack([constant[moments.position(name)] for name in names]) for names in (rows, columns))
    undefined = xp.logical_or(across[:, None], down[None, :])
    dtype = getattr(xp, moments.precision((*rows, *columns)))
    with in_silence(moments.mean):
        values = xp.astype(xp.where(undefined, float("nan"), values), dtype, copy=False)
    if not bool(xp.all(xp.isfinite(values))):
        flat = {name for name in (*rows, *columns) if bool(constant[moments.position(name)])}
        warn_if_not_finite(index, values, rows, columns, constant=flat, extreme=moments.extreme(dtype))
    return values


def scores_from(index: Any, moments: Moments, rows: Sequence[str], columns: Sequence[str]) -> Array:
    """`score_pairs` in the accumulation precision, of layers that vary, without a word on what is not finite."""
    needs(index)
    moments.check(index.facts.min_examples)
    xp = namespace_of(moments.mean)

    def own(names: Sequence[str], where: tuple[Any, Any]) -> HSICSums:
        sums = [moments.hsic_sums(name, name, index.estimator) for name in names]
        inner, by_row, totals = (xp.stack([s[k] for s in sums])[where] for k in range(3))
        return HSICSums(inner, by_row, totals, moments.n)

    xx, yy = own(rows, (slice(None), None)), own(columns, (None, slice(None)))
    with in_silence(moments.mean):
        score = index.from_sums(moments.all_hsic_sums(rows, columns, index.estimator), xx, yy)
        return index.rescaled(score, moments.units(rows)[:, None] * moments.units(columns)[None, :])
