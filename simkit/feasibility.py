"""What cannot fit into memory is refused before it starts, with what would fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from simkit.errors import InvalidArrayError
from simkit.memory import WORTH_ASKING, available, refuse_if_too_large
from simkit.planner import Plan, Question, plan

__all__ = ["check_fits", "check_width"]

_SPARE = 2.0  # what is certain to be taken is less than what is taken


def check_fits(question: Question, chosen: Plan, room: Callable[[], int | None] = available) -> None:
    """Raise if what a plan is certain to take at one time is more than there is.

    Parameters
    ----------
    question : Question
    chosen : Plan
        Its answer.
    room : callable
        Bytes that are available, where it is not the memory of the host that counts.

    Raises
    ------
    TooLargeError
        What is needed, what there is, and what would fit.
    """
    if chosen.bytes < WORTH_ASKING:
        return
    q = question
    where = "in memory" if q.source == "memory" else "of Dask arrays"
    refuse_if_too_large(
        chosen.bytes,
        f"{q.index} of {q.layers} layers of {q.n} examples {where} ({chosen.form})",
        lambda there: _what_fits(q, there),
        room,
    )


def _what_fits(q: Question, room: int) -> str:
    n, pair = q.n or 0, len(q.rows) == len(q.columns or ()) == 1

    def fits(examples: int, layers: int | None = None) -> bool:
        columns = None if q.columns is None else q.columns[:layers]
        return _SPARE * plan(replace(q, n=examples, rows=q.rows[:layers], columns=columns)).bytes <= room

    ways = _other_ways(q)
    if q.source == "memory":
        fewer = _largest(fits, n)
        if fewer >= max(2, q.index.facts.min_examples):
            ways.append(f"{fewer} of the {n} examples")
    layers = 0 if pair else _largest(lambda count: fits(n, count), max(len(q.rows), len(q.columns or ())))
    if layers:
        ways.append(f"{layers} layers a side at once")
    if not ways:
        return (
            "Compare narrower layers, such as convolution maps averaged over positions: "
            'simkit.examples(x, "mean", channels="first").'
        )
    return f"What fits: {'; or '.join(ways)}."


def _other_ways(q: Question) -> list[str]:
    """Ways to the same score that need less memory."""
    if q.source != "memory" or q.needs != "hsic sums":
        return []
    if q.linear:
        return ["simkit.stream, batch by batch", *([] if q.blocks else ['tiles="exact"'])]
    ways = [] if q.blocks else ['tiles="exact" (no gradients), in memory that grows with n and not with its square']
    return [*ways, "Dask arrays"]


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, or 0; what is larger needs more."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def check_width(widths: Sequence[int], max_bytes: int, *, projectable: bool, by_batches: bool = False) -> None:
    """Raise if the joint scatter matrix of layers that come in batches is larger than allowed, or than there is memory.

    Parameters
    ----------
    widths : sequence of int
        Numbers of features of the layers.
    max_bytes : int
        What the user allows.
    projectable : bool
        Whether a random projection approximates the index.
    by_batches : bool
        Whether the index has an estimator of the examples of each batch alone.

    Raises
    ------
    InvalidArrayError
        Larger than allowed.
    TooLargeError
        Larger than there is memory.
    """
    total, fits = sum(widths), int((max_bytes / 8) ** 0.5)
    if total <= fits:
        refuse_if_too_large(
            total**2 * 8,
            f"The joint scatter matrix of {total} features",
            lambda room: f"At most {int((room / 8) ** 0.5)} features in all fit: give fewer layers to one stream.",
        )
        return
    each, wanted = max(1, fits // len(widths)), total**2 * 8
    projected = (
        f"projection=simkit.scale.projection.RandomProjection({each}), an approximation with a stated error; "
        if projectable
        else ""
    )
    minibatch = 'estimator="minibatch", which compares the examples of a batch only; ' if by_batches else ""
    raise InvalidArrayError(
        f"The layers have {total} features in all, so their joint scatter matrix would take {wanted / 1e9:.1f} GB; "
        f"max_bytes={max_bytes} allows {fits} features. What fits: maps averaged over positions, "
        f'simkit.examples(x, "mean", channels="first"); {minibatch}{projected}fewer layers per stream, in '
        f"several passes; or, if there is the memory, max_bytes={wanted}."
    )
