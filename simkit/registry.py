"""Names to indexes and kernels.

Built-ins are registered by entry points in ``pyproject.toml`` like those of any other distribution. Of two distributions
with one name, simkit's own wins; two plugins must be told apart as ``distribution:name``. What is installed, and what of it
may load, `simkit.discovery` finds out; `simkit.loading` imports it.
"""

from __future__ import annotations

import dataclasses
import importlib
import keyword
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar, cast

from simkit import discovery, loading
from simkit.arrays import is_compiling
from simkit.discovery import OWN, SESSION, Entry, distribution_of
from simkit.errors import PluginError, SpecError, UnknownNameError
from simkit.guard import check_declared
from simkit.spec import Kind, Spec, Specified, build, close_matches, parse
from simkit.text import shown

if TYPE_CHECKING:
    from simkit.index import Index
    from simkit.kernel import Kernel

__all__ = [
    "Entry",
    "Name",
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

T = TypeVar("T", bound=Specified)


class Name(str):
    """A registered name: a string that also knows what it stands for.

    Attributes
    ----------
    entry : Entry
    """

    __slots__ = ("entry",)

    entry: Entry

    def __new__(cls, entry: Entry) -> Name:
        """Make the string; it is immutable, so it is complete from the start."""
        made = super().__new__(cls, entry.name)
        made.entry = entry
        return made

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Another process gets the name alone; it may have other versions installed."""
        return str, (str(self),)

    @property
    def distribution(self) -> str:
        """The distribution that offers it."""
        return self.entry.distribution

    @property
    def version(self) -> str:
        """The version of that distribution."""
        return self.entry.version

    def load(self) -> type[Specified]:
        """Import the class; raise `PluginError` if it cannot be used."""
        return loading.load(self.entry)

    @property
    def error(self) -> str | None:
        """What is wrong with it, or None. Asking imports it."""
        return loading.error_of(self.entry)


class Registry(Generic[T]):
    """The names of all indexes, or of all kernels.

    Parameters
    ----------
    kind : {"index", "kernel"}
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._session: dict[str, Entry] = {}

    def entries(self) -> dict[str, tuple[Entry, ...]]:
        """All entries by name; of several, first the one that the name alone means, last those that may not load."""
        found = dict(discovery.installed(self.kind))
        return found | {name: (entry, *found.get(name, ())) for name, entry in self._session.items()}

    def names(self) -> list[Name]:
        """The names that can be used, sorted; nothing is imported."""
        return sorted(Name(same[0]) for same in self.entries().values() if not same[0].blocked)

    def register(self, cls: type[T], name: str | None = None) -> type[T]:
        """Add a class for this session; usable as a decorator."""
        problem = loading.problem_with(cls, self.kind)
        if problem:
            raise PluginError(f"Cannot register {cls!r} as {self.kind}: {problem}")
        name = name or cls.name
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise PluginError(f"Cannot register {cls.__name__}: its name {name!r} is not an identifier.")
        present = [entry for entry in self.entries().get(name, ()) if entry.distribution != SESSION and not entry.blocked]
        if present:
            raise PluginError(f"{self.kind} {name!r} is already offered by {present[0].distribution}; choose another name.")
        self._session[name] = Entry(self.kind, name, cls, SESSION, version="")
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
        same = entries.get(plain) or entries.get(ALIASES.get(plain, ""), ())
        if distribution:
            same = tuple(entry for entry in same if entry.distribution == discovery.normalised(distribution))
        if not same:
            raise self._unknown(name, plain, entries)
        rivals = [entry for entry in same if not entry.blocked]
        if len(rivals) > 1 and same[0].distribution not in (OWN, SESSION):
            offers = " and ".join(f"{entry.distribution}:{plain}" for entry in rivals)
            raise PluginError(f"{len(rivals)} distributions offer a {self.kind} called {plain!r}; say which: {offers}.")
        return same[0]

    def _unknown(self, name: str, plain: str, entries: dict[str, tuple[Entry, ...]]) -> UnknownNameError:
        hint = close_matches(plain, [*entries, *ALIASES])
        if plain in OFFERED_ELSEWHERE:
            hint = f" {OFFERED_ELSEWHERE[plain]} offers it: pip install {OFFERED_ELSEWHERE[plain]}"
        if OWN not in {entry.distribution for same in entries.values() for entry in same}:
            hint = f" simkit itself is not installed, only importable, so nothing is registered: pip install {OWN}"
        return UnknownNameError(f"No {self.kind} is called {shown(name)}.{hint} Available: {', '.join(self.names())}.")

    def get(self, what: str | Spec | T | type[T], **parameters: Any) -> T:
        """An instance from a spec string, a parsed spec, a class, or an instance, with `parameters` on top."""
        made = self._made(what, parameters)
        check_declared(made)
        return made

    def _made(self, what: str | Spec | T | type[T], parameters: dict[str, Any]) -> T:
        if self._is_instance(what):
            return self._changed(what, parameters) if parameters else what
        if self._is_class(what):
            return build(what, what.name or what.__name__, parameters)
        if isinstance(what, str):
            what = parse(what)
        if not isinstance(what, Spec) or not isinstance(what.name, str):
            article = "an" if self.kind == "index" else "a"
            got = f"{shown(what)} ({type(what).__name__})"
            raise SpecError(f"Expected the spec of {article} {self.kind}, a class or an instance, got {got}.")
        both = sorted(what.parameters.keys() & parameters.keys())
        if both:
            raise SpecError(f"{what.name}: {', '.join(both)} given both in the spec and as a parameter.")
        cls = cast("type[T]", loading.load(self.find(what.name)))
        return build(cls, what.name, {**what.parameters, **parameters})

    def _is_instance(self, what: object) -> TypeGuard[T]:
        return isinstance(what, Specified) and what.kind == self.kind

    def _is_class(self, what: object) -> TypeGuard[type[T]]:
        return isinstance(what, type) and issubclass(what, Specified) and what.kind == self.kind

    @staticmethod
    def _changed(thing: T, parameters: dict[str, Any]) -> T:
        """The instance with other parameters."""
        given = {item.name: getattr(thing, item.name) for item in dataclasses.fields(thing) if item.init}
        return build(type(thing), thing.name, given | parameters)


indexes: Registry[Index[Any]] = Registry("index")
kernels: Registry[Kernel] = Registry("kernel")


def list_indexes() -> list[Name]:
    """Names of all registered similarity indexes, sorted; they know their ``distribution``, ``version`` and ``error``."""
    return indexes.names()


def list_kernels() -> list[Name]:
    """Names of all registered kernels, sorted; they know their ``distribution``, ``version`` and ``error``."""
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
    name = f"made_{repr((spec, *parameters)).encode().hex()}"  # an identifier, since torch.compile writes code with it
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
    discovery.installed.cache_clear()
    loading.forget()
