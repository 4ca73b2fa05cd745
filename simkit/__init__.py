"""simkit: how similar are two neural representations?

``simkit.compare(X, Y, "cka")`` takes two arrays of any framework, n examples by features, and returns their similarity as
a 0-d array of the same framework, device and precision. ``simkit.pairwise(layers_of_a, layers_of_b)`` gives all pairs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simkit.activations import examples
    from simkit.comparison import compare, explain, pairwise
    from simkit.errors import ChanceWarning, ConstantInputWarning, SimkitError
    from simkit.index import Index
    from simkit.inference import bootstrap, interval, jackknife, permutation_test
    from simkit.kernel import Kernel
    from simkit.matrix import SimilarityMatrix
    from simkit.options import get_options, set_options
    from simkit.registry import get_index, get_kernel, list_indexes, list_kernels, register_index, register_kernel
    from simkit.scale.sources import open_source
    from simkit.scale.stream import stream

__version__ = "0.1.0"

# Imported when first used, so that `import simkit` costs next to nothing. No module may be called like a public name:
# importing it would put the module in the name's place.
_HOME = {
    "ChanceWarning": "simkit.errors",
    "ConstantInputWarning": "simkit.errors",
    "Index": "simkit.index",
    "Kernel": "simkit.kernel",
    "SimilarityMatrix": "simkit.matrix",
    "SimkitError": "simkit.errors",
    "bootstrap": "simkit.inference",
    "compare": "simkit.comparison",
    "examples": "simkit.activations",
    "explain": "simkit.comparison",
    "get_index": "simkit.registry",
    "get_kernel": "simkit.registry",
    "get_options": "simkit.options",
    "interval": "simkit.inference",
    "jackknife": "simkit.inference",
    "list_indexes": "simkit.registry",
    "list_kernels": "simkit.registry",
    "open_source": "simkit.scale.sources",
    "pairwise": "simkit.comparison",
    "permutation_test": "simkit.inference",
    "register_index": "simkit.registry",
    "register_kernel": "simkit.registry",
    "set_options": "simkit.options",
    "stream": "simkit.scale.stream",
}
_FOLDERS = ("analysis", "demo", "features", "indexes", "inference", "kernels", "plot", "report", "testing", "torch")
# Reached in the same way, as messages name them, though not offered among what most people look for.
_MODULES = (
    "arrays",
    "errors",
    "index",
    "io",
    "kernel",
    "linalg",
    "matrix",
    "properties",
    "registry",
    "representation",
    "scale",
    "spec",
)

__all__ = [
    "ChanceWarning",
    "ConstantInputWarning",
    "Index",
    "Kernel",
    "SimilarityMatrix",
    "SimkitError",
    "bootstrap",
    "compare",
    "examples",
    "explain",
    "get_index",
    "get_kernel",
    "get_options",
    "interval",
    "jackknife",
    "list_indexes",
    "list_kernels",
    "open_source",
    "pairwise",
    "permutation_test",
    "register_index",
    "register_kernel",
    "set_options",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    if name in _FOLDERS or name in _MODULES:
        return importlib.import_module(f"simkit.{name}")
    raise AttributeError(f"module 'simkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_FOLDERS])
