"""Whether two models have learnt the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from simkit.arrays.bits import as_bits

__all__ = ["weights_fingerprint"]


def weights_fingerprint(model: torch.nn.Module, state: Mapping[str, Any] | None = None) -> str:
    """SHA-256 of the names, dtypes, shapes and values of all parameters and buffers, 64 hexadecimal digits.

    Parameters
    ----------
    model : torch.nn.Module
    state : mapping of str to tensor, optional
        What takes the place of its own.
    """
    digest = hashlib.sha256()
    for name, own in sorted(model.state_dict().items()):
        value = (state or {}).get(name, own)
        digest.update(f"{name}\0".encode("utf-8", "surrogatepass"))
        if not isinstance(value, torch.Tensor) or is_lazy(value):
            digest.update(type(value).__name__.encode())  # of a lazy module that never ran, or extra state
            continue
        bits, dtype = as_bits(value)
        digest.update(f"{dtype}{tuple(value.shape)}\0".encode())
        if bits.size:
            digest.update(bits.reshape(-1).view("u1").data)
    return digest.hexdigest()
