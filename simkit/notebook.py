"""Whether the program runs in a notebook, and figures that show there without pyplot."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["shell", "show_after_cell", "showing_nothing"]

_SHOWING = ContextVar("figures are shown after their cell", default=True)

_PICTURES = ("image/png", "image/svg+xml", "image/jpeg", "application/pdf")


def shell() -> Any:
    """IPython's shell, if it belongs to the kernel of a notebook; else None. Nothing is imported for the question."""
    ipython = sys.modules.get("IPython")
    found = None if ipython is None else ipython.get_ipython()
    return found if getattr(found, "kernel", None) is not None else None


def show_after_cell(figure: Any) -> None:
    """Show a figure of matplotlib under the cell that runs, once it is done, with what was changed on it until then.

    As pyplot does, but the figure is not kept in any list. Outside of notebooks nothing happens.
    """
    found = shell()
    if found is None or not _SHOWING.get():
        return

    def show() -> None:
        found.events.unregister("post_execute", show)
        _show(figure, found.display_formatter.formatters)

    found.events.register("post_execute", show)


@contextmanager
def showing_nothing() -> Iterator[None]:
    """Figures that are made here are for a file, and not shown."""
    before = _SHOWING.set(False)
    try:
        yield
    finally:
        _SHOWING.reset(before)


def _show(figure: Any, formatters: Any) -> None:
    """As the user has set for figures, which pyplot tells IPython when it is imported; else as PNG."""
    from IPython.display import Image, display

    if any(type(figure) in formatters[kind] for kind in _PICTURES if kind in formatters):
        display(figure)
        return
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    # Pixels of the page are 96 to the inch, where the screen has no more.
    display(Image(picture.getvalue(), width=round(96 * figure.get_figwidth())))
