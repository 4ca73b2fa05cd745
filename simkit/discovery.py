"""What installed distributions offer as indexes and kernels, by their metadata: nothing of them is imported.

A plugin is code that runs with the user's rights, so what may load is what was installed: metadata that lies in the current
directory, which Python may have on its path, is listed and not loaded. The environment variable ``SIMKIT_PLUGINS`` limits it
further: ``off`` for simkit itself alone, or the names of distributions, separated by commas. It is read when names are first
looked up, and after `simkit.registry.refresh`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import site
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from simkit.spec import Kind

__all__ = ["GROUPS", "OWN", "SESSION", "Entry", "distribution_of", "installed", "normalised"]

OWN = "simkit-similarity"
SESSION = "this session"
ALLOWED = "SIMKIT_PLUGINS"
GROUPS: Mapping[Kind, str] = {"index": "simkit.indexes", "kernel": "simkit.kernels"}


@dataclass(frozen=True)
class Entry:
    """An index or a kernel that is offered under a name; it prints as that name.

    Attributes
    ----------
    kind : {"index", "kernel"}
    name : str
    source : EntryPoint or type
        Where the class is found; the class itself if it was registered for this session.
    distribution, version : str
        Who offers it.
    blocked : str
        Why it may not load; empty if it may.
    """

    kind: Kind
    name: str
    source: importlib.metadata.EntryPoint | type
    distribution: str
    version: str
    blocked: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def value(self) -> str:
        """``module:Class``."""
        source = self.source
        return f"{source.__module__}:{source.__qualname__}" if isinstance(source, type) else source.value

    @property
    def spec(self) -> str:
        """The spec that means this entry, whoever else offers the name."""
        return self.name if self.distribution == SESSION else f"{self.distribution}:{self.name}"


@functools.cache
def installed(kind: Kind) -> Mapping[str, tuple[Entry, ...]]:
    """All installed entries by name, simkit's own first, those that may not load last; several where names collide."""
    allowed = _allowed_distributions()
    found: dict[str, list[Entry]] = {}
    known: dict[int, tuple[str, str]] = {}  # a distribution reads its file each time that it is asked
    for point in importlib.metadata.entry_points(group=GROUPS[kind]):
        if id(point.dist) not in known:
            known[id(point.dist)] = (normalised(point.dist.name), point.dist.version) if point.dist else ("unknown", "")
        where, version = known[id(point.dist)]
        same = found.setdefault(point.name, [])
        if all((other.distribution, other.value) != (where, point.value) for other in same):  # seen twice on sys.path
            same.append(Entry(kind, point.name, point, where, version, _why_blocked(where, point.dist, allowed)))
    return {
        name: tuple(sorted(same, key=lambda entry: (bool(entry.blocked), entry.distribution != OWN, entry.distribution)))
        for name, same in found.items()
    }


def _allowed_distributions() -> set[str] | None:
    """The distributions that may load; None for all."""
    setting = os.environ.get(ALLOWED, "").strip()
    if not setting:
        return None
    named = [] if setting.lower() == "off" else setting.split(",")
    return {OWN, *(normalised(name.strip()) for name in named)}


def _why_blocked(distribution: str, dist: importlib.metadata.Distribution | None, allowed: set[str] | None) -> str:
    if allowed is not None and distribution not in allowed:
        return (
            f"{ALLOWED}={os.environ.get(ALLOWED, '')!r} does not name that distribution. Set it to a list with "
            f"{distribution} in it, separated by commas, or unset it."
        )
    if dist and distribution != OWN and _lies_here(dist):
        return f"it lies in the current directory, {Path.cwd()}, and is not installed: pip install it."
    return ""


def _lies_here(dist: importlib.metadata.Distribution) -> bool:
    """Whether a distribution was found only because the current directory is on Python's path."""
    folder = Path(str(dist.locate_file(""))).resolve()
    places = [*site.getsitepackages(), site.getusersitepackages()]
    return folder == Path.cwd().resolve() and folder not in [Path(place).resolve() for place in places]


def distribution_of(cls: type) -> tuple[str, str] | None:
    """Name and version of the third-party distribution that offers something of a class's package, or None."""
    package = cls.__module__.partition(".")[0]
    for entry in (entry for kind in GROUPS for same in installed(kind).values() for entry in same):
        if re.split("[.:]", entry.value)[0] == package and entry.distribution != OWN and not entry.blocked:
            return entry.distribution, entry.version
    return None


def normalised(distribution: str) -> str:
    """A distribution's name as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
