"""Which paths can be read at all: opening a pipe would wait for ever, and a device may never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from simkit.errors import InvalidArrayError
from simkit.text import printable

__all__ = ["check_file", "check_folder", "status"]


def status(path: Path) -> os.stat_result:
    """The status of a file or folder.

    Raises
    ------
    FileNotFoundError
        There is none.
    InvalidArrayError
        It cannot be reached, such as through a loop of symbolic links, or is neither file nor folder.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{printable(path)}: no such file.") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise InvalidArrayError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}.") from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InvalidArrayError(
            f"{path} is {_kind(found.st_mode)}, neither a file nor a folder; save what it gives in a file, and open that."
        )
    return found


def check_file(path: Path) -> int:
    """The size in bytes of what is a file and no folder, and may be read; raises as `status`."""
    found = status(path)
    if stat.S_ISDIR(found.st_mode):
        raise InvalidArrayError(f"{path} is a folder; expected a {path.suffix} file. Give the path of a file in it.")
    if not os.access(path, os.R_OK):
        raise InvalidArrayError(f"{path} cannot be opened: permission denied. Ask its owner for the right to read it.")
    return found.st_size


def check_folder(path: Path) -> None:
    """Raise, as `status` does, unless `path` is a folder."""
    if not stat.S_ISDIR(status(path).st_mode):
        raise InvalidArrayError(
            f"{path} is a file; expected a {path.suffix} folder. A zipped store is to be unpacked first."
        )


def _kind(mode: int) -> str:
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((name for is_one, name in kinds.items() if is_one(mode)), "something else")
