"""A root of the scatter matrix, mergeable: few rows that stand for all examples, without squaring their condition number.

Every index that is linear in its features depends on the data through the joint scatter matrix S of all layers alone, and
works as well on a *root* of it: rows R with R'R = S, at most as many as there are features. The columns of R that belong to
X and to Y have the same products X'X, X'Y, Y'Y as the centred data.

`simkit.statistics.moments` holds S itself, whose eigenvalues are the squares of the singular values of X: what is below 1e-8
of the largest is lost, and canonical correlations are wrong by eps * condition^2. A root loses nothing. A block of examples
is centred, stacked under the root of those before and reduced to a triangle again by QR, so one pass over the data suffices
(Demmel, Grigori, Hoemmen & Langou 2012).

QR costs several times as much as the product X'X, and is not needed while S itself is well conditioned: then S is kept and
its Cholesky factor is as good a root. How well conditioned it is need not be asked of every block. With C the matrix of
correlations, C >= f I means S >= f diag(S), and this adds up over blocks: the sum of S_k satisfies it with

    f = min over features j of  sum_k f_k (S_k)_jj / S_jj

which falls as blocks are added that nobody has looked at; the eigenvalues of C are computed where it falls too low. If they
are too low as well, S turns into its root, and QR it is from then on.

A feature that does not vary is exactly zero in the root. Its deviations are, since a block is centred at a point within the
range of its values; which features vary is known from the smallest and the largest value of all examples.

A feature whose squares would overflow or vanish is divided by a power of two, its unit, which the root keeps.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, final

import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, detach, namespace_of, placement, to_numpy
from simkit.caching import cached_property
from simkit.fields import Fields
from simkit.linalg import cross, identity, is_ordinary, powers_of_two, side_by_side, total, triangle, widen
from simkit.representation import Representation
from simkit.statistics.chance import Scores
from simkit.statistics.layers import all_scores
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Roots"]

_ROWS = 2048  # examples that are taken at a time, if twice the features are fewer
_LOST = 2e-11  # relative error that a scatter matrix may cause in place of its root; of float32 data more, as they have less
_ABOUT = ("origin", "shift", "low", "high", "unit")


@final
@dataclass(frozen=True, eq=False)
class Roots(Statistic):
    """A root of the joint scatter matrix of some examples, seen by L layers of P features in all.

    Attributes
    ----------
    origin, shift : array, shape (P,)
        Their sum is the mean. The origin is a number near it, from which deviations are exact.
    low, high : array, shape (P,)
        The smallest and the largest value of each feature.
    unit : array, shape (P,)
        Powers of two that the features are divided by in all other arrays: 1 for those of ordinary size.
    triangle : array, shape (r, P), optional
        R'R is the centred scatter matrix; r is at most max(P, 1).
    scatter : array, shape (P, P), optional
        The scatter matrix itself, instead of `triangle`, while it is well conditioned.
    floor : float
        The smallest eigenvalue of the correlations in `scatter` is at least this.
    enough : float
        What `floor` must be.
    ill_conditioned : bool
        The eigenvalues have been seen to be too small.
    """

    origin: Array
    shift: Array
    low: Array
    high: Array
    unit: Array
    triangle: Array | None = None
    scatter: Array | None = None
    floor: float = 0.0
    enough: float = 0.0
    ill_conditioned: bool = False

    arrays_named: ClassVar[tuple[str, ...]] = (*_ABOUT, "triangle", "scatter")

    # --- made from batches, merged ------------------------------------------------------------------------------------

    @classmethod
    def of(cls, layers: Mapping[str, Array], values: ValueCheck | None = None) -> Roots:
        """The root of one batch: matrices (m, p) of one framework with the same m >= 0 examples.

        Parameters
        ----------
        layers : mapping of names to arrays, shapes (m, p)
        values : ValueCheck, optional
            What is known of them. Default: it is found out.
        """
        if values is None:
            values, layers = ValueCheck.of(layers)
        whole = cls._empty(values, next(iter(layers.values())))._by_blocks(layers)
        return replace(whole, values=values)

    def extended(self, layers: Mapping[str, Array], values: ValueCheck) -> Roots:
        """The root with the examples of one more batch: its blocks are not reduced before they are merged."""
        return replace(self._by_blocks(layers), values=ValueCheck.merged([self.values, values]))

    def _by_blocks(self, layers: Mapping[str, Array]) -> Roots:
        """`extended`, but for what is known of the values."""
        parts = [detach(x) for x in layers.values()]
        m, step, whole = parts[0].shape[0], self.rows_together(sum(self.widths)), self
        for start in range(0, m, step):
            block = self._block(self.values, [x[start : min(start + step, m), :] for x in parts])
            whole = self._merged([whole, block])
        return whole

    @classmethod
    def rows_together(cls, width: int) -> int:
        """How many examples are worth one reduction."""
        return max(_ROWS, 2 * width)

    @classmethod
    def _empty(cls, values: ValueCheck, like: Array) -> Roots:
        """The root of no examples, in the framework and on the device of `like`."""
        xp, width = namespace_of(like), sum(values.widths)
        options: dict[str, Any] = {"dtype": accumulation_dtype(like, xp), **placement(like)}
        zero, infinite = xp.zeros((width,), **options), xp.full((width,), math.inf, **options)
        one, none = xp.ones((width,), **options), replace(values, n=0)
        return cls(none, zero, zero, infinite, -infinite, one, xp.zeros((0, width), **options))

    @classmethod
    def _block(cls, values: ValueCheck, parts: Sequence[Array]) -> Roots:
        """A block of examples, centred and not yet reduced."""
        xp, n = namespace_of(*parts), parts[0].shape[0]
        low, high = (xp.concat([widen(bound(x, axis=0), xp) for x in parts]) for bound in (xp.min, xp.max))
        given = min(float(xp.finfo(x.dtype).eps) for x in parts)
        unit = powers_of_two(xp.maximum(xp.abs(low), xp.abs(high)), xp)
        unit = xp.where(is_ordinary(unit, xp), 1.0, unit)
        if bool(xp.any(unit != 1)):
            parts = [widen(x, xp) / unit[s] for x, s in zip(parts, values.slices, strict=True)]
            low, high = low / unit, high / unit
        # No example is special, and rounding cannot move a mean out of the range of the values: constant features are 0.
        mean = xp.concat([total(x, xp, axis=0) for x in parts]) / n
        origin = xp.maximum(xp.minimum(mean, high), low)
        x = side_by_side(parts, origin, xp)
        shift = xp.sum(x, axis=0) / n
        x -= shift
        double = float(xp.finfo(x.dtype).eps)
        enough = double / max(_LOST, given / 64)
        return cls(replace(values, n=n), origin, shift, low, high, unit, x, enough=enough)

    def _in_unit(self, unit: Array) -> Roots:
        """The same root of features divided by other powers of two."""
        by = self.unit / unit
        return replace(
            self,
            unit=unit,
            origin=self.origin * by,
            shift=self.shift * by,
            low=self.low * by,
            high=self.high * by,
            triangle=None if self.triangle is None else self.triangle * by[None, :],
            scatter=None if self.scatter is None else self.scatter * by[:, None] * by[None, :],
        )

    @classmethod
    def merged(cls, parts: Sequence[Roots], *, reuse: bool = False) -> Roots:
        """The root of the examples of all `parts`; the order does not matter up to rounding."""
        del reuse  # nothing is written over
        values = ValueCheck.merged([part.values for part in parts])
        return replace(cls._merged(parts), values=values)

    @classmethod
    def _merged(cls, states: Sequence[Roots]) -> Roots:
        """`merged`, but for what is known of the values."""
        full = [state for state in states if state.n > 0]
        if not full:
            return states[0]
        first, width, n = full[0], sum(full[0].widths), sum(state.n for state in full)
        if len(full) == 1 and (first.triangle is None or first.triangle.shape[0] <= width):
            return first
        xp = namespace_of(first.origin)
        if not all(bool(xp.all(state.unit == first.unit)) for state in full[1:]):
            unit = functools.reduce(xp.maximum, [state.unit for state in full])
            full = [state._in_unit(unit) for state in full]
        first, low, high = full[0], full[0].low, full[0].high
        for state in full[1:]:
            low, high = xp.minimum(low, state.low), xp.maximum(high, state.high)
        # Origins are nearly the same numbers, so their differences are exact, as those of means would not be.
        shifts = [(state.origin - first.origin) + state.shift for state in full]
        shift = sum((d * (state.n / n) for d, state in zip(shifts[1:], full[1:], strict=True)), shifts[0] * (first.n / n))
        whole = replace(
            first,
            values=replace(first.values, n=n),
            shift=shift,
            low=low,
            high=high,
            enough=max(state.enough for state in full),
            ill_conditioned=any(state.ill_conditioned for state in full),
        )
        # What the examples of a block have in common: one more row, its mean, weighted by their number.
        rows = [state.triangle for state in full if state.triangle is not None]
        if len(full) > 1:
            rows.append(xp.stack([math.sqrt(state.n) * (d - shift) for d, state in zip(shifts, full, strict=True)]))
        known = [state for state in full if state.scatter is not None]
        if not known and sum(x.shape[0] for x in rows) <= width:
            return replace(whole, triangle=xp.concat(rows))
        if whole._may_add:
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                scatter = sum((cross(x, x) for x in rows[1:]), cross(rows[0], rows[0]))
                for state in known:
                    scatter += state.scatter
                floor = whole._floor(scatter, known, xp)
            if floor >= whole.enough:
                return replace(whole, triangle=None, scatter=scatter, floor=floor)
            whole = replace(whole, ill_conditioned=True)
        reduced = triangle(xp.concat([*(state.rows for state in known), *rows]), xp)
        return replace(whole, triangle=xp.where(whole.varies[None, :], reduced, 0.0), scatter=None, floor=0.0)

    @property
    def _may_add(self) -> bool:
        """Whether the scatter matrix may do: it has not failed, there are examples enough, and the precision is high."""
        return not self.ill_conditioned and self.n >= 2 * sum(self.widths) and self.enough < 1

    def _floor(self, scatter: Array, known: Sequence[Roots], xp: Namespace) -> float:
        """A lower bound of the eigenvalues of the correlations; -1 if there is none. See the head of this file."""
        squares, info = xp.linalg.diagonal(scatter), xp.finfo(scatter.dtype)
        usable = (squares > float(info.smallest_normal) / float(info.eps)) & xp.isfinite(squares)
        if bool(xp.any(self.varies & ~usable)):
            return -1.0
        if known:
            sure = sum((state.floor * xp.linalg.diagonal(state.scatter) for state in known), xp.zeros_like(squares))
            floor = float(xp.min(xp.where(self.varies, sure / xp.where(usable, squares, 1.0), 1.0)))
            if floor >= self.enough:
                return floor
        correlations, _ = self._correlations(scatter, xp)
        smallest = float(xp.linalg.eigvalsh(correlations)[0])
        return smallest - squares.shape[0] * float(info.eps)

    def _correlations(self, scatter: Array, xp: Namespace) -> tuple[Array, Array]:
        """A scatter matrix with features scaled to length 1, those that do not vary too, and the lengths."""
        squares = xp.linalg.diagonal(scatter)
        size = xp.sqrt(xp.where(squares > 0, squares, 1.0))
        missing = xp.where(self.varies, 0.0, xp.ones_like(size))
        return scatter / size[:, None] / size[None, :] + identity(size.shape[0], size, xp) * missing, size

    # --- what the indexes are fed -------------------------------------------------------------------------------------

    @property
    def mean(self) -> Array:
        """Means of the features, shape (P,)."""
        return (self.origin + self.shift) * self.unit

    @property
    def varies(self) -> Array:
        """Which features differ between examples, a boolean array of shape (P,)."""
        return self.high > self.low

    @cached_property
    def rows(self) -> Array:
        """The root, shape (r, P); exactly zero where a feature does not vary."""
        if self.triangle is not None:
            return self.triangle
        xp = namespace_of(self.scatter)
        correlations, size = self._correlations(self.scatter, xp)
        root = xp.linalg.cholesky(correlations).mT * size[None, :]
        return xp.where(self.varies[None, :], root, 0.0)

    def out_of_range(self, dtype: Any) -> set[str]:
        """The layers with values so large, or so small, that products of them leave the range of `dtype`."""
        largest = to_numpy(self.unit) * np.maximum(np.abs(to_numpy(self.low)), np.abs(to_numpy(self.high)))
        limit = float(namespace_of(self.origin).finfo(dtype).max) ** 0.2
        parts = zip(self.names, self.values.slices, strict=True)
        return {name for name, s in parts if not 1 / limit < largest[s].max() < limit}

    # --- asked for scores ---------------------------------------------------------------------------------------------

    def scored(self, index: Index[Any], rows: Sequence[str], columns: Sequence[str], *, by_chance: bool) -> Scores:
        """Scores of all pairs for an index of second moments, shape (rows, columns)."""
        return all_scores(index, self.representations(), rows, columns, by_chance=by_chance)

    def representations(self) -> dict[str, Representation]:
        """Small matrices that stand for the layers in every index that depends on second moments only."""
        mean, xp = self.origin + self.shift, namespace_of(self.origin)
        unit = self.unit if bool(xp.any(self.unit != 1)) else None
        return {
            name: Representation(
                self.rows[:, s],
                name=name,
                examples=self.n,
                is_centred=True,
                mean=mean[s],
                column_unit=None if unit is None else unit[s],
                rounding=eps,
            )
            for name, s, eps in zip(self.names, self.values.slices, self.values.rounding, strict=True)
        }

    # --- files --------------------------------------------------------------------------------------------------------

    def about(self) -> dict[str, np.ndarray]:
        """How well conditioned it is known to be."""
        return {
            "floor": np.array(self.floor),
            "enough": np.array(self.enough),
            "ill_conditioned": np.array(self.ill_conditioned),
        }

    @classmethod
    def _read(cls, fields: Fields, values: ValueCheck) -> Self:
        width = sum(values.widths)
        shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(_ABOUT, (width,))
        shapes |= {"scatter": (width, width)} if "scatter" in fields else {"triangle": (None, width)}
        return cls(
            values,
            **{name: np.array(fields.reals(name, shape)) for name, shape in shapes.items()},
            floor=fields.number("floor"),
            enough=fields.number("enough"),
            ill_conditioned=fields.flag("ill_conditioned"),
        )
