"""Warnings that point at the user's line."""

from __future__ import annotations

import sys
import warnings

from simkit.errors import ConstantInputWarning
from simkit.text import printable

__all__ = ["warn_caller"]


def warn_caller(message: str, category: type[Warning] = ConstantInputWarning) -> None:
    """Give a warning that points at the first line outside simkit, so that each line of a user warns."""
    level, frame = 1, sys._getframe()
    # functools calls the cached properties of ours.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("simkit", "functools"):
        level, frame = level + 1, frame.f_back
    warnings.warn(printable(message, keep="\n"), category, stacklevel=level)
