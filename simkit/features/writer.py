"""Writing activations batch by batch, so that what was interrupted goes on where it stopped."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from simkit.arrays.bits import as_bits
from simkit.arrays.fingerprints import Fingerprint
from simkit.errors import InvalidArrayError, InvalidDtypeError
from simkit.features.layouts import LAYOUT_WRITERS
from simkit.formats.manifest import DTYPES, LAYOUTS, Manifest, StoredLayer, keys_of, manifest_file, read_manifest
from simkit.text import printable, shown

if sys.platform != "win32":
    import fcntl

__all__ = ["ActivationWriter", "check_target"]

_DIGITS = 16  # of the fingerprint, that are kept for each batch
_DISTRIBUTIONS = ("simkit-similarity", "numpy", "zarr")


@dataclass(frozen=True)
class _Waiting:
    """Batches that are not in the files yet."""

    rows: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    batches: tuple[tuple[int, str], ...] = ()
    fingerprint: str = ""  # of all examples up to the last of them
    nbytes: int = 0


class ActivationWriter:
    """Writes the activations of a model into a store on disk, batch by batch.

    What has been written is whole at every moment: a process that is killed loses the batches that wait in memory, and the
    next writer of the same store goes on after the last one that is whole, if it gets the same data in the same order.

    Parameters
    ----------
    path : str or path
        A folder that ends in ``.zarr`` (one array for each layer, compressed, with checksums) or ``.safetensors`` (files of
        some examples each, and ``simkit.json``).
    model : str, optional
        Its class.
    weights : str, optional
        A fingerprint of what it has learnt; a store is not continued with other weights.
    settings : mapping, optional
        What the activations are asked for with, in terms of JSON; a store is not continued with other settings.
    versions : mapping of str to str, optional
        Of distributions, beside those of simkit, NumPy and Zarr.
    resume : bool
        Go on with a store that is not finished. Otherwise it is in the way.
    force : bool
        Replace the store that is there, finished or not, once the first batch has come. Nothing but a store is replaced.
    buffer : int
        Bytes of activations that wait before they are written together.
    seconds : float
        After which they are written all the same.

    Raises
    ------
    ValueError
        The path has another suffix.
    TypeError
        `settings` hold what JSON has no terms for.
    FileExistsError
        There is a finished store, an unfinished one and `resume` is false, or something else.
    FileNotFoundError
        Its folder does not exist.
    InvalidArrayError
        What is there is damaged, is being written by another process, or is of another model or of other settings.
    ImportError
        Zarr is missing, or older than 3.1.3.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from simkit.features import ActivationWriter, open_activations
    >>> folder = tempfile.TemporaryDirectory()
    >>> with ActivationWriter(f"{folder.name}/features.safetensors") as store:
    ...     for inputs in np.arange(24.0).reshape(3, 4, 2):
    ...         if not store.skip(inputs):
    ...             store.append({"layer": inputs @ np.ones((2, 5))}, rules={"layer": "as it is"})
    >>> open_activations(f"{folder.name}/features.safetensors")["layer"].shape
    (12, 5)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        model: str | None = None,
        weights: str | None = None,
        settings: Mapping[str, Any] | None = None,
        versions: Mapping[str, str] | None = None,
        resume: bool = True,
        force: bool = False,
        buffer: int = 2**26,
        seconds: float = 30.0,
    ) -> None:
        self.path = _target(path)
        self._layout = LAYOUT_WRITERS[LAYOUTS[self.path.suffix.lower()]](self.path)
        self._layout.check()
        self._buffer, self._seconds = buffer, seconds
        self._fingerprint = Fingerprint()
        self._place = 0  # batches that have come
        self._next: tuple[int, str] | None = None  # the batch that is to be appended
        self._lock: int | None = None
        self._began = time.monotonic()
        asked = Manifest(
            LAYOUTS[self.path.suffix.lower()],
            model=model,
            weights=weights,
            settings=json.loads(json.dumps(dict(settings or {}))),  # a tuple is a list then, as it is when it is read
            versions=_versions(versions),
        )
        stored = _stored(self.path, resume=resume, force=force)
        self._replaces = stored is None
        self._state: tuple[Manifest, _Waiting] = (asked, _Waiting())
        if stored is not None:
            _check_same(stored, asked, self.path)
            self._take_lock()
            try:
                self._layout.resume(stored)
            except BaseException:
                self.close()
                raise
            self._state = (stored, _Waiting())

    @property
    def manifest(self) -> Manifest:
        """What is in the files."""
        return self._state[0]

    def skip(self, inputs: Any, n: int | None = None) -> bool:
        """Whether the next batch, of these inputs, is in the store already; if not, `append` has its activations next.

        Parameters
        ----------
        inputs : array, mapping, sequence or plain values
            What the model is given, as `simkit.arrays.fingerprints.Fingerprint.update` takes it.
        n : int, optional
            How many examples these are. Default: as many as the first array or list of `inputs` has rows.

        Raises
        ------
        InvalidArrayError
            It is not the batch that was stored, or holds something of which that cannot be told.
        """
        if self._next is not None:
            raise ValueError("skip() was called twice for one batch; append() its activations where skip() is False.")
        before = self._fingerprint.examples
        digest = self._fingerprint.update(inputs, n)[:_DIGITS]
        batch = (self._fingerprint.examples - before, digest)
        stored = self.manifest.batches
        if self._place < len(stored):
            if stored[self._place] != batch:
                raise InvalidArrayError(
                    f"{self.path}: batch {self._place + 1} of the data (examples {before} to {before + batch[0] - 1}) "
                    "is not the one that was stored: other data, another order, as from a loader that shuffles, or another "
                    "batch size. Give the same batches in the same order, or begin anew with force=True (--force)."
                )
            self._place += 1
            return True
        self._next = batch
        return False

    def append(self, layers: Mapping[str, Any], *, rules: Mapping[str, str] | None = None) -> None:
        """Take the activations of the batch for which `skip` was False.

        Parameters
        ----------
        layers : mapping of str to array
            Of any array library, each of shape (rows, ...); the same layers, dtypes and shapes of examples in each batch.
        rules : mapping of str to str, optional
            How the activations of each layer became examples, in words.

        Raises
        ------
        InvalidArrayError
            A layer is missing or new, or has another shape or rule than before.
        InvalidDtypeError
            It has another dtype than before, or one that is not stored: real numbers of NumPy, bfloat16 and float8 are.
        """
        if self._next is None:
            raise ValueError("append() takes the activations of a batch for which skip(inputs) was False; call that first.")
        manifest, waiting = self._state
        bits = {name: as_bits(x) for name, x in layers.items()}
        described = _described(bits, rules or {}, self.path)
        if not manifest.layers:
            manifest = replace(manifest, layers=described)
        _check_layers(manifest.layers, described, self.path)
        if self._lock is None:
            self._begin(manifest)
        # Copies: the arrays of a model may be written into by its next batch.
        rows = {name: (*waiting.rows.get(name, ()), np.array(values)) for name, (values, _) in bits.items()}
        nbytes = waiting.nbytes + sum(values.nbytes for values, _ in bits.values())
        self._state = (manifest, _Waiting(rows, (*waiting.batches, self._next), self._fingerprint.hex, nbytes))
        self._next = None
        self._place += 1
        if nbytes >= self._buffer or time.monotonic() - self._began >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what waits in memory."""
        manifest, waiting = self._state
        if waiting.batches:
            rows = {name: np.concatenate(parts) for name, parts in waiting.rows.items()}
            written = self._layout.write(rows, manifest)
            written = replace(written, batches=(*manifest.batches, *waiting.batches), fingerprint=waiting.fingerprint)
            written.write(self.path)
            self._state = (written, _Waiting())  # at once: an interrupt finds either
        self._began = time.monotonic()

    def finish(self) -> None:
        """Write what waits in memory, and call the store complete.

        Raises
        ------
        InvalidArrayError
            There was no batch, or there were fewer than are stored.
        """
        if self._place < len(self.manifest.batches):
            raise InvalidArrayError(
                f"{self.path} holds {len(self.manifest.batches)} batches, and the data ended after {self._place}: not "
                "what it was written from. Give the same batches in the same order, or begin anew with force=True (--force)."
            )
        if not self._place:
            raise InvalidArrayError(f"There is nothing to write into {self.path}: the data gave no batch.")
        self.flush()
        complete = replace(self.manifest, complete=True)
        complete.write(self.path)
        self._state = (complete, _Waiting())

    def close(self) -> None:
        """Let other writers have the store, as it is; what waits in memory is dropped."""
        if self._lock is not None and self._lock >= 0:
            os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish, or after an error write the batches that are whole."""
        try:
            if error is None:
                self.finish()
            elif self._lock is not None:
                with contextlib.suppress(Exception):  # the error that is on its way says more
                    self.flush()
        finally:
            self.close()

    def _begin(self, manifest: Manifest) -> None:
        """Make the folder, in the place of what `force` replaces."""
        if self._replaces and self.path.exists():
            self._take_lock()
            shutil.rmtree(self.path)
            self.close()
        self.path.mkdir(exist_ok=True)
        self._take_lock()
        manifest.write(self.path)

    def _take_lock(self) -> None:
        """Hold the folder against other writers; the system lets go of it when the process ends."""
        self._lock = -1
        if sys.platform == "win32":
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            self._lock = None
            raise InvalidArrayError(
                f"{self.path} is being written by another process; wait for it, or choose another name."
            ) from None
        except OSError:  # the file system has no locks
            os.close(handle)
            return
        self._lock = handle


def check_target(path: str | os.PathLike[str], *, resume: bool = True, force: bool = False) -> None:
    """Raise as `ActivationWriter` does, before there is a model."""
    _stored(_target(path), resume=resume, force=force)


def _target(path: str | os.PathLike[str]) -> Path:
    """The folder of a store that may be made."""
    target = Path(os.path.realpath(path))
    if target.suffix.lower() not in LAYOUTS:
        raise ValueError(
            printable(
                f"{path}: activations are written into a folder that ends in {' or '.join(LAYOUTS)}; got "
                f"{target.suffix or 'a name without suffix'}."
            )
        )
    if not target.parent.is_dir():
        raise FileNotFoundError(f"The folder {printable(target.parent)} does not exist; make it first.")
    return target


def _stored(path: Path, *, resume: bool, force: bool) -> Manifest | None:
    """The manifest of a store that is to be continued; None if there is to be a new one."""
    if not os.path.lexists(path):
        return None
    is_empty = path.is_dir() and all(file.name.startswith(".simkit-") for file in path.iterdir())
    if is_empty:
        return None
    if force:
        if _is_ours(path):
            return None
        raise FileExistsError(
            f"{printable(path)} is there and is no store of activations, which alone is replaced; choose another name, or "
            "remove it yourself."
        )
    manifest = read_manifest(path)
    if manifest is None:
        raise FileExistsError(f"{printable(path)} is there and is no store of activations; choose another name.")
    if manifest.complete:
        raise FileExistsError(
            f"{printable(path)} holds finished activations of {manifest.examples} examples. Read them with "
            "simkit.open_source, choose another name, or pass force=True (--force) to replace them."
        )
    if not resume:
        raise FileExistsError(
            f"{printable(path)} holds unfinished activations, {len(manifest.batches)} batches. Pass resume=True to go on "
            "with them, or force=True (--force) to replace them."
        )
    return manifest


def _is_ours(path: Path) -> bool:
    """Whether a folder is a store of activations, perhaps a damaged one."""
    try:
        return read_manifest(path) is not None
    except InvalidArrayError:
        return manifest_file(path).is_file()


def _check_same(stored: Manifest, asked: Manifest, path: Path) -> None:
    """Raise unless a store can be continued with what is asked for now."""
    for what, before, now in (
        ("a model of class", stored.model, asked.model),
        ("weights with the fingerprint", stored.weights, asked.weights),
        *(
            (f"the setting {key}:", stored.settings.get(key), asked.settings.get(key))
            for key in sorted(stored.settings.keys() | asked.settings.keys())
        ),
    ):
        if before != now:
            raise InvalidArrayError(
                f"{path} was begun with {what} {shown(before)}, and is to be continued with {shown(now)}. Give the same, or "
                "begin anew with force=True (--force)."
            )


def _described(bits: Mapping[str, tuple[np.ndarray, str]], rules: Mapping[str, str], path: Path) -> tuple[StoredLayer, ...]:
    """What a batch says of its layers."""
    if not bits:
        raise InvalidArrayError(f"There is nothing to write into {path}: the batch has no layers.")
    keys = keys_of(bits)
    layers = []
    for name, (values, dtype) in bits.items():
        if dtype not in DTYPES:
            raise InvalidDtypeError(f"{shown(name)} has dtype {dtype}, which is not stored; expected {', '.join(DTYPES)}.")
        if not values.ndim:
            raise InvalidArrayError(f"{shown(name)} is a single number; expected an array of shape (rows, ...).")
        layers.append(StoredLayer(name, keys[name], tuple(values.shape[1:]), dtype, str(rules.get(name, ""))))
    return tuple(layers)


def _check_layers(stored: tuple[StoredLayer, ...], given: tuple[StoredLayer, ...], path: Path) -> None:
    """Raise unless a batch has the layers of those before."""
    before, now = ({layer.name: layer for layer in layers} for layers in (stored, given))
    if before.keys() != now.keys():
        missing = ", ".join(map(shown, before.keys() - now.keys())) or "none"
        new = ", ".join(map(shown, now.keys() - before.keys())) or "none"
        raise InvalidArrayError(
            f"A batch has other layers than those before it in {path}; missing: {missing}; new: {new}. Give the same layers "
            "for every batch, or begin anew with force=True (--force)."
        )
    for name, layer in now.items():
        if layer.features != before[name].features:
            raise InvalidArrayError(
                f"{shown(name)}: examples of shape {layer.features}, and of shape {before[name].features} in the batches "
                f"before, in {path}. Pool what differs in size, such as tokens."
            )
        if layer.dtype != before[name].dtype:
            raise InvalidDtypeError(f"{shown(name)}: dtype {layer.dtype}, and {before[name].dtype} before, in {path}.")
        if layer.rule and layer.rule != before[name].rule:
            raise InvalidArrayError(
                f"{shown(name)}: examples by the rule {shown(layer.rule)}, and by {shown(before[name].rule)} before, in "
                f"{path}. Give the same rule, or begin anew with force=True (--force)."
            )


def _versions(given: Mapping[str, str] | None) -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found | dict(given or {})
