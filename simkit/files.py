"""Writing without loss: nothing is written over unasked, and a failed write leaves no half file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` that becomes `path` if the block succeeds and disappears if it fails.

    Raises
    ------
    FileExistsError
        `path` exists and `force` is false.
    FileNotFoundError
        Its folder does not exist.
    """
    target = Path(path)
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists; choose another name, or pass force=True (--force) to replace it.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"The folder {target.parent} does not exist; make it first.")
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; this one is an ordinary result
        if force:
            temporary.replace(target)
        else:
            os.link(temporary, target)  # unlike rename, fails if the file has appeared meanwhile
    finally:
        temporary.unlink(missing_ok=True)
