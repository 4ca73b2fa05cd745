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

import simkit
from simkit.arrays import Array, to_numpy
from simkit.errors import InvalidArrayError
from simkit.scale.stream import Stream
from simkit.statistics.batched import RootsOfBatches
from simkit.statistics.minibatch import MinibatchHSIC
from simkit.statistics.moments import Moments
from simkit.statistics.roots import Roots
from simkit.torch.processes import Processes

__all__ = ["all_reduce"]

State = TypeVar("State", Moments, Roots, Stream)


def all_reduce(state: State, group: Any = None, *, timeout: float | None = None) -> State:
    """The state of the examples of all processes of a group, in every process; the argument does not change.

    Parameters
    ----------
    state : Moments, Roots or Stream
        On the device that the group's backend works with: CUDA for NCCL, the host for Gloo (NumPy arrays too). A process
        that has seen no batch may take part.
    group : ProcessGroup, optional
        Default: all processes.
    timeout : float, optional
        Seconds to wait for the other processes, and again in each step of the reduction. By default the timeout of the group
        counts, which is 30 minutes for Gloo and 10 for NCCL unless `torch.distributed.init_process_group` was given another.
        The same in all processes.

    Returns
    -------
    Moments, Roots or Stream
        As given, and the same up to the last bit in every process.

    Raises
    ------
    InvalidArrayError
        The processes hold different indexes or layers or run different versions of simkit, one gave something else, or none
        has seen a batch; raised in all of them.
    ClusterError
        A process has ended, or did not come within `timeout`. With Gloo the error names it. After that the group cannot be
        used any more: `Stream.save` what each process holds, start all processes again, and load it there.

    Warns
    -----
    ClusterWarning
        Every 20 seconds while this process waits for others.
    """
    processes = Processes(group, timeout)
    processes.meet()
    _check_alike(state, processes)
    if isinstance(state, Moments):
        return _all_reduce_moments(state, processes)
    if isinstance(state, Roots):
        _same_layers(processes.gathered((state.names, state.widths)))
        return _all_reduce_roots(state, processes)
    return _all_reduce_stream(state, processes)


def _check_alike(state: Any, processes: Processes) -> None:
    """Raise in all processes what is wrong in one of them: an error in that one alone would leave the others waiting."""
    everywhere = processes.gathered((simkit.__version__, _kind(state), _misplaced(state, processes)))
    for rank, (version, kind, misplaced) in enumerate(everywhere):
        first = everywhere[0]
        if kind is None or first[1] is None:
            culprit = rank if kind is None else 0
            raise InvalidArrayError(f"Process {culprit} gave something else to all_reduce than a Moments, Roots or Stream.")
        if version != first[0]:
            raise InvalidArrayError(
                f"Process {rank} runs simkit {version}, process 0 simkit {first[0]}. Install the same version everywhere."
            )
        if kind != first[1]:
            raise InvalidArrayError(f"Process {rank} holds a {kind}, process 0 a {first[1]}.")
        if misplaced:
            raise InvalidArrayError(f"Process {rank} {misplaced}")


def _kind(state: Any) -> str | None:
    if isinstance(state, Stream):
        return f"Stream of {state.index}"
    return type(state).__name__ if isinstance(state, Moments | Roots) else None


def _misplaced(state: Any, processes: Processes) -> str | None:
    """What is wrong with where a state lies, if anything."""
    like = state.mean if isinstance(state, Moments | Roots) and state.names else getattr(state, "like", None)
    kind = like.device.type if isinstance(like, torch.Tensor) else "cpu"
    if like is None or processes.backend not in ("gloo", "nccl") or kind == processes.device.type:
        return None
    return (
        f"holds its state on {kind}, and {processes.backend} works with {processes.device.type}: give its stream batches "
        "that lie there, or make a group of the other backend (torch.distributed.new_group)."
    )


def _all_reduce_stream(stream: Stream, processes: Processes) -> Stream:
    merged = functools.reduce(Stream.merge, processes.gathered(stream.shell()))
    if isinstance(stream.state, Moments):
        return merged.filled(_all_reduce_moments(stream.state, processes), stream.like)
    if isinstance(stream.state, RootsOfBatches):
        return merged.filled(_all_reduce_batches(stream.state, processes), stream.like)
    states = [MinibatchHSIC.from_arrays(arrays) for arrays in processes.gathered(stream.state.to_arrays())]
    total = functools.reduce(MinibatchHSIC.merge, states)
    return merged.filled(MinibatchHSIC.from_arrays(total.to_arrays(), stream.like), stream.like)


def _all_reduce_moments(moments: Moments, processes: Processes) -> Moments:
    about = (moments.names, moments.widths, moments.third_order) if moments.names else None
    everywhere = processes.gathered((about, moments.given, _is_numpy(moments.mean) if about else False))
    known = [place for place in everywhere if place[0] is not None]
    names, widths, _ = _same_layers([place[0] for place in everywhere])
    if about is None:
        moments = moments.copy()
        moments.update(_no_examples(names, widths, known[0][2], processes))
    places = [(n, _as_own(place, moments.mean)) for n, place in processes.gathered((moments.n, to_numpy(moments.place)))]
    reduced = moments.reduced(places, processes.summed)
    reduced.given = tuple(map(max, *(given for _, given, _ in known))) if len(known) > 1 else known[0][1]
    return reduced


def _all_reduce_batches(state: RootsOfBatches, processes: Processes) -> RootsOfBatches:
    about = (state.names, state.widths) if state.names else None
    everywhere = processes.gathered((about, _is_numpy(state.roots.origin) if about else False))
    names, widths = _same_layers([place[0] for place in everywhere])
    if about is None:
        on_host = next(on_host for layers, on_host in everywhere if layers is not None)
        state = RootsOfBatches()
        state.update(_no_examples(names, widths, on_host, processes))
    known = [given for given in processes.gathered((about and state.given, state.rounding)) if given[0] is not None]
    return state.with_roots(
        _all_reduce_roots(state.roots, processes),
        nonfinite=processes.summed(state.nonfinite),
        given=tuple(max(column) for column in zip(*(given for given, _ in known), strict=True)),
        rounding={name: max(rounding[name] for _, rounding in known) for name in names},
    )


def _all_reduce_roots(roots: Roots, processes: Processes) -> Roots:
    """Merge the roots of all processes, in their order, so that each does the very same and ends with the same bits."""
    blank = roots.only({})
    merged: Roots | None = None
    for rank, (known, shapes) in enumerate(
        processes.gathered((blank, {k: tuple(x.shape) for k, x in roots.arrays.items()}))
    ):
        own = rank == processes.rank
        arrays = {
            name: processes.broadcast(roots.arrays[name] if own else None, shape, roots.origin, rank)
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


def _no_examples(names: tuple[str, ...], widths: tuple[int, ...], on_host: bool, processes: Processes) -> dict[str, Array]:
    """An empty batch, of NumPy if others have that."""
    empty = {name: torch.zeros((0, p), device=processes.device) for name, p in zip(names, widths, strict=True)}
    return {name: x.numpy() for name, x in empty.items()} if on_host else empty


def _as_own(values: np.ndarray, like: Array) -> Array:
    return values if isinstance(like, np.ndarray) else torch.as_tensor(values, dtype=like.dtype, device=like.device)


def _is_numpy(x: Array) -> bool:
    return isinstance(x, np.ndarray)
