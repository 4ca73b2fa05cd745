"""Stores of activations (`simkit.features`): the layers that their manifest counts, by name and in its order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.damage import reading
from simkit.formats.manifest import DTYPES, Manifest, StoredLayer
from simkit.formats.numbers import Block, dtype_of
from simkit.formats.paths import check_file
from simkit.formats.safetensors import read_blocks
from simkit.scale.sources.rows import Missing, Rows, Stamp, check_stamp, stamp_of
from simkit.scale.sources.zarr import Zarr, absent_chunks, metadata_of

__all__ = ["DescribedLayers", "open_store"]


@dataclass(frozen=True)
class Piece:
    """Rows of a layer in one shard."""

    file: str
    stamp: Stamp
    end: int
    block: Block


@dataclass(frozen=True, kw_only=True)
class Sharded(Rows):
    """Rows of a layer in all shards; its stamp is the latest time and the size of all."""

    pieces: tuple[Piece, ...]

    def _pieces(self, start: int, stop: int) -> list[tuple[Piece, int]]:
        """The shards that hold some of these rows, each with its first row."""
        begins = [0, *(piece.end for piece in self.pieces)]
        return [
            (piece, begin)
            for piece, begin in zip(self.pieces, begins, strict=False)
            if begin < min(stop, piece.end) and piece.end > start
        ]

    def check_unchanged(self, start: int, stop: int) -> None:
        """Raise if a shard that holds some of these rows is another one than that which was opened."""
        for piece, _ in self._pieces(start, stop):
            check_stamp(Path(piece.file), piece.stamp)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop`."""
        parts = [np.empty((0, *self.shape[1:]), self.dtype)]
        for piece, begin in self._pieces(start, stop):
            parts.append(piece.block.rows(piece.file, max(start - begin, 0), min(stop, piece.end) - begin))
        return np.concatenate(parts)


class DescribedLayers(dict[str, Any]):
    """Layers by name, and in `details` how they came about, as in `simkit.SimilarityMatrix.details`."""

    def __init__(self, layers: Mapping[str, Any], details: Mapping[str, Any]) -> None:
        super().__init__(layers)
        self.details = details


def open_store(path: Path, manifest: Manifest, missing: Missing) -> DescribedLayers:
    """The layers of a store; of one that is not finished what there is, if `missing` is "ignore".

    Raises
    ------
    InvalidArrayError
        It is not finished, or is not what its manifest says.
    """
    manifest.check_complete(path, partial=missing == "ignore")
    if not manifest.batches:
        raise InvalidArrayError(f"{path} holds no batch yet. Run what began it again to go on from there.")
    if manifest.layout == "safetensors":
        return DescribedLayers(_open_shards(path, manifest), manifest.details)
    return DescribedLayers({layer.name: _open_array(path, layer, manifest) for layer in manifest.layers}, manifest.details)


def _open_array(path: Path, layer: StoredLayer, manifest: Manifest) -> Rows:
    import zarr

    file = metadata_of(path, layer.key)
    if not file.exists():
        raise _damaged(path, layer, "its array is gone")
    check_file(file)
    stamp = stamp_of(file)
    with reading(f"{path}: the array of {layer.name!r} cannot be opened", "the store is damaged"):
        array = zarr.open_array(str(path), path=layer.key, mode="r")
        dtype, shape, chunks = array.dtype, array.shape, array.chunks
    expected = dtype_of(DTYPES[layer.dtype])
    if dtype != expected or shape[1:] != layer.features or not shape or shape[0] < layer.n:
        raise _damaged(path, layer, f"its array has shape {shape} and dtype {dtype}")
    if manifest.complete:
        if shape[0] != layer.n:
            raise _damaged(path, layer, f"its array has shape {shape}")
        if lost := absent_chunks(array):
            raise _damaged(path, layer, f"{lost} of its {array.nchunks} chunks are gone")
    return Zarr(str(path), layer.name, stamp, (layer.n, *layer.features), expected, chunks[0], array=layer.key)


def _open_shards(path: Path, manifest: Manifest) -> dict[str, Rows]:
    files = []
    for shard in manifest.shards:
        file = path / shard.file
        if not file.exists():
            raise InvalidArrayError(f"{path}: {shard.file} is gone. {_AGAIN}")
        if (size := check_file(file)) != shard.size:
            raise InvalidArrayError(
                f"{file} has {size} bytes where {shard.size} were written: it is cut off or was changed. {_AGAIN}"
            )
        files.append((str(file), stamp_of(file), read_blocks(file)))
    stamp = max((time for _, (time, _), _ in files), default=0), sum(size for _, (_, size), _ in files)
    found: dict[str, Rows] = {}
    for place, layer in enumerate(manifest.layers):
        pieces, end = [], 0
        for shard, (name, its_stamp, blocks) in zip(manifest.shards, files, strict=True):
            rows = shard.rows[place]
            block = blocks.get(layer.key)
            if block is None or block.shape != (rows, *layer.features) or block.stored != DTYPES[layer.dtype]:
                raise _damaged(path, layer, f"{shard.file} holds other than its {rows} rows")
            end += rows
            pieces.append(Piece(name, its_stamp, end, block))
        shape, dtype = (layer.n, *layer.features), dtype_of(DTYPES[layer.dtype])
        found[layer.name] = Sharded(str(path), layer.name, stamp, shape, dtype, pieces=tuple(pieces))
    return found


_AGAIN = "Take it from a copy, or write the store again, with force=True (--force)."


def _damaged(path: Path, layer: StoredLayer, why: str) -> InvalidArrayError:
    shape = (layer.n, *layer.features)
    return InvalidArrayError(
        f"{path} is damaged: {layer.name!r} should have shape {shape} and dtype {layer.dtype}, and {why}. {_AGAIN}"
    )
