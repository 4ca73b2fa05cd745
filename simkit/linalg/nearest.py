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

_ROWS = 128  # of a block at least: a product of fewer takes longer
_ENTRIES = 2**20  # of a block at a time
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
    step = max(_ROWS, _ENTRIES // n)
    slack = screen.slack()
    left, less = screen.left.astype(np.float32), screen.less.astype(np.float32)
    right = left if screen.right is screen.left else screen.right.astype(np.float32)

    def ask(i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value = similarities(i, j)
        return value, errors(i, j, value)

    def work(starts: Iterator[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        found, told = [], True
        buffer = np.empty((min(step, n), n), dtype=np.float32)
        for start in starts:
            rows = slice(start, min(start + step, n))
            chosen = None
            if told:
                block = _block(left, right, less, rows, buffer[: rows.stop - start])
                chosen = _settled(block, slack[rows], start, k, ask)
            if chosen is None:
                told = False  # nor of the next blocks
                chosen = _in_double(screen, rows, k, errors)
            found.append((start, *chosen))
        return found

    parts = [part for share in in_threads(work, range(0, n, step), screen.left) for part in share]
    parts.sort(key=lambda part: part[0])
    return np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])


def _block(left: np.ndarray, right: np.ndarray, less: np.ndarray, rows: slice, out: np.ndarray | None = None) -> np.ndarray:
    """Similarities of some rows to all, minus infinity to themselves."""
    block = np.matmul(left[rows], right.T, out=out)
    block -= less
    block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = -np.inf
    return block


class _Candidates(NamedTuple):
    """Those of the entries of some rows that may be among the k largest."""

    row: np.ndarray
    column: np.ndarray
    value: np.ndarray
    counts: np.ndarray  # for each row

    @classmethod
    def of(cls, block: np.ndarray, bound: np.ndarray, most: float) -> _Candidates | None:
        """The entries that reach the bound of their row; None if there are more than `most`."""
        where = np.flatnonzero(block >= bound[:, None])
        if len(where) > most:
            return None
        row, column = np.divmod(where, block.shape[1])
        return cls(row, column, block[row, column], np.bincount(row, minlength=len(block)))

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


def _settled(
    block: np.ndarray,
    slack: np.ndarray,
    start: int,
    k: int,
    ask: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Pairs and shares of a block in float32; None if there are so many candidates that float64 costs less."""
    n = block.shape[1]
    some = _Candidates.of(block, _reached_by(block, k) - slack, len(block) * (4 * k + n / 64))
    if some is None:
        return None
    last = kth_largest(some.padded(some.value, -np.inf), k, np)[:, 0]
    some = some.only(some.value >= (last - slack)[some.row])
    share = np.ones(len(some.row))
    undecided = (some.counts > k)[some.row]
    if undecided.any():
        open_ = np.flatnonzero(undecided)
        value, error = np.full(len(share), np.inf), np.zeros(len(share))
        open_ = open_[some.value[open_] <= (last + slack)[some.row[open_]]]  # the others are nearer for certain
        value[open_], error[open_] = ask(some.row[open_] + start, some.column[open_])
        lines = np.flatnonzero(some.counts > k)
        shares = nearest(some.padded(value, -np.inf)[lines], some.padded(error, 0.0)[lines], k, namespace_of(block))
        line = np.searchsorted(lines, some.row[undecided])
        share[undecided] = shares[line, some.place[undecided]]
    taken = share > 0
    return (some.row[taken] + np.int64(start)) * n + some.column[taken], share[taken]


def _in_double(screen: Screen, rows: slice, k: int, errors: Errors) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and shares of some rows whose similarities are all computed in float64."""
    n, found = len(screen.left), []
    step = max(1, _ENTRIES // (4 * n))
    everyone = np.arange(n)
    for start in range(rows.start, rows.stop, step):
        some = slice(start, min(start + step, rows.stop))
        block = _block(screen.left, screen.right, screen.less, some)
        block -= screen.own[some, None]
        share = nearest(block, errors(everyone[some, None], everyone[None, :], block), k, namespace_of(block)).ravel()
        where = np.flatnonzero(share)
        found.append((where + np.int64(start) * n, share[where]))
    return np.concatenate([part[0] for part in found]), np.concatenate([part[1] for part in found])
