"""Slopes along random directions: by automatic differentiation, and by differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["gradient_in_jax", "gradient_in_torch", "slopes"]

_STEP = 1e-5
_DIRECTIONS = 2


def gradient_in_torch(torch: Any, function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray | None]:
    """PyTorch's gradient with respect to each argument; None where none flows."""
    inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
    value = function(*inputs)
    if value.requires_grad:
        value.backward()
    return [None if x.grad is None else x.grad.numpy() for x in inputs]


def gradient_in_jax(jax: Any, function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray | None]:
    """JAX's gradient with respect to each argument."""
    return list(map(np.asarray, _compiled(jax, function, len(arrays))(*map(jax.numpy.asarray, arrays))))


@lru_cache(maxsize=1)  # for the next layers of the same shapes
def _compiled(jax: Any, function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The gradient as one program: compiling each of its operations by itself takes several times as long."""
    return jax.jit(jax.grad(function, argnums=tuple(range(count))))


def slopes(
    function: Callable[..., Any],
    arrays: tuple[np.ndarray, ...],
    gradients: list[np.ndarray | None],
    rng: np.random.Generator,
    *,
    by_example: bool = False,
) -> Iterator[tuple[str, float | None, float]]:
    """Along random directions of each argument: its name, the slope by its gradient, the slope by differences in NumPy.

    `by_example` moves each example as a whole to the first or away from it: dead units stay dead and equal units
    equal.
    """
    for i, (name, gradient) in enumerate(zip("XY", gradients, strict=False)):
        for _ in range(_DIRECTIONS):
            direction = rng.standard_normal(arrays[i].shape)
            if by_example:
                direction = direction[:, :1] * (arrays[i] - arrays[i][:1])
            ends = []
            for step in (_STEP, -_STEP):
                points = list(arrays)
                points[i] = points[i] + step * direction
                ends.append(float(function(*points)))
            slope = None if gradient is None else float(np.sum(gradient * direction))
            yield name, slope, (ends[0] - ends[1]) / (2 * _STEP)
