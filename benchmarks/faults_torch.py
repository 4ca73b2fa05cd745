"""The cases of `benchmarks.faults` for `torch.distributed`: three processes, the last of which misbehaves."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import simkit
from simkit.errors import ClusterError

SIZE, TIMEOUT = 3, 20.0


def nothing() -> None:
    """Take part like the others."""


def die() -> None:
    os._exit(9)


def freeze() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


# What happens before all_reduce, and in the middle of it, by what it is called; and what the others should see.
CASES: dict[str, tuple[tuple[Callable[[], None], Callable[[], None]], str]] = {
    "all_reduce of three processes": ((nothing, nothing), "exact"),
    "a process dies before all_reduce": ((die, nothing), ClusterError.__name__),
    "a process dies in the middle of all_reduce": ((nothing, die), ClusterError.__name__),
    "a process stops before all_reduce (timeout 20 s)": ((freeze, nothing), ClusterError.__name__),
    "a process stops in the middle of all_reduce (timeout 20 s)": ((nothing, freeze), ClusterError.__name__),
}


def outcomes(
    misdeed: tuple[Callable[[], None], Callable[[], None]],
    index: str,
    arrays: tuple[np.ndarray, np.ndarray],
    hear: Callable[[str], None],
) -> float:
    """The score of all examples, as all processes that live have it, or the error that they raise; `hear` what they say."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=process, args=(rank, str(Path(folder, "store")), misdeed, index, arrays, results))
            for rank in range(SIZE)
        ]
        for each in ranks:
            each.start()
        healthy = SIZE if misdeed == (nothing, nothing) else SIZE - 1
        try:
            found: list[float | str] = []
            while len(found) < healthy:
                kind, what = results.get(timeout=90)
                if kind == "says":
                    hear(what)
                else:
                    found.append(what)
        except queue.Empty:
            raise TimeoutError("the others wait still") from None
        finally:
            for each in ranks[:healthy]:
                each.join(20)
            codes = [each.exitcode for each in ranks[:healthy]]
            for each in ranks:
                each.kill()
    if codes != [0] * healthy:
        raise TimeoutError(f"the others have not ended: {codes}")
    errors = [value for value in found if isinstance(value, str)]
    if errors:
        raise (ClusterError if len(errors) == healthy else RuntimeError)(errors[0])
    if len(set(found)) > 1:
        raise ArithmeticError(f"the processes have different numbers: {found}")
    return float(found[0])


def process(
    rank: int,
    store: str,
    misdeed: tuple[Callable[[], None], Callable[[], None]],
    index: str,
    arrays: tuple[np.ndarray, np.ndarray],
    results: Any,
) -> None:
    """Stream a share of the examples, reduce, and put the score or the error into a queue."""
    import torch
    import torch.distributed as dist

    from simkit.torch.distributed import all_reduce
    from simkit.torch.processes import Processes

    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=SIZE, init_method=f"file://{store}")
    before, middle = misdeed if rank == SIZE - 1 else (nothing, nothing)
    stream = simkit.stream(index)
    stream.update(*(torch.from_numpy(np.array_split(x, SIZE)[rank]) for x in arrays))
    dist.barrier()
    results.put(("says", "ready"))
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_: results.put(("says", str(message)))  # type: ignore[assignment]
    time.sleep(0.2)
    before()
    meet = Processes.meet
    Processes.meet = lambda self: (meet(self), middle())[0]  # type: ignore[method-assign]
    try:
        results.put(("ends", float(all_reduce(stream, timeout=TIMEOUT).compute())))
    except ClusterError as error:
        results.put(("ends", str(error)))
