"""Two trained networks and digits, for trying things out; README.md in this folder says how they were made."""

from __future__ import annotations

from functools import cache
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
    return {name: x.copy() for name, x in _activations(int(seed)).items()}


def labels() -> np.ndarray:
    """The digit that each of the 200 examples shows, shape (200,), int64, from 0 to 9."""
    return _arrays("digits.npz")["labels"].astype(np.int64)


@cache
def _activations(seed: int) -> dict[str, np.ndarray]:
    from simkit.demo.network import enlarged, forward, units

    images = enlarged(_arrays("digits.npz")["pixels"].astype(np.float64))
    return {name: units(maps) for name, maps in forward(_arrays(f"tiny10_seed{seed}.npz"), images).items()}


def _arrays(name: str) -> dict[str, np.ndarray]:
    with resources.files(__name__).joinpath("data", name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
