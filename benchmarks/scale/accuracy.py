"""Error of the mean canonical correlation of ill-conditioned layers, against Gram-Schmidt in extended precision."""

from __future__ import annotations

import dask.array as da
import numpy as np

import simkit
from benchmarks.machine import machine


def layers(n: int, p: int, condition: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two layers with singular values down to 1/condition and canonical correlations from 0.1 to 0.999."""

    def rotation() -> np.ndarray:
        return np.linalg.qr(rng.standard_normal((p, p)))[0]

    a = rng.standard_normal((n, 2 * p))
    u, v = np.split(np.linalg.qr(a - a.mean(axis=0))[0], 2, axis=1)
    rho, fall = np.linspace(0.1, 0.999, p), np.geomspace(1, 1 / condition, p)
    return (u @ rotation() * fall) @ rotation(), ((u * rho + v * np.sqrt(1 - rho**2)) @ rotation() * fall) @ rotation()


def truth(x: np.ndarray, y: np.ndarray) -> float:
    """Modified Gram-Schmidt, twice, in long double."""

    def basis(a: np.ndarray) -> np.ndarray:
        a = a.astype(np.longdouble)
        a = a - a.mean(axis=0)
        for _ in range(2):
            for k in range(a.shape[1]):
                a[:, k] /= np.sqrt(a[:, k] @ a[:, k])
                a[:, k + 1 :] -= np.outer(a[:, k], a[:, k] @ a[:, k + 1 :])
        return a

    return float(np.linalg.svd((basis(x).T @ basis(y)).astype(np.float64), compute_uv=False).mean())


def by_scatter(x: np.ndarray, y: np.ndarray) -> float:
    """From X'X, X'Y and Y'Y by Cholesky factors, as one would write it."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    try:
        a, b = (np.linalg.cholesky(z.T @ z) for z in (x, y))
    except np.linalg.LinAlgError:
        return float("nan")
    return float(np.linalg.svd(np.linalg.solve(a, np.linalg.solve(b, y.T @ x).T), compute_uv=False).mean())


def by_qr(x: np.ndarray, y: np.ndarray) -> float:
    """QR decompositions of everything in memory."""
    q, r = (np.linalg.qr(z - z.mean(axis=0))[0] for z in (x, y))
    return float(np.linalg.svd(q.T @ r, compute_uv=False).mean())


def main() -> None:
    """Print a table: the largest error over five draws."""
    print(machine())
    print(f"{'condition':>10}{'from X_X':>12}{'Dask':>12}{'in memory':>12}{'QR':>12}")
    for condition in (1e2, 1e4, 1e6, 1e8, 1e10):
        errors: list[list[float]] = []
        for seed in range(5):
            x, y = layers(3000, 16, condition, np.random.default_rng(seed))
            lazy = [da.from_array(z, chunks=(500, 16)) for z in (x, y)]
            found = (
                by_scatter(x, y),
                float(simkit.compare(*lazy, "cca(summary=rho)")),
                float(simkit.compare(x, y, "cca(summary=rho)")),
                by_qr(x, y),
            )
            errors.append([abs(score - truth(x, y)) for score in found])
        print(f"{condition:>10.0e}" + "".join(f"{error:>12.0e}" for error in np.max(errors, axis=0)))


if __name__ == "__main__":
    main()
