"""Definitions in float64, against which errors are measured: as in the paper, in the simplest form, slow."""

from __future__ import annotations

import numpy as np

__all__ = [
    "canonical_correlations",
    "cka",
    "cosine_knn",
    "heatmap",
    "nuclear_similarity",
    "rbf_cka",
    "spearman_rsa",
    "unbiased_cka",
    "unbiased_heatmap",
]


def centred(x: np.ndarray) -> np.ndarray:
    """In float64."""
    return x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)


def cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA with explicitly centred columns, by whichever of the two forms is smaller."""
    x, y = centred(x), centred(y)
    if max(x.shape[1], y.shape[1]) > len(x):
        k, m = x @ x.T, y @ y.T
        return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))
    return float(np.sum((x.T @ y) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2)))


def heatmap(a: list[np.ndarray], b: list[np.ndarray]) -> np.ndarray:
    """Linear CKA of all pairs."""
    a, b = [centred(x) for x in a], [centred(y) for y in b]
    n = len(a[0])
    own = {id(x): np.linalg.norm(x.T @ x if x.shape[1] < n else x @ x.T) for x in (*a, *b)}
    grams = {id(y): y @ y.T for y in b if y.shape[1] > n // 2}

    def cross(x: np.ndarray, y: np.ndarray) -> float:
        wide = grams.get(id(y))
        return float(np.linalg.norm(x.T @ y) ** 2 if wide is None else np.sum(x * (wide @ x)))

    return np.array([[cross(x, y) / (own[id(x)] * own[id(y)]) for y in b] for x in a])


def unbiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased linear CKA, by U-centred matrices (Szekely & Rizzo 2014), in n x n form."""
    x, y, n = centred(x), centred(y), len(x)

    def u_centred(z: np.ndarray) -> np.ndarray:
        k = z @ z.T
        np.fill_diagonal(k, 0)
        rows = k.sum(axis=0)
        k += rows.sum() / ((n - 1) * (n - 2)) - rows[:, None] / (n - 2) - rows[None, :] / (n - 2)
        np.fill_diagonal(k, 0)
        return k

    k, m = u_centred(x), u_centred(y)
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def rbf_cka(x: np.ndarray, y: np.ndarray) -> float:
    """RBF CKA; the bandwidth is the median distance of distinct examples."""
    grams = []
    for z in (centred(x), centred(y)):
        squares = np.sum(z * z, axis=1)
        d = np.maximum(squares[:, None] + squares[None, :] - 2 * (z @ z.T), 0)
        np.fill_diagonal(d, 0)
        variance = np.median(np.sqrt(d[np.triu_indices(len(d), 1)])) ** 2
        k = np.exp(-d / (2 * variance))
        grams.append(k - k.mean(axis=0) - k.mean(axis=1)[:, None] + k.mean())
    k, m = grams
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


def canonical_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Singular values of Q_x'Q_y, for layers of full rank."""
    (q, _), (r, _) = np.linalg.qr(centred(x)), np.linalg.qr(centred(y))
    return np.linalg.svd(q.T @ r, compute_uv=False)


def nuclear_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """|X'Y|_* / (|X| |Y|)."""
    x, y = centred(x), centred(y)
    return float(np.linalg.svd(x.T @ y, compute_uv=False).sum() / (np.linalg.norm(x) * np.linalg.norm(y)))


def spearman_rsa(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation of the correlation distances of all pairs of examples."""
    from scipy.stats import rankdata

    i, j = np.triu_indices(len(x), 1)
    u, v = (rankdata(1 - np.corrcoef(z.astype(np.float64))[i, j]) for z in (x, y))
    return float(np.corrcoef(u, v)[0, 1])


def cosine_knn(a: list[np.ndarray], b: list[np.ndarray], k: int = 10) -> np.ndarray:
    """Mean share of common nearest neighbours by cosine."""

    def neighbours(x: np.ndarray) -> np.ndarray:
        z = x.astype(np.float64)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        near = z @ z.T
        np.fill_diagonal(near, -np.inf)
        chosen = np.zeros(near.shape, bool)
        np.put_along_axis(chosen, np.argpartition(-near, k, axis=1)[:, :k], True, axis=1)
        return chosen

    first, second = [neighbours(x) for x in a], [neighbours(x) for x in b]
    return np.array([[np.mean(np.sum(u & v, axis=1)) / k for v in second] for u in first])


def unbiased_heatmap(layers: list[np.ndarray]) -> np.ndarray:
    """Unbiased linear CKA of layers with themselves, in features: for centred layers K~ 1 is minus the diagonal of K."""
    layers = [centred(x) for x in layers]
    n, diagonals = len(layers[0]), [np.sum(x * x, axis=1) for x in layers]

    def hsic(i: int, j: int) -> float:
        d, e = diagonals[i], diagonals[j]
        trace = np.sum((layers[i].T @ layers[j]) ** 2) - d @ e
        return float(trace + d.sum() * e.sum() / ((n - 1) * (n - 2)) - 2 * (d @ e) / (n - 2))

    count = range(len(layers))
    table = np.array([[hsic(i, j) if i <= j else 0.0 for j in count] for i in count])
    table = np.maximum(table, table.T)
    return table / np.sqrt(np.outer(np.diag(table), np.diag(table)))
