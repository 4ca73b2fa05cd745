"""
Many networks as a tree
=======================

:func:`simkit.plot.dendrogram` joins what is nearest first. The layers of two networks that were trained from
different seeds join in pairs: each with its counterpart.
"""

import simkit

networks = {"A": simkit.demo.load(0), "B": simkit.demo.load(1)}
layers = {f"{name} {network}": x for network, found in networks.items() for name, x in found.items()}
ax = simkit.plot.dendrogram(simkit.pairwise(layers, index="procrustes(summary=angular)"))
