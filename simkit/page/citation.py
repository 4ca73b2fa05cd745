"""What to cite: simkit itself, and the sources of the indexes, in BibTeX."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources

import simkit
from simkit.errors import SimkitError
from simkit.registry import get_index
from simkit.text import printable

__all__ = ["citations"]


def citations(specs: Sequence[str]) -> str:
    """Entries of BibTeX: simkit, then each source of the indexes once."""
    own = (
        "@software{simkit,\n"
        "  author = {{simkit contributors}},\n"
        "  title = {simkit: similarity of neural network representations},\n"
        "  year = {2026},\n"
        f"  version = {{{simkit.__version__}}},\n"
        "  note = {Python package simkit-similarity}\n"
        "}"
    )
    found: dict[str, str] = {}
    for spec in specs:
        try:
            reference = type(get_index(spec)).reference
        except SimkitError:  # the plugin is not installed here
            continue
        for source in filter(None, (part.strip() for part in reference.split(";"))):
            key = key_of(source)
            found.setdefault(key, _known().get(key) or _unknown(key, source))
    return "\n\n".join([own, *found.values()])


def key_of(source: str) -> str:
    """``kornblith2019`` of "Kornblith et al. 2019, eq 4": the first author's name without accents, and the year."""
    plain = unicodedata.normalize("NFKD", source).encode("ascii", "ignore").decode()
    author = re.sub(r"[^a-z]", "", re.split(r" et al|,| and | & | \d", plain)[0].lower())
    year = re.search(r"\b(1[89]|20)\d\d\b", plain)
    return (author or "source") + (year[0] if year else "")


@cache
def _known() -> dict[str, str]:
    """Key to entry, of the file that comes with simkit."""
    text = resources.files(__package__).joinpath("templates", "references.bib").read_text(encoding="utf-8")
    return {match[1]: match[0].strip() for match in re.finditer(r"^@\w+\{(\w+),\n.*?^\}", text, re.MULTILINE | re.DOTALL)}


def _unknown(key: str, source: str) -> str:
    """What a plugin says of its source, as a note: nothing is made up."""
    return f"@misc{{{key},\n  note = {{{re.sub(r'[{}]', '', printable(source))}}}\n}}"
