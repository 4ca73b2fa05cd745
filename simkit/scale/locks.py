"""A lock that belongs to one object in one process."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["Lock"]


class Lock:
    """A lock that its thread may take again; a copy, a pickle and a forked process get a new one, which nobody holds.

    ``with lock.here: ...`` leaves the taking itself to Python, so that an interrupt cannot come between it and the block.
    """

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()

    @property
    def here(self) -> AbstractContextManager[bool]:
        """The lock of this process."""
        if self._process != os.getpid():  # forked: the thread that may have held it is not here
            self._lock, self._process = threading.RLock(), os.getpid()
        return self._lock

    def __reduce__(self) -> tuple[Any, ...]:
        return Lock, ()
