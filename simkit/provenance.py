"""How layers came about, where they say so, and whether two networks saw the same examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simkit.arrays import warn_caller
from simkit.errors import DataWarning
from simkit.text import printable

__all__ = ["check_same_data", "model_of", "sides_of"]

_SHOWN = 12  # digits of a fingerprint


def sides_of(A: Any, B: Any = None) -> dict[str, Any]:
    """What `simkit.SimilarityMatrix.details` has of rows and columns, from the `details` of mappings that have them."""
    found = {}
    for side, layers in (("rows", A), ("columns", A if B is None else B)):
        about = getattr(layers, "details", None)
        if isinstance(about, Mapping) and about:
            found[side] = dict(about)
    return found


def model_of(details: Mapping[str, Any], side: str) -> str:
    """What the model of a side, "rows" or "columns", is called in `SimilarityMatrix.details`; empty if nobody said."""
    about = details.get(side)
    return str(about.get("model") or "") if isinstance(about, Mapping) else ""


def check_same_data(details: Mapping[str, Any]) -> None:
    """Warn if the inputs of networks have different fingerprints.

    Parameters
    ----------
    details : mapping
        What is known of each network, by what messages call it: its `details`, or anything that has no fingerprint.

    Warns
    -----
    DataWarning
    """
    prints: dict[str, str] = {}
    for name, about in details.items():
        fingerprint = about.get("fingerprint") if isinstance(about, Mapping) else None
        if isinstance(fingerprint, str):
            prints.setdefault(fingerprint, name)
    if len(prints) > 1:
        told = ", ".join(f"{printable(name)}: {digits[:_SHOWN]}" for digits, name in prints.items())
        warn_caller(
            f"The activations were taken from different inputs (fingerprints {told}), and scores presuppose that row i of "
            "all is the same example. If these are the same examples, prepared in another way for each model, all is well; "
            "otherwise take both from the same data in the same order, without shuffling.",
            DataWarning,
        )
