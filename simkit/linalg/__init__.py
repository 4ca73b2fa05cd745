"""The matrix operations that the formulas are written in.

Every function takes the namespace `xp` of its arrays. Nothing here reads a value of an array: ranks and thresholds are masks
of zeros and ones, so the same code runs under ``jax.jit``, keeps gradients and never synchronises a GPU. The exceptions are
those of `simkit.linalg.on_host` and `simkit.linalg.transport`, and short cuts where values may be read, such as those of
NumPy, which are not tried under a transformation.
"""

from simkit.linalg.bases import (
    Basis,
    all_ranks,
    cosines,
    orthonormal_basis,
    principal_basis,
    ridge_root,
    smaller_rank,
    squared_cosines,
)
from simkit.linalg.decompositions import (
    compact,
    nuclear_norm,
    singular_values,
    symmetric_root,
    triangle,
)
from simkit.linalg.distances import median_of_squares, robust_origin, scaled_squares, squared_distances
from simkit.linalg.factored import Factored
from simkit.linalg.on_host import assignment, concordance
from simkit.linalg.pair_vectors import from_pairs, over_pairs, pairs_reordered
from simkit.linalg.pairs import double_centre, reordered, reordered_products, u_centre, without_diagonal
from simkit.linalg.products import (
    column_squares,
    cross,
    identity,
    inner,
    side_by_side,
    squared_norm,
    tall_cross,
    total,
    vecdot,
    widen,
)
from simkit.linalg.ranks import ranks
from simkit.linalg.safe import is_ordinary, power_of_two, powers_of_two, ratio, root
from simkit.linalg.transport import transport

__all__ = [
    "Basis",
    "Factored",
    "all_ranks",
    "assignment",
    "column_squares",
    "compact",
    "concordance",
    "cosines",
    "cross",
    "double_centre",
    "from_pairs",
    "identity",
    "inner",
    "is_ordinary",
    "median_of_squares",
    "nuclear_norm",
    "orthonormal_basis",
    "over_pairs",
    "pairs_reordered",
    "power_of_two",
    "powers_of_two",
    "principal_basis",
    "ranks",
    "ratio",
    "reordered",
    "reordered_products",
    "ridge_root",
    "robust_origin",
    "root",
    "scaled_squares",
    "side_by_side",
    "singular_values",
    "smaller_rank",
    "squared_cosines",
    "squared_distances",
    "squared_norm",
    "symmetric_root",
    "tall_cross",
    "total",
    "transport",
    "triangle",
    "u_centre",
    "vecdot",
    "widen",
    "without_diagonal",
]
