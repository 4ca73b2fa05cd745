"""NumPy work in Python threads, each with one thread of BLAS: what BLAS leaves to one core then runs on all of them."""

from __future__ import annotations

import importlib.util
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

from simkit.arrays import Array, library_of

__all__ = ["each_in_threads", "in_threads", "most_threads", "one_blas_thread"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_LEAST = 32  # size of a matrix below which BLAS takes one thread anyway
_WORK = 2**28  # multiplications for a layer, some ten milliseconds, up to which one thread is hardly slower
_LIMITS = threading.Lock()  # of BLAS are those of the process, so one caller at a time may change them


def in_threads(work: Callable[[Iterator[Item]], Result], items: Sequence[Item], like: Array) -> list[Result]:
    """Results of `work` on shares of the `items`: one for each thread that BLAS may use, or a single one.

    There is a single one, in this thread, where `like` is no NumPy array (another library has threads of its own), where
    threadpoolctl is not installed or does not know the BLAS, and while another thread of the program works here.

    Which items are in a share depends on the number of threads alone, so results are the same from one call to the next.
    An error in one of the threads, or in this one (Ctrl-C), ends the others before their next item, and is raised.
    """
    with _single_blas_threads(len(items) if library_of(like) == "numpy" else 1) as count:
        if count == 1:
            return [work(iter(items))]
        stopped = threading.Event()

        def share(k: int) -> Iterator[Item]:
            for item in items[k::count]:
                if stopped.is_set():
                    return
                yield item

        with ThreadPoolExecutor(count) as pool:
            try:
                futures = [pool.submit(copy_context().run, work, share(k)) for k in range(count)]
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                stopped.set()
                raise
            return [future.result() for future in futures]


def most_threads() -> int:
    """The number of threads that `in_threads` takes at most."""
    return _cores() if importlib.util.find_spec("threadpoolctl") is not None else 1


def each_in_threads(work: Callable[[Item], Result], items: Sequence[Item], like: Array) -> list[Result]:
    """The result of `work` on each of the `items`, in their order, by `in_threads`."""
    found: list[Result] = [None] * len(items)  # type: ignore[list-item]
    shares = in_threads(lambda share: [work(item) for item in share], items, like)
    for k, share in enumerate(shares):
        found[k :: len(shares)] = share
    return found


def one_blas_thread(layers: Iterable[Array], statistic: str) -> AbstractContextManager[Any]:
    """Within, BLAS takes one thread if an index has but small matrices of all `layers` to decompose; else as many as before.

    Threads of BLAS wait for each other thousands of times in a decomposition of a small matrix, and spin while they wait.
    Where the cores have other work too, an SVD of 100 x 100 takes a hundred times longer with two threads than with one.

    Parameters
    ----------
    layers : iterable of arrays, shapes (n, p)
    statistic : str
        What the index needs (`simkit.Facts.statistic`). Those of HSIC sums decompose nothing.
    """
    shapes = [] if statistic == "hsic sums" else [x.shape for x in layers if library_of(x) == "numpy"]
    sizes = [n if statistic == "examples" else min(n, p) for n, p in shapes]
    work = [math.prod(shape) * size for shape, size in zip(shapes, sizes, strict=True)]
    is_small = bool(sizes) and max(sizes) >= _LEAST and max(work) <= _WORK
    return _single_blas_threads(_cores()) if is_small else nullcontext()


@contextmanager
def _single_blas_threads(most: int) -> Iterator[int]:
    """Limit BLAS to one thread; yields how many it might use before, at most `most`, 1 where nothing was changed."""
    if most < 2 or importlib.util.find_spec("threadpoolctl") is None or not _LIMITS.acquire(blocking=False):
        yield 1
        return
    try:
        blas = _blas()
        count = min([most, _cores(), *(library["num_threads"] for library in blas.info())]) if blas.info() else 1
        if count == 1:
            yield 1
            return
        with blas.limit(limits=1):
            yield count
    finally:
        _LIMITS.release()


@cache
def _blas() -> Any:
    """The BLAS libraries of the process, that of NumPy among them; looking for them takes longer than small work."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
