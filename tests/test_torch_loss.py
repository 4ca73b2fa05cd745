"""Losses: values and gradients by the definitions, in one graph, in half precision, and batches that have no score."""

from __future__ import annotations

import copy
import pickle
import warnings

import definitions
import numpy as np
import pytest
from data import able, pair

import simkit
from simkit.errors import (
    ConstantInputWarning,
    InvalidArrayError,
    MixedArraysError,
    SpecError,
    UnknownNameError,
    UnsupportedError,
)

torch = pytest.importorskip("torch")
from simkit.torch import CKALoss, SimilarityLoss  # noqa: E402

X, Y = pair(20, 5, 4)


def leaves(*arrays, dtype=torch.float64):
    return [torch.tensor(a, dtype=dtype, requires_grad=True) for a in arrays]


@pytest.mark.parametrize("target", ["similar", "different"])
@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_value_and_slope_of_the_definition(target, estimator):
    """Against CKA written out in NumPy, and differences of it along a random direction."""
    x, y = leaves(X, Y)
    loss = CKALoss(estimator=estimator, target=target)

    def expected(a, b):
        score = definitions.cka(a, b, estimator=estimator)
        return 1 - score if target == "similar" else score

    value = loss(x, y)
    assert value.item() == pytest.approx(expected(X, Y), rel=1e-12)
    value.backward()
    direction, step = np.random.default_rng(0).standard_normal(X.shape), 1e-5
    slope = (expected(X + step * direction, Y) - expected(X - step * direction, Y)) / (2 * step)
    assert float(np.sum(x.grad.numpy() * direction)) == pytest.approx(slope, rel=1e-7)


@pytest.mark.parametrize("target", ["similar", "different"])
@pytest.mark.parametrize(
    "spec", able("gradients", ["cka(kernel=rbf)", "procrustes(summary=distance)", "cca", "hsic", "gulp"])
)
def test_gradients(spec, target):
    assert torch.autograd.gradcheck(SimilarityLoss(spec, target=target), leaves(X, Y), fast_mode=True)


@pytest.mark.parametrize(
    "spec", ["cka", "cka(estimator=unbiased)", "procrustes", "procrustes(summary=distance)", "hsic", "gulp"]
)
def test_smaller_means_more_alike_or_less(spec):
    """A representation is nearer to itself than to another one, for similarities and for distances."""
    x, far = torch.tensor(X), torch.tensor(np.random.default_rng(1).standard_normal((20, 5)))
    similar, different = SimilarityLoss(spec), SimilarityLoss(spec, target="different")
    assert similar(x, x) < similar(x, far)
    assert different(x, x) > different(x, far)
    if simkit.get_index(spec).facts.identity is not None:
        assert similar(x, x).item() == pytest.approx(0, abs=1e-6)


def test_training_by_it_makes_layers_alike():
    torch.manual_seed(0)
    x, teacher = torch.randn(64, 8), torch.randn(64, 8)
    teacher = torch.tanh(x @ torch.randn(8, 6)) + 0.01 * teacher[:, :6]
    student = torch.nn.Linear(8, 6)
    loss = CKALoss(estimator="unbiased")
    optimizer = torch.optim.Adam(student.parameters(), lr=0.06)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        losses.append(loss(student(x), teacher))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("spec", ["cka(estimator=unbiased)", "procrustes"])
def test_one_graph_of_value_and_gradient(spec):
    torch._dynamo.reset()
    x, y = leaves(X, Y)
    loss = SimilarityLoss(spec, undefined="nan")
    expected = loss(x, y)
    gradients = torch.autograd.grad(expected, (x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, about what it traces
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        found = compiled(x, y)
        torch.testing.assert_close(found, expected)
        for a, b in zip(torch.autograd.grad(found, (x, y)), gradients, strict=True):
            torch.testing.assert_close(a, b)
        # A batch without a score: the loss says so, and the gradient does no harm.
        constant = torch.ones_like(x).requires_grad_()
        found = compiled(constant, y)
        assert found.isnan()
        assert all(not g.any() for g in torch.autograd.grad(found, (constant, y)))


def test_autocast_changes_nothing_in_one_graph_either():
    """simkit turns autocast off where it runs; in a compiled graph the loss has to."""
    torch._dynamo.reset()
    x, y = leaves(X, Y, dtype=torch.float32)
    loss = CKALoss()
    expected = loss(x, y)
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("ignore")
        assert loss(x, y) == expected
        torch.testing.assert_close(
            torch.compile(loss, fullgraph=True, backend="aot_eager")(x, y), expected, rtol=1e-5, atol=0
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    x, y = leaves(X, Y, dtype=dtype)
    loss = CKALoss(estimator="unbiased")
    value = loss(x, y)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(x.detach().float(), y.detach().float()), rtol=1e-6, atol=0)
    value.backward()
    assert x.grad.dtype == dtype
    assert x.grad.isfinite().all()


def test_a_batch_without_a_score_is_an_error_or_harmless():
    constant = torch.ones(20, 3, dtype=torch.float64, requires_grad=True)
    (y,) = leaves(Y)
    with pytest.warns(ConstantInputWarning), pytest.raises(InvalidArrayError, match='undefined="nan"'):
        CKALoss()(constant, y)
    for loss in (CKALoss(undefined="nan"), CKALoss(undefined="nan", target="different")):
        with pytest.warns(ConstantInputWarning, match="constant"):
            value = loss(constant, y)
        assert value.isnan()
        (value + (y**2).sum()).backward()
        torch.testing.assert_close(y.grad, 2 * y.detach())  # of the other loss alone
        assert not constant.grad.any()
        y.grad = constant.grad = None


def test_bad_batches():
    x, y = map(torch.tensor, (X, Y))
    with pytest.raises(InvalidArrayError, match="needs at least 4"):
        CKALoss(estimator="unbiased")(x[:3], y[:3])
    with pytest.raises(InvalidArrayError, match="20 and 19 examples"):
        CKALoss()(x, y[:19])
    with pytest.raises(MixedArraysError, match="Y is a ndarray; CKALoss takes tensors"):
        CKALoss()(x, Y)
    with pytest.raises(InvalidArrayError, match="flatten=True"):
        CKALoss()(x[:, :, None], y)
    assert CKALoss(flatten=True)(x[:, :, None], y) == CKALoss()(x, y)


def test_what_cannot_be_a_loss_says_so_when_it_is_made():
    with pytest.raises(UnsupportedError, match=r"mutual_knn\(k=3\) has no gradients.* cka, "):
        SimilarityLoss("mutual_knn", k=3)
    with pytest.raises(SpecError, match="target"):
        SimilarityLoss("cka", target="alike")
    with pytest.raises(SpecError, match="undefined"):
        SimilarityLoss("cka", undefined="zero")
    with pytest.raises(UnknownNameError):
        SimilarityLoss("ckaa")
    with pytest.raises(SpecError):
        SimilarityLoss("cka", sigma=2)


def test_a_module_like_others():
    loss = SimilarityLoss("cka", estimator="unbiased", target="different", undefined="nan")
    assert repr(loss) == "SimilarityLoss(index='cka(estimator=unbiased)', target='different', undefined='nan')"
    assert repr(CKALoss(kernel="rbf(fraction=0.4)")).startswith("CKALoss(index='cka(kernel=rbf(fraction=0.4))'")
    assert not loss.state_dict()
    assert not list(loss.parameters())
    x, y = map(torch.tensor, (X, Y))
    for other in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), loss.half()):
        assert other(x, y) == loss(x, y)
    batch = torch.stack([x, 2 * x + 1])
    torch.testing.assert_close(torch.func.vmap(loss, in_dims=(0, None))(batch, y), loss(x, y).expand(2))
