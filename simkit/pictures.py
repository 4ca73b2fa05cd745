"""Figures of matplotlib as files: the same figure gives the same file, which holds no date."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "write_figure"]

PICTURES = (".png", ".pdf", ".svg")

_DATES = {"pdf": "CreationDate", "svg": "Date", "ps": "CreationDate", "eps": "CreationDate"}

_LAYOUTS = 4  # most passes: the first of several square panels leaves titles over the edge


def write_figure(figure: Figure, path: str | os.PathLike[str], kind: str) -> None:
    """Write a figure in a format such as ``"png"``, ``"pdf"`` or ``"svg"``, without the date.

    Text of an .svg stays text, which can be searched and edited; a .pdf holds the fonts that it is drawn in. The names of
    parts of an .svg, which are drawn at random otherwise, follow their content.
    """
    import matplotlib

    settings = {"svg.fonttype": "none", "svg.hashsalt": "simkit"}
    for _ in range(_LAYOUTS):
        figure.draw_without_rendering()
        (left, below), (right, above) = figure.get_tightbbox().get_points()
        if left >= 0 and below >= 0 and right <= figure.get_figwidth() and above <= figure.get_figheight():
            break
    with matplotlib.rc_context(settings if kind.startswith("svg") else {}):
        figure.savefig(path, format=kind, metadata={_DATES[kind]: None} if kind in _DATES else None)
