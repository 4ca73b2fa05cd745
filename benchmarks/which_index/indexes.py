"""Which indexes are measured: all that simkit brings, and forms of them that a user has to choose between."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import simkit
from simkit.discovery import OWN

__all__ = ["EXTRA", "SLOW", "score", "specs"]

EXTRA = (
    "cka(estimator=unbiased)",
    "cka(kernel=rbf(fraction=0.4))",
    "distance_correlation(estimator=unbiased)",
    "rsa(dissimilarity=euclidean)",
    "svcca(threshold=0.5)",
)
# Seconds for some pairs of wide layers: assignments, linear programs, searches and regressions for every unit.
SLOW = ("bipartite_match", "maximum_match", "pwcca", "ridge_predictivity", "semi_match", "soft_match")


def specs() -> list[str]:
    """simkit's own indexes with their defaults, and `EXTRA`; soft matching only with POT, without which it takes minutes."""
    own = {str(name) for name in simkit.list_indexes() if name.distribution == OWN}
    if importlib.util.find_spec("ot") is None:
        own.discard("soft_match")
    return sorted([*own, *EXTRA])


def score(x: Any, y: Any, spec: str) -> float:
    """One score, without the warnings that these layers are made to cause; nan where the index refuses them."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return float(simkit.compare(x, y, spec))
        except simkit.SimkitError:
            return float("nan")
