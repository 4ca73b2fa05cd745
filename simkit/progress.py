"""A progress bar for long work: Rich's, on standard error, only where somebody is looking."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from simkit.text import printable, shortened

__all__ = ["Steps", "track"]


@contextmanager
def track(steps: int, what: object, show: bool | None = None) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of `steps` steps.

    `show` None means: if standard error is a terminal and Rich is installed. The bar appears after a second, so that short
    work prints nothing.
    """
    if show is None:
        show = sys.stderr is not None and sys.stderr.isatty() and importlib.util.find_spec("rich") is not None
    if not show:
        yield lambda: None
        return
    import time

    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        begin = time.monotonic()
        task = bar.add_task(escape(printable(shortened(str(what)))), total=steps, visible=False)

        def advance() -> None:
            bar.update(task, advance=1, visible=time.monotonic() - begin > 1)

        yield advance


class Steps:
    """Tells so many `steps` of progress in the course of `count` calls, from any thread."""

    def __init__(self, count: int, steps: int, advance: Callable[[], None]) -> None:
        self._count, self._steps, self._advance = count, steps, advance
        self._calls, self._lock = 0, Lock()

    def __call__(self) -> None:
        """Count a call, and tell of the steps that it completes."""
        with self._lock:
            before = self._calls * self._steps // self._count
            self._calls += 1
            for _ in range(before, self._calls * self._steps // self._count):
                self._advance()
