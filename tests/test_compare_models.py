"""compare_models: what pairwise gives of activations taken by hand, whichever way the examples went."""

from __future__ import annotations

import numpy as np
import pytest

import simkit

torch = pytest.importorskip("torch")

from small_models import Net, Tied  # noqa: E402
from test_torch_distributed import in_processes  # noqa: E402
from torch import nn  # noqa: E402

from simkit.errors import DataWarning, ExtractionError, InvalidArrayError, NeedsAllExamplesError, TooLargeError  # noqa: E402
from simkit.scale.projection import RandomProjection  # noqa: E402
from simkit.torch import activations, collecting, compare_models  # noqa: E402

IMAGES = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(1))
IDS = torch.randint(0, 20, (12, 7), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def nets():
    torch.manual_seed(0)
    return Net(), Net(6)


def expected_of(a, b, index="cka", **parameters):
    first = activations(a, IMAGES, pool="mean")
    return simkit.pairwise(first, None if b is None else activations(b, IMAGES, pool="mean"), index, **parameters)


INDEXES = [
    ("cka", {}), ("cka", {"estimator": "unbiased"}), ("cca", {}), ("procrustes", {}), ("svcca", {}), ("linear_regression", {}),
    ("rsa", {}), ("cka", {"kernel": "rbf"}), ("mutual_knn", {"k": 3}),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("index", "parameters"), INDEXES)
@pytest.mark.parametrize("streams", [False, True])
def test_both_routes_and_the_change_over(nets, monkeypatch, index, parameters, streams):
    if streams:
        monkeypatch.setattr(collecting, "_ALWAYS_KEPT", 0)
    layers = {"layers": ["relu#2", "fc"]} if index not in ("cka", "rsa", "mutual_knn") else {}
    found = compare_models(*nets, IMAGES, index=index, pool="mean", batch_size=7, **layers, **parameters)
    sides = [activations(net, IMAGES, pool="mean", **layers) for net in nets]
    expected = simkit.pairwise(*sides, index, **parameters)
    assert (found.rows, found.columns, found.n, found.index) == (expected.rows, expected.columns, 60, expected.index)
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), atol=3e-6)
    streamed = streams and index not in ("rsa", "mutual_knn") and "kernel" not in parameters and bool(layers)
    assert ("batch by batch" in found.details["collected"]) == streamed


def test_the_sums_take_over_when_they_are_smaller(nets, monkeypatch):
    monkeypatch.setattr(collecting, "_ALWAYS_KEPT", 0)
    for layers, streamed in (("fc", True), (["fc", "relu#2", "conv1", "conv2"], False)):  # 2 x 10 features and 2 x 46
        found = compare_models(*nets, IMAGES, layers=layers, pool="mean", batch_size=9)
        assert ("batch by batch" in found.details["collected"]) == streamed


def test_layers_of_an_iterator_are_looked_for_in_both(nets):
    assert compare_models(*nets, IMAGES, layers=iter(["conv1", "fc"]), pool="mean").shape == (2, 2)


def test_a_model_with_itself_and_with_a_checkpoint(nets):
    a, _ = nets
    other = Net()
    for b in (None, a):
        found = compare_models(a, b, IMAGES, pool="mean")
        np.testing.assert_allclose(found.to_numpy(), expected_of(a, None).to_numpy(), atol=1e-6)
        assert found.rows == found.columns
    found = compare_models(a, other.state_dict(), IMAGES, pool="mean", batch_size=13)
    np.testing.assert_allclose(found.to_numpy(), expected_of(a, other).to_numpy(), atol=1e-6)
    both = compare_models(a, other.state_dict(), IMAGES, pool="mean", state=other.state_dict())
    np.testing.assert_allclose(np.diag(both.to_numpy()), 1, atol=1e-6)
    some = compare_models(a, None, IMAGES, layers="conv*", layers_b="fc", pool="mean")
    np.testing.assert_allclose(some.to_numpy(), expected_of(a, None).to_numpy()[[0, 3]][:, [6]], atol=1e-6)


@pytest.mark.parametrize("state", [None, Net().state_dict()], ids=["its own weights", "a checkpoint"])
def test_one_run_serves_both_sides_of_one_model(nets, state):
    calls = []
    nets[0].register_forward_hook(lambda *_: calls.append(1))
    options = {"pool": "mean", "batch_size": 30, "state": state}
    compare_models(nets[0], None, IMAGES, layers="conv*", layers_b="fc", **options)
    assert len(calls) == 2 + 2  # a look at a few examples for each side, and two batches
    calls.clear()
    compare_models(nets[0], None, IMAGES, layers="conv*", **options)
    assert len(calls) == 1 + 2


def test_what_the_matrix_says(nets):
    found = compare_models(*nets, IMAGES, layers="conv*", layers_b="fc", pool="mean")
    assert found.details["rows"]["model"] == "Net"
    assert found.details["rows"]["rules"]["conv1"] == "mean over 6 x 6 positions, channels first"
    assert found.details["columns"]["rules"] == {"fc": "as it is"}
    assert found.details["rows"]["fingerprint"] == found.details["columns"]["fingerprint"]
    assert found.details["rows"]["fingerprint"] == activations(nets[0], IMAGES, layers="fc").fingerprint


# --- inputs of its own for each ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [(60,), (7, 20, 33), (1, 59)])
def test_two_kinds_of_inputs_in_step(nets, cuts):
    a, b = nets
    wrapped = nn.Sequential(nn.Upsample(scale_factor=2), b)
    small = nn.functional.avg_pool2d(IMAGES, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    other = list(small[:, :, ::2, ::2].split(list(cuts)))
    found = compare_models(a, wrapped, IMAGES, data_b=other, layers="fc", layers_b="1.fc", batch_size=8)
    expected = simkit.compare(activations(a, IMAGES, layers="fc")["fc"], activations(b, small, layers="fc")["fc"])
    assert float(found["fc", "1.fc"]) == pytest.approx(float(expected), abs=1e-6)
    assert found.details["rows"]["fingerprint"] != found.details["columns"]["fingerprint"]


def test_batches_that_do_not_tell_how_many_examples_they_have(nets):
    class Graph:
        def __init__(self, x):
            self.x = x

    def forward(model, batch):
        return model(batch.x)

    expected = expected_of(*nets).to_numpy()
    for cuts, cuts_b in (([20, 40], [33, 27]), ([7, 53], [60])):
        data, data_b = ([Graph(x) for x in IMAGES.split(sizes)] for sizes in (cuts, cuts_b))
        found = compare_models(*nets, data, data_b=data_b, forward=forward, pool="mean")
        np.testing.assert_allclose(found.to_numpy(), expected, atol=1e-6)
    with pytest.raises(ExtractionError, match="expected the same examples"):
        compare_models(*nets, data, data_b=data_b * 2, forward=forward, pool="mean")


@pytest.mark.parametrize(
    ("data", "data_b"),
    [
        (IMAGES, IMAGES[:50]),
        (iter(IMAGES.split(9)), iter(IMAGES[:50].split(9))),
        (iter(IMAGES[:50].split(9)), iter(IMAGES.split(9))),
    ],
)
def test_other_numbers_of_examples(nets, data, data_b):
    with pytest.raises(ExtractionError, match="expected the same examples"):
        compare_models(*nets, data, data_b=data_b, layers="fc")


def test_data_that_never_end_are_not_waited_for(nets):
    taken = iter(range(1000))
    with pytest.raises(ExtractionError, match="data ends after 60 examples, and data_b goes on"):
        compare_models(*nets, iter(IMAGES.split(9)), data_b=(IMAGES[:9] for _ in taken), layers="fc")
    assert next(taken) < 20


def test_loaders_that_shuffle_are_not_in_step(nets):
    dataset = torch.utils.data.TensorDataset(IMAGES)
    loaders = [torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=shuffle) for shuffle in (False, True)]
    data = torch.utils.data
    loaders += [data.DataLoader(dataset, 8, sampler=data.SubsetRandomSampler(range(60)))]
    loaders += [data.DataLoader(dataset, 8, sampler=data.WeightedRandomSampler(torch.ones(60), 60))]
    loaders += [data.DataLoader(dataset, batch_sampler=data.BatchSampler(data.RandomSampler(dataset), 8, False))]
    for loader in loaders[1:]:
        with pytest.raises(ExtractionError, match="shuffles"):
            compare_models(*nets, loaders[0], data_b=loader, layers="fc")
    in_order = data.DataLoader(dataset, batch_sampler=data.BatchSampler(data.SequentialSampler(dataset), 8, False))
    assert compare_models(*nets, loaders[0], data_b=in_order, layers="fc").n == 60
    found = compare_models(*nets, loaders[1], layers="fc")  # each batch goes through both
    np.testing.assert_allclose(found.to_numpy(), compare_models(*nets, IMAGES, layers="fc").to_numpy(), atol=1e-6)


def test_two_passes_over_a_loader_that_shuffles_are_found(nets):
    dataset = torch.utils.data.TensorDataset(IMAGES)
    generator = torch.Generator().manual_seed(0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True, generator=generator)
    first, second = (activations(net, loader, layers="fc") for net in nets)
    with pytest.warns(DataWarning, match="without shuffling"):
        simkit.pairwise(first, second)
    simkit.pairwise(dict(first), dict(second))  # whoever knows better
    assert simkit.pairwise(first, dict(second)).details["rows"] == first.details


def test_positions_must_be_said_to_correspond(nets):
    with pytest.raises(ExtractionError, match="correspond=True"):
        compare_models(*nets, IMAGES, layers="conv*", pool="positions")
    found = compare_models(*nets, IMAGES, layers="conv*", pool="positions", correspond=True)
    assert found.n == 60 * 36
    with pytest.raises(ExtractionError, match="same examples"):
        compare_models(*nets, IMAGES, layers=["conv1", "fc"], pool="positions", correspond=True)


def test_tokens_under_a_mask(nets):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 2, 20, batch_first=True)
    a = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    padding = torch.arange(5) >= torch.tensor([5, 3, 4, 2, 5, 1])[:, None]
    data = {"src": torch.randn(6, 5, 12), "src_key_padding_mask": padding}
    found = compare_models(a, None, data, layers="layers.*", pool="tokens", correspond=True, batch_size=2)
    assert found.n == 20


def test_models_that_write_over_their_inputs():
    torch.manual_seed(0)
    a, b = (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 4)) for _ in range(2))
    plain = nn.Sequential(nn.Identity(), b[1])
    x = torch.randn(30, 3)
    found = compare_models(a, plain, [x.clone()], layers="1")
    assert float(found["1", "1"]) == pytest.approx(
        float(simkit.compare(a[1](x.relu()).detach(), b[1](x).detach())), abs=1e-6
    )


# --- too wide ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::simkit.errors.ChanceWarning")
def test_the_remedies_for_wide_layers_work(nets, monkeypatch):
    monkeypatch.setattr(collecting, "_ALWAYS_KEPT", 1000)
    monkeypatch.setattr(collecting, "free_bytes", lambda device: 5000)
    wide = {"layers": ["conv1", "conv2"], "max_bytes": 10_000}
    for data in (IMAGES, IMAGES.split(20)):
        with pytest.raises(TooLargeError) as caught:
            compare_models(*nets, data, pool="flatten", **wide)
    message = str(caught.value)
    places = [message.index(word) for word in ("pool=", "minibatch", "RandomProjection", "several passes")]
    assert places == sorted(places)
    assert compare_models(*nets, IMAGES, pool="mean", **wide).shape == (2, 2)
    assert compare_models(*nets, IMAGES, pool="flatten", estimator="minibatch", batch_size=20, **wide).shape == (2, 2)
    assert compare_models(*nets, IMAGES, pool="flatten", projection=RandomProjection(8), **wide).shape == (2, 2)
    one = {"layers": "fc", "layers_b": "fc", "max_bytes": 10_000}
    assert compare_models(*nets, IMAGES, **one).shape == (1, 1)
    with pytest.raises(TooLargeError, match="rsa.* needs 60 examples at once"):
        compare_models(*nets, IMAGES, pool="flatten", index="rsa", **wide)


def test_the_stream_names_the_minibatch_estimator():
    stream = simkit.stream("cka", max_bytes=1000)
    with pytest.raises(InvalidArrayError, match=r'estimator="minibatch".*RandomProjection.*fewer layers per stream'):
        stream.update(np.zeros((10, 20)), np.zeros((10, 20)))


def test_nobody_names_an_estimator_that_the_index_does_not_have():
    stream = simkit.stream("mmd(kernel=linear)", max_bytes=1000)
    with pytest.raises(InvalidArrayError, match="fewer layers per stream") as caught:
        stream.update(np.zeros((10, 20)), np.zeros((10, 20)))
    assert "minibatch" not in str(caught.value)
    assert "minibatch" not in collecting.remedies(simkit.get_index("mmd"), 20, 1000)
    with pytest.raises(NeedsAllExamplesError, match=r"tile by tile\), or the linear kernel\."):
        simkit.stream("mmd(kernel=rbf)")
    with pytest.raises(NeedsAllExamplesError, match="linear kernel, or estimator=minibatch"):
        simkit.stream("hsic(kernel=rbf)")


def test_minibatch_is_that_of_a_stream(nets):
    found = compare_models(*nets, IMAGES, pool="flatten", layers="conv*", estimator="minibatch", batch_size=20)
    stream = simkit.stream("cka", estimator="minibatch")
    for batch in IMAGES.split(20):
        stream.update(*(activations(net, batch, layers="conv*", pool="flatten") for net in nets))
    np.testing.assert_allclose(found.to_numpy(), stream.compute().to_numpy(), atol=1e-6)


def test_a_short_last_batch_joins_the_one_before(nets):
    options = {"pool": "mean", "estimator": "minibatch"}
    found = compare_models(*nets, IMAGES[:41], batch_size=20, **options)
    expected = compare_models(*nets, IMAGES[:41].split([20, 21]), **options)
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), atol=1e-7)
    assert found.n == 41
    with pytest.raises(ExtractionError, match="Take larger batches"):
        compare_models(*nets, IMAGES[:41].split([20, 1, 20]), **options)
    with pytest.raises(InvalidArrayError, match="at least 4"):
        compare_models(*nets, IMAGES[:3], **options)


def test_both_models_see_the_same_random_images(nets):
    class Augmented(torch.utils.data.Dataset):
        asked = ()

        def __len__(self):
            return 23

        def __getitem__(self, i):
            self.asked += (i,)
            return IMAGES[i] + torch.randn(3, 8, 8), i

    dataset, (a, b) = Augmented(), nets
    b = Net()
    b.load_state_dict(a.state_dict())
    found = compare_models(a, b, torch.utils.data.DataLoader(dataset, batch_size=7, shuffle=True), pool="mean")
    np.testing.assert_allclose(np.diag(found.to_numpy()), 1, atol=1e-6)
    assert sorted(dataset.asked) == list(range(23))  # each once, although some were looked at before


def test_checkpoints_under_autocast(nets):
    a, b = nets[0], Net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = compare_models(a, b.state_dict(), IMAGES, pool="mean")
        expected = compare_models(a, b, IMAGES, pool="mean")
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), atol=1e-6)


def test_a_projection_is_for_indexes_of_one_pass(nets):
    with pytest.raises(ExtractionError, match="projection="):
        compare_models(*nets, IMAGES, layers="fc", index="rsa", projection=RandomProjection(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers_b": "fv"}, "layers_b"),
        ({"pool_b": "avg"}, "pool_b"),
        ({"mask": 3}, "mask is 3"),
        ({"forward": 3}, "forward is 3"),
        ({"channels": "middle"}, "channels"),
        ({"device": "tpu9"}, "device"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_bytes": -1}, "max_bytes is -1"),
        ({"max_bytes": "4 GB"}, "max_bytes is '4 GB'"),
        ({"projection": 4}, r"projection is 4; expected.*RandomProjection"),
        ({"correspond": "no"}, "correspond is 'no'"),
    ],
)
def test_what_is_wrong_is_said(nets, options, message):
    with pytest.raises(simkit.SimkitError, match=message):
        compare_models(*nets, IMAGES, **({"layers": "fc"} | options))
    with pytest.raises(ExtractionError, match=r"b is a tensor; expected a torch\.nn\.Module"):
        compare_models(nets[0], IMAGES, nets[1])
    with pytest.raises(ExtractionError, match="data is missing"):
        compare_models(*nets)


def test_sequences_of_other_lengths_cannot_be_flattened():
    torch.manual_seed(0)
    with pytest.raises(ExtractionError, match='pool="mean"'):
        activations(Tied(), [IDS, IDS[:, :5]], layers="head", pool="flatten")
    with pytest.raises(ExtractionError, match='pool="mean"'):
        compare_models(Tied(), Tied(), [IDS, IDS[:, :5]], layers="head", pool="flatten")


# --- processes -----------------------------------------------------------------------------------------------------------


def share(rank):
    torch.manual_seed(0)
    models = Net(), Net(6)
    models = nn.parallel.DistributedDataParallel(models[0]), models[1]
    dataset = torch.utils.data.TensorDataset(IMAGES[:55])
    loader = torch.utils.data.DataLoader(dataset, batch_size=8, sampler=torch.utils.data.DistributedSampler(dataset))
    found = compare_models(*models, loader, pool="mean", estimator="unbiased")
    return found.to_numpy(), found.n


def test_processes_share_the_examples(tmp_path):
    torch.manual_seed(0)
    expected = compare_models(Net(), Net(6), IMAGES[:55], pool="mean", estimator="unbiased")
    results = in_processes(share, tmp_path)
    for result in results:
        assert not isinstance(result, str), result
        np.testing.assert_allclose(result[0], expected.to_numpy(), atol=3e-6)
        assert result[1] == 55
