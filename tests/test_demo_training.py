"""The script behind the bundled networks makes networks like them, and NumPy runs them as PyTorch does."""

from __future__ import annotations

import numpy as np
import pytest

from simkit.demo import network as tiny10
from simkit.demo import train as script


def test_importing_needs_no_torch():
    import subprocess
    import sys

    subprocess.run(
        [
            sys.executable,
            "-c",
            "import simkit.demo.train, sys; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)",
        ],
        check=True,
    )


def test_shapes_and_determinism(tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    data = script.digits()
    assert data.train_images.shape == (1397, 1, 16, 16)
    assert data.test_images.shape == (400, 1, 16, 16)
    network = script.train(data, seed=0, epochs=1)
    layers = script.activations(network, data.test_images[:8])
    assert tuple(layers) == tiny10.LAYERS
    shapes = [tuple(x.shape[1:]) for x in layers.values()]
    assert shapes == [(16, 16, 16)] * 2 + [(32, 8, 8)] * 3 + [(64, 4, 4), (64, 2, 2), (64, 2, 2), (64,), (10,)]
    again = script.activations(script.train(data, seed=0, epochs=1), data.test_images[:8])
    assert torch.equal(layers["logits"], again["logits"])
    other = script.activations(script.train(data, seed=1, epochs=1), data.test_images[:8])
    assert not torch.allclose(layers["logits"], other["logits"])
    # the units that are read are units of the network: rows 2, 6, 10, 14 of a map of 16
    units = tiny10.units(layers["conv1"].numpy()).reshape(8, 16, 4, 4)
    np.testing.assert_array_equal(units, layers["conv1"][:, :, 2::4, 2::4].numpy().astype(np.float16))
    np.testing.assert_array_equal(tiny10.units(layers["avgpool"].numpy()), layers["avgpool"].numpy().astype(np.float16))
    # weights of 8 bits move activations by about a hundredth; the same weights give PyTorch's numbers
    weights = script.weights(network)
    assert all(weights[f"conv{i}.weight"].dtype == np.int8 for i in range(1, 9))
    images = tiny10.enlarged(data.test_pixels[:8].double().numpy())
    np.testing.assert_allclose(images, data.test_images[:8, 0], atol=1e-6)
    for name, x in tiny10.forward(weights, images).items():
        assert np.linalg.norm(x - layers[name].numpy()) < 0.05 * np.linalg.norm(layers[name].numpy()), name
    exact = {name: w for name, w in weights.items() if not name.endswith((".weight", ".scale"))}
    for name, child in network.named_children():
        if name.startswith("conv"):
            gain = child[1].weight / (child[1].running_var + child[1].eps).sqrt()
            exact[f"{name}.weight"] = (child[0].weight * gain[:, None, None, None]).detach().numpy()
            exact[f"{name}.scale"] = np.ones(len(gain))
    for name, x in tiny10.forward(exact | {"logits.weight": weights["logits.weight"]}, images).items():
        np.testing.assert_allclose(x, layers[name].numpy(), atol=2e-4, err_msg=name)


def test_weights_of_8_bits():
    weight = np.random.default_rng(0).standard_normal((5, 3, 2, 2))
    weight[2] = 0
    codes, scale = tiny10.rounded(weight)
    assert codes.dtype == np.int8
    assert abs(codes[[0, 1, 3, 4]]).max((1, 2, 3)).tolist() == [127] * 4
    scale = scale[:, None, None, None]
    assert (abs(codes * scale - weight) <= 0.5001 * scale).all()


def test_bundled_files_are_what_the_script_makes(tmp_path, monkeypatch):
    """Trained again, another build of PyTorch or another order of sums may drift, but less than to a network of another seed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    import simkit
    from simkit import demo

    monkeypatch.setattr(script, "THREADS", 1)  # two wait for each other, spinning, where cores are busy
    threads = torch.get_num_threads()
    try:
        accuracies = script.record(tmp_path, seeds=(0,))
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    assert 0.9 < accuracies[0] < 0.98
    with np.load(tmp_path / "digits.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["labels"], demo.labels())
        np.testing.assert_allclose(file["pixels"], demo._arrays("digits.npz")["pixels"], atol=2e-3)
        images = tiny10.enlarged(file["pixels"].astype(np.float64))
    with np.load(tmp_path / "tiny10_seed0.npz", allow_pickle=False) as file:
        remade = {name: tiny10.units(maps) for name, maps in tiny10.forward(file, images).items()}
    other = demo.load(1)
    for name, x in demo.load(0).items():
        assert simkit.compare(x, remade[name], "cka") > simkit.compare(other[name], remade[name], "cka"), name
    with pytest.raises(FileExistsError):
        script.record(tmp_path, seeds=())
