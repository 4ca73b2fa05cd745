"""Kernels: one file each, registered through the entry-point group ``simkit.kernels``."""

from simkit.kernels.cosine import Cosine
from simkit.kernels.distance import Distance
from simkit.kernels.laplacian import Laplacian
from simkit.kernels.linear import Linear
from simkit.kernels.polynomial import Polynomial
from simkit.kernels.rbf import RBF

__all__ = ["RBF", "Cosine", "Distance", "Laplacian", "Linear", "Polynomial"]
