"""Formulas to compare with, as their authors or any careful user would write them, each in the library of its original.

They are written anew from the formulas where the original is not on the package index: Google's demonstration of CKA and
its svcca (NumPy), anatome (PyTorch) and netrep (NumPy). What is on the index is called where it is installed: pytorch-cka,
rsatoolbox, POT.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Pair = Callable[[], Any]

# --- CKA -------------------------------------------------------------------------------------------------------------------


def feature_formula(x: np.ndarray, y: np.ndarray) -> float:
    """|Y'X|^2 / (|X'X| |Y'Y|), the feature form of Google's demonstration."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def gram_formula(x: np.ndarray, y: np.ndarray) -> float:
    """<HKH, HLH> / (|HKH| |HLH|) with n x n matrices."""
    return _alignment(x @ x.T, y @ y.T)


def rbf_gram(x: np.ndarray, threshold: float = 1.0, variance: float | None = None) -> np.ndarray:
    """exp(-d^2 / (2 t^2 median d^2)), Google's demonstration; the median takes in the zeros of the diagonal."""
    products = x @ x.T
    squares = np.diag(products)
    distances = -2 * products + squares[:, None] + squares[None, :]
    return np.exp(-distances / (2 * threshold**2 * (np.median(distances) if variance is None else variance)))


def rbf_formula(x: np.ndarray, y: np.ndarray, variance: tuple[float, float] | tuple[None, None] = (None, None)) -> float:
    """RBF CKA by Google's demonstration."""
    return _alignment(rbf_gram(x, 1.0, variance[0]), rbf_gram(y, 1.0, variance[1]))


def _alignment(k: np.ndarray, m: np.ndarray) -> float:
    """Both are centred in place, as in Google's demonstration."""
    for gram in (k, m):
        means = gram.mean(axis=0)
        means -= means.mean() / 2
        gram -= means[:, None]
        gram -= means[None, :]
    return float(k.ravel() @ m.ravel() / (np.linalg.norm(k) * np.linalg.norm(m)))


def feature_heatmap(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """All pairs by features, each layer centred and multiplied with itself once."""
    a, b = [x - x.mean(axis=0) for x in a], [y - y.mean(axis=0) for y in b]
    own_a, own_b = ([np.linalg.norm(x.T @ x) for x in side] for side in (a, b))
    return np.array(
        [
            [np.linalg.norm(x.T @ y) ** 2 / (p * q) for y, q in zip(b, own_b, strict=True)]
            for x, p in zip(a, own_a, strict=True)
        ]
    )


def pytorch_cka(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Pair:
    """The package pytorch-cka on activations that are centred beforehand (it does not centre them, which costs accuracy)."""
    import torch
    from cka import cka_from_features

    first, second = ([torch.as_tensor(x - x.mean(axis=0)) for x in side] for side in (a, b))
    return lambda: cka_from_features(first, second).cpu().numpy().squeeze()


def torch_feature_formula(x: np.ndarray, y: np.ndarray) -> Pair:
    """The feature form in PyTorch, anatome's."""
    import torch

    u, v = torch.as_tensor(x), torch.as_tensor(y)

    def work() -> float:
        a, b = u - u.mean(dim=0), v - v.mean(dim=0)
        return float((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))

    return work


def jax_feature_formula(x: np.ndarray, y: np.ndarray) -> Pair:
    """The feature form in JAX, not compiled."""
    import jax.numpy as jnp

    u, v = jnp.asarray(x), jnp.asarray(y)

    def work() -> float:
        a, b = u - u.mean(axis=0), v - v.mean(axis=0)
        norm = jnp.linalg.norm
        return float(norm(b.T @ a) ** 2 / (norm(a.T @ a) * norm(b.T @ b)))

    return work


def torch_loss(x: np.ndarray, y: np.ndarray) -> Pair:
    """1 - CKA and its gradient by hand, with n x n matrices: what a training loop writes for n far below p."""
    import torch

    u, v = torch.as_tensor(x), torch.as_tensor(y)

    def work() -> Any:
        leaf = u.clone().requires_grad_(True)
        a, b = leaf - leaf.mean(dim=0), v - v.mean(dim=0)
        k, m = a @ a.T, b @ b.T
        loss = 1 - (k * m).sum() / (k.norm() * m.norm())
        loss.backward()
        return loss.item()

    return work


# --- canonical correlations, Procrustes ------------------------------------------------------------------------------------


def svcca(x: np.ndarray, y: np.ndarray) -> float:
    """Mean squared correlation by google/svcca: joint covariance, pseudo-inverses, their roots, singular values."""
    p = x.shape[1]
    covariance = np.cov(x.T, y.T)
    xx, xy, yy = covariance[:p, :p], covariance[:p, p:], covariance[p:, p:]
    scale_x, scale_y = np.max(np.abs(xx)), np.max(np.abs(yy))
    roots = []
    for block in (xx / scale_x, yy / scale_y):
        values, vectors = np.linalg.eigh(np.linalg.pinv(block))
        roots.append(vectors @ np.diag(np.sqrt(values)) @ vectors.T)
    _, rho, _ = np.linalg.svd(roots[0] @ (xy / np.sqrt(scale_x * scale_y)) @ roots[1])
    return float(np.mean(np.abs(rho) ** 2))


def anatome_cca(x: np.ndarray, y: np.ndarray, backend: str = "svd") -> Pair:
    """Mean squared canonical correlation by anatome: singular vectors of both layers, or QR, and the coefficients."""
    import torch

    u, v = torch.as_tensor(x), torch.as_tensor(y)

    def svd(z: Any) -> tuple[Any, Any, Any]:
        left, values, right = torch.linalg.svd(z, full_matrices=False)
        return left, values, right.T

    def work() -> float:
        a, b = u - u.mean(dim=0), v - v.mean(dim=0)
        if backend == "qr":
            (q1, r1), (q2, r2) = torch.linalg.qr(a), torch.linalg.qr(b)
            left, rho, right = svd(q1.T @ q2)
            _ = torch.linalg.inv(r1) @ left, torch.linalg.inv(r2) @ right  # the coefficients, which it returns
        else:
            (u1, s1, v1), (u2, s2, v2) = svd(a), svd(b)
            left, rho, right = svd(u1.T @ u2)
            _ = (v1 / s1) @ left, (v2 / s2) @ right
        return float((rho**2).mean())

    return work


def anatome_procrustes(x: np.ndarray, y: np.ndarray) -> Pair:
    """|X'Y|_* of layers of norm 1, anatome's orthogonal_procrustes_distance (which is 1 minus it)."""
    import torch

    u, v = torch.as_tensor(x), torch.as_tensor(y)

    def work() -> float:
        a, b = u - u.mean(dim=0), v - v.mean(dim=0)
        a /= torch.linalg.norm(a, ord="fro")
        b /= torch.linalg.norm(b, ord="fro")
        return float(torch.linalg.norm(a.T @ b, ord="nuc"))

    return work


def netrep_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """Cosine of netrep's LinearMetric(alpha=1): the rotations from singular vectors, both layers rotated, their angle."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    left, _, right = np.linalg.svd(x.T @ y)
    x, y = x @ left, y @ right.T
    return float(np.sum(x * y) / np.sqrt(np.sum(x * x) * np.sum(y * y)))


def scipy_procrustes(x: np.ndarray, y: np.ndarray) -> Pair:
    """scipy.spatial.procrustes: its disparity is 1 - similarity^2."""
    from scipy.spatial import procrustes

    return lambda: np.sqrt(max(0.0, 1 - procrustes(x, y)[2]))


# --- examples and neurons --------------------------------------------------------------------------------------------------


def rsatoolbox_rsa(x: np.ndarray, y: np.ndarray) -> Pair:
    """rsatoolbox: RDMs of correlation distances, compared by Spearman's rank correlation."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    first, second = Dataset(x), Dataset(y)
    return lambda: float(
        compare(calc_rdm(first, method="correlation"), calc_rdm(second, method="correlation"), method="spearman").squeeze()
    )


def torch_mutual_knn(a: Sequence[np.ndarray], b: Sequence[np.ndarray], k: int = 10) -> Pair:
    """torch.topk of all cosines, neighbours in common by comparing k x k indices: the authors' way, for all pairs."""
    import torch

    sides = [[torch.as_tensor(x) for x in side] for side in (a, b)]

    def neighbours(x: Any) -> Any:
        z = torch.nn.functional.normalize(x, dim=1)
        return (z @ z.T).fill_diagonal_(-torch.inf).topk(k, dim=1).indices

    def work() -> np.ndarray:
        first, second = ([neighbours(x) for x in side] for side in sides)
        return np.array([[float((u[:, :, None] == v[:, None, :]).any(dim=2).float().mean()) for v in second] for u in first])

    return work


def pot_soft_match(x: np.ndarray, y: np.ndarray) -> Pair:
    """The transport of POT (network simplex) between the neurons, at the cost of 1 - correlation."""
    import ot

    def work() -> float:
        a, b = (
            (z - z.mean(axis=0)) / (z.std(axis=0) * np.sqrt(len(z))) for z in (x.astype(np.float64), y.astype(np.float64))
        )
        p, q = a.shape[1], b.shape[1]
        return 1 - float(ot.emd2(np.full(p, 1 / p), np.full(q, 1 / q), 1 - a.T @ b, numItermax=10_000_000))

    return work


# --- passes and resamples --------------------------------------------------------------------------------------------------


def joint_scatter(batches: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """The scatter matrix of all layers side by side, summed over batches in float64: what any exact stream must do."""
    width = sum(x.shape[1] for x in batches[0])
    scatter, total, n = np.zeros((width, width)), np.zeros(width), 0
    for batch in batches:
        z = np.concatenate(batch, axis=1)
        scatter += z.T @ z
        total += z.sum(axis=0)
        n += len(z)
    scatter -= np.outer(total, total) / n
    return scatter


def recomputed(score: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """Scores of `count` resamples with replacement, each computed anew."""
    rng = np.random.default_rng(0)
    rows = (rng.integers(0, len(x), len(x)) for _ in range(count))
    return np.array([score(x[r], y[r]) for r in rows])


def permuted(score: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """Scores with the examples of x in `count` other orders, each computed anew."""
    rng = np.random.default_rng(0)
    return np.array([score(x[rng.permutation(len(x))], y) for _ in range(count)])
