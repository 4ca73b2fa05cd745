"""Activations that are changed by gradients until they score high: is what the target holds in them then?

After Cloos et al. (2024). The target is the last hidden layer of a trained network (200 digits, 64 units), the start noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import simkit
from benchmarks.which_index.components import probe
from benchmarks.which_index.layers import bundled
from simkit import demo

__all__ = ["measure"]

INDEXES = ("cka", "procrustes", "linear_regression")
LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
STEPS = 4000


def climb(target: np.ndarray, spec: str, levels: tuple[float, ...]) -> dict[str, Any]:
    """The probe's accuracy, and other scores, when the score first reaches each level."""
    import torch

    goal = torch.from_numpy(target)
    y = torch.from_numpy(np.random.default_rng(0).standard_normal(target.shape) * target.std()).requires_grad_()
    optimizer = torch.optim.Adam([y], lr=0.01 * float(target.std()))
    labels, waiting, reached = demo.labels(), list(levels), {}
    for step in range(STEPS):
        score = simkit.compare(goal, y, spec)
        if not step or float(score.detach()) >= waiting[0]:
            now = y.detach().numpy().copy()
            level = str(waiting.pop(0)) if step else "start"
            reached[level] = {
                "score": float(score.detach()),
                "step": step,
                "probe": probe(now, labels),
                "components": captured(target, now),
            }
            print(spec, level, reached[level], flush=True)
        if not waiting:
            break
        optimizer.zero_grad()
        (-score).backward()
        optimizer.step()
    return reached


def captured(target: np.ndarray, y: np.ndarray) -> list[float]:
    """Of each of the first ten principal components of the target, the share of variance that y explains."""
    x = target - target.mean(axis=0)
    u = np.linalg.svd(x, full_matrices=False)[0][:, :10]
    q = np.linalg.qr(y - y.mean(axis=0))[0]
    return [float(value) for value in np.sum((q.T @ u) ** 2, axis=0)]


def measure(quick: bool = False) -> dict[str, Any]:
    """Each index from the same start."""
    target = bundled()[0]["avgpool"].astype(np.float64)
    entries = {"target": {"probe": probe(target, demo.labels())}}
    return entries | {spec: climb(target, spec, LEVELS[:1] if quick else LEVELS) for spec in INDEXES[: 1 if quick else None]}
