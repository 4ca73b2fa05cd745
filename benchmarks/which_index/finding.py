"""Which layer of a network from another seed is the same one? As in section 6.1 of the paper, for every index."""

from __future__ import annotations

import warnings
from typing import Any

from benchmarks.which_index.indexes import SLOW, specs
from benchmarks.which_index.layers import trained
from simkit.analysis import layer_accuracy

__all__ = ["found", "measure"]

NETWORKS = 4
FEW = 2  # the bundled networks, for the slow indexes
EXAMPLES = (50, 100, 200)


def found(spec: str, n: int, networks: list[dict[str, Any]]) -> dict[str, float]:
    """The share of layers found, its jackknife standard error over networks, and how many decisions that is."""
    some = [{name: x[:n] for name, x in network.items()} for network in networks]
    with warnings.catch_warnings(action="ignore"):  # of p >= n, which is the point
        result = layer_accuracy(some, spec)
    m = len(some)
    return {"share": result.accuracy, "error": result.standard_error, "decisions": m * (m - 1) * len(result.layers)}


def measure(quick: bool = False) -> dict[str, Any]:
    """For each index, by the number of examples."""
    if quick:
        return {"cka": {"50": found("cka", 50, trained(2))}}
    entries: dict[str, Any] = {}
    for spec in sorted(specs(), key=lambda spec: spec in SLOW):
        networks = trained(NETWORKS)[: FEW if spec in SLOW else NETWORKS]
        entries[spec] = {str(n): found(spec, n, networks) for n in EXAMPLES}
        print(spec, {n: round(entry["share"], 3) for n, entry in entries[spec].items()}, flush=True)
    return entries
