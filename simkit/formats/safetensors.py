"""Files of the kind ``.safetensors``, whose headers are checked as the reference library does.

https://huggingface.co/docs/safetensors: eight bytes with the length of a header in JSON, the header, and the numbers of all
tensors without a gap. The library maps files, whose pages would count as memory, and gives NumPy no bfloat16 and no float8.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simkit.errors import InvalidArrayError
from simkit.formats.numbers import Block, size_of
from simkit.formats.paths import check_file

__all__ = ["read_blocks", "write_blocks"]

_LONGEST_HEADER = 100_000_000  # the reference library's limit
_MOST_AXES = 64  # of an array of NumPy's
_DTYPES = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "BOOL": "|b1",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
}
_NAMES = {stored: name for name, stored in _DTYPES.items()}


def read_blocks(path: Path) -> dict[str, Block]:
    """Where each tensor of a file stands, by name, in the order of the header."""
    size = check_file(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise InvalidArrayError(f"{path} cannot be read as .safetensors: it is of another kind, or cut off.")
        if length > _LONGEST_HEADER:
            raise InvalidArrayError(f"{path} cannot be read as .safetensors: its header would be {length} bytes long.")
        entries = _parsed(file.read(length), path)
    blocks = {name: _block(entry, name, 8 + length, path) for name, entry in entries.items() if name != "__metadata__"}
    _check_layout(blocks, 8 + length, size, path)
    return blocks


def write_blocks(path: Path, tensors: Mapping[str, tuple[np.ndarray, str]]) -> None:
    """Write arrays with the dtypes that they are stored as (`simkit.formats.numbers`), those of NumPy's as bits.

    The reference library would take them all from one dictionary of tensors in PyTorch, or without bfloat16.
    """
    header, place, entries = {}, 0, sorted(tensors.items(), key=lambda item: -size_of(item[1][1]))  # aligned in this order
    for name, (values, stored) in entries:
        end = place + values.nbytes
        header[name] = {"dtype": _NAMES[stored], "shape": list(values.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header).encode("ascii")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, (values, _) in entries:
            file.write(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)


def _parsed(header: bytes, path: Path) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise InvalidArrayError(f"{path}: its header holds {name!r:.100} twice; save the file again.")
            found[name] = value
        return found

    try:
        entries = json.loads(header.decode("utf-8"), object_pairs_hook=unique)
        "".join(entries).encode("utf-8")  # JSON can spell halves of characters, which no one can print
    except InvalidArrayError:
        raise
    except (ValueError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, dict) or not header.startswith(b"{"):
        raise InvalidArrayError(f"{path} cannot be read as .safetensors: its header is no JSON object.")
    return entries


def _block(entry: Any, name: str, begin: int, path: Path) -> Block:
    """The tensor that an entry of the header declares."""
    if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
        raise InvalidArrayError(f"{path}: the header's entry {name!r} lacks one of dtype, shape and data_offsets.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_are_counts(shape) and _are_counts(offsets) and len(offsets) == 2):
        raise InvalidArrayError(
            f"{path}: {name!r} has shape {shape!r:.100} and data_offsets {offsets!r:.100}; expected lists of "
            "whole numbers that are not negative, two of them in data_offsets."
        )
    stored = _DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if stored is None:
        raise InvalidArrayError(f"{path}: {name!r} has dtype {entry['dtype']!r:.100}; expected {', '.join(_DTYPES)}.")
    if math.prod(shape) * size_of(stored) != offsets[1] - offsets[0]:
        raise InvalidArrayError(
            f"{path}: {name!r} has shape {tuple(shape)!r:.100} and dtype {entry['dtype']}, which does not fit its "
            f"data_offsets {offsets!r:.100}: the file is damaged."
        )
    return Block(tuple(shape), stored, begin + offsets[0])


def _are_counts(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= _MOST_AXES
        and all(type(value) is int and 0 <= value < 2**63 for value in values)
    )


def _check_layout(blocks: dict[str, Block], begin: int, size: int, path: Path) -> None:
    """Raise unless the tensors follow one another without gap or overlap up to the end of the file."""
    end, last = begin, ""
    for name, block in sorted(blocks.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if block.offset != end:
            kind = "overlaps with" if block.offset < end else "leaves a gap after"
            raise InvalidArrayError(f"{path}: the tensor {name!r} {kind} {last or 'the header'!r}: the file is damaged.")
        end, last = end + block.nbytes, name
    if end != size:
        kind = "is cut off" if end > size else "holds more than its tensors"
        raise InvalidArrayError(f"{path} {kind}: its tensors end at byte {end}, the file at {size}.")
