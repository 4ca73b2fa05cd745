"""What scores are by chance: in closed form where the index knows it, else as the mean over permutations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simkit.arrays import constant_of, is_lazy, namespace_of, varies
from simkit.comparison import matrices_of, pairwise
from simkit.index import Index
from simkit.inference.permuting import permutation_test
from simkit.inference.units import RNG, whole
from simkit.matrix import SimilarityMatrix
from simkit.registry import get_index
from simkit.sides import Sides
from simkit.statistics.chance import Scores, warn_if_mostly_chance

__all__ = ["chance"]


def chance(
    A: Any,
    B: Any = None,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    *,
    permutations: int = 200,
    rng: RNG = None,
    progress: bool | None = None,
    flatten: bool = False,
    **parameters: Any,
) -> SimilarityMatrix:
    """The matrix of `simkit.pairwise` with `SimilarityMatrix.chance`, for every index.

    Where the index has a closed form (``index.knows_chance``) that is taken, and no permutation. Else the mean of the scores
    over random orders of the examples of `A`, those of `B` as they are; over all orders if there are no more than
    `permutations`. Its standard error is that of a mean of so many scores.

    Parameters
    ----------
    A, B : mapping of names to arrays, or sequence of arrays
        As for `simkit.pairwise`, in memory. ``B=None`` compares `A` with itself: chance of a layer with itself is that of
        the layer and a permuted copy.
    index : str or Index
        As in `simkit.compare`.
    permutations : int
        Their number, if they are needed; as many scores are computed for each pair.
    rng : int or numpy.random.Generator, optional
        Seed.
    progress : bool, optional
        Show a progress bar; by default in terminals and notebooks. See `simkit.set_options`.
    flatten, **parameters
        As in `simkit.compare`.

    Returns
    -------
    SimilarityMatrix
        ``chance`` is of the shape, the namespace and the precision of ``values``, and nan where these are.

    Raises
    ------
    SimkitError
        As `simkit.pairwise`; also for lazy layers, if permutations are needed.

    Warns
    -----
    ChanceWarning
        The scores hardly rise above chance.

    Examples
    --------
    >>> import numpy as np
    >>> from simkit.inference import chance
    >>> rng = np.random.default_rng(0)
    >>> a, b = ({"fc": rng.standard_normal((50, 8))} for _ in range(2))
    >>> matrix = chance(a, b, "procrustes", permutations=20, rng=0)
    >>> print(f"{float(matrix.values[0, 0]):.2f}, by chance {float(matrix.chance[0, 0]):.2f}")
    0.33, by chance 0.32
    """
    permutations = whole("permutations", permutations, 1)
    chosen = get_index(index, **parameters)
    matrix = pairwise(A, B, chosen, progress=progress, flatten=flatten)
    if matrix.chance is not None:
        return matrix
    sides, given = Sides.of_layers(A, B)
    defined = np.asarray([is_lazy(x) or varies(x) for x in matrices_of(given, flatten).values()])
    rows = len(sides.rows)
    kept = [defined[:rows], defined[:rows] if sides.kind == "layers" else defined[rows:]]
    found = np.full(matrix.shape, np.nan)
    if all(side.any() for side in kept):
        layers = [
            {name: x for (name, x), keep in zip(side.items(), mask, strict=True) if keep}
            for side, mask in zip(sides.by_side(given), kept, strict=False)
        ]
        first, second = layers[0], layers[-1]
        null = permutation_test(
            first, second, chosen, permutations=permutations, rng=rng, progress=progress, flatten=flatten
        )
        found[np.ix_(*kept)] = np.mean(null.distribution, axis=0)
    filled = constant_of(found, matrix.values, namespace_of(matrix.values))
    warn_if_mostly_chance(chosen, Scores(matrix.values, filled), sides.row_names, sides.column_names, matrix.n)
    return replace(matrix, chance=filled)
