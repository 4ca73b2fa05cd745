"""
What two layers share
=====================

:func:`simkit.analysis.shared_subspace` finds the directions that two layers share, as in Section 6.5 and
Figure 8 of the paper: eigenvalues of each layer, and how far the eigenvectors of one lie in the span of the
other's.
"""

import simkit
from simkit.analysis import shared_subspace

first, second = simkit.demo.load(0), simkit.demo.load(1)
axes = simkit.plot.shared_subspace({name: shared_subspace(first[name], second[name]) for name in ("conv1", "conv7")})
