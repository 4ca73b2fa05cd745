"""A check, and the ways in which the checks of indexes and of kernels try a call."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from simkit.arrays import is_dask, to_numpy
from simkit.errors import UnsupportedError
from simkit.guard import is_outside
from simkit.testing.case import Case
from simkit.testing.gradients import gradient_in_jax, gradient_in_torch
from simkit.testing.libraries import LIBRARIES, Library
from simkit.testing.report import Skipped

__all__ = ["Check", "changed", "in_each_framework", "lazy", "on_each_library", "refused", "table", "told", "traced"]


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes
    ----------
    name : str
    about : str
        What is expected, in one line.
    find : callable
        Case -> everything that is wrong, one sentence each.
    """

    name: str
    about: str
    find: Callable[[Any], Iterator[str]]


def table(*checks: Check | Callable[[Any], Iterator[str]]) -> dict[str, Check]:
    """Checks by name; a function is called by its own, and its docstring says what it is about."""
    made = [
        check if isinstance(check, Check) else Check(check.__name__, (check.__doc__ or "").partition("\n")[0], check)
        for check in checks
    ]
    return {check.name: check for check in made}


def on_each_library(find: Callable[[Library, Any], Iterator[str]], about: str) -> list[Check]:
    """One check for each array library."""
    libraries = [library for library in LIBRARIES.values() if library.name != "dask"]
    return [Check(f"on_{library.name}", f"{about} ({library})", partial(find, library)) for library in libraries]


def in_each_framework(find: Callable[[str, Any, Any], Iterator[str]]) -> list[Check]:
    """One check for each framework with gradients; `find` is given its name and how to take them."""
    return [
        Check("gradient_in_torch", "PyTorch's gradient is the slope", partial(find, "torch", gradient_in_torch)),
        Check("gradient_in_jax", "JAX's gradient is the slope", partial(find, "jax", gradient_in_jax)),
    ]


# --- trying a call --------------------------------------------------------------------------------------------------------


def told(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def refused(case: Case, what: str, call: Callable[[], Any]) -> Iterator[str]:
    """What is declared not to work does not; simkit refuses it for classes from outside, its own do so themselves."""
    try:
        call()
    except UnsupportedError:
        return
    except Exception as error:
        if not is_outside(type(case.thing)):
            yield f"{what} raised {told(error)}; expected UnsupportedError, as it is declared not to work"
    else:
        yield f"{what} works, although it is declared not to"


def traced(
    case: Case, what: str, function: Callable[..., Any], arrays: tuple[np.ndarray, ...], shape: tuple[int, ...]
) -> Iterator[str]:
    """JAX traces a function of arrays, to an array of float64 of that shape; or it is refused, as declared."""
    case.need("jax")
    with LIBRARIES["jax"].active() as jax:
        trace = partial(jax.eval_shape, function, *map(jax.numpy.asarray, arrays))
        if "jit" not in case.capabilities:
            yield from refused(case, "jax.jit", trace)
            return
        try:
            found = trace()
        except Exception as error:
            yield f"cannot be traced, {told(error)} (a rank or a threshold must be a 0/1 mask)"
            return
        made = tuple(found.shape)
        if made != shape or str(found.dtype) != "float64":
            yield f"traced by JAX, {what} has shape {made} and dtype {found.dtype}; expected {shape} and float64"


def changed(case: Case, call: Callable[..., Any], *arrays: np.ndarray) -> Iterator[tuple[str, str]]:
    """Which of its arguments X and Y a call writes to, and on which library, NumPy or PyTorch."""
    for name in ("numpy", "torch")[: 1 + ("torch" in case.capabilities)]:
        try:
            given = [LIBRARIES[name].asarray(x) for x in arrays]
        except Skipped:
            continue
        call(*given)
        for side, before, after in zip("XY", arrays, given, strict=True):
            if not np.array_equal(before, to_numpy(after)):
                yield side, name


def lazy(
    score: Callable[[Any, Any], Any], arrays: tuple[np.ndarray, np.ndarray], chunks: Any
) -> Generator[str, None, float | None]:
    """Whether a score of Dask arrays waits for ``.compute()``; returns the number that it is then."""
    import dask.array as da

    computed: list[int] = []

    def seen(block: np.ndarray) -> np.ndarray:
        computed.append(len(block))
        return block

    x, y = (da.from_array(z, chunks=chunks).map_blocks(seen, dtype=z.dtype, meta=np.empty((0, 0))) for z in arrays)
    found = score(x, y)
    if computed:
        yield f"{sum(computed)} rows were computed before .compute() was called"
    if not is_dask(found) or found.shape != () or found.dtype != np.float64:
        yield f"the score of Dask arrays is {found!r}; expected a lazy 0-d array of float64"
        return None
    return float(found.compute(scheduler="synchronous"))
