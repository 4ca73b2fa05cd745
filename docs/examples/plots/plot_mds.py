"""
Many networks as points
=======================

:func:`simkit.plot.mds` places layers so that their distances are kept as well as a plane can. It needs
distances that obey the triangle inequality: ``procrustes(summary=angular)``, ``gulp``,
``rsm_norm(similarity=inner)`` and others; an error names them.
"""

import simkit

networks = {"A": simkit.demo.load(0), "B": simkit.demo.load(1)}
layers = {f"{name} {network}": x for network, found in networks.items() for name, x in found.items()}
distances = simkit.pairwise(layers, index="procrustes(summary=angular)")
ax = simkit.plot.mds(distances, groups=[name[-1] for name in layers])
