"""One place where the exceptions of the libraries that read files become an error of simkit's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from simkit.errors import InvalidArrayError, SimkitError, TooLargeError
from simkit.text import printable, shortened

__all__ = ["reading", "reason"]

_LONGEST = 300  # characters of another library's message; some repeat the whole file


@contextmanager
def reading(complaint: str, cause: str = "") -> Iterator[None]:
    """Complain, such as that "x.npy cannot be read as .npy", if the block fails; `cause` is what it is likely to be.

    Errors of simkit and missing libraries pass as they are, and so does whatever stops the program.
    """
    try:
        yield
    except (SimkitError, ImportError):
        raise
    except MemoryError as error:
        raise TooLargeError(f"{complaint}: the memory does not suffice for what the file declares.") from error
    except Exception as error:
        raise InvalidArrayError(f"{complaint}: {f'{cause}: ' if cause else ''}{reason(error)}") from error


def reason(error: Exception) -> str:
    """The message of an exception on one short line that a terminal can show."""
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, RecursionError):
        line = "it is nested too deeply"
    return shortened(printable(line), _LONGEST)
