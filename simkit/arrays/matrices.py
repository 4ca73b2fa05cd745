"""One array as a real floating matrix of examples by features, without looking at its values."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat

from simkit.arrays.conversion import as_array
from simkit.arrays.forks import is_forked, threads_are_missing
from simkit.arrays.libraries import Array, is_instance, namespace_of
from simkit.arrays.precision import as_floating
from simkit.arrays.refusals import expression
from simkit.errors import InvalidArrayError
from simkit.warn import warn_caller

__all__ = ["as_matrix", "check_axes"]


def as_matrix(x: Any, name: str = "X", *, flatten: bool = False) -> Array:
    """Turn one array into a real floating matrix of examples by features, without looking at its values.

    Parameters
    ----------
    x : array of any library, or array-like
        Shape ``(n, p)``.
    name : str
        How error messages call it.
    flatten : bool
        Accept ``(n, ...)`` too: every unit at every position is a feature. `simkit.examples` has the other rules.

    Returns
    -------
    array, shape (n, p)
        float32 or float64, in the namespace and on the device of `x`.

    Raises
    ------
    InvalidArrayError
        The array is not a matrix, or it has no features.
    InvalidDtypeError
        The array holds complex numbers, objects, strings or dates.

    Warns
    -----
    RuntimeWarning
        The process was forked from one that used torch, so that torch may wait for ever.
    """
    given, x = x, as_array(x, name)
    xp = namespace_of(x)
    if is_forked() and threads_are_missing(x):
        warn_caller(
            "This process was forked from one that had loaded torch. If torch has computed there with several threads, it "
            "will wait for them here for ever. Call torch.set_num_threads(1) first in each forked process, or start "
            'processes with multiprocessing.get_context("spawn").',
            RuntimeWarning,
        )
    check_axes(x, given, name)
    x = as_floating(x, name, xp)
    if x.ndim > 2:
        if not flatten:
            raise InvalidArrayError(_no_default(name, tuple(x.shape)))
        x = xp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
    if x.shape[1] == 0:
        raise InvalidArrayError(f"{name} has shape {tuple(x.shape)}: it has no features. Expected (n, p) with p >= 1.")
    return x


def check_axes(x: Array, given: Any, name: str) -> None:
    """Raise unless `x`, made of what was `given`, has an axis of examples and one of features at least."""
    if x.ndim >= 2:
        return
    as_floating(x, name, namespace_of(x))  # sentences are no numbers, whatever their shape
    code = expression(name)
    if not (hasattr(given, "reshape") or array_api_compat.is_array_api_obj(given)):  # lists, data frames
        code = f"{code}.data" if is_instance("xarray", "DataArray", given) else f"numpy.asarray({code})"
    how = f"{code}.reshape(-1, 1) for n examples of one feature" if x.ndim == 1 else "an array of n examples"
    raise InvalidArrayError(
        f"{name} has shape {tuple(x.shape)}; expected (n, p), n examples by p features. "
        f"Pass {how}" + (f", or {code}.reshape(1, -1) for one example." if x.ndim == 1 else ".")
    )


def _no_default(name: str, shape: tuple[int, ...]) -> str:
    call = f"simkit.examples({expression(name)}"
    if len(shape) == 3:
        others = (
            f"{call}, 'mean') averages over the tokens of (n, tokens, features), and {call}, 'cls') takes the first; "
            f"{call}, 'mean', channels='first') is for (n, channels, positions)"
        )
    else:
        others = (
            f"{call}, 'mean', channels='first') averages over positions, and {call}, 'positions', channels='last') takes "
            "each position for an example, where channels are on the second axis or on the last"
        )
    return (
        f"{name} has shape {shape}; expected (n, p). There is no silent default for more axes: {call}, 'flatten') makes "
        f"each unit at each position a feature, as in the paper (short: flatten=True); {others}."
    )
