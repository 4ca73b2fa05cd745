"""Activations of models: what hooks written by hand and simkit.examples give, and models left as they were."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections import UserDict
from types import MappingProxyType

import numpy as np
import pytest

import simkit

torch = pytest.importorskip("torch")

from small_models import Net, Patches, Tied  # noqa: E402
from torch import nn  # noqa: E402

from simkit.errors import ExtractionError, ExtractionWarning  # noqa: E402
from simkit.torch import Activations, activations  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def by_hand(model, run, names):
    """What named modules give, in eval mode, in the order of the calls; copies."""
    modules, found, handles = dict(model.named_modules()), {}, []
    for name in names:

        def hook(module, args, output, name=name):
            count = sum(key.partition("#")[0] == name for key in found)
            output = output[0] if isinstance(output, tuple) else output
            found[name if not count else f"{name}#{count + 1}"] = output.detach().clone()

        handles.append(modules[name].register_forward_hook(hook))
    modes = {module: module.training for module in modules.values()}
    model.eval()
    with torch.no_grad():
        run(model)
    for module, mode in modes.items():
        module.training = mode
    for handle in handles:
        handle.remove()
    return found


IMAGES = torch.randn(23, 3, 10, 8, generator=torch.Generator().manual_seed(1))
IDS = torch.randint(0, 20, (9, 7), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("pool", ["mean", "max", "flatten", "positions"])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_convolutions_in_place_and_reused(pool, batch_size):
    model = Net().train()
    found = activations(model, IMAGES, pool=pool, batch_size=batch_size)
    expected = by_hand(model, lambda m: m(IMAGES), ["conv1", "bn", "relu", "conv2", "drop", "fc"])
    assert list(found) == ["conv1", "bn", "relu", "conv2", "relu#2", "drop", "fc"] == list(expected)
    assert isinstance(found, dict)
    for name, x in expected.items():
        np.testing.assert_allclose(
            found[name], simkit.examples(x, pool, channels="first" if x.ndim > 2 else None), atol=1e-6
        )
        assert not found[name].requires_grad


def test_means_are_written_out():
    """Independent of simkit.examples."""
    model = Net()
    expected = by_hand(model, lambda m: m(IMAGES), ["conv1"])["conv1"].double().mean((2, 3))
    np.testing.assert_allclose(activations(model, IMAGES, layers="conv1", pool="mean")["conv1"], expected, atol=1e-6)


def test_channels_are_where_the_modules_have_them():
    model = Patches()
    found = activations(model, IMAGES, layers="**", pool="mean")
    expected = by_hand(model, lambda m: m(IMAGES), ["stem", "block", "block.norm", "block.act", "relu"])
    for name, x in expected.items():
        axes = (2, 3) if name in ("stem", "relu") else (1, 2)
        np.testing.assert_allclose(found[name], x.mean(axes), atol=1e-6, err_msg=name)
    assert found.rules["block.act"] == "mean over 5 x 4 positions, channels last"
    assert found.rules["stem"] == "mean over 5 x 4 positions, channels first"


def test_channels_that_nobody_knows():
    class Odd(nn.Module):
        def forward(self, x):
            return self.inner(x)

        def __init__(self):
            super().__init__()
            self.embed = nn.Linear(8, 8)
            self.inner = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Identity())
            self.later = nn.Identity()

    class Both(Odd):
        def forward(self, x):
            y = self.inner(x)  # (n, 8, 8, 8)
            return self.later(self.embed(y.permute(0, 2, 3, 1)))

    x = torch.randn(4, 3, 8, 8)
    with pytest.raises(ExtractionError, match=r"channels=\{'inner.1': 'first'\}") as caught:
        activations(Both(), x, layers=["inner.*", "later"], pool="mean")
    for part in ("'later (n, 8, 8, 8)'", "With images of another size", 'pool="flatten"'):
        assert part in str(caught.value)
    other = activations(Both(), torch.randn(4, 3, 6, 6), layers=["inner.*", "later"], pool="mean")
    assert other.rules["later"] == "mean over 6 x 6 positions, channels last"
    said = {"inner.1": "first", "later": "last"}
    found = activations(Both(), x, layers=["inner.*", "later"], pool="mean", channels=MappingProxyType(said))
    assert {name: tuple(y.shape) for name, y in found.items()} == dict.fromkeys(("inner.0", "inner.1", "later"), (4, 8))
    assert "channels last" in found.rules["later"]


def test_sequences_first_within_a_model():
    model = Tied()
    found = activations(model, IDS, pool="mean", batch_size=4)
    expected = by_hand(model, lambda m: m(IDS), ["embed", "rnn", "head"])
    np.testing.assert_allclose(found["embed"], expected["embed"].mean(1), atol=1e-6)
    np.testing.assert_allclose(found["rnn"], expected["rnn"].mean(0), atol=1e-6)
    np.testing.assert_allclose(found["head"], expected["head"].mean(0), atol=1e-6)
    with pytest.raises(ExtractionError, match=r"batch\.transpose"):
        activations(model.rnn, torch.randn(5, 9, 6), layers=0, pool="mean")


def test_packed_sequences_bring_their_mask():
    model = nn.GRU(4, 3)
    sequences = [torch.randn(k, 4) for k in (2, 5, 3)]
    packed = nn.utils.rnn.pack_sequence(sequences, enforce_sorted=False)
    for pool, pick in (("last", lambda y: y[-1]), ("mean", lambda y: y.mean(0))):
        found = activations(model, [packed], layers=0, pool=pool)["(model)"]
        with torch.no_grad():
            expected = torch.stack([pick(model(x)[0]) for x in sequences])
        np.testing.assert_allclose(found, expected, atol=1e-6)


def encoder(batch_first=True):
    layer = nn.TransformerEncoderLayer(12, 2, 20, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@pytest.mark.parametrize("key", ["src_key_padding_mask", "mask"])
def test_padding_is_left_out_and_the_fast_path_does_not_skip_hooks(key):
    model, x = encoder().eval(), torch.randn(6, 5, 12)
    padding = torch.arange(5) >= torch.tensor([5, 3, 4, 2, 5, 1])[:, None]
    fast = torch.backends.mha.get_fastpath_enabled()
    options = {"batch_size": 4}
    if key == "mask":
        found = activations(
            model,
            [(x[:4], padding[:4]), (x[4:], padding[4:])],
            layers="**.linear1",
            pool="mean",
            forward=lambda m, batch: m(batch[0], src_key_padding_mask=batch[1]),
            mask=lambda batch: ~batch[1],
        )
    else:
        found = activations(model, {"src": x, key: padding}, layers="**.linear1", pool="mean", **options)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    torch.backends.mha.set_fastpath_enabled(False)
    expected = by_hand(model, lambda m: m(x, src_key_padding_mask=padding), list(found))
    torch.backends.mha.set_fastpath_enabled(fast)
    for name, y in expected.items():
        means = torch.stack([row[~pad].mean(0) for row, pad in zip(y, padding, strict=True)])
        np.testing.assert_allclose(found[name], means, atol=1e-6)
    assert "that are no padding" in found.rules["layers.0.linear1"]


def test_a_mask_of_other_examples_is_an_error():
    with pytest.raises(ExtractionError, match=r"mask= returns \(8, 4\) for a batch of 9"):
        activations(nn.Sequential(nn.Linear(3, 3)), torch.ones(9, 4, 3), pool="mean", mask=lambda batch: torch.ones(8, 4))


def test_padding_may_be_counted_on_purpose():
    model, x = encoder(), torch.randn(6, 5, 12)
    padding = torch.arange(5) >= torch.tensor([5, 3, 4, 2, 5, 1])[:, None]
    batch = {"src": x, "src_key_padding_mask": padding}
    counted = activations(model, batch, layers="layers.0.norm2", pool="mean", mask=False)
    left_out = activations(model, batch, layers="layers.0.norm2", pool="mean")
    told = activations(model, batch, layers="layers.0.norm2", pool="mean", mask=lambda batch: (~padding).bfloat16())
    assert torch.equal(*told.values(), *left_out.values())
    assert not torch.allclose(*counted.values(), *left_out.values())


def test_a_mask_of_another_length_is_an_error():
    class Halved(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x, attention_mask):
            return self.fc(x[:, ::2])

    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    data = {"x": torch.randn(2, 4, 3), "attention_mask": mask}
    with pytest.raises(ExtractionError, match="mask=False"):
        activations(Halved(), data, pool="mean")
    found = activations(Halved(), data, pool="mean", mask=lambda batch: batch["attention_mask"][:, ::2])
    assert found["fc"].shape == (2, 4)
    data["attention_mask"] = torch.ones_like(mask)  # nothing is left out
    assert activations(Halved(), data, pool="mean")["fc"].shape == (2, 4)


def test_what_a_decoder_makes_of_the_encoder_has_the_mask_of_the_encoder():
    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(3, 3)
            self.decoder = nn.ModuleDict({"cross": nn.Linear(3, 4), "own": nn.Linear(3, 4)})

        def forward(self, x, y, attention_mask, decoder_attention_mask):
            return self.decoder["cross"](self.encoder(x)) + self.decoder["own"](y)

    model, x, y = Translator(), *torch.randn(2, 2, 4, 3)
    masks = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]), torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])
    batch = {"x": x, "y": y, "attention_mask": masks[0], "decoder_attention_mask": masks[1]}
    found = activations(model, batch, layers="decoder.*", pool="mean")
    expected = by_hand(model, lambda m: m(**batch), ["decoder.cross", "decoder.own"])
    for (name, outputs), mask in zip(expected.items(), masks, strict=True):
        means = torch.stack([row[kept == 1].mean(0) for row, kept in zip(outputs, mask, strict=True)])
        torch.testing.assert_close(found[name], means)


# --- which layers ----------------------------------------------------------------------------------------------------------


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self._blocks = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(11)])
        self.head = nn.Linear(4, 2)
        self.unused = nn.Linear(4, 2)

    def forward(self, x):
        for block in self._blocks:
            x = block(x)
        return self.head(x)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("head", ["head"]),
        ("_blocks.*", [f"_blocks.{i}" for i in range(11)]),
        ("_blocks.?", [f"_blocks.{i}" for i in range(10)]),
        ("_blocks.[!1-9]", ["_blocks.0"]),
        ("_blocks.1.**", ["_blocks.1.0", "_blocks.1.1"]),
        ("**.10.1", ["_blocks.10.1"]),
        ("**.head", ["head"]),
        (re.compile(r"_blocks\.[12]"), ["_blocks.1", "_blocks.2"]),
        ([nn.ReLU, "!_blocks.?.*"], ["_blocks.10.1"]),
        ((nn.ReLU, nn.Sequential), None),
        (lambda name, module: name.endswith("3.1"), ["_blocks.3.1"]),
        (["head", "_blocks.0.1"], ["_blocks.0.1", "head"]),
        (3, None),
        (0, ["(model)"]),
        ("(model)", ["(model)"]),
    ],
)
def test_layers_are_found_in_execution_order(layers, expected):
    found = activations(Deep(), torch.randn(5, 4), layers=layers)
    if layers == 3:
        assert len(found) == 22
    elif expected is None:
        assert list(found)[:3] == ["_blocks.0.1", "_blocks.0", "_blocks.1.1"]
    else:
        assert list(found) == expected


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("unused", "never ran.*'unused'"),
        (["head", "unused"], "never ran.*'unused'"),
        (None, r"parameters that never ran.*'unused'.*!unused"),
        ("haed", "Close to it: 'head'"),
        ("blocks.*", "no module matches 'blocks"),
        ("_blocks", "holds other modules"),
        (nn.Conv2d, "type Conv2d.*'Linear'"),
        (7, "deepest module has depth 3"),
        (re.compile("x+"), "regular expression"),
        ([], "empty"),
        ("head#2", "no such call of a layer.*'head#2', but it ran once"),
        (1.5, "expected a name"),
        (True, "expected a name"),
        (["head", "!**"], "no layer is left"),
        ("!nothing", "no module matches"),
    ],
)
def test_layers_that_are_not_there(layers, message):
    with pytest.raises(ExtractionError, match=message):
        activations(Deep(), torch.randn(5, 4), layers=layers)


def test_the_remedies_for_layers_that_never_run_work():
    assert "head" in activations(Deep(), torch.randn(5, 4), layers=["!unused"])
    with pytest.raises(ExtractionError, match="add '!unused' to layers"):
        activations(Deep(), torch.randn(5, 4), layers=["head", "unused"])
    assert list(activations(Deep(), torch.randn(5, 4), layers=["head", "unused", "!unused"])) == ["head"]


def test_a_module_that_never_runs_and_shares_its_parameters_is_left_out():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.twin = nn.Linear(4, 3), nn.Linear(4, 3)
            self.twin.weight, self.twin.bias = self.fc.weight, self.fc.bias

        def forward(self, x):
            return self.fc(x)

    with pytest.warns(ExtractionWarning, match="never called: 'twin'"):
        assert list(activations(Shared(), torch.randn(5, 4))) == ["fc"]


def test_calls_can_be_chosen_and_names_go_round():
    found = activations(Net(), IMAGES, layers=["relu#2", "fc"], pool="mean")
    assert list(found) == ["relu#2", "fc"]
    assert list(activations(Net(), IMAGES, layers=list(found), pool="mean")) == list(found)
    assert list(activations(Net(), IMAGES, layers="relu#1", pool="mean")) == ["relu"]
    assert list(activations(Net(), IMAGES, layers=["relu", "fc", "!relu#2"], pool="mean")) == ["relu", "fc"]
    assert list(activations(Net(), IMAGES, layers=["relu", "fc", "!relu#1"], pool="mean")) == ["relu#2", "fc"]


def test_modules_themselves_can_be_chosen():
    model = Net()
    assert list(activations(model, IMAGES, layers=model.fc)) == ["fc"]
    assert list(activations(model, IMAGES, layers=[model.fc, model.conv1], pool={model.conv1: "mean"})) == ["conv1", "fc"]
    with pytest.raises(ExtractionError, match="no module matches the Linear that was given"):
        activations(model, IMAGES, layers=nn.Linear(8, 5))


def test_a_module_under_two_names_is_there_once():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model.append(model[0])
    assert list(activations(model, torch.randn(4, 3))) == ["0", "1", "0#2"]


def test_parametrized_modules_are_leaves():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)), nn.ReLU())
    assert list(activations(model, torch.randn(4, 3))) == ["0", "1"]


# --- rules -----------------------------------------------------------------------------------------------------------------


def test_no_rule_is_guessed():
    with pytest.raises(ExtractionError) as caught:
        activations(Net(), IMAGES)
    for word in ("conv1 (n, 8, 8, 6)", '"mean"', '"flatten"', '"tokens"', '"cls"', '"auto"', "function"):
        assert word in str(caught.value)


def test_auto_says_what_it_chose():
    found = activations(Net(), IMAGES, pool="auto")
    assert found.rules["conv1"] == "mean over 8 x 6 positions, channels first (auto)"
    assert found.rules["fc"] == "as it is"
    assert "mean over 8 x 6" in repr(found)


def test_a_rule_for_each_layer():
    pool = {nn.Conv2d: "flatten", re.compile("bn"): "max", "relu": lambda x: x[:, :, 0, 0], "**": "mean"}
    found = activations(Net(), IMAGES, pool=pool)
    assert [tuple(x.shape) for x in found.values()] == [(23, 384), (23, 8), (23, 8), (23, 384), (23, 8), (23, 8), (23, 5)]
    assert found.rules["bn"].startswith("maximum over")
    with pytest.raises(ExtractionError, match="no layer is left"):
        activations(Net(), IMAGES, layers="fc", pool={"conv*": "mean"})


@pytest.mark.parametrize(
    ("pool", "message"),
    [("avg", "pool is 'avg'"), ("cls", "sequences"), (lambda x: x, "makes shape"), ({}, "empty"), (3, "pool is 3")],
)
def test_rules_that_do_not_fit(pool, message):
    with pytest.raises(ExtractionError, match=message):
        activations(Net(), IMAGES, pool=pool)


def test_views_do_not_keep_or_share_memory():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    found = activations(model, torch.randn(6, 3))
    assert (found["0"] < 0).any()
    tokens = activations(nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True)), torch.randn(6, 4, 3), pool="cls")
    assert (tokens["0"] < 0).any()
    assert tokens["0"].untyped_storage().nbytes() == 6 * 3 * 4


# --- batches ---------------------------------------------------------------------------------------------------------------


def ways():
    x = IMAGES
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(23)), batch_size=5)
    return {
        "tensor": x,
        "numpy": x.numpy(),
        "numpy of another byte order": x.numpy().astype(x.numpy().dtype.newbyteorder()),
        "list": [x[:11], x[11:22], x[22:]],
        "arrays": [x[:11].numpy(), x[11:].numpy()[::-1][::-1]],
        "arrays and labels": [[x[:11].numpy(), ["label"] * 11], [x[11:].numpy(), None]],
        "mapping of arrays": {"x": x.numpy()},
        "mappings of arrays": [{"x": x[:20].numpy()}, {"x": x[20:].numpy()}],
        "tuples": [(x[:11], 0), (x[11:], 1)],
        "generator": (batch for batch in x.split(6)),
        "loader": loader,
        "dataset": torch.utils.data.TensorDataset(x, torch.zeros(23)),
        "mapping": {"x": x},
        "mappings in tuples": [({"x": x[:20]}, None), ({"x": x[20:]}, None)],
    }


@pytest.mark.parametrize("way", ways())
def test_data_of_all_kinds(way):
    model = Net()
    expected = activations(model, IMAGES, pool="mean")
    found = activations(model, ways()[way], pool="mean", batch_size=10)
    for name, x in expected.items():
        np.testing.assert_allclose(found[name], x, atol=1e-6)
    if "mapping" not in way:
        assert found.fingerprint == expected.fingerprint


def test_options_in_a_batch_are_no_examples(tmp_path):
    class Scaled(nn.Linear):
        def forward(self, x, by):
            return super().forward(x) * by

    model, data = Scaled(4, 3), {"x": torch.randn(23, 4), "by": torch.tensor([0.5])}
    prints = {activations(model, data, layers=0, batch_size=size).fingerprint for size in (5, 23)}
    assert len(prints) == 1
    stored = activations(model, data, layers=0, batch_size=5, out=tmp_path / "x.safetensors")
    assert stored.manifest.examples == 23
    assert {stored.fingerprint} == prints


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "yields no batch"),
        (iter([]), "used up"),
        (torch.zeros(0, 3, 8, 8), "yields no batch"),
        ([torch.zeros(0, 3, 8, 8)], "no examples"),
        ([IMAGES, IMAGES[:0]], "no examples"),
        ("images.pt", "expected a DataLoader"),
        (5, "expected a DataLoader"),
        ([IMAGES, torch.zeros(23)], r"Put it into a list: \[data\]"),
        ([["a", "b"]], "forward="),
        ([()], "empty"),
        ({"x": 3}, "without a tensor"),
        ({"x": [[1, 2], [3, 4]]}, 'return_tensors="pt"'),
        (np.array(["a", "b"]), "expected numbers"),
        pytest.param(
            np.ones((4, 2), dtype=np.longdouble),
            "expected numbers",
            marks=pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="it is float64 here"),
        ),
        ([np.array(["a", "b"])], "forward="),
        (torch.tensor(1.0), "single number"),
    ],
)
def test_data_that_are_none(data, message):
    with pytest.raises(ExtractionError, match=message):
        activations(Net(), data, pool="mean")


def test_forward_runs_what_the_model_does_not():
    model = Net()
    found = activations(model, [[["text"], IMAGES]], layers="fc", forward=lambda m, batch: m(batch[1]))
    np.testing.assert_allclose(found["fc"], activations(model, IMAGES, layers="fc")["fc"], atol=1e-6)


def test_forward_gets_a_mapping_of_the_class_that_the_loader_gave():
    class Encoding(UserDict):  # as that of the tokenizers of Hugging Face
        def __getattr__(self, name):
            if name == "data":
                raise AttributeError(name)
            return self.data[name]

    batch = Encoding(images=IMAGES.clone())

    def written(model, batch):
        assert isinstance(batch, Encoding)
        return model(batch.images.mul_(2))

    found = activations(Net(), [batch], layers="conv1", pool="mean", forward=written)
    assert found["conv1"].shape == (len(IMAGES), 8)
    assert torch.equal(batch.images, IMAGES)  # the caller's batch is not written to


def test_complex_outputs_are_for_functions_alone():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.rfft(x)

    model, x = nn.Sequential(nn.Linear(4, 6), Spectrum()), torch.randn(9, 4)
    with pytest.raises(ExtractionError, match="'1' gives complex numbers; make real ones of them: pool="):
        activations(model, x, layers="1")
    found = activations(model, x, layers="1", pool={"1": lambda x: x.abs()})
    torch.testing.assert_close(found["1"], torch.fft.rfft(model[0](x)).abs().detach())


@pytest.mark.parametrize("data", [IMAGES.split(9), (x for x in IMAGES.split(9))], ids=["a list", "a generator"])
def test_progress_is_shown_with_and_without_a_length(monkeypatch, capsys, data):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("simkit.progress._DELAY", 0.0)
    activations(Net(), data, layers="fc", progress=True)
    assert "activations of Net" in capsys.readouterr().err


def test_an_error_of_the_model_is_its_own():
    with pytest.raises(RuntimeError) as caught:
        activations(Net(), torch.randn(4, 7, 8, 8), pool="mean")
    assert "error of Net itself" in caught.value.__notes__[0]
    assert "(3, 7, 8, 8) float32" in caught.value.__notes__[0]


def test_layers_that_run_for_some_examples_only():
    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.b(self.a(x)) if x.sum() > 0 else self.a(x)

    with pytest.raises(ExtractionError, match="did not run on a later one: 'b'"):
        activations(Sometimes(), [torch.ones(3, 2), -torch.ones(3, 2)])


def test_a_model_that_writes_over_its_input():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))
    x = torch.randn(8, 3)
    before = x.clone()
    activations(model, x)
    assert torch.equal(x, before)


def test_outputs_of_several_tensors():
    class Several(nn.Module):
        def forward(self, x):
            return {"loss": x.sum(), "logits": x * 2, "last_hidden_state": x * 3}

    class Text(nn.Module):
        def forward(self, x):
            return ["words"]

    model = nn.Sequential()
    model.add_module("several", Several())
    found = activations(model, torch.ones(4, 3), layers="several")
    assert float(found["several"][0, 0]) == 3
    assert found.rules["several"] == "as it is of output['last_hidden_state'] of 3 tensors"
    model = nn.Sequential(nn.Linear(3, 3), Text())
    with pytest.raises(ExtractionError, match="'1' gave a list without a tensor"):
        activations(model, torch.ones(4, 3), layers="*")
    with pytest.warns(ExtractionWarning, match="'1'"):
        assert list(activations(model, torch.ones(4, 3))) == ["0"]


def test_a_tensor_that_moves_within_the_output_is_an_error():
    class Moves(nn.Module):
        def forward(self, x):
            return [x.new_zeros(3, 2), x * 2]  # looks like the outputs of the first three examples

    with pytest.raises(ExtractionError, match=r"examples in output\[1\].*batch of 8, and in output\[0\]"):
        activations(nn.Sequential(Moves()), torch.randn(8, 2), layers="0")


def test_windows_as_further_examples_are_an_error_whose_remedy_works():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(4, 4)

        def forward(self, x):
            return self.inside(x.reshape(-1, 2, 4)).reshape(x.shape)

    model = nn.Sequential(Windows())
    with pytest.raises(ExtractionError, match=r"gave output \(9, 2, 4\).*take the module around them"):
        activations(model, torch.randn(5, 6, 4), layers="0.inside", pool="mean")
    assert activations(model, torch.randn(5, 6, 4), layers="0", pool="mean")["0"].shape == (5, 4)


def test_results_are_dictionaries_with_a_history():
    found = activations(Net(), IMAGES, layers="fc")
    again = pickle.loads(pickle.dumps(found))
    assert isinstance(again, Activations)
    assert again.rules == found.rules
    assert again.fingerprint == found.fingerprint
    assert copy.deepcopy(found).model == "Net"
    other = activations(Net(), IMAGES.flip(0), layers="fc")
    assert other.fingerprint != found.fingerprint


# --- left as it was --------------------------------------------------------------------------------------------------------


def state_of(model):
    return (
        [
            (name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
            for name, module in model.named_modules()
        ],
        {name: x.clone() for name, x in model.state_dict().items()},
        torch.get_rng_state(),
        torch.is_grad_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
    )


def same(a, b):
    assert a[0] == b[0]
    assert all(torch.equal(x, b[1][name]) for name, x in a[1].items())
    assert torch.equal(a[2], b[2])
    assert a[3:] == b[3:]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_the_model_is_left_as_it_was(error):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(2))
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            self.count += 1
            torch.rand(3)
            if error is not None and self.calls > 2:
                raise error("stop")
            return x

    model = nn.Sequential(Net(), Noisy())
    model.train()
    model[0].bn.eval()
    before = state_of(model)
    if error is None:
        activations(model, IMAGES, pool="mean", batch_size=5)
    else:
        with pytest.raises(error):
            activations(model, IMAGES, pool="mean", batch_size=5)
    same(before, state_of(model))


def test_a_checkpoint_for_a_while():
    model, other = Net(), Net()
    before = state_of(model)
    found = activations(model, IMAGES, pool="mean", state=other.state_dict())
    same(before, state_of(model))
    for name, x in activations(other, IMAGES, pool="mean").items():
        np.testing.assert_allclose(found[name], x, atol=1e-6)
    recurrent, another = Tied(), Tied()
    found = activations(recurrent, IDS, pool="mean", state={f"module.{k}": v for k, v in another.state_dict().items()})
    np.testing.assert_allclose(found["head"], activations(another, IDS, pool="mean")["head"], atol=1e-6)


def test_a_checkpoint_of_another_type_is_converted_once():
    model, other = Net(), Net().double()
    seen = []
    model.fc.register_forward_hook(lambda module, args, output: seen.append(module.weight.data))
    found = activations(model, IMAGES, layers="fc", batch_size=9, state=other.state_dict())
    assert len(seen) == 1 + 3
    assert {(x.dtype, x.data_ptr()) for x in seen} == {(torch.float32, seen[0].data_ptr())}
    np.testing.assert_allclose(found["fc"], activations(other.float(), IMAGES, layers="fc")["fc"], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "fc.bias"}, "missing: 'fc.bias'"),
        (lambda s: s | {"new": torch.zeros(1)}, "unknown: 'new'"),
        (lambda s: s | {"fc.bias": torch.zeros(1)}, "of another shape"),
        (lambda s: {"model": s, "epoch": 3}, "is one of them the state_dict"),
        (lambda s: "weights.pt", "torch.load"),
    ],
)
def test_checkpoints_of_other_models(change, message):
    model = Net()
    with pytest.raises(ExtractionError, match=message):
        activations(model, IMAGES, pool="mean", state=change(model.state_dict()))


# --- wrapped ---------------------------------------------------------------------------------------------------------------


def test_wrapped_and_compiled_models():
    model = Net()
    expected = activations(model, IMAGES, pool="mean")
    compiled = torch.compile(model, backend="eager")
    inside = copy.deepcopy(model)
    inside.conv2 = torch.compile(inside.conv2, backend="eager")
    inside(IMAGES)
    in_place = copy.deepcopy(model)
    in_place.compile(backend="eager")
    in_place(IMAGES)
    compiled(IMAGES)
    for each in (nn.DataParallel(model), compiled, inside.train(), in_place):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ExtractionWarning)
            found = activations(each, IMAGES, pool="mean")
        assert list(found) == list(expected)
    assert "forward" in inside.conv2.__dict__
    assert in_place._compiled_call_impl is not None


def test_scripts_cannot_be_looked_into():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.trace(Net().eval(), IMAGES)
    with pytest.raises(ExtractionError, match="TorchScript"):
        activations(script, IMAGES, pool="mean")
    with pytest.raises(ExtractionError, match=r"expected a torch\.nn\.Module"):
        activations("model.pt", IMAGES)
    with pytest.raises(ExtractionError, match="An instance of it"):
        activations(Net, IMAGES)


def test_half_precision_and_autocast():
    model = Net().to(torch.bfloat16)
    found = activations(model, IMAGES.to(torch.bfloat16), pool="mean")
    assert found["conv1"].dtype == torch.float32
    assert found["fc"].dtype == torch.bfloat16  # no mean
    whole = activations(model, IMAGES.to(torch.bfloat16), layers="conv1", pool="flatten")["conv1"]
    assert whole.dtype == torch.bfloat16
    means = whole.double().reshape(len(whole), found["conv1"].shape[1], -1).mean(2)
    np.testing.assert_allclose(found["conv1"].double(), means, rtol=1e-5, atol=1e-7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = activations(Net(), IMAGES, pool="mean")
    assert mixed["conv1"].dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    one, two = Net(), Net()
    with torch.autocast("cpu", dtype=torch.bfloat16):  # which keeps weights in bfloat16 until it ends
        activations(one, IMAGES, layers="fc")
        other = activations(one, IMAGES, layers="fc", state=two.state_dict())
        assert torch.equal(other["fc"], activations(two, IMAGES, layers="fc")["fc"])
        assert not torch.equal(other["fc"], activations(one, IMAGES, layers="fc")["fc"])
    assert np.isfinite(float(simkit.compare(found["conv1"], mixed["conv1"])))


def test_repeats_of_a_distributed_sampler_are_left_out():
    dataset = torch.utils.data.TensorDataset(IMAGES)
    model = Net()
    parts = []
    for rank in range(3):
        sampler = torch.utils.data.DistributedSampler(dataset, num_replicas=3, rank=rank, shuffle=False)
        loader = torch.utils.data.DataLoader(dataset, batch_size=4, sampler=sampler)
        parts.append(activations(model, loader, layers="fc")["fc"])
    assert [len(part) for part in parts] == [8, 8, 7]
    whole = activations(model, IMAGES, layers="fc")["fc"]
    for rank, part in enumerate(parts):
        np.testing.assert_allclose(part, whole[rank::3], atol=1e-6)

    class Graph:
        def __init__(self, x):
            self.x = x

    loader = torch.utils.data.DataLoader(
        dataset, batch_size=4, sampler=sampler, collate_fn=lambda items: Graph(torch.stack([item[0] for item in items]))
    )
    with pytest.raises(ExtractionError, match="how many examples it has"):
        activations(model, loader, layers="fc", forward=lambda m, batch: m(batch.x))


def test_the_mask_is_cut_with_the_repeats_of_a_sampler():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x, attention_mask):
            return self.fc(x)

    model, x, mask = Tokens(), torch.randn(7, 5, 3), torch.arange(5) < torch.tensor([5, 3, 4, 2, 5, 1, 3])[:, None]
    dataset = [{"x": row, "attention_mask": kept} for row, kept in zip(x, mask, strict=True)]
    whole = activations(model, {"x": x, "attention_mask": mask}, pool="mean")["fc"]
    for rank, count in enumerate((4, 3)):  # the fourth of the second is a repeat
        sampler = torch.utils.data.DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=False)
        part = activations(model, torch.utils.data.DataLoader(dataset, batch_size=4, sampler=sampler), pool="mean")["fc"]
        assert len(part) == count
        torch.testing.assert_close(part, whole[rank::2])
