"""What was computed once is read from then on: weights, activations and similarities, in a folder that the user names.

A file's name has a hash of all the settings that its contents depend on, so that other settings never find it. Files appear
whole or not at all, so that an interrupted run resumes after the last finished network.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from simkit.files import whole_file

__all__ = ["Cache", "key"]

REPOSITORY = Path(__file__).resolve().parents[2]
_FORMAT = 1  # to be raised when the meaning of a setting changes


def key(settings: Mapping[str, Any]) -> str:
    """A short hash of settings that JSON can hold."""
    text = json.dumps({"format": _FORMAT, **settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Cache:
    """A folder of safetensors files.

    Raises
    ------
    ValueError
        The folder lies in this repository, which is no place for gigabytes of results.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        if self.folder.is_relative_to(REPOSITORY):
            raise ValueError(f"The cache {self.folder} would lie in the repository {REPOSITORY}; name another folder.")
        self.folder.mkdir(parents=True, exist_ok=True)

    def network(self, label: str, settings: Mapping[str, Any], empty: Callable[[], nn.Module],
                train: Callable[[], nn.Module]) -> nn.Module:  # fmt: skip
        """A trained network: `train()`, or `empty()` with the weights of the file."""
        path = self._path("weights", label, settings)
        if path.exists():
            network = empty()
            network.load_state_dict({name: torch.from_numpy(x) for name, x in load_file(path).items()})
            return network.eval()
        print(f"training {label}", file=sys.stderr, flush=True)
        network = train()
        self._write(path, {name: x.detach().cpu().numpy() for name, x in network.state_dict().items()}, settings)
        return network

    def arrays(self, label: str, settings: Mapping[str, Any],
               make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:  # fmt: skip
        """Named arrays: `make()`, or what the file has, in the same order."""
        path = self._path("arrays", label, settings)
        if path.exists():
            arrays = load_file(path)
            return {name[4:]: arrays[name] for name in sorted(arrays)}
        made = dict(make())
        self._write(path, {f"{i:03d} {name}": np.ascontiguousarray(x) for i, (name, x) in enumerate(made.items())}, settings)
        return made

    def _path(self, kind: str, label: str, settings: Mapping[str, Any]) -> Path:
        return self.folder / f"{kind}-{label}-{key({'kind of file': kind, **settings})}.safetensors"

    @staticmethod
    def _write(path: Path, arrays: dict[str, np.ndarray], settings: Mapping[str, Any]) -> None:
        with whole_file(path, force=True) as temporary:  # two runs that share a cache write the same
            save_file(arrays, temporary, metadata={"settings": json.dumps(dict(settings), sort_keys=True)})
