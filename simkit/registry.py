"""Names to indexes and kernels, through entry points.

Built-ins are registered in ``pyproject.toml`` like those of any other distribution. Listing reads metadata and imports
nothing; a plugin is imported when its name is asked for, and one that is broken stays listed, with its error, and breaks
nothing else. Of two distributions with one name, simkit's own wins; two plugins must be told apart as
``distribution:name``.

A plugin is code that runs with the user's rights, so what may load is what was installed: metadata that lies in the current
directory, which Python may have on its path, is listed and not loaded. The environment variable ``SIMKIT_PLUGINS`` limits it
further: ``off`` for simkit itself alone, or the names of distributions, separated by commas. It is read when names are first
looked up, and by `refresh`.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import inspect
import keyword
import os
import re
import site
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from simkit import __version__
from simkit.arrays import is_compiling
from simkit.errors import PluginError, SpecError, UnknownNameError
from simkit.guard import check_declared
from simkit.index import Index
from simkit.kernel import Kernel
from simkit.spec import Spec, build, close_matches, parse
from simkit.text import shown

__all__ = [
    "Entry",
    "Registry",
    "distribution_of",
    "get_index",
    "get_kernel",
    "indexes",
    "kernels",
    "list_indexes",
    "list_kernels",
    "refresh",
    "register_index",
    "register_kernel",
]

OWN = "simkit-similarity"
SESSION = "this session"
ALLOWED = "SIMKIT_PLUGINS"

# Other names of the same thing in the literature.
ALIASES = {"rv": "cka", "tucker_congruence": "cka"}

# Names that a known distribution offers, so that asking for one says what to install.
OFFERED_ELSEWHERE = {
    "arccos": "simkit-nngp",
    "nngp": "simkit-nngp",
    "ntk": "simkit-nngp",
    "bures": "simkit-shape",
    "imd": "simkit-topology",
    "riemannian": "simkit-shape",
    "rtd": "simkit-topology",
    "rtd_lite": "simkit-topology",
    "shape_metric": "simkit-shape",
    "stochastic_shape": "simkit-shape",
}

Kind = TypeVar("Kind", bound=Index[Any] | Kernel)


class Entry(str):
    """One registered name; as a string, that name.

    Attributes
    ----------
    distribution, version : str
        Where it comes from.
    value : str
        ``module:Class``.
    blocked : bool
        It may not load; `error` says why.
    """

    __slots__ = ("_base", "_error", "_loaded", "_point", "blocked", "distribution", "value", "version")

    distribution: str
    version: str
    value: str
    blocked: bool
    _base: type
    _point: importlib.metadata.EntryPoint | None
    _loaded: type | None
    _error: str | None

    def __new__(
        cls,
        name: str,
        base: type,
        *,
        distribution: str,
        version: str,
        point: importlib.metadata.EntryPoint | None = None,
        loaded: type | None = None,
    ) -> Entry:
        """Make an entry from an entry point that is not loaded yet, or from a class."""
        entry = super().__new__(cls, name)
        entry._base, entry._point, entry._loaded, entry._error, entry.blocked = base, point, loaded, None, False
        entry.distribution, entry.version = distribution, version
        entry.value = point.value if point is not None else f"{loaded.__module__}:{loaded.__qualname__}" if loaded else ""
        return entry

    def load(self) -> type:
        """Import the class.

        Raises
        ------
        PluginError
            The entry point does not import, or is not what it should be.
        """
        if self._loaded is None:
            if self._error is None:
                self._error = self._try_to_load()
            if self._error is not None:
                raise PluginError(self._error)
        assert self._loaded is not None
        return self._loaded

    def block(self, why: str) -> None:
        """Never load it; asking for it is an error that says why."""
        self.blocked = True
        self._error = f"{str(self)!r} of {self.distribution} may not load: {why}"

    @property
    def point(self) -> importlib.metadata.EntryPoint | None:
        """The entry point, or None for a class that was registered for this session."""
        return self._point

    @property
    def error(self) -> str | None:
        """What is wrong with the entry, or None. Asking imports it."""
        try:
            self.load()
        except PluginError as error:
            return str(error)
        return None

    def _try_to_load(self) -> str | None:
        where = f"{self._base.__name__.lower()} {str(self)!r} of {self.distribution} {self.version} ({self.value})"
        if not self.isidentifier() or keyword.iskeyword(self):
            return f"The name of {where} is not an identifier, so no spec string can hold it."
        unmet = _unmet_requirement(self._point)
        if unmet:
            return (
                f"Cannot use {where}: it needs {unmet}, and this is {OWN} {__version__}. Install versions "
                f"that fit: pip install --upgrade {OWN} {self.distribution}"
            )
        try:
            loaded = self._point.load() if self._point is not None else None
        except BaseException as error:  # a plugin may fail in any way it likes, or be told to stop
            why = f"Cannot import {where}: {type(error).__name__}: {error}"
            if isinstance(error, KeyboardInterrupt):  # perhaps by the user, who may want it the next time
                raise PluginError(
                    f"{why} The import was interrupted; it is tried again when the name is used again."
                ) from error
            return why
        problem = problem_with(loaded, self._base)
        if problem:
            return f"Cannot use {where}: {problem}"
        self._loaded = loaded
        return None


def _unmet_requirement(point: importlib.metadata.EntryPoint | None) -> str | None:
    """The range of simkit's versions that the distribution declares, if this one is outside: pip does not look again."""
    requirements = [line for line in (point.dist.requires or [] if point and point.dist else []) if "simkit" in line.lower()]
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
        if applies and not fits and _normalised(requirement.name) == OWN:
            return f"{OWN}{requirement.specifier}"
    return None


def problem_with(cls: Any, base: type) -> str | None:
    """Why a class cannot serve as an index or kernel, or None."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        return f"it is not a subclass of simkit.{base.__name__}."
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return "it is not a frozen dataclass; decorate it with @dataclass(frozen=True)."
    if inspect.isabstract(cls):
        return f"it does not define {', '.join(sorted(cls.__abstractmethods__))}."
    if not isinstance(getattr(cls, "name", None), str):
        return "it has no name."
    return None


class Registry(Generic[Kind]):
    """The names of one entry-point group."""

    def __init__(self, group: str, base: type[Kind]) -> None:
        self.group, self.base, self.kind = group, base, base.__name__.lower()
        self._entries: dict[str, list[Entry]] | None = None
        self._session: dict[str, Entry] = {}

    def entries(self) -> dict[str, list[Entry]]:
        """All entries by name, simkit's own first, those that may not load last; several where distributions collide."""
        if self._entries is None:
            found: dict[str, list[Entry]] = {}
            allowed = _allowed_distributions()
            for point in importlib.metadata.entry_points(group=self.group):
                dist = point.dist
                where, version = (_normalised(dist.name), dist.version) if dist else ("unknown", "")
                entry = Entry(point.name, self.base, distribution=where, version=version, point=point)
                if allowed is not None and where not in allowed:
                    entry.block(
                        f"{ALLOWED}={os.environ.get(ALLOWED, '')!r} does not name that distribution. Set it to a list with "
                        f"{where} in it, separated by commas, or unset it."
                    )
                elif dist and where != OWN and _lies_here(dist):
                    entry.block(f"it lies in the current directory, {Path.cwd()}, and is not installed: pip install it.")
                same = found.setdefault(point.name, [])
                if all((other.distribution, other.value) != (entry.distribution, entry.value) for other in same):
                    same.append(entry)  # a distribution can be seen twice on sys.path
            for same in found.values():
                same.sort(key=lambda entry: (entry.blocked, entry.distribution != OWN, entry.distribution))
            self._entries = found
        return self._entries | {name: [entry, *self._entries.get(name, [])] for name, entry in self._session.items()}

    def refresh(self) -> None:
        """Forget what was discovered, so that newly installed distributions are seen."""
        self._entries = None

    def names(self) -> list[Entry]:
        """The usable entry of each name, sorted; nothing is imported."""
        return sorted(same[0] for same in self.entries().values() if not same[0].blocked)

    def register(self, cls: type[Kind], name: str | None = None) -> type[Kind]:
        """Add a class for this session; usable as a decorator."""
        problem = problem_with(cls, self.base)
        name = name or getattr(cls, "name", None)
        if problem:
            raise PluginError(f"Cannot register {cls!r} as {self.kind}: {problem}")
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise PluginError(f"Cannot register {cls.__name__}: its name {name!r} is not an identifier.")
        present = [entry for entry in self.entries().get(name, []) if entry.distribution != SESSION and not entry.blocked]
        if present:
            raise PluginError(f"{self.kind} {name!r} is already offered by {present[0].distribution}; choose another name.")
        self._session[name] = Entry(name, self.base, distribution=SESSION, version="", loaded=cls)
        return cls

    def unregister(self, name: str) -> None:
        """Remove a class that was registered for this session."""
        del self._session[name]

    def find(self, name: str) -> Entry:
        """The entry of a name or of ``distribution:name``.

        Raises
        ------
        UnknownNameError
            Nobody offers it; close matches are named, and the plugin that would offer it where it is known.
        PluginError
            Two plugins offer it.
        """
        distribution, _, plain = name.rpartition(":")
        entries = self.entries()
        same = entries.get(plain) or entries.get(ALIASES.get(plain, ""), [])
        if distribution:
            same = [entry for entry in same if entry.distribution == _normalised(distribution)]
        if not same:
            hint = close_matches(plain, [*entries, *ALIASES])
            if plain in OFFERED_ELSEWHERE:
                hint = f" {OFFERED_ELSEWHERE[plain]} offers it: pip install {OFFERED_ELSEWHERE[plain]}"
            if OWN not in {entry.distribution for same in entries.values() for entry in same}:
                hint = f" simkit itself is not installed, only importable, so nothing is registered: pip install {OWN}"
            available = ", ".join(self.names())
            raise UnknownNameError(f"No {self.kind} is called {shown(name)}.{hint} Available: {available}.")
        rivals = [entry for entry in same if not entry.blocked]
        if len(rivals) > 1 and same[0].distribution not in (OWN, SESSION):
            offers = " and ".join(f"{entry.distribution}:{plain}" for entry in rivals)
            raise PluginError(f"{len(rivals)} distributions offer a {self.kind} called {plain!r}; say which: {offers}.")
        return same[0]

    def get(self, what: str | Spec | Kind | type[Kind], **parameters: Any) -> Kind:
        """An instance from a spec string, a parsed spec, a class, or an instance, with `parameters` on top."""
        made = self._made(what, parameters)
        check_declared(made, self.kind)
        return made

    def _made(self, what: str | Spec | Kind | type[Kind], parameters: dict[str, Any]) -> Kind:
        if isinstance(what, self.base):
            return self._changed(what, parameters) if parameters else what
        if isinstance(what, type) and issubclass(what, self.base):
            return build(what, getattr(what, "name", what.__name__), parameters)
        if isinstance(what, str):
            what = parse(what)
        if not isinstance(what, Spec) or not isinstance(what.name, str):
            article = "an" if self.kind == "index" else "a"
            got = f"{shown(what)} ({type(what).__name__})"
            raise SpecError(f"Expected the spec of {article} {self.kind}, a class or an instance, got {got}.")
        both = sorted(what.parameters.keys() & parameters.keys())
        if both:
            raise SpecError(f"{what.name}: {', '.join(both)} given both in the spec and as a parameter.")
        return build(self.find(what.name).load(), what.name, {**what.parameters, **parameters})

    @staticmethod
    def _changed(thing: Kind, parameters: dict[str, Any]) -> Kind:
        """The instance with other parameters."""
        given = {item.name: getattr(thing, item.name) for item in dataclasses.fields(thing) if item.init}
        return build(type(thing), thing.name, given | parameters)


def _allowed_distributions() -> set[str] | None:
    """The distributions that may load; None for all."""
    setting = os.environ.get(ALLOWED, "").strip()
    if not setting:
        return None
    named = [] if setting.lower() == "off" else setting.split(",")
    return {OWN, *(_normalised(name.strip()) for name in named)}


def _lies_here(dist: importlib.metadata.Distribution) -> bool:
    """Whether a distribution was found only because the current directory is on Python's path."""
    folder = Path(str(dist.locate_file(""))).resolve()
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    return folder == Path.cwd().resolve() and folder not in [Path(place).resolve() for place in installed]


def distribution_of(cls: type) -> tuple[str, str] | None:
    """Name and version of the third-party distribution that registers something of a class's package, or None."""
    package = cls.__module__.partition(".")[0]
    for registry in (indexes, kernels):
        for entry in (entry for same in registry.entries().values() for entry in same):
            if (
                re.split("[.:]", entry.value)[0] == package
                and entry.distribution not in (OWN, SESSION)
                and not entry.blocked
            ):
                return entry.distribution, entry.version
    return None


def _normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


indexes: Registry[Index[Any]] = Registry("simkit.indexes", Index)  # type: ignore[type-abstract]
kernels: Registry[Kernel] = Registry("simkit.kernels", Kernel)  # type: ignore[type-abstract]


def list_indexes() -> list[Entry]:
    """Names of all registered similarity indexes, sorted; each item also knows its ``distribution`` and ``version``."""
    return indexes.names()


def list_kernels() -> list[Entry]:
    """Names of all registered kernels, sorted; each item also knows its ``distribution`` and ``version``."""
    return kernels.names()


def get_index(spec: str | Spec | Index[Any] | type[Index[Any]], **parameters: Any) -> Index[Any]:
    """The index of a spec string such as ``"cka(kernel=rbf(fraction=0.4))"``, or of a name with parameters.

    Raises
    ------
    UnknownNameError
        No such index; close matches are named.
    SpecError
        The spec cannot be read, or a parameter does not exist or is out of range.
    PluginError
        The plugin that offers it is broken, or two plugins offer it.

    Examples
    --------
    >>> from simkit import get_index
    >>> get_index("cka(kernel=rbf(fraction=0.4), estimator=unbiased)")
    CKA(kernel=RBF(fraction=0.4, sigma=None), estimator='unbiased')
    >>> str(get_index("svcca", threshold=0.95))
    'svcca(threshold=0.95)'
    """
    if isinstance(spec, str) and is_compiling():
        return getattr(_remembered, _remember(spec, *parameters.items()))
    return indexes.get(spec, **parameters)


_remembered = SimpleNamespace()


def _remember(spec: str, *parameters: tuple[str, Any]) -> str:
    """Make an index while torch.compile traces the caller; the name of the attribute of `_remembered` that holds it."""
    name = repr((spec, *parameters))
    setattr(_remembered, name, indexes.get(spec, **dict(parameters)))
    return name


# What torch.compiler.assume_constant_result sets, without importing torch. The function runs as it is, where tracing would
# follow it into the parser of specs. Its result must be a constant, so what it makes is found elsewhere, by its name.
_remember.__dict__["_dynamo_marked_constant"] = True


def get_kernel(spec: str | Spec | Kernel | type[Kernel], **parameters: Any) -> Kernel:
    """The kernel of a spec string such as ``"rbf(fraction=0.4)"``, or of a name with parameters; errors as `get_index`.

    Examples
    --------
    >>> from simkit import get_kernel
    >>> get_kernel("rbf", fraction=0.4)
    RBF(fraction=0.4, sigma=None)
    """
    return kernels.get(spec, **parameters)


def register_index(cls: type[Index[Any]], name: str | None = None) -> type[Index[Any]]:
    """Register an `Index` class for this session, in a notebook say; usable as a decorator.

    Workers of a cluster do not see it: for those, make a distribution (``simkit new-plugin``).

    Raises
    ------
    PluginError
        The class is not a usable index, or the name is taken.
    """
    return indexes.register(cls, name)


def register_kernel(cls: type[Kernel], name: str | None = None) -> type[Kernel]:
    """Register a `Kernel` class for this session; see `register_index`."""
    return kernels.register(cls, name)


def refresh() -> None:
    """Look again at what is installed, after a ``pip install`` in a running notebook."""
    importlib.invalidate_caches()
    indexes.refresh()
    kernels.refresh()
