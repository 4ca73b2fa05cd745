"""Activation files larger than memory, as Dask arrays.

A task holds the path of a file and the rows to read, never data: graphs stay small, and a worker of a cluster reads its part
itself, from a path that it must be able to see. Chunks are blocks of whole rows. One module per kind of file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from simkit.errors import InvalidArrayError
from simkit.formats.damage import reading
from simkit.formats.manifest import read_manifest
from simkit.formats.paths import check_file, check_folder, status
from simkit.scale.sources.hdf5 import open_hdf5
from simkit.scale.sources.labels import labelled, read_labels
from simkit.scale.sources.parquet import check_parquet, open_parquet
from simkit.scale.sources.plain import open_npy, open_safetensors
from simkit.scale.sources.rows import Missing, Rows, lazy_array
from simkit.scale.sources.store import DescribedLayers, open_store
from simkit.scale.sources.zarr import open_zarr

__all__ = ["SUFFIXES", "open_source"]


def open_source(
    path: str | os.PathLike[str],
    *,
    chunks: int | None = None,
    ids: str | Literal[False] | None = None,
    missing: Missing = "warn",
) -> Any:
    """Open a file of activations without reading it.

    Parameters
    ----------
    path : str or path
        ``.npy``, ``.zarr`` (an array, or a group of arrays), ``.h5`` or ``.hdf5``, ``.parquet`` (a file, or a folder of
        files in the order of their names) or ``.safetensors``. In Parquet, columns of lists of numbers are layers; if
        there are none, all columns of numbers together are one layer, but for those of the labels. In .safetensors, bfloat16
        and float8 are read as float32. Folders ``.zarr`` and ``.safetensors`` that `simkit.features` has written are read by
        their manifest.
    chunks : int, optional
        Examples per chunk. Default: as many as make 8 MiB of a layer, in multiples of the chunks that are stored.
    ids : str or False, optional
        The column of a Parquet file that holds the labels of the examples, which are read at once. Default: the index of
        the data frame, if pandas wrote the file and the index was no default one. A column of a layer that is called like a
        label (id, index, ..._id) is an error then, not a feature in silence. False: there are no labels, and such a column
        is a feature; an index of pandas never is.
    missing : {"warn", "error", "ignore"}, optional
        What to do where chunks of Zarr or HDF5 were never written, which read as the fill value: stores leave out chunks of
        fill values on purpose, and a writer that was stopped leaves out the rest. "ignore" saves listing the chunks, and
        reads what there is of activations that `simkit.features` has not finished, which is an error otherwise.

    Returns
    -------
    dask.array.Array, or dict of str to dask.array.Array
        One array, shape (n, ...), or all arrays of the file by name. With labels each is an xarray.DataArray of such an
        array, of dimensions "example" and "feature", and its coordinate "example" is checked by `simkit.compare` and
        `simkit.pairwise`. The layers of a store of `simkit.features` have ``details``, as
        `simkit.SimilarityMatrix.details` keeps them.

    Raises
    ------
    FileNotFoundError
        No such file.
    InvalidArrayError
        The file is of another kind, damaged, empty, a pipe or a device, or holds pickled objects; the files of a folder
        differ in their columns; `ids` is no column, or has missing values; a column of a layer is called like a label;
        chunks are missing, and `missing` is "error"; activations are not finished. While computing: the file is damaged,
        or has changed since it was opened.
    TooLargeError
        A chunk would not fit into the memory.
    ImportError
        The library for this kind of file is missing; the message says what to install.

    Warns
    -----
    DataWarning
        Chunks are missing, and `missing` is "warn".

    Notes
    -----
    A file has changed if its size or the time of its last change has; of a Zarr array that is asked of its metadata, which
    are written again with the array but not with values that are assigned to a part of it.
    """
    path = Path(path)
    status(path)
    if chunks is not None and chunks < 1:
        raise ValueError(f"chunks={chunks}; expected a number of examples, at least 1.")
    if missing not in get_args(Missing):
        raise ValueError(f"missing={missing!r}; expected one of {', '.join(map(repr, get_args(Missing)))}.")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        hint = " (a .npz or .pt file is read as a whole; save one .npy or .safetensors file instead)"
        raise InvalidArrayError(
            f"{path}: cannot read {path.suffix or 'a file without suffix'} in chunks; expected {', '.join(SUFFIXES)}"
            f"{hint if suffix in ('.npz', '.pt', '.pth') else ''}."
        )
    if ids and suffix != ".parquet":
        raise InvalidArrayError(
            f"{path}: ids={ids!r} names a column of a Parquet file. Give simkit.compare the labels of other arrays, "
            "ids=(ids of X, ids of Y)."
        )
    path = path.resolve()
    check, opener = _KINDS[suffix]
    check(path)
    try:
        with reading(f"{path} cannot be read as {path.suffix}"):
            found = opener(path, ids, missing)
            labels = read_labels(path, ids) if suffix == ".parquet" else None
            if not isinstance(found, dict):
                return labelled(lazy_array(found, chunks), labels)
            if not found:
                raise InvalidArrayError(f"{path} holds no arrays.")
            layers = {name: labelled(lazy_array(rows, chunks), labels) for name, rows in found.items()}
            return DescribedLayers(layers, found.details) if isinstance(found, DescribedLayers) else layers
    except ImportError as error:
        raise ImportError(f'{path} needs {error.name}: pip install "simkit-similarity[files]"') from None


def _stored(path: Path, missing: Missing) -> dict[str, Rows] | None:
    """The layers of a store of activations; None if it is none."""
    manifest = read_manifest(path)
    return None if manifest is None else open_store(path, manifest, missing)


_Opener = Callable[[Path, str | Literal[False] | None, Missing], Rows | dict[str, Rows]]
_KINDS: dict[str, tuple[Callable[[Path], Any], _Opener]] = {
    ".npy": (check_file, lambda path, ids, missing: open_npy(path)),
    ".zarr": (check_folder, lambda path, ids, missing: _stored(path, missing) or open_zarr(path, missing)),
    ".h5": (check_file, lambda path, ids, missing: open_hdf5(path, missing)),
    ".hdf5": (check_file, lambda path, ids, missing: open_hdf5(path, missing)),
    ".parquet": (check_parquet, lambda path, ids, missing: open_parquet(path, ids)),
    ".safetensors": (status, lambda path, ids, missing: _stored(path, missing) or open_safetensors(path)),
}
SUFFIXES = tuple(_KINDS)
