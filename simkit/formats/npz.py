"""Archives of arrays, read member by member: `numpy.load` would take the last of two members of one name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.npy import read_header
from simkit.formats.room import check_room

__all__ = ["check_archive", "read_member", "read_npz"]


def check_archive(archive: zipfile.ZipFile, path: Path, max_bytes: int | None) -> None:
    """Raise if what `archive` unpacks to is too large for the memory, or for its size."""
    declared = sum(member.file_size for member in archive.infolist())
    check_room(path, declared, max_bytes, chunked=False, on_disk=path.stat().st_size)


def read_npz(path: Path, max_bytes: int | None) -> dict[str, np.ndarray]:
    """All arrays by name, in the order of the file."""
    if not _is_archive(path):
        raise InvalidArrayError(
            f"{path} does not begin as a .npz file does: damaged, or another kind of file under this name."
        )
    with zipfile.ZipFile(path) as archive:
        members = _members(archive, path)
        check_archive(archive, path, max_bytes)
        return {name: read_member(archive, member, path) for name, member in members.items()}


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> np.ndarray:
    """An array of `archive`, whose header is checked first: NumPy would make room for whatever is declared."""
    with archive.open(member) as file:
        read_header(file, member.file_size, path, member.filename.removesuffix(".npy"))
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _is_archive(path: Path) -> bool:
    """Whether it begins as an archive does, too: `zipfile` looks at the end of a file only."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") and zipfile.is_zipfile(path)


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.is_dir():
            continue
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise InvalidArrayError(
                f"{path} holds two arrays called {name!r}; save it again, with numpy.savez and a name of its own for each."
            )
        members[name] = member
    return members
