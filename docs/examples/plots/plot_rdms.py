"""
How a layer sees its examples
=============================

:func:`simkit.plot.rdms` draws the dissimilarities of all pairs of examples, or their similarities by any
kernel (``kernel="rbf(fraction=0.4)"``), sorted by class: what RSA compares.
"""

import simkit

first, labels = simkit.demo.load(0), simkit.demo.labels()
axes = simkit.plot.rdms({name: first[name] for name in ("conv1", "conv5", "logits")}, groups=labels)
