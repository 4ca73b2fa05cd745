"""Two checked layers and an index: the one way from what a user passes to scores of some of its examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from simkit.arrays import (
    Array,
    Channels,
    Maps,
    Namespace,
    as_pair,
    detach,
    is_lazy,
    is_undefined,
    namespace_of,
    placement,
    rounding_of,
    to_numpy,
)
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.feasibility import check_fits
from simkit.guard import in_library
from simkit.index import Index
from simkit.linalg import widen
from simkit.memory import available_to
from simkit.planner import Question, plan
from simkit.registry import get_index
from simkit.representation import Representation
from simkit.spec import check_whole

__all__ = ["Pair", "check_here", "check_varies", "on_host", "pair_of", "whole"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two checked layers and an index.

    `rounding` is that of the values of X and of Y as they were given (`simkit.arrays.rounding_of`).
    """

    index: Index[Any]
    x: Array
    y: Array
    xp: Namespace
    rounding: tuple[float, float] = (0.0, 0.0)

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.x.shape[0]

    def prepared(self, layer: Array, name: str) -> Any:
        """The state of one layer."""
        eps = self.rounding["XY".index(name)]
        tall = self.n >= self.x.shape[1] + self.y.shape[1]
        return self.index.prepare(Representation(layer, name=name, tall=tall, rounding=eps, xp=self.xp))

    def order(self, rows: np.ndarray) -> Array:
        """Numbers of rows as an array of the layers' library, on their device."""
        return self.xp.asarray(rows, **placement(self.x))

    def rows(self, layer: Array, rows: np.ndarray) -> Array:
        """Some examples of one layer, which may be repeated."""
        return self.xp.take(layer, self.order(rows), axis=0)

    def score(self) -> Array:
        """The score, nan where a layer is constant."""
        if is_undefined(self.x, checked=True) or is_undefined(self.y, checked=True):
            return self.xp.sum(self.x[0, :]) * float("nan")
        return self.scored(self.prepared(self.x, "X"), self.prepared(self.y, "Y"))

    def scored(self, x: Any, y: Any) -> Array:
        """The score of two states."""
        return in_library(self.index, self.index.score(x, y), self.x)

    def of(self, rows: np.ndarray) -> Array:
        """The score of some of the examples, which may be repeated."""
        return Pair(self.index, self.rows(self.x, rows), self.rows(self.y, rows), self.xp, self.rounding).score()

    def widened(self) -> Pair:
        """In float64 where the device has it: differences of nearly equal scores count."""
        return replace(self, x=widen(self.x, self.xp), y=widen(self.y, self.xp))


def pair_of(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]],
    parameters: dict[str, Any],
    *,
    spare: int = 0,
    flatten: bool,
    maps: Maps | None,
    channels: Channels | None,
) -> Pair:
    """Check everything; `spare` examples must be dispensable."""
    chosen = get_index(index, **parameters)
    least = chosen.facts.min_examples + spare
    x, y = as_pair(X, Y, min_examples=least, flatten=flatten, maps=maps, channels=channels)
    for layer, name in ((x, "X"), (y, "Y")):
        check_here(layer, name)
        check_varies(layer, name)
    question = Question(chosen, "memory", x.shape[0], (x.shape[1],), (y.shape[1],), x.dtype.itemsize, whole=True)
    check_fits(question, plan(question), partial(available_to, x))
    return Pair(chosen, detach(x), detach(y), namespace_of(x, y), (rounding_of(X), rounding_of(Y)))


def check_here(layer: Array, name: str) -> None:
    """Raise `NeedsAllExamplesError` for a lazy layer."""
    if is_lazy(layer):
        raise NeedsAllExamplesError(
            f"{name} is lazy, and inference goes over its examples many times: pass {name}.compute() for a Dask array; call "
            "it outside of jax.jit, torch.func.vmap and torch.compile."
        )


def check_varies(layer: Array, name: str) -> None:
    """Raise `InvalidArrayError` for a constant layer."""
    if is_undefined(layer, checked=True):
        raise InvalidArrayError(f"{name} is constant: all its examples are the same, so there is nothing to infer.")


def on_host(scores: Sequence[Array], xp: Namespace) -> np.ndarray:
    """Scores as float64 numbers; they stay on their device until all are there."""
    return to_numpy(xp.stack(list(scores))).astype(np.float64) if len(scores) else np.empty(0)


def whole(parameter: str, value: Any, least: int) -> int:
    """A whole number of at least `least`, or `SpecError`."""
    check_whole("inference", parameter, value, at_least=least)
    return int(value)
