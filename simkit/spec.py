"""Spec strings: the one written form of an index or a kernel with its parameters.

``cka``, ``cka(estimator=unbiased)``, ``cka(kernel=rbf(fraction=0.4))``, ``my-distribution:cka``. Read with `ast`, never
evaluated: a spec holds literals (strings, numbers, True, False, None, and tuples of those), bare words and nested specs,
nothing else. Whatever else it is given, it raises `SpecError` soon, with a message of a few lines.
"""

from __future__ import annotations

import ast
import difflib
import keyword
import math
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from simkit.errors import PluginError, SimkitError, SpecError
from simkit.text import shortened, shown

__all__ = [
    "Kind",
    "Spec",
    "Specified",
    "build",
    "check_choice",
    "check_number",
    "check_parameters",
    "check_whole",
    "close_matches",
    "parse",
]

# "distribution:name" is not Python; the colon travels through `ast` as this marker. What stands in quotes is left alone.
_MARK = "__from_distribution__"
_QUALIFIED = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?P<name>(?<![\w.-])[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?:[A-Za-z_]\w*)""",
    re.DOTALL,
)
_LONGEST = 10_000  # characters; the parser of Python takes its time, and memory, for nested millions
_LARGEST = 1024  # bits of a whole number, as many as a float holds
_DUBIOUS = re.compile(r"\\|\d(?:and|else|for|if|in|is|not|or)\b")  # what Python's parser warns about

_MOVED = ("maps", "channels")  # options of what compares, before there was `simkit.examples`

T = TypeVar("T")

Kind: TypeAlias = Literal["index", "kernel"]


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
    if not isinstance(text, str):
        raise SpecError(f"A spec is a string, such as 'cka'; got {shown(text)} ({type(text).__name__}).")
    if len(text) > _LONGEST:
        raise SpecError(f"{_malformed(text)} It has {len(text)} characters; at most {_LONGEST} are read.")
    return _copied(_parsed(text))


def _copied(spec: Spec) -> Spec:
    """A spec whose parameters may be changed."""
    return Spec(spec.name, {k: _copied(v) if isinstance(v, Spec) else v for k, v in spec.parameters.items()})


@lru_cache(256)
def _parsed(text: str) -> Spec:
    aliases: dict[str, str] = {}

    def mark(match: re.Match[str]) -> str:
        if match["name"] is None:
            return match[0]
        word = f"{_MARK}{len(aliases)}"
        aliases[word] = match[0]
        return word

    try:
        tree = _tree(_QUALIFIED.sub(mark, text.strip()), text)
        value = _read(tree, text, aliases)
    except (RecursionError, MemoryError):
        raise SpecError(f"{_malformed(text)} It is nested too deeply.") from None
    if isinstance(value, Spec):
        return value
    if isinstance(value, str) and isinstance(tree, ast.Name):
        return Spec(value)
    raise SpecError(_malformed(text))


def _tree(marked: str, text: str) -> ast.expr:
    try:
        if not _DUBIOUS.search(marked):
            return ast.parse(marked, mode="eval").body
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the parser makes a SyntaxError of it
            return ast.parse(marked, mode="eval").body
    except (SyntaxError, ValueError):  # ValueError: what cannot be encoded, and NUL
        raise SpecError(_malformed(text)) from None


def _malformed(text: str) -> str:
    return (
        f"Cannot read the spec {shown(text, 80)}; expected a name with optional parameters, such as cka, "
        "cka(estimator=unbiased) or cka(kernel=rbf(fraction=0.4))."
    )


def _read(node: ast.expr, text: str, aliases: dict[str, str]) -> Any:
    if isinstance(node, ast.Name):
        return _word(node.id, text, aliases)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        given = Counter(item.arg for item in node.keywords)
        if node.args or None in given:
            raise SpecError(
                f"Parameters in a spec are given by name: {shown(text, 80)} has one without. Example: rbf(fraction=0.4)."
            )
        twice = [str(name) for name, times in given.items() if times > 1]
        if twice:
            raise SpecError(f"{shown(text)} has the parameter {shown(twice[0])} {given[twice[0]]} times; give it once.")
        name = _word(node.func.id, text, aliases)
        return Spec(name, {_word(str(i.arg), text, aliases): _read(i.value, text, aliases) for i in node.keywords})
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):  # TypeError: a set of lists, say
        raise SpecError(f"{_malformed(text)} Values are literals, words or nested specs.") from None
    return _literal(value, text)


def _word(word: str, text: str, aliases: dict[str, str]) -> str:
    """A bare word as it was written: Python reads letters that only look like others (NFKC) as those others."""
    if word in aliases:
        return aliases[word]
    if word not in text:
        raise SpecError(f"{_malformed(text)} {shown(word)} is written with other characters that look alike.")
    return word


def _literal(value: Any, text: str) -> Any:
    """A value, if it is of a kind that an index can have as a parameter."""
    if isinstance(value, tuple):
        return tuple(_literal(item, text) for item in value)
    if value is not None and not isinstance(value, str | int | float):
        raise SpecError(
            f"{_malformed(text)} Values are strings, numbers, True, False, None or tuples; {shown(value)} is a "
            f"{type(value).__name__}."
        )
    if isinstance(value, int) and value.bit_length() > _LARGEST:
        raise SpecError(f"{_malformed(text)} It holds a number of {value.bit_length()} bits; at most {_LARGEST} are read.")
    return value


def _write(value: Any) -> str:
    if isinstance(value, str):
        normal = value.isascii() or unicodedata.is_normalized("NFKC", value)  # torch.compile cannot trace the latter
        plain = value.isidentifier() and not keyword.iskeyword(value) and normal
        return value if plain else repr(value)
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"  # inf would be read as a word
    return str(value) if isinstance(value, Specified) else repr(value)


@dataclass(frozen=True)
class Specified:
    """Something with a registered `name` whose ``str`` is its spec string: the name and every parameter off its default.

    Attributes
    ----------
    kind : {"index", "kernel"}
        Whose names it is registered among; the two base classes say so.
    name : str
        The registered name; empty if the class does not give one.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""

    def __str__(self) -> str:
        given = []
        for item in fields(self):
            # Not by identity: a class that came back from cloudpickle has a MISSING of its own.
            default = item.default_factory() if callable(item.default_factory) else item.default
            value = getattr(self, item.name)
            if item.init and value != default:
                given.append(f"{item.name}={_write(value)}")
        return f"{self.name}({', '.join(given)})" if given else self.name


def build(cls: type[T], name: str, parameters: dict[str, Any]) -> T:
    """``cls(**parameters)``, with a clear error for a parameter that does not exist or a value of the wrong kind."""
    check_parameters(cls, name, parameters)
    try:
        return cls(**parameters)
    except (SimkitError, MemoryError):
        raise
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name}: {shortened(str(error), 200)}") from error
    except (Exception, SystemExit) as error:  # of a plugin
        raise PluginError(f"{name} cannot be made: {type(error).__name__}: {shortened(str(error), 200)}") from error


def check_parameters(cls: type, name: str, parameters: Iterable[str]) -> None:
    """Raise `SpecError` for a parameter that `cls` does not have."""
    known = [item.name for item in fields(cls) if item.init]
    for parameter in parameters:
        if parameter in _MOVED and parameter not in known:
            raise SpecError(
                f"{name} has no parameter {parameter!r}. Maps and tokens are made into matrices first: what was "
                "maps='mean' is simkit.examples(X, 'mean', channels='first'), and the rule 'spatial' is called 'positions'."
            )
        if parameter not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise SpecError(f"{name} has no parameter {shown(parameter)}; {takes}.{close_matches(parameter, known)}")


def close_matches(word: str, known: Iterable[str]) -> str:
    """`` Did you mean ...?`` or nothing."""
    matches = difflib.get_close_matches(shortened(word), list(known), n=3)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


def check_choice(owner: str, parameter: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise `SpecError` unless `value` is one of `choices`."""
    choices = tuple(choices)
    if not _among(value, choices):
        hint = close_matches(value, map(str, choices)) if isinstance(value, str) else ""
        raise SpecError(f"{owner}: {parameter}={shown(value)}; expected one of {', '.join(map(str, choices))}.{hint}")


def _among(value: Any, choices: tuple[Any, ...]) -> bool:
    try:
        hash(value)  # an array is compared by element
    except TypeError:
        return False
    return value in choices


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
    number = isinstance(value, int | float) and not isinstance(value, bool)
    number = number and not (math.isnan(value) if isinstance(value, float) else value.bit_length() > _LARGEST)
    bounds = [(above, ">", lambda v, b: v > b), (at_least, ">=", lambda v, b: v >= b), (at_most, "<=", lambda v, b: v <= b)]
    if not number or any(bound is not None and not holds(value, bound) for bound, _, holds in bounds):
        wanted = " and ".join(f"{sign} {bound:g}" for bound, sign, _ in bounds if bound is not None)
        raise SpecError(f"{owner}: {parameter}={shown(value)}; expected a number{' ' + wanted if wanted else ''}.")


def check_whole(owner: str, parameter: str, value: Any, *, at_least: int) -> None:
    """Raise `SpecError` unless `value` is a whole number, written as 5 or as 5.0, of at least `at_least`."""
    check_number(owner, parameter, value, at_least=at_least)
    if math.isinf(value) or value != int(value):
        raise SpecError(f"{owner}: {parameter}={shown(value)}; expected a whole number.")
