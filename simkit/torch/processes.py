"""What the processes of a `torch.distributed` group tell each other, in bounded time.

A collective of PyTorch ends when the last process has joined it, or with an error after the timeout of the group, 30 minutes
by default, that does not say who is missing. So nothing here waits longer than it was told to, every process says what it
waits for, and where the backend can send from one process to another (Gloo) the error names those that did not come.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from simkit.arrays import Array, warn_caller
from simkit.errors import ClusterError, ClusterWarning

__all__ = ["Processes"]

_AGAIN = 20.0  # seconds until it is said again that a process waits
_SOON = 20.0  # seconds within which a process that is not late is heard, however loaded the machine
_TAG = 7601  # of messages that only say that their sender is there


class Processes:
    """A process group whose collectives end within `timeout` seconds, with an error that says what happened.

    Parameters
    ----------
    group : ProcessGroup or None
        None means all processes.
    timeout : float or None
        Seconds to wait for the others in one collective; None leaves that to the group.
    """

    def __init__(self, group: Any = None, timeout: float | None = None) -> None:
        self.group, self.timeout = group, timeout
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.backend = dist.get_backend(group)
        nccl = self.backend == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")

    def meet(self) -> None:
        """Wait until all processes are here.

        Raises
        ------
        ClusterError
            Some have not come within the timeout, or have ended; named where the backend is Gloo.
        """
        others = self._reachable
        sent = {rank: self._message(dist.isend, rank) for rank in others}
        heard = {rank: self._message(dist.irecv, rank) for rank in others}
        begin = time.monotonic()
        try:
            self._waited(dist.barrier(self.group, async_op=True), "to come")
        except ClusterError as error:
            # A barrier fails at once where one has ended; the others may be on their way, and a message that does not come
            # in time closes all connections. So they are waited for, and left only when they have heard of this one.
            left = _SOON if self.timeout is None else begin + self.timeout - time.monotonic()
            until = time.monotonic() + min(max(left, 0.5), _SOON)
            absent = [rank for rank in others if not _arrives(heard[rank], until - time.monotonic())]
            for rank in set(others) - set(absent):
                _arrives(sent[rank], until - time.monotonic())
            self._leave()
            if not absent:
                raise
            which = f"Process {absent[0]}" if len(absent) == 1 else f"Processes {', '.join(map(str, absent))}"
            raise ClusterError(f"{which} of {self.size} did not come to all_reduce. {error}") from None
        for rank in others:
            if not (_arrives(heard[rank], _SOON) and _arrives(sent[rank], _SOON)):
                self._leave()
                raise ClusterError(f"Process {rank} of {self.size} ended or stopped as soon as it had come to all_reduce.")

    def gathered(self, item: Any) -> list[Any]:
        """A plain Python object of each process, in all of them."""
        own = torch.frombuffer(bytearray(pickle.dumps(item)), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.size)]
        mine = torch.tensor([own.numel()], device=self.device)
        self._finish(dist.all_gather(sizes, mine, group=self.group, async_op=True))
        longest = max(int(size) for size in sizes)
        parts = [torch.zeros(longest, dtype=torch.uint8, device=self.device) for _ in range(self.size)]
        padded = torch.nn.functional.pad(own, (0, longest - own.numel())).to(self.device)
        self._finish(dist.all_gather(parts, padded, group=self.group, async_op=True))
        return [pickle.loads(part[: int(size)].cpu().numpy().tobytes()) for part, size in zip(parts, sizes, strict=True)]

    def broadcast(self, x: Array | None, shape: tuple[int, ...], like: Array, rank: int) -> Array:
        """An array of sums of one process in all of them, in float64, in the framework of `like`."""
        if x is None:
            tensor = torch.empty(shape, dtype=torch.float64, device=self.device)
        else:  # Gloo sends memory as it lies, whatever the strides
            own = x if isinstance(x, torch.Tensor) else torch.from_numpy(np.array(x))
            tensor = own.clone(memory_format=torch.contiguous_format)
        self._finish(dist.broadcast(tensor, src=self._global(rank), group=self.group, async_op=True))
        return tensor if isinstance(like, torch.Tensor) else tensor.numpy()

    def _global(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    @property
    def _reachable(self) -> list[int]:
        """The other processes, where the backend can send to one alone without further ado."""
        return [rank for rank in range(self.size) if rank != self.rank] if self.backend == "gloo" else []

    def _message(self, way: Callable[..., Any], rank: int) -> Any:
        """A message to or from one process, under way, or None if it has ended."""
        try:
            return way(torch.ones(1, dtype=torch.uint8), self._global(rank), self.group, tag=_TAG)
        except RuntimeError:
            return None

    def _finish(self, work: Any) -> None:
        try:
            self._waited(work, "to do their part")
        except ClusterError:
            self._leave()
            raise

    def _waited(self, work: Any, what: str) -> None:
        """Wait for a collective that has begun."""
        begin = said = time.monotonic()
        pause = 1e-4
        # Asked, not waited for with a timeout: after that NCCL takes the whole group down.
        while not work.is_completed():
            now = time.monotonic()
            if self.timeout is not None and now - begin >= self.timeout:
                raise ClusterError(
                    f"Process {self.rank} of {self.size} waited {now - begin:.0f} seconds for the others {what}. A process "
                    "that has ended, is stopped, or is busy with its own share keeps the others waiting. If they only need "
                    f"longer, give every process more than timeout={self.timeout:g}; else start all of them again."
                )
            if now - said >= _AGAIN:
                said = now
                message = f"Process {self.rank} of {self.size} has waited {now - begin:.0f} seconds for the others {what}."
                warn_caller(message, ClusterWarning)
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        try:
            work.wait()
        except RuntimeError as error:
            why = str(error).splitlines()[0]
            what_happened = (
                "the timeout of its group passed" if "timed out" in why.lower() else "it lost another, which has ended"
            )
            raise ClusterError(
                f"Process {self.rank} of {self.size} waited for the others {what} until {what_happened}. The output of the "
                f"others says why. Start all of them again. PyTorch says: {why}"
            ) from None

    def _leave(self) -> None:
        """Close the connections of Gloo, which it does when a message does not come in time.

        Else the collective stays under way, and this process cannot end before the timeout of the group.
        """
        for rank in self._reachable:
            _arrives(self._message(dist.irecv, rank), 0.001)


def _arrives(message: Any, seconds: float) -> bool:
    """Whether a message, if there is one, comes to its end."""
    try:
        return message is not None and bool(message.wait(timedelta(seconds=max(seconds, 1e-3))))
    except RuntimeError:
        return False
