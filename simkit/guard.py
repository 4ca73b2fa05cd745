"""Methods of indexes and kernels from outside simkit, as simkit calls them.

A class of a plugin or a notebook may write into arrays that are not its own, return anything and raise anything. So its
methods are handed arrays that cannot be written into (NumPy) or copies, what they return is checked, and what they raise is
reported with the plugin's name, version and distribution. That holds for each way to a method (one comparison, all pairs,
tiles, streams, tasks of Dask, inference), because the base classes wrap the methods when a class is made. simkit's own
classes stay as they are, and what torch.compile traces is called without a check.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

from simkit.arrays import Array, is_compiling, is_traced, namespace_of, unwritable
from simkit.discovery import distribution_of
from simkit.errors import PluginError, SimkitError, UnsupportedError
from simkit.properties import CAPABILITIES, problems_of
from simkit.representation import Representation
from simkit.spec import Specified
from simkit.text import shortened, shown

__all__ = ["bare", "check_declared", "guard", "in_library", "is_outside"]

_BARE: ContextVar[bool] = ContextVar("simkit_bare", default=False)


@contextmanager
def bare() -> Iterator[None]:
    """Call methods as they are, without copies and checks: the conformance kit finds out for itself what they do."""
    token = _BARE.set(True)
    try:
        yield
    finally:
        _BARE.reset(token)


def _is_bare() -> bool:
    return is_compiling() or _BARE.get()


def is_outside(cls: type) -> bool:
    """Whether a class is not simkit's own."""
    return cls.__module__.partition(".")[0] != "simkit"


# --- what is expected of a method -----------------------------------------------------------------------------------------


def _unlike(found: Any, shape: tuple[int, ...], kinds: tuple[str, ...], like: Array | None = None) -> str | None:
    """What is wrong with an array, or None."""
    wanted = f"an array of shape {shape}"
    if not array_api_compat.is_array_api_obj(found):
        return f"returned {shown(found)}, a {type(found).__name__}; expected {wanted}"
    xp = namespace_of(found)
    if tuple(found.shape) != shape:
        return f"returned an array of shape {tuple(found.shape)}; expected {wanted}"
    if not xp.isdtype(found.dtype, kinds):
        return f"returned an array of dtype {found.dtype}; expected real numbers"
    if like is not None and xp is not namespace_of(like):
        return f"returned a {type(found).__module__}.{type(found).__name__}; expected an array of the library of X"
    return None


def _no_state(given: tuple[Any, ...], found: Any) -> str | None:
    return "returned None; expected what score takes" if found is None else None


def _no_score(given: tuple[Any, ...], found: Any) -> str | None:
    return _unlike(found, (), ("real floating", "integral"))


def _no_scores(given: tuple[Any, ...], found: Any) -> str | None:
    return _unlike(found, (len(given[0]), len(given[1])), ("real floating", "integral")) if len(given) > 1 else None


def _no_scores_of_each(given: tuple[Any, ...], found: Any) -> str | None:
    if found is None or len(given) < 2:
        return None
    many = int(given[2].shape[0]) if len(given) > 2 else (np.shape(found) or (0,))[0]
    return _unlike(found, (many, len(given[0]), len(given[1])), ("real floating",))


def _no_sums(given: tuple[Any, ...], found: Any) -> str | None:
    if found is None or (isinstance(found, tuple) and len(found) == 2 and _no_kernel((), found[0]) is None):
        return None
    return f"is {shown(found)}; expected None or simkit.statistics.hsic_sums.KernelEstimator(kernel, estimator)"


def _no_facts(given: tuple[Any, ...], found: Any) -> str | None:
    problems = shortened("; ".join(problems_of(found)), 500)
    return f"cannot be used: {problems}" if problems else None


def _no_values(given: tuple[Any, ...], found: Any) -> str | None:
    if len(given) < 2:
        return None
    x, y = given[:2]
    return _unlike(found, (x.shape[0], y.shape[0]), ("real floating",), x)


def _no_kernel(given: tuple[Any, ...], found: Any) -> str | None:
    fits = isinstance(found, Specified) and callable(found)
    return None if fits else f"returned {shown(found)}, a {type(found).__name__}; expected a kernel"


def _no_invariances(given: tuple[Any, ...], found: Any) -> str | None:
    fits = isinstance(found, set | frozenset | list | tuple)
    return None if fits else f"is {shown(found)}; expected a frozenset, such as simkit.properties.implied('orthogonal')"


class _Rule(NamedTuple):
    """`problem` says what is wrong with what a method returned for some arguments; `protects`: those are the caller's."""

    problem: Callable[[tuple[Any, ...], Any], str | None] = lambda given, found: None
    protects: bool = False


_RULES: dict[str, dict[str, _Rule]] = {
    "index": {
        "facts": _Rule(_no_facts),
        "prepare": _Rule(_no_state, protects=True),
        "score": _Rule(_no_score),
        **dict.fromkeys(("scores", "chance"), _Rule(_no_scores)),
        "kernel_estimator": _Rule(_no_sums),
        **dict.fromkeys(("leave_one_out", "resampled"), _Rule(_no_scores_of_each)),
        **dict.fromkeys(
            ("from_sums", "is_unbiased", "knows_chance", "permuted", "bytes_resampled", "pool", "rescaled"), _Rule()
        ),
    },
    "kernel": {
        "invariances": _Rule(_no_invariances),
        "fit_needs": _Rule(),
        "fit": _Rule(_no_kernel, protects=True),
        "with_median": _Rule(_no_kernel),
        "__call__": _Rule(_no_values, protects=True),
    },
}


# --- calling it -----------------------------------------------------------------------------------------------------------


def guard(cls: type[Specified]) -> None:
    """Wrap the methods of an index or a kernel that are not simkit's own; for a class that is being made."""
    for name in _RULES[cls.kind] if is_outside(cls) else ():
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None or not is_outside(owner):
            continue
        if owner is not cls and issubclass(owner, Specified):  # wrapped when that class was made
            continue
        found = vars(owner)[name]
        function = found.fget if isinstance(found, property) else found
        if not inspect.isfunction(function):
            continue
        guarded = _guarded(function, name)
        setattr(cls, name, found.getter(guarded) if isinstance(found, property) else guarded)


def _guarded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(self: Any, *given: Any, **options: Any) -> Any:
        # Nothing else here: with a class of a notebook, these lines travel to the workers of a cluster as their code.
        return _called_with(function, name, self, given, options)

    return call


def _called_with(
    function: Callable[..., Any], name: str, thing: Specified, given: tuple[Any, ...], options: dict[str, Any]
) -> Any:
    if _is_bare():
        return function(thing, *given, **options)
    rule = _RULES[thing.kind][name]
    if rule.protects and given:
        x = given[0]
        _check_supported(thing, x.features if isinstance(x, Representation) else x)
    try:
        handed, options = _protected(given, options) if rule.protects else (given, options)
        found = function(thing, *handed, **options)
        problem = rule.problem(given, found)
    except (SimkitError, Warning, MemoryError):  # a warning that somebody has made an error
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(_told(thing, name, error)) from error
    if problem:
        raise PluginError(f"The {_called(thing)} is at fault: {name} {problem}.")
    return found


def _protected(given: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments that may be written into without harm to the caller; what was one object still is."""
    kept: dict[int, Any] = {}

    def of(value: Any) -> Any:
        if id(value) not in kept:
            kept[id(value)] = _unwritable(value)
        return kept[id(value)]

    return tuple(map(of, given)), {name: of(value) for name, value in options.items()}


def _unwritable(value: Any) -> Any:
    if isinstance(value, Representation):
        mean = None if value.mean is None else unwritable(value.mean)
        return dataclasses.replace(value, features=unwritable(value.features), mean=mean)
    return unwritable(value) if array_api_compat.is_array_api_obj(value) else value


def _check_supported(thing: Any, x: Array) -> None:
    """Raise `UnsupportedError` if an index or kernel from outside declares that it does not run on arrays such as `x`."""
    supported = thing.facts.capabilities if thing.kind == "index" else thing.capabilities
    library = namespace_of(x).__name__.removeprefix("array_api_compat.").partition(".")[0]
    if library not in ("numpy", "dask") and (library if library in CAPABILITIES else "array_api_strict") not in supported:
        raise UnsupportedError(
            f"The {_called(thing)} does not run on arrays of {library}, as it declares. Convert them to NumPy arrays."
        )
    if is_traced(x) and not supported & {"jit", "vmap"}:
        raise UnsupportedError(
            f"The {_called(thing)} does not run inside of jax.jit, jax.vmap, jax.grad and torch.func.vmap, as it "
            "declares. Call it outside of them, on one pair of arrays at a time."
        )


# --- who it was -----------------------------------------------------------------------------------------------------------


def check_declared(thing: Specified) -> None:
    """Raise `PluginError` if what an index or kernel from outside declares of itself cannot be read or cannot be used."""
    if is_outside(type(thing)) and not _is_bare():
        name = "facts" if thing.kind == "index" else "invariances"
        _called_with(operator.attrgetter(name), name, thing, (), {})


def in_library(index: Specified, scores: Array, like: Array) -> Array:
    """The scores; `PluginError` if an index from outside returned them in another array library than that of the layers."""
    if is_outside(type(index)) and not _is_bare() and namespace_of(scores) is not namespace_of(like):
        found, wanted = (f"{type(x).__module__}.{type(x).__name__}" for x in (scores, like))
        raise PluginError(f"The {_called(index)} is at fault: score returned a {found}; the layers are {wanted}.")
    return scores


def _called(thing: Specified) -> str:
    """An index or kernel with the place that it comes from."""
    cls = type(thing)
    place = f"{cls.__module__}:{cls.__qualname__}"
    origin = distribution_of(cls)
    what = f"{cls.kind} {shown(cls.name or cls.__name__)}"
    return f"{what} of {' '.join(origin)} ({place})" if origin else f"{what} ({place})"


def _told(thing: Specified, name: str, error: BaseException) -> str:
    hint = ""
    if isinstance(error, ValueError) and "read-only" in str(error):
        hint = " It wrote into an array that it was given, which is the caller's: let it take a copy first."
    return f"The {_called(thing)} failed in {name}: {type(error).__name__}: {shortened(str(error), 300)}{hint}"
