"""Drift over epochs: the scores by hand, references, a training that does not notice, checkpoints, and Lightning."""

from __future__ import annotations

import io
import random
import subprocess
import sys

import numpy as np
import pytest

import simkit
from simkit.errors import CheckpointError, ConstantInputWarning, InvalidArrayError, SpecError

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from simkit.torch import Drift  # noqa: E402

SPEC = "cka(estimator=unbiased)"


def network():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 4))


def moved(model, step):
    """The network after something like an epoch."""
    with torch.no_grad():
        for k, parameter in enumerate(model.parameters()):
            generator = torch.Generator().manual_seed(100 * step + k)
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def outputs(model, x):
    """Activations by hand, in eval mode."""
    found, model = {}, model.eval()
    with torch.no_grad():
        for name, module in model.named_children():
            x = found[name] = module(x)
    model.train()
    return found


PROBE = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("across", [False, True])
def test_scores_with_each_reference(across):
    model = network()
    drift = Drift(PROBE, "cka", estimator="unbiased", reference=("first", "previous", 2), across=across)
    layers = []
    for epoch in range(4):
        scores = drift.record(moved(model, epoch), epoch)
        layers.append(outputs(model, PROBE))
        assert list(scores) == ["0", "1", "2", "3"]

    def expected(pairs):
        return [[float(simkit.compare(layers[i][name], layers[j][name], SPEC)) for name in layers[0]] for i, j in pairs]

    for reference, pairs in {
        "first": [(0, 0), (1, 0), (2, 0), (3, 0)],
        "previous": [(1, 0), (2, 1), (3, 2)],
        2: [(2, 2), (3, 2)],
    }.items():
        table = drift.table(reference)
        assert table.rows == tuple(str(i) for i, _ in pairs)
        assert (table.index, table.n) == (SPEC, 50)
        np.testing.assert_allclose(table.to_numpy(), expected(pairs), rtol=1e-4)
    assert scores == dict(zip("0123", drift.table().to_numpy()[-1].tolist(), strict=True))
    if across:
        matrix = drift.matrix(3, "previous")
        np.testing.assert_allclose(
            matrix.to_numpy(), simkit.pairwise(layers[3], layers[2], SPEC).to_numpy(), rtol=1e-4, atol=1e-6
        )
        assert drift.matrix().shape == (4, 4)
    else:
        with pytest.raises(InvalidArrayError, match="across=True"):
            drift.matrix()
    assert repr(drift) == f"<Drift of {SPEC}: epochs 0, 1, 2, 3, 4 layers, n = 50>"


def test_the_last_epoch_may_be_recorded_again():
    model = network()
    drift, once = (Drift(PROBE, reference=("first", "previous")) for _ in range(2))
    for epoch in range(3):
        drift.record(moved(model, epoch))
        drift.record(moved(model, 10 + epoch), epoch)
        once.record(model, epoch)
    for reference in ("first", "previous"):
        np.testing.assert_array_equal(drift.table(reference).to_numpy(), once.table(reference).to_numpy())
    with pytest.raises(InvalidArrayError, match=r"Epoch 1 has been recorded, and 2 since"):
        drift.record(model, 1)
    drift.reset()
    assert drift.record(model, 1)["0"] == pytest.approx(1)


def test_recording_leaves_everything_as_it_was():
    model = network().train()
    model[1].eval()  # some part has a mode of its own
    generator = torch.Generator().manual_seed(5)

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, i):
            random.random(), np.random.random(), torch.rand(1)  # noqa: NPY002
            return PROBE[i]

    drift = Drift(DataLoader(Noisy(), batch_size=16, generator=generator))
    weights = {name: x.clone() for name, x in model.state_dict().items()}
    states = torch.get_rng_state(), generator.get_state()
    others = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    drift.record(model)
    assert all(torch.equal(x, model.state_dict()[name]) for name, x in weights.items())
    assert [m.training for m in model] == [True, False, True, True]
    for before, after in zip(states, (torch.get_rng_state(), generator.get_state()), strict=True):
        assert torch.equal(before, after)
    assert others == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert not any(m._forward_hooks for m in model.modules())


def test_checkpoints_go_on():
    model = network()
    whole, first = (Drift(PROBE, SPEC, reference=("first", "previous"), across=True) for _ in range(2))
    file = io.BytesIO()
    for epoch in range(2):
        whole.record(moved(model, epoch))
        first.record(model)
    torch.save(first.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    second = Drift(PROBE, SPEC, reference=("first", "previous"), across=True)
    second.load_state_dict(state)
    for drift in (whole, second):
        drift.record(moved(model, 2) if drift is whole else model)
    for reference in ("first", "previous"):
        np.testing.assert_array_equal(second.table(reference).to_numpy(), whole.table(reference).to_numpy())
        np.testing.assert_array_equal(second.matrix(1, reference).to_numpy(), whole.matrix(1, reference).to_numpy())
    for other, match in (
        (Drift(PROBE, "cca", reference=("first", "previous"), across=True), "index='cka"),
        (Drift(PROBE, SPEC, across=True), "references="),
        (Drift(PROBE, SPEC, reference=("first", "previous")), "across="),
    ):
        with pytest.raises(CheckpointError, match=match):
            other.load_state_dict(state)
    for damaged in ({}, {"version": 99}, state | {"rows": []}, state | {"kept": None}, state | {"layers": ["0"]}):
        with pytest.raises(CheckpointError):
            second.load_state_dict(damaged)
    assert second.epochs == (0, 1, 2)  # as before


def test_another_probe_or_network_is_an_error_that_changes_nothing():
    model = network()
    drift = Drift(DataLoader(PROBE, batch_size=16, shuffle=True))
    drift.record(model)
    torch.rand(1)
    with pytest.raises(InvalidArrayError, match=r"At epoch 1 the probe gave other examples.* shuffle=False"):
        drift.record(model)
    assert drift.epochs == (0,)
    drift = Drift(PROBE)
    drift.record(model)
    with pytest.raises(InvalidArrayError, match=r"\['3'\] are gone"):
        drift.record(model[:3])
    with pytest.raises(InvalidArrayError, match="whole number"):
        drift.record(model, 1.5)
    for wrong in ("last", (), ("first", "first"), True, 2.0, None):
        with pytest.raises(SpecError, match="reference"):
            Drift(PROBE, reference=wrong)
    with pytest.raises(InvalidArrayError, match="nothing has been recorded"):
        Drift(PROBE).table()
    with pytest.raises(InvalidArrayError, match="was not asked for"):
        drift.table("previous")
    with pytest.raises(InvalidArrayError, match="recorded are 0"):
        late = Drift(PROBE, reference=7)
        assert late.record(model) == {}
        late.table()


def test_a_dead_layer_is_told():
    model = network()
    drift = Drift(PROBE, layers=["0", "3"])
    drift.record(model)
    with torch.no_grad():
        model[3].weight.zero_()
    with pytest.warns(ConstantInputWarning, match="3"):
        scores = drift.record(model)
    assert np.isnan(scores["3"])
    assert scores["0"] == pytest.approx(1)


def test_table_and_picture():
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("matplotlib")
    model = network()
    drift = Drift(PROBE, layers="0", reference="previous")
    for epoch in (5, 10, 15):
        drift.record(moved(model, epoch), epoch)
    frame = drift.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert (list(frame.index), frame.index.name, list(frame.columns)) == ([10, 15], "epoch", ["0"])
    assert drift.plot().figure is not None


# --- Lightning -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lightning():
    return pytest.importorskip("lightning.pytorch")


DATA = TensorDataset(
    torch.randn(64, 6, generator=torch.Generator().manual_seed(1)),
    torch.randn(64, 4, generator=torch.Generator().manual_seed(2)),
)


def fitted(lightning, callbacks, folder, *, epochs=3, validation=True, checkpoint=None, **options):
    class Network(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, index):
            return torch.nn.functional.mse_loss(self(batch[0]), batch[1])

        def validation_step(self, batch, index):
            self.log("loss", torch.nn.functional.mse_loss(self(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.2)

    model = Network()
    torch.manual_seed(9)
    trainer = lightning.Trainer(
        max_epochs=epochs, callbacks=callbacks, default_root_dir=folder, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_model_summary=False, **({"enable_checkpointing": False} | options),
    )  # fmt: skip
    loaders = [DataLoader(DATA, batch_size=16, shuffle=True)] + [DataLoader(DATA, batch_size=32)] * validation
    trainer.fit(model, *loaders, ckpt_path=checkpoint)
    return model, trainer


def probe_loader():
    return DataLoader(TensorDataset(PROBE), batch_size=16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("validation", [True, False])
def test_a_training_with_the_callback_is_the_same_to_the_last_bit(lightning, tmp_path, validation):
    from simkit.torch import DriftCallback

    plain, _ = fitted(lightning, [], tmp_path, validation=validation)
    drift = DriftCallback(
        probe_loader(), SPEC, module="net", reference=("first", "previous"), across=True, before_training=True
    )
    looked_at, trainer = fitted(lightning, [drift], tmp_path, validation=validation)
    for a, b in zip(plain.state_dict().values(), looked_at.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert drift.drift.epochs == (-1, 0, 1, 2)
    assert drift.drift.table().rows == ("-1", "0", "1", "2")
    logged = {name: float(value) for name, value in trainer.logged_metrics.items() if name.startswith("drift/previous/")}
    assert logged == pytest.approx({f"drift/previous/{name}": s for name, s in drift.drift.scores(2, "previous").items()})
    assert float(simkit.compare(outputs(looked_at.net, PROBE)["3"], drift.drift._kept[-1]["3"], SPEC)) == pytest.approx(
        drift.drift.scores(2)["3"], abs=1e-6
    )


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_training_goes_on(lightning, tmp_path):
    from simkit.torch import DriftCallback

    def made():
        return DriftCallback(probe_loader(), SPEC, reference=("first", "previous"), layers="net.*")

    checkpoints = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, filename="{epoch}")
    whole, resumed, anew = made(), made(), made()
    fitted(lightning, [whole, checkpoints], tmp_path, epochs=4, enable_checkpointing=True)
    fitted(lightning, [resumed], tmp_path, epochs=4, checkpoint=tmp_path / "epoch=1.ckpt")
    assert resumed.drift.epochs == whole.drift.epochs == (0, 1, 2, 3)
    for reference, rows in (("first", 2), ("previous", 1)):  # what was recorded before
        np.testing.assert_array_equal(*(d.drift.table(reference).to_numpy()[:rows] for d in (whole, resumed)))
    for name, x in whole.drift._kept[0].items():
        assert torch.equal(x, resumed.drift._kept[0][name])
    for _ in range(2):
        fitted(lightning, [anew], tmp_path, epochs=1)  # another training begins anew
    assert anew.drift.epochs == (0,)


@pytest.mark.filterwarnings("ignore")
def test_when_the_callback_records(lightning, tmp_path):
    from simkit.torch import DriftCallback

    rare = DriftCallback(probe_loader(), every=2, on="train", log=False, prefix="rare")
    often = DriftCallback(probe_loader())
    _, trainer = fitted(lightning, [rare, often], tmp_path, epochs=3, val_check_interval=2)  # two validations in an epoch
    assert (rare.drift.epochs, often.drift.epochs) == ((0, 2), (0, 1, 2))
    assert not any(name.startswith("rare") for name in trainer.logged_metrics)
    assert "drift/net.0" in trainer.logged_metrics
    assert rare.state_key != often.state_key
    with pytest.raises(SpecError, match="no validation"):
        fitted(lightning, [DriftCallback(probe_loader(), on="validation")], tmp_path, validation=False)
    with pytest.raises(SpecError, match="whose parts are net"):
        fitted(lightning, [DriftCallback(probe_loader(), module="nets")], tmp_path)
    for wrong in ({"on": "test"}, {"every": 0}, {"reference": "last"}):
        with pytest.raises(SpecError):
            DriftCallback(probe_loader(), **wrong)


def test_without_lightning():
    code = """
import sys
sys.modules["lightning"] = sys.modules["pytorch_lightning"] = None
import simkit.torch
simkit.torch.Drift
try:
    simkit.torch.DriftCallback
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "simkit-similarity[lightning]"' in done.stdout
