"""
Lines with error bands
======================

:func:`simkit.plot.lines` draws scores over anything that is counted: examples, epochs, widths. Intervals
become bands. Here the unbiased estimator of CKA, which does not drift with the number of examples, becomes
surer with it.
"""

import simkit

first, second = simkit.demo.load(0), simkit.demo.load(1)
sizes = [25, 50, 100, 200]
curves = {
    name: [simkit.interval(first[name][:n], second[name][:n], "cka", estimator="unbiased", progress=False) for n in sizes]
    for name in ("conv1", "conv5", "avgpool")
}
ax = simkit.plot.lines(curves, sizes, log=True, ordered=True, xlabel="examples", ylabel="unbiased CKA")
