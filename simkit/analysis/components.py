"""Figure 1 of the paper: examples in the coordinates of the first principal components of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simkit.arrays import as_matrix, check_matrix, is_lazy, namespace_of, to_numpy, varies
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.linalg import compact
from simkit.representation import Representation
from simkit.spec import check_number

__all__ = ["PrincipalComponents", "principal_components"]


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Examples in the coordinates of the leading principal components.

    Attributes
    ----------
    scores : ndarray, shape (n, k)
        Coordinates, in the units of the features. The entry of largest magnitude of each component is positive.
    explained : ndarray, shape (k,)
        Share of the variance of each component, descending.
    """

    scores: np.ndarray
    explained: np.ndarray


def principal_components(X: Any, k: int = 2, *, flatten: bool = False) -> PrincipalComponents:
    """Principal components of the examples of a layer.

    Parameters
    ----------
    X : array, shape (n, p)
        Of any framework.
    k : int
        Number of components, at most min(n - 1, p).
    flatten
        As in `simkit.compare`.

    Returns
    -------
    PrincipalComponents
        NumPy arrays.

    Raises
    ------
    InvalidArrayError
        More components than there are, a constant layer, or what `simkit.compare` refuses.

    References
    ----------
    Pearson 1901; Kornblith et al. 2019, Figure 1.
    """
    check_number("principal_components", "k", k, at_least=1)
    x = as_matrix(X, "X", flatten=flatten)
    if is_lazy(x):
        raise NeedsAllExamplesError("X is lazy; principal components of examples need its values: pass X.compute().")
    check_matrix(x, "X")
    if not varies(x):
        raise InvalidArrayError("X is constant: all its examples are the same, so it has no principal components.")
    n, p = x.shape
    if k > min(n - 1, p):
        raise InvalidArrayError(f"k={k}; {n} examples of {p} features have at most {min(n - 1, p)} principal components.")
    xp = namespace_of(x)
    layer = Representation(x, xp=xp)
    u, s, _ = xp.linalg.svd(compact(layer.precise, xp), full_matrices=False)
    u, s = to_numpy(u).astype(np.float64), to_numpy(s).astype(np.float64)
    scores = u[:, :k] * s[:k] * float(layer.scale)
    signs = np.sign(scores[np.abs(scores).argmax(axis=0), np.arange(k)])
    return PrincipalComponents(scores * np.where(signs == 0, 1.0, signs), s[:k] ** 2 / np.sum(s**2))
