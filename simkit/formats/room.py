"""Whether the memory suffices for what a file declares, asked before anything is read."""

from __future__ import annotations

from pathlib import Path

from simkit.errors import TooLargeError
from simkit.memory import available, in_words

__all__ = ["check_room"]

_SUSPICIOUS_RATIO = 100  # bytes of arrays per byte of a compressed file; activations compress by 2 to 10
_SUSPICIOUS_SIZE = 2**30


def check_room(path: Path, declared: int, max_bytes: int | None, *, chunked: bool, on_disk: int | None = None) -> None:
    """Raise unless `declared` bytes may be read at once.

    Parameters
    ----------
    max_bytes : int or None
        What the caller allows; None for the memory that is available, and for 1 GiB if a compressed file gives more than a
        hundred times its size.
    chunked : bool
        `simkit.open_source` reads this kind of file.
    on_disk : int, optional
        Bytes of a compressed file.

    Raises
    ------
    TooLargeError
    """
    limit, what = _limit(declared, max_bytes, on_disk)
    if limit is None or declared <= limit:
        return
    in_chunks = "Read it in chunks, with simkit.open_source (--chunks 8192 on the command line)"
    other = "Save the layers as .safetensors, which simkit.open_source reads in chunks"
    raise TooLargeError(
        f"{path} declares arrays of {in_words(declared)}, more than {what}. {in_chunks if chunked else other}, or raise the "
        f"limit if the file can be trusted and there is room for it: max_bytes={declared} (--max-bytes {declared})."
    )


def _limit(declared: int, max_bytes: int | None, on_disk: int | None) -> tuple[int | None, str]:
    """The most bytes that may be read, None for any number, and what they are."""
    if max_bytes is not None:
        return max_bytes, f"max_bytes={max_bytes}"
    room = available()
    if on_disk is not None and declared > _SUSPICIOUS_RATIO * on_disk and (room is None or room > _SUSPICIOUS_SIZE):
        return _SUSPICIOUS_SIZE, f"the {in_words(_SUSPICIOUS_SIZE)} that a file of {in_words(on_disk)} may"
    return room, f"the {in_words(room or 0)} of memory that are available"
