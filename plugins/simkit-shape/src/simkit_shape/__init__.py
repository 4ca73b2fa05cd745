"""Distances between the shapes of representations, for simkit."""

from simkit_shape.bures import Bures
from simkit_shape.metric import ShapeMetric
from simkit_shape.riemannian import Riemannian
from simkit_shape.stochastic import StochasticShape

__all__ = ["Bures", "Riemannian", "ShapeMetric", "StochasticShape"]
