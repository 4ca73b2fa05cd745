"""Dask arrays: lazy in, lazy out, of any number of examples.

The score of Dask arrays is a 0-d Dask array (a lazy matrix for `simkit.pairwise`). Shapes, dtypes and frameworks are
checked at once; values when the result is computed, since a lazy array is never computed for a check.

Dask does the reduction and nothing else. One task per block of rows turns the chunks of all layers into a small mergeable
state, a tree of tasks merges the states, and one last task runs the index in memory, on the framework of the chunks:

    chunks of all layers  ->  state  ->  merged, `split_every` at a time  ->  all scores

So every chunk is read once for all pairs, and memory is bounded by a chunk and a state, whatever n is. Which state it is
follows from the declared statistic of the index:

- HSIC with the linear kernel: second moments (`simkit.statistics.moments`), P x P numbers for layers of P features in all;
- "moments" (CCA, regression and their kin): a root of the scatter matrix (`simkit.statistics.roots`), as accurate as a QR
  decomposition whatever the condition number;
- HSIC with another kernel: sums over tiles of the Gram matrices (`simkit.scale.kernels`);
- a kernel, or more features than examples, and at most 2048 examples: the layers themselves, in one task.

Keys are deterministic and do not depend on what is not used: two indexes computed together read the data once.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import dask
import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.layers import ArrayValuesDep

from simkit.arrays import Array, check_values, namespace_of, placement, warn_caller
from simkit.errors import InvalidArrayError
from simkit.index import Index
from simkit.kernel import Kernel, declared_needs
from simkit.kernels.linear import is_linear
from simkit.representation import Representation
from simkit.scale.cluster import Recipe, active_client, preflight
from simkit.scale.kernels import kernel_sums
from simkit.scale.nystroem import features
from simkit.scale.waiting import results
from simkit.statistics.kernel_sums import KernelSums
from simkit.statistics.moments import Moments, needs, scores_from
from simkit.statistics.roots import Roots, scores_of
from simkit.statistics.survey import Survey, Surveyed, boxed, nan_where_undefined
from simkit.undefined import in_silence, out_of_range, warn_if_not_finite

__all__ = ["compare", "compute", "mapped_with", "pairwise"]

Statistic: TypeAlias = Literal["moments", "third moments", "roots", "examples", "kernel sums"]

_STATES_TOGETHER = 2**24  # bytes of states that one merging task may hold
_SMALL = 2048  # examples whose Gram matrices are not worth cutting into tiles


@dataclass(frozen=True)
class Question:
    """What the last task is asked: everything but the data, in plain Python."""

    index: Recipe
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    dtype: str
    rounding: tuple[float, ...]  # of the layers in their order, as they were given
    scalar: bool


def compare(index: Index[Any], x: Array, y: Array, *, rounding: tuple[float, float], check_finite: bool) -> Array:
    """Similarity of two Dask matrices with the same, known number of rows, as a lazy 0-d array.

    `rounding` is that of the values as they were given (`simkit.arrays.rounding_of`).
    """
    return _scores(index, {"X": x}, {"Y": y}, dict(zip("XY", rounding, strict=True)), check_finite, scalar=True)


def pairwise(
    index: Index[Any],
    rows: Mapping[str, Array],
    columns: Mapping[str, Array] | None,
    *,
    rounding: Mapping[str, float],
    check_finite: bool,
) -> Array:
    """Similarities of all pairs of Dask matrices as a lazy array, shape (rows, columns)."""
    left = {f"A[{name!r}]": x for name, x in rows.items()}
    right = left if columns is None else {f"B[{name!r}]": x for name, x in columns.items()}
    return _scores(index, left, right, rounding, check_finite, scalar=False)


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


def _scores(
    index: Index[Any],
    left: Mapping[str, Array],
    right: Mapping[str, Array],
    rounding: Mapping[str, float],
    check_finite: bool,
    *,
    scalar: bool,
) -> Array:
    layers: dict[str, Array] = {}
    first_name: dict[str, str] = {}
    for name, x in (*left.items(), *right.items()):
        if np.isnan(x.shape[1]):
            raise InvalidArrayError(f"{name} has an unknown number of features. Call .compute_chunk_sizes() on it first.")
        if first_name.setdefault(x.name, name) == name:
            layers[name] = x  # a layer that stands on both sides is read once
    dtype = np.result_type(*(x.dtype for x in layers.values()))
    question = Question(
        Recipe.of(index),
        tuple(first_name[x.name] for x in left.values()),
        tuple(first_name[x.name] for x in right.values()),
        dtype.name,
        tuple(rounding[name] for name in layers),
        scalar,
    )
    n, width = next(iter(layers.values())).shape[0], sum(x.shape[1] for x in layers.values())
    statistic = _statistic_of(index, n, width)
    if statistic == "kernel sums":
        blocks: Mapping[str, Array] = layers
        state = kernel_sums(index.kernel, layers, check_finite=check_finite)  # type: ignore[attr-defined]
    else:
        blocks = layers if statistic == "examples" else _aligned(layers, width)
        if statistic == "examples":
            blocks = {name: x.rechunk((n, x.shape[1])) for name, x in blocks.items()}
        state = _reduced(blocks, statistic, check_finite)
    _ask_workers(index, blocks, _bytes_of_state(statistic, n, width))
    return _answer(state, question, next(iter(layers.values())))


def _statistic_of(index: Index[Any], n: int, width: int) -> Statistic:
    """The state that the index is computed from."""
    if index.facts.statistic == "moments":
        return "roots"
    if index.facts.statistic == "hsic sums" and not is_linear(getattr(index, "kernel", None)):
        declared_needs(index.kernel)  # type: ignore[attr-defined]  # the same error however few the examples are
        return "kernel sums" if n > _SMALL else "examples"
    options = needs(index)
    if n <= width:  # the layers are smaller than their moments
        return "kernel sums" if n > _SMALL else "examples"
    return "third moments" if options["third_order"] else "moments"


def _bytes_of_state(statistic: Statistic, n: int, width: int) -> int:
    if statistic == "kernel sums":
        return 16 * n  # row sums and diagonals
    return 8 * width * (n if statistic == "examples" else width)


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


def _reduced(blocks: Mapping[str, Array], statistic: Statistic, check_finite: bool) -> Array:
    """The state of all examples, as a 0-d array of one object."""
    first = next(iter(blocks.values()))
    rows = first.chunks[0]
    starts = ArrayValuesDep(((1,) * len(rows),), np.cumsum([0, *rows[:-1]]))
    token = tokenize(statistic, check_finite, list(blocks), [x.name for x in blocks.values()], rows)
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
        statistic=statistic,
        check_finite=check_finite,
        concatenate=True,
        align_arrays=False,
        dtype=object,
        meta=np.empty((0, 0), dtype=object),
        name=f"simkit-{statistic.replace(' ', '-')}-{token}",
    )
    size = _bytes_of_state(statistic, first.shape[0], sum(x.shape[1] for x in blocks.values()))
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


def _answer(state: Array, question: Question, like: Array) -> Array:
    key = f"simkit-{question.index.qualname}-{tokenize(state.name, question)}"
    shape = () if question.scalar else (len(question.rows), len(question.columns))
    return da.blockwise(
        _score_all,
        tuple("rc"[: len(shape)]),
        state,
        (),
        question=question,
        new_axes=dict(zip("rc", shape, strict=False)),
        dtype=np.dtype(question.dtype),
        meta=np.zeros_like(like._meta, shape=(0,) * len(shape), dtype=question.dtype),
        name=key,
    )


def _ask_workers(index: Index[Any], blocks: Mapping[str, Array], state: int) -> None:
    client = active_client()
    if client is None:
        return
    rows = max(next(iter(blocks.values())).chunks[0], default=0)
    block = sum(rows * x.shape[1] * x.dtype.itemsize for x in blocks.values())
    preflight(client, index, needed=block + 2 * state)


# --- what the tasks do --------------------------------------------------------------------------------------------------


def _state_of_block(
    start: int, *blocks: Array, names: tuple[str, ...], statistic: Statistic, check_finite: bool
) -> np.ndarray:
    """The boxed state of one block of rows of all layers, which begins at row `start`."""
    layers = dict(zip(names, blocks, strict=True))
    if check_finite:
        for name, x in layers.items():
            check_values(x, name, start)
    survey = Survey.of(layers, finite=check_finite)
    # What is not finite has no score anyway; zeros keep it from spoiling the other layers.
    layers = {name: x if survey.finite[name] else namespace_of(x).zeros_like(x) for name, x in layers.items()}
    return boxed(Surveyed(survey, _PRODUCERS[statistic](layers)), (1, 1))


def _merged_box(boxes: Any, **_: Any) -> np.ndarray:
    states = [box.item() for box in _leaves(boxes)]
    if len(states) == 1:
        return boxed(states[0], ())
    survey = Survey.merged([state.survey for state in states])
    return boxed(Surveyed(survey, _merged([state.statistic for state in states])), ())


def _merged(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Roots):
        return Roots.merged(parts)
    whole = parts[0].copy()
    for part in parts[1:]:
        whole.absorb(part)
    return whole


_PRODUCERS: dict[str, Callable[[dict[str, Array]], Any]] = {
    "moments": Moments.of,
    "third moments": lambda layers: Moments.of(layers, third_order=True),
    "roots": Roots.of,
    "examples": lambda layers: layers,
}


def _features_of_block(x: Array, landmarks: Array, *, recipe: Recipe) -> Array:
    return features(x, landmarks, recipe.make())


def _score_all(state: np.ndarray, *, question: Question) -> Array:
    """All scores from the state of all examples: in memory, on the framework of the chunks."""
    whole: Surveyed = state.item()
    index: Index[Any] = question.index.make()
    like = next(iter(whole.survey.first.values()))
    xp = namespace_of(like)
    undefined = whole.survey.undefined
    for name in sorted(undefined):
        if whole.survey.finite[name]:
            warn_caller(
                f"{name} is constant: all {whole.survey.n} examples are the same, so its similarity to anything is "
                "undefined (nan)."
            )
    empty = xp.zeros((0,), dtype=getattr(xp, question.dtype), **placement(like))
    with in_silence(empty):
        values = nan_where_undefined(
            partial(_score_defined, index, whole, question.rounding), question.rows, question.columns, undefined, empty
        )
    if not bool(xp.all(xp.isfinite(values))):
        extreme = _extreme(whole.statistic, empty.dtype)
        warn_if_not_finite(index, values, question.rows, question.columns, undefined=undefined, extreme=extreme)
    return values[0, 0] if question.scalar else values


def _extreme(statistic: Any, dtype: Any) -> Collection[str]:
    """The layers whose products may be out of range, as far as a statistic tells."""
    if isinstance(statistic, Moments | Roots):
        return statistic.extreme(dtype)
    return out_of_range(statistic.items()) if isinstance(statistic, dict) else ()


def _score_defined(
    index: Index[Any], whole: Surveyed, rounding: tuple[float, ...], rows: list[str], columns: list[str]
) -> Array:
    """Scores of layers that vary and are finite, shape (rows, columns)."""
    if isinstance(whole.statistic, Moments):
        return scores_from(index, whole.statistic, rows, columns)
    if isinstance(whole.statistic, KernelSums):
        return whole.statistic.scores(index, rows, columns)  # type: ignore[arg-type]
    given = {
        name: eps or float(namespace_of(x).finfo(x.dtype).eps)
        for (name, x), eps in zip(whole.survey.first.items(), rounding, strict=True)
    }
    if isinstance(whole.statistic, Roots):
        layers = whole.statistic.representations(given)
    else:
        width = sum(x.shape[1] for x in whole.statistic.values())
        layers = {name: Representation(x, width, name, rounding=given[name]) for name, x in whole.statistic.items()}
    return scores_of(index, layers, rows, columns)


def _unchanged(box: np.ndarray, **_: Any) -> np.ndarray:
    return box


def _leaves(nested: Any) -> list[np.ndarray]:
    return [leaf for item in nested for leaf in _leaves(item)] if isinstance(nested, list) else [nested]
