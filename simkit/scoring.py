"""The one way out: from a statistic and an index to scores that say what is undefined, in the precision of the layers.

Whoever makes a statistic, in memory, from batches, from chunks or in many processes, asks here for the scores. Layers that
do not vary or are not finite have none (nan), and the index is not asked for any, since linear algebra libraries answer nan
with exceptions. What else is no finite number is said once, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.arrays import (
    Array,
    count_nonfinite,
    detach,
    dtype_name,
    is_lazy,
    library_of,
    namespace_of,
    placement,
    to_numpy,
    warn_caller,
)
from simkit.arrays.modes import own_modes
from simkit.errors import AccuracyWarning, ConstantInputWarning
from simkit.sides import Sides
from simkit.statistics.chance import Scores, warn_if_mostly_chance
from simkit.statistics.statistic import Statistic

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["in_silence", "scored", "scores", "warn_if_not_finite"]

NO_VARIATION = (
    "one of them does not vary in a way that this index sees. Do most examples coincide, so that the median distance is 0 "
    "(give the kernel a fixed sigma)? Do all point in one direction (cosine)?"
)
_OUT_OF_RANGE = (
    "the values of {name} are so large, or so small, that products of them leave the range of floating-point numbers. "
    "Divide it by its largest absolute value: {name} / abs({name}).max()."
)


def scored(
    index: Index[Any],
    statistic: Statistic,
    sides: Sides,
    name_of: Mapping[str, str] | None = None,
    *,
    by_chance: bool = True,
) -> Scores:
    """The scores of a comparison, and what they are by chance where the index knows it.

    Parameters
    ----------
    index : Index
    statistic : Statistic
        One that the index can be computed from (`simkit.planner`), of all layers of the sides by the names of messages.
    sides : Sides
    name_of : mapping of names to names, optional
        The name in the statistic of each layer, where one stands for several. Default: its own.
    by_chance : bool
        Whether anybody will look at chance.

    Returns
    -------
    Scores
        Arrays of shape (rows, columns), for two arrays of shape (), or None. In the namespace and on the device of the
        statistic, and in the common precision of the layers.

    Warns
    -----
    ConstantInputWarning
        A layer is constant, or a score is nan although both layers vary.
    AccuracyWarning
        A score is not finite since products overflow, or infinite as the index may be.
    ChanceWarning
        Scores that are read as shares of 1 hardly rise above chance.
    """
    rows, columns = ([(name_of or {}).get(name, name) for name in names] for names in (sides.row_names, sides.column_names))
    undefined = statistic.values.undefined
    for name in sorted(statistic.values.constant, key=statistic.names.index):
        warn_caller(
            f"{name} is constant: all {statistic.n} examples are the same, so its similarity to anything is undefined (nan)."
        )
    like = statistic.values.first[0]
    with in_silence(like), own_modes(like):
        found = _nan_where(undefined, statistic, index, rows, columns, by_chance=by_chance)
        xp, dtype = namespace_of(found.values), statistic.values.dtype
        if dtype_name(found.values) != dtype:
            found = _each(found, lambda array: xp.astype(array, getattr(xp, dtype), copy=False))
    values, lazy = found.values, is_lazy(found.values)
    surprising = lazy or count_nonfinite(values) > 0
    if found.chance is not None:
        chance = detach(found.chance)
        found = Scores(values, xp.where(xp.isnan(values), float("nan"), chance) if surprising else chance)
    if not lazy:
        if surprising:
            extreme = partial(statistic.out_of_range, values.dtype)
            warn_if_not_finite(index, values, rows, columns, undefined=undefined, extreme=extreme)
        warn_if_mostly_chance(index, found, rows, columns, statistic.n)
    if sides.kind == "pair":
        return _each(found, lambda array: array[(0,) * array.ndim])  # of NumPy always a scalar
    return _each(found, lambda array: array[None, None] if array.ndim == 0 else array)


def scores(index: Index[Any], statistic: Statistic, sides: Sides, name_of: Mapping[str, str] | None = None) -> Array:
    """The scores alone: see `scored`."""
    return scored(index, statistic, sides, name_of, by_chance=False).values


def _each(found: Scores, change: Callable[[Array], Array]) -> Scores:
    return Scores(change(found.values), None if found.chance is None else change(found.chance))


def _nan_where(
    undefined: Collection[str],
    statistic: Statistic,
    index: Index[Any],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    by_chance: bool,
) -> Scores:
    """Scores of all pairs, nan for those of undefined layers, of which there is no asking."""
    defined = [[name for name in names if name not in undefined] for names in (rows, columns)]
    if len(defined[0]) == len(rows) and len(defined[1]) == len(columns):
        return statistic.scored(index, *defined, by_chance=by_chance)
    nan = statistic.nan
    xp, there = namespace_of(nan), placement(nan)
    if not all(defined):
        none = xp.broadcast_to(nan, (len(rows), len(columns))) + 0
        return Scores(none, none if by_chance and index.knows_chance else None)

    def spread(values: Array) -> Array:
        values = values[None, None] if values.ndim == 0 else values
        for axis, (names, kept) in enumerate(zip((rows, columns), defined, strict=True)):
            place = xp.asarray([kept.index(name) if name in kept else 0 for name in names], **there)
            mask = xp.reshape(xp.asarray([name in kept for name in names], **there), (-1, 1) if axis == 0 else (1, -1))
            values = xp.where(mask, xp.take(values, place, axis=axis), xp.astype(nan, values.dtype))
        return values

    return _each(statistic.scored(index, *defined, by_chance=by_chance), spread)


def in_silence(x: Array) -> AbstractContextManager[Any]:
    """NumPy does not speak of overflow and invalid values within: `warn_if_not_finite` does, of the score."""
    return np.errstate(all="ignore") if library_of(x) == "numpy" else nullcontext()


def warn_if_not_finite(
    index: Index[Any],
    values: Array,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    undefined: Collection[str] = (),
    extreme: Callable[[], Collection[str]] = tuple,
) -> None:
    """Warn, once, of scores that are nan or infinite.

    Parameters
    ----------
    index : Index
    values : array, shape (rows, columns) or ()
    rows, columns : sequence of str
        What messages call the layers.
    undefined : collection of str
        Layers that nobody expects a score of; something has been said of them.
    extreme : callable
        Gives the layers whose values are near the end of the range.

    Warns
    -----
    ConstantInputWarning
        nan: a layer does not vary in a way that the index sees.
    AccuracyWarning
        nan or infinite since numbers overflow, or infinite as the index may be.
    """
    host = to_numpy(values).reshape(len(rows), len(columns))
    surprises = ~np.isfinite(host)
    if undefined:
        surprises &= np.outer([name not in undefined for name in rows], [name not in undefined for name in columns])
    # Where an index has no upper bound, that of a layer with itself is infinite.
    surprises &= ~(np.isinf(host) & np.asarray([[a == b for b in columns] for a in rows]))
    if not surprises.any():
        return
    where = np.argwhere(surprises)
    i, j = (int(place) for place in where[0])
    what = "undefined (nan)" if np.isnan(host[i, j]) else "infinite"
    extremes = [name for name in (rows[i], columns[j]) if name in extreme()]
    why: str = NO_VARIATION
    category: type[Warning] = ConstantInputWarning
    if extremes:
        why, category = _OUT_OF_RANGE.format(name=extremes[0]), AccuracyWarning
    elif what == "infinite":
        why, category = index.infinite, AccuracyWarning
    first = f"{rows[i]} and {columns[j]}"
    if host.size == 1:
        warn_caller(f"{index} of {first} is {what}: {why}", category)
    else:
        pairs = f"{len(where)} pair{'s' * (len(where) != 1)}"
        warn_caller(f"{index} of {pairs} is {what}, the first {first}: {why}", category)
