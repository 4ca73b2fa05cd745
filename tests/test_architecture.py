"""The layers of simkit, and that imports go down: what is below knows nothing of what is above it."""

from __future__ import annotations

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "simkit"

# From bottom to top; modules, and packages for all that is in them. Within a layer imports may go either way, but in no circle.
LAYERS = {
    "words and files": (
        "simkit", "caching", "checkpoint", "errors", "fields", "files", "formats", "memory", "notebook", "optional", "options", "progress", "spec", "text", "warn",
    ),
    "arrays": ("activations", "arrays", "provenance", "threads"),
    "linear algebra": ("linalg", "representation"),
    "contracts": ("discovery", "guard", "kernel", "loading", "properties", "registry"),
    "kernels": ("kernels",),
    "statistics and scores": ("scoring", "sides", "statistics"),
    "plan": ("feasibility", "planner"),
    "results": ("best", "display", "keys", "matrix", "origin", "page", "pictures", "plot"),
    "producers": ("features", "scale"),
    "comparison": ("comparison",),
    "contract of an index": ("index",),
    "indexes": ("indexes",),
    "models": ("torch",),
    "inference and analysis": ("analysis", "inference"),
    "what people use": ("cli", "demo", "io", "report", "testing"),
}  # fmt: skip

# Who may name an array library: import it, look for it by name, or say where an index runs.
ROOMS = {
    "torch": ("simkit", "arrays", "demo.train", "formats.torch_file", "linalg", "properties", "testing", "torch"),
    "jax": ("arrays", "linalg", "properties", "testing"),
    "cupy": ("arrays", "linalg", "properties", "testing"),
    "dask": ("arrays", "guard", "properties", "scale", "testing"),
    "distributed": ("scale",),
}


def is_in(module: str, places: tuple[str, ...]) -> bool:
    """Whether a module, called as in the tables, is one of the places or inside one."""
    return any(module == place or module.startswith(f"{place}.") for place in places)


def layer_of(module: str) -> int:
    """The number of a module's layer, 0 at the bottom."""
    return next(k for k, places in enumerate(LAYERS.values()) if is_in(module, places))


def trees() -> dict[str, ast.Module]:
    """Every module, called without its ``simkit.``, and its code."""
    names = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(ROOT.rglob("*.py"))}
    return {
        name.removesuffix("__init__").removesuffix(".") or "simkit": ast.parse(path.read_text(encoding="utf-8"))
        for path, name in names.items()
    }


def executed(tree: ast.AST):
    """Everything that may run, in functions too: all but what is under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from executed(node)


def imports() -> dict[str, set[str]]:
    """The modules of simkit that each imports; with a module come the packages that it is in."""
    code = trees()
    found: dict[str, set[str]] = {}
    for module, tree in code.items():
        targets = set()
        for node in executed(tree):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                targets |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        own = {target.removeprefix("simkit.") for target in targets if target.partition(".")[0] == "simkit"}
        own |= {target.rpartition(".")[0] for target in own}
        found[module] = {target for target in own & code.keys() if not is_in(module, (target,))}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in turn, or an empty list."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        found = next(filter(None, (walk(target, [*path, module]) for target in sorted(graph[module]))), [])
        done.add(module)
        return found

    return next(filter(None, (walk(module, []) for module in graph)), [])


def test_every_module_has_a_layer():
    without = [module for module in trees() if not any(is_in(module, places) for places in LAYERS.values())]
    assert not without, f"Give these a place in LAYERS: {', '.join(without)}"


def test_imports_go_down():
    up = [
        f"{module} ({list(LAYERS)[layer_of(module)]}) imports {target} ({list(LAYERS)[layer_of(target)]})"
        for module, targets in imports().items()
        for target in sorted(targets)
        if layer_of(target) > layer_of(module)
    ]
    assert not up, "\n".join(up)


def test_no_circle():
    found = circle(imports())
    assert not found, " -> ".join(found)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def names_of_libraries(tree: ast.Module):
    """The libraries that are imported, or written out as a string of its own, as in ``sys.modules["torch"]``."""
    for node in executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("library", ROOMS)
def test_array_libraries_are_named_in_few_places(library):
    naming = [module for module, tree in trees().items() if library in names_of_libraries(tree)]
    assert naming
    assert [module for module in naming if not is_in(module, ROOMS[library])] == []


def test_the_page_explains_every_layer():
    page = (ROOT.parent / "docs" / "development" / "architecture.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(): cells[2] for line in page.splitlines() if len(cells := line.split("|")) == 5}
    assert list(reversed(LAYERS)) == [layer for layer in rows if layer in LAYERS]
    for layer, places in LAYERS.items():
        there = {place for place in places if (ROOT / place).is_dir() or (ROOT / f"{place}.py").exists()} - {"simkit"}
        named = {name.strip("/") for name in re.findall(r"`([\w/]+)`", rows[layer])}
        assert there <= named <= set(places)


def test_the_picture_is_drawn_from_the_code(tmp_path):
    pytest.importorskip("matplotlib")
    page = runpy.run_path(str(ROOT.parent / "docs" / "development" / "architecture.py"))
    page["draw"](tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 10_000
    assert "| statistics |" in page["table"]()
