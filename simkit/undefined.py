"""Scores that are no finite numbers: every way in asks here, and the warning says why."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from simkit.arrays import Array, is_lazy, namespace_of, to_numpy, warn_caller
from simkit.errors import AccuracyWarning, ConstantInputWarning
from simkit.linalg import is_ordinary, power_of_two

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["in_silence", "out_of_range", "warn_if_not_finite"]

NO_VARIATION = (
    "one of them does not vary in a way that this index sees. Do most examples coincide, so that the median distance is 0 "
    "(give the kernel a fixed sigma)? Do all point in one direction (cosine)?"
)
_OUT_OF_RANGE = (
    "the values of {name} are so large, or so small, that products of them leave the range of floating-point numbers. "
    "Divide it by its largest absolute value: {name} / abs({name}).max()."
)


def in_silence(x: Array) -> AbstractContextManager[Any]:
    """NumPy does not speak of overflow and invalid values within: `warn_if_not_finite` does, of the score."""
    return np.errstate(all="ignore") if isinstance(x, np.ndarray) else nullcontext()


def out_of_range(layers: Iterable[tuple[str, Array]]) -> list[str]:
    """The names of the matrices in memory whose largest value is so large, or so small, that products may overflow."""
    found = []
    for name, x in layers:
        xp = namespace_of(x)
        if not is_lazy(x) and not bool(is_ordinary(power_of_two(x, xp), xp)):
            found.append(name)
    return found


def warn_if_not_finite(
    index: Index[Any],
    values: Array,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    undefined: Collection[str] = (),
    constant: Collection[str] = (),
    extreme: Collection[str] = (),
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
    constant : collection of str
        Layers that are the same for all examples.
    extreme : collection of str
        Layers whose values are near the end of the range: see `out_of_range`.

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
    extremes, constants = ([name for name in (rows[i], columns[j]) if name in names] for names in (extreme, constant))
    why: str = NO_VARIATION
    category: type[Warning] = ConstantInputWarning
    if constants:
        why = "one of them is constant."
    elif extremes:
        why, category = _OUT_OF_RANGE.format(name=extremes[0]), AccuracyWarning
    elif what == "infinite":
        why, category = index.infinite, AccuracyWarning
    first = f"{rows[i]} and {columns[j]}"
    if host.size == 1:
        warn_caller(f"{index} of {first} is {what}: {why}", category)
    else:
        pairs = f"{len(where)} pair{'s' * (len(where) != 1)}"
        warn_caller(f"{index} of {pairs} is {what}, the first {first}: {why}", category)
