"""Messages of the library in the words of the command line, where ``force=True`` is ``--force``."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["in_options"]

# Parameters of the library's functions, and what the options of commands that stand for them are called.
_OPTIONS = {
    "batch_size": "--batch-size",
    "chunks": "--chunks",
    "confidence": "--confidence",
    "correspond": "--correspond",
    "force": "--force",
    "groups": "--groups",
    "ids": "--ids",
    "max_bytes": "--max-bytes",
    "permutations": "--resamples",
    "pool": "--pool",
    "resamples": "--resamples",
    "symmetrise": "--symmetrise",
    "timeout": "--timeout",
    "within": "--groups",
}
_GIVEN = re.compile(rf"\b({'|'.join(_OPTIONS)})=('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|-?[\w.]*\w)")
_EXAMPLES = re.compile(r"simkit\.examples\(.+?, ['\"](\w+)['\"](?:, channels=['\"](\w+)['\"])?\)")
_FOR_EACH = re.compile(r"channels=\{(.+): 'first', (.+): 'last'\}")
_PLAIN = re.compile(r"[\w.-]+")  # needs no quotes in a shell
_BOTH = re.compile(r"(--[\w-]+(?: (?:'[^']*'|[\w.-]+))?) \(\1\)")  # "force=True (--force)" says it twice then

# Remedies that are Python through and through, and what does the same here.
_REMEDIES: Mapping[str, str] = {
    " (short: flatten=True)": "",
    "; check_finite=False lets them through": "; remove or replace them in the file",
    "use simkit.compare on arrays in memory": (
        "leave out --chunks and --scheduler and give files that are read whole (.npy, .npz, .safetensors, .pt)"
    ),
    " Give simkit.compare the labels of other arrays, ids=(ids of X, ids of Y).": "",
}


def in_options(message: str) -> str:
    """The message with options for parameters.

    Examples
    --------
    >>> in_options("simkit.examples(X, 'mean', channels='first') averages; pass force=True (--force).")
    '--examples mean:first averages; pass --force.'
    """
    for python, here in _REMEDIES.items():
        message = message.replace(python, here)
    message = _EXAMPLES.sub(lambda call: f"--examples {':'.join(filter(None, call.groups()))}", message)
    message = _FOR_EACH.sub(r"--examples \1=RULE:first and --examples \2=RULE:last", message)
    return _BOTH.sub(r"\1", _GIVEN.sub(_option, message))


def _option(match: re.Match[str]) -> str:
    name, value = match.groups()
    option = _OPTIONS[name]
    if value == "True":
        return option
    if value in ("False", "None"):
        return "--no-ids" if (name, value) == ("ids", "False") else f"no {option}"
    word = value[1:-1] if value[0] in "'\"" else value
    return f"{option} {word if _PLAIN.fullmatch(word) else value}"
