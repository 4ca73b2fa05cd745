"""Waiting for a cluster, but not in vain: what holds the work up is said within seconds, and is an error in the end.

Dask waits for ever, and without a word, for workers that do not come back: a worker that has been stopped, a scheduler that
does not answer, a machine that was taken away. `results` looks at the cluster while it waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any

from simkit.arrays import Array, warn_caller
from simkit.errors import ClusterError, ClusterMemoryError, ClusterWarning
from simkit.scale.cluster import lost_scheduler, no_workers, workers_of

__all__ = ["results"]

_LOOK = 5.0  # seconds between two looks at the cluster
_AGAIN = 15.0  # seconds until the same trouble is named again
_SILENCE = 12.0  # seconds without a heartbeat, which a worker sends every one or two, after which it counts as stopped
_LESS = (
    "Rechunk the arrays to fewer rows per chunk, such as x.rechunk({0: 1000}), compare fewer layers at once, or start the "
    "workers with a higher memory_limit."
)


def results(client: Any, lazy: Sequence[Array], *, progress: bool, timeout: float | None) -> tuple[Any, ...]:
    """The values of lazy arrays, from a cluster that is watched meanwhile; see `simkit.scale.dask.compute`."""
    watch = _Watch(client, timeout)
    watch.look()
    futures = client.compute(list(lazy))
    try:
        with _in_words(client), _bar(client, futures, show=progress):
            while not _finished(futures):
                watch.look()
            return _fetched(client, futures, watch)
    finally:
        # At once: while a future lives, so does its error, for every later run that has a task in common with this one.
        for future in futures:
            future.release()


def _fetched(client: Any, futures: Sequence[Any], watch: _Watch) -> tuple[Any, ...]:
    """The values of finished futures; a worker may stop before it has sent them."""
    gathered = asyncio.run_coroutine_threadsafe(client.gather(futures, asynchronous=True), client.loop.asyncio_loop)
    try:
        while True:
            with suppress(concurrent.futures.TimeoutError):
                return tuple(gathered.result(_LOOK))
            watch.look()
    finally:
        gathered.cancel()


def _finished(futures: Sequence[Any]) -> bool:
    """Whether all futures have a result or an error; waits for that until it is time to look at the cluster again."""
    from distributed import wait

    try:
        wait(futures, timeout=_LOOK)
    except TimeoutError:
        return False
    return True


class _Watch:
    """Looks at a cluster now and then, warns of what holds its work up, and gives up after `timeout` seconds of it."""

    def __init__(self, client: Any, timeout: float | None) -> None:
        self.client, self.timeout = client, timeout
        self.trouble_since: float | None = None
        self.rest_since: float | None = None
        self.said: float | None = None
        # Of each worker the last one by the scheduler's clock, and when that was new by ours.
        self.heartbeats: dict[str, tuple[float, float]] = {}

    def look(self) -> None:
        """Warn of what holds the work up, if anything has done so for some seconds.

        Raises
        ------
        ClusterError
            Nothing has been able to work for `timeout` seconds, or the scheduler is gone.
        """
        begin = time.monotonic()
        trouble, at_rest = self._now()
        now = time.monotonic()
        self.trouble_since = _first(self.trouble_since, begin) if trouble else None
        self.rest_since = _first(self.rest_since, begin) if at_rest else None
        if self.rest_since is not None and self.timeout is not None and now - self.rest_since >= self.timeout:
            raise ClusterError(f"Gave up after {now - self.rest_since:.0f} seconds in which nothing could work. {trouble}")
        # Workers that start again after an accident are back at the next look.
        lasting = self.trouble_since is not None and now - self.trouble_since >= _LOOK
        if lasting and (self.said is None or now - self.said >= _AGAIN):
            self.said = now
            warn_caller(trouble + self._patience(now), ClusterWarning)

    def _now(self) -> tuple[str, bool]:
        """What holds the work up, in words, and whether all of it rests."""
        try:
            return self._trouble(workers_of(self.client))
        except ClusterError as error:
            if self.client.status != "running":
                raise
            return str(error), True

    def _trouble(self, workers: dict[str, dict[str, Any]]) -> tuple[str, bool]:
        if not workers:
            return no_workers(self.client), True
        silences = {worker: self._silence(worker, about["last_seen"]) for worker, about in workers.items()}
        silent = [worker for worker, seconds in silences.items() if seconds > _SILENCE]
        paused = [worker for worker, about in workers.items() if about["status"] == "paused" and worker not in silent]
        at_rest = len(silent) + len(paused) == len(workers)
        if silent:
            return (
                f"Worker {silent[0]} ({len(silent)} of {len(workers)}) has not been heard of for {silences[silent[0]]:.0f} "
                "seconds; what it had to do waits until Dask gives it up (distributed.scheduler.worker-ttl, 5 minutes by "
                "default). If its process has been stopped, end it: its work is then done elsewhere."
            ), at_rest
        if at_rest:
            limit = workers[paused[0]]["memory_limit"] / 2**20
            return (
                f"All {len(paused)} workers are paused, since their memory is nearly full ({limit:.0f} MiB for "
                f"{paused[0]}). {_LESS}"
            ), True
        return "", False

    def _silence(self, worker: str, seen: float) -> float:
        """Seconds since the last heartbeat, by the clock of this process: that of the scheduler may go wrong."""
        now = time.monotonic()
        if self.heartbeats.get(worker, (None,))[0] != seen:
            self.heartbeats[worker] = seen, now
        return now - self.heartbeats[worker][1]

    def _patience(self, now: float) -> str:
        """What the last sentence of a warning is; it tells the warnings apart, or Python would show the first alone."""
        if self.rest_since is None:
            return ""
        waited = f" Nothing has been able to work for {now - self.rest_since:.0f} seconds"
        if self.timeout is None:
            return f"{waited}; the work goes on once that is mended."
        left = self.timeout - (now - self.rest_since)
        return f"{waited}; the work goes on once that is mended, and is given up in {left:.0f} seconds."


def _first(since: float | None, now: float) -> float:
    return now if since is None else since


@contextmanager
def _in_words(client: Any) -> Iterator[None]:
    """Translate what distributed raises when a cluster fails."""
    from distributed import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise _killed(client, error) from error
    except (asyncio.CancelledError, concurrent.futures.CancelledError) as error:
        if client.status != "running":
            raise ClusterError(lost_scheduler(client)) from error
        raise ClusterError(
            "The work was cancelled on the cluster, as client.cancel and client.restart of another program do. Compute it "
            "again."
        ) from error
    except OSError as error:
        if client.status != "running":
            raise ClusterError(lost_scheduler(client)) from error
        raise


def _killed(client: Any, error: Any) -> ClusterError:
    """The error for a task that ended every worker that ran it."""
    last, died = error.last_worker, error.allowed_failures + 1
    what = f"Task {error.task} ended {died} workers that ran it, one after the other, the last {last.address}"
    limit = f"{last.memory_limit / 2**20:.0f} MiB" if last.memory_limit else "no limit"
    if last.address in _outgrown(client):
        return ClusterMemoryError(f"{what}: it needed more memory than a worker may use ({limit}). {_LESS}")
    return ClusterError(
        f"{what}. Most often that is memory: the operating system or the batch system ends a process that takes too much "
        f"(memory_limit of that worker: {limit}). {_LESS} Otherwise the log of the worker says why it ended."
    )


def _outgrown(client: Any) -> set[str]:
    """The workers that their nannies ended because of their memory."""
    with suppress(OSError):
        events = client.sync(client.scheduler.events, topic="worker-restart-memory", callback_timeout=_LOOK)
        return {event["worker"] for _, event in events}
    return set()


@contextmanager
def _bar(client: Any, futures: Sequence[Any], *, show: bool) -> Iterator[None]:
    """The progress bar of distributed, on standard error and beside the waiting."""
    if not show:
        yield
        return
    from distributed.diagnostics.progressbar import TextProgressBar

    class Bar(TextProgressBar):
        def _draw_bar(self, **counts: Any) -> None:
            with redirect_stdout(sys.stderr):
                super()._draw_bar(**counts)

        def _draw_stop(self, **counts: Any) -> None:
            with redirect_stdout(sys.stderr):
                super()._draw_stop(**counts)

    listening = asyncio.run_coroutine_threadsafe(Bar(futures, start=False).listen(), client.loop.asyncio_loop)
    try:
        yield
        with suppress(Exception):  # the bar is not the work
            listening.result(1.0)
    finally:
        listening.cancel()
