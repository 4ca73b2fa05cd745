"""What a cluster must have before work is sent to it, and how indexes and kernels travel there.

A task whose function cannot be imported on a worker does not fail: the worker drops its connection, the scheduler tries the
next one, and the client waits for ever. So nothing of a plugin is ever part of a task. An index travels as a `Recipe`,
names and parameters in plain Python, and is imported inside a task of simkit's own, where a missing module is an ordinary
error that says what to install where. `preflight` asks the workers the same question before any data is read.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
import importlib.metadata
import logging
import pickle
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any

from simkit.arrays import warn_caller
from simkit.discovery import OWN, distribution_of
from simkit.errors import ClusterError, ClusterMemoryError, ClusterWarning, PluginError
from simkit.spec import Specified

__all__ = ["Recipe", "connected", "preflight"]

_CLUSTER = (None, "dask.distributed", "distributed")  # what Dask's configuration says where a client is to be used
_ANSWER = 10.0  # seconds within which a scheduler or a worker that works answers, however busy it is


@dataclass(frozen=True)
class Recipe:
    """An index or a kernel in terms that any worker can read: where its class is found, and its parameters.

    A class that no module offers, written in a notebook say, travels as its own code (``source``, by cloudpickle). With what
    comes from a plugin go the plugin's name and version (``distribution``): another version may give another number.
    """

    module: str
    qualname: str
    parameters: tuple[tuple[str, Any], ...]
    source: bytes | None = None
    distribution: tuple[str, str] | None = None

    @classmethod
    def of(cls, thing: Specified) -> Recipe:
        """The recipe of an index or a kernel, with those among its parameters."""
        kind = type(thing)
        parameters = tuple(
            (item.name, cls.of(value) if isinstance(value, Specified) else value)
            for item in fields(thing)
            if item.init
            for value in [getattr(thing, item.name)]
        )
        source = None
        if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
            import cloudpickle

            source = cloudpickle.dumps(kind)
            _made_of[source] = kind
        return cls(kind.__module__, kind.__qualname__, parameters, source, distribution_of(kind))

    def make(self) -> Any:
        """The index or kernel.

        Raises
        ------
        PluginError
            Its class cannot be imported here, or comes from another version of the distribution; the message names the
            module, the distribution and the worker.
        """
        parameters = {name: value.make() if isinstance(value, Recipe) else value for name, value in self.parameters}
        return self._class()(**parameters)

    def _class(self) -> Any:
        name, version = self.distribution or ("", "")
        found = _installed(name) if name else None
        if found is not None and found != version:
            raise PluginError(
                f"{_here()} has {name} {found}; the work was prepared with {version}. Install the same version everywhere: "
                f"pip install {name}=={version}"
            )
        try:
            if self.source is not None:
                if self.source not in _made_of:
                    _made_of[self.source] = pickle.loads(self.source)
                return _made_of[self.source]
            return functools.reduce(getattr, self.qualname.split("."), importlib.import_module(self.module))
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a plugin may fail in any way it likes
            wanted = f"{name}=={version}" if name else f"the distribution that provides {self.module.partition('.')[0]!r}"
            how = f"[{wanted!r}]" if name else "[its name]"
            raise PluginError(
                f"{_here()} cannot import {self.module}:{self.qualname} ({type(error).__name__}: {error}). Install {wanted} "
                "in the environment of every worker, for example by client.register_plugin("
                f"distributed.PipInstall({how}, restart_workers=True))."
            ) from None


# Classes by their code: read again, cloudpickle would write over the fields of the class that the user is working with.
_made_of: dict[bytes, Any] = {}


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _here() -> str:
    """How to call the process that this runs in."""
    if "distributed" in sys.modules:
        try:
            return f"Worker {sys.modules['distributed'].get_worker().address}"
        except (ValueError, AttributeError):
            pass
    return "This process"


def preflight(client: Any, *things: Specified, needed: int = 0) -> None:
    """Check that every worker of a `distributed.Client` can do the work, within seconds and before any data is read.

    `simkit.compare` and `simkit.pairwise` do this themselves for Dask arrays while a client is active.

    Parameters
    ----------
    client : distributed.Client
        A connected, synchronous client.
    *things : Index or Kernel
        What the workers will be asked to import.
    needed : int
        Bytes of memory that a single task needs at least.

    Raises
    ------
    ClusterError
        The scheduler is gone or does not answer, or no worker does.
    PluginError
        A worker lacks simkit or a plugin that is asked for, or has another version of it; the workers, the distribution and
        the module are named.
    ClusterMemoryError
        A worker's memory limit is smaller than one task needs.

    Warns
    -----
    ClusterWarning
        There are no workers yet, or some did not answer within 10 seconds, so nothing is known about them.
    """
    workers = list(workers_of(client))
    if not workers:
        warn_caller(f"{no_workers(client)} Nothing could be checked before the work.", ClusterWarning)
        return
    # By name alone: a function of simkit's own could not even arrive where simkit is missing.
    versions, silent = _asked(client, workers, importlib.metadata.version, OWN)
    own = importlib.metadata.version(OWN)
    lacking = {worker: found for worker, found in versions.items() if found != own}
    if lacking:
        worker, found = next(iter(lacking.items()))
        what = f"has simkit {found}" if isinstance(found, str) else "does not have simkit"
        raise PluginError(
            f"Worker {worker} {what}{_others(lacking)}; this process has {own}. Install the same version everywhere: "
            f"pip install {OWN}=={own}"
        )
    reports, silent_now = _asked(client, list(versions), _report, tuple(Recipe.of(thing) for thing in things))
    failed = {worker: str(report) for worker, report in reports.items() if isinstance(report, BaseException)}
    failed |= {worker: report[0] for worker, report in reports.items() if worker not in failed and report[0]}
    if failed:
        worker, why = next(iter(failed.items()))
        why = why.replace("This process", f"Worker {worker}", 1)
        raise PluginError(f"{why}{_others(failed)}")
    small = {worker: limit for worker, (_, limit) in reports.items() if limit and limit < needed}
    if small:
        worker, limit = next(iter(small.items()))
        raise ClusterMemoryError(
            f"One task needs about {needed / 2**20:.0f} MiB, but worker {worker} may use {limit / 2**20:.0f} MiB"
            f"{_others(small)}. Give the workers a higher memory_limit, compare fewer layers at once, or rechunk the arrays "
            "to fewer rows per chunk."
        )
    _tell_of_silence(silent + silent_now, among=workers)


def connected(scheduler: str) -> Any:
    """A client of the Dask cluster at an address, for a ``with`` statement.

    Raises
    ------
    ImportError
        distributed is not installed.
    ValueError
        It is not an address.
    OSError
        Nobody answers there.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ImportError('A cluster needs Dask: pip install "simkit-similarity[dask]"') from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what fails is said once, by simkit
    try:
        return Client(scheduler, timeout="5s")
    except OSError as error:
        raise OSError(f"No Dask scheduler answers at {scheduler}: {error}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{scheduler!r} is not the address of a scheduler, such as tcp://head:8786: {error}") from None


def workers_of(client: Any) -> dict[str, dict[str, Any]]:
    """The workers that the scheduler of a client knows: their addresses, and what it knows of them.

    Raises
    ------
    ClusterError
        There is no scheduler any more, or it does not answer.
    """
    # A connection of the pool may be closed while the scheduler lives; and one that dies is noticed a moment later than a
    # question to it fails. So a question whose connection was closed is asked a second time.
    for again in (True, False):
        if client.status != "running":
            break
        try:
            return dict(client.sync(client.scheduler.identity, callback_timeout=_ANSWER)["workers"])
        except OSError as error:
            if again and not isinstance(error, TimeoutError):
                continue
            if client.status != "running":
                break
            raise ClusterError(
                f"The scheduler {client.scheduler.address} did not answer within {_ANSWER:.0f} seconds "
                f"({type(error).__name__}). See whether its process still runs and whether the network reaches it."
            ) from None
    raise ClusterError(lost_scheduler(client))


def lost_scheduler(client: Any) -> str:
    """What to say when a client is not connected any more."""
    # A client that closed itself has forgotten its scheduler.
    address = client.scheduler.address if client.scheduler is not None else "that it had"
    return (
        f"The client has lost its connection to the scheduler {address}, and with it all work that was under way. Start the "
        "scheduler again and connect a new distributed.Client, or compute in this process: "
        "dask.config.set(scheduler='threads')."
    )


def no_workers(client: Any) -> str:
    """What to say when nobody is there to work."""
    address = client.scheduler.address
    return (
        f"The scheduler {address} has no workers. Start some, by 'dask worker {address}' on a machine that has simkit, or "
        "by cluster.scale(2) where Python started the cluster."
    )


def _asked(
    client: Any, workers: Collection[str], function: Callable[..., Any], *arguments: Any
) -> tuple[dict[str, Any], list[str]]:
    """What a function returned or raised on each worker, and the workers that did not answer in time.

    Each is asked by itself: a question to all ends with the slowest, and never if one has been stopped. A worker that dies
    meanwhile is in neither.
    """

    async def ask(worker: str) -> Any:
        question = client.run(function, *arguments, workers=[worker], on_error="return")
        try:
            return (await asyncio.wait_for(question, _ANSWER)).get(worker)
        except OSError as error:
            return error

    async def ask_all() -> list[Any]:
        return await asyncio.gather(*map(ask, workers))

    answers = dict(zip(workers, client.sync(ask_all), strict=True))
    silent = [worker for worker, answer in answers.items() if isinstance(answer, TimeoutError)]
    return {worker: answer for worker, answer in answers.items() if not isinstance(answer, OSError)}, silent


def _tell_of_silence(silent: Collection[str], among: Collection[str]) -> None:
    if not silent:
        return
    first = f"Worker {next(iter(silent))}{_others(silent)} did not answer within {_ANSWER:.0f} seconds"
    what = "A process that has been stopped, or a machine that swaps, does that: end it, or start the worker again."
    if len(silent) == len(among):
        raise ClusterError(f"{first}, and there is no other. {what}")
    warn_caller(f"{first}, so nothing was checked there; the work goes on without waiting for it. {what}", ClusterWarning)


def _others(workers: Collection[str]) -> str:
    more = len(workers) - 1
    return f" (and {more} more worker{'s' * (more > 1)})" if more else ""


def _report(recipes: tuple[Recipe, ...], dask_worker: Any) -> tuple[str | None, int | None]:
    """What is wrong on this worker, if anything, and its memory limit; distributed passes the worker by this name."""
    limit = dask_worker.memory_manager.memory_limit
    try:
        for recipe in recipes:
            recipe.make()
    except PluginError as error:
        return str(error), limit
    return None, limit


def active_client() -> Any:
    """The synchronous `distributed.Client` that Dask would use now, or None; distributed is not imported for this."""
    if "distributed" not in sys.modules or sys.modules["dask"].config.get("scheduler", None) not in _CLUSTER:
        return None
    try:
        client = sys.modules["distributed"].default_client()
    except ValueError:
        return None
    # One that has lost its scheduler, or was closed in its own with block, is still the one that Dask would use.
    return None if client.asynchronous else client
