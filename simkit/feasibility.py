"""Whether a comparison in memory can fit, before it starts; and if not, what would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from simkit.arrays import Array, is_lazy
from simkit.kernels.linear import is_linear
from simkit.memory import WORTH_ASKING, available_to, refuse_if_too_large

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["check_comparison_fits", "check_tiles_fit"]

_SPARE = 2.0  # what is certain to be taken is less than what is taken


def check_comparison_fits(index: Index[Any], rows: Sequence[Array], columns: Sequence[Array] | None) -> None:
    """Raise if scoring all pairs of layers in memory cannot fit; ``columns=None`` compares the rows with themselves.

    Lazy arrays are let through: what they stand for is not computed here.

    Raises
    ------
    TooLargeError
        What is needed, what there is, and what would fit.
    """
    n, itemsize = rows[0].shape[0], _itemsize(rows[0])
    widths_of_sides = [[x.shape[1] for x in side] for side in (rows, columns or ())]

    def needed(examples: int, layers: int | None = None) -> int:
        first, second = (widths[:layers] for widths in widths_of_sides)
        return index.bytes_needed(examples, first, second or None, itemsize)

    if needed(n) < WORTH_ASKING or is_lazy(rows[0]):
        return
    pair = columns is not None and len(rows) == len(columns) == 1

    def remedy(room: int) -> str:
        ways = _other_ways(index)
        fits = _largest(lambda examples: _SPARE * needed(examples) <= room, n)
        if fits >= max(2, index.facts.min_examples):
            ways.append(f"{fits} of the {n} examples")
        layers = 0 if pair else _largest(lambda count: _SPARE * needed(n, count) <= room, max(map(len, widths_of_sides)))
        if layers:
            ways.append(f"{layers} layers a side at once")
        if not ways:
            return "Compare narrower layers, such as convolution maps averaged over positions (maps='mean')."
        return f"What fits: {'; or '.join(ways)}."

    count = len(rows) + len(columns or ())
    refuse_if_too_large(
        needed(n), f"{index} of {count} layers of {n} examples in memory", remedy, room=lambda: available_to(rows[0])
    )


def check_tiles_fit(layers: Sequence[Array]) -> None:
    """Raise if the features of all layers, as the kernels take them, cannot be held beside the layers.

    Raises
    ------
    TooLargeError
    """
    needed = sum(x.shape[0] * x.shape[1] for x in layers) * _itemsize(layers[0])
    refuse_if_too_large(
        needed,
        f"A copy of {len(layers)} layers of {layers[0].shape[0]} examples",
        "What fits: fewer layers at once; or Dask arrays, which are read chunk by chunk.",
        room=lambda: available_to(layers[0]),
    )


def _other_ways(index: Index[Any]) -> list[str]:
    """Ways to the same score that need less memory."""
    if index.facts.statistic != "hsic sums":
        return []
    sums = index.kernel_estimator
    if sums is not None and is_linear(sums.kernel):
        return ["simkit.stream, batch by batch", 'tiles="exact"']
    return ['tiles="exact" (no gradients), in memory that grows with n and not with its square', "Dask arrays"]


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, or 0; what is larger needs more."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _itemsize(x: Array) -> int:
    return 4 if "float32" in str(x.dtype) else 8
