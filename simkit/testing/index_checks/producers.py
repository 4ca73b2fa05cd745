"""Scores without all examples in memory: of Dask arrays, of streams of batches, over tiles of Gram matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

import simkit
from simkit.errors import NeedsAllExamplesError
from simkit.testing.case import IndexCase
from simkit.testing.check import lazy, table
from simkit.testing.libraries import LIBRARIES
from simkit.testing.report import Skipped

__all__ = ["CHECKS"]


def dask(case: IndexCase) -> Iterator[str]:
    """Where statistic claims it, Dask arrays are not computed before .compute(), and then give the score in memory."""
    _need_a_statistic(case)
    LIBRARIES["dask"].require()
    import dask.array as da
    from dask import config as dask_config

    X, Y = case.pair(60, 6, 5)
    expected = case.number(X, Y)
    for chunks in (((17, 3, X.shape[0] - 20), -1), (X.shape[0], -1), (25, 3)):
        with _excused(case):
            score = yield from lazy(case.score, (X, Y), chunks)
        if score is not None and case.differ(score, expected):
            yield _not_of(case, f"Dask arrays in chunks of {chunks}", score, expected)

    def on_chunks(X: np.ndarray, Y: np.ndarray) -> float:
        return float(case.index(*(da.from_array(z, chunks=(17, -1)) for z in (X, Y))))

    with dask_config.set(scheduler="synchronous"):
        yield from case.inaccurate("Dask arrays", on_chunks, case.hard)


def stream(case: IndexCase) -> Iterator[str]:
    """Where statistic claims it, batches give the score of all examples in memory."""
    _need_a_statistic(case)
    for X, Y in case.pairs:
        with _excused(case):
            batches = simkit.stream(case.index)
        start = 0
        for size in (7, 1, 11, len(X)):
            batches.update(X[start : start + size], Y[start : start + size])
            start += size
        score, expected = float(batches.compute()), case.number(X, Y)
        if case.differ(score, expected):
            yield _not_of(case, "a stream", score, expected)

    def merged(X: np.ndarray, Y: np.ndarray) -> Any:
        first, second = simkit.stream(case.index), simkit.stream(case.index)
        for k, start in enumerate(range(0, len(X), 11)):
            rows = slice(start, start + 11)
            (first if k % 2 else second).update(X[rows], Y[rows])
        return first.merge(second).compute()

    yield from case.inaccurate("a stream of layers", merged, case.hard)


def tiles(case: IndexCase) -> Iterator[str]:
    """Scores over tiles of the Gram matrices are those of whole ones."""
    if case.facts.statistic != "hsic sums":
        raise Skipped("not a function of HSIC sums, as declared")
    by_tiles = partial(simkit.compare, index=case.index, tiles="exact")
    X, Y = case.pair(500, 4, 3)  # a block has 384 rows
    with _excused(case):
        score = float(by_tiles(X, Y))
    expected = case.number(X, Y)
    if case.differ(score, expected):
        yield _not_of(case, "tiles", score, expected)
    yield from case.inaccurate("tiles of layers", by_tiles, case.hard)


def _need_a_statistic(case: IndexCase) -> None:
    if case.facts.statistic == "examples":
        raise Skipped("needs all examples at once, as declared")


@contextmanager
def _excused(case: IndexCase) -> Iterator[None]:
    """Skip where simkit itself says that no statistic suffices; indexes of moments have no such excuse."""
    try:
        yield
    except NeedsAllExamplesError as error:
        if case.facts.statistic == "moments":
            raise
        raise Skipped(" ".join(str(error).split())) from None


def _not_of(case: IndexCase, what: str, score: float, expected: float) -> str:
    return (
        f"{what} give {score:.9g}, all examples in memory {expected:.9g}: the index is no function of "
        f"{'second moments' if case.facts.statistic == 'moments' else 'the three sums of HSIC'}, or not the same one"
    )


CHECKS = table(dask, stream, tiles)
