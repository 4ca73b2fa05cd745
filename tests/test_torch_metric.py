"""The metric of torchmetrics: batches and processes merged exactly, and everything else that a Metric does."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from data import pair
from test_torch_distributed import in_processes

import simkit
from simkit.errors import ConstantInputWarning, InvalidArrayError, MixedArraysError, NeedsAllExamplesError, SpecError

torch = pytest.importorskip("torch")
torchmetrics = pytest.importorskip("torchmetrics")
from simkit.torch import SimilarityMetric  # noqa: E402

X, Y = map(torch.tensor, pair(70, 6, 5))
PARTS = [slice(0, 20), slice(20, 69), slice(69, 70)]
SPECS = ("cka(estimator=unbiased)", "cca", "procrustes(summary=distance)")


@pytest.mark.parametrize("spec", SPECS)
def test_batches_score_as_all_examples(spec):
    metric = SimilarityMetric(spec)
    for part in PARTS:
        metric.update(X[part], Y[part])
    found = metric.compute()
    assert found.shape == ()
    torch.testing.assert_close(found, simkit.compare(X, Y, spec), rtol=1e-9, atol=0)
    metric.reset()
    assert not metric.update_called
    metric.update(X[:30, :2], Y[:30])  # of other layers
    torch.testing.assert_close(metric.compute(), simkit.compare(X[:30, :2], Y[:30], spec), rtol=1e-9, atol=0)


def test_layers_give_a_matrix():
    metric = SimilarityMetric("cka")
    batches = [({"a": X[part], "b": X[part, :2]}, {"c": Y[part]}) for part in PARTS]
    batch = metric(*batches[0])
    np.testing.assert_allclose(batch.to_numpy(), simkit.pairwise(*batches[0]).to_numpy(), rtol=1e-9)
    for each in batches[1:]:
        metric.update(*each)
    matrix = metric.compute()
    assert (matrix.rows, matrix.columns, matrix.n) == (("a", "b"), ("c",), 70)
    np.testing.assert_allclose(matrix.to_numpy(), simkit.pairwise({"a": X, "b": X[:, :2]}, {"c": Y}).to_numpy(), rtol=1e-9)
    assert metric.compute() is matrix  # kept until the next batch
    metric.to("cpu")
    metric.update(*batches[0])
    assert metric.compute().n == 90


def test_forward_gives_the_batch_and_adds_to_the_whole():
    metric = SimilarityMetric("cka", estimator="unbiased")
    for part in PARTS[:2]:
        expected = simkit.compare(X[part], Y[part], "cka", estimator="unbiased")
        torch.testing.assert_close(metric(X[part], Y[part]), expected, rtol=1e-9, atol=0)
    with pytest.warns(ConstantInputWarning, match="1 example, and .* at least 4"):
        assert metric(X[PARTS[2]], Y[PARTS[2]]).isnan()
    torch.testing.assert_close(metric.compute(), simkit.compare(X, Y, "cka", estimator="unbiased"), rtol=1e-9, atol=0)


def test_a_collection_keeps_its_metrics_apart():
    """Metrics whose states look alike share one in a collection: those of different indexes must not."""
    metrics = {
        "biased": SimilarityMetric("cka"),
        "unbiased": SimilarityMetric("cka", estimator="unbiased"),
        "cca": SimilarityMetric("cca"),
    }
    together = torchmetrics.MetricCollection(metrics)
    for part in PARTS:
        together.update(X[part], Y[part])
    found = together.compute()
    for name, spec in {"biased": "cka", "unbiased": "cka(estimator=unbiased)", "cca": "cca"}.items():
        torch.testing.assert_close(found[name], simkit.compare(X, Y, spec), rtol=1e-9, atol=0)
    assert float((2 * SimilarityMetric("cka"))(X, Y)) == pytest.approx(2 * float(simkit.compare(X, Y)))


def test_copies_and_files():
    metric = SimilarityMetric("cka", estimator="unbiased")
    metric.update(X[:40], Y[:40])
    assert not metric.state_dict()  # as other metrics
    copies = [metric.clone(), pickle.loads(pickle.dumps(metric))]
    metric.persistent(True)
    model = torch.nn.ModuleDict({"similarity": metric})
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    loaded = SimilarityMetric("cka", estimator="unbiased")
    loaded.persistent(True)
    torch.nn.ModuleDict({"similarity": loaded}).load_state_dict(torch.load(file, weights_only=True))
    assert isinstance(loaded.compute(), torch.Tensor)  # before the next batch, too
    assert loaded.update_count == 1
    for each in (*copies, loaded):
        each.update(X[40:], Y[40:])
        torch.testing.assert_close(each.compute(), simkit.compare(X, Y, "cka", estimator="unbiased"), rtol=1e-9, atol=0)
    assert metric.stream.n == 40
    empty = SimilarityMetric("cka", estimator="unbiased")
    empty.load_state_dict(metric.state_dict())
    assert empty.stream.n == 40
    with pytest.raises(RuntimeError, match="saved with index .*unbiased.*, and this metric has cca"):
        SimilarityMetric("cca").load_state_dict(metric.state_dict())
    with pytest.raises(RuntimeError, match="stream"):
        loaded.load_state_dict({})
    with pytest.raises(RuntimeError, match="expected a tensor of bytes"):
        loaded.load_state_dict({"stream": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="ZIP|zip|damaged|no saved"):
        loaded.load_state_dict({"stream": torch.zeros(3, dtype=torch.uint8)})


def test_states_merge():
    one, two = SimilarityMetric("cka"), SimilarityMetric("cka")
    one.update(X[:40], Y[:40])
    two.update(X[40:], Y[40:])
    before = one.compute()
    one.merge_state(two)
    assert one.compute() != before
    torch.testing.assert_close(one.compute(), simkit.compare(X, Y), rtol=1e-9, atol=0)
    with pytest.raises(InvalidArrayError, match="different index"):
        one.merge_state(SimilarityMetric("cca"))
    with pytest.raises(TypeError, match="dict"):
        one.merge_state({})


def test_precision():
    """Sums stay in float64 whatever the module is cast to; half precision gives float32."""
    metric = SimilarityMetric("cka")
    metric.half()
    metric.set_dtype(torch.float16)
    for part in PARTS:
        metric.update(X[part].to(torch.bfloat16), Y[part].to(torch.bfloat16))
    found = metric.compute()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, simkit.compare(X.bfloat16().float(), Y.bfloat16().float()), rtol=1e-6, atol=0)
    metric.set_dtype(torch.float16)
    assert metric.compute() == found


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_move_takes_the_sums_along():
    metric = SimilarityMetric("cka")
    metric.update(X[:40], Y[:40])
    metric.to("cuda")
    metric.update(X[40:].cuda(), Y[40:].cuda())
    assert metric.compute().device.type == "cuda"
    metric.cpu()
    torch.testing.assert_close(metric.compute(), simkit.compare(X, Y), rtol=1e-9, atol=0)


def test_what_it_says_of_itself():
    similarity, distance = SimilarityMetric("cka"), SimilarityMetric("procrustes(summary=distance)")
    assert (similarity.higher_is_better, distance.higher_is_better) == (True, False)
    assert (similarity.plot_lower_bound, similarity.plot_upper_bound, distance.plot_upper_bound) == (0, 1, None)
    assert repr(similarity) == "SimilarityMetric(<Stream of cka: no batch yet>)"
    assert not similarity.is_differentiable


def test_bad_input():
    metric = SimilarityMetric("cka")
    with pytest.raises(MixedArraysError, match="Y holds a ndarray"):
        metric.update(X, Y.numpy())
    with pytest.raises(MixedArraysError, match="X holds a list"):
        metric.update({"a": [1.0]}, {"b": Y})
    with pytest.raises(InvalidArrayError, match="call update first"):
        metric.compute()
    with pytest.raises(NeedsAllExamplesError):
        SimilarityMetric("cka(kernel=rbf)")
    with pytest.raises(SpecError, match="compute_on_cpu"):
        SimilarityMetric("cka", compute_on_cpu=True)
    metric.update(X, Y)
    with pytest.raises(ValueError, match="dist_sync_fn"):
        metric.sync(dist_sync_fn=lambda x, group: [x])


def test_plots():
    pytest.importorskip("matplotlib")
    metric = SimilarityMetric("cka")
    values = [metric(X[part], Y[part]) for part in PARTS[:2]]
    _, ax = metric.plot(values)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [float(value) for value in values])
    metric.reset()
    metric.update({"a": X, "b": Y})
    figure, ax = metric.plot()
    assert ax.figure is figure


def test_without_torchmetrics():
    code = """
import sys
sys.modules["torchmetrics"] = None
import simkit.torch
assert "SimilarityMetric" in dir(simkit.torch)
try:
    simkit.torch.SimilarityMetric
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "simkit-similarity[torchmetrics]"' in done.stdout


def distributed(rank):
    """Uneven shares, one process that has nothing, an error within, and the state of one process after each."""
    warnings.simplefilter("ignore")
    share = [slice(0, 45), slice(45, 70)][rank]
    found = {}
    for spec in SPECS:
        metric = SimilarityMetric(spec)
        metric.update(X[share][:20], Y[share][:20])
        metric.update(X[share][20:], Y[share][20:])
        alone = metric.stream.n
        found[spec] = float(metric.compute())
        assert metric.stream.n == alone == len(X[share])
        with metric.sync_context():
            found[spec, "n"] = metric.stream.n
            try:
                metric.update(X, Y)
            except Exception as error:
                found[spec, "synced"] = str(error)
        local = SimilarityMetric(spec, sync_on_compute=False)
        local.update(X[share], Y[share])
        found[spec, "local"] = float(local.compute())
    metric = SimilarityMetric("cca", timeout=60)
    try:
        metric.compute()
    except InvalidArrayError as error:
        found["nothing"] = str(error)
    if rank == 1:
        metric.update({"x": X, "y": Y})
    found["one idle"] = metric.compute().to_numpy()
    short = SimilarityMetric("cka(estimator=unbiased)")
    short.update(X[rank : rank + 1], Y[rank : rank + 1])
    try:
        short.compute()
    except InvalidArrayError as error:
        found["too few"] = str(error)
    short.update(X[2 + rank : 4 + rank], Y[2 + rank : 4 + rank])  # it is no longer synced
    step = SimilarityMetric("cka", dist_sync_on_step=True)
    found["step"] = float(step(X[share], Y[share]))
    return found


def test_two_processes_score_as_one(tmp_path):
    both = in_processes(distributed, tmp_path)
    for rank, found in enumerate(both):
        assert isinstance(found, dict), found
        for spec in SPECS:
            expected = float(simkit.compare(X, Y, spec))
            assert found[spec] == both[0][spec] == pytest.approx(expected, rel=1e-9)
            assert found[spec, "n"] == 70
            assert "unsync" in found[spec, "synced"]
            share = [slice(0, 45), slice(45, 70)][rank]
            assert found[spec, "local"] == pytest.approx(float(simkit.compare(X[share], Y[share], spec)), rel=1e-9)
        np.testing.assert_allclose(found["one idle"], simkit.pairwise({"x": X, "y": Y}, index="cca").to_numpy(), rtol=1e-9)
        assert "No process has seen a batch" in found["nothing"]
        assert "2 examples" in found["too few"]
        assert found["step"] == pytest.approx(float(simkit.compare(X, Y)), rel=1e-9)
