"""Batches of whatever kind: where they come from, what the model takes of them, how many examples they have."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sized
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from simkit.errors import ExtractionError
from simkit.text import shown

__all__ = [
    "Batches",
    "as_tensors",
    "clone",
    "first_few",
    "inputs_of",
    "is_shuffled",
    "moved",
    "run",
    "size_of",
    "tensors_in",
]

_SIZE_KEYS = ("input_ids", "inputs_embeds", "pixel_values", "input_features", "input_values")


class Batches:
    """One pass over data, of which the first batch can be looked at before.

    Parameters
    ----------
    data : DataLoader, iterable of batches, tensor, mapping of tensors, or Dataset
        See `simkit.torch.activations`.
    batch_size : int
        For tensors, mappings and datasets, which are cut into batches.

    Attributes
    ----------
    examples : int or None
        How many examples there are, as far as it is known before.
    steps : int or None
        How many batches.
    keep : int or None
        How many of the examples count: the rest are repeats by which a `DistributedSampler` fills up its last round.
    replicas : int
        Over how many processes the examples are dealt out.
    """

    def __init__(self, data: Any, batch_size: int, what: str = "data") -> None:
        self.what = what
        source = _source(data, batch_size, what)
        self.examples, self.steps = _counts(source)
        self.keep, self.replicas = _share(source)
        if self.keep is not None:
            self.examples = self.keep
        self._batches = iter(source)
        try:
            self.first = next(self._batches)
        except StopIteration:
            again = " An iterator gives its batches once; has it been used up?" if isinstance(data, Iterator) else ""
            raise ExtractionError(f"{what} yields no batch: {shown(data)} is empty.{again}") from None

    def __iter__(self) -> Iterator[Any]:
        first, self.first = self.first, None
        return itertools.chain((first,), self._batches)


def _source(data: Any, batch_size: int, what: str) -> Iterable[Any]:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ExtractionError(f"batch_size is {shown(batch_size)}; expected a whole number from 1 on.")
    if isinstance(data, np.ndarray | Mapping):
        data = as_tensors(data)
    if isinstance(data, np.ndarray):
        raise ExtractionError(f"{what} is an array of {data.dtype}; expected numbers of a type that PyTorch has.")
    if isinstance(data, torch.Tensor):
        if data.ndim == 0:
            raise ExtractionError(f"{what} is a single number; expected a tensor of examples, or batches of them.")
        return data.split(batch_size) if len(data) else []
    if isinstance(data, Mapping):
        n = size_of(data)
        if n is None:
            raise ExtractionError(
                f"{what} is a mapping without a tensor; expected keywords of the model with tensors of all examples, or "
                'batches. A tokenizer gives tensors with return_tensors="pt", and padding=True.'
            )
        _check_rows(data, n, what)
        return [_rows(data, start, min(n, start + batch_size), n) for start in range(0, n, batch_size)]
    if isinstance(data, Dataset) or type(data).__module__.startswith("datasets."):
        return DataLoader(data, batch_size=batch_size)  # which gives single examples otherwise
    if isinstance(data, str | bytes) or not isinstance(data, Iterable):
        raise ExtractionError(
            f"{what} is {shown(data)}, a {type(data).__name__}; expected a DataLoader, another iterable of batches, a "
            "tensor, a mapping of keywords of the model to tensors, or a Dataset."
        )
    if isinstance(data, list | tuple) and _is_one_batch(data):
        shapes = " and ".join(f"{tuple(x.shape)} of {x.dtype}" for x in data[:2])
        raise ExtractionError(
            f"{what} is a {type(data).__name__} of tensors {shapes}, as one batch of inputs and labels is; expected "
            f"batches. Put it into a list: [{what}]."
        )
    return data


def _is_one_batch(data: Any) -> bool:
    """Whether a sequence looks like (inputs, labels) of one batch, and not like batches."""
    if len(data) < 2 or not all(isinstance(x, torch.Tensor) for x in data):
        return False
    kinds = {(x.ndim, x.is_floating_point()) for x in data}
    return len(kinds) > 1 and len({len(x) if x.ndim else 0 for x in data}) == 1


def _counts(source: Any) -> tuple[int | None, int | None]:
    """Numbers of examples and of batches, as far as they are known."""
    try:
        steps = len(source) if isinstance(source, Sized) else None
    except TypeError:  # a loader of an IterableDataset
        return None, None
    if isinstance(source, DataLoader):
        try:
            sampled = len(source.sampler)
        except TypeError:
            sampled = None
        if source.batch_size is None or sampled is None:
            return None, steps
        return (steps * source.batch_size if source.drop_last and steps is not None else sampled), steps
    if isinstance(source, list | tuple):
        sizes = [size_of(batch) for batch in source]
        return (None if None in sizes else sum(size or 0 for size in sizes)), steps
    return None, steps


def _share(source: Any) -> tuple[int | None, int]:
    """How many examples of this process count, and over how many processes they are dealt out."""
    sampler = getattr(source, "sampler", None)
    if not isinstance(sampler, DistributedSampler):
        return None, 1
    total, replicas, rank = len(sampler.dataset), sampler.num_replicas, sampler.rank
    own = -(-(total - rank) // replicas) if total > rank else 0
    return (min(own, len(sampler)) if not sampler.drop_last else len(sampler)), replicas


def is_shuffled(data: Any) -> bool:
    """Whether a loader says that it gives its examples in another order each time."""
    batched = getattr(data, "batch_sampler", None)  # a loader that was given one has a sampler that says nothing
    sampler = getattr(batched, "sampler", None) or getattr(data, "sampler", None)
    return isinstance(sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler) or (
        isinstance(sampler, DistributedSampler) and sampler.shuffle
    )


# --- one batch -----------------------------------------------------------------------------------------------------------


def inputs_of(batch: Any) -> Any:
    """What of a batch goes into the model: the batch, or the first item of a tuple or list.

    Raises
    ------
    ExtractionError
        It is something else than a tensor or a mapping.
    """
    given = batch
    if isinstance(batch, tuple | list) and not isinstance(batch, PackedSequence):
        if not batch:
            raise ExtractionError("A batch is empty.")
        given = batch[0]
    if isinstance(given, torch.Tensor | Mapping | PackedSequence):
        return given
    raise ExtractionError(
        f"A batch is {_kind(batch)}; expected a tensor, a tuple whose first item is one or is a mapping, or a mapping of "
        "keywords of the model. For others say how the model is run: forward=lambda model, batch: model(...)."
    )


def _kind(batch: Any) -> str:
    if isinstance(batch, tuple | list) and batch:
        return f"a {type(batch).__name__} whose first item is a {type(batch[0]).__name__}"
    return f"a {type(batch).__name__}"


def run(model: torch.nn.Module, batch: Any, forward: Callable[[Any, Any], Any] | None) -> Any:
    """What `model` makes of a batch."""
    if forward is not None:
        return forward(model, batch)
    given = inputs_of(batch)
    return model(**given) if isinstance(given, Mapping) else model(given)


def size_of(batch: Any) -> int | None:
    """How many examples a batch has; None if it does not tell."""
    if isinstance(batch, PackedSequence):
        return int(batch.batch_sizes[0])
    if isinstance(batch, torch.Tensor | np.ndarray):
        return batch.shape[0] if batch.ndim else None
    if isinstance(batch, Mapping):
        tensors = {key: x for key, x in batch.items() if isinstance(x, torch.Tensor) and x.ndim}
        key = next((key for key in _SIZE_KEYS if key in tensors), next(iter(tensors), None))
        return None if key is None else tensors[key].shape[0]
    if isinstance(batch, tuple | list) and batch:
        return size_of(batch[0])
    return None


def tensors_in(batch: Any) -> Iterator[torch.Tensor]:
    """All tensors of a batch, nested at will."""
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from tensors_in(item)
    elif isinstance(batch, tuple | list):
        for item in batch:
            yield from tensors_in(item)


def moved(batch: Any, device: torch.device | None) -> Any:
    """A batch on a device; `device=None` leaves it where it is."""
    if device is None:
        return batch

    def move(x: Any) -> Any:
        return x.to(device, non_blocking=isinstance(x, torch.Tensor) and x.device.type == "cpu" and x.is_pinned())

    return _mapped(batch, move)


def clone(batch: Any) -> Any:
    """A batch whose tensors may be written to."""
    return _mapped(batch, lambda x: x.clone() if isinstance(x, torch.Tensor) else x)


def _mapped(batch: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(batch, torch.Tensor | PackedSequence):
        return function(batch)
    if isinstance(batch, Mapping):
        # A class of its own may have more than items, such as the attributes of a BatchEncoding.
        twin: Any = copy.copy(batch) if isinstance(batch, MutableMapping) else dict(batch)
        for key, item in batch.items():
            twin[key] = _mapped(item, function)
        return twin
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_mapped(item, function) for item in batch))
    if isinstance(batch, tuple | list):
        return type(batch)(_mapped(item, function) for item in batch)
    if callable(getattr(batch, "to", None)):  # a batch of a class of its own, such as a graph
        return function(batch)
    return batch


def as_tensors(batch: Any) -> Any:
    """A batch with tensors, which may be written to, for arrays of NumPy whose numbers PyTorch has."""
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "bfiu" and batch.dtype.itemsize <= 8:
        return torch.from_numpy(np.array(batch, dtype=batch.dtype.newbyteorder("="), order="C"))
    if isinstance(batch, Mapping):
        if not any(isinstance(item, np.ndarray) for item in batch.values()):
            return batch
        return {key: as_tensors(item) for key, item in batch.items()}
    if isinstance(batch, tuple | list) and batch and isinstance(batch[0], np.ndarray | Mapping):
        return (as_tensors(batch[0]), *batch[1:])
    return batch


def first_few(batch: Any, n: int, most: int) -> Any | None:
    """A copy of the first examples of a batch, as the model takes it; None where they cannot be told from the rest."""
    try:
        given = inputs_of(batch)
    except ExtractionError:
        return None
    if isinstance(given, PackedSequence):
        return None
    items = list(given.values()) if isinstance(given, Mapping) else [given]
    if not all(isinstance(x, torch.Tensor) and x.ndim and x.shape[0] == n for x in items):
        return None
    return clone(_rows(given, 0, most, n) if isinstance(given, Mapping) else given[:most])


def _rows(batch: Mapping[str, Any], start: int, stop: int, n: int) -> dict[str, Any]:
    return {
        key: x[start:stop] if isinstance(x, torch.Tensor | list | np.ndarray) and len(x) == n else x
        for key, x in batch.items()
    }


def _check_rows(data: Mapping[str, Any], n: int, what: str) -> None:
    for key, x in data.items():
        if isinstance(x, torch.Tensor) and x.ndim and x.shape[0] not in (1, n):
            raise ExtractionError(f"{what}: {shown(str(key))} has {x.shape[0]} rows, where other tensors have {n}.")
