"""The values of a matrix: finite, enough of them, and not the same for all examples. Lazy arrays are not computed for it."""

from __future__ import annotations

import math

import numpy as np

from simkit.arrays.libraries import Array, is_lazy, namespace_of
from simkit.arrays.placement import detach, on_host
from simkit.errors import InvalidArrayError

__all__ = ["check_matrix", "check_values", "count_nonfinite", "is_constant", "varies"]


def check_matrix(x: Array, name: str = "X", *, min_examples: int = 2, check_finite: bool = True) -> None:
    """Raise unless a matrix from `as_matrix` has enough examples and, as far as can be seen, finite values.

    Parameters
    ----------
    x : array, shape (n, p)
        Real floating matrix.
    name : str
        How error messages call it.
    min_examples : int
        The fewest examples that the index is defined for.
    check_finite : bool
        Look for nan and inf. Lazy arrays are never computed for this.

    Raises
    ------
    InvalidArrayError
        Too few examples, or values that are not finite: how many, and where the first is.
    """
    n = x.shape[0]
    if n < min_examples:
        raise InvalidArrayError(
            f"{name} has shape {tuple(x.shape)}: {n} example{'s' * (n != 1)}. "
            f"This index needs at least {min_examples} (rows are examples, columns are features)."
        )
    if check_finite and not is_lazy(x):
        check_values(x, name)


def check_values(x: Array, name: str, start: int | None = None) -> None:
    """Raise `InvalidArrayError` if a matrix holds nan or inf: how many, and where the first is.

    `start` is the row of `name` at which `x` begins, where `x` is only a part of it.
    """
    count = count_nonfinite(x)
    if count:
        xp = namespace_of(x)
        bad = xp.logical_not(xp.isfinite(x))
        flat = xp.reshape(xp.astype(bad, xp.int32), (-1,))
        row, column = divmod(int(xp.argmax(flat)), x.shape[1])
        offset = start or 0
        where = "" if start is None else f" in rows {offset} to {offset + x.shape[0] - 1}"
        raise InvalidArrayError(
            f"{name} has {count} of {math.prod(x.shape)} values{where} that are nan or inf, the first at "
            f"row {offset + row}, column {column}. Remove those examples or find out where they come from "
            "(half precision overflows at 65504); check_finite=False lets them through."
        )


def count_nonfinite(x: Array) -> int:
    """How many values of an array whose values are known are nan or inf."""
    x = detach(on_host(x))
    xp = namespace_of(x)
    # A finite sum has finite terms, so the entries are looked at one by one only where something is wrong.
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(float(xp.sum(x))):
            return 0
    return int(xp.count_nonzero(xp.logical_not(xp.isfinite(x))))


def is_constant(x: Array) -> Array:
    """Whether all examples are the same, as a 0-d boolean array."""
    return namespace_of(x).all(x == x[: min(1, x.shape[0]), :])


def varies(x: Array) -> bool:
    """Whether some example differs from the first, of a matrix whose values are known; most differ in the second already."""
    x, n = on_host(x), x.shape[0]
    xp, first = namespace_of(x), x[: min(n, 1), :]
    return bool(xp.any(x[: min(n, 2), :] != first)) or bool(xp.any(x != first))
