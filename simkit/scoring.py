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
from simkit.statistics.statistic import Statistic

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["in_silence", "scores", "warn_if_not_finite"]

NO_VARIATION = (
    "one of them does not vary in a way that this index sees. Do most examples coincide, so that the median distance is 0 "
    "(give the kernel a fixed sigma)? Do all point in one direction (cosine)?"
)
_OUT_OF_RANGE = (
    "the values of {name} are so large, or so small, that products of them leave the range of floating-point numbers. "
    "Divide it by its largest absolute value: {name} / abs({name}).max()."
)


def scores(index: Index[Any], statistic: Statistic, sides: Sides, name_of: Mapping[str, str] | None = None) -> Array:
    """The scores of a comparison.

    Parameters
    ----------
    index : Index
    statistic : Statistic
        One that the index can be computed from (`simkit.planner`), of all layers of the sides by the names of messages.
    sides : Sides
    name_of : mapping of names to names, optional
        The name in the statistic of each layer, where one stands for several. Default: its own.

    Returns
    -------
    array, shape (rows, columns); for two arrays shape ()
        In the namespace and on the device of the statistic, and in the common precision of the layers.

    Warns
    -----
    ConstantInputWarning
        A layer is constant, or a score is nan although both layers vary.
    AccuracyWarning
        A score is not finite since products overflow, or infinite as the index may be.
    """
    rows, columns = ([(name_of or {}).get(name, name) for name in names] for names in (sides.row_names, sides.column_names))
    undefined = statistic.values.undefined
    for name in sorted(statistic.values.constant, key=statistic.names.index):
        warn_caller(
            f"{name} is constant: all {statistic.n} examples are the same, so its similarity to anything is undefined (nan)."
        )
    like = statistic.values.first[0]
    with in_silence(like), own_modes(like):
        values = _nan_where(undefined, statistic, index, rows, columns)
        if dtype_name(values) != statistic.values.dtype:
            xp = namespace_of(values)
            values = xp.astype(values, getattr(xp, statistic.values.dtype))
    if not is_lazy(values) and count_nonfinite(values):
        extreme = partial(statistic.out_of_range, values.dtype)
        warn_if_not_finite(index, values, rows, columns, undefined=undefined, extreme=extreme)
    if sides.kind == "pair":
        return values[(0,) * values.ndim]  # of NumPy always a scalar
    return values[None, None] if values.ndim == 0 else values


def _nan_where(
    undefined: Collection[str], statistic: Statistic, index: Index[Any], rows: Sequence[str], columns: Sequence[str]
) -> Array:
    """Scores of all pairs, nan for those of undefined layers, of which there is no asking."""
    defined = [[name for name in names if name not in undefined] for names in (rows, columns)]
    if len(defined[0]) == len(rows) and len(defined[1]) == len(columns):
        return statistic.scores(index, *defined)
    nan = statistic.nan
    xp, there = namespace_of(nan), placement(nan)
    if not all(defined):
        return xp.broadcast_to(nan, (len(rows), len(columns))) + 0
    values = statistic.scores(index, *defined)
    values = values[None, None] if values.ndim == 0 else values
    for axis, (names, kept) in enumerate(zip((rows, columns), defined, strict=True)):
        place = xp.asarray([kept.index(name) if name in kept else 0 for name in names], **there)
        mask = xp.reshape(xp.asarray([name in kept for name in names], **there), (-1, 1) if axis == 0 else (1, -1))
        values = xp.where(mask, xp.take(values, place, axis=axis), xp.astype(nan, values.dtype))
    return values


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
