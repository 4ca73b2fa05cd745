"""Architectures of transformers with random weights, in small: what they give and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

import simkit

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IMAGES = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
LENGTHS = (9, 4, 7, 3, 9, 5, 8, 6)


def texts(left=False):
    """Token ids of 8 texts, padded on one side."""
    random = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (len(LENGTHS), max(LENGTHS)), generator=random)
    place = torch.arange(max(LENGTHS))
    mask = torch.stack([place >= max(LENGTHS) - k if left else place < k for k in LENGTHS]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def made(name):
    """A small model."""
    torch.manual_seed(2)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 64}
    if name == "resnet":
        config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic")
        return transformers.ResNetModel(config)
    if name == "vit":
        del small["vocab_size"]
        return transformers.ViTModel(transformers.ViTConfig(**small, image_size=32, patch_size=8), add_pooling_layer=False)
    if name == "gpt2":
        return transformers.GPT2Model(transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=64, n_positions=32))
    if name == "llama":
        return transformers.LlamaModel(transformers.LlamaConfig(**small, num_key_value_heads=1))
    config = transformers.T5Config(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=64)
    return transformers.T5Model(config)


def states(model, batch):
    """The hidden states that the model itself gives."""
    with torch.no_grad():
        return model.eval()(**batch, output_hidden_states=True).hidden_states


def test_resnet_against_vision_transformer():
    """Maps of one, tokens of the other; each by its own rule, chosen and said."""
    matrix = simkit.torch.compare_models(made("resnet"), made("vit"), IMAGES, pool="auto", estimator="unbiased")
    assert min(matrix.shape) > 10
    assert np.isfinite(matrix.to_numpy()).mean() > 0.5
    rules = [set(matrix.details[side]["rules"].values()) for side in ("rows", "columns")]
    assert any("positions, channels first" in rule for rule in rules[0])
    assert any("tokens" in rule for rule in rules[1])


def test_vision_transformer_gives_its_hidden_states():
    model = made("vit")
    found = simkit.torch.activations(
        model, IMAGES, layers="layers.*" if hasattr(model, "layers") else "encoder.layer.*", pool="cls"
    )
    for mine, theirs in zip(found.values(), states(model, {"pixel_values": IMAGES})[1:], strict=True):
        assert torch.allclose(mine, theirs[:, 0], atol=1e-5)


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize(("name", "blocks"), [("gpt2", "h.*"), ("llama", "layers.*")])
def test_decoders_leave_padding_out(name, blocks, left):
    """On whichever side it is; the last block of both is followed by a norm in what they call their last state."""
    model, batch = made(name), texts(left)
    if name == "gpt2":
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clip(min=0)
    found = simkit.torch.activations(model, batch, layers=blocks, pool="mean")
    last = simkit.torch.activations(model, batch, layers=blocks, pool="last")
    (first, _) = found
    state, mask = states(model, batch)[1].double(), batch["attention_mask"].double()[..., None]
    assert torch.allclose(found[first].double(), (state * mask).sum(1) / mask.sum(1), atol=1e-5)
    place = batch["attention_mask"].cumsum(1).argmax(1)
    assert torch.allclose(last[first].double(), state[torch.arange(len(state)), place], atol=1e-5)


def test_encoder_and_decoder_have_masks_of_their_own():
    model, batch = made("t5"), texts()
    batch |= {
        "decoder_input_ids": torch.randint(5, 60, (8, 4)),
        "decoder_attention_mask": torch.ones(8, 4, dtype=torch.long),
    }
    batch["decoder_attention_mask"][1:, 3] = 0
    found = simkit.torch.activations(model, batch, layers=["encoder.block.*", "decoder.block.*"], pool="mean")
    with torch.no_grad():
        out = model.eval()(**batch, output_hidden_states=True)
    for side, states_of, mask in (
        ("encoder", out.encoder_hidden_states, batch["attention_mask"]),
        ("decoder", out.decoder_hidden_states, batch["decoder_attention_mask"]),
    ):
        weights = mask.double()[..., None]
        expected = (states_of[1].double() * weights).sum(1) / weights.sum(1)
        assert torch.allclose(found[f"{side}.block.0"].double(), expected, atol=1e-5)


def test_two_models_of_text():
    """Of other depths and widths, by the tokens of one tokeniser, which correspond."""
    batch = texts()
    matrix = simkit.torch.compare_models(
        made("gpt2"), made("llama"), batch, layers="h.*", layers_b="layers.*", pool="tokens", correspond=True
    )
    assert (matrix.shape, matrix.n) == ((2, 2), sum(LENGTHS))
