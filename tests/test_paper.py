"""The paper's experiments: its architectures, CIFAR's files, a cache that resumes, and every experiment at a tiny size."""

from __future__ import annotations

import importlib
import pickle
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
pytest.importorskip("safetensors")

import simkit  # noqa: E402
from benchmarks.paper.__main__ import EXPERIMENTS, experiment, main, write  # noqa: E402
from benchmarks.paper.cache import REPOSITORY, Cache  # noqa: E402
from benchmarks.paper.causes import tied  # noqa: E402
from benchmarks.paper.data import NOTHING, UnsafePickleError, load, sequences, text  # noqa: E402
from benchmarks.paper.networks import PLACES, Encoder, build, representations  # noqa: E402
from benchmarks.paper.study import Size, Study, average, identified, same_layer  # noqa: E402
from benchmarks.paper.train import Recipe, SequenceRecipe, train, train_encoder  # noqa: E402
from simkit.analysis import layer_accuracy  # noqa: E402

TINY = Size(
    networks=3,
    few=3,
    epochs=1,
    divisor=24,
    depths=(1, 2),
    residual=14,
    architectures=(("plain10", "plain18"), ("plain10", "resnet8")),
    widths=(8, 16),
    grid=1,
    draws=1,
    train_draws=1,
    growing=(50, 100),
    steps=2,
    width=8,
    sublayers=4,
    sequences=20,
    probe=100,
)


def shapes(network, size=32, channels=3):
    """Name -> (channels, height, width) or (features,) of every layer."""
    with torch.inference_mode():
        return {name: tuple(y.shape[1:]) for name, y in representations(network, torch.zeros(2, channels, size, size))}


TRAINING, TESTING = 350, 200  # images


def few_images(task, folder=None):
    """The first images of a task: still more than any layer has units."""
    images = load(task, folder)
    parts = {name: getattr(images, name) for name in vars(images) if name != "classes"}
    kept = {name: part if part is None else part[: TRAINING if "train" in name else TESTING] for name, part in parts.items()}
    return replace(images, **kept)


@pytest.fixture(scope="module", autouse=True)
def study_of_few_images():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.paper.study.load", few_images)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(Cache(tmp_path_factory.mktemp("cache")), TINY)


@pytest.fixture(scope="module")
def report_of(study):
    """Makes an experiment, once."""
    return cache(lambda name: experiment(name, study))


# Appendix E.


def test_tiny10_is_table_e1():
    found = shapes(build("tiny10", 3, 10))
    channels = [16, 16, 32, 32, 32, 64, 64, 64]
    sides = [32, 32, 16, 16, 16, 8, 6, 6]
    assert list(found.values()) == [*((c, s, s) for c, s in zip(channels, sides, strict=True)), (64,), (10,)]


def test_width_n_is_table_e3():
    found = shapes(build("width24", 3, 10))
    assert list(found.values()) == [*((24, s, s) for s in [32, 32, 16, 16, 16, 8, 6, 6]), (24,), (10,)]


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_plain_is_table_e2(n):
    network = build(f"plain{8 * n + 2}", 3, 10)
    found = list(shapes(network).values())
    assert len(found) == 8 * n + 2
    assert found[: 3 * n] == [(96, 32, 32)] * (3 * n - 1) + [(96, 16, 16)]
    assert found[3 * n : 6 * n] == [(192, 16, 16)] * (3 * n - 1) + [(192, 8, 8)]
    assert found[6 * n : 8 * n] == [(192, 8, 8)] * (n - 1) + [(192, 6, 6)] * (n + 1)
    assert found[-2:] == [(192,), (10,)]
    kernels = [module.kernel_size[0] for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert kernels == [3] * (7 * n) + [1] * n


def test_plain_without_batch_normalisation():
    with_it, without = build("plain10", 3, 10, divisor=8), build("plain10-nobn", 3, 10, divisor=8)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in with_it.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in without.modules())
    assert shapes(with_it) == shapes(without)


@pytest.mark.parametrize("n", [1, 2, 10])
def test_resnet_of_he_2016(n):
    network = build(f"resnet{6 * n + 2}", 3, 10)
    convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == 6 * n + 2  # and the linear layer
    found = shapes(network)
    assert len(found) == 6 * n + 3  # interior and sum of each of 3n blocks, the first convolution, pooling, logits
    assert found[f"block{n}"] == (16, 32, 32)
    assert found[f"block{2 * n}.interior"] == found[f"block{2 * n}"] == (32, 16, 16)
    assert found[f"block{3 * n}"] == (64, 8, 8)


@pytest.mark.parametrize("architecture", ["tiny10", "plain18", "plain10-nobn", "width3", "resnet14"])
def test_layers_are_those_of_the_forward_pass(architecture):
    network = build(architecture, 1, 10, divisor=24).eval()
    x = torch.randn(3, 1, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(list(representations(network, x))[-1][1], network(x))


@pytest.mark.parametrize("name", ["plain12", "resnet9", "width0", "tiny10-nobn", "plain10-x", "vgg16"])
def test_unknown_architectures(name):
    with pytest.raises(ValueError, match="There is no architecture"):
        build(name, 3, 10)


def test_encoder_is_figure_f2():
    network = Encoder(symbols=5, length=4, width=8, sublayers=3).eval()
    tokens = torch.randint(5, (2, 4))
    with torch.inference_mode():
        found = dict(network.places(tokens))
        assert list(found) == [f"{i} {place}" for i in (1, 2, 3) for place in PLACES]
        assert {tuple(y.shape) for y in found.values()} == {(8, 8)}
        start = (network.embedding(tokens) + network.position).flatten(0, 1)
        torch.testing.assert_close(found["1 Residual"], start + found["1 Attn/FFN"])
        torch.testing.assert_close(found["2 Residual"], found["1 Residual"] + found["2 Attn/FFN"])
        torch.testing.assert_close(found["2 Layer Norm"].mean(1), torch.zeros(8), atol=1e-5, rtol=0)
        last = network.logits(network.norm(found["3 Residual"])).reshape(2, 4, 5).movedim(-1, 1)
        torch.testing.assert_close(last, network(tokens))
    assert [layer.attention is not None for layer in network.sublayers] == [True, False, True]


# Data.


def test_sequences_are_sorted_and_seeded():
    tokens, ordered = sequences(7, 5, 4, seed=3)
    np.testing.assert_array_equal(np.sort(tokens.numpy(), axis=1), ordered.numpy())
    np.testing.assert_array_equal(tokens.numpy(), sequences(7, 5, 4, seed=3)[0].numpy())
    assert not np.array_equal(tokens.numpy(), sequences(7, 5, 4, seed=4)[0].numpy())


def test_letters_of_a_text_are_hidden_and_asked_for():
    tokens, targets = text(200, 20, 40, seed=3)
    hidden = tokens == 39
    assert 0.1 < hidden.float().mean() < 0.2
    assert ((targets == NOTHING) == ~hidden).all()
    assert set(targets[hidden].tolist()) <= set(range(39))
    np.testing.assert_array_equal(tokens.numpy(), text(200, 20, 40, seed=3)[0].numpy())
    assert not torch.equal(tokens, text(200, 20, 40, seed=3, held_out=True)[0])


def test_photographs_have_ten_classes_of_patches():
    images = load("photographs")
    assert images.train_images.shape == (2794, 3, 16, 16)
    assert images.test_images.shape == (400, 3, 16, 16)
    assert set(images.train_labels.tolist()) == set(images.test_labels.tolist()) == set(range(10))


def test_rows_with_several_most_similar_layers_are_tied():
    scores = np.full((2, 2, 3, 3), np.nan)
    scores[0, 1] = [[1, 1 - 1e-12, 0.3], [0.2, 0.9, 0.1], [0.5, 0.4, 0.5]]
    scores[1, 0] = [[0.9, 0.1, 0.2], [0.2, 0.9, 0.9 - 1e-6], [0.3, 0.2, 0.8]]
    assert tied(scores) == pytest.approx(2 / 6)


def test_halves_of_the_digits_share_nothing():
    both, low, high = load("digits"), load("digits-low"), load("digits-high")
    assert low.classes == high.classes == 5
    for part in ("train", "test"):
        assert len(low.examples(part)[0]) + len(high.examples(part)[0]) == len(both.examples(part)[0])
        assert set(low.examples(part)[1].tolist()) == set(high.examples(part)[1].tolist()) == set(range(5))


def test_noise_is_drawn_anew():
    images = load("digits")
    once, labels = images.examples("test", 0)
    assert once is images.test_images
    twice, both = images.examples("test", 2)
    n = len(labels)
    np.testing.assert_array_equal(both.numpy(), np.tile(labels.numpy(), 2))
    assert not torch.equal(twice[:n], twice[n:])
    assert not torch.equal(twice[:n], once)
    # The noise has the strength that the networks were trained with.
    noise = [(x - images.clean_test).std().item() for x in (once, twice[:n], twice[n:])]
    assert max(noise) / min(noise) < 1.05


def cifar(folder, task="cifar10", n=6, protocol=2):
    """A tiny folder in CIFAR's format; returns the images and labels of the file for testing."""
    rng = np.random.default_rng(0)
    inner = folder / {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[task]
    inner.mkdir()
    files = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"] if task == "cifar10" else ["train", "test"]
    for name in files:
        pixels = rng.integers(0, 256, (n, 3072), dtype=np.uint8)
        labels = rng.integers(0, 10, n).tolist()
        batch = {b"batch_label": name.encode(), b"data": pixels, b"filenames": [b"x.png"] * n}
        if task == "cifar10":
            batch[b"labels"] = labels
        else:
            batch |= {b"fine_labels": labels, b"coarse_labels": [0] * n}
        with (inner / name).open("wb") as file:
            pickle.dump(batch, file, protocol=protocol)
    return inner, pixels, labels


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("task", ["cifar10", "cifar100"])
def test_cifar_is_read(tmp_path, task, protocol):
    inner, pixels, labels = cifar(tmp_path, task, protocol=protocol)
    for folder in (tmp_path, inner):
        images = load(task, folder)
        assert images.classes == {"cifar10": 10, "cifar100": 100}[task]
        assert images.train_images.shape == ({"cifar10": 30, "cifar100": 6}[task], 3, 32, 32)
        assert images.test_labels.tolist() == labels
        mean, spread = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
        expected = (pixels.reshape(-1, 3, 32, 32) / 255 - mean[:, None, None]) / spread[:, None, None]
        np.testing.assert_allclose(images.test_images.numpy(), expected, atol=1e-5)


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return importlib.import_module("os").system, (f"touch {self.path}",)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    inner, *_ = cifar(tmp_path)
    (inner / "data_batch_3").write_bytes(pickle.dumps({b"data": Malicious(tmp_path / "ran"), b"labels": []}))
    with pytest.raises(UnsafePickleError, match="system"):
        load("cifar10", tmp_path)
    assert not (tmp_path / "ran").exists()


def test_an_array_of_objects_is_refused(tmp_path):
    inner, *_ = cifar(tmp_path)
    (inner / "data_batch_3").write_bytes(pickle.dumps({b"data": np.array([{}], dtype=object), b"labels": [0]}, protocol=2))
    with pytest.raises(UnsafePickleError):
        load("cifar10", tmp_path)


def test_what_is_not_cifar(tmp_path):
    with pytest.raises(ValueError, match="--folder"):
        load("cifar10")
    with pytest.raises(FileNotFoundError, match="data_batch_1"):
        load("cifar10", tmp_path)
    inner, *_ = cifar(tmp_path)
    (inner / "test_batch").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="test_batch is not one of CIFAR's files"):
        load("cifar10", tmp_path)
    with pytest.raises(ValueError, match="There is no task 'mnist'"):
        load("mnist")


def test_experiment_on_cifar(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    cifar(folder, n=20)
    study = Study(Cache(tmp_path / "cache"), TINY, "cifar10", folder)
    report = experiment("figure1", study)
    assert report.numbers["a"].shape == (20, 2)


# Training and the cache.


def test_training_is_seeded():
    images = load("digits")
    recipes = [Recipe("width2", "digits", seed, epochs=1) for seed in (0, 0, 1)]
    first, again, other = (train(recipe, images).conv1[0].weight for recipe in recipes)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    encoders = [train_encoder(SequenceRecipe(seed, 2, width=8, sublayers=2)).logits.weight for seed in (0, 0, 1)]
    torch.testing.assert_close(encoders[0], encoders[1], rtol=0, atol=0)
    assert not torch.equal(encoders[0], encoders[2])


def test_an_interrupted_run_resumes(tmp_path, monkeypatch):
    trained = []

    def counting(recipe, images, device="cpu"):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(recipe.seed)
        return train(recipe, images, device)

    monkeypatch.setattr("benchmarks.paper.study.train", counting)
    with pytest.raises(KeyboardInterrupt):
        _ = Study(Cache(tmp_path), TINY).group("width2").layers
    assert trained == [0, 1]
    monkeypatch.setattr(
        "benchmarks.paper.study.train", lambda recipe, *rest: trained.append(recipe.seed) or train(recipe, *rest)
    )
    layers = Study(Cache(tmp_path), TINY).group("width2").layers
    assert trained == [0, 1, 2]
    # Read, not computed; the same numbers in the same order.
    again = Study(Cache(tmp_path), TINY).group("width2").layers
    assert trained == [0, 1, 2]
    for one, two in zip(layers, again, strict=True):
        assert list(one) == list(two)
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])
    assert not list(tmp_path.glob("*.tmp"))


def test_other_settings_are_another_file(tmp_path):
    cache = Cache(tmp_path)
    made = []

    def make(value):
        made.append(value)
        return {"x": np.array([value])}

    assert cache.arrays("a", {"n": 1}, lambda: make(1.0))["x"] == 1
    assert cache.arrays("a", {"n": 2}, lambda: make(2.0))["x"] == 2
    assert cache.arrays("a", {"n": 1}, lambda: make(3.0))["x"] == 1
    assert made == [1.0, 2.0]


def test_the_cache_is_not_in_the_repository():
    with pytest.raises(ValueError, match="name another folder"):
        Cache(REPOSITORY / "cache")
    assert not (REPOSITORY / "cache").exists()


# What the experiments share.


def test_layers_have_all_channels_and_no_logits(study):
    layers = study.layers(study.recipe("width8"))
    assert list(layers) == [*(f"conv{i}" for i in range(1, 9)), "avgpool"]
    assert layers["conv1"].shape == (TESTING, 8 * TINY.grid**2)
    assert layers["avgpool"].shape == (TESTING, 8)


@pytest.mark.parametrize("index", ["cka", "linear_regression"])
def test_between_is_the_index_of_all_ordered_pairs(study, index):
    group = study.group("width8")
    scores = group.between(index)
    for a, b, i, j in [(0, 1, 0, 3), (1, 0, 3, 0), (2, 0, 5, 5)]:
        x, y = group.layers[a][group.names[i]], group.layers[b][group.names[j]]
        assert scores[a, b, i, j] == pytest.approx(float(simkit.compare(x, y, index)), rel=1e-4)
    assert np.isnan(scores[0, 0]).all()
    found = identified(scores, index, group.names, group.n)
    direct = layer_accuracy(group.layers, index)
    np.testing.assert_array_equal(found.hits[~np.eye(3, dtype=bool)], direct.hits[~np.eye(3, dtype=bool)])


def test_averages_and_errors():
    rng = np.random.default_rng(0)
    scores = rng.random((4, 4, 3, 3))
    off = [(a, b) for a in range(4) for b in range(4) if a != b]
    np.testing.assert_allclose(average(scores), np.mean([scores[a, b] for a, b in off], axis=0))
    mean, error = same_layer(scores)
    diagonals = np.array([np.diag(scores[a, b]) for a, b in off])
    np.testing.assert_allclose(mean, diagonals.mean(axis=0))
    left_out = [np.mean([np.diag(scores[a, b]) for a, b in off if left not in (a, b)], axis=0) for left in range(4)]
    np.testing.assert_allclose(error, np.sqrt(3 / 4 * np.sum((left_out - np.mean(left_out, axis=0)) ** 2, axis=0)))


# Every experiment.


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment(report_of, tmp_path, name):
    report = report_of(name)
    write(report, tmp_path)
    assert report.name == name
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / f"{name}.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows or name == "figure_f2"
    assert not re.search(r"\bnan\b", text), text
    for key, value in report.numbers.items():
        if not key.startswith("same ") and not key.startswith("widest ") and value.dtype.kind == "f":
            assert np.isfinite(value).all(), key


def test_table2_counts_what_layer_accuracy_counts(report_of, study):
    report = report_of("table2")
    group = study.tiny10s()
    for index, symmetrise in (("cka", False), ("pwcca", True)):
        direct = layer_accuracy(group.layers, index, symmetrise=symmetrise)
        off = ~np.eye(len(group.layers), dtype=bool)
        np.testing.assert_array_equal(report.numbers[index][off], direct.hits[off])


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.paper.__main__.SMALL", TINY)
    threads = torch.get_num_threads()
    try:
        main(["figure_f2", "--cache", str(tmp_path / "cache"), "--output", str(tmp_path / "out")])
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "out" / "figure_f2.png").exists()
    assert "## figure_f2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["figure99", "--cache", str(tmp_path), "--output", str(tmp_path)])
