"""Dask arrays: lazy in, lazy out, of any number of examples.

The score of Dask arrays is a 0-d Dask array (a lazy matrix for `simkit.pairwise`). Shapes, dtypes and frameworks are
checked at once; values when the result is computed, since a lazy array is never computed for a check.

Dask does the reduction and nothing else. One task per block of rows turns the chunks of all layers into a small mergeable
state, a tree of tasks merges the states, and one last task runs the index in memory, on the framework of the chunks:

    chunks of all layers  ->  state  ->  merged, `split_every` at a time  ->  all scores

So every chunk is read once for all pairs, and memory is bounded by a chunk and a state, whatever n is. Which state it
is, `simkit.planner` says.

Keys are deterministic and do not depend on what is not used: two indexes computed together read the data once.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.layers import ArrayValuesDep

from simkit.arrays import Array, check_values, is_dask, namespace_of
from simkit.feasibility import check_fits
from simkit.kernel import Kernel
from simkit.planner import Plan, Question
from simkit.scale.cluster import Recipe, active_client, preflight
from simkit.scale.kernels import kernel_sums
from simkit.scale.sizes import boxed
from simkit.scale.waiting import results
from simkit.scoring import scored as scored_in_memory
from simkit.sides import Sides
from simkit.statistics.chance import Scores
from simkit.statistics.hsic_sums import kernel_estimator_of
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.landmarks import landmark_features
from simkit.statistics.layers import Layers
from simkit.statistics.statistic import Statistic
from simkit.statistics.values import ValueCheck

if TYPE_CHECKING:
    from simkit.index import Index
    from simkit.matrix import SimilarityMatrix

__all__ = ["compute", "computed", "mapped_with", "scored"]

_STATES_TOGETHER = 2**24  # bytes of states that one merging task may hold


def scored(
    index: Index[Any],
    question: Question,
    plan: Plan,
    sides: Sides,
    layers: Mapping[str, Array],
    *,
    rounding: Mapping[str, float],
    check_finite: bool,
) -> Scores:
    """Similarities of Dask matrices with the same, known number of rows, lazily: shape (rows, columns), of a pair shape ().

    Parameters
    ----------
    index : Index
    question, plan : Question, Plan
        What is computed from what: see `simkit.planner`.
    sides : Sides
    layers : mapping of names to Dask arrays, shapes (n, p)
    rounding : mapping of names to float
        The eps that the values were given with (`simkit.arrays.rounding_of`).
    check_finite : bool
        Raise for values that are not finite, when they are computed.

    Raises
    ------
    TooLargeError, ClusterMemoryError
        A state does not fit into the memory of this machine, or of a worker.
    """
    name_of: dict[str, str] = {}  # a layer that stands on both sides is read once
    for name, x in layers.items():
        name_of.setdefault(x.name, name)
    different = {name: layers[name] for name in name_of.values()}
    if active_client() is None:
        check_fits(question, plan)
    if plan.statistic is KernelSums:
        state = kernel_sums(kernel_estimator_of(index).kernel, different, rounding=rounding, check_finite=check_finite)
        blocks: Mapping[str, Array] = different
    else:
        n, width = next(iter(layers.values())).shape[0], sum(x.shape[1] for x in different.values())
        if plan.statistic is Layers:
            blocks = {name: x.rechunk((n, x.shape[1])) for name, x in different.items()}
        else:
            blocks = _aligned(different, width)
        given = {name: rounding[name] for name in different}
        state = _reduced(blocks, _Leaf(plan.statistic, tuple(plan.options.items()), given, check_finite), plan.bytes)
    _ask_workers(index, blocks, plan.bytes)
    asked = _Asked(Recipe.of(index), index.knows_chance, sides, {name: name_of[x.name] for name, x in layers.items()})
    dtype = np.result_type(*(x.dtype for x in layers.values()))
    return _answer(state, asked, next(iter(layers.values())), dtype)


def compute(*lazy: Array, progress: bool = True, timeout: float | None = 600.0) -> tuple[Any, ...]:
    """Compute lazy scores together, reading the data once, with a progress bar on standard error.

    On the active cluster, if there is a `distributed.Client`, and the cluster is watched meanwhile; ``lazy.compute()`` is
    Dask's own and waits without a word for workers that do not come back. Otherwise in the threads of this process, with one
    thread of BLAS for each of them: twice as many threads as cores would wait for each other.

    Parameters
    ----------
    *lazy : Dask array
        Scores of `simkit.compare`, ``values`` of `simkit.pairwise`, or any other.
    progress : bool
        Whether to draw the bar.
    timeout : float or None
        Seconds to wait for a cluster on which nothing can work; None waits for ever, with a warning every 15 to 20 seconds.

    Returns
    -------
    tuple
        The values, in memory, in the order of the arguments.

    Raises
    ------
    ClusterError
        The scheduler is gone, a task ended all workers that ran it, or nothing could work for `timeout` seconds.
    ClusterMemoryError
        A task needed more memory than its workers may use.

    Warns
    -----
    ClusterWarning
        Within half a minute: there are no workers, a worker is not heard of, all are paused because their memory is full, or
        the scheduler does not answer.
    """
    client = active_client()
    if client is not None:
        return results(client, lazy, progress=progress, timeout=timeout)
    with ExitStack() as stack:
        if dask.config.get("scheduler", None) == "dask.distributed":  # left behind by a client that closed itself
            stack.enter_context(dask.config.set(scheduler="threads"))
        if importlib.util.find_spec("threadpoolctl") is not None:
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(1, user_api="blas"))
        if progress:
            from dask.diagnostics import ProgressBar

            stack.enter_context(ProgressBar(minimum=1.0, out=sys.stderr))
        return dask.compute(*lazy)


def computed(matrix: SimilarityMatrix, *, progress: bool, timeout: float | None) -> SimilarityMatrix:
    """A matrix with numbers in the place of Dask arrays, by `compute`."""
    lazy = {name: array for name in ("values", "chance") if is_dask(array := getattr(matrix, name))}
    return replace(matrix, **dict(zip(lazy, compute(*lazy.values(), progress=progress, timeout=timeout), strict=True)))


def mapped_with(x: Array, landmarks: Array, kernel: Kernel, width: int) -> Array:
    """Features of `simkit.scale.nystroem` of a Dask matrix, lazily, shape (n, width)."""
    recipe = Recipe.of(kernel)
    return da.blockwise(
        _features_of_block,
        "if",
        x.rechunk({1: -1}),
        "ip",
        landmarks.rechunk(-1),
        "mp",
        recipe=recipe,
        new_axes={"f": width},
        concatenate=True,
        dtype=x.dtype,
        meta=x._meta,
        name=f"simkit-nystroem-{tokenize(x.name, landmarks.name, recipe)}",
    )


# --- the graph ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Leaf:
    """How the statistic of a block of rows is made."""

    statistic: type[Statistic]
    options: tuple[tuple[str, Any], ...]
    rounding: Mapping[str, float]
    check_finite: bool


@dataclass(frozen=True)
class _Asked:
    """What the last task is asked: everything but the data, in plain Python."""

    index: Recipe
    by_chance: bool
    sides: Sides
    name_of: Mapping[str, str]  # the name in the statistic of each layer


def _aligned(layers: Mapping[str, Array], width: int) -> dict[str, Array]:
    """The layers with rows chunked alike: as those of the largest, but no fewer rows than make a block larger than a state.

    Rows of one layer are only cut and joined with their neighbours, never shuffled.
    """
    widest = max(layers.values(), key=lambda x: x.nbytes)
    rows: list[int] = []
    for size in widest.chunks[0]:
        if rows and min(rows[-1], size) < width and rows[-1] + size <= max(2 * width, 64):
            rows[-1] += size
        else:
            rows.append(size)
    return {name: x if x.chunks[0] == tuple(rows) else x.rechunk({0: tuple(rows)}) for name, x in layers.items()}


def _reduced(blocks: Mapping[str, Array], leaf: _Leaf, size: int) -> Array:
    """The state of all examples, as a 0-d array of one object."""
    first = next(iter(blocks.values()))
    rows = first.chunks[0]
    starts = ArrayValuesDep(((1,) * len(rows),), np.cumsum([0, *rows[:-1]]))
    token = tokenize(leaf, list(blocks), [x.name for x in blocks.values()], rows)
    arguments: list[Any] = [starts, "i"]
    for k, x in enumerate(blocks.values()):
        # A layer whose features are in one chunk shares its column with the states: reading it and reducing it then
        # become one task. Chunks along features have an index of their own, over which Dask concatenates them.
        arguments += [x, ("i", "state" if x.numblocks[1] == 1 else f"features of {k}")]
    states = da.blockwise(
        _state_of_block,
        ("i", "state"),
        *arguments,
        new_axes={"state": 1} if all(x.numblocks[1] > 1 for x in blocks.values()) else None,
        adjust_chunks={"i": 1, "state": 1},
        names=tuple(blocks),
        leaf=leaf,
        concatenate=True,
        align_arrays=False,
        dtype=object,
        meta=np.empty((0, 0), dtype=object),
        name=f"simkit-{leaf.statistic.__name__.lower()}-{token}",
    )
    return da.reduction(
        states,
        chunk=_unchanged,
        combine=_merged_box,
        aggregate=_merged_box,
        concatenate=False,
        split_every={0: int(np.clip(_STATES_TOGETHER // max(size, 1), 2, 32)), 1: 2},
        dtype=object,
        meta=np.empty((), dtype=object),
        name=f"simkit-merge-{token}",
    )


def _answer(state: Array, asked: _Asked, like: Array, dtype: np.dtype) -> Scores:
    """Lazy scores and, where the index knows it, chance, from one task."""
    shape = () if asked.sides.kind == "pair" else (len(asked.sides.rows), len(asked.sides.columns))
    both = da.blockwise(
        _score_all,
        tuple("krc"[: len(shape) + 1]),
        state,
        (),
        asked=asked,
        new_axes=dict(zip("krc", (1 + asked.by_chance, *shape), strict=False)),
        dtype=dtype,
        meta=np.zeros_like(like._meta, shape=(0,) * (len(shape) + 1), dtype=dtype),
        name=f"simkit-{asked.index.qualname}-{tokenize(state.name, asked)}",
    )
    return Scores(both[0], both[1] if asked.by_chance else None)


def _ask_workers(index: Index[Any], blocks: Mapping[str, Array], state: int) -> None:
    client = active_client()
    if client is None:
        return
    rows = max(next(iter(blocks.values())).chunks[0], default=0)
    block = sum(rows * x.shape[1] * x.dtype.itemsize for x in blocks.values())
    preflight(client, index, needed=block + 2 * state)


# --- what the tasks do --------------------------------------------------------------------------------------------------


def _state_of_block(start: int, *blocks: Array, names: tuple[str, ...], leaf: _Leaf) -> np.ndarray:
    """The boxed state of one block of rows of all layers, which begins at row `start`."""
    layers = dict(zip(names, blocks, strict=True))
    if leaf.check_finite:
        for name, x in layers.items():
            check_values(x, name, start)
    values, clean = ValueCheck.of(layers, rounding=leaf.rounding, finite=leaf.check_finite)
    return boxed(leaf.statistic.of(clean, values, **dict(leaf.options)), (1, 1))


def _merged_box(boxes: Any, **_: Any) -> np.ndarray:
    states = [box.item() for box in _leaves(boxes)]
    return boxed(states[0] if len(states) == 1 else type(states[0]).merged(states), ())


def _features_of_block(x: Array, landmarks: Array, *, recipe: Recipe) -> Array:
    return landmark_features(x, landmarks, recipe.make())


def _score_all(state: np.ndarray, *, asked: _Asked) -> Array:
    """All scores from the state of all examples, and chance after them: in memory, on the framework of the chunks."""
    found = scored_in_memory(asked.index.make(), state.item(), asked.sides, asked.name_of)
    return namespace_of(found.values).stack([x for x in found if x is not None])


def _unchanged(box: np.ndarray, **_: Any) -> np.ndarray:
    return box


def _leaves(nested: Any) -> list[np.ndarray]:
    return [leaf for item in nested for leaf in _leaves(item)] if isinstance(nested, list) else [nested]
