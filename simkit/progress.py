"""Progress of long work: Rich's bar in a terminal, tqdm's in a notebook, nothing in a log."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import TypeAlias

from simkit.notebook import shell
from simkit.options import option
from simkit.text import printable, shortened

__all__ = ["Steps", "is_shown", "track"]

_Advance: TypeAlias = Callable[[], None]
_Bar: TypeAlias = Callable[[int | None, str], AbstractContextManager[_Advance]]

_DELAY = 1.0  # seconds of work that show nothing


@contextmanager
def track(steps: int | None, what: object, show: bool | None = None) -> Iterator[_Advance]:
    """Yield a function to call after each of `steps` steps.

    Parameters
    ----------
    steps : int or None
        How many there are; None if nobody knows, as of a loader without a length.
    what : object
        What is done, in words.
    show : bool, optional
        Show it, by Rich or tqdm, whichever is installed. By default as ``simkit.set_options(progress=...)`` says, and else
        if standard error is a terminal, and in notebooks. The bar appears after a second, so that short work prints nothing.

    Raises
    ------
    ImportError
        It must be shown and neither Rich nor tqdm is installed.
    """
    show = option("progress") if show is None else show
    bar = _bar(show)
    if bar is None:
        yield lambda: None
    else:
        with bar(steps, printable(shortened(str(what)))) as advance:
            yield advance


def is_shown(show: bool | None = None) -> bool:
    """Whether progress is shown: as `show` says, else as the option does, else in terminals and notebooks."""
    show = option("progress") if show is None else show
    return shell() is not None or _in_terminal() if show is None else show


def _in_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


def _bar(show: bool | None) -> _Bar | None:
    """Which bar is shown, if any."""
    if not is_shown(show):
        return None
    notebook, terminal = shell() is not None, _in_terminal()
    for name in ("rich", "tqdm") if terminal and not notebook else ("tqdm", "rich"):  # in a log Rich shows the end only
        if importlib.util.find_spec(name) is not None:
            return _BARS[name]
    if show:
        raise ImportError("progress=True needs Rich or tqdm: pip install rich, or pip install tqdm")
    return None


@contextmanager
def _rich(steps: int | None, what: str) -> Iterator[_Advance]:
    import time

    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        begin = time.monotonic()
        task = bar.add_task(escape(what), total=steps, visible=False)

        def advance() -> None:
            bar.update(task, advance=1, visible=time.monotonic() - begin > _DELAY)

        yield advance


@contextmanager
def _tqdm(steps: int | None, what: str) -> Iterator[_Advance]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that widgets are not installed, or new: the bar is text then
        from tqdm.auto import tqdm

        bar = tqdm(total=steps, desc=what, leave=False, delay=_DELAY)
    with bar:

        def advance() -> None:
            bar.update(1)

        yield advance


_BARS: dict[str, _Bar] = {"rich": _rich, "tqdm": _tqdm}


class Steps:
    """Tells so many `steps` of progress in the course of `count` calls, from any thread."""

    def __init__(self, count: int, steps: int, advance: _Advance) -> None:
        self._count, self._steps, self._advance = count, steps, advance
        self._calls, self._lock = 0, Lock()

    def __call__(self) -> None:
        """Count a call, and tell of the steps that it completes."""
        with self._lock:
            before = self._calls * self._steps // self._count
            self._calls += 1
            for _ in range(before, self._calls * self._steps // self._count):
                self._advance()
