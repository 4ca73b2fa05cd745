"""PyTorch: from models to matrices of examples, training, and what else needs more of it than arrays.

Importing simkit does not import it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simkit.torch.callback import DriftCallback
    from simkit.torch.comparing import compare_models
    from simkit.torch.drift import Drift
    from simkit.torch.extraction import activations
    from simkit.torch.loss import CKALoss, SimilarityLoss
    from simkit.torch.metric import SimilarityMetric
    from simkit.torch.results import Activations

# Imported when first used, since some need torchmetrics or Lightning. No module may be called like one of these.
_HOME = {
    "Activations": "simkit.torch.results",
    "CKALoss": "simkit.torch.loss",
    "Drift": "simkit.torch.drift",
    "DriftCallback": "simkit.torch.callback",
    "SimilarityLoss": "simkit.torch.loss",
    "SimilarityMetric": "simkit.torch.metric",
    "activations": "simkit.torch.extraction",
    "compare_models": "simkit.torch.comparing",
}
_MODULES = ("simkit.torch.distributed",)

__all__ = [
    "Activations",
    "CKALoss",
    "Drift",
    "DriftCallback",
    "SimilarityLoss",
    "SimilarityMetric",
    "activations",
    "compare_models",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        try:
            home = importlib.import_module(_HOME[name])
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise ImportError(
                f'simkit.torch.{name} needs PyTorch, which is not installed: pip install "simkit-similarity[torch]".',
                name="torch",
            ) from None
        value = getattr(home, name)
        globals()[name] = value
        return value
    if f"simkit.torch.{name}" in _MODULES:
        return importlib.import_module(f"simkit.torch.{name}")
    raise AttributeError(f"module 'simkit.torch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
