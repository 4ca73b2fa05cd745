"""Files of named arrays, ``.npz`` without pickle, that are read exactly as they were written or not at all.

A checksum over the names, types, shapes and values of all arrays is kept beside them: the one in the ZIP format covers the
bytes of each array, but not its name, nor what is missing.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simkit.errors import CheckpointError
from simkit.fields import Fields
from simkit.files import whole_file
from simkit.formats.npz import read_member
from simkit.memory import refuse_if_too_large

__all__ = ["Format"]

_CHECKSUM = "sha256"


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Parameters
    ----------
    mark : str
        The array that holds the version; no other kind of file has it.
    version : int
        The newest, which is written.
    signed : int
        The first that had a checksum.
    what, remedy : str
        What the file holds, and what to do if it cannot be read, for messages.
    """

    mark: str
    version: int
    signed: int
    what: str
    remedy: str

    def write(
        self, path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], *, compress: bool = False, force: bool = False
    ) -> None:
        """Write arrays, none of them of objects.

        Raises
        ------
        FileExistsError
            The file exists and `force` is false.
        OSError
            There is no room for it, or its folder cannot be written to.
        """
        members = {self.mark: np.array(self.version), **arrays}
        members[_CHECKSUM] = np.array(_checksum(members))
        save = np.savez_compressed if compress else np.savez
        with whole_file(path, force=force) as temporary, temporary.open("wb") as file:
            save(file, **members)  # type: ignore[arg-type]

    def read(self, path: str | os.PathLike[str]) -> tuple[int, Fields]:
        """Version and arrays of a file, after a look at its checksum.

        Raises
        ------
        CheckpointError
            It is damaged, of another kind, or of a newer format.
        OSError
            It cannot be opened.
        TooLargeError
            It does not fit into memory.
        """
        source = os.fspath(path)
        if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
            raise CheckpointError(f"{source} is a device or a pipe; a saved {self.what} is an ordinary file.")
        with Path(path).open("rb") as file, self._readable(source), zipfile.ZipFile(file) as archive:
            members = self._members(archive, source)
            mark = read_member(archive, members.pop(self.mark), Path(path))
            version = Fields({self.mark: mark}, source, self.remedy).whole(self.mark)
            if version > self.version:
                raise CheckpointError(
                    f"{source} was written by a newer simkit, in format {version}; this one reads {self.what} files up to "
                    f"format {self.version}. Update simkit to read it."
                )
            refuse_if_too_large(
                sum(info.file_size for info in members.values()), f"{source} holds more than fits", "Read it elsewhere."
            )
            arrays = {name: read_member(archive, info, Path(path)) for name, info in members.items()}
        if version >= self.signed:
            self._verify(source, arrays | {self.mark: np.array(version)})
            del arrays[_CHECKSUM]
        return version, Fields(arrays, source, self.remedy)

    @contextmanager
    def _readable(self, source: str) -> Iterator[None]:
        """What zipfile, zlib and NumPy raise for damaged files is of all kinds."""
        try:
            yield
        except (CheckpointError, MemoryError):
            raise
        except Exception as error:
            raise CheckpointError(
                f"{source} cannot be read as a saved {self.what}: it is damaged, cut off or something else "
                f"({type(error).__name__}: {error}). {self.remedy}"
            ) from error

    def _members(self, archive: zipfile.ZipFile, source: str) -> dict[str, zipfile.ZipInfo]:
        names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
        if self.mark not in names:
            held = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
            raise CheckpointError(f"{source} holds no saved {self.what}; it holds {held or 'nothing'}.")
        if len(set(names)) < len(names):
            raise CheckpointError(
                f"{source} is damaged or was changed: two of its arrays have one name "
                f"({next(repr(name) for name in names if names.count(name) > 1)}). {self.remedy}"
            )
        return dict(zip(names, archive.infolist(), strict=True))

    def _verify(self, source: str, arrays: dict[str, np.ndarray]) -> None:
        fields = Fields(arrays, source, self.remedy)
        if fields.text(_CHECKSUM) != _checksum({name: x for name, x in arrays.items() if name != _CHECKSUM}):
            raise fields.wrong("its checksum is not that of its arrays")


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        value = np.asarray(arrays[name])
        digest.update(f"{name}\0{value.dtype.str}\0{value.shape}\0".encode("utf-8", "surrogatepass"))
        if value.size:
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
