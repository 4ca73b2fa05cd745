"""Forked processes, which do not have the threads that the libraries of their parent wait for."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["is_forked", "threads_are_missing"]

_threads_of: set[str] = set()  # libraries that were there when this process was forked


def is_forked() -> bool:
    """Whether this process was forked from one that had used a library whose threads stay behind."""
    return bool(_threads_of)


def threads_are_missing(x: Any) -> bool:
    """Whether work on `x` may wait for threads of the parent for ever; answered once."""
    torch = sys.modules.get("torch")
    if "torch" not in _threads_of or torch is None or not isinstance(x, torch.Tensor):
        return False
    _threads_of.clear()
    return x.device.type == "cpu" and torch.get_num_threads() > 1


def _after_fork() -> None:
    _threads_of.update({"torch"} & sys.modules.keys())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
