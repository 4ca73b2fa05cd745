"""The k nearest of many points: in NumPy by blocks of rows, screened in float32 and settled in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from simkit.arrays import Array, Namespace, namespace_of
from simkit.linalg.selection import kth_largest
from simkit.threads import in_threads

__all__ = ["Screen", "k_nearest", "nearest"]

Similarities: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
Errors: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

_ROWS = 512  # at a time
_COLUMNS = 4096  # of a block of them, which stays in the cache
_SINGLE = float(np.finfo(np.float32).eps)


def nearest(similarity: Array, errors: Array, k: int, xp: Namespace) -> Array:
    """Share that each entry of a row has in the k places for the largest, shape (m, n), rows adding up to k.

    Parameters
    ----------
    similarity : array, shape (m, n)
        Finite, plus infinity for what is among the largest anyway (less than k in each row), or minus infinity for what
        must not be taken; at least k in each row may be.
    errors : array
        What rounding may have added to each; broadcasts to (m, n). The k-th largest ties with all that differ from it by no
        more than the errors of both.
    k : int
    """
    last = kth_largest(similarity, k, xp)
    of_last = xp.max(xp.where(similarity == last, errors, 0.0), axis=1, keepdims=True)
    ties = xp.abs(similarity - last) <= errors + of_last
    above = xp.astype(xp.logical_and(similarity > last, xp.logical_not(ties)), similarity.dtype)
    ties = xp.astype(ties, similarity.dtype)
    places, candidates = k - xp.sum(above, axis=1, keepdims=True), xp.sum(ties, axis=1, keepdims=True)
    return above + ties * (places / xp.where(candidates > 0, candidates, 1.0))


class Screen(NamedTuple):
    """Similarities of all pairs of n points in float32, and what they may be wrong by.

    The similarity of i and j is ``left[i] @ right[j] - less[j] - own[i]``.
    """

    left: np.ndarray  # (n, p), float64
    right: np.ndarray  # (n, p)
    less: np.ndarray  # (n,)
    own: np.ndarray  # (n,)
    error: np.ndarray  # (n,): what rounding in float64 may have added to a similarity of i, at most

    def slack(self) -> np.ndarray:
        """How far the float32 similarity of a tie for the last place may be from that of the last place, shape (n,)."""
        squares = np.vecdot(self.left, self.left)
        others = squares if self.right is self.left else np.vecdot(self.right, self.right)
        size = np.sqrt(squares) * np.sqrt(np.max(others))
        # of p terms, each rounded three times; then less
        return 2 * _SINGLE * ((self.left.shape[1] / 2 + 4) * size + 2 * np.max(np.abs(self.less))) + 2 * self.error


def k_nearest(
    screen: Screen,
    k: int,
    similarities: Similarities,
    errors: Errors,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each of n points other than itself, those that tie for the last place by shares.

    Similarities in float32 tell which may be among the k nearest: of these alone, and only where there are more than k, the
    similarities in float64 are needed. Where float32 does not tell, as with outliers, a block is computed in float64.

    Parameters
    ----------
    screen : Screen
    k : int
        Less than n.
    similarities : callable
        Those of pairs: of their numbers i and j, shape (m,) each.
    errors : callable
        What rounding may have added to them, given i, j and the similarities.

    Returns
    -------
    pairs : ndarray of int64, shape (N,)
        i n + j, ascending, of all i and their neighbours j; N is n k and what ties for the last place.
    share : ndarray, shape (N,)
        That of j in the k places of i, as `nearest` gives it.
    """
    n = len(screen.left)
    slack = screen.slack()
    left, less = screen.left.astype(np.float32), screen.less.astype(np.float32)
    right = left if screen.right is screen.left else screen.right.astype(np.float32)
    columns = max(_COLUMNS, 16 * k)

    def ask(i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = similarities(i, j)
        return value, errors(i, j, value)

    def work(starts: Iterator[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        found, told = [], True
        buffer = np.empty(min(_ROWS, n) * min(columns, n), dtype=np.float32)
        for start in starts:
            rows = slice(start, min(start + _ROWS, n))
            some = None
            if told:
                blocks = (slice(first, min(first + columns, n)) for first in range(0, n, columns))
                some = _candidates(
                    (_block(left, right, less, rows, part, buffer=buffer) for part in blocks),
                    slack[rows],
                    k,
                    4 * k + n // 64,
                )
            if some is None:
                told = False  # nor of the next rows
                found.append((start, *_in_double(screen, rows, k, errors)))
            else:
                found.append((start, *_settled(some, slack[rows], start, n, k, ask=ask)))
        return found

    parts = [part for share in in_threads(work, range(0, n, _ROWS), screen.left) for part in share]
    parts.sort(key=lambda part: part[0])
    return np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def _block(
    left: np.ndarray, right: np.ndarray, less: np.ndarray, rows: slice, columns: slice, *, buffer: np.ndarray | None = None
) -> np.ndarray:
    """Similarities of some rows to some columns, minus infinity to themselves."""
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    out = None if buffer is None else buffer[: shape[0] * shape[1]].reshape(shape)
    block = np.matmul(left[rows], right[columns].T, out=out)
    block -= less[columns]
    both = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
    block[both - rows.start, both - columns.start] = -np.inf
    return block


class _Candidates(NamedTuple):
    """Entries of some rows that may be among the k largest, row by row."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    counts: np.ndarray  # for each row

    @property
    def place(self) -> np.ndarray:
        """The place of each among those of its row."""
        return np.arange(len(self.row)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)

    def padded(self, values: np.ndarray, fill: float) -> np.ndarray:
        """Values of all candidates as a matrix, one row for each row."""
        matrix = np.full((len(self.counts), int(self.counts.max())), fill, dtype=values.dtype)
        matrix[self.row, self.place] = values
        return matrix

    def only(self, kept: np.ndarray) -> _Candidates:
        """Some of the candidates."""
        row = self.row[kept]
        return _Candidates(row, self.column[kept], self.value[kept], np.bincount(row, minlength=len(self.counts)))


def _reached_by(block: np.ndarray, k: int) -> np.ndarray:
    """A number that at least k, and few more, of the entries of each row reach: the k-th largest of maxima of groups."""
    size = block.shape[1] // (8 * k)  # of a group
    if size < 2:
        return kth_largest(block, k, np)[:, 0]
    groups = block.shape[1] // size
    return kth_largest(block[:, : groups * size].reshape(len(block), size, groups).max(axis=1), k, np)[:, 0]


def _candidates(blocks: Iterator[np.ndarray], slack: np.ndarray, k: int, most: int) -> _Candidates | None:
    """The entries of some rows that may be among the k largest; None if there are more than `most` a row.

    What k entries of the first block of columns reach, k of all do.
    """
    bound, found, width, count = None, [], 0, 0
    for block in blocks:
        if bound is None:
            bound = (_reached_by(block, k) - slack)[:, None]
        where = np.flatnonzero(block >= bound)
        count += len(where)
        if count > most * len(block):
            return None
        row, column = np.divmod(where, block.shape[1])
        found.append((row, column + width, block[row, column]))
        width += block.shape[1]
    row, column, value = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(row * width + column)
    some = _Candidates(row[order], column[order], value[order], np.bincount(row, minlength=len(slack)))
    last = _last(some, k)
    return some.only(some.value >= (last - slack)[some.row])


def _last(some: _Candidates, k: int) -> np.ndarray:
    """The k-th largest of each row."""
    return np.asarray(kth_largest(some.padded(some.value, -np.inf), k, np)[:, 0])


def _settled(
    some: _Candidates,
    slack: np.ndarray,
    start: int,
    n: int,
    k: int,
    *,
    ask: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and shares of the rows from `start` on: float64 is asked for where there are more than k candidates."""
    share = np.ones(len(some.row))
    undecided = (some.counts > k)[some.row]
    if undecided.any():
        open_ = np.flatnonzero(undecided)
        value, error = np.full(len(share), np.inf), np.zeros(len(share))
        open_ = open_[some.value[open_] <= (_last(some, k) + slack)[some.row[open_]]]  # the others are nearer for certain
        value[open_], error[open_] = ask(some.row[open_] + start, some.column[open_])
        lines = np.flatnonzero(some.counts > k)
        shares = nearest(some.padded(value, -np.inf)[lines], some.padded(error, 0.0)[lines], k, namespace_of(value))
        line = np.searchsorted(lines, some.row[undecided])
        share[undecided] = shares[line, some.place[undecided]]
    taken = share > 0
    return (some.row[taken] + np.int64(start)) * n + some.column[taken], share[taken]


def _in_double(screen: Screen, rows: slice, k: int, errors: Errors) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and shares of some rows whose similarities are all computed in float64."""
    n, found = len(screen.left), []
    step = max(1, _ROWS * _COLUMNS // (4 * n))
    everyone = np.arange(n)
    for start in range(rows.start, rows.stop, step):
        some = slice(start, min(start + step, rows.stop))
        block = _block(screen.left, screen.right, screen.less, some, slice(0, n))
        block -= screen.own[some, None]
        share = nearest(block, errors(everyone[some, None], everyone[None, :], block), k, namespace_of(block)).ravel()
        where = np.flatnonzero(share)
        found.append((where + np.int64(start) * n, share[where]))
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])
