"""A lock that belongs to one object in one process."""

from __future__ import annotations

import os
import threading
from typing import Any

__all__ = ["Lock"]


class Lock:
    """A lock that its thread may take again; a copy, a pickle and a forked process get a new one, which nobody holds."""

    def __init__(self) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()

    def __enter__(self) -> None:
        if self._process != os.getpid():  # forked: the thread that may have held it is not here
            self.__init__()  # type: ignore[misc]
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Lock, ()
