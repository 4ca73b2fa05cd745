"""Squared norms of the products X_i'Y_j of centred layers in the memory of the host, in one pass over blocks of rows.

The features of the layers stand side by side and are cut into bands. A product of two bands is summed over blocks of rows
that stay in the cache, in the precision of the layers within a block and in float64 over the blocks; its squares are summed
for each pair of layers, and it is dropped. So memory depends neither on the number of examples nor on that of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from simkit.linalg.centring import Centred, CentredLayers, cuts, longest
from simkit.threads import in_threads, most_threads

__all__ = ["bytes_by_features", "norms_by_features"]

_WIDTH = 1024  # features of a band
_VALUES = 2**21  # of a block of rows
_ROWS = (256, 2048)  # of a block, at least and at most
_SHARES = 8  # blocks of rows come in multiples of this, for threads to have equal shares
_FEW = 3  # jobs up to which threads share the rows of each, and beyond which they share the jobs


class _Piece(NamedTuple):
    """Some features of a layer."""

    layer: int
    columns: slice
    place: slice  # where they stand in a block of rows


@dataclass(frozen=True)
class _Job:
    """Products of parts of a block of rows, whose columns are those of some pieces."""

    pieces: tuple[_Piece, ...]
    products: tuple[tuple[slice, slice], ...]  # of a part with itself, or with a part that comes later
    whole: tuple[_Piece, ...]  # those whose product with themselves is among them

    @property
    def width(self) -> int:
        return self.pieces[-1].place.stop


class _Sums(NamedTuple):
    """Sums over some rows."""

    products: list[np.ndarray]
    lengths: list[tuple[int, slice, np.ndarray]]  # a layer, some rows, their squared lengths in some of its features


def norms_by_features(
    paired: CentredLayers,
    *,
    lengths: bool,
    steps: Callable[[int], Callable[[], None]] = lambda count: lambda: None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """|X_i'Y_j|^2 of pairs of layers, and the squared lengths of their rows.

    Parameters
    ----------
    paired : `CentredLayers`
        L layers of n examples.
    lengths : bool
        Whether the lengths are wanted.
    steps : callable
        Called with the number of steps of the work, it gives what is called after each, perhaps in another thread.

    Returns
    -------
    norms : ndarray, shape (L, L)
        In float64; nan for pairs that are not wanted.
    lengths : ndarray, shape (L, n), or None
        In float64.
    traces : ndarray, shape (L,)
        |X_i|^2 in float64.
    """
    layers, first = paired.layers, paired.layers[0].x
    n, jobs = first.shape[0], _jobs([layer.p for layer in layers], paired.split)
    norms = np.zeros((len(layers), len(layers) + 1))  # and beside them the traces
    found: list[tuple[int, slice, np.ndarray]] = []
    if len(jobs) <= _FEW:
        done = steps(sum(len(_blocks(n, job.width, _SHARES)) for job in jobs))
        for job in jobs:
            blocks = _blocks(n, job.width, _SHARES)
            parts = in_threads(partial(_summed, job, layers, longest(blocks), lengths=lengths, done=done), blocks, first)
            for k, (s, t) in enumerate(job.products):
                _add_norms(norms, job, s, t, sum((part.products[k] for part in parts[1:]), parts[0].products[k]))
            found += [each for part in parts for each in part.lengths]
    else:
        done = steps(sum(len(_blocks(n, job.width)) for job in jobs))

        def work(share: Iterator[_Job]) -> tuple[np.ndarray, list[tuple[int, slice, np.ndarray]]]:
            own, pieces = np.zeros_like(norms), []
            for job in share:
                blocks = _blocks(n, job.width)
                sums = _summed(job, layers, longest(blocks), iter(blocks), lengths=lengths, done=done)
                for (s, t), product in zip(job.products, sums.products, strict=True):
                    _add_norms(own, job, s, t, product)
                pieces += sums.lengths
                del sums, product  # before those of the next job are there
            return own, pieces

        for own, pieces in in_threads(work, jobs, first):
            norms += own
            found += pieces
    norms, traces = paired.without_others(norms[:, :-1]), norms[:, -1]
    if not lengths:
        return norms, None, traces
    squares = np.zeros((len(layers), n))
    for layer, rows, part in found:
        squares[layer, rows] += part
    return norms, squares, traces


def bytes_by_features(n: int, widths: Sequence[int], split: int | None, itemsize: int) -> int:
    """Bytes that `norms_by_features` takes at one time, but for the lengths: blocks of rows and products, in each thread.

    What jobs take on average, since not all threads have the largest at one time.
    """
    jobs = _jobs(widths, split)
    few = len(jobs) <= _FEW
    taken = 0
    for job in jobs:
        rows = longest(_blocks(n, job.width, _SHARES if few else 1))
        sizes = [(s.stop - s.start) * (t.stop - t.start) for s, t in job.products]
        taken += itemsize * (rows * job.width + max(sizes)) + 8 * sum(sizes)
    return taken // len(jobs) * min(most_threads(), len(_blocks(n, jobs[0].width, _SHARES)) if few else len(jobs))


# --- what is to be done ---------------------------------------------------------------------------------------------------


def _bands(layers: Iterable[int], widths: Sequence[int]) -> list[list[tuple[int, slice]]]:
    """The features of some layers, in order, in bands; those of a layer wider than a band in equal parts."""
    bands: list[list[tuple[int, slice]]] = []
    room = 0
    for layer in layers:
        for columns in cuts(widths[layer], _WIDTH):
            size = columns.stop - columns.start
            if size > room:
                bands.append([])
                room = _WIDTH
            bands[-1].append((layer, columns))
            room -= size
    return bands


def _job(left: Sequence[tuple[int, slice]], right: Sequence[tuple[int, slice]], *, own: tuple[bool, bool]) -> _Job:
    """Products of all `left` with all `right`, and of the pieces of either with themselves if `own` says so."""
    pieces: list[_Piece] = []
    for layer, columns in (*left, *right):
        at = pieces[-1].place.stop if pieces else 0
        pieces.append(_Piece(layer, columns, slice(at, at + columns.stop - columns.start)))
    whole = (*(pieces[: len(left)] if own[0] else ()), *(pieces[len(left) :] if own[1] else ()))
    end, products = pieces[len(left) - 1].place.stop, [(piece.place, piece.place) for piece in whole]
    if right:
        products.append((slice(0, end), slice(end, pieces[-1].place.stop)))
    return _Job(tuple(pieces), tuple(products), whole)


def _jobs(widths: Sequence[int], split: int | None) -> list[_Job]:
    """One for each pair of bands of which some product is needed."""
    every, jobs = range(len(widths)), []
    if split is None:
        bands = _bands(every, widths)
        for i, a in enumerate(bands):
            block = _job(a, [], own=(True, False))
            whole = slice(0, block.width)
            jobs.append(_Job(block.pieces, ((whole, whole),), block.pieces))
            jobs += [_job(a, b, own=(False, False)) for b in bands[i + 1 :]]
        return jobs
    sides = _bands(every[:split], widths), _bands(every[split:], widths)
    for i, a in enumerate(sides[0]):
        jobs += [_job(a, b, own=(j == 0, i == 0)) for j, b in enumerate(sides[1])]
    for bands in sides:  # parts of one layer with each other
        for i, a in enumerate(bands):
            for b in bands[i + 1 :]:
                if a[-1][0] == b[0][0]:
                    jobs.append(_job(a[-1:], b[:1], own=(False, False)))
    return jobs


def _blocks(n: int, width: int, shares: int = 1) -> list[slice]:
    """Blocks of rows, in a multiple of `shares` if there are enough rows."""
    rows = min(max(_VALUES // width, _ROWS[0]), _ROWS[1])
    count = -(-n // rows)
    if n >= shares * _ROWS[0]:
        count = -(-count // shares) * shares
    return cuts(n, -(-n // count))


# --- how ------------------------------------------------------------------------------------------------------------------


def _summed(
    job: _Job, layers: Sequence[Centred], most: int, blocks: Iterator[slice], *, lengths: bool, done: Callable[[], None]
) -> _Sums:
    """The products of a job over some blocks of at `most` so many rows."""
    dtype = layers[0].x.dtype
    sizes = [(s.stop - s.start, t.stop - t.start) for s, t in job.products]
    sums, product = [np.zeros(size) for size in sizes], np.empty(max(a * b for a, b in sizes), dtype)
    block, found = np.empty((most, job.width), dtype), []
    for rows in blocks:
        z = block[: rows.stop - rows.start]
        for piece in job.pieces:
            layers[piece.layer].rows(rows, z[:, piece.place], piece.columns)
        for (s, t), size, whole in zip(job.products, sizes, sums, strict=True):
            whole += np.matmul(z[:, s].T, z[:, t], out=product[: size[0] * size[1]].reshape(size))
        if lengths:
            found += [(piece.layer, rows, np.vecdot(z[:, piece.place], z[:, piece.place])) for piece in job.whole]
        done()
    return _Sums(sums, found)


def _add_norms(norms: np.ndarray, job: _Job, s: slice, t: slice, product: np.ndarray) -> None:
    """The squared norms of the parts of a product, each of one layer with one other, added to theirs; traces beside them."""
    for a in (piece for piece in job.pieces if s.start <= piece.place.start < s.stop):
        across = slice(a.place.start - s.start, a.place.stop - s.start)
        for b in (piece for piece in job.pieces if t.start <= piece.place.start < t.stop):
            part = product[across, b.place.start - t.start : b.place.stop - t.start]
            square = np.einsum("ij,ij->", part, part)
            norms[a.layer, b.layer] += square
            if s != t:  # the transposed product is another part of the norm
                norms[b.layer, a.layer] += square
            elif a is b:
                norms[a.layer, -1] += np.trace(part)
