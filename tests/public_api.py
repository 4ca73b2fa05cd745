"""The public signatures of simkit, one line each; ``python tests/public_api.py`` writes the snapshot of a release.

What is public is listed in docs/reference/compatibility.md, by module.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path

SNAPSHOT = Path(__file__).with_name("public_api.txt")
COMPATIBILITY = Path(__file__).parents[1] / "docs" / "reference" / "compatibility.md"


def modules() -> dict[str, list[str]]:
    """The public names of the public modules, as docs/reference/compatibility.md lists them: all, or those in brackets."""
    table = COMPATIBILITY.read_text(encoding="utf-8").split("## What is public")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(simkit[\w.]*)`(?: \(([^)]*)\))? \|", table, flags=re.MULTILINE)
    return {name: re.findall(r"\w+", some) if some else sorted(importlib.import_module(name).__all__) for name, some in rows}


def signatures() -> dict[str, str]:
    """Qualified name to signature of every public function, class, method and property."""
    found: dict[str, str] = {}
    for name, items in modules().items():
        module = importlib.import_module(name)
        for item in items:
            thing = getattr(module, item)
            where = f"{name}.{item}"
            if inspect.isclass(thing):
                found[where] = _signature(thing)
                found |= {f"{where}.{member}": text for member, text in _members(thing).items()}
            elif callable(thing):
                found[where] = _signature(thing)
            elif inspect.ismodule(thing):
                found[where] = "module"
            else:
                found[where] = type(thing).__name__
    return found


def _members(cls: type) -> dict[str, str]:
    """Public methods and properties that simkit itself defines, inherited ones included."""
    members = {}
    for owner in reversed(cls.__mro__):
        if owner.__module__.startswith("simkit"):
            for name, member in vars(owner).items():
                if name.startswith("_") and name != "__call__":
                    continue
                if isinstance(member, property) or type(member).__name__ == "cached_property":
                    members[name] = "property"
                elif isinstance(member, classmethod | staticmethod):
                    members[name] = _signature(member.__func__)
                elif inspect.isfunction(member):
                    members[name] = _signature(member)
    return dict(sorted(members.items()))


def _signature(thing: object) -> str:
    try:
        signature = inspect.signature(thing)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "class"
    # Annotations may be refined; names, order, kinds and defaults of parameters are the promise.
    parameters = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return re.sub(r" at 0x\w+", "", str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)))


def read_snapshot() -> tuple[str, dict[str, str]]:
    """The version of the snapshot, and its signatures."""
    head, *lines = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    return head.removeprefix("# simkit "), dict(line.split(" ", 1) for line in lines if line)


if __name__ == "__main__":
    import simkit

    lines = [f"# simkit {simkit.__version__}", *(f"{name} {text}" for name, text in sorted(signatures().items()))]
    SNAPSHOT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(lines) - 1} signatures\n")
