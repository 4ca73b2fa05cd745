"""
All layers against all layers
=============================

:func:`simkit.plot.heatmap` follows what the index declares: similarities of [0, 1] are drawn from 0 to 1, so
that pictures can be compared by eye; distances on the reversed map, so that bright is alike everywhere; and
matrices that go below 0 by more than a tenth of the scale on a diverging map with white at 0. Scores that are
only a little below 0, as unbiased CKA of unrelated layers, have the colour of 0, and the colour bar is
pointed there.
"""

import simkit

first, second = simkit.demo.load(0), simkit.demo.load(1)
matrix = simkit.pairwise(first, second, "cka")
ax = matrix.plot()

# %%
# The mark at the colour bar shows what unrelated layers of these widths score (:doc:`/topics/chance`). Undefined
# scores are hatched, such as those of a layer whose units are dead:

dead = {"conv1": first["conv1"], "dead": first["conv1"] * 0, "logits": first["logits"]}
ax = simkit.plot.heatmap(simkit.pairwise(dead, second, "cka"))
