"""Reading activations that were written by `simkit.features.ActivationWriter`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.damage import reading
from simkit.formats.manifest import LAYOUTS, Manifest, read_manifest
from simkit.formats.paths import status
from simkit.formats.room import check_room
from simkit.scale.sources.rows import Rows, lazy_array
from simkit.scale.sources.store import DescribedLayers, open_store

__all__ = ["StoredActivations", "open_activations"]


class StoredActivations(Mapping[str, np.ndarray]):
    """Layers of a store by name; each is read when it is asked for.

    Attributes
    ----------
    manifest : Manifest
        Its ``layers``, ``batches``, ``examples``, ``fingerprint``, ``model``, ``settings`` and ``versions``, and whether it
        is ``complete``.
    """

    def __init__(self, path: Path, manifest: Manifest, rows: Mapping[str, Rows]) -> None:
        self.path, self.manifest, self._rows = path, manifest, rows

    @property
    def details(self) -> dict[str, Any]:
        """Model, rules and fingerprint, as in `simkit.SimilarityMatrix.details`."""
        return self.manifest.details

    @property
    def rules(self) -> dict[str, str]:
        """How the activations of each layer became examples, in words."""
        return {layer.name: layer.rule for layer in self.manifest.layers}

    @property
    def fingerprint(self) -> str:
        """Of the inputs in their order."""
        return self.manifest.fingerprint

    @property
    def nbytes(self) -> int:
        """Bytes of all layers in memory."""
        return sum(math.prod(rows.shape) * rows.dtype.itemsize for rows in self._rows.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a layer, which is not read."""
        return self._rows[name].shape

    def lazy(self, chunks: int | None = None) -> dict[str, Any]:
        """All layers as Dask arrays, of `chunks` examples a chunk; as `simkit.open_source` gives them."""
        return DescribedLayers({name: lazy_array(rows, chunks) for name, rows in self._rows.items()}, self.details)

    def __getitem__(self, name: str) -> np.ndarray:
        rows = self._rows[name]
        check_room(self.path, math.prod(rows.shape) * rows.dtype.itemsize, None, chunked=True)
        return rows[:]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        kind = "" if self.manifest.complete else ", not finished"
        return f"<StoredActivations {self.path.name!r}, {len(self)} layers, {self.manifest.examples} examples{kind}>"


def open_activations(path: str | os.PathLike[str], *, partial: bool = False) -> StoredActivations:
    """Open a store of activations without reading it.

    Parameters
    ----------
    path : str or path
        The folder, ``.zarr`` or ``.safetensors``.
    partial : bool
        Open one that is not finished, too, with the batches that are whole.

    Returns
    -------
    StoredActivations
        A mapping of the names of layers to NumPy arrays of shape (n, ...), which `simkit.pairwise` takes as it is. bfloat16
        and float8 are read as float32.

    Raises
    ------
    FileNotFoundError
        There is none.
    InvalidArrayError
        It is no store of activations, is damaged, or is not finished and `partial` is false.
    """
    folder = Path(path)
    status(folder)
    manifest = read_manifest(folder) if folder.suffix.lower() in LAYOUTS else None
    if manifest is None:
        raise InvalidArrayError(
            f"{folder} is no store of activations, a folder that ends in {' or '.join(LAYOUTS)} and has a manifest. "
            "simkit.open_source reads files of arrays."
        )
    folder = folder.resolve()
    with reading(f"{folder} cannot be read as {folder.suffix}"):
        rows = open_store(folder, manifest, "ignore" if partial else "warn")
    return StoredActivations(folder, manifest, rows)
