"""Which modules a user means: names, globs, regular expressions, types, depths and functions."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import torch

from simkit.errors import ExtractionError
from simkit.text import shown

__all__ = ["ROOT", "are_types", "check_selector", "in_words", "matches"]

ROOT = "(model)"  # what the model itself is called, whose name in PyTorch is empty

_TOKENS = re.compile(r"(\*\*\.|\.\*\*|\*\*|\*|\?|\[!?[^\]]+\])")


def check_selector(selector: Any, what: str) -> None:
    """Raise unless `selector` is one.

    Raises
    ------
    ExtractionError
    """
    if isinstance(selector, re.Pattern) and not isinstance(selector.pattern, str):
        raise ExtractionError(f"{what} has a regular expression of bytes, {shown(selector)}; names are str.")
    if isinstance(selector, bool) or not (
        isinstance(selector, str | re.Pattern | type | int) or are_types(selector) or callable(selector)
    ):
        raise ExtractionError(
            f"{what} has {shown(selector)}, a {type(selector).__name__}; expected a name or a glob ('blocks.*', "
            "'**.attn'), a compiled regular expression, a module, a class of modules or a tuple of these, a depth, or a "
            "function of name and module."
        )
    if isinstance(selector, int) and selector < 0:
        raise ExtractionError(f"{what} has the depth {selector}; 0 is the model itself, 1 its children.")


def matches(selector: Any, name: str, module: torch.nn.Module) -> bool:
    """Whether a module, called `name` ("" for the model itself), is one that `selector` means."""
    if isinstance(selector, str):
        return (
            name == selector
            or (name == "" and selector == ROOT)
            or (name != "" and _regex(selector).fullmatch(name) is not None)
        )
    if isinstance(selector, re.Pattern):
        return name != "" and selector.fullmatch(name) is not None
    if isinstance(selector, int):
        return (name.count(".") + 1 if name else 0) == selector
    if isinstance(selector, type) or are_types(selector):
        return isinstance(module, selector)
    if isinstance(selector, torch.nn.Module):
        return module is selector
    return bool(selector(name, module))


def in_words(selector: Any) -> str:
    """A selector, for messages."""
    if isinstance(selector, re.Pattern):
        return f"the regular expression {shown(selector.pattern)}"
    if isinstance(selector, type):
        return f"the type {selector.__name__}"
    if are_types(selector):
        return f"the types {', '.join(each.__name__ for each in selector)}"
    if isinstance(selector, int):
        return f"the depth {selector}"
    if isinstance(selector, torch.nn.Module):
        return f"the {type(selector).__name__} that was given, itself"
    return shown(selector) if isinstance(selector, str) else f"the function {getattr(selector, '__name__', shown(selector))}"


def are_types(selector: Any) -> bool:
    """Whether `selector` is a tuple of classes, which is one selector and no sequence of them."""
    return isinstance(selector, tuple) and bool(selector) and all(isinstance(each, type) for each in selector)


@lru_cache(256)
def _regex(glob: str) -> re.Pattern[str]:
    """A glob over dotted names: ``*`` and ``?`` stay within one part, ``**`` crosses parts, also none before a dot."""
    meanings = {"**.": r"(?:.*\.)?", ".**": r"\..+", "**": ".+", "*": "[^.]*", "?": "[^.]"}
    parts = []
    for token in _TOKENS.split(glob):
        if token.startswith("[") and token.endswith("]") and len(token) > 2:
            inside = token[1:-1].replace("\\", r"\\")
            parts.append(f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]".replace("[^", r"[\^"))
        else:
            parts.append(meanings.get(token, re.escape(token)))
    try:
        return re.compile("".join(parts))
    except re.error:
        return re.compile(re.escape(glob))
