"""Kernels that are equivalent to infinitely wide neural networks, for simkit."""

from simkit_nngp.arccosine import ArcCosine
from simkit_nngp.infinite import NNGP, NTK

__all__ = ["NNGP", "NTK", "ArcCosine"]
