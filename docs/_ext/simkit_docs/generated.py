"""Files that the build makes: those that changed are written, so that only they are read or run again, and old ones go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["write_all"]


def write_all(folder: Path, pattern: str, files: Mapping[str, str]) -> None:
    """Make the files of a folder that match a pattern the given ones, name to text."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(pattern):
        if path.name not in files:
            path.unlink()
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
