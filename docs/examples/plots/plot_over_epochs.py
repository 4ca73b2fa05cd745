"""
Training
========

:func:`simkit.plot.over_epochs` shows how far the layers of a network move while it is trained: by epoch,
scores by layer, or a matrix of the network with a reference, of which the diagonal is drawn. The network here
has two layers and learns the classes of the digits; :class:`simkit.torch.Drift` collects such scores during a
real training (:doc:`/topics/training`).
"""

import numpy as np

import simkit

rng = np.random.default_rng(0)
digits, labels = simkit.demo.load(0)["conv1"], simkit.demo.labels()
digits = (digits - digits.mean(axis=0)) / digits.std()
targets = np.eye(10)[labels]
hidden, readout = rng.standard_normal((256, 64)) / 16, rng.standard_normal((64, 10)) / 8


def forward():
    """Activations of both layers."""
    a = np.maximum(digits @ hidden, 0)
    return {"hidden": a, "logits": a @ readout}


start, drift = forward(), {}
for epoch in range(31):
    layers = forward()
    if epoch % 3 == 0:
        drift[epoch] = {name: simkit.compare(start[name], layers[name], "cka", estimator="unbiased") for name in layers}
    error = np.exp(layers["logits"]) / np.exp(layers["logits"]).sum(axis=1, keepdims=True) - targets
    back = error @ readout.T * (layers["hidden"] > 0)
    readout -= 2e-3 * layers["hidden"].T @ error
    hidden -= 2e-3 * digits.T @ back

ax = simkit.plot.over_epochs(drift, index="cka(estimator=unbiased)", n=200)
