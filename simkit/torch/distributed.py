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
from simkit.arrays import Array
from simkit.errors import InvalidArrayError
from simkit.scale.stream import Stream
from simkit.statistics.statistic import Statistic
from simkit.torch.processes import Processes

__all__ = ["all_reduce"]

State = TypeVar("State", bound=Statistic | Stream)


def all_reduce(state: State, group: Any = None, *, timeout: float | None = None) -> State:
    """The state of the examples of all processes of a group, in every process; the argument does not change.

    Parameters
    ----------
    state : Stream or Statistic
        On the device that the group's backend works with: CUDA for NCCL, the host for Gloo (NumPy arrays too). A process
        whose stream has seen no batch may take part.
    group : ProcessGroup, optional
        Default: all processes.
    timeout : float, optional
        Seconds to wait for the other processes, and again in each step of the reduction. By default the timeout of the group
        counts, which is 30 minutes for Gloo and 10 for NCCL unless `torch.distributed.init_process_group` was given another.
        The same in all processes.

    Returns
    -------
    Stream or Statistic
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
    if isinstance(state, Statistic):
        return _all_reduce_statistic(state, processes)  # type: ignore[return-value]
    return _all_reduce_stream(state, processes)  # type: ignore[return-value]


def _check_alike(state: Any, processes: Processes) -> None:
    """Raise in all processes what is wrong in one of them: an error in that one alone would leave the others waiting."""
    everywhere = processes.gathered((simkit.__version__, _kind(state), _misplaced(state, processes)))
    for rank, (version, kind, misplaced) in enumerate(everywhere):
        first = everywhere[0]
        if kind is None or first[1] is None:
            culprit = rank if kind is None else 0
            raise InvalidArrayError(f"Process {culprit} gave something else to all_reduce than a Stream or a Statistic.")
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
    return type(state).__name__ if isinstance(state, Statistic) else None


def _misplaced(state: Any, processes: Processes) -> str | None:
    """What is wrong with where a state lies, if anything."""
    like = state.values.first[0] if isinstance(state, Statistic) else state.like if isinstance(state, Stream) else None
    kind = like.device.type if isinstance(like, torch.Tensor) else "cpu"
    if like is None or processes.backend not in ("gloo", "nccl") or kind == processes.device.type:
        return None
    return (
        f"holds its state on {kind}, and {processes.backend} works with {processes.device.type}: give its stream batches "
        "that lie there, or make a group of the other backend (torch.distributed.new_group)."
    )


def _all_reduce_stream(stream: Stream, processes: Processes) -> Stream:
    """All streams with the sums of all; a process without a batch takes over the layers and the framework of another."""
    everywhere = processes.gathered((stream.without_batches(), stream.batches, isinstance(stream.like, np.ndarray)))
    known = [rank for rank, (_, batches, _) in enumerate(everywhere) if batches]
    if not known:
        raise InvalidArrayError("No process has seen a batch, so there is nothing to reduce.")
    whole = functools.reduce(Stream.merge, [everywhere[rank][0] for rank in known])
    like = stream.like
    if like is None:
        empty = torch.zeros((0, 1), device=processes.device)
        like = empty.numpy() if everywhere[known[0]][2] else empty
    merged = _merged(stream.statistic, like, processes)
    return whole.with_statistic(merged, sum(batches for _, batches, _ in everywhere), like)


def _all_reduce_statistic(statistic: Statistic, processes: Processes) -> Statistic:
    everywhere = processes.gathered((statistic.values.listed, statistic.options))
    for rank, (layers, options) in enumerate(everywhere):
        first = everywhere[0]
        if layers != first[0]:
            raise InvalidArrayError(f"Process {rank} holds other layers: {layers}, where process 0 has {first[0]}.")
        if options != first[1]:
            raise InvalidArrayError(f"Process {rank} gathered its sums with {options}, process 0 with {first[1]}.")
    return _merged(statistic, statistic.values.first[0], processes)


def _merged(statistic: Statistic | None, like: Array, processes: Processes) -> Any:
    """The merged statistics of all processes that have one, in their order, so that each ends with the same bits.

    One after the other tells what it has, so that a process holds no more than two at a time.
    """
    shapes = None if statistic is None else {name: tuple(x.shape) for name, x in statistic.arrays.items()}
    blank = None if statistic is None else statistic.without_arrays()
    whole: Any = None
    for rank, (part, known) in enumerate(processes.gathered((blank, shapes))):
        if part is None:
            continue
        own = statistic.arrays if statistic is not None and rank == processes.rank else {}
        arrays = {name: processes.broadcast(own.get(name), shape, like, rank) for name, shape in known.items()}
        there = part.with_arrays(arrays, like)
        whole = there if whole is None else type(there).merged([whole, there], reuse=True)
    return whole
