"""Several processes without Dask: the same states, merged over a `torch.distributed` process group.

Each process streams its own share of the examples (a `DistributedSampler` deals them out) and one collective call at the end
makes all of them hold the state of all examples:

    cka = simkit.stream("cka", estimator="unbiased")
    for batch in loader:
        cka.update(layers_of_a(batch), layers_of_b(batch))
    print(all_reduce(cka).compute())

What travels is the state, P x P numbers for layers of P features, however many examples there were. A sampler that pads the
last round repeats examples; leave those out, or they count twice.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from simkit.arrays import Array, to_numpy
from simkit.errors import InvalidArrayError
from simkit.scale.stream import Stream
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.moments import Moments

__all__ = ["all_reduce"]

State = TypeVar("State", Moments, Stream)


def all_reduce(state: State, group: Any = None) -> State:
    """The state of the examples of all processes of a group, in every process; the argument does not change.

    Parameters
    ----------
    state : Moments or Stream
        On the device that the group's backend works with: CUDA for NCCL, the host for Gloo (NumPy arrays too). A process
        that has seen no batch may take part.
    group : ProcessGroup, optional
        Default: all processes.

    Returns
    -------
    Moments or Stream
        As given, and the same up to the last bit in every process.

    Raises
    ------
    InvalidArrayError
        The processes hold different indexes or layers, or none has seen a batch; raised in all of them.
    """
    if isinstance(state, Moments):
        return _all_reduce_moments(state, group)
    return _all_reduce_stream(state, group)


def _all_reduce_stream(stream: Stream, group: Any) -> Stream:
    merged = functools.reduce(Stream.merge, _gathered(stream.shell(), group))
    if isinstance(stream.state, Moments):
        return merged.filled(_all_reduce_moments(stream.state, group), stream.like)
    states = [MinibatchHSIC.from_arrays(arrays) for arrays in _gathered(stream.state.to_arrays(), group)]
    total = functools.reduce(MinibatchHSIC.merge, states)
    return merged.filled(MinibatchHSIC.from_arrays(total.to_arrays(), stream.like), stream.like)


def _all_reduce_moments(moments: Moments, group: Any) -> Moments:
    about = (moments.names, moments.widths, moments.third_order) if moments.names else None
    everywhere = _gathered((about, moments.given, _is_numpy(moments)), group)
    known = [place for place in everywhere if place[0] is not None]
    if not known:
        raise InvalidArrayError("No process has seen a batch, so there is nothing to reduce.")
    for rank, (other, _, _) in enumerate(everywhere):
        if other not in (None, known[0][0]):
            raise InvalidArrayError(
                f"Process {rank} holds moments of other layers: {other}, where another has {known[0][0]}."
            )
    if about is None:
        (names, widths, _), _, on_host = known[0]
        moments = moments.copy()
        empty = {name: torch.zeros((0, p), device=_device(group)) for name, p in zip(names, widths, strict=True)}
        moments.update({name: x.numpy() for name, x in empty.items()} if on_host else empty)
    counts = _gathered((moments.n, to_numpy(moments.mean)), group)
    means = [(n, _as_own(mean, moments.mean)) for n, mean in counts]
    reduced = moments.reduced(means, lambda x: _summed(x, group))
    reduced.given = tuple(map(max, *(given for _, given, _ in known))) if len(known) > 1 else known[0][1]
    return reduced


def _summed(x: Array, group: Any) -> Array:
    """The sum of an array over all processes, in its own framework."""
    total = x.clone() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    dist.all_reduce(total, group=group)
    return total if isinstance(x, torch.Tensor) else total.numpy()


def _gathered(item: Any, group: Any) -> list[Any]:
    items: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(items, item, group=group)
    return items


def _as_own(values: np.ndarray, like: Array) -> Array:
    return values if isinstance(like, np.ndarray) else torch.as_tensor(values, dtype=like.dtype, device=like.device)


def _is_numpy(moments: Moments) -> bool:
    return bool(moments.names) and isinstance(moments.mean, np.ndarray)


def _device(group: Any) -> torch.device:
    """Where the backend of a group works."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else torch.device("cpu")
