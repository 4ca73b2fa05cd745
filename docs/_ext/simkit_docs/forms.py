"""In which forms an index takes its layers: asked of the planner and of the declared facts, never written down twice."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import simkit
from simkit.errors import NeedsAllExamplesError
from simkit.planner import Question, plan

__all__ = ["LIBRARIES", "libraries", "of", "route"]

# Names as facts have them, and as people write them.
LIBRARIES = {"torch": "PyTorch", "cupy": "CuPy", "jax": "JAX", "array_api_strict": "array-api-strict"}
# Wide enough apart that the planner takes the way it takes for large data.
_EXAMPLES, _WIDTHS = 1_000_000, (256, 256)


def route(spec: str, source: Any, *, tiles: bool = False) -> str | None:
    """How layers are compared that come as ``"batches"`` or as ``"chunks"`` of Dask arrays; None if they cannot be.

    Parameters
    ----------
    spec : str
    source : {"memory", "batches", "chunks"}
    tiles : bool
        In blocks, as ``tiles=`` asks for.
    """
    index = simkit.get_index(spec)
    rows, columns = _WIDTHS[:1], _WIDTHS[1:]
    try:
        return plan(Question(index, source, None if source == "batches" else _EXAMPLES, rows, columns, blocks=tiles)).form
    except NeedsAllExamplesError:
        return None


def libraries(works: Collection[str]) -> list[str]:
    """The array libraries among some capabilities, as people write them; NumPy always is one."""
    return ["NumPy", *(name for key, name in LIBRARIES.items() if key in works)]


def of(spec: str) -> dict[str, str]:
    """What to call a form, and whether and how it is taken."""
    facts = simkit.get_index(spec).facts
    works = facts.capabilities
    inside = [name for key, name in (("jit", "jax.jit"), ("vmap", "vmap"), ("compile", "torch.compile")) if key in works]
    return {
        "arrays": ", ".join(libraries(works)) + (" (part of the work on the host)" if facts.host else ""),
        "gradients": "yes" if "gradients" in works else "no",
        "inside": ", ".join(f"``{name}``" for name in inside) or "no transformation",
        "streams of batches": route(spec, "batches") or "no: needs all examples",
        "Dask arrays": route(spec, "chunks") or "no: needs all examples",
        "``tiles=``": route(spec, "memory", tiles=True) or "no: does not compare examples by a kernel",
    }
