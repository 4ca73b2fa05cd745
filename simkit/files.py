"""Writing without loss: nothing is written over unasked, and a write that fails or is killed leaves what was there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simkit.text import printable

if sys.platform != "win32":
    import fcntl

__all__ = ["check_target", "whole_file"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_ABANDONED = 86400.0  # seconds after which a file that cannot be seen to be in use is not


@contextmanager
def whole_file(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` if the block succeeds and disappears if it fails.

    After a power cut there is the old file or the new one. Of several writers at once one wins, wholly. Temporary files of
    processes that were killed are removed by the next write to the same path.

    Raises
    ------
    FileExistsError
        `path` exists and `force` is false, or it is a device or a pipe.
    IsADirectoryError
        It is a folder.
    FileNotFoundError
        Its folder does not exist.
    OSError
        There is no room for it.
    """
    target = Path(path)
    if target.is_symlink():
        target = Path(os.path.realpath(target))
    check_target(target, force=force)
    with _said_if_full(path):
        _sweep(target)
        temporary, handle = _temporary_for(target)
        try:
            yield temporary
            os.fsync(handle)
            if target.exists():
                temporary.chmod(target.stat().st_mode & 0o7777)
            if sys.platform == "win32":  # an open file cannot be renamed there
                os.close(handle)
                handle = -1
            _put(temporary, target, force)
        finally:
            temporary.unlink(missing_ok=True)
            if handle >= 0:
                os.close(handle)


def check_target(target: Path, *, force: bool) -> None:
    """Raise as `whole_file` does, before there is anything to write."""
    if target.is_dir():
        raise IsADirectoryError(f"{printable(target)} is a folder; give the name of a file.")
    if target.exists() and not target.is_file():
        raise FileExistsError(
            f"{printable(target)} is a device or a pipe, which is never replaced; give the name of a file."
        )
    if target.exists() and not force:
        raise _exists(target)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"The folder {printable(target.parent)} does not exist; make it first.")


def _exists(target: Path) -> FileExistsError:
    return FileExistsError(f"{printable(target)} exists; choose another name, or pass force=True (--force) to replace it.")


@contextmanager
def _said_if_full(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(
            error.errno,
            f"There is no room for this file ({os.strerror(error.errno)}); what was there before is as it was. Free some "
            "space or write to another disk",
            os.fspath(path),
        ) from error


# --- temporary files ----------------------------------------------------------------------------------------------------
# They are locked as long as their writer lives, so that nobody takes them for what a dead one has left.


def _temporary_for(target: Path) -> tuple[Path, int]:
    """A new file beside `target`, and an open handle of it that holds a lock."""
    suffix = target.suffix if len(target.suffix) < 16 else ""  # writers choose a format by it
    while True:
        path = target.parent / f"{_prefix(target)}{_host()}-{os.urandom(6).hex()}{suffix}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if sys.platform == "win32":
            return path, handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # the file system has no locks
            return path, handle
        if os.fstat(handle).st_nlink:
            return path, handle
        os.close(handle)  # swept before it was locked


def _prefix(target: Path) -> str:
    return f".simkit-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"


def _host() -> str:
    name = os.environ.get("COMPUTERNAME", "") if sys.platform == "win32" else os.uname().nodename
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _sweep(target: Path) -> None:
    """Remove what writers of `target` that are dead have left."""
    with contextlib.suppress(OSError):
        for path in target.parent.glob(f"{_prefix(target)}*"):
            with contextlib.suppress(OSError):
                # Locks of another machine may not be seen here.
                old = time.time() - path.stat().st_mtime > _ABANDONED
                if old or path.name.startswith(f"{_prefix(target)}{_host()}-"):
                    _remove_unless_locked(path, old)


def _remove_unless_locked(path: Path, old: bool) -> None:
    if sys.platform == "win32":
        if old:
            path.unlink()
        return
    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


def _put(temporary: Path, target: Path, force: bool) -> None:
    """Give the temporary file its name."""
    if force:
        temporary.replace(target)
    else:
        try:
            os.link(temporary, target)  # unlike rename, fails if the file has appeared meanwhile
        except FileExistsError:
            raise _exists(target) from None
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _put_without_links(temporary, target)
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # not every file system can
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _put_without_links(temporary: Path, target: Path) -> None:
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        raise _exists(target) from None
    temporary.replace(target)
