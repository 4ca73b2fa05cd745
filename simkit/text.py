"""Text of strangers as data: names of layers, paths, specs and what plugins say, shown without acting on who shows them.

A name may hold escape sequences of terminals, marks that turn the direction of writing, half characters that no encoding
takes, or ten thousand letters. Files keep names exactly; whatever is printed, drawn or put into a message goes through here.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["escaped", "printable", "short_names", "shortened", "shown"]


def printable(text: object, *, keep: str = "") -> str:
    r"""``str(text)`` with visible escapes, such as ``\x1b``, for what is not printable, but for characters in `keep`.

    What is printable already stays as it is, so a message may go through here more than once.

    Examples
    --------
    >>> print(printable("net\x1b[31m\u202e\n"))
    net\x1b[31m\u202e\x0a
    """
    text = str(text)
    return text if text.isprintable() else "".join(c if c.isprintable() or c in keep else escaped(c) for c in text)


def escaped(character: str) -> str:
    """The visible escape of one character."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shortened(text: str, limit: int = 60) -> str:
    """`text`, without its middle if it is longer than `limit` characters; both ends tell names of one network apart."""
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 2
    return f"{text[: limit - 3 - tail]}...{text[-tail:]}"


def short_names(names: Sequence[str]) -> list[str]:
    """Names for people to read side by side: without the parts, between dots, that all of them begin or end with.

    Parts that are numbers stay, since they say which layer it is. Names that differ still do, none is empty (the empty name
    is shown as a pair of quotes), and nothing is escaped. One name alone stays as it is.

    Parameters
    ----------
    names : sequence of str
        The names of the layers of one network.

    Returns
    -------
    list of str
        As many, in the same order.

    Examples
    --------
    >>> short_names(["model.layers.0.attn.o", "model.layers.1.mlp.up"])
    ['0.attn.o', '1.mlp.up']
    >>> short_names(["blocks.0.conv", "blocks.1.conv"])
    ['0', '1']
    """
    parts = [name.split(".") for name in names]
    if len(set(names)) > 1:
        first = _shared(parts)
        parts = [part[first:] for part in parts]
        last = _shared([part[::-1] for part in parts])
        parts = [part[: len(part) - last] for part in parts]
    unnamed = "''"  # where one name is empty, no part is shared
    while unnamed in names:
        unnamed = f"'{unnamed}'"
    return [".".join(part) or unnamed for part in parts]


def _shared(names: list[list[str]]) -> int:
    """How many parts all names begin with, but for numbers, that can go so that each name keeps a part with a letter."""
    count = 0
    for shared, *others in zip(*names, strict=False):
        if shared.partition("#")[0].isdecimal() or any(other != shared for other in others):
            break
        if not all(any(name[count + 1 :]) for name in names):
            break
        count += 1
    return count


def shown(value: object, limit: int = 100) -> str:
    """``repr(value)`` for a message, of at most `limit` characters, whatever the value is."""
    if isinstance(value, str):
        return repr(shortened(value, limit))
    try:
        return shortened(printable(repr(value)), limit)
    except Exception as error:  # a number of too many digits, or a repr that fails
        return f"a {type(value).__name__} ({type(error).__name__} when it is written out)"
