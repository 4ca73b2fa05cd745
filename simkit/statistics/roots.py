"""A root of the scatter matrix, mergeable: few rows that stand for all examples, without squaring their condition number.

Every index that is linear in its features depends on the data through the joint scatter matrix S of all layers alone, and
works as well on a *root* of it: rows R with R'R = S, at most as many as there are features. The columns of R that belong to
X and to Y have the same products X'X, X'Y, Y'Y as the centred data.

`Moments` hold S itself, whose eigenvalues are the squares of the singular values of X: what is below 1e-8 of the largest is
lost, and canonical correlations are wrong by eps * condition^2. A root loses nothing. A block of examples is centred,
stacked under the root of those before and reduced to a triangle again by QR, so one pass over the data suffices (Demmel,
Grigori, Hoemmen & Langou 2012).

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
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, detach, namespace_of, placement, to_numpy
from simkit.fields import Fields, text_array
from simkit.guard import in_library
from simkit.linalg import cross, identity, is_ordinary, powers_of_two, triangle, widen
from simkit.representation import Representation

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Roots", "rows_together", "scores_of"]

_ROWS = 2048  # examples that are taken at a time, if twice the features are fewer
_LOST = 2e-11  # relative error that a scatter matrix may cause in place of its root; of float32 data more, as they have less
_ABOUT = ("origin", "shift", "low", "high", "unit")


def rows_together(width: int) -> int:
    """How many examples of `width` features are worth one reduction."""
    return max(_ROWS, 2 * width)


@final
@dataclass(frozen=True, eq=False)
class Roots:
    """A root of the joint scatter matrix of some examples, seen by L layers of P features in all. Immutable.

    Attributes
    ----------
    names, widths : tuple
        The layers in order.
    n : int
        Number of examples; 0 is allowed.
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

    names: tuple[str, ...]
    widths: tuple[int, ...]
    n: int
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

    # --- made from batches, merged ------------------------------------------------------------------------------------

    @classmethod
    def of(cls, layers: Mapping[str, Array]) -> Roots:
        """The root of one batch: matrices (n, p) of one framework with the same n."""
        parts = list(layers.values())
        return cls.empty(tuple(layers), tuple(x.shape[1] for x in parts), parts[0]).extended(parts)

    @classmethod
    def empty(cls, names: tuple[str, ...], widths: tuple[int, ...], like: Array) -> Roots:
        """The root of no examples, in the framework and on the device of `like`."""
        xp, width = namespace_of(like), sum(widths)
        options: dict[str, Any] = {"dtype": accumulation_dtype(like, xp), **placement(like)}
        zero, infinite = xp.zeros((width,), **options), xp.full((width,), math.inf, **options)
        one = xp.ones((width,), **options)
        return cls(names, widths, 0, zero, zero, infinite, -infinite, one, xp.zeros((0, width), **options))

    def extended(self, parts: Sequence[Array]) -> Roots:
        """The root of these examples and of a batch.

        Parameters
        ----------
        parts : sequence of arrays, shapes (m, p_k)
            Finite values of the same m examples; their columns, side by side, are those of the layers.
        """
        whole, step = self, rows_together(sum(self.widths))
        for start in range(0, parts[0].shape[0], step):
            rows = slice(start, min(start + step, parts[0].shape[0]))
            whole = Roots.merged([whole, self._block([detach(x[rows, :]) for x in parts])])
        return whole

    def _block(self, parts: Sequence[Array]) -> Roots:
        """A block of examples, centred and not yet reduced."""
        xp, n = namespace_of(*parts), parts[0].shape[0]
        low, high = (xp.concat([widen(bound(x, axis=0), xp) for x in parts]) for bound in (xp.min, xp.max))
        x = xp.concat([widen(x, xp) for x in parts], axis=1)
        unit = powers_of_two(xp.maximum(xp.abs(low), xp.abs(high)), xp)
        unit = xp.where(is_ordinary(unit, xp), 1.0, unit)
        if bool(xp.any(unit != 1)):
            x, low, high = x / unit, low / unit, high / unit
        # No example is special, and rounding cannot move a mean out of the range of the values: constant features are 0.
        origin = xp.maximum(xp.minimum(xp.sum(x, axis=0) / n, high), low)
        x = x - origin
        shift = xp.sum(x, axis=0) / n
        x -= shift
        double = float(xp.finfo(x.dtype).eps)
        given = min(float(xp.finfo(part.dtype).eps) for part in parts)
        enough = double / max(_LOST, given / 64)
        return Roots(self.names, self.widths, n, origin, shift, low, high, unit, x, enough=enough)

    def in_unit(self, unit: Array) -> Roots:
        """The same root of features divided by other powers of two."""
        by = self.unit / unit
        return replace(
            self,
            unit=unit,
            **{name: getattr(self, name) * by for name in ("origin", "shift", "low", "high")},
            triangle=None if self.triangle is None else self.triangle * by[None, :],
            scatter=None if self.scatter is None else self.scatter * by[:, None] * by[None, :],
        )

    @classmethod
    def merged(cls, states: Sequence[Roots]) -> Roots:
        """The root of the examples of all `states`; the order does not matter up to rounding."""
        full = [state for state in states if state.n > 0]
        if not full:
            return states[0]
        first, width, n = full[0], sum(full[0].widths), sum(state.n for state in full)
        if len(full) == 1 and (first.triangle is None or first.triangle.shape[0] <= width):
            return first
        xp = namespace_of(first.origin)
        if not all(bool(xp.all(state.unit == first.unit)) for state in full[1:]):
            unit = functools.reduce(xp.maximum, [state.unit for state in full])
            full = [state.in_unit(unit) for state in full]
        first, low, high = full[0], full[0].low, full[0].high
        for state in full[1:]:
            low, high = xp.minimum(low, state.low), xp.maximum(high, state.high)
        # Origins are nearly the same numbers, so their differences are exact, as those of means would not be.
        shifts = [(state.origin - first.origin) + state.shift for state in full]
        shift = sum((d * (state.n / n) for d, state in zip(shifts[1:], full[1:], strict=True)), shifts[0] * (first.n / n))
        whole = replace(
            first,
            n=n,
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

    @property
    def constant(self) -> frozenset[str]:
        """The layers of which all examples are the same."""
        varies, ends = to_numpy(self.varies), np.cumsum(self.widths)
        return frozenset(
            name for name, p, end in zip(self.names, self.widths, ends, strict=True) if not varies[end - p : end].any()
        )

    def extreme(self, dtype: Any) -> set[str]:
        """The layers whose values are so large, or so small, that products of them are out of the range of `dtype`."""
        largest = to_numpy(self.unit) * np.maximum(np.abs(to_numpy(self.low)), np.abs(to_numpy(self.high)))
        limit, ends = float(namespace_of(self.origin).finfo(dtype).max) ** 0.2, np.cumsum(self.widths)
        parts = zip(self.names, np.split(largest, ends[:-1]), strict=True)
        return {name for name, part in parts if not 1 / limit < part.max() < limit}

    def representations(self, rounding: Mapping[str, float]) -> dict[str, Representation]:
        """Small matrices that stand for the layers in every index that depends on second moments only.

        Parameters
        ----------
        rounding : mapping of names to float
            The eps of the precision that the data were given in, which decides what counts as rank.
        """
        width, mean, xp = 2 * sum(self.widths), self.origin + self.shift, namespace_of(self.origin)
        unit = self.unit if bool(xp.any(self.unit != 1)) else None
        ends = np.cumsum(self.widths).tolist()
        return {
            name: Representation(
                self.rows[:, end - p : end],
                width,
                name,
                examples=self.n,
                is_centred=True,
                mean=mean[end - p : end],
                column_unit=None if unit is None else unit[end - p : end],
                rounding=rounding[name],
            )
            for name, p, end in zip(self.names, self.widths, ends, strict=True)
        }

    # --- files and other devices --------------------------------------------------------------------------------------

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays by the names of the attributes."""
        return {name: getattr(self, name) for name in (*_ABOUT, "scatter" if self.triangle is None else "triangle")}

    def only(self, arrays: Mapping[str, Array]) -> Roots:
        """The same state with these arrays for its own."""
        own: dict[str, Any] = {name: arrays.get(name) for name in (*_ABOUT, "triangle", "scatter")}
        return replace(self, **own)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Everything as plain NumPy arrays, for a file without pickle; `from_arrays` reads it."""
        arrays = {
            "names": text_array(self.names),
            "widths": np.array(self.widths, dtype=np.int64),
            "n": np.array(self.n),
            "floor": np.array(self.floor),
            "enough": np.array(self.enough),
            "ill_conditioned": np.array(self.ill_conditioned),
        }
        return arrays | {name: to_numpy(x) for name, x in self.arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray] | Fields, like: Array | None = None) -> Roots:
        """What `to_arrays` wrote, in NumPy or in the namespace and on the device of `like`.

        Raises
        ------
        CheckpointError
            A field is missing or is not what it must be.
        """
        fields = Fields.of(arrays)
        names = fields.texts("names", distinct=True)
        widths = fields.wholes("widths", length=len(names))
        width = sum(widths)
        shapes: dict[str, tuple[int | None, ...]] = dict.fromkeys(_ABOUT, (width,))
        shapes |= {"scatter": (width, width)} if "scatter" in fields else {"triangle": (None, width)}

        def placed(name: str) -> Array:
            values = np.array(fields.reals(name, shapes[name]))
            if like is None:
                return values
            xp = namespace_of(like)
            return xp.asarray(values, dtype=accumulation_dtype(like, xp), **placement(like))

        return cls(
            names=names,
            widths=widths,
            n=fields.whole("n"),
            floor=fields.number("floor"),
            enough=fields.number("enough"),
            ill_conditioned=fields.flag("ill_conditioned"),
            **{name: placed(name) for name in shapes},
        )


def scores_of(index: Index[Any], layers: Mapping[str, Representation], rows: Sequence[str], columns: Sequence[str]) -> Array:
    """Scores of all pairs of some layers, each prepared once, shape (rows, columns)."""
    states = {name: index.prepare(layers[name]) for name in dict.fromkeys((*rows, *columns))}
    xs = [states[name] for name in rows]
    scores = index.scores(xs, xs if list(rows) == list(columns) else [states[name] for name in columns])
    return in_library(index, scores, layers[rows[0]].features)
