"""Pictures of similarities, with matplotlib: each function draws one, on axes that it makes or is given, and returns them.

In a notebook a figure that is made here shows under its cell, once. Nothing imports ``matplotlib.pyplot``, opens a window or
changes ``matplotlib.rcParams``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simkit.plot.arrows import best_matches
    from simkit.plot.curves import lines
    from simkit.plot.drift import over_epochs
    from simkit.plot.figures import TITLE, figure, label, plain_axes, room_for, save
    from simkit.plot.grids import heatmaps
    from simkit.plot.heat import heatmap, save_heatmap
    from simkit.plot.maps import mds
    from simkit.plot.pairs_of_examples import rdms
    from simkit.plot.profiles import diagonal
    from simkit.plot.subspaces import shared_subspace
    from simkit.plot.trees import dendrogram

# Imported when first used. No module is called like one of the names.
_HOME = {
    "TITLE": "figures",
    "best_matches": "arrows",
    "dendrogram": "trees",
    "diagonal": "profiles",
    "figure": "figures",
    "heatmap": "heat",
    "heatmaps": "grids",
    "label": "figures",
    "lines": "curves",
    "mds": "maps",
    "over_epochs": "drift",
    "plain_axes": "figures",
    "rdms": "pairs_of_examples",
    "room_for": "figures",
    "save": "figures",
    "save_heatmap": "heat",
    "shared_subspace": "subspaces",
}

__all__ = [
    "TITLE",
    "best_matches",
    "dendrogram",
    "diagonal",
    "figure",
    "heatmap",
    "heatmaps",
    "label",
    "lines",
    "mds",
    "over_epochs",
    "plain_axes",
    "rdms",
    "room_for",
    "save",
    "save_heatmap",
    "shared_subspace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'simkit.plot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"simkit.plot.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
