"""The tensor in what a module gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

__all__ = ["Output", "output_of"]


class Output(NamedTuple):
    """What was found.

    Attributes
    ----------
    tensor : Tensor or None
        None if there is none with the examples where they should be.
    place : str
        Where in the output it was, in words; empty if the output is a tensor.
    lengths : Tensor, shape (n,), or None
        Of packed sequences, which come back padded and with their examples first.
    found : str
        All tensors that there are, in words.
    """

    tensor: torch.Tensor | None
    place: str = ""
    lengths: torch.Tensor | None = None
    found: str = ""


def output_of(output: Any, n: int | None, axis: int = 0) -> Output:
    """The tensor that stands for the output of a module.

    Parameters
    ----------
    output : tensor, or tuple, list, mapping or dataclass of tensors, nested at will
        Of several tensors ``last_hidden_state`` counts, else the first whose `axis` has the examples.
    n : int or None
        How many examples there are; None if nobody knows.
    axis : int
        Where they are, in tensors of three axes and more; in others they are first.
    """
    leaves = [(path, _plain(value)) for path, value in _leaves(output, "")]
    found = ", ".join(f"{path or 'output'} {tuple(_shape(value))}" for path, value in leaves)
    for path, value in sorted(leaves, key=lambda leaf: leaf[0] != "['last_hidden_state']"):
        place = (
            ""
            if len(leaves) == 1 and not path
            else f"output{path}" + (f" of {len(leaves)} tensors" if len(leaves) > 1 else "")
        )
        if isinstance(value, PackedSequence):
            tensor, lengths = pad_packed_sequence(value, batch_first=True)
            return Output(tensor, place, lengths, found)
        if value.ndim and not value.is_nested and (n is None or value.shape[axis if value.ndim > 2 else 0] == n):
            return Output(value, place, None, found)
    return Output(None, found=found)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor | PackedSequence):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _leaves(item, f"{path}[{place}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from _leaves(getattr(value, each.name), f"{path}.{each.name}")


def _plain(value: Any) -> Any:
    return value.dequantize() if isinstance(value, torch.Tensor) and value.is_quantized else value


def _shape(value: Any) -> Any:
    return value.data.shape if isinstance(value, PackedSequence) else ("nested",) if value.is_nested else value.shape
