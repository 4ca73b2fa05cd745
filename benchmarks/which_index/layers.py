"""Layers of trained networks: the two that simkit brings, and more of the same kind, trained here."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np

from simkit import demo
from simkit.demo import train
from simkit.demo.network import units
from simkit.files import whole_file

__all__ = ["bundled", "trained"]


def bundled(n: int | None = None) -> list[dict[str, np.ndarray]]:
    """Both bundled networks without their logits, the first `n` digits."""
    return [{name: x[:n] for name, x in demo.load(seed).items() if name != "logits"} for seed in (0, 1)]


def trained(networks: int) -> list[dict[str, np.ndarray]]:
    """The bundled networks and others from seeds 2, 3, ..., trained, and recorded for the same 200 digits, in the same way.

    They are kept in a temporary folder, so that another run need not train them again until the script is another one.
    """
    script = hashlib.sha256(Path(train.__file__).read_bytes()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"simkit-which-index-{script}"
    folder.mkdir(exist_ok=True)
    found = bundled()
    for seed in range(len(found), networks):
        path = folder / f"seed{seed}.npz"
        if not path.exists():
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **_trained(seed))
        with np.load(path, allow_pickle=False) as arrays:
            found.append({name: arrays[name].astype(np.float32) for name in arrays.files})
    return found


def _trained(seed: int) -> dict[str, np.ndarray]:
    """As those that are bundled, but for their weights of 8 bits; on one thread, which on a busy machine is faster."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        data = train.digits()
        layers = train.activations(train.train(data, seed), data.test_images[: train.RECORDED])
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
    return {name: units(x.numpy()) for name, x in layers.items() if name != "logits"}
