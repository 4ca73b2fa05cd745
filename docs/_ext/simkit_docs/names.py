"""What is public, under which name it is documented, and on which page."""

from __future__ import annotations

import importlib
import inspect
import runpy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Public", "documented", "members_of", "of_object", "page_of", "public"]

# The snapshot of public signatures is made of the same list, that of the page on compatibility.
_LIST = Path(__file__).parents[3] / "tests" / "public_api.py"


@dataclass(frozen=True)
class Public:
    """A public name.

    Attributes
    ----------
    module, name : str
        Where users import it from.
    thing : object
    """

    module: str
    name: str
    thing: Any

    @property
    def full(self) -> str:
        """The qualified name."""
        return f"{self.module}.{self.name}"

    @property
    def is_class(self) -> bool:
        """Whether it is a class of simkit, and no alias of one."""
        return inspect.isclass(self.thing) and self.thing.__module__.startswith("simkit")

    @property
    def is_function(self) -> bool:
        """Whether it is a function."""
        return inspect.isroutine(self.thing)

    @property
    def is_data(self) -> bool:
        """A constant, an object, or another name of a type."""
        return not (self.is_class or self.is_function)

    @property
    def home(self) -> str:
        """The qualified name in the module that defines it."""
        return f"{self.thing.__module__}.{self.thing.__qualname__}" if not self.is_data else self.full

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.thing) or "").partition("\n")[0] if not self.is_data else ""


@cache
def _api() -> dict[str, Any]:
    return runpy.run_path(str(_LIST))


@cache
def public() -> tuple[Public, ...]:
    """Every public name of every public module, also where one thing has several."""
    found = []
    for module, names in _api()["modules"]().items():
        space = importlib.import_module(module)
        found += [Public(module, name, getattr(space, name)) for name in names]
    return tuple(item for item in found if not isinstance(item.thing, ModuleType))


@cache
def documented() -> tuple[Public, ...]:
    """Of several names of one thing the shortest, which is the one to import."""
    best: dict[Any, Public] = {}
    for item in public():
        key = item.full if item.is_data else item.home
        if key not in best or len(item.module) < len(best[key].module):
            best[key] = item
    return tuple(best.values())


@cache
def of_object() -> dict[str, Public]:
    """From each public name, and from the name at home, to what is documented."""
    chosen = {item.home: item for item in documented()}
    found = {item.full: chosen[item.home] for item in public()}
    return chosen | found


@cache
def _pages() -> dict[str, str]:
    taken: set[str] = set()
    pages = {}
    for item in documented():
        page = item.full
        if page.lower() in taken:  # files of one folder must differ by more than capitals on some systems
            page += "-class" if item.is_class else "-function"
        taken.add(page.lower())
        pages[item.full] = page
    return pages


def page_of(item: Public) -> str:
    """The name of its page, without the folder and the suffix."""
    return _pages()[item.full]


def members_of(cls: type) -> list[str]:
    """Public methods and properties that simkit itself defines and that have something to say."""
    order = [name for owner in cls.__mro__ for name in vars(owner)]
    names = [name for name in _api()["_members"](cls) if inspect.getdoc(getattr(cls, name, None))]
    return sorted(names, key=order.index)
