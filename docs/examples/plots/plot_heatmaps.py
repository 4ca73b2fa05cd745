"""
Many matrices in one scale
==========================

:func:`simkit.plot.heatmaps` draws one panel for each index or pair of networks, as in Figure 2 of the paper.
``shared=False`` gives each panel a scale of its own.
"""

import simkit

first, second = simkit.demo.load(0), simkit.demo.load(1)
indexes = ["cca", "svcca", "linear_regression", "cka", "cka(kernel=rbf(fraction=0.4))", "procrustes"]
axes = simkit.plot.heatmaps([simkit.pairwise(first, second, index) for index in indexes])
