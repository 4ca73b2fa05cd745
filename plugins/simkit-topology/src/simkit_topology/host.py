"""Features on the host, where GUDHI, SciPy and scikit-learn work."""

from __future__ import annotations

import numpy as np

from simkit.arrays import namespace_of, to_numpy
from simkit.linalg import robust_origin
from simkit.representation import Representation

__all__ = ["host"]


def host(layer: Representation) -> np.ndarray:
    """The features less an origin amid the examples, in units of their scale, (n, p) in float64.

    The indexes here are of distances, which see no origin; but far from it, as from a mean that an outlier has carried away,
    they lose digits.
    """
    x = to_numpy(layer.features).astype(np.float64)
    return (x - robust_origin(x, namespace_of(x))) / float(layer.scale)
