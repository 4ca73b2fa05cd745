"""The script that made the bundled activations makes networks like them."""

from __future__ import annotations

import numpy as np
import pytest

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
    assert tuple(layers) == script.LAYERS
    shapes = [tuple(x.shape[1:]) for x in layers.values()]
    assert shapes == [(16, 16, 16)] * 2 + [(32, 8, 8)] * 3 + [(64, 4, 4), (64, 2, 2), (64, 2, 2), (64,), (10,)]
    again = script.activations(script.train(data, seed=0, epochs=1), data.test_images[:8])
    assert torch.equal(layers["logits"], again["logits"])
    other = script.activations(script.train(data, seed=1, epochs=1), data.test_images[:8])
    assert not torch.allclose(layers["logits"], other["logits"])
    # the recorded units are units of the network: rows 2, 6, 10, 14 of a map of 16
    units = script.units(layers["conv1"]).reshape(8, 16, 4, 4)
    np.testing.assert_array_equal(units, layers["conv1"][:, :, 2::4, 2::4].numpy().astype(np.float16))
    np.testing.assert_array_equal(script.units(layers["avgpool"]), layers["avgpool"].numpy().astype(np.float16))


def test_bundled_files_are_what_the_script_makes(tmp_path, monkeypatch):
    """Trained again, another build of PyTorch or another order of sums may drift, but must represent the digits alike."""
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
    with np.load(tmp_path / "tiny10_seed0.npz", allow_pickle=False) as file:
        remade = {name: file[name].astype(np.float32) for name in file.files}
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), demo.labels())
    for name, x in demo.load(0).items():
        assert simkit.compare(x, remade[name], "cka") > 0.85, name
    with pytest.raises(FileExistsError):
        script.record(tmp_path, seeds=())
