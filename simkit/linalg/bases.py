"""Orthonormal bases whose number of directions depends on the data: masked, not cut, and differentiable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from simkit.arrays import Array, Namespace, detach, is_lazy, namespace_of, placement, wants_gradients
from simkit.linalg.decompositions import cholesky, compact, inverse_of_triangle, singular_values
from simkit.linalg.factored import Factored
from simkit.linalg.products import cross, identity, squared_norm

__all__ = [
    "Basis",
    "all_ranks",
    "cosines",
    "orthonormal_basis",
    "principal_basis",
    "ridge_root",
    "smaller_rank",
    "squared_cosines",
]

# Root mean square of the eigenvalues of a scatter matrix times the mean of their inverses, 1 if all are equal, up to which
# its Cholesky factor alone is as good as a second pass: the error of canonical correlations is a tenth of an eps times that.
_ONE_PASS = 50.0
# What is certain to be more than rounding, noise or a threshold, as a multiple of it.
_CERTAIN = 8.0


@dataclass(frozen=True, eq=False)
class Basis:
    """Orthonormal basis of a column space, of fixed width and variable rank.

    Attributes
    ----------
    columns : Factored, shape (n, k)
        Orthonormal columns; those beyond the rank are zero, so they add nothing to sums and singular values. Products with
        other matrices are taken without forming them.
    rank : 0-d array
        The number of columns that are not zero.
    squares : array, shape (m,), optional
        Squared singular values; those that `orthonormal_basis` had no need to tell apart are missing or roughly right.
    is_whole : bool
        The space is seen to hold every vector of n numbers, or every one with mean 0 of layers that are centred: then it
        holds every other layer (Kornblith et al. 2019, theorem 1).
    """

    columns: Factored
    rank: Array
    squares: Array | None = None
    is_whole: bool = False

    @property
    def q(self) -> Array:
        """The columns as a matrix, shape (n, k)."""
        return self.columns.full

    def for_products(self, count: int) -> Basis:
        """The same basis, as a matrix if that takes less time than so many products of its factors do."""
        return replace(self, columns=self.columns.for_products(count))

    def permuted(self, order: Array) -> Basis:
        """The same space with the rows in another order."""
        return replace(self, columns=self.columns.permuted(order))


def smaller_rank(x: Basis, y: Basis, xp: Namespace) -> Array:
    """The number of principal angles between two spaces, a 0-d array."""
    return xp.where(x.rank < y.rank, x.rank, y.rank)


def all_ranks(bases: Sequence[Basis]) -> Array:
    """The dimensions of some spaces, shape (len(bases),), in the precision of the columns of the first."""
    like = bases[0].columns.x
    xp = namespace_of(like)
    return xp.astype(xp.stack([basis.rank for basis in bases]), like.dtype)


def cosines(x: Basis, y: Basis, xp: Namespace) -> Array:
    """Cosines of the principal angles between two spaces, descending: singular values of Q_x'Q_y, zeros beyond the rank."""
    if not (x.is_whole or y.is_whole):
        return singular_values(x.columns.cross(y.columns), xp)
    k = min(x.columns.shape[1], y.columns.shape[1])
    return xp.astype(xp.arange(k, **placement(x.columns.x)) < smaller_rank(x, y, xp), x.columns.x.dtype)


def squared_cosines(x: Basis, y: Basis, xp: Namespace) -> Array:
    """The sum of the squared cosines of the principal angles between two spaces, |Q_x'Q_y|^2: no decomposition is needed."""
    if not (x.is_whole or y.is_whole):
        return squared_norm(x.columns.cross(y.columns), xp)
    return xp.astype(smaller_rank(x, y, xp), x.columns.x.dtype)


def orthonormal_basis(
    x: Array,
    tolerance: float,
    xp: Namespace,
    *,
    noise: float = 0.0,
    scales: Array | None = None,
    is_centred: bool = False,
) -> Basis:
    """Orthonormal basis of the column space of `x` (n, p), computed by products with p x p matrices.

    Where values can be looked at, the Cholesky factor of X'X is tried first. If its inverse says that all eigenvalues are
    far above every threshold, all directions are there, and the factor alone is accurate, or after a second pass with the
    scatter matrix of the whitened columns (CholeskyQR2: Fukaya et al. 2014). If there are more columns than rows, a
    Cholesky factor of XX' shows that they span everything.

    Else there are two passes of whitening by Gram matrices: the first uses the eigenvectors of X'X with eigenvalues floored
    at rounding level, the second those of the nearly orthonormal result. That is as accurate as a QR decomposition (2e-11 at
    condition number 1e8), reveals the rank, and runs at the speed of matrix products. The eigenvectors are constants for
    differentiation: they only choose coordinates, and the last Cholesky factor carries the exact gradient of every function
    of the column space, even where eigenvalues are equal.

    Parameters
    ----------
    x : array, shape (n, p)
        In the accumulation precision.
    tolerance : float
        Singular values at or below this fraction of the largest count as zero.
    noise : float
        Singular values at or below this count as zero, too.
    scales : array, shape (p,), optional
        Powers of two by which the columns are divided first. Default: ones.
    is_centred : bool
        The columns sum to 0.

    Returns
    -------
    Basis
        Of at most min(n, p) columns.
    """
    scatter = None
    if _may_be_read(x, xp):
        if x.shape[1] >= x.shape[0] - is_centred:
            whole = _whole_space(x if scales is None else x / scales, tolerance, noise, is_centred, xp)
            if whole is not None:
                return whole
        if x.shape[1] <= x.shape[0]:
            scatter = cross(x, x)
            certain = _certain_basis(x, scatter, xp, tolerance=tolerance, noise=noise, scales=scales)
            if certain is not None:
                return certain
    if scales is not None:
        x = x / scales
        scatter = None if scatter is None else scatter / scales[:, None] / scales
    x = compact(x, xp)
    rounding = x.shape[1] * float(xp.finfo(x.dtype).eps)  # below this share of the largest, eigenvalues of X'X are noise
    squares, v = xp.linalg.eigh(detach(cross(x, x) if scatter is None else scatter))
    largest = xp.max(squares)
    whole_or_one = xp.where(largest > 0, largest, 1.0)
    lost = noise * noise / whole_or_one
    lost = xp.where(lost > tolerance * tolerance, lost, tolerance * tolerance)  # as a share of the largest
    floor = rounding * whole_or_one
    # Where what is lost lies above rounding, X'X itself tells; else the second pass does.
    present = xp.logical_or(squares > lost * whole_or_one, lost <= rounding)
    z = x @ _scaled(v, xp.where(squares > floor, squares, floor), present, xp)
    # Directions at the floor come back shorter than 1: their length says how far below the floor they were. The others
    # have length 1 up to rounding, and must stay on one side of the threshold whatever it is.
    again = cross(z, z)
    lengths, u = xp.linalg.eigh(detach(again))
    threshold = xp.where(lost < rounding / 2, lost / rounding, 0.5)
    keep = xp.logical_and(lengths > threshold, largest > 0)
    short = xp.where(xp.logical_and(lengths < 0.5, lost <= rounding), lengths * floor, 0.0)
    squares = xp.concat([xp.where(squares > floor, squares, 0.0), short])
    return replace(_corrected(z, again, _scaled(u, lengths, keep, xp), keep, xp), squares=squares)


def _may_be_read(x: Array, xp: Namespace) -> bool:
    """Whether what to do may depend on values; in less than double precision X'X tells too little to make it worth while."""
    return not is_lazy(x) and float(xp.finfo(x.dtype).eps) <= float(np.finfo(np.float64).eps)


def _whole_space(x: Array, tolerance: float, noise: float, is_centred: bool, xp: Namespace) -> Basis | None:
    """The basis of everything there is, if columns that are at least as many as the directions are seen to span it."""
    n = x.shape[0]
    if wants_gradients(x):  # they are 0, but somebody waits for them
        return None
    gram = x @ x.mT
    size = float(xp.sqrt(squared_norm(gram, xp)))
    if not 0 < size < float("inf"):
        return None
    least = _least(size, n, tolerance, noise, xp)
    # A Cholesky factor of what remains after `least` is taken off all eigenvalues is the proof that it was there. What
    # centring takes away, the direction of equal entries, is put in.
    filled = gram - least * identity(n, gram, xp) + (size / n if is_centred else 0.0)
    if cholesky(filled, xp) is None:
        return None
    every = identity(n, x, xp)
    if (
        is_centred
    ):  # Householder's reflection of the first unit vector onto that of equal entries; the other columns sum to 0
        v = every[:, :1] - 1 / n**0.5
        every = (every - v @ (v.mT / (1 - 1 / n**0.5)))[:, 1:]
    return Basis(Factored(every), xp.asarray(every.shape[1], dtype=xp.int32, **placement(x)), is_whole=True)


def _least(size: float, width: int, tolerance: float, noise: float, xp: Namespace) -> float:
    """What eigenvalues of a scatter matrix of norm `size` are at least, if they are certain to count."""
    rounding = width * float(np.finfo(np.float64).eps)
    return _CERTAIN * max((_CERTAIN * noise) ** 2, (tolerance**2 + rounding) * size)


def _certain_basis(
    x: Array, scatter: Array, xp: Namespace, *, tolerance: float, noise: float, scales: Array | None
) -> Basis | None:
    """The basis of columns all of which, but for those that are zero, are certain to add a direction; else None."""
    squares = detach(xp.linalg.diagonal(scatter))
    alive = squares > 0
    scales = xp.ones_like(squares) if scales is None else scales
    divisors = xp.where(alive, 1 / scales, 0.0)
    missing = identity(alive.shape[0], scatter, xp) * xp.astype(xp.logical_not(alive), scatter.dtype)
    scatter = scatter * divisors[:, None] * divisors + missing
    lower = cholesky(scatter, xp)
    if lower is None:
        return None
    whitening = inverse_of_triangle(lower, xp).mT * xp.astype(alive, scatter.dtype)
    size, inverse = (float(squared_norm(detach(a), xp)) for a in (scatter, whitening))
    size **= 0.5
    width = alive.shape[0]
    if not inverse * _least(size, width, tolerance, noise, xp) < 1:  # 1 / the sum of their inverses is below all eigenvalues
        return None
    rank = xp.sum(xp.astype(alive, xp.int32))
    if size * inverse <= _ONE_PASS * width**1.5:
        return Basis(Factored(x, divisors[:, None] * whitening), rank)
    z = x @ (divisors[:, None] * detach(whitening))
    lower = cholesky(cross(z, z) + missing, xp)
    return None if lower is None else Basis(Factored(z, inverse_of_triangle(lower, xp).mT * xp.astype(alive, z.dtype)), rank)


def _corrected(z: Array, gram: Array, w: Array, keep: Array, xp: Namespace) -> Basis:
    """Basis z w L^-T, LL' = w'z'zw, `gram` z'z: exactly orthonormal, and differentiable in z although w is constant."""
    return Basis(Factored(z, w @ _inverse_root(w.mT @ gram @ w, keep, xp)), _count(keep, xp))


def principal_basis(x: Array, threshold: float, tolerance: float, xp: Namespace, *, noise: Array | float = 0.0) -> Basis:
    """Leading left singular vectors of `x` that together reach a share of its variance, the crossing one included.

    Unlike that of `orthonormal_basis` the space itself turns when `x` changes: to first order, an eigenvector v_j that is
    kept moves by sum_i v_i (v_i' dS v_j) / (l_j - l_i) over those that are left out. Written with constant eigenvectors and
    a variable S this has the right value and gradient, also where eigenvalues on the same side are equal.

    Parameters
    ----------
    x : array, shape (n, p)
        Centred, in the accumulation precision.
    threshold : float
        Share of the sum of squared singular values, in (0, 1).
    tolerance, noise : float
        Singular values at or below this fraction of the largest, or at or below `noise`, are not counted.
    """
    n, p = x.shape
    scatter = cross(x, x) if p <= n else x @ x.mT
    squares, v = xp.linalg.eigh(detach(scatter))
    squares = xp.clip(squares, min=0.0)
    whole = xp.sum(squares)
    # eigh sorts ascending: what stands above entry i has been counted before it
    before = whole - xp.cumulative_sum(squares)
    rounding = max(tolerance**2, max(n, p) * float(xp.finfo(x.dtype).eps))  # of the eigenvalues, as a share of the largest
    keep = xp.logical_and(squares > rounding * xp.max(squares), squares > noise * noise)
    keep = xp.logical_and(keep, before < threshold * whole)
    gaps = squares[None, :] - squares[:, None]
    turns = xp.logical_and(xp.logical_and(keep[None, :], xp.logical_not(keep)[:, None]), gaps > 0)
    v = v + v @ ((v.mT @ scatter @ v) * xp.where(turns, 1.0 / xp.where(turns, gaps, 1.0), 0.0))
    if p > n:
        return Basis(Factored(xp.where(keep[None, :], v, 0.0)), _count(keep, xp))
    return _corrected(x, scatter, _scaled(v, squares, keep, xp), keep, xp)


def ridge_root(coordinates: Array, penalty: Array, xp: Namespace) -> Array:
    """R with QR(QR)' = X (X'X + penalty I)^-1 X', the hat matrix of ridge regression, for X = Q C; shape (k, m).

    Ridge regression is least squares with the rows sqrt(penalty) I appended to X. So the upper part of an orthonormal basis
    of [C; sqrt(penalty) I] is a root, accurate however small or large the penalty is.

    Parameters
    ----------
    coordinates : array, shape (k, p)
        C = Q'X, such as ``Representation.coordinates``.
    penalty : 0-d array
        Positive, in the units of C'C.
    """
    inside = compact(coordinates, xp)
    k = inside.shape[0]
    tall = xp.concat([inside, xp.sqrt(penalty) * identity(inside.shape[1], inside, xp)])
    tolerance = max(tall.shape) * float(xp.finfo(tall.dtype).eps)
    return orthonormal_basis(tall, tolerance, xp).q[:k, :]


def _scaled(vectors: Array, squares: Array, keep: Array, xp: Namespace) -> Array:
    """Columns divided by the roots of `squares` where `keep` is true, zero elsewhere."""
    return xp.where(keep, 1.0 / xp.sqrt(xp.where(squares > 0, squares, 1.0)), 0.0)[None, :] * vectors


def _inverse_root(gram: Array, keep: Array, xp: Namespace) -> Array:
    """L^-T of a Gram matrix that is near the identity on the columns `keep` and zero on the others."""
    missing = identity(gram.shape[0], gram, xp) * xp.astype(xp.logical_not(keep), gram.dtype)[None, :]
    return inverse_of_triangle(xp.linalg.cholesky((gram + gram.mT) / 2 + missing), xp).mT


def _count(keep: Array, xp: Namespace) -> Array:
    return xp.sum(xp.astype(keep, xp.int32))
