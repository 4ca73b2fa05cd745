"""The scores of rows x columns of layers for any of their examples, and the one way to it from what a user passes.

A pair X, Y is one row and one column. Each layer is prepared once for all its pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from typing import Any, NamedTuple, TypeVar

import numpy as np

from simkit.arrays import (
    Array,
    Namespace,
    accumulation_dtype,
    detach,
    in_one_precision,
    is_lazy,
    namespace_of,
    placement,
    rounding_of,
    to_numpy,
    varies,
)
from simkit.arrays.modes import own_modes
from simkit.comparison import check_examples, matrices_of, question_of
from simkit.errors import InvalidArrayError, NeedsAllExamplesError
from simkit.feasibility import check_fits
from simkit.guard import in_library
from simkit.index import Index
from simkit.inference.units import Units
from simkit.linalg import widen
from simkit.memory import available_to
from simkit.planner import plan
from simkit.progress import track
from simkit.registry import get_index
from simkit.representation import Representation
from simkit.sides import Sides, are_layers
from simkit.statistics.chance import Scores, is_warned_of, warn_if_mostly_chance
from simkit.threads import one_blas_thread

__all__ = ["MEMORY", "Layer", "Scorer", "checked", "fits", "on_host", "scorer_of"]

Result = TypeVar("Result")

MEMORY = 2**32  # bytes that weights of resamples may take: n x n matrices of a pair up to n = 10,362


class Layer(NamedTuple):
    """One layer as it was checked; `rounding` is that of the values as they were given (`simkit.arrays.rounding_of`)."""

    values: Array
    name: str
    rounding: float


def _in_own_modes(method: Callable[..., Result]) -> Callable[..., Result]:
    """A method of a scorer, in simkit's own arithmetic: see `simkit.arrays.modes`."""

    @wraps(method)
    def call(self: Scorer, *given: Any) -> Result:
        with own_modes(self.like):
            return method(self, *given)

    return call


@dataclass(frozen=True, eq=False)
class Scorer:
    """An index and the layers that it compares.

    Attributes
    ----------
    index : Index
    sides : Sides
        What the user calls them.
    rows, columns : tuple of Layer
        Of n examples each; one and the same tuple where layers are compared with themselves.
    tall : bool
        As in `simkit.representation.Representation`.
    xp : namespace
    """

    index: Index[Any]
    sides: Sides
    rows: tuple[Layer, ...]
    columns: tuple[Layer, ...]
    tall: bool
    xp: Namespace

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.rows[0].values.shape[0]

    @property
    def like(self) -> Array:
        """An array of the library, device and precision of the layers."""
        return self.rows[0].values

    # --- scores ---------------------------------------------------------------------------------------------------------

    def representation(self, layer: Layer) -> Representation:
        """A layer as indexes take it."""
        return Representation(layer.values, layer.name, rounding=layer.rounding, tall=self.tall, xp=self.xp)

    @cached_property
    @_in_own_modes
    def states(self) -> tuple[list[Any], list[Any]]:
        """The prepared rows and columns, one list where they are the same."""
        xs = self.prepared(self.rows)
        return xs, xs if self.columns is self.rows else self.prepared(self.columns)

    def prepared(self, layers: Sequence[Layer]) -> list[Any]:
        """The states of layers of this scorer, perhaps of other examples."""
        with self._blas(layers):
            return [self.index.prepare(self.representation(layer)) for layer in layers]

    def _blas(self, layers: Sequence[Layer]) -> AbstractContextManager[None]:
        return one_blas_thread((layer.values for layer in layers), self.index.facts.statistic)

    @_in_own_modes
    def scored(self, xs: Sequence[Any], ys: Sequence[Any]) -> Array:
        """Scores of all pairs of states, shape (len(xs), len(ys))."""
        with self._blas((*self.rows, *self.columns)):
            if len(xs) == len(ys) == 1:  # without what prepares for many pairs
                return in_library(self.index, self.index.score(xs[0], ys[0]), self.like)[None, None]
            return in_library(self.index, self.index.scores(xs, ys), self.like)

    def scores(self) -> Array:
        """The scores, shape (rows, columns), nan where a layer is constant."""
        varied = [[varies(layer.values) for layer in side] for side in (self.rows, self.columns)]
        if all(map(all, varied)):
            return self.scored(*self.states)
        found = np.full([len(side) for side in varied], np.nan)
        if all(map(any, varied)):
            kept = self._changed(lambda side: tuple(layer for layer in side if varies(layer.values)))
            found[np.ix_(*varied)] = to_numpy(kept.scores())
        return self.xp.asarray(found, dtype=accumulation_dtype(self.like, self.xp), **placement(self.like))

    @_in_own_modes
    def one_by_one(self, scores: Iterator[Array], count: int, what: str, progress: bool | None) -> np.ndarray:
        """`count` scores that are computed as they are asked for, shape (count, rows, columns), with a progress bar."""
        found = []
        with track(count, f"{what} of {self.index}", progress) as advance:
            for score in scores:
                found.append(score)
                advance()
        return on_host(found, self.xp)

    @cached_property
    def score(self) -> np.ndarray:
        """The scores of all examples as float64 numbers, shape (rows, columns)."""
        return on_host([self.scores()], self.xp)[0]

    @_in_own_modes
    def warn_if_mostly_chance(self) -> None:
        """Warn if the scores hardly rise above chance, where the index knows it."""
        if self.index.knows_chance and is_warned_of(self.index):
            chance = in_library(self.index, self.index.chance(*self.states, self.n), self.like)
            found = Scores(self.score, on_host([chance], self.xp)[0])
            rows, columns = ([layer.name for layer in side] for side in (self.rows, self.columns))
            warn_if_mostly_chance(self.index, found, rows, columns, self.n)

    def order(self, examples: np.ndarray) -> Array:
        """Numbers of examples as an array of the layers' library, on their device."""
        return self.xp.asarray(examples, **placement(self.like))

    def of(self, examples: np.ndarray) -> Scorer:
        """The same layers for some of the examples, which may be repeated."""
        order = self.order(examples)
        return self._with_values(lambda values: self.xp.take(values, order, axis=0))

    def widened(self) -> Scorer:
        """In float64 where the device has it: differences of nearly equal scores count."""
        return self._with_values(lambda values: widen(values, self.xp))

    def _with_values(self, change: Callable[[Array], Array]) -> Scorer:
        return self._changed(lambda side: tuple(layer._replace(values=change(layer.values)) for layer in side))

    def _changed(self, change: Callable[[tuple[Layer, ...]], tuple[Layer, ...]]) -> Scorer:
        rows = change(self.rows)
        return replace(self, rows=rows, columns=rows if self.columns is self.rows else change(self.columns))

    # --- what indexes may do besides ------------------------------------------------------------------------------------

    @_in_own_modes
    def leave_one_out(self) -> np.ndarray | None:
        """Scores without each example, shape (n, rows, columns), where the index has them; of layers in float64."""
        found = self.index.leave_one_out(*self.states)
        return None if found is None else to_numpy(found).astype(np.float64)

    @_in_own_modes
    def resampled(self, weights: np.ndarray, units: Units) -> np.ndarray | None:
        """Scores of resamples, shape (B, rows, columns), in which unit u was drawn ``weights[b, u]`` times.

        None where the index cannot count copies as weights, or its matrices do not fit. Of layers in float64; many of them
        are taken pair by pair where all together do not fit.
        """
        xs, ys = self.states
        if not fits(self.index, self.n):
            return None
        drawn = self.xp.asarray(weights, dtype=accumulation_dtype(self.like, self.xp), **placement(self.like))
        members = None if units.members is None else self.order(units.members)

        def of(some: list[Any], others: list[Any]) -> np.ndarray | None:
            found = self.index.resampled(some, others, drawn, members)
            return None if found is None else to_numpy(found).astype(np.float64)

        if fits(self.index, self.n, len(xs) if xs is ys else len(xs) + len(ys)):
            return of(xs, ys)
        pairs = [part for x in xs for y in ys if (part := of([x], [y])) is not None]
        return np.reshape(np.stack(pairs, axis=1), (-1, len(xs), len(ys))) if pairs else None

    # --- results --------------------------------------------------------------------------------------------------------

    def shaped(self, values: np.ndarray) -> Any:
        """Values of shape (..., rows, columns) as the user gets them: of a pair without the two axes, numbers as floats."""
        if self.sides.kind != "pair":
            return values
        return float(values[0, 0]) if values.ndim == 2 else values[..., 0, 0]

    @property
    def common(self) -> dict[str, Any]:
        """What every result says: index, score, number of examples, and the names of rows and columns unless of a pair."""
        names = {} if self.sides.kind == "pair" else {"rows": self.sides.rows, "columns": self.sides.columns}
        return {"index": str(self.index), "score": self.shaped(self.score), "n": self.n, **names}

    def pair(self, where: np.ndarray) -> str:
        """The first pair that a mask (rows, columns) holds, in words."""
        i, j = np.argwhere(where)[0]
        return f"{self.rows[i].name} and {self.columns[j].name}"

    @property
    def itself(self) -> np.ndarray:
        """Which pairs are a layer and itself, a mask (rows, columns)."""
        return np.eye(len(self.rows), dtype=bool) if self.columns is self.rows else np.zeros(self.score.shape, dtype=bool)


def fits(index: Index[Any], n: int, layers: int = 2) -> bool:
    """Whether weights of resamples of n examples fit into memory."""
    return index.bytes_resampled(n, layers) <= MEMORY


def on_host(scores: Sequence[Array], xp: Namespace) -> np.ndarray:
    """Scores as float64 numbers; they stay on their device until all are there."""
    if len({score.dtype for score in scores}) > 1:
        scores = in_one_precision(*scores)
    return to_numpy(xp.stack(list(scores))).astype(np.float64)


# --- from what a user passes -----------------------------------------------------------------------------------------------


def scorer_of(
    X: Any,
    Y: Any,
    index: str | Index[Any] | type[Index[Any]],
    parameters: dict[str, Any],
    *,
    spare: int = 0,
    flatten: bool = False,
) -> Scorer:
    """The scorer of two arrays, or of two mappings of names to arrays; `spare` examples must be dispensable.

    Raises
    ------
    SimkitError
        As `simkit.compare` and `simkit.pairwise`; also for lazy or constant layers, or layers and an array.
    """
    if are_layers(X) is not are_layers(Y):
        named, other = ("X", "Y") if are_layers(X) else ("Y", "X")
        raise InvalidArrayError(
            f"{named} is several layers and {other} is not. Pass two arrays, or two mappings of names to arrays, for "
            f"example {{'{other}': {other}}}."
        )
    sides, given = Sides.of_layers(X, None if Y is X else Y) if are_layers(X) else Sides.of_pair(X, Y)
    return checked(sides, given, get_index(index, **parameters), spare=spare, flatten=flatten)


def checked(sides: Sides, given: Mapping[str, Any], index: Index[Any], *, spare: int = 0, flatten: bool = False) -> Scorer:
    """The scorer of layers as they were given, which must be of the same examples, in memory and not constant."""
    layers = matrices_of(given, flatten)
    check_examples(sides, given, layers, index.facts.min_examples + spare)
    for name, x in layers.items():
        if is_lazy(x):
            raise NeedsAllExamplesError(
                f"{name} is lazy, and inference goes over its examples many times: pass {name}.compute() for a Dask array; "
                "call it outside of jax.jit, torch.func.vmap and torch.compile."
            )
        if not varies(x):
            raise InvalidArrayError(f"{name} is constant: all its examples are the same, so there is nothing to infer.")
    first = next(iter(layers.values()))
    question = question_of(index, sides, layers, "memory", whole=True)
    check_fits(question, plan(question), partial(available_to, first))
    values = map(detach, in_one_precision(*layers.values()))
    named = {name: Layer(x, name, rounding_of(given[name])) for name, x in zip(layers, values, strict=True)}
    found = [tuple(side.values()) for side in sides.by_side(named)]
    return Scorer(index, sides, found[0], found[-1], question.tall, namespace_of(first))
