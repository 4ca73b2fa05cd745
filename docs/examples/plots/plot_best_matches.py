"""
Which layer matches which
=========================

:func:`simkit.plot.best_matches` draws an arrow from each layer of one network to the layer of the other that
is most like it. Parallel arrows: the layers correspond in their order.
"""

import simkit

first, second = simkit.demo.load(0), simkit.demo.load(1)
matrix = simkit.pairwise(first, second, "cka")
ax = simkit.plot.best_matches(matrix)
