"""The checks of what indexes and kernels have in common: they are values, written as specs, that travel."""

from __future__ import annotations

import copy
import dataclasses
import functools
import keyword
import pickle
from collections.abc import Callable, Iterator
from typing import Any, get_args

from simkit.errors import SimkitError
from simkit.loading import load, problem_with
from simkit.properties import Invariance, implied
from simkit.registry import ALIASES, Registry, indexes, kernels
from simkit.scale.cluster import Recipe
from simkit.spec import Specified, build, parse
from simkit.testing.case import Case

__all__ = ["definition", "problems_of_invariances", "values"]

_MISSING = type(dataclasses.MISSING)  # a class that came back from cloudpickle has one of its own
_KNOWN: tuple[str, ...] = get_args(Invariance)


def definition(case: Case) -> Iterator[str]:
    """A frozen dataclass with a name, a reference, a docstring and defaults."""
    thing, cls, asked = case.thing, type(case.thing), case.asked
    problem = problem_with(cls, case.kind)
    if problem:
        yield f"{cls.__name__}: {problem}"
        return
    name = cls.name
    if not name.isidentifier() or keyword.iskeyword(name):
        yield f"name is {name!r}, which no spec string can hold; expected an identifier"
    if asked and asked != name and asked not in ALIASES:
        yield f"registered as {asked!r}, but name is {name!r}, so its spec string leads somewhere else"
    reference = getattr(cls, "reference", "")
    if not isinstance(reference, str) or not reference.strip():
        yield f"reference is {reference!r}; expected where the {case.kind} was defined"
    docstring = cls.__doc__ or ""
    if not docstring.strip() or docstring.startswith(f"{cls.__name__}("):
        yield "the class has no docstring; its first line is what `simkit kernels` shows"
    required = [
        item.name
        for item in dataclasses.fields(thing)
        if item.init and isinstance(item.default, _MISSING) and isinstance(item.default_factory, _MISSING)
    ]
    if required:
        yield f"the parameters {', '.join(required)} have no default, so {name!r} alone is not a spec"


def problems_of_invariances(facts: Any, where: str) -> Iterator[str]:
    """A set of known invariances, with what follows from them."""
    if not isinstance(facts, frozenset):
        yield f"{where} is {facts!r}; expected a frozenset, such as simkit.properties.implied('orthogonal')"
        return
    unknown = facts - set(_KNOWN)
    if unknown:
        yield f"{where} names {', '.join(sorted(map(repr, unknown)))}; known are {', '.join(_KNOWN)}"
    lacking = implied(*(facts & set(_KNOWN))) - facts
    if lacking:
        yield f"{where} lacks {', '.join(sorted(lacking))}, which follow from the others; use simkit.properties.implied"


def values(case: Case) -> Iterator[str]:
    """Hashable, immutable, and the same after pickle, deepcopy, its spec string and the journey to a cluster."""
    thing: Specified = case.thing
    try:
        own_hash = hash(thing)
    except TypeError as error:
        yield f"it cannot be hashed ({error}); parameters must be hashable: tuples, not lists"
        own_hash = None
    journeys: dict[str, Callable[[], Any]] = {
        "pickle": lambda: pickle.loads(pickle.dumps(thing)),
        "copy.deepcopy": lambda: copy.deepcopy(thing),
        "dataclasses.replace": lambda: dataclasses.replace(thing),
        "its spec string": functools.partial(_read_back, thing),
        "the recipe that a cluster is sent": lambda: pickle.loads(pickle.dumps(Recipe.of(thing))).make(),
    }
    for how, journey in journeys.items():
        try:
            back = journey()
        except ImportError:  # cloudpickle, for a class that no module offers
            continue
        except Exception as error:
            yield f"{how} fails: {type(error).__name__}: {' '.join(str(error).split())}"
            continue
        if back != thing:
            yield f"{how} gives {back!r}, which is not equal to {thing!r}"
        elif own_hash is not None and hash(back) != own_hash:
            yield f"{how} gives an equal object with another hash"
        elif str(back) != str(thing):
            yield f"{how} turns {thing} into {back}"


def _read_back(thing: Specified) -> Any:
    """The thing that its spec string stands for; by its own class if the name is not registered, or not for it."""
    spec = parse(str(thing))
    registry: Registry[Any] = indexes if thing.kind == "index" else kernels
    try:
        if load(registry.find(spec.name)) is type(thing):
            return registry.get(spec)
    except SimkitError:
        pass
    return build(type(thing), spec.name, spec.parameters)
