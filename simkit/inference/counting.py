"""Scores of some of the examples, which may be repeated: one way for every index, and a quicker one for spaces.

An index of orthonormal bases sees of two layers the products of their bases. Of examples that stand c_i times these are

    S = sum_i c_i z_i z_i' - n m m',        z_i the rows of all bases side by side, n = sum_i c_i, m = sum_i c_i z_i / n

so that with LL' the diagonal blocks of S, the bases of the layers have the products L_y^-1 S_yx L_x^-T. The blocks are well
conditioned, since those of all examples are identities; where they are not, as in a resample of too few different examples
for a layer's rank, and where the rank was in doubt before, the examples themselves are taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import array_api_compat
import numpy as np

from simkit.arrays import Array
from simkit.index import pair_by_pair
from simkit.indexes._basis_index import BasisIndex
from simkit.inference.scorer import Layer, Scorer
from simkit.linalg import Basis, Factored
from simkit.linalg.decompositions import cholesky, inverse_of_triangle
from simkit.threads import each_in_threads

__all__ = ["scores_of"]

_ABOVE, _BELOW = 64.0, 8.0  # factors that a singular value must be away from the threshold, for the rank to stay
_PIVOT = 0.03  # what the diagonal of a Cholesky factor must be above for the directions to be as distinct as before
_TOGETHER = 32  # scores that are shared out among threads


def scores_of(scorer: Scorer, subsets: Iterator[np.ndarray]) -> Iterator[Array]:
    """The scores for each of the sets of examples, shape (rows, columns), in turn; see `Scorer.of`."""
    quickly = _of_bases(scorer)
    if quickly is None:
        yield from (scorer.of(rows).scores() for rows in subsets)
        return
    while some := list(itertools.islice(subsets, _TOGETHER)):
        counts = [np.bincount(rows, minlength=scorer.n) for rows in some]
        for rows, score in zip(some, each_in_threads(quickly, counts, scorer.like), strict=True):
            yield scorer.of(rows).scores() if score is None else score


def _of_bases(scorer: Scorer) -> Callable[[np.ndarray], Array | None] | None:
    """The scores of examples that stand so many times each, None where they cannot be had so; None if none can."""
    index, alone = scorer.index, scorer.columns is scorer.rows
    layers = scorer.rows if alone else (*scorer.rows, *scorer.columns)
    if not isinstance(index, BasisIndex) or type(index).prepare is not BasisIndex.prepare:
        return None
    if not array_api_compat.is_numpy_namespace(scorer.xp) or not all(_has_clear_rank(scorer, layer) for layer in layers):
        return None
    rows, columns = scorer.states
    states = {id(state): state for state in (*rows, *columns)}
    bases = {name: np.asarray(state.q)[:, np.any(np.asarray(state.q) != 0, axis=0)] for name, state in states.items()}
    side_by_side = np.concatenate(list(bases.values()), axis=1)
    ends = np.cumsum([0, *(basis.shape[1] for basis in bases.values())]).tolist()
    place = dict(zip(bases, map(slice, ends[:-1], ends[1:]), strict=True))
    everything = side_by_side.T @ side_by_side

    def quickly(counts: np.ndarray) -> Array | None:
        present, once = counts > 0, counts == 1
        if np.count_nonzero(present) == np.count_nonzero(once) > scorer.n / 2:  # some are left out
            z = side_by_side[~present]
            scatter, total = everything - z.T @ z, -np.sum(z, axis=0)  # the columns of a basis add up to 0
        else:
            roots = np.sqrt(counts[present])[:, None]
            z = side_by_side[present]
            z *= roots
            scatter, total = z.T @ z, z.T @ roots[:, 0]
        scatter -= total[:, None] * (total / counts.sum())
        inverses = {}
        for name, s in place.items():
            lower = cholesky(scatter[s, s], scorer.xp)
            if lower is None or np.min(np.diagonal(lower)) < _PIVOT:
                return None
            inverses[name] = inverse_of_triangle(lower, scorer.xp)

        def pair(x: Basis, y: Basis) -> tuple[Basis, Basis]:
            """Bases that have the products of those of these examples, in the coordinates of the first."""
            a, b = id(x), id(y)
            other = inverses[a] @ scatter[place[a], place[b]] @ inverses[b].T
            return Basis(Factored(np.eye(other.shape[0])), x.rank), Basis(Factored(other), y.rank)

        return pair_by_pair(lambda x, y: index.score(*pair(x, y)), rows, columns, half=alone and index.facts.symmetric)

    return quickly


def _has_clear_rank(scorer: Scorer, layer: Layer) -> bool:
    """Whether no singular value is near the threshold that decides on the rank, of this layer or of one like it."""
    found = scorer.representation(layer)
    if found.n < 2 * found.p:
        return False
    sizes = np.linalg.svdvals(found.equilibrated)
    threshold = max(found.noise_level, found.rank_tolerance * float(sizes[0]))
    return not np.any((sizes > threshold / _BELOW) & (sizes < threshold * _ABOVE))
