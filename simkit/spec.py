"""Spec strings: the one written form of an index or a kernel with its parameters.

``cka``, ``cka(estimator=unbiased)``, ``cka(kernel=rbf(fraction=0.4))``, ``my-distribution:cka``. Read with `ast`, never
evaluated: a spec holds literals, bare words and nested specs, nothing else.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

from simkit.errors import SpecError

__all__ = ["Spec", "Specified", "build", "check_choice", "check_number", "check_whole", "close_matches", "parse"]

# "distribution:name" is not Python; the colon travels through `ast` as this marker.
_MARK = "__from_distribution__"
_QUALIFIED = re.compile(r"(?<![\w'\"])([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?):([A-Za-z_]\w*)")

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """A parsed spec: a registered name and its parameters, whose values are literals, words or `Spec`."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


def parse(text: str) -> Spec:
    """Read a spec string.

    Raises
    ------
    SpecError
        It is not of the form ``name`` or ``name(parameter=value, ...)``.
    """
    aliases: dict[str, str] = {}

    def mark(match: re.Match[str]) -> str:
        word = f"{_MARK}{len(aliases)}"
        aliases[word] = match.group(0)
        return word

    try:
        tree = ast.parse(_QUALIFIED.sub(mark, text.strip()), mode="eval").body
    except SyntaxError:
        raise SpecError(_malformed(text)) from None
    value = _read(tree, text, aliases)
    if isinstance(value, Spec):
        return value
    if isinstance(value, str) and isinstance(tree, ast.Name):
        return Spec(value)
    raise SpecError(_malformed(text))


def _malformed(text: str) -> str:
    return (
        f"Cannot read the spec {text!r}; expected a name with optional parameters, such as cka, cka(estimator=unbiased) "
        "or cka(kernel=rbf(fraction=0.4))."
    )


def _read(node: ast.expr, text: str, aliases: dict[str, str]) -> Any:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.args or any(item.arg is None for item in node.keywords):
            raise SpecError(f"Parameters in a spec are given by name: {text!r} has one without. Example: rbf(fraction=0.4).")
        name = aliases.get(node.func.id, node.func.id)
        return Spec(name, {str(item.arg): _read(item.value, text, aliases) for item in node.keywords})
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise SpecError(f"{_malformed(text)} Values are literals, words or nested specs.") from None


def _write(value: Any) -> str:
    if isinstance(value, str):
        return value if value.isidentifier() and not keyword.iskeyword(value) else repr(value)
    return str(value) if isinstance(value, Specified) else repr(value)


class Specified:
    """Something with a registered `name` whose ``str`` is its spec string: the name and every parameter off its default."""

    name: ClassVar[str]

    def __str__(self) -> str:
        given = []
        for item in fields(self):  # type: ignore[arg-type]
            # Not by identity: a class that came back from cloudpickle has a MISSING of its own.
            default = item.default_factory() if callable(item.default_factory) else item.default
            value = getattr(self, item.name)
            if item.init and value != default:
                given.append(f"{item.name}={_write(value)}")
        return f"{self.name}({', '.join(given)})" if given else self.name


def build(cls: type[T], name: str, parameters: dict[str, Any]) -> T:
    """``cls(**parameters)``, with a clear error for a parameter that does not exist or a value of the wrong kind."""
    known = [item.name for item in fields(cls) if item.init]  # type: ignore[arg-type]
    for parameter in parameters:
        if parameter not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise SpecError(f"{name} has no parameter {parameter!r}; {takes}.{close_matches(parameter, known)}")
    try:
        return cls(**parameters)
    except TypeError as error:
        raise SpecError(f"{name}: {error}") from None


def close_matches(word: str, known: Iterable[str]) -> str:
    """`` Did you mean ...?`` or nothing."""
    matches = difflib.get_close_matches(word, list(known), n=3)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


def check_choice(owner: str, parameter: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise `SpecError` unless `value` is one of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        hint = close_matches(str(value), map(str, choices))
        raise SpecError(f"{owner}: {parameter}={value!r}; expected one of {', '.join(map(str, choices))}.{hint}")


def check_number(
    owner: str,
    parameter: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> None:
    """Raise `SpecError` unless `value` is a real number within the bounds."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    bounds = [(above, ">", lambda v, b: v > b), (at_least, ">=", lambda v, b: v >= b), (at_most, "<=", lambda v, b: v <= b)]
    if not number or any(bound is not None and not holds(value, bound) for bound, _, holds in bounds):
        wanted = " and ".join(f"{sign} {bound:g}" for bound, sign, _ in bounds if bound is not None)
        raise SpecError(f"{owner}: {parameter}={value!r}; expected a number{' ' + wanted if wanted else ''}.")


def check_whole(owner: str, parameter: str, value: Any, *, at_least: int) -> None:
    """Raise `SpecError` unless `value` is a whole number, written as 5 or as 5.0, of at least `at_least`."""
    check_number(owner, parameter, value, at_least=at_least)
    if value != int(value):
        raise SpecError(f"{owner}: {parameter}={value!r}; expected a whole number.")
