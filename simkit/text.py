"""Text of strangers as data: names of layers, paths, specs and what plugins say, shown without acting on who shows them.

A name may hold escape sequences of terminals, marks that turn the direction of writing, half characters that no encoding
takes, or ten thousand letters. Files keep names exactly; whatever is printed, drawn or put into a message goes through here.
"""

from __future__ import annotations

__all__ = ["escaped", "printable", "shortened", "shown"]


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


def shown(value: object, limit: int = 100) -> str:
    """``repr(value)`` for a message, of at most `limit` characters, whatever the value is."""
    if isinstance(value, str):
        return repr(shortened(value, limit))
    try:
        return shortened(printable(repr(value)), limit)
    except Exception as error:  # a number of too many digits, or a repr that fails
        return f"a {type(value).__name__} ({type(error).__name__} when it is written out)"
