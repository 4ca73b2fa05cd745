"""References of docstrings, resolved as Python would: in the module where the docstring stands.

A docstring says `compare`, `Facts` or `SimilarityMatrix.chance` in single backticks, as its own module knows the name, while
the page is called by the public name. What is public becomes a link. A parameter of the function at hand, and what exists
but is not public, is set as code. Anything else is a reference to nothing, of which Sphinx complains.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from functools import cache
from typing import Any

from sphinx.util.nodes import make_refnode

from simkit_docs.names import Public, documented, of_object, page_of

__all__ = ["setup"]


def setup(app: Any) -> None:
    """Answer where the Python domain finds nothing."""
    app.connect("missing-reference", _resolve)


def _resolve(app: Any, env: Any, node: Any, shown: Any) -> Any:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].rstrip("()")
    here = _pages().get(node["refdoc"].rpartition("/")[2])
    objects = env.domains.python_domain.objects
    for full in _candidates(target, here):
        if full in objects:
            found = objects[full]
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, shown, full)
        if _modules().get(full) in env.found_docs:
            return make_refnode(app.builder, node["refdoc"], _modules()[full], "", shown, full)
    owner, _, attribute = target.rpartition(".")
    for full in _candidates(owner, here) if owner else []:  # an attribute that the docstring of a class tells of
        item = of_object().get(full)
        if (
            item is not None
            and full in objects
            and re.search(rf"^ *[\w, ]*\b{attribute}\b", inspect.getdoc(item.thing) or "", re.M)
        ):
            found = objects[full]
            return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, shown, target)
    return shown.deepcopy() if _exists(target, here) else None


@cache
def _pages() -> dict[str, Public]:
    return {page_of(item): item for item in documented()}


@cache
def _modules() -> dict[str, str]:
    """The page of the group that has most of a module."""
    from simkit_docs.api import GROUPS

    return {name: f"reference/api/{group.page}" for group in GROUPS for name in group.names if name[-1:].islower()} | {
        "simkit": "reference/api/index"
    }


def _candidates(target: str, here: Public | None) -> list[str]:
    """Qualified names that may be meant, the nearest first."""
    found = [target]
    first, *rest = target.split(".")
    if here is not None and here.is_class:
        found.append(f"{here.full}.{target}")
    if here is not None and not here.is_data:
        thing = _global(here, first)
        home = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
        for owner in (home, f"{here.thing.__module__}.{first}"):
            if owner in of_object():
                found.append(".".join((of_object()[owner].full, *rest)))
    for known in of_object():  # other names of it, its home, or the last part alone
        if target == known or target.startswith(f"{known}."):
            found.append(of_object()[known].full + target[len(known) :])
    found += sorted({item.full + target[len(first) :] for item in documented() if item.name == first})
    found += [item.full for item in documented() if item.is_class and item.module in _NAMED and item.thing.name == target]
    return found


_NAMED = ("simkit.indexes", "simkit.kernels")  # `cka` means the class that is registered under that name


def _global(here: Public, name: str) -> Any:
    module = sys.modules[here.thing.__module__]
    try:
        return getattr(module, name)
    except AttributeError:
        return None


def _exists(target: str, here: Public | None) -> bool:
    """Whether a name stands for something that has no page."""
    if here is not None and not here.is_data:
        if not target.isidentifier() and "." not in target:
            return False
        first = target.partition(".")[0]
        if first in _parameters(here.thing) or _global(here, first) is not None or hasattr(here.thing, first):
            return True
        if re.search(rf"\b{re.escape(first)}\b", _type_checking(here)):
            return True
    if target.isidentifier() and target[0].isupper():  # an annotation of a base class, in the words of another module
        return any(hasattr(module, target) for name, module in list(sys.modules.items()) if name.startswith("simkit"))
    return target.startswith("simkit") and _import(target) is not None


def _parameters(thing: Any) -> set[str]:
    """Names of parameters of a function, or of all methods of a class, and of its attributes."""
    names: set[str] = set()
    members = [thing, *(member for _, member in inspect.getmembers(thing))] if inspect.isclass(thing) else [thing]
    for member in members:
        try:
            names |= set(inspect.signature(member).parameters)
        except (TypeError, ValueError):
            continue
    if inspect.isclass(thing):
        names |= {name for owner in thing.__mro__ for name in getattr(owner, "__annotations__", {})}
    return names


def _type_checking(here: Public) -> str:
    """What the module imports for annotations only."""
    source = inspect.getsource(sys.modules[here.thing.__module__])
    return "\n".join(re.findall(r"^if TYPE_CHECKING:\n((?:(?:    .*)?\n)+)", source, flags=re.MULTILINE))


def _import(target: str) -> Any:
    parts = target.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for name in parts[length:]:
            thing = getattr(thing, name, None)
        return thing
    return None
