"""Inner products <K_i, L_j> of the Gram matrices K = XX' of centred layers in the memory of the host, in blocks of examples.

The upper half of the Gram matrices is cut into blocks. A block of every layer is computed, they are multiplied with each
other, and dropped; so memory is that of one block of each layer in each thread, and no layer is copied: rows are centred on
one side of the product where that is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from simkit.linalg.centring import Centred, CentredLayers, cuts, longest
from simkit.threads import in_threads, most_threads

__all__ = ["bytes_by_examples", "products_by_examples"]

_SIDES = (128, 512)  # of a block, at least and at most
_HELD = 2**25  # bytes of the blocks of all layers, unless that makes them too small
_ENTRIES = 2**14  # of a block at a time: short enough for float32 sums, long enough for a matrix product


def products_by_examples(
    paired: CentredLayers,
    *,
    steps: Callable[[int], Callable[[], None]] = lambda count: lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Inner products of Gram matrices without their diagonals, and the diagonals.

    Parameters
    ----------
    paired : `CentredLayers`
        L layers of n examples.
    steps : callable
        Called with the number of steps of the work, it gives what is called after each, perhaps in another thread.

    Returns
    -------
    products : ndarray, shape (L, L)
        In float64; nan for pairs that are not wanted.
    diagonals : ndarray, shape (L, n)
        In float64.
    """
    layers, split = paired
    n, count, dtype = layers[0].x.shape[0], len(layers), layers[0].x.dtype
    parts = cuts(n, _side(count, dtype.itemsize))
    blocks = [(a, b) for i, a in enumerate(parts) for b in parts[i:]]
    diagonals, done = np.empty((count, n)), steps(len(blocks))

    def work(share: Iterator[tuple[slice, slice]]) -> np.ndarray:
        side = longest(parts)
        grams, inner = np.empty((count, side * side), dtype), np.zeros((count, count))
        rows = np.empty((2, side * max(layer.p for layer in layers)), dtype)
        for a, b in share:
            r, c = a.stop - a.start, b.stop - b.start
            for k, layer in enumerate(layers):
                block = _gram(layer, a, b, rows, grams[k, : r * c].reshape(r, c))
                if a == b:
                    diagonals[k, a] = np.einsum("ii->i", block)
                    np.fill_diagonal(block, 0.0)
            for entries in cuts(r * c, _ENTRIES):
                _add_products(inner, grams[:, entries], split, 1 if a == b else 2)
            done()
        return inner

    inner = np.sum(in_threads(work, blocks, layers[0].x), axis=0)
    if split is not None:
        inner[split:, :split] = inner[:split, split:].T
    return paired.without_others(inner), diagonals


def bytes_by_examples(n: int, widths: Sequence[int], itemsize: int) -> int:
    """Bytes that `products_by_examples` takes at one time: blocks of all layers and rows of one, in each thread."""
    most = _side(len(widths), itemsize)
    side, parts = min(n, most), -(-n // most)
    each = itemsize * side * (len(widths) * side + 2 * max(widths))
    return each * min(most_threads(), parts * (parts + 1) // 2) + 8 * n * len(widths)


def _side(layers: int, itemsize: int) -> int:
    """Examples along each side of a block."""
    most = int((_HELD / (layers * itemsize)) ** 0.5)
    return min(max(most, _SIDES[0]), _SIDES[1])


def _gram(layer: Centred, a: slice, b: slice, rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    """A block of the Gram matrix of a centred layer, written to `out`.

    With z = x - m, z_i'z_j = z_i'x_j - z_i'm: rounding is that of z_i'z_j unless m is far from the origin.
    """
    p = layer.p
    left = layer.rows(a, rows[0, : out.shape[0] * p].reshape(-1, p))
    if a == b:
        return np.matmul(left, left.T, out=out)
    if layer.is_far:
        right = layer.rows(b, rows[1, : out.shape[1] * p].reshape(-1, p))
        return np.matmul(left, right.T, out=out)
    np.matmul(left, layer.x[b].T, out=out)
    out -= (left @ layer.near)[:, None]
    return out


def _add_products(inner: np.ndarray, part: np.ndarray, split: int | None, times: int) -> None:
    """Products of some entries of all Gram matrices, (L, k), added to the sums of their pairs."""
    if split is None:
        inner += times * (part @ part.T)
        return
    inner[:split, split:] += times * (part[:split] @ part[split:].T)
    diagonal = np.einsum("ii->i", inner)
    diagonal += times * np.vecdot(part, part)
