"""
Corresponding layers only
=========================

:func:`simkit.plot.diagonal` draws the diagonals of matrices over the layers: of several indexes, or of
several pairs of networks. Results of :func:`simkit.interval` are drawn with bands.
"""

import simkit

first, second = simkit.demo.load(0), simkit.demo.load(1)
ax = simkit.plot.diagonal({"CKA": simkit.pairwise(first, second, "cka"), "SVCCA": simkit.pairwise(first, second, "svcca")})
