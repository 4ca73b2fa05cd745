"""What a benchmark is: a problem, the ways to solve it, simkit's first, and what is to be reached."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

__all__ = ["Case", "Problem", "Target", "Way", "duration", "ratio"]


@dataclass(frozen=True)
class Way:
    """One way to solve a problem.

    Attributes
    ----------
    prepare : callable
        Imports and converts what the way needs and returns the function that is timed. An ImportError leaves the way out.
    times : float
        Seconds are multiplied by this: 1000 where a thousandth of the work is timed, 1/1000 for a loop of a thousand calls.
    exact : bool
        Whether the result is that of the definition, so that the difference from it is an error.
    clock : {"here", "own"}
        "own" if the function returns its seconds (wall, CPU) in place of a result, as one does that runs another process.
    """

    prepare: Callable[[], Callable[[], Any]]
    times: float = 1.0
    exact: bool = True
    clock: Literal["here", "own"] = "here"


@dataclass(frozen=True)
class Problem:
    """Data, in the closures of its ways, and the score by the definition in float64."""

    ways: Mapping[str, Way]
    truth: Callable[[], Any] | None = None
    flops: float | None = None  # of the algorithm that needs fewest; symmetric products count half
    dtype: str = "float32"


@dataclass(frozen=True)
class Target:
    """What is to be reached: a ratio of times, seconds, memory, a share of the machine's rate, an error."""

    what: Literal["ratio", "wall", "cpu", "memory", "share", "error"]
    bound: float
    rival: str = ""
    way: str = "simkit"

    def __str__(self) -> str:
        of = "" if self.way == "simkit" else f" ({self.way.removeprefix('simkit, ')})"
        return {
            "ratio": f">= {self.bound:.3g} x {self.rival}",
            "wall": f"<= {duration(self.bound)}",
            "cpu": f"<= {duration(self.bound)} CPU",
            "memory": f"<= {self.bound:g} MiB",
            "share": f">= {self.bound:.0%} of the limit",
            "error": f"error <= {self.bound:.0e}",
        }[self.what] + of

    def found(self, ways: Mapping[str, Mapping[str, Any]]) -> float | None:
        """What was measured; None where it was not."""
        own, rival = ways.get(self.way), ways.get(self.rival)
        if own is None or (self.what == "ratio" and rival is None):
            return None
        if self.what == "ratio" and rival is not None:
            return ratio(rival["walls"], own["walls"])
        return own.get(self.what)

    def reached(self, ways: Mapping[str, Mapping[str, Any]]) -> bool | None:
        """Whether it was; None where it was not measured."""
        found = self.found(ways)
        if found is None or np.isnan(found):
            return None
        return found >= self.bound if self.what in ("ratio", "share") else found <= self.bound


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes
    ----------
    row : str
        Letter of the row, for `--only`.
    make : callable
        Gives the problem; small if its argument is true.
    memory : bool
        Whether each way is run once more, in a process of its own, for its peak of memory.
    """

    row: str
    title: str
    make: Callable[[bool], Problem]
    targets: tuple[Target, ...] = ()
    rounds: int = 9
    memory: bool = True
    notes: tuple[str, ...] = field(default=())


def ratio(rival: Sequence[float], own: Sequence[float]) -> float:
    """The median over rounds, in which both are disturbed alike."""
    return statistics.median(a / b for a, b in zip(rival, own, strict=True))


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.2g} us"
