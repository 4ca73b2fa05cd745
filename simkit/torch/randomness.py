"""Random numbers that are as they were, whatever is drawn meanwhile."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["same_randomness"]


@contextmanager
def same_randomness(data: Any) -> Iterator[None]:
    """Within, `data` may be looped over; after it Python, NumPy and the generator of a loader go on as if it had not been.

    A `DataLoader` draws a seed for its workers whenever it is iterated, shuffled or not, and augmentations draw from
    wherever they like. A training that is only looked at must not be another one for that. What is drawn from PyTorch itself
    is given back by `simkit.torch.restoring.left_as_found`.
    """
    generator = getattr(data, "generator", None)
    generator = generator if isinstance(generator, torch.Generator) else None
    drawn = None if generator is None else generator.get_state()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # what others draw from
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if generator is not None and drawn is not None:
            generator.set_state(drawn)
