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
from simkit.statistics.batched import RootsOfBatches
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.moments import Moments
from simkit.statistics.roots import Roots

__all__ = ["all_reduce"]

State = TypeVar("State", Moments, Roots, Stream)


def all_reduce(state: State, group: Any = None) -> State:
    """The state of the examples of all processes of a group, in every process; the argument does not change.

    Parameters
    ----------
    state : Moments, Roots or Stream
        On the device that the group's backend works with: CUDA for NCCL, the host for Gloo (NumPy arrays too). A process
        that has seen no batch may take part.
    group : ProcessGroup, optional
        Default: all processes.

    Returns
    -------
    Moments, Roots or Stream
        As given, and the same up to the last bit in every process.

    Raises
    ------
    InvalidArrayError
        The processes hold different indexes or layers, or none has seen a batch; raised in all of them.
    """
    if isinstance(state, Moments):
        return _all_reduce_moments(state, group)
    if isinstance(state, Roots):
        _same_layers(_gathered((state.names, state.widths), group))
        return _all_reduce_roots(state, group)
    return _all_reduce_stream(state, group)


def _all_reduce_stream(stream: Stream, group: Any) -> Stream:
    merged = functools.reduce(Stream.merge, _gathered(stream.shell(), group))
    if isinstance(stream.state, Moments):
        return merged.filled(_all_reduce_moments(stream.state, group), stream.like)
    if isinstance(stream.state, RootsOfBatches):
        return merged.filled(_all_reduce_batches(stream.state, group), stream.like)
    states = [MinibatchHSIC.from_arrays(arrays) for arrays in _gathered(stream.state.to_arrays(), group)]
    total = functools.reduce(MinibatchHSIC.merge, states)
    return merged.filled(MinibatchHSIC.from_arrays(total.to_arrays(), stream.like), stream.like)


def _all_reduce_moments(moments: Moments, group: Any) -> Moments:
    about = (moments.names, moments.widths, moments.third_order) if moments.names else None
    everywhere = _gathered((about, moments.given, _is_numpy(moments.mean) if about else False), group)
    known = [place for place in everywhere if place[0] is not None]
    names, widths, _ = _same_layers([place[0] for place in everywhere])
    if about is None:
        moments = moments.copy()
        moments.update(_no_examples(names, widths, known[0][2], group))
    everywhere = [(n, _as_own(place, moments.mean)) for n, place in _gathered((moments.n, to_numpy(moments.place)), group)]
    reduced = moments.reduced(everywhere, lambda x: _summed(x, group))
    reduced.given = tuple(map(max, *(given for _, given, _ in known))) if len(known) > 1 else known[0][1]
    return reduced


def _all_reduce_batches(state: RootsOfBatches, group: Any) -> RootsOfBatches:
    about = (state.names, state.widths) if state.names else None
    everywhere = _gathered((about, _is_numpy(state.roots.origin) if about else False), group)
    names, widths = _same_layers([place[0] for place in everywhere])
    if about is None:
        on_host = next(on_host for layers, on_host in everywhere if layers is not None)
        state = RootsOfBatches()
        state.update(_no_examples(names, widths, on_host, group))
    known = [given for given in _gathered((about and state.given, state.rounding), group) if given[0] is not None]
    return state.with_roots(
        _all_reduce_roots(state.roots, group),
        nonfinite=_summed(state.nonfinite, group),
        given=tuple(max(column) for column in zip(*(given for given, _ in known), strict=True)),
        rounding={name: max(rounding[name] for _, rounding in known) for name in names},
    )


def _all_reduce_roots(roots: Roots, group: Any) -> Roots:
    """Merge the roots of all processes, in their order, so that each does the very same and ends with the same bits."""
    blank = roots.only({})
    merged: Roots | None = None
    for rank, (known, shapes) in enumerate(_gathered((blank, {k: tuple(x.shape) for k, x in roots.arrays.items()}), group)):
        own = rank == dist.get_rank(group)
        arrays = {
            name: _broadcast(roots.arrays[name] if own else None, shape, roots.origin, rank, group)
            for name, shape in shapes.items()
        }
        whole = known.only(arrays)
        merged = whole if merged is None else Roots.merged([merged, whole])
    assert merged is not None
    return merged


def _same_layers(everywhere: list[Any]) -> Any:
    """What all processes that have seen a batch agree on."""
    known = [about for about in everywhere if about is not None]
    if not known:
        raise InvalidArrayError("No process has seen a batch, so there is nothing to reduce.")
    for rank, other in enumerate(everywhere):
        if other not in (None, known[0]):
            raise InvalidArrayError(f"Process {rank} holds other layers: {other}, where another has {known[0]}.")
    return known[0]


def _no_examples(names: tuple[str, ...], widths: tuple[int, ...], on_host: bool, group: Any) -> dict[str, Array]:
    """An empty batch, of NumPy if others have that."""
    empty = {name: torch.zeros((0, p), device=_device(group)) for name, p in zip(names, widths, strict=True)}
    return {name: x.numpy() for name, x in empty.items()} if on_host else empty


def _broadcast(x: Array | None, shape: tuple[int, ...], like: Array, rank: int, group: Any) -> Array:
    """The array of one process in all of them, in their own framework."""
    if x is None:
        dtype = like.dtype if isinstance(like, torch.Tensor) else torch.float64
        tensor = torch.empty(shape, dtype=dtype, device=_device(group))
    else:
        tensor = x.contiguous() if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
    source = rank if group is None else dist.get_global_rank(group, rank)
    dist.broadcast(tensor, src=source, group=group)
    return tensor if isinstance(like, torch.Tensor) else tensor.numpy()


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


def _is_numpy(x: Array) -> bool:
    return isinstance(x, np.ndarray)


def _device(group: Any) -> torch.device:
    """Where the backend of a group works."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else torch.device("cpu")
