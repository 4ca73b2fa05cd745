"""A root of the scatter matrix, mergeable: few rows that stand for all examples, without squaring their condition number.

`Moments` hold X'X, whose eigenvalues are the squares of the singular values of X: what is below 1e-8 of the largest is lost,
and canonical correlations are wrong by eps * condition^2. Indexes that whiten (CCA and its kin, regression, ridge) are fed
with a root instead: R with R'R = (X - mean)'(X - mean), joint over all layers. A chunk is reduced to its triangle, triangles
of two chunks are stacked and reduced again, so one pass over the data suffices (Demmel, Grigori, Hoemmen & Langou 2012).

QR costs several times as much as the product X'X. Where every layer of a chunk is seen to be well conditioned the
Cholesky factor of X'X is as good, so QR is paid for only where it is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, namespace_of, placement
from simkit.linalg import cross, triangle
from simkit.representation import Representation

__all__ = ["Roots"]

_ROWS = 2048  # examples that are widened to float64 at a time
_CONDITION = 300.0  # a layer is well conditioned below this: eps * condition^2 is then 2e-11


@dataclass(frozen=True, eq=False)
class Roots:
    """A root of the joint scatter matrix of some examples, seen by L layers of P features in all. Immutable.

    Attributes
    ----------
    names, widths : tuple
        The layers in order.
    n : int
        Number of examples; 0 is allowed.
    mean : array, shape (P,)
    rows : array, shape (r, P)
        R'R is the centred scatter matrix; r is at most max(P, 1).
    """

    names: tuple[str, ...]
    widths: tuple[int, ...]
    n: int
    mean: Array
    rows: Array

    @classmethod
    def of(cls, layers: Mapping[str, Array]) -> Roots:
        """The root of one batch: matrices (n, p) of one framework with the same n."""
        names, widths = tuple(layers), tuple(x.shape[1] for x in layers.values())
        parts = list(layers.values())
        xp, n = namespace_of(*parts), parts[0].shape[0]
        step = max(_ROWS, sum(widths))
        pieces = [(start, min(start + step, n)) for start in range(0, n, step)]

        def moved(piece: tuple[int, int], origin: Array) -> Array:
            dtype = accumulation_dtype(parts[0], xp)
            x = xp.concat([xp.astype(part[slice(*piece), :], dtype, copy=False) for part in parts], axis=1)
            x -= origin
            return x

        zero = xp.zeros(sum(widths), dtype=accumulation_dtype(parts[0], xp), **placement(parts[0]))
        if n == 0:
            return cls(names, widths, 0, zero, moved((0, 0), zero))
        pivot = moved((0, 1), zero)[0, :]
        mean = pivot + sum(xp.sum(moved(piece, pivot), axis=0) for piece in pieces) / n
        if n <= sum(widths):
            return cls(names, widths, n, mean, moved((0, n), mean))
        gram = zero[:, None] * zero[None, :]
        for piece in pieces:
            x = moved(piece, mean)
            gram += cross(x, x)
        rows = _root_of_gram(gram, widths, xp)
        if rows is None:
            rows = zero[None, :][:0, :]
            for piece in pieces:
                rows = _reduced(xp.concat([rows, moved(piece, mean)]), xp)
        return cls(names, widths, n, mean, rows)

    @classmethod
    def merged(cls, states: Sequence[Roots]) -> Roots:
        """The root of the examples of all `states`; the order does not matter up to rounding."""
        full = [state for state in states if state.n > 0]
        if len(full) <= 1:
            return full[0] if full else states[0]
        first, n = full[0], sum(state.n for state in full)
        xp = namespace_of(first.mean)
        mean = first.mean + sum((state.mean - first.mean) * (state.n / n) for state in full)
        # What the examples of a chunk have in common: one more row, its mean, weighted by their number.
        between = xp.stack([math.sqrt(state.n) * (state.mean - mean) for state in full])
        rows = _reduced(xp.concat([*(state.rows for state in full), between]), xp)
        return cls(first.names, first.widths, n, mean, rows)

    def representations(self, rounding: Mapping[str, float]) -> dict[str, Representation]:
        """Small matrices that stand for the layers in every index that depends on second moments only.

        Parameters
        ----------
        rounding : mapping of names to float
            The eps of the precision that the data were given in, which decides what counts as rank.
        """
        width = 2 * sum(self.widths)
        ends = np.cumsum(self.widths).tolist()
        return {
            name: Representation(
                self.rows[:, end - p : end],
                width,
                name,
                examples=self.n,
                is_centred=True,
                mean=self.mean[end - p : end],
                rounding=rounding[name],
            )
            for name, p, end in zip(self.names, self.widths, ends, strict=True)
        }


def _reduced(rows: Array, xp: Namespace) -> Array:
    return triangle(rows, xp) if rows.shape[0] > rows.shape[1] else rows


def _root_of_gram(gram: Array, widths: tuple[int, ...], xp: Namespace) -> Array | None:
    """A root of a Gram matrix, or None unless the block of every layer is well conditioned."""
    squares = xp.linalg.diagonal(gram)
    size = xp.sqrt(xp.where(squares > 0, squares, 1.0))  # the scale of a feature is no condition
    correlation = gram / size[:, None] / size[None, :]
    for end, p in zip(np.cumsum(widths).tolist(), widths, strict=True):
        spectrum = xp.linalg.eigvalsh(correlation[end - p : end, end - p : end])
        if not bool(spectrum[0] * _CONDITION**2 > spectrum[-1]):
            return None
    try:
        root = xp.linalg.cholesky(correlation).mT
    except Exception:  # each library has its own; one layer is a linear map of another
        root = None
    if root is None or not bool(xp.all(xp.isfinite(root))):
        squares, v = xp.linalg.eigh(correlation)
        root = xp.sqrt(xp.clip(squares, min=0.0))[:, None] * v.mT
    return root * size[None, :]
