"""What a shell offers when somebody presses Tab: names of indexes, kernels and layers' files, and suffixes of results.

Nothing of a plugin is imported for it: names are in the metadata of what is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import get_args

from simkit.activations import Channels, NamedRule
from simkit.registry import list_indexes, list_kernels
from simkit.text import printable

__all__ = ["files", "index_names", "kernel_names", "results", "rules"]


def index_names(incomplete: str) -> list[str]:
    """Names of indexes that begin so."""
    return _beginning(incomplete, list_indexes())


def kernel_names(incomplete: str) -> list[str]:
    """Names of kernels that begin so."""
    return _beginning(incomplete, list_kernels())


def rules(incomplete: str) -> list[str]:
    """Rules of ``--examples``, after a pattern too, and places of the channels after a rule."""
    pattern, equals, rule = incomplete.rpartition("=")
    choices = get_args(NamedRule)
    if ":" in rule:
        choices = tuple(f"{rule.partition(':')[0]}:{channels}" for channels in get_args(Channels))
    return [f"{pattern}{equals}{choice}" for choice in _beginning(rule, choices)]


def files(suffixes: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion of the names of files that can be read, and of folders."""

    def found(incomplete: str) -> list[str]:
        folder, slash, begin = incomplete.rpartition("/")
        here = Path(f"{folder}/" if slash else ".").expanduser()
        try:
            entries = sorted(here.iterdir())
        except OSError:
            return []
        names = [
            f"{folder}{slash}{entry.name}{'/' if is_folder else ''}"
            for entry in entries
            if entry.name.startswith(begin) and (begin or not entry.name.startswith("."))
            for is_folder in [entry.is_dir() and entry.suffix.lower() not in suffixes]
            if is_folder or entry.suffix.lower() in suffixes
        ]
        return [name for name in names if name == printable(name)]

    return found


def results(suffixes: Sequence[str]) -> Callable[[str], list[str]]:
    """A completion of the name of a file to be written: the suffixes that can be, after a name; else files as they are."""

    def found(incomplete: str) -> list[str]:
        folder, slash, name = incomplete.rpartition("/")
        stem, dot, suffix = name.rpartition(".")
        if not stem or not dot:
            return files(suffixes)(incomplete) if not name else [f"{incomplete}{suffix}" for suffix in suffixes]
        return [f"{folder}{slash}{stem}{each}" for each in _beginning(f".{suffix}", suffixes)]

    return found


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [str(name) for name in names if name.startswith(incomplete)]
