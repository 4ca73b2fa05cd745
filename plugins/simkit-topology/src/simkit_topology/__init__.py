"""Topological distances between representations, as indexes of simkit."""

from simkit_topology.divergence import RTD, RTDLite
from simkit_topology.intrinsic import IMD

__all__ = ["IMD", "RTD", "RTDLite"]
