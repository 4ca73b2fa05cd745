"""Activations of two trained networks, for trying things out; README.md in this folder says how they were made."""

from __future__ import annotations

from importlib import resources

import numpy as np

from simkit.errors import InvalidArrayError

__all__ = ["labels", "load"]

NETWORKS = 2


def load(network: int | str = 0) -> dict[str, np.ndarray]:
    """Activations of one of the two Tiny-10 networks that ship with simkit, for the same 200 handwritten digits.

    Parameters
    ----------
    network : {0, 1} or {"tiny10_seed0", "tiny10_seed1"}
        The seed that the network was trained from, or the name of its file.

    Returns
    -------
    dict of str to ndarray, shape (200, p), float32
        The ten layers in order: ``conv1`` to ``conv8`` (after ReLU; all channels, on a 4 x 4 grid of positions where the map
        is wider), ``avgpool`` and ``logits``.

    Raises
    ------
    InvalidArrayError
        No such network.

    Examples
    --------
    >>> from simkit import demo
    >>> {name: x.shape[1] for name, x in demo.load(0).items()}  # doctest: +NORMALIZE_WHITESPACE
    {'conv1': 256, 'conv2': 256, 'conv3': 512, 'conv4': 512, 'conv5': 512, 'conv6': 1024, 'conv7': 256, 'conv8': 256,
     'avgpool': 64, 'logits': 10}
    """
    names = {f"tiny10_seed{seed}": seed for seed in range(NETWORKS)}
    seed = names.get(network, network) if isinstance(network, str) else network
    if seed not in range(NETWORKS):
        raise InvalidArrayError(f"There is no network {network!r}; the bundled ones are 0 and 1 ({', '.join(names)}).")
    with _open(f"tiny10_seed{seed}.npz") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def labels() -> np.ndarray:
    """The digit that each of the 200 examples shows, shape (200,), int64, from 0 to 9."""
    with _open("labels.npy") as file:
        return np.load(file, allow_pickle=False).astype(np.int64)


def _open(name: str):  # type: ignore[no-untyped-def]  # a binary file; its type differs between kinds of installation
    return resources.files(__name__).joinpath("data", name).open("rb")
