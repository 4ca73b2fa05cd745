"""Second moments of a stack of layers: what HSIC with the linear kernel depends on.

    n        S = sum_i z_i z_i'        of the stacked, centred features z_i = (x_i, y_i, ...) - mean

So the heatmap of L layers needs one state of P x P numbers, P the sum of their widths, and one pass over the data. States of
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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, constant_of, detach, namespace_of, placement
from simkit.errors import NeedsAllExamplesError
from simkit.fields import Fields
from simkit.linalg import is_ordinary, power_of_two, squared_norm, total, vecdot, widen
from simkit.linalg.scatter import add_scatter, centred_side_by_side
from simkit.statistics.chance import Scores, scores_from_sums
from simkit.statistics.hsic_sums import Estimator, HSICSums, are_many, kernel_estimator_of, warn_if_lost
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Moments"]

# Rows per matrix product: enough for its full speed, few enough to stay in the cache and for float32 sums.
_ROWS = 4096
_WIDE = 2048  # features from which on that is enough
# Mean squared lengths whose squares and cubes stay in the range of float32, also summed over a block.
_ORDINARY = (1e-15, 1e15)


@dataclass(frozen=True, eq=False)
class Moments(Statistic):
    """Count, means and joint scatter of several layers of the same examples.

    Attributes
    ----------
    origin, shift : array, shape (P,)
        Their sum is the mean, in units. The origin is a number near it, from which deviations are exact.
    unit : array, shape (P,)
        Powers of two that the features are divided by in all other arrays, one for each layer.
    joint : array, shape (P, P)
        The centred scatter of the stacked features.
    third : array, shape (L, P), optional
        Sums T; kept for the unbiased estimators.
    fourth : array, shape (L, L), optional
        Sums A.

    Notes
    -----
    Everything is in float64 where the device has it. Matrix products of float32 data, which are centred before and summed in
    float64 after, run in float32: right to about 1e-7 of the norms, enough for HSIC. Gradients do not flow.
    """

    origin: Array
    shift: Array
    unit: Array
    joint: Array
    third: Array | None = None
    fourth: Array | None = None

    arrays_named: ClassVar[tuple[str, ...]] = ("origin", "shift", "unit", "joint", "third", "fourth")

    # --- made from a batch --------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, layers: Mapping[str, Array], values: ValueCheck | None = None, *, third_order: bool = False) -> Moments:
        """The moments of one batch: matrices (m, p_k) of the same m examples; m may be 0.

        Parameters
        ----------
        layers : mapping of names to arrays, shapes (m, p_k)
        values : ValueCheck, optional
            What is known of them. Default: it is found out.
        third_order : bool
            Also keep the sums that the unbiased estimators need.
        """
        if values is None:
            values, layers = ValueCheck.of(layers)
        empty = cls._empty(values, next(iter(layers.values())), third_order)
        return replace(empty._with_rows(layers), values=values)

    def extended(self, layers: Mapping[str, Array], values: ValueCheck) -> Moments:
        """The moments of these examples and of a batch; those of these are written over."""
        together = ValueCheck.merged([self.values, values])
        return replace(self._with_rows(layers), values=together)

    def _with_rows(self, layers: Mapping[str, Array]) -> Moments:
        """`extended`, but for what is known of the values."""
        whole, parts = self, [detach(x) for x in layers.values()]
        m, start, step = parts[0].shape[0], 0, _ROWS if sum(self.widths) > _WIDE else 2 * _ROWS
        while start < m:
            rows = [x[start : min(start + step, m), :] for x in parts]
            added = whole._with_block_as_given(rows)
            if added is None:
                rows = [x[start : min(start + _ROWS, m), :] for x in parts]
                block = self._block(rows)
                added = self._sum(whole, block) if whole.n else block
            whole = added
            start += rows[0].shape[0]
        return whole

    @classmethod
    def rows_together(cls, width: int) -> int:
        """How many examples are worth a matrix product."""
        return _ROWS

    @property
    def options(self) -> dict[str, Any]:
        """Whether the sums of third and fourth order are there."""
        return {"third_order": self.third is not None}

    @classmethod
    def _empty(cls, values: ValueCheck, like: Array, third_order: bool) -> Moments:
        xp = namespace_of(like)
        options: dict[str, Any] = {"dtype": accumulation_dtype(like, xp), **placement(like)}
        count, width = len(values.widths), sum(values.widths)
        zero, one = xp.zeros((width,), **options), xp.ones((width,), **options)
        joint = xp.zeros((width, width), **options)
        empty = cls(replace(values, n=0), zero, zero, one, joint)
        if not third_order:
            return empty
        return replace(empty, third=xp.zeros((count, width), **options), fourth=xp.zeros((count, count), **options))

    def _with_block_as_given(self, parts: Sequence[Array]) -> Moments | None:
        """`extended` by rows in a lower precision than sums have, of ordinary size; None if they are otherwise.

        Sums of a constant of float32 are exact in float64, so its mean is, too: no extremes are needed to keep a constant
        feature exactly zero. That the sums stayed in range is seen after.
        """
        xp, m = namespace_of(*parts), parts[0].shape[0]
        if any(x.dtype != parts[0].dtype for x in parts) or parts[0].dtype == self.origin.dtype:
            return None
        if self.n and not bool(xp.all(self.unit == 1)):
            return None
        n, third, fourth = self.n + m, None, None
        with np.errstate(invalid="ignore", over="ignore"):
            z, near, missing = centred_side_by_side(parts, xp)
            a = self._squared_lengths(z, xp)
            traces = total(a, xp, axis=1)
            if not bool(xp.all((traces > _ORDINARY[0] * m) & (traces < _ORDINARY[1] * m))):
                return None
            origin = self.origin if self.n else widen(near, xp)
            # Origins are nearly the same numbers, so their difference is exact, as that of means would not be.
            d = (widen(near, xp) - origin) + (missing - self.shift)
            if self.third is not None and self.fourth is not None:
                if not all(are_many(a[k, :], xp) for k in range(len(parts))):
                    return None
                third, fourth = self._third_order_with(z, a, traces, d)
            joint = add_scatter(self.joint, z, d * (self.n * m / n) ** 0.5, xp)
        shift = self.shift + d * (m / n) if self.n else missing
        values = replace(self.values, n=n)
        return replace(self, values=values, origin=origin, shift=shift, joint=joint, third=third, fourth=fourth)

    def _third_order_with(self, z: Array, a: Array, traces: Array, d: Array) -> tuple[Array, Array]:
        """The sums T and A of these examples and of `z`, whose means are further by `d`; `a` are its squared lengths."""
        xp, m = namespace_of(z), z.shape[0]
        fourth = widen(a, xp) @ widen(a, xp).mT
        if not self.n or self.third is None or self.fourth is None:
            return widen(a @ z, xp), fourth
        mine, theirs = -d * (m / (self.n + m)), d * (self.n / (self.n + m))
        # z'z d_k without z'z, in the precision of z but for the size of d
        size = xp.max(xp.abs(theirs))
        size = xp.where(size > 0, size, 1.0)
        unit = xp.astype(theirs / size, z.dtype)
        along = xp.stack([z[:, s] @ unit[s] for s in self.values.slices])
        products = widen(xp.concat([a, along]) @ z, xp)
        third, turned = products[: a.shape[0], :], products[a.shape[0] :, :] * size
        third, fourth = self._moved(third, fourth, theirs, turned, traces, m)
        own = self._moved_by(mine)
        return own[0] + third, own[1] + fourth

    def _block(self, parts: Sequence[Array]) -> Moments:
        """The moments of a block of rows of any size and precision."""
        xp, m = namespace_of(*parts), parts[0].shape[0]
        common = xp.result_type(*(x.dtype for x in parts))
        x = xp.concat([xp.astype(x, common, copy=False) for x in parts], axis=1)
        if len(parts) == 1:  # the caller's own
            x = x + 0
        # A number near the mean goes first: it makes a large common offset harmless. No example is special, and rounding
        # cannot move the mean out of the range of the values, so the deviations of a constant feature are exactly zero.
        low, high = xp.min(x, axis=0), xp.max(x, axis=0)
        scale = self._scale(low, high, xp)
        if scale is not None:
            own = xp.astype(scale, x.dtype)
            x /= own
            low, high = low / own, high / own
        near = xp.maximum(xp.minimum(xp.astype(total(x, xp, axis=0) / m, x.dtype), high), low)
        x -= near
        missing = total(x, xp, axis=0) / m
        x -= xp.astype(missing, x.dtype)
        third = fourth = None
        if self.third is not None:
            a = self._squared_lengths(x, xp)
            if not all(are_many(a[k, :], xp) for k in range(len(parts))):
                x = widen(x, xp)
                a = self._squared_lengths(x, xp)
            third, fourth = widen(a @ x, xp), widen(a, xp) @ widen(a, xp).mT
        unit = xp.ones_like(self.unit) if scale is None else scale
        values = replace(self.values, n=m)
        block = Moments(values, widen(near, xp), missing, unit, widen(x.mT @ x, xp), third, fourth)
        # What was scaled for a product in float32 alone is in range in float64.
        return block if scale is None else block._in_unit(xp.where(is_ordinary(scale, xp), 1.0, scale))

    def _squared_lengths(self, z: Array, xp: Namespace) -> Array:
        """|z_ik|^2 for each layer k, shape (L, m)."""
        return xp.stack([vecdot(z[:, s], z[:, s], xp) for s in self.values.slices])

    def _scale(self, low: Array, high: Array, xp: Namespace) -> Array | None:
        """A power of two near the largest value of each layer, shape (P,), where products of its values may leave the range.

        Of values in the accumulation precision: 1 for layers of ordinary size, and None if all are.
        """
        largest = widen(xp.maximum(xp.abs(low), xp.abs(high)), xp)
        slices = self.values.slices
        scale = xp.concat([xp.broadcast_to(power_of_two(largest[s], xp), (s.stop - s.start,)) for s in slices])
        if low.dtype != self.origin.dtype:
            return scale
        ordinary = is_ordinary(scale, xp)
        return None if bool(xp.all(ordinary)) else xp.where(ordinary, 1.0, scale)

    # --- merged -------------------------------------------------------------------------------------------------------

    @classmethod
    def merged(cls, parts: Sequence[Moments], *, reuse: bool = False) -> Moments:
        """The moments of the examples of all `parts`; the formulas are at the head of this file."""
        values = ValueCheck.merged([part.values for part in parts])
        full = [part for part in parts if part.n]
        if not full:
            return replace(parts[0], values=values)
        whole = full[0]
        if not (reuse and whole is parts[0]):
            whole = replace(whole, joint=namespace_of(whole.joint).asarray(whole.joint, copy=True))
        for part in full[1:]:
            whole = cls._sum(whole, part)
        return replace(whole, values=values)

    @staticmethod
    def _sum(own: Moments, part: Moments) -> Moments:
        """Both together; the scatter of `own` is written over."""
        xp = namespace_of(own.origin)
        if not bool(xp.all(own.unit == part.unit)):
            unit = xp.maximum(own.unit, part.unit)
            own, part = own._in_unit(unit), part._in_unit(unit)
        m = part.n
        n = own.n + m
        # Origins are nearly the same numbers, so their difference is exact, as that of means would not be.
        d = (part.origin - own.origin) + (part.shift - own.shift)
        third = fourth = None
        if own.third is not None:
            ours, theirs = own._moved_by(-d * (m / n)), part._moved_by(d * (own.n / n))
            third, fourth = ours[0] + theirs[0], ours[1] + theirs[1]
        joint = own.joint
        joint += part.joint
        joint += d[:, None] * (d * (own.n * m / n))[None, :]
        values = replace(own.values, n=n)
        return replace(own, values=values, shift=own.shift + d * (m / n), joint=joint, third=third, fourth=fourth)

    def _in_unit(self, unit: Array) -> Moments:
        """The same moments of features divided by other powers of two."""
        xp, by = namespace_of(unit), self.unit / unit
        joint = self.joint * by[:, None]
        joint *= by[None, :]
        moved = replace(self, origin=self.origin * by, shift=self.shift * by, unit=unit, joint=joint)
        if self.third is None or self.fourth is None:
            return moved
        squares = xp.stack([by[s.start] for s in self.values.slices]) ** 2
        third, fourth = self.third * squares[:, None] * by, self.fourth * squares[:, None] * squares[None, :]
        return replace(moved, third=third, fourth=fourth)

    def _moved_by(self, d: Array) -> tuple[Array, Array]:
        """Third- and fourth-order sums after all examples have moved by `d`."""
        xp = namespace_of(d)
        turned = (self._members * d) @ self.joint
        return self._moved(self.third, self.fourth, d, turned, self._traces(self.joint, xp), self.n)

    def _moved(  # noqa: PLR0917  (the sums of one formula)
        self, third: Array, fourth: Array, d: Array, turned: Array, traces: Array, n: int
    ) -> tuple[Array, Array]:
        """Those of n examples after they have moved by `d`, with ``turned[k] = S d_k`` and ``traces[k] = tr(S_kk)``."""
        xp, by_layer = namespace_of(d), self._members * d
        squares = xp.sum(by_layer * by_layer, axis=1)
        moved = third + 2 * turned + (traces + n * squares)[:, None] * d
        across = 2 * (third @ by_layer.mT) + traces[:, None] * squares[None, :]
        return moved, fourth + across + across.mT + 4 * (turned @ by_layer.mT) + n * squares[:, None] * squares[None, :]

    def _traces(self, joint: Array, xp: Namespace) -> Array:
        return self._members @ xp.linalg.diagonal(joint)

    @property
    def _members(self) -> Array:
        """0/1 matrix (L, P): which features belong to which layer."""
        members = np.repeat(np.eye(len(self.widths)), self.widths, axis=1)
        return constant_of(members, self.origin, namespace_of(self.origin))

    # --- what has been gathered ---------------------------------------------------------------------------------------

    @property
    def mean(self) -> Array:
        """Means of the stacked features, shape (P,)."""
        return (self.origin + self.shift) * self.unit

    @property
    def scatter(self) -> Array:
        """Centred joint scatter of the stacked features, shape (P, P); divide by n - 1 for covariances."""
        return self.joint * self.unit[:, None] * self.unit[None, :]

    def out_of_range(self, dtype: Any) -> set[str]:
        """The layers with values so large, or so small, that products of them leave the range of `dtype`."""
        xp = namespace_of(self.origin)
        largest = xp.sqrt(xp.linalg.diagonal(self.joint) / max(self.n, 1)) * self.unit
        limit = float(xp.finfo(dtype).max) ** 0.2
        large, small = largest > limit, largest < 1 / limit
        slices = zip(self.names, self.values.slices, strict=True)
        return {name for name, s in slices if bool(xp.any(large[s])) or bool(xp.all(small[s]))}

    # --- asked for scores ---------------------------------------------------------------------------------------------

    def scored(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str], *, by_chance: bool) -> Scores:
        """Scores of all pairs for an index of HSIC sums with the linear kernel, shape (rows, columns)."""
        xp, estimator = namespace_of(self.origin), kernel_estimator_of(index).estimator
        known: dict[tuple[str, str], HSICSums] = {}

        def sums(pairs: Sequence[Sequence[tuple[str, str]]]) -> HSICSums:
            for i, j in (pair for line in pairs for pair in line):
                if (i, j) not in known:
                    known[i, j] = known[j, i] = self.hsic_sums(i, j, estimator)
            inner, by_row, totals = (xp.stack([xp.stack([known[p][k] for p in line]) for line in pairs]) for k in range(3))
            return HSICSums(inner, by_row, totals, self.n)

        xx, yy = sums([[(i, i)] for i in rows]), sums([[(j, j) for j in columns]])
        xy = sums([[(i, j) for j in columns] for i in rows])
        units = self.units(rows), self.units(columns)
        every = self._traces(self.joint, xp)
        x, y = (xp.stack([every[self.values.position(name)] for name in side]) for side in (rows, columns))
        return scores_from_sums(index, (xy, xx, yy), (x, y), units, by_chance=by_chance)

    def units(self, names: Sequence[str]) -> Array:
        """The powers of two by which some layers were divided for `hsic_sums`, 1 for layers of ordinary size."""
        starts = [self.values.slices[self.values.position(name)].start for name in names]
        return namespace_of(self.unit).stack([self.unit[start] for start in starts])

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
        a, b = self.values.position(i), self.values.position(j)
        xp, slices = namespace_of(self.origin), self.values.slices
        whole = squared_norm(self.joint[slices[a], slices[b]], xp)
        if estimator == "biased":
            return HSICSums(whole, xp.zeros_like(whole), xp.zeros_like(whole), self.n)
        if self.fourth is None:
            raise NeedsAllExamplesError(
                f"HSIC with estimator={estimator} is not a function of second moments alone; gather Moments with "
                "third_order=True."
            )
        shared, traces = self.fourth[a, b], self._traces(self.joint, xp)
        sums = HSICSums(whole - shared, shared, traces[a] * traces[b], self.n)
        if a == b:
            warn_if_lost(sums, i, xp)
        return sums

    # --- files --------------------------------------------------------------------------------------------------------

    @classmethod
    def _read(cls, fields: Fields, values: ValueCheck) -> Self:
        count, width = len(values.widths), sum(values.widths)
        shapes = {**dict.fromkeys(("origin", "shift", "unit"), (width,)), "joint": (width, width)}
        if "third" in fields or "fourth" in fields:
            shapes |= {"third": (count, width), "fourth": (count, count)}
        # Copies, since states add in place.
        return cls(values, **{name: np.array(fields.reals(name, shape)) for name, shape in shapes.items()})
