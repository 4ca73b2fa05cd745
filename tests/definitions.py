"""The indexes as the literature defines them: float64 NumPy, explicit centring matrices, loops and textbook decompositions.

Nothing here is fast and nothing comes from simkit.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.linalg


def float64(X):
    return np.asarray(X, dtype=np.float64)


def H(n):
    """The centring matrix I - 11'/n."""
    return np.eye(n) - np.ones((n, n)) / n


def centred(X):
    """H X, without the n x n matrix; of numbers with a large offset, the offset is taken off first."""
    X = float64(X) - float64(X)[0]
    return X - X.mean(axis=0)


# --- kernels ---------------------------------------------------------------------------------------------------------------


def distances(X):
    """Euclidean distances by subtraction, one pair at a time."""
    X = float64(X)
    n = len(X)
    D = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            D[i, j] = math.sqrt(math.fsum((X[i] - X[j]) ** 2))
    return D


def median_distance(X):
    """Over the distinct pairs i < j."""
    D = distances(X)
    pairs = sorted(D[i, j] for i, j in itertools.combinations(range(len(D)), 2))
    m = len(pairs)
    return pairs[m // 2] if m % 2 else (pairs[m // 2 - 1] + pairs[m // 2]) / 2


def linear(X):
    return float64(X) @ float64(X).T


def rbf(X, fraction=1.0, sigma=None):
    sigma = fraction * median_distance(X) if sigma is None else sigma
    return np.exp(-(distances(X) ** 2) / (2 * sigma**2))


def laplacian(X, fraction=1.0, sigma=None):
    sigma = fraction * median_distance(X) if sigma is None else sigma
    return np.exp(-distances(X) / sigma)


def polynomial(X, degree=3, gamma=None, coef0=1.0):
    X = float64(X)
    return ((1 / X.shape[1] if gamma is None else gamma) * X @ X.T + coef0) ** degree


def cosine(X):
    X = float64(X)
    lengths = np.sqrt((X**2).sum(axis=1))
    return X @ X.T / np.outer(lengths, lengths)


KERNELS = {"linear": linear, "rbf": rbf, "laplacian": laplacian, "polynomial": polynomial, "cosine": cosine}


# --- HSIC and CKA ----------------------------------------------------------------------------------------------------------


def hsic_biased(K, L):
    """Equation 3: tr(KHLH)/(n-1)^2."""
    n = len(K)
    return np.trace(K @ H(n) @ L @ H(n)) / (n - 1) ** 2


def hsic_unbiased(K, L):
    """Song et al. 2007, equation 5: diagonals removed from both matrices first."""
    n = len(K)
    one = np.ones(n)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    return (
        np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 * (one @ K @ L @ one) / (n - 2)
    ) / (n * (n - 3))


def hsic_u_statistic(K, L):
    """What the estimator above is an average of: Gretton et al. 2005, all ordered quadruples of distinct examples."""
    terms = [
        K[i, j] * L[i, j] + K[i, j] * L[q, r] - 2 * K[i, j] * L[i, q]
        for i, j, q, r in itertools.permutations(range(len(K)), 4)
    ]
    return math.fsum(terms) / len(terms)


def hsic_lange(K, L):
    """Lange et al. 2023: centre, then leave out the diagonal."""
    n = len(K)
    K, L = H(n) @ K @ H(n), H(n) @ L @ H(n)
    return math.fsum(K[i, j] * L[i, j] for i in range(n) for j in range(n) if i != j) / (n * (n - 3))


HSIC = {"biased": hsic_biased, "unbiased": hsic_unbiased, "lange": hsic_lange}


def hsic(X, Y, kernel="linear", estimator="biased", **parameters):
    k = KERNELS[kernel]
    return HSIC[estimator](k(X, **parameters), k(Y, **parameters))


def cka(X, Y, kernel="linear", estimator="biased", **parameters):
    K, L = KERNELS[kernel](X, **parameters), KERNELS[kernel](Y, **parameters)
    h = HSIC[estimator]
    return h(K, L) / math.sqrt(h(K, K) * h(L, L))


def estimates(blocks, n):
    """All three estimators of all three pairs from blocks of rows of (K, L), for n too large for H.

    `blocks` gives (start, K[start:stop], L[start:stop]) of matrices whose rows sum to 0 unless only ``"unbiased"`` is used.
    """
    inner, diagonal = np.zeros((2, 2)), np.zeros((2, 2))
    rows = [np.zeros((2, n)), np.zeros((2, n))]  # with and without the diagonal
    for start, *matrices in blocks:
        size = len(matrices[0])
        where = np.arange(size), np.arange(start, start + size)
        for a in range(2):
            rows[0][a, start : start + size] = matrices[a].sum(axis=1)
            rows[1][a, start : start + size] = rows[0][a, start : start + size] - matrices[a][where]
            for b in range(2):
                inner[a, b] += np.sum(matrices[a] * matrices[b])
                diagonal[a, b] += np.sum(matrices[a][where] * matrices[b][where])
    result = {}
    for a, b, pair in ((0, 1, "xy"), (0, 0, "xx"), (1, 1, "yy")):
        off = inner[a, b] - diagonal[a, b]
        sums = rows[1][a].sum() * rows[1][b].sum() / ((n - 1) * (n - 2)) - 2 * rows[1][a] @ rows[1][b] / (n - 2)
        result[pair] = {
            "biased": inner[a, b] / (n - 1) ** 2,
            "lange": off / (n * (n - 3)),
            "unbiased": (off + sums) / (n * (n - 3)),
        }
    return result


# --- regression and CCA ----------------------------------------------------------------------------------------------------


def basis(X, relative=None):
    """Orthonormal basis of the centred columns, by pivoted QR; the rank by its diagonal."""
    X = centred(X)
    q, r, _ = scipy.linalg.qr(X, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(r))
    relative = max(X.shape) * np.finfo(np.float64).eps if relative is None else relative
    return q[:, diagonal > relative * diagonal[0]]


def linear_regression(X, Y):
    """Equation 5, as the proportion of variance that least squares explains: X fitted from Y."""
    X, Y = centred(X), centred(Y)
    B = np.linalg.lstsq(Y, X, rcond=None)[0]
    return 1 - np.linalg.norm(X - Y @ B) ** 2 / np.linalg.norm(X) ** 2


def canonical_correlations(X, Y, relative=None):
    """The cosines of the principal angles, min(rank) of them."""
    return np.linalg.svd(basis(X, relative).T @ basis(Y, relative), compute_uv=False)


def summary(rho, kind):
    return {"r2": np.mean(rho**2), "rho": np.mean(rho), "pillai": np.sum(rho**2)}[kind]


def cca(X, Y, summary_of="r2", relative=None):
    return summary(canonical_correlations(X, Y, relative), summary_of)


def truncated(X, threshold):
    """SVCCA's left singular vectors: as few as reach the share of the sum of squares."""
    u, s, _ = np.linalg.svd(centred(X), full_matrices=False)
    share = 0.0
    for k in range(len(s)):
        share += s[k] ** 2 / np.sum(s**2)
        if share >= threshold * (1 - 1e-14):
            return u[:, : k + 1]
    return u


def svcca(X, Y, threshold=0.99, summary_of="r2"):
    return summary(np.linalg.svd(truncated(X, threshold).T @ truncated(Y, threshold), compute_uv=False), summary_of)


def pwcca(X, Y, squared=False):
    """Equations 9 and 10, weights from X, with loops over canonical variables and neurons.

    The paper writes it for p1 <= p2. Beyond, equation 9 has as many canonical variables as correlations (Morcos et al.);
    equation 10 has all of X's, those without a partner with correlation 0, or it would not be R^2.
    """
    Qx, Qy, Xc = basis(X), basis(Y), centred(X)
    u, rho, _ = np.linalg.svd(Qx.T @ Qy, full_matrices=squared)
    numerator = denominator = 0.0
    for i in range(u.shape[1]):
        h = Qx @ u[:, i]
        products = [h @ Xc[:, j] for j in range(Xc.shape[1])]
        alpha = sum(v * v for v in products) if squared else sum(abs(v) for v in products)
        if i < len(rho):
            numerator += alpha * (rho[i] ** 2 if squared else rho[i])
        denominator += alpha
    return numerator / denominator
