"""Features on the host, where GUDHI, SciPy and scikit-learn work."""

from __future__ import annotations

import numpy as np

from simkit.arrays import to_numpy
from simkit.representation import Representation

__all__ = ["host"]


def host(layer: Representation) -> np.ndarray:
    """The centred features, (n, p) in float64."""
    return to_numpy(layer.precise).astype(np.float64)
