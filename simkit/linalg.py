"""The matrix operations that the formulas are written in.

Every function takes the namespace `xp` that was found at the door. Sums run in float64 where the device has it, since a
float32 sum over n^2 entries is where accuracy is lost; large products stay in the precision of their operands.

Nothing here reads a value of an array: ranks and thresholds are masks of zeros and ones, so the same code runs under
``jax.jit``, keeps gradients and never synchronises a GPU. The exceptions are marked "on the host".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import array_api_compat
import numpy as np

from simkit.arrays import Array, Namespace, accumulation_dtype, constant_of, detach, namespace_of, placement, to_numpy

__all__ = [
    "Basis",
    "assignment",
    "compact",
    "concordance",
    "cross",
    "distances",
    "double_centre",
    "identity",
    "inner",
    "is_ordinary",
    "median_of_pairs",
    "orthonormal_basis",
    "power_of_two",
    "powers_of_two",
    "principal_basis",
    "ratio",
    "reordered",
    "ridge_root",
    "robust_origin",
    "root",
    "side_by_side",
    "singular_values",
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


_ROWS = 8192  # of a float32 product
_FLAT = 16  # roundings of the largest entry of a matrix that centring may leave
_COPIES = 8  # an assignment grows with the cube of the copies, a linear program faster still

# --- sums and products --------------------------------------------------------------------------------------------------


def total(x: Array, xp: Namespace, axis: int | None = None) -> Array:
    """Sum of entries, accumulated in float64 where the device has it."""
    return xp.sum(x, axis=axis, dtype=accumulation_dtype(x, xp))


def widen(x: Array, xp: Namespace) -> Array:
    """`x` in the accumulation precision (float64 where the device has it)."""
    return xp.astype(x, accumulation_dtype(x, xp), copy=False)


def side_by_side(parts: Sequence[Array], less: Array, xp: Namespace) -> Array:
    """Matrices (n, p_k) minus `less` (P,), in the wider precision of both, as one new matrix (n, P)."""
    ends = list(itertools.accumulate((x.shape[1] for x in parts), initial=0))
    slices = [slice(a, b) for a, b in itertools.pairwise(ends)]
    if not array_api_compat.is_numpy_namespace(xp):
        return xp.concat([x - less[s] for x, s in zip(parts, slices, strict=True)], axis=1)
    whole = np.empty((parts[0].shape[0], ends[-1]), dtype=np.result_type(*parts, less))  # the standard needs a second pass
    for x, s in zip(parts, slices, strict=True):
        np.subtract(x, less[s], out=whole[:, s])
    return whole


def vecdot(a: Array, b: Array, xp: Namespace) -> Array:
    """Dot products along the last axis."""
    if array_api_compat.is_torch_namespace(xp):  # that of the compatibility layer cannot be mapped by torch.func.vmap
        return (a[..., None, :] @ b[..., None])[..., 0, 0]
    return xp.vecdot(a, b)


def inner(a: Array, b: Array, xp: Namespace) -> Array:
    """Frobenius inner product <a, b>: dot products along rows in the working precision, their sum in float64."""
    if a.dtype != b.dtype:
        a, b = widen(a, xp), widen(b, xp)
    return total(vecdot(a, b, xp), xp)


def squared_norm(a: Array, xp: Namespace) -> Array:
    """Squared Frobenius norm."""
    return inner(a, a, xp)


def cross(a: Array, b: Array) -> Array:
    """a'b."""
    return a.mT @ b


def tall_cross(a: Array, b: Array, xp: Namespace) -> Array:
    """a'b in the accumulation precision: products of some thousand rows in the precision of `a` and `b`, summed in float64.

    A product of a million float32 rows at once is wrong by 1e-5.
    """
    n = a.shape[0]
    if a.dtype != b.dtype:
        a, b = widen(a, xp), widen(b, xp)
    step = max(_ROWS, -(-n // 64))
    if n <= step or a.dtype == accumulation_dtype(a, xp):
        return widen(cross(a, b), xp)
    whole = widen(cross(a[:step, :], b[:step, :]), xp)
    for start in range(step, n, step):
        rows = slice(start, min(start + step, n))
        whole = whole + widen(cross(a[rows, :], b[rows, :]), xp)
    return whole


def identity(n: int, like: Array, xp: Namespace) -> Array:
    """n x n identity in the dtype and on the device of `like`."""
    return xp.eye(n, dtype=like.dtype, **placement(like))


def ratio(a: Array, b: Array, xp: Namespace) -> Array:
    """a / b, and nan without a warning or an infinite gradient where b is 0."""
    zero = b == 0
    return xp.where(zero, float("nan"), a / xp.where(zero, 1.0, b))


def root(x: Array, xp: Namespace) -> Array:
    """Square root of max(x, 0) whose gradient at 0 is 0 instead of infinite."""
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, 1.0)), 0.0)


def power_of_two(x: Array, xp: Namespace) -> Array:
    """A power of two near the largest absolute entry, a 0-d array; 1 if all are zero or the largest is not finite.

    Division by it is exact, and after it squares neither overflow nor vanish.
    """
    return powers_of_two(detach(xp.max(xp.stack([xp.max(x), -xp.min(x)]))), xp)


def powers_of_two(largest: Array, xp: Namespace) -> Array:
    """Powers of two at or just below non-negative numbers; 1 for those that are zero or not finite."""
    usable = xp.logical_and(largest > 0, xp.isfinite(largest))
    exponent = xp.floor(xp.log2(xp.where(usable, largest, 1.0)))
    return xp.clip(xp.pow(constant_of(2.0, largest, xp), exponent), min=float(xp.finfo(largest.dtype).smallest_normal))


def is_ordinary(scale: Array, xp: Namespace) -> Array:
    """Whether fourth powers of numbers near `scale`, and sums of very many of them, are in range."""
    limit = float(xp.finfo(scale.dtype).max) ** 0.2
    return xp.logical_and(scale <= limit, scale >= 1 / limit)


def singular_values(a: Array, xp: Namespace) -> Array:
    """Singular values, descending, in the accumulation precision."""
    return xp.linalg.svdvals(widen(a, xp))


def triangle(x: Array, xp: Namespace) -> Array:
    """R of a QR decomposition of `x` (n, p), n >= p: p rows with the same inner products of columns, R'R = x'x."""
    if isinstance(x, np.ndarray):  # the standard cannot leave out Q
        return np.linalg.qr(x, mode="r")
    return xp.linalg.qr(x)[1]


def compact(x: Array, xp: Namespace) -> Array:
    """Rotate `x` (n, p) to at most n columns, with the same xx'.

    The rotation is a constant for differentiation: a function of xx' depends on nothing outside the row space of `x`.
    """
    if x.shape[1] <= x.shape[0]:
        return x
    rotation, _ = xp.linalg.qr(detach(x).mT)
    return x @ rotation


def assignment(weights: Array) -> np.ndarray:
    """0/1 matrix of the one-to-one assignment of rows to columns with the largest sum of weights; SciPy, on the host.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise ImportError("Matching neurons needs SciPy: pip install scipy") from None
    host = to_numpy(weights)
    chosen = np.zeros(host.shape)
    chosen[linear_sum_assignment(host, maximize=True)] = 1.0
    return chosen


def transport(gains: Array, rows: Array, columns: Array) -> np.ndarray:
    """Optimal transport plan with the largest sum of plan * gains; SciPy, on the host.

    Parameters
    ----------
    gains : array, shape (p1, p2)
    rows, columns : array, shapes (p1,) and (p2,)
        1 or 0: which rows and columns take part. The former share the mass 1 equally, and so do the latter.

    Returns
    -------
    ndarray, shape (p1, p2)
        Zero if no row or no column takes part.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment, linprog
        from scipy.sparse import eye_array, kron, vstack
    except ImportError:
        raise ImportError("Matching neurons needs SciPy: pip install scipy") from None
    host = to_numpy(gains)
    where = np.ix_(np.flatnonzero(to_numpy(rows)), np.flatnonzero(to_numpy(columns)))
    plan, part = np.zeros(host.shape), host[where]
    p, q = part.shape
    if not part.size or not np.isfinite(part).all():
        return plan
    copies = math.lcm(p, q)
    if copies <= _COPIES * max(p, q):  # the plan is then the mean of an assignment of copies of rows to copies of columns
        repeated = np.repeat(np.repeat(part, copies // p, axis=0), copies // q, axis=1)
        i, j = linear_sum_assignment(repeated, maximize=True)
        np.add.at(plan, (where[0].ravel()[i // (copies // p)], where[1].ravel()[j // (copies // q)]), 1 / copies)
        return plan
    margins = vstack([kron(eye_array(p), np.ones((1, q))), kron(np.ones((1, p)), eye_array(q))])
    masses = np.concatenate([np.full(p, 1 / p), np.full(q, 1 / q)])
    found = linprog(-part.ravel(), A_eq=margins.tocsr()[:-1], b_eq=masses[:-1], bounds=(0, None), method="highs")
    plan[where] = found.x.reshape(p, q)
    return plan


def concordance(a: Array, b: Array) -> float:
    """Kendall's tau-a of two vectors, (concordant - discordant) / all pairs of entries; SciPy in O(m log m), on the host.

    Raises
    ------
    ImportError
        SciPy is not installed.
    """
    try:
        from scipy.stats import kendalltau
    except ImportError:
        raise ImportError("Kendall's tau needs SciPy: pip install scipy") from None
    x, y = to_numpy(a), to_numpy(b)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    every = len(x) * (len(x) - 1) // 2
    # tau-b divides by the root of the pairs that are not tied in x times those that are not tied in y
    untied = [every - sum(int(c) * (int(c) - 1) // 2 for c in np.unique(v, return_counts=True)[1] if c > 1) for v in (x, y)]
    if min(untied) == 0:
        return 0.0
    tau_b = float(kendalltau(x, y, method="asymptotic").statistic)
    return tau_b * float(np.sqrt(untied[0])) * float(np.sqrt(untied[1])) / every


# --- Gram matrices and distances ------------------------------------------------------------------------------------------


def double_centre(k: Array, xp: Namespace) -> Array:
    """HKH for a symmetric K, with H = I - 11'/n."""
    n = k.shape[0]
    means = total(k, xp, axis=0) / n
    mean = total(means, xp) / n
    return k - xp.astype(means, k.dtype)[None, :] - xp.astype(means - mean, k.dtype)[:, None]


def u_centre(k: Array, xp: Namespace) -> Array:
    """U-centring of a symmetric K (Szekely & Rizzo 2014): zero diagonal and zero row sums, shape (n, n), n >= 3.

    K_ij - r_i / (n - 2) - r_j / (n - 2) + sum(r) / ((n - 1)(n - 2)) off the diagonal, r the row sums without the diagonal.
    <K~, L~> / (n (n - 3)) is the unbiased HSIC, without the differences of large sums of its other forms; and what is added
    to whole rows and columns, as by one example that is far from all others, is gone before entries are multiplied.
    Where nothing but rounding is left, as of examples that are all equally far from each other, it is zero.
    """
    n = k.shape[0]
    k = without_diagonal(k, xp)
    rows = total(k, xp, axis=1) / (n - 2)
    half = rows - xp.sum(rows) / (2 * (n - 1))
    shift = xp.astype(half, k.dtype)
    centred = without_diagonal(k - shift[None, :] - shift[:, None], xp)
    noise = _FLAT * float(xp.finfo(k.dtype).eps) * xp.max(xp.abs(detach(k)))
    return xp.where(xp.max(xp.abs(detach(centred))) > noise, centred, 0.0 * centred)


def robust_origin(x: Array, xp: Namespace) -> Array:
    """A point amid the rows of `x` (n, p), shape (1, p), to be subtracted before distances are computed.

    Distances do not depend on the origin, their rounding does. This is the median, feature by feature, of at most 257 rows
    at regular distances: outliers do not carry it away, as they would a mean or a first row, and whole numbers stay whole.
    """
    few = xp.sort(detach(x)[:: max(1, x.shape[0] // 256), :], axis=0)
    middle = (few.shape[0] - 1) // 2
    return few[middle : middle + 1, :]


def squared_distances(a: Array, b: Array, xp: Namespace, unit: Array | float | None = None, factor: float = 1.0) -> Array:
    """Squared Euclidean distances of the rows of `a` (n, p) and `b` (m, p), shape (n, m).

    By the expansion |a|^2 + |b|^2 - 2ab, so rows should be centred first; rounding below zero is clipped, and the
    diagonal is exactly 0 when `b` is the very object `a`.

    Parameters
    ----------
    unit : 0-d array or float, optional
        What distances are measured in. Default: 1. The square of the unit may be out of range, and that of the distances
        before they are measured in it.
    factor : float
        What the squares are multiplied by.
    """
    squares, scale = _scaled_squares(a, b, xp)
    if unit is not None:
        scale = xp.clip(
            (constant_of(1.0, squares, xp) if scale is None else scale) / unit, max=float(xp.finfo(squares.dtype).max) ** 0.5
        )
        return squares * (factor * scale * scale)
    if scale is None:
        return squares if factor == 1 else squares * factor
    return squares * factor * scale * scale


def distances(a: Array, b: Array, xp: Namespace) -> Array:
    """Euclidean distances of the rows of `a` (n, p) and `b` (m, p), shape (n, m): see `squared_distances`."""
    squares, scale = _scaled_squares(a, b, xp)
    return root(squares, xp) if scale is None else root(squares, xp) * scale


def _scaled_squares(a: Array, b: Array, xp: Namespace) -> tuple[Array, Array | None]:
    """Squared distances in the square of a unit, a power of two, and this unit; or None for 1, where nothing is scaled."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):  # whose values are there to be asked
        with np.errstate(over="ignore", invalid="ignore"):
            aa = np.vecdot(a, a)
            bb = aa if b is a else np.vecdot(b, b)
            if bool(is_ordinary(np.sqrt(np.maximum(np.max(aa), np.max(bb))), xp)):
                return _expanded(a, b, aa, bb, xp), None
    scale = power_of_two(a, xp)
    if b is not a:
        other = power_of_two(b, xp)
        scale = xp.where(scale < other, other, scale)
    x = a / scale
    y = x if b is a else b / scale
    return _expanded(x, y, vecdot(x, x, xp), vecdot(y, y, xp), xp), scale


def _expanded(a: Array, b: Array, aa: Array, bb: Array, xp: Namespace) -> Array:
    """|a|^2 + |b|^2 - 2ab, not below zero."""
    squares = xp.clip(aa[:, None] + bb[None, :] - 2 * (a @ b.mT), min=0.0)
    return xp.where(_diagonal(squares, xp), 0.0, squares) if b is a else squares


def _diagonal(square: Array, xp: Namespace) -> Array:
    """Boolean mask of the diagonal of a square matrix."""
    i = xp.arange(square.shape[0], **placement(square))
    return i[:, None] == i[None, :]


def reordered(square: Array, order: Array, xp: Namespace) -> Array:
    """Rows and columns of a square matrix in another order."""
    return xp.take(xp.take(square, order, axis=0), order, axis=1)


def without_diagonal(square: Array, xp: Namespace) -> Array:
    """A square matrix with zeros on its diagonal."""
    return xp.where(_diagonal(square, xp), 0.0, square)


def median_of_pairs(d: Array, xp: Namespace) -> Array:
    """Median of a symmetric (n, n) matrix over the distinct pairs i < j; the mean of the two middle ones if they are even.

    Each pair stands twice off the diagonal, so the k-th pair is entry 2k of the sorted off-diagonal entries.
    """
    n = d.shape[0]
    pairs = n * (n - 1) // 2
    low, high = 2 * ((pairs - 1) // 2), 2 * (pairs // 2)
    flat = xp.reshape(xp.where(_diagonal(d, xp), float("inf"), d), (-1,))
    if isinstance(flat, np.ndarray):  # selection is linear in n^2; the standard only offers a sort
        flat = np.partition(flat, (low, high))
    elif hasattr(xp, "kthvalue"):  # PyTorch's selection, differentiable
        return (xp.kthvalue(flat, low + 1).values + xp.kthvalue(flat, high + 1).values) / 2
    else:
        flat = xp.sort(flat)
    return (flat[low] + flat[high]) / 2


# --- orthonormal bases ----------------------------------------------------------------------------------------------------


class Basis(NamedTuple):
    """Orthonormal basis of a column space, of fixed width and variable rank.

    Attributes
    ----------
    q : array, shape (n, k)
        Orthonormal columns; those beyond the rank are zero, so they add nothing to sums and singular values.
    rank : 0-d array
        The number of columns that are not zero.
    squares : array, shape (m,), optional
        Squared singular values; those that `orthonormal_basis` had no need to tell apart are missing or roughly right.
    """

    q: Array
    rank: Array
    squares: Array | None = None

    def permuted(self, order: Array) -> Basis:
        """The same space with the rows in another order."""
        return self._replace(q=namespace_of(self.q).take(self.q, order, axis=0))


def orthonormal_basis(x: Array, tolerance: float, xp: Namespace, *, noise: float = 0.0) -> Basis:
    """Orthonormal basis of the column space of `x` (n, p), computed by products with p x p matrices.

    Two passes of whitening by Gram matrices: the first uses the eigenvectors of X'X with eigenvalues floored at rounding
    level, the second those of the nearly orthonormal result. That is as accurate as a QR decomposition (2e-11 at condition
    number 1e8), reveals the rank, and runs at the speed of matrix products. The eigenvectors are constants for
    differentiation: they only choose coordinates, and the last Cholesky factor carries the exact gradient of every function
    of the column space, even where eigenvalues are equal.

    Parameters
    ----------
    x : array, shape (n, p)
        Centred, in the accumulation precision.
    tolerance : float
        Singular values at or below this fraction of the largest count as zero.
    noise : float
        Singular values at or below this count as zero, too.

    Returns
    -------
    Basis
        ``q`` of shape (n, min(n, p)).
    """
    x = compact(x, xp)
    rounding = x.shape[1] * float(xp.finfo(x.dtype).eps)  # below this share of the largest, eigenvalues of X'X are noise
    squares, v = xp.linalg.eigh(detach(cross(x, x)))
    largest = xp.max(squares)
    whole = xp.where(largest > 0, largest, 1.0)
    lost = noise * noise / whole
    lost = xp.where(lost > tolerance * tolerance, lost, tolerance * tolerance)  # as a share of the largest
    floor = rounding * whole
    # Where what is lost lies above rounding, X'X itself tells; else the second pass does.
    present = xp.logical_or(squares > lost * whole, lost <= rounding)
    z = x @ _scaled(v, xp.where(squares > floor, squares, floor), present, xp)
    # Directions at the floor come back shorter than 1: their length says how far below the floor they were. The others
    # have length 1 up to rounding, and must stay on one side of the threshold whatever it is.
    lengths, u = xp.linalg.eigh(detach(cross(z, z)))
    threshold = xp.where(lost < rounding / 2, lost / rounding, 0.5)
    keep = xp.logical_and(lengths > threshold, largest > 0)
    basis = _corrected(z, _scaled(u, lengths, keep, xp), keep, xp)
    short = xp.where(xp.logical_and(lengths < 0.5, lost <= rounding), lengths * floor, 0.0)
    return basis._replace(squares=xp.concat([xp.where(squares > floor, squares, 0.0), short]))


def _corrected(z: Array, w: Array, keep: Array, xp: Namespace) -> Basis:
    """Basis z w L^-T with LL' = w'z'zw: exactly orthonormal, and differentiable in z although w is constant."""
    gram = cross(z, z)
    return Basis(z @ (w @ _inverse_root(w.mT @ gram @ w, keep, xp)), _count(keep, xp))


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
        return Basis(xp.where(keep[None, :], v, 0.0), _count(keep, xp))
    return _corrected(x, _scaled(v, squares, keep, xp), keep, xp)


def symmetric_root(c: Array, xp: Namespace) -> Array:
    """(CC')^1/2, differentiable also where singular values of `c` (k, m) are equal or 0.

    Its derivative has the entries u_i' d(CC') u_j / (s_i + s_j) in the left singular vectors (Daleckii & Krein 1965). Those
    are constants here, so that value and gradient are right; directions that C does not have stay 0.
    """
    u, s, _ = xp.linalg.svd(detach(c), full_matrices=False)
    sums = s[:, None] + s[None, :]
    present = sums > max(c.shape) * float(xp.finfo(c.dtype).eps) * xp.max(s)
    turned = u.mT @ c
    change = turned @ turned.mT
    change = (change - detach(change)) * xp.where(present, 1.0 / xp.where(present, sums, 1.0), 0.0)
    return (u * s[None, :] + u @ change) @ u.mT


def ridge_root(q: Array, x: Array, penalty: Array, xp: Namespace) -> Array:
    """Q~ with Q~Q~' = X (X'X + penalty I)^-1 X', the hat matrix of ridge regression, shape (n, k).

    Ridge regression is least squares with the rows sqrt(penalty) I appended to X. So the upper part of an orthonormal basis
    of [X; sqrt(penalty) I] is a root, accurate however small or large the penalty is.

    Parameters
    ----------
    q : array, shape (n, k)
        Orthonormal basis of the directions of `x` that count, such as ``Representation.basis.q``.
    x : array, shape (n, p)
        Centred features.
    penalty : 0-d array
        Positive.
    """
    inside = compact(cross(q, x), xp)
    k = inside.shape[0]
    tall = xp.concat([inside, xp.sqrt(penalty) * identity(inside.shape[1], inside, xp)])
    tolerance = max(tall.shape) * float(xp.finfo(tall.dtype).eps)
    return q @ orthonormal_basis(tall, tolerance, xp).q[:k, :]


def _scaled(vectors: Array, squares: Array, keep: Array, xp: Namespace) -> Array:
    """Columns divided by the roots of `squares` where `keep` is true, zero elsewhere."""
    return xp.where(keep, 1.0 / xp.sqrt(xp.where(squares > 0, squares, 1.0)), 0.0)[None, :] * vectors


def _inverse_root(gram: Array, keep: Array, xp: Namespace) -> Array:
    """L^-T of a Gram matrix that is near the identity on the columns `keep` and zero on the others."""
    missing = identity(gram.shape[0], gram, xp) * xp.astype(xp.logical_not(keep), gram.dtype)[None, :]
    return xp.linalg.inv(xp.linalg.cholesky((gram + gram.mT) / 2 + missing)).mT


def _count(keep: Array, xp: Namespace) -> Array:
    return xp.sum(xp.astype(keep, xp.int32))
