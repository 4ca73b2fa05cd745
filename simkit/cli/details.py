"""Everything about one index or one kernel: what it is, its parameters, its facts and where it is from."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rich.padding import Padding
from rich.text import Text

from simkit.cli.console import console, print_json
from simkit.kernel import Kernel
from simkit.registry import Registry, list_kernels
from simkit.spec import Specified
from simkit.text import printable, shown

__all__ = ["details_of", "print_details"]

_SECTION = re.compile(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", re.MULTILINE)
_PARAMETER = re.compile(r"^(\w[\w, ]*?) *(?:: *(.*))?\n((?:(?: .*)?\n|\Z)*)", re.MULTILINE)
_FORMULA = re.compile(r"^\s*[\w|(][^.]*? = |\s{3,}\(")  # a line of a paragraph that is not to be filled
_FACTS = {
    "invertible_linear": "unchanged by invertible linear maps",
    "orthogonal": "unchanged by rotations and reflections",
    "translation": "unchanged by an offset",
    "isotropic_scaling": "unchanged by isotropic scaling",
    "symmetric": "symmetric",
    "range": "range",
    "statistic": "needs",
    "generic": "only if",
    "identity": "of a layer and itself",
    "metric": "a metric",
    "min_examples": "fewest examples",
    "capabilities": "runs on NumPy and",
}


def details_of(registry: Registry[Any], spec: str, row: dict[str, Any]) -> dict[str, Any]:
    """All that is known of an index or a kernel, in terms of JSON.

    Parameters
    ----------
    registry : Registry
    spec : str
        Its name, perhaps with parameters.
    row : dict
        What a list of all of them says of it.

    Raises
    ------
    SimkitError
        Nothing is called so (close matches are named), or it cannot be used.
    """
    made = registry.get(spec)
    sections = _sections(inspect.getdoc(type(made)) or "")
    summary, _, description = sections.pop("").partition("\n\n")
    texts = {
        name.strip(): (kind, " ".join(text.split()))
        for names, kind, text in _PARAMETER.findall(sections.get("Parameters", "") + "\n")
        for name in names.split(",")
    }
    facts = getattr(made, "facts", None)
    known: dict[str, Any] = {}
    if facts is not None:
        known = {name: getattr(facts, name) for name in ("identity", "metric", "min_examples")}
    return {
        "spec": str(made),
        **row,
        **known,
        "summary": " ".join(summary.split()),
        "description": description.strip(),
        "parameters": [_parameter(made, item, texts) for item in dataclasses.fields(made) if item.init],
        "kernels": [str(name) for name in list_kernels()] if _takes_kernel(made) else [],
        "notes": sections.get("Notes", "").strip(),
        "references": " ".join(sections.get("References", "").split()) or row["reference"],
    }


def _sections(text: str) -> dict[str, str]:
    """The sections of a numpydoc docstring by title; what stands before the first has none."""
    first, *rest = _SECTION.split(text)
    return {"": first.strip()} | dict(zip(rest[::2], rest[1::2], strict=True))


def _takes_kernel(made: Specified) -> bool:
    return any(isinstance(getattr(made, item.name), Kernel) for item in dataclasses.fields(made))


def _parameter(made: Specified, item: dataclasses.Field[Any], texts: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """A parameter: its value without another being given, what it may be, and what it is."""
    kind, text = texts.get(item.name, ("", ""))
    missing = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    default = item.default_factory() if callable(item.default_factory) else item.default
    if isinstance(getattr(made, item.name), Kernel) and not missing:
        default = str(getattr(type(made)(), item.name))
    plain = default is None or isinstance(default, str | int | float | bool)
    return {
        "name": item.name,
        "required": missing,
        "default": None if missing else default if plain else printable(default),
        "choices": [value for value in _choices(type(made), item.name) if _is_taken(made, item.name, value)],
        "type": kind,
        "text": text,
    }


def _choices(cls: type, name: str) -> list[Any]:
    """The values that an annotation allows, if it lists them."""
    try:
        hint = get_type_hints(cls)[name]
    except Exception:  # an annotation of a plugin may name what is not there
        return []
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    found = [get_args(part) for part in get_args(hint) if get_origin(part) is Literal]
    return [value for values in found for value in values]


def _is_taken(made: Specified, name: str, value: Any) -> bool:
    """Whether a value is allowed: an annotation may be of a base class that allows more."""
    try:
        dataclasses.replace(made, **{name: value})
    except Exception:  # of a plugin, too
        return False
    return True


def print_details(record: dict[str, Any], as_json: bool) -> None:
    """Print what `details_of` found."""
    if as_json:
        print_json(record)
        return
    console.print(Text.assemble((printable(record["spec"]), "bold"), f"  {printable(record['summary'])}"), highlight=False)
    _describe(record["description"])
    if record["parameters"]:
        _title("Parameters")
        for parameter in record["parameters"]:
            told = "required" if parameter["required"] else f"default {_written(parameter['default'])}"
            if parameter["choices"]:
                told += f"; one of {', '.join(map(_written, parameter['choices']))}"
            head = Text.assemble((printable(parameter["name"]), "bold"), f": {told}")
            _indented(head, 2)
            if parameter["text"]:
                _indented(Text(_plain(parameter["text"])), 6)
    if record["kernels"]:
        _title("Kernels")
        _paragraph(f"{', '.join(record['kernels'])}. `simkit kernels NAME` tells more.")
    _title("Facts")
    for key, what in _FACTS.items():
        if key in record and record[key] not in (None, ""):
            _paragraph(f"{what}: {_fact(key, record[key])}")
    if record["notes"]:
        _title("Notes")
        _describe(record["notes"], gap=False)
    _title("References")
    _paragraph(record["references"] or "none given")
    _title("From")
    _paragraph(f"{record['distribution']} {record['version']}".strip())


def _title(text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _paragraph(text: str) -> None:
    _indented(Text(_plain(text)), 2)


def _indented(text: Text, columns: int) -> None:
    console.print(Padding(text, (0, 0, 0, columns), expand=False), highlight=False)


def _plain(text: str) -> str:
    """Text of a docstring without the marks of its code."""
    return printable(text.replace("``", ""))


def _describe(text: str, *, gap: bool = True) -> None:
    """Paragraphs of a docstring, filled; formulas as they stand."""
    for paragraph in filter(None, re.split(r"\n\s*\n", text)):
        if gap:
            console.print()
        gap = True
        lines = paragraph.split("\n")
        if all(map(_FORMULA.match, lines)) or (len(lines) > 1 and any(line.startswith(("- ", " ")) for line in lines)):
            for line in lines:
                _paragraph(re.sub(r"(?<=\S) {3,}", "   ", line).rstrip())
        else:
            _paragraph(" ".join(paragraph.split()))


def _written(value: Any) -> str:
    return value if isinstance(value, str) and value.isidentifier() else shown(value)


def _fact(key: str, value: Any) -> str:
    if key == "range":
        low, high = value
        return f"{'unbounded' if low is None else f'{low:g}'} to {'unbounded' if high is None else f'{high:g}'}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value in ("X", "Y"):
        return f"{value} only"
    return ", ".join(value) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)
