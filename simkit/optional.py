"""Libraries that only some functions need: who lacks one is told which, what for, and how to install it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needed_for"]


@contextmanager
def needed_for(what: str, library: str, install: str) -> Iterator[None]:
    """Around the imports of a library: an error that says what it is needed for, and what pip installs.

    Raises
    ------
    ImportError
        The library is not installed.
    """
    try:
        yield
    except ImportError:
        raise ImportError(f'{what} needs {library}: pip install "{install}"') from None
