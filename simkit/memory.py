"""How much memory there is, so that what cannot fit is refused before work starts."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import array_api_compat

from simkit.errors import TooLargeError

__all__ = ["WORTH_ASKING", "available", "available_to", "in_words", "is_on_host", "refuse_if_too_large"]

WORTH_ASKING = 2**28  # bytes; less is there, or the system says so at once
_PROCESSES, _GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def refuse_if_too_large(
    needed: int,
    what: str,
    remedy: str | Callable[[int], str],
    room: Callable[[], int | None] | None = None,
) -> None:
    """Raise if `needed` bytes are more than there are; it costs nothing for less than 256 MiB.

    Parameters
    ----------
    needed : int
        Bytes that are certain to be allocated at one time.
    what : str
        The beginning of the message: what needs them.
    remedy : str or callable
        What would fit, given the bytes that are available.
    room : callable, optional
        Bytes that are available, where it is not the memory of the host that counts.

    Raises
    ------
    TooLargeError
    """
    if needed < WORTH_ASKING:
        return
    there = (room or available)()
    if there is None or needed <= there:
        return
    advice = remedy if isinstance(remedy, str) else remedy(there)
    raise TooLargeError(f"{what}: {in_words(needed)} of memory needed, {in_words(there)} available. {advice}")


def available() -> int | None:
    """Bytes that this process may still allocate, as far as the machine, its control group and its limits say; or None."""
    rooms = [*_of_machine(), *_of_control_groups(), *_of_limits()]
    return max(0, min(rooms)) if rooms else None


def available_to(x: Any) -> int | None:
    """Bytes that may still be allocated where an array lies; None if unknown, as on a GPU."""
    return available() if is_on_host(x) else None


def is_on_host(x: Any) -> bool:
    """Whether an array lies in the memory of the host, and not on an accelerator."""
    if array_api_compat.is_numpy_array(x):
        return True
    device = array_api_compat.device(x)
    return "cpu" in str(getattr(device, "platform", device)).lower()


def in_words(size: int) -> str:
    """A number of bytes for people: 1.5 GB."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size} bytes"


def _of_machine() -> Iterator[int]:
    with contextlib.suppress(OSError, ValueError, KeyError):
        values = _numbers(_PROCESSES / "meminfo", 1024)
        yield values["MemAvailable"] + values["SwapFree"]
        return
    if importlib.util.find_spec("psutil") is not None:
        import psutil

        yield psutil.virtual_memory().available + psutil.swap_memory().free


def _of_control_groups() -> Iterator[int]:
    """What the memory limits of containers and of batch systems leave; file pages can be taken back."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROCESSES / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _of_folders(_GROUPS, path, "memory.max", "memory.current", "")
            elif "memory" in controllers.split(","):
                yield from _of_folders(_GROUPS / "memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")


def _of_folders(root: Path, path: str, limit: str, usage: str, prefix: str) -> Iterator[int]:
    folder = root / path.strip("/")
    for level in (folder, *folder.parents):
        with contextlib.suppress(OSError, ValueError, KeyError):  # also "max", for no limit
            pages = _numbers(level / "memory.stat")
            files = pages[f"{prefix}inactive_file"] + pages[f"{prefix}active_file"]
            yield int((level / limit).read_text()) - int((level / usage).read_text()) + files
        if level == root:
            break


def _of_limits() -> Iterator[int]:
    if sys.platform != "linux":
        return
    import resource

    with contextlib.suppress(OSError, ValueError, KeyError):
        used = _numbers(_PROCESSES / "self/status", 1024)
        for kind, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            limit = resource.getrlimit(kind)[0]
            if limit != resource.RLIM_INFINITY:
                yield limit - used[name]


def _numbers(path: Path, unit: int = 1) -> dict[str, int]:
    """Lines such as ``VmSize:  1234 kB`` or ``inactive_file 4096``."""
    words = (line.replace(":", " ").split() for line in path.read_text().splitlines())
    return {line[0]: int(line[1]) * unit for line in words if len(line) > 1 and line[1].isdigit()}
