"""Importing the class of an index or a kernel, and what is wrong with one that cannot be used.

A class is imported when its name is asked for. What fails stays listed, fails again with the same error, and breaks nothing
else.
"""

from __future__ import annotations

import functools
import importlib.metadata
import inspect
import keyword
from typing import Any

from simkit import __version__
from simkit.discovery import OWN, Entry, normalised
from simkit.errors import PluginError
from simkit.spec import Kind, Specified

__all__ = ["error_of", "forget", "load", "problem_with"]


def load(entry: Entry) -> type[Specified]:
    """Import the class of an entry.

    Raises
    ------
    PluginError
        It may not load, does not import, or is not what it should be.
    """
    if entry.blocked:
        raise PluginError(f"{entry.name!r} of {entry.distribution} may not load: {entry.blocked}")
    found = _loaded(entry)
    if isinstance(found, str):
        raise PluginError(found)
    return found


def error_of(entry: Entry) -> str | None:
    """What is wrong with an entry, or None. Asking imports it."""
    try:
        load(entry)
    except PluginError as error:
        return str(error)
    return None


@functools.cache  # but for what the user interrupted, which is raised
def _loaded(entry: Entry) -> type[Specified] | str:
    """The class, or why it cannot be used."""
    if isinstance(entry.source, type):
        return entry.source
    where = f"{entry.kind} {entry.name!r} of {entry.distribution} {entry.version} ({entry.value})"
    if not entry.name.isidentifier() or keyword.iskeyword(entry.name):
        return f"The name of {where} is not an identifier, so no spec string can hold it."
    unmet = _unmet_requirement(entry.source.dist)
    if unmet:
        return (
            f"Cannot use {where}: it needs {unmet}, and this is {OWN} {__version__}. Install versions "
            f"that fit: pip install --upgrade {OWN} {entry.distribution}"
        )
    try:
        found = entry.source.load()
    except BaseException as error:  # a plugin may fail in any way it likes, or be told to stop
        why = f"Cannot import {where}: {type(error).__name__}: {error}"
        if isinstance(error, KeyboardInterrupt):  # perhaps by the user, who may want it the next time
            raise PluginError(f"{why} The import was interrupted; it is tried again when the name is used again.") from error
        return why
    problem = problem_with(found, entry.kind)
    return f"Cannot use {where}: {problem}" if problem else found


forget = _loaded.cache_clear


def _unmet_requirement(dist: importlib.metadata.Distribution | None) -> str | None:
    """The range of simkit's versions that the distribution declares, if this one is outside: pip does not look again."""
    requirements = [line for line in (dist.requires or [] if dist else []) if "simkit" in line.lower()]
    if not requirements:
        return None
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # then pip's own check at installation must do
        return None
    for line in requirements:
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            return f"{line!r}, which cannot be read ({error})"
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        fits = requirement.specifier.contains(__version__, prereleases=True)
        if applies and not fits and normalised(requirement.name) == OWN:
            return f"{OWN}{requirement.specifier}"
    return None


def problem_with(cls: Any, kind: Kind) -> str | None:
    """Why a class cannot serve as an index or as a kernel, or None."""
    fits = isinstance(cls, type) and issubclass(cls, Specified) and cls.kind == kind
    if not fits:
        return f"it is not a subclass of simkit.{kind.capitalize()}."
    # A dataclass with such a base is frozen, or Python refuses it.
    declared = {} if "__dataclass_fields__" in vars(cls) else inspect.get_annotations(cls)
    lost = [name for name, annotation in declared.items() if "ClassVar" not in str(annotation)]
    if lost:
        return f"it is not a frozen dataclass, so {', '.join(lost)} cannot be set; decorate it with @dataclass(frozen=True)."
    if inspect.isabstract(cls):
        return f"it does not define {', '.join(sorted(cls.__abstractmethods__))}."
    if not isinstance(cls.name, str) or not cls.name:
        return "it has no name."
    return None
