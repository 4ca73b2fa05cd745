"""What an index says it needs of the data is enough to compute it."""

from __future__ import annotations

import numpy as np
import pytest
from data import OWN_INDEXES, pair

import simkit
from simkit.indexes._kernel_index import KernelIndex
from simkit.representation import Representation

INDEXES = [simkit.get_index(name) for name in OWN_INDEXES]
VARIANTS = ["cca(summary=rho)", "svcca(summary=rho, threshold=0.8)", "pwcca(squared=True)", "pwcca(weights=y)"]
BY_MOMENTS = [i for i in (*INDEXES, *map(simkit.get_index, VARIANTS)) if i.facts.statistic == "moments"]
BY_SUMS = [i for i in INDEXES if i.facts.statistic == "hsic sums"]


@pytest.mark.parametrize("index", BY_MOMENTS, ids=str)
@pytest.mark.parametrize("shape", [(50, 4, 6), (9, 12, 3)], ids=str)
def test_second_moments_suffice(index, shape):
    """R of the joint scatter matrix stands for all examples, in the very same prepare and score."""
    n, p1, p2 = shape
    X, Y = pair(n, p1, p2)
    joint = np.concatenate([X, Y], axis=1)
    joint -= joint.mean(axis=0)
    R = np.linalg.qr(joint)[1]
    states = [
        index.prepare(Representation(part, name, examples=n, is_centred=True))
        for part, name in ((R[:, :p1], "X"), (R[:, p1:], "Y"))
    ]
    expected = index(X, Y)
    if isinstance(index, simkit.indexes.PWCCA) and n <= p1 + p2:
        pytest.skip("several correlations are 1, so the weights are not defined")
    assert index.score(*states) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("index", BY_SUMS, ids=str)
@pytest.mark.parametrize("shape", [(50, 4, 6), (9, 12, 3)], ids=str)
def test_three_sums_suffice(index, shape):
    """The score is `from_sums` of sums over blocks of the Gram matrices, whatever produced them."""
    assert isinstance(index, KernelIndex)
    X, Y = pair(*shape)
    x, y = (index.prepare(Representation(z, name, tall=shape[0] >= sum(shape[1:]))) for z, name in ((X, "X"), (Y, "Y")))
    assert index.score(x, y) == pytest.approx(float(index(X, Y)), rel=1e-12)
    magnitudes = (x.scale * y.scale) ** 2 if isinstance(index, simkit.indexes.HSIC) else 1.0
    assert index.from_sums(x.sums(y), x.own, y.own) * magnitudes == pytest.approx(float(index(X, Y)), rel=1e-12)


@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_declared_gradients_flow(index):
    torch = pytest.importorskip("torch")
    if not index.facts.differentiable:
        pytest.skip("declared not differentiable")
    x, y = (torch.tensor(z, requires_grad=True) for z in pair(20, 3, 4))
    index(x, y).backward()
    for gradient in (x.grad, y.grad):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0
