"""How the rows of a store are written: one Zarr array a layer, or a shard of all layers for so many rows.

What the manifest does not count, as a writer that was killed leaves it, is dropped by `resume`.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.files import whole_file
from simkit.formats.damage import reading
from simkit.formats.manifest import DTYPES, Layout, Manifest, Shard, StoredLayer
from simkit.formats.numbers import decoded
from simkit.formats.safetensors import write_blocks
from simkit.text import printable

__all__ = ["LAYOUT_WRITERS", "LayoutWriter", "Rows"]

Rows = Mapping[str, np.ndarray]  # by the names of layers, as `simkit.arrays.bits.as_bits` gives them
_CHUNK = 2**21  # bytes of a chunk of Zarr, about
_MOST_ROWS = 2**14


class LayoutWriter(Protocol):
    """Puts rows into the files of a store; the manifest that it gives back counts them, and is yet to be written."""

    def __init__(self, path: Path) -> None: ...

    def check(self) -> None:
        """Raise ImportError if a library is missing."""

    def resume(self, manifest: Manifest) -> None:
        """Drop what the manifest does not count."""

    def write(self, rows: Rows, manifest: Manifest) -> Manifest:
        """Append rows to all layers."""


class ZarrWriter:
    """An array for each layer, with a checksum for each chunk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays: dict[str, Any] = {}

    def check(self) -> None:
        """Raise ImportError if Zarr is missing, or of a version that can leave half a chunk."""
        try:
            import zarr

            version = tuple(int(part) for part in zarr.__version__.split(".")[:3])
        except (ImportError, ValueError):
            version = (0,)
        if version < (3, 1, 3):
            raise ImportError(
                f'{printable(self._path)} needs Zarr 3.1.3 or newer: pip install "simkit-similarity[files]". Without it, '
                f"{printable(self._path.with_suffix('.safetensors'))} can be written."
            )

    def resume(self, manifest: Manifest) -> None:
        """Cut the arrays to the rows that count."""
        known = {layer.key for layer in manifest.layers}
        for layer in manifest.layers:
            if not layer.n:  # its array may not be there, and is made anew
                continue
            array = self._opened(layer)
            if array.shape[0] < layer.n or array.shape[1:] != layer.features:
                raise InvalidArrayError(
                    f"{self._path}: the array of {layer.name!r} has shape {array.shape}, and {(layer.n, *layer.features)} "
                    "was written: the store is damaged. Write it again, with force=True (--force)."
                )
            if array.shape[0] > layer.n:
                array.resize((layer.n, *layer.features))
        for folder in self._path.iterdir():
            if folder.is_dir() and folder.name in known:
                for file in folder.rglob("*.partial"):  # of a write that was killed
                    file.unlink()

    def write(self, rows: Rows, manifest: Manifest) -> Manifest:
        """Append rows to all arrays."""
        layers = []
        for layer in manifest.layers:
            values = decoded(rows[layer.name], DTYPES[layer.dtype])
            array = self._arrays.get(layer.key)
            if array is None:
                array = self._opened(layer) if layer.n else self._made(layer, values)
            self._arrays[layer.key] = array
            end = layer.n + len(values)
            array.resize((end, *layer.features))
            if len(values):
                array[layer.n : end] = values
            layers.append(replace(layer, n=end))
        return replace(manifest, layers=tuple(layers))

    def _made(self, layer: StoredLayer, values: np.ndarray) -> Any:
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        rows = max(1, min(_MOST_ROWS, _CHUNK // max(1, math.prod(layer.features) * values.dtype.itemsize)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Zarr's, about what other implementations do not read
            return zarr.create_array(
                str(self._path),
                name=layer.key,
                shape=(0, *layer.features),
                chunks=(rows, *(max(1, length) for length in layer.features)),
                dtype=values.dtype,
                compressors=[ZstdCodec(level=1), Crc32cCodec()],
                fill_value=0,
                attributes={"layer": layer.name, "rule": layer.rule, "dtype": layer.dtype},
                overwrite=True,  # what a writer that was killed has left
                config={"write_empty_chunks": True},  # so that a chunk that is missing is a chunk that was lost
            )

    def _opened(self, layer: StoredLayer) -> Any:
        import zarr

        with reading(f"{self._path}: the array of {layer.name!r} cannot be opened", "the store is damaged"):
            return zarr.open_array(str(self._path), path=layer.key, mode="r+", config={"write_empty_chunks": True})


class ShardWriter:
    """A ``.safetensors`` file for each call of `write`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Nothing is missing."""

    def resume(self, manifest: Manifest) -> None:
        """Remove shards that do not count."""
        counted = {shard.file for shard in manifest.shards}
        for file in self._path.glob("shard-*.safetensors"):
            if file.name not in counted:
                with contextlib.suppress(OSError):
                    file.unlink()

    def write(self, rows: Rows, manifest: Manifest) -> Manifest:
        """Write one more shard."""
        name = f"shard-{len(manifest.shards) + 1:06d}.safetensors"
        with whole_file(self._path / name, force=True) as temporary:
            write_blocks(temporary, {layer.key: (rows[layer.name], DTYPES[layer.dtype]) for layer in manifest.layers})
            size = temporary.stat().st_size
        counts = tuple(len(rows[layer.name]) for layer in manifest.layers)
        layers = tuple(replace(layer, n=layer.n + more) for layer, more in zip(manifest.layers, counts, strict=True))
        return replace(manifest, layers=layers, shards=(*manifest.shards, Shard(name, counts, size)))


LAYOUT_WRITERS: dict[Layout, type[LayoutWriter]] = {"zarr": ZarrWriter, "safetensors": ShardWriter}
