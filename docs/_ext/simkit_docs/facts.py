"""The declared facts of an index or a kernel, as part of its page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import simkit
from simkit.cli.details import details_of
from simkit.cli.listing import describe
from simkit.registry import indexes, kernels
from simkit_docs import forms
from simkit_docs.equations import plain
from simkit_docs.names import Public

__all__ = ["overview", "section", "unchanged_by", "written_range"]

_DOCS = Path(__file__).parents[2]
_CHANGES = {
    "invertible_linear": "invertible linear map",
    "orthogonal": "rotation or reflection",
    "permutation": "permutation of units",
    "isotropic_scaling": "isotropic scaling",
    "translation": "offset",
}


def section(item: Public) -> list[str]:
    """Lines of reStructuredText: parameters with defaults and choices, invariances, range, forms."""
    kind = item.thing.kind
    registry: Any = indexes if kind == "index" else kernels
    record = details_of(registry, item.thing.name, describe(kind, registry.find(item.thing.name), item.thing.name))
    rows = _of_index(record) if kind == "index" else _of_kernel(record)
    how = (
        f'simkit.compare(X, Y, "{record["spec"]}")'
        if kind == "index"
        else f'simkit.compare(X, Y, "cka(kernel={record["spec"]})")'
    )
    lines = [
        *_elsewhere(item),
        "Declared facts",
        "--------------",
        "",
        f"Of ``{record['spec']}``, with default parameters: ``{how}``. :func:`simkit.testing.check_{kind}` tests each.",
        "",
        *_table(None, rows),
    ]
    if record["parameters"]:
        cells = [
            (
                f"``{one['name']}``",
                "required" if one["required"] else f"``{_python(one['default'])}``",
                ", ".join(f"``{_python(value)}``" for value in one["choices"]) or one["type"].replace("*", r"\*"),
            )
            for one in record["parameters"]
        ]
        lines += ["Written as a spec", "-----------------", "", *_table(("parameter", "default", "values"), cells)]
    return lines


def _elsewhere(item: Public) -> list[str]:
    """Links to the page of the mathematics that names it most often, and to its picture in the gallery."""
    texts = {page.stem: page.read_text(encoding="utf-8") for page in sorted((_DOCS / "mathematics").glob("*.md"))}
    named = {page: len(re.findall(rf"\b{re.escape(item.full)}\b", text)) for page, text in texts.items() if page != "index"}
    best = "kernels" if item.thing.kind == "kernel" else max(named, key=named.__getitem__, default="")
    pages = [f"mathematics/{best}"] if best in named and (named[best] or best == "kernels") else []
    picture = f"gallery/indexes/plot_{item.thing.name}"
    if (_DOCS / f"{picture}.rst").exists():
        pages.append(picture)
    links = ", ".join(f":doc:`/{page}`" for page in pages)
    return [".. seealso::", "", f"   {links}", ""] if pages else []


def overview(items: list[Public]) -> list[str]:
    """A table of all indexes by name."""
    cells = []
    for item in sorted(items, key=lambda item: item.thing.name):
        row = describe("index", indexes.find(item.thing.name))
        name = f":class:`{item.thing.name} <{item.full}>`"
        cells.append((name, plain(item.summary), written_range(row["range"])))
    return _table(("name", "what it is", "range"), cells)


def written_range(bounds: list[float | None]) -> str:
    """An interval in words."""
    low, high = bounds
    below = "unbounded" if low is None else f"{low:g}"
    return f"{below} to {f'{high:g}' if high is not None else 'unbounded'}" if high is not None else f"{below} and up"


def unchanged_by(spec: str, words: dict[str, str]) -> list[str]:
    """What leaves an index unchanged, in the words for it; what does so in one of the two layers says in which."""
    kept = []
    for name, word in words.items():
        sides = [side for side, known in zip("XY", simkit.get_index(spec).facts.invariances, strict=True) if name in known]
        if sides:
            kept.append(word if len(sides) == 2 else f"{word} of {sides[0]} only")
    return kept


def _of_index(record: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("unchanged by", ", ".join(unchanged_by(record["spec"], _CHANGES)) or "nothing"),
        ("range", written_range(record["range"])),
        ("of a layer and itself", "depends on the layer" if record["identity"] is None else f"{record['identity']:g}"),
        ("symmetric", "yes" if record["symmetric"] else "no: X and Y have different parts"),
        ("metric", "yes" if record["metric"] else "no"),
        ("fewest examples", str(record["min_examples"])),
        *((words, text) for words, text in forms.of(record["spec"]).items()),
    ]
    return [*rows, ("holds only if", record["generic"])] if record["generic"] else rows


def _of_kernel(record: dict[str, Any]) -> list[tuple[str, str]]:
    kernel = simkit.get_kernel(record["spec"])
    kept = [words for name, words in _CHANGES.items() if name in kernel.invariances]
    return [
        ("centred Gram matrix unchanged by", ", ".join(kept) or "nothing"),
        ("arrays", ", ".join(forms.libraries(record["capabilities"]))),
        ("gradients", "yes" if "gradients" in record["capabilities"] else "no"),
    ]


def _python(value: Any) -> str:
    return str(value) if isinstance(value, str) and value.isidentifier() else repr(value)


def _table(header: tuple[str, ...] | None, rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [".. list-table::", "   :class: simkit-facts"]
    lines += ["   :header-rows: 1"] if header else ["   :stub-columns: 1"]
    lines += [""]
    for row in [header, *rows] if header else rows:
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    return [*lines, ""]
