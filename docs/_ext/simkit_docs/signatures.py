"""Signatures in words that a reader knows: choices instead of the names of private aliases, public base classes only."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from typing import Any, Literal, get_args, get_origin

from simkit.spec import Specified
from simkit_docs.names import of_object

__all__ = ["public_bases", "spelled_out"]


def spelled_out(  # noqa: PLR0917  # as autodoc calls it
    app: Any, what: str, name: str, thing: Any, options: Any, arguments: str | None, returned: str | None
) -> tuple[str, str | None] | None:
    """Put the choices of an alias in its place, and the default of a kernel in that of its factory."""
    if arguments is None:
        return None
    choices = _choices(thing)
    if choices:
        words = re.compile(rf"(?<![\w.'\"=])({'|'.join(map(re.escape, choices))})(?=[\s\],|)]|$)(?!=)")
        arguments = words.sub(lambda found: choices[found[1]], arguments)
        returned = returned and words.sub(lambda found: choices[found[1]], returned)
    if dataclasses.is_dataclass(thing):
        made = [field.default_factory() for field in dataclasses.fields(thing) if callable(field.default_factory)]
        for value in made:
            shown = repr(str(value) if isinstance(value, Specified) else value)
            arguments = arguments.replace("<factory>", shown, 1)
    return arguments, returned


def public_bases(app: Any, name: str, thing: Any, options: Any, bases: list[type]) -> None:
    """Instead of a private base class that which it comes from."""
    found = []
    for base in bases:
        plain = get_origin(base) or base  # Index, not Index[_State]
        owners = inspect.getmro(plain) if inspect.isclass(plain) else (plain,)
        known = [owner for owner in owners if _is_known(owner)]
        found += [owner for owner in known[:1] if owner not in found]
    bases[:] = found or [object]


def _is_known(owner: Any) -> bool:
    module = getattr(owner, "__module__", "")
    return not module.startswith("simkit") or f"{module}.{owner.__qualname__}" in of_object()


def _choices(thing: Any) -> dict[str, str]:
    """Private aliases of literals in the modules of a function, or of a class and its bases."""
    owners = inspect.getmro(thing) if inspect.isclass(thing) else (inspect.unwrap(thing),)
    found: dict[str, str] = {}
    for owner in reversed(owners):
        module = sys.modules.get(getattr(owner, "__module__", None) or "")
        if module is None or not module.__name__.startswith("simkit"):
            continue
        for name, value in {**_for_annotations(), **vars(module)}.items():
            if get_origin(value) is Literal and f"{module.__name__}.{name}" not in of_object():
                found[name] = f"Literal[{', '.join(map(repr, get_args(value)))}]"
    return found


def _for_annotations() -> dict[str, Any]:
    """Aliases that stand in one module only, and are imported elsewhere where types are checked."""
    homes: dict[str, set[Any]] = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("simkit."):
            for alias, value in vars(module).items():
                if get_origin(value) is Literal:
                    homes.setdefault(alias, set()).add(value)
    return {alias: next(iter(values)) for alias, values in homes.items() if len(values) == 1}
