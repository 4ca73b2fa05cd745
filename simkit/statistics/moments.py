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
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, constant_of, namespace_of, placement, to_numpy, warn_caller
from simkit.checkpoint import Format
from simkit.errors import CheckpointError, NeedsAllExamplesError
from simkit.fields import Fields
from simkit.index import NO_VARIATION, Index
from simkit.kernels.linear import is_linear
from simkit.linalg import squared_norm, total, vecdot, widen
from simkit.statistics.batched import Batched
from simkit.statistics.hsic_sums import Estimator, HSICSums, are_many, warn_if_lost

__all__ = ["Moments", "needs", "score_pairs"]

# Rows per matrix product: enough for its full speed, few enough to stay in the cache and for float32 sums.
_ROWS = 4096
# Mean squared lengths whose squares and cubes stay in the range of float32, also summed over a block.
_ORDINARY = (1e-15, 1e15)
_FORMAT = Format("simkit_moments", version=2, signed=2, what="Moments", remedy="Gather the moments again.")
_ARRAYS = ("_mean", "_scatter", "_nonfinite", "_third", "_fourth")


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
        self._mean: Array = None
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
        if self._mean is None:
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
            self._add(other._n, other._mean, other._scatter, other._third, other._fourth)

    def reduced(self, elsewhere: Sequence[tuple[int, Array]], add: Callable[[Array], Array]) -> Moments:
        """The moments of the examples of many places at once, by a collective sum.

        Parameters
        ----------
        elsewhere : sequence of (int, array of shape (P,))
            `n` and `mean` of every place, this one included, in the same order everywhere.
        add : callable
            The sum of an array over all places.
        """
        xp, merged = namespace_of(self.mean), self.copy()
        n = sum(count for count, _ in elsewhere)
        origin = next((mean for count, mean in elsewhere if count), self._mean)
        shift = sum(((mean - origin) * (count / n) for count, mean in elsewhere if count), xp.zeros_like(origin))
        merged._mean, merged._n = origin + shift, n
        d = (self._mean - merged._mean) if self._n else xp.zeros_like(origin)
        if self.third_order:
            third, fourth = self._moved(self._n, self._scatter, self._third, self._fourth, d)
            merged._third, merged._fourth = add(third), add(fourth)
        merged._scatter = add(self._scatter + d[:, None] * (d * self._n)[None, :])
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
        self._mean = xp.zeros((width,), **options)
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
                missing[:] = 0
                a = np.stack([np.vecdot(z[:, s], z[:, s]) for s in self.slices])
                if not all(are_many(lengths, np) for lengths in a):
                    return False
            scatter = (z.T @ z).astype(np.float64)
        traces = np.add.reduceat(np.diagonal(scatter), [s.start for s in self.slices]) / m
        if not np.all((traces > _ORDINARY[0]) & (traces < _ORDINARY[1])):
            return False
        scatter -= missing[:, None] * (m * missing)[None, :]
        third = fourth = None
        if self.third_order:
            wide = a.astype(np.float64)
            third, fourth = (a @ z).astype(np.float64), wide @ wide.T
        self._add(m, mean, scatter, third, fourth)
        return True

    def _take(self, x: Array, xp: Namespace) -> None:
        """Add the sums of a block of rows, which is written over."""
        m = x.shape[0]
        finite = xp.isfinite(x) if not isinstance(x, np.ndarray) or not np.isfinite(x.sum()) else None
        if finite is not None:
            counts = xp.sum(xp.astype(xp.logical_not(finite), self._mean.dtype), axis=0)
            self._nonfinite = self._nonfinite + self._members(self._mean) @ counts
        # A number near the mean goes first: it makes a large common offset harmless. No example is special, and rounding
        # cannot move the mean out of the range of the values, so the deviations of a constant feature are exactly zero.
        low, high = xp.min(x, axis=0), xp.max(x, axis=0)
        near = xp.maximum(xp.minimum(xp.astype(total(x, xp, axis=0) / m, x.dtype), high), low)
        z = x
        z -= near
        missing = total(z, xp, axis=0) / m
        z -= xp.astype(missing, z.dtype)
        mean = widen(near, xp) + missing
        scale = self._scale(z, xp)
        if scale is not None:
            z /= xp.astype(scale, z.dtype)
        a = third = fourth = None
        if self.third_order:
            a = xp.stack([vecdot(z[:, s], z[:, s], xp) for s in self.slices])
            if not all(are_many(a[k, :], xp) for k in range(len(self.widths))):
                z = widen(z, xp)
                a = xp.stack([vecdot(z[:, s], z[:, s], xp) for s in self.slices])
        scatter = widen(z.mT @ z, xp)
        if a is not None:
            third, fourth = widen(a @ z, xp), widen(a, xp) @ widen(a, xp).mT
        if scale is not None:
            scatter = scatter * scale[:, None] * scale[None, :]
            if self.third_order:
                squares = xp.stack([scale[s.start] for s in self.slices]) ** 2
                third, fourth = third * squares[:, None] * scale, fourth * squares[:, None] * squares[None, :]
        self._add(m, mean, scatter, third, fourth)

    def _scale(self, z: Array, xp: Namespace) -> Array | None:
        """For float32 products, powers of two that keep squares of very large and very small layers in range."""
        if z.dtype == self._mean.dtype:
            return None
        parts = []
        for s in self.slices:
            largest = widen(xp.max(xp.abs(z[:, s])), xp)
            usable = xp.logical_and(largest > 0, xp.isfinite(largest))
            exponent = xp.floor(xp.log2(xp.where(usable, largest, 1.0)))
            parts.append(xp.broadcast_to(xp.pow(constant_of(2.0, largest, xp), exponent), (s.stop - s.start,)))
        return xp.concat(parts)

    def _add(self, m: int, mean: Array, scatter: Array, third: Array | None, fourth: Array | None) -> None:
        """Merge with sums of `m` examples about their own mean; the formulas are at the head of this file."""
        if m == 0:
            return
        n = self._n + m
        if self._n == 0:
            self._n, self._mean, self._scatter, self._third, self._fourth = m, mean, scatter, third, fourth
            return
        d = mean - self._mean
        if self.third_order:
            ours = self._moved(self._n, self._scatter, self._third, self._fourth, -d * (m / n))
            theirs = self._moved(m, scatter, third, fourth, d * (self._n / n))
            self._third, self._fourth = ours[0] + theirs[0], ours[1] + theirs[1]
        self._scatter += scatter
        self._scatter += d[:, None] * (d * (self._n * m / n))[None, :]
        self._mean = self._mean + d * (m / n)
        self._n = n

    def _moved(self, n: int, scatter: Array, third: Array, fourth: Array, d: Array) -> tuple[Array, Array]:
        """Third- and fourth-order sums after all examples have moved by `d`."""
        xp = namespace_of(d)
        by_layer = self._members(self._mean) * d
        squares, traces = xp.sum(by_layer * by_layer, axis=1), self._traces(scatter, xp)
        turned = by_layer @ scatter
        moved_third = third + 2 * turned + (traces + n * squares)[:, None] * d
        across = 2 * (third @ by_layer.mT) + traces[:, None] * squares[None, :]
        moved_fourth = fourth + across + across.mT + 4 * (turned @ by_layer.mT) + n * squares[:, None] * squares[None, :]
        return moved_third, moved_fourth

    def _traces(self, scatter: Array, xp: Namespace) -> Array:
        return self._members(self._mean) @ xp.linalg.diagonal(scatter)

    # --- what has been gathered ---------------------------------------------------------------------------------------

    @property
    def n(self) -> int:
        """The number of examples."""
        return self._n + sum(rows.shape[0] for rows in self._pending)

    @property
    def mean(self) -> Array:
        """Means of the stacked features, shape (P,)."""
        self._flush()
        return self._mean

    @property
    def scatter(self) -> Array:
        """Centred joint scatter of the stacked features, shape (P, P); divide by n - 1 for covariances."""
        self._flush()
        return self._scatter

    @property
    def nonfinite(self) -> Array:
        """How many values of each layer were nan or inf, shape (L,)."""
        self._flush()
        return self._nonfinite

    @property
    def constant(self) -> Array:
        """Which layers do not vary, a boolean array of shape (L,)."""
        return self._traces(self.scatter, namespace_of(self._mean)) == 0

    # --- what the indexes are fed -------------------------------------------------------------------------------------

    def hsic_sums(self, i: str, j: str, estimator: Estimator = "biased") -> HSICSums:
        """The three sums of the linear kernels of two layers, exactly.

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
        whole = squared_norm(self.scatter[self.slices[a], self.slices[b]], xp)
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
        shapes = ((width,), (width, width), (layers,), (layers, width), (layers, layers))
        for name, shape in zip(_ARRAYS[: None if moments.third_order else 3], shapes, strict=False):
            values = np.array(fields.reals(name[1:], shape))  # a copy: states add in place
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
            "over batches is not enough. Use simkit.statistics.tiles or Dask arrays (all pairs, tile by tile), the linear "
            "kernel, or estimator=minibatch (pairs within a batch only)."
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
    needs(index)
    moments.check(index.facts.min_examples)
    rows, columns = tuple(rows), tuple(columns)
    xp = namespace_of(moments.mean)
    values = _from_sums(index, moments, rows, columns)
    constant = moments.constant
    across, down = (xp.stack([constant[moments.position(name)] for name in names]) for names in (rows, columns))
    undefined = xp.logical_or(across[:, None], down[None, :])
    dtype = getattr(xp, moments.precision((*rows, *columns)))
    values = xp.astype(xp.where(undefined, float("nan"), values), dtype, copy=False)
    nan = np.argwhere(np.isnan(to_numpy(values)))
    if nan.size:
        i, j = map(int, nan[0])
        why = "one of them is constant." if bool(undefined[i, j]) else NO_VARIATION
        pairs = f"{len(nan)} pair{'s' * (len(nan) != 1)}"
        warn_caller(f"{index} of {pairs} is undefined (nan), the first {rows[i]!r} and {columns[j]!r}: {why}")
    return values


def _from_sums(index: Any, moments: Moments, rows: tuple[str, ...], columns: tuple[str, ...]) -> Array:
    xp = namespace_of(moments.mean)

    def own(names: tuple[str, ...], where: tuple[Any, Any]) -> HSICSums:
        sums = [moments.hsic_sums(name, name, index.estimator) for name in names]
        inner, by_row, totals = (xp.stack([s[k] for s in sums])[where] for k in range(3))
        return HSICSums(inner, by_row, totals, moments.n)

    xx, yy = own(rows, (slice(None), None)), own(columns, (None, slice(None)))
    return index.from_sums(moments.all_hsic_sums(rows, columns, index.estimator), xx, yy)
