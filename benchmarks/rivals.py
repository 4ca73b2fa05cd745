"""Formulas and libraries to compare with."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["definition", "feature_formula", "gram_formula", "pytorch_cka"]


def definition(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA in float64 with explicitly centred columns, by whichever of the two forms is smaller."""
    x, y = (a.astype(np.float64) - a.mean(axis=0, dtype=np.float64) for a in (x, y))
    n, p = len(x), max(x.shape[1], y.shape[1])
    if p > n:
        k, m = x @ x.T, y @ y.T
        return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))
    return float(np.sum((x.T @ y) ** 2) / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2)))


def feature_formula(x: np.ndarray, y: np.ndarray) -> float:
    """|Y'X|^2 / (|X'X| |Y'Y|) per pair, as one writes it in plain NumPy."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def gram_formula(x: np.ndarray, y: np.ndarray) -> float:
    """<HKH, HLH> / (|HKH| |HLH|) with n x n matrices, as one writes it in plain NumPy."""
    k, m = x @ x.T, y @ y.T
    for gram in (k, m):
        gram -= gram.mean(axis=0)
        gram -= gram.mean(axis=1, keepdims=True)
    return float(np.vdot(k, m) / (np.linalg.norm(k) * np.linalg.norm(m)))


def pytorch_cka(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> Callable[[], np.ndarray] | None:
    """The pytorch-cka package on activations that are centred beforehand (it does not centre them, which costs accuracy).

    None where it is not installed.
    """
    if importlib.util.find_spec("cka") is None or importlib.util.find_spec("torch") is None:
        return None
    import torch
    from cka import cka_from_features

    first = [torch.from_numpy(x - x.mean(axis=0)) for x in a]
    second = [torch.from_numpy(x - x.mean(axis=0)) for x in b]
    return lambda: cka_from_features(first, second).numpy().squeeze()
