"""Two files of activations, so that they can be compared."""

from __future__ import annotations

from simkit.formats.torch_file import as_numpy
from simkit.io import Activations

__all__ = ["convert_to_one_library"]


def convert_to_one_library(first: Activations, second: Activations) -> None:
    """A .npy and a .pt file may be compared: both are on the host, so tensors become NumPy arrays."""
    kinds = {type(x).__module__.partition(".")[0] for side in (first, second) for x in side.layers.values()}
    if len(kinds) > 1:
        for side in (first, second):
            side.layers.update({name: as_numpy(x) for name, x in side.layers.items()})
