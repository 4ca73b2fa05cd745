"""Rows of layers batch by batch: kept while they are few, summed into a stream once its sums are the smaller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from simkit.comparison import pairwise
from simkit.errors import ExtractionError, InvalidArrayError, NeedsAllExamplesError, TooLargeError
from simkit.kernels.linear import is_linear
from simkit.matrix import SimilarityMatrix
from simkit.memory import in_words
from simkit.scale.projection import RandomProjection
from simkit.scale.stream import Stream, check_state_fits
from simkit.statistics.hsic_sums import takes_minibatch
from simkit.text import shown
from simkit.torch.devices import free_bytes, is_cuda
from simkit.torch.extraction import joined

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["Collector"]

_LEAST = 4  # examples of a batch that estimator="minibatch" needs
_ALWAYS_KEPT = 2**26  # bytes of activations that are kept whatever the sums of a stream would take


class Collector:
    """The layers of one or two sides.

    Parameters
    ----------
    index : Index
    max_bytes : int
        The largest joint scatter matrix that may be made.
    projection : RandomProjection or None
    replicas : int
        Over how many processes the examples are dealt out; their sums come together at the end.
    examples : int or None
        How many there will be, if it is known.

    Notes
    -----
    n examples of P features take n P numbers, the sums of a stream P x P: memory never grows beyond the smaller of these.
    Where the index cannot be computed in one pass, or P x P is more than `max_bytes`, the examples stay.
    """

    def __init__(
        self, index: Index[Any], *, max_bytes: int, projection: RandomProjection | None, replicas: int, examples: int | None
    ) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
            raise ExtractionError(
                f"max_bytes is {shown(max_bytes)}; expected a whole number of bytes from 1 on, 2**32 for one."
            )
        if not (projection is None or isinstance(projection, RandomProjection)):
            raise ExtractionError(
                f"projection is {shown(projection)}; expected a simkit.scale.projection.RandomProjection(features) or None."
            )
        self.index, self.max_bytes, self.examples = index, max_bytes, examples
        self._parts: list[Sequence[Mapping[str, torch.Tensor]]] = []
        self._kept = self._rows = 0
        self._waiting: Sequence[Mapping[str, torch.Tensor]] | None = None  # the last batch, of estimator="minibatch"
        self._is_joined = False
        self._stream: Stream | None = None
        self._replicas = replicas
        self._why_not: Exception | None = None
        self._is_minibatch = index.kernel_estimator is not None and index.kernel_estimator.estimator == "minibatch"
        try:
            stream = Stream(index, projection=projection, max_bytes=max_bytes)
        except NeedsAllExamplesError as error:
            self._why_not = error
            if projection is not None or replicas > 1:
                why = (
                    "projection="
                    if projection is not None
                    else f"a sampler that deals out the examples over {replicas} processes"
                )
                raise ExtractionError(
                    f"{why} needs an index that can be computed in one pass over batches. {error}"
                ) from None
        else:
            if self._is_minibatch or projection is not None or replicas > 1:
                self._stream = stream

    def announce(self, width: int | None, device: torch.device | None) -> None:
        """Say how many features there will be, before the pass.

        Raises
        ------
        TooLargeError
            They can neither be kept nor summed.
        """
        if self._stream is None and width is not None and self.examples is not None and not self._can_stream(width):
            self._check_room(4 * self.examples * width, 4 * self.examples * width, width, device)

    def add(self, sides: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Take a batch, of one side or of two.

        Raises
        ------
        ExtractionError
            Layers have different numbers of examples.
        TooLargeError
            There is no room for more.
        """
        counts = {x.shape[0]: label for side in sides for label, x in side.items()}
        if len(counts) > 1:
            (n, one), (m, other) = list(counts.items())[:2]
            raise ExtractionError(
                f"{one!r} gives {n} examples of a batch and {other!r} {m}: rows of layers that are compared are the same "
                'examples. With pool="positions" or "tokens" layers need as many positions; pool="mean" gives one example '
                "for each."
            )
        if self._is_minibatch:
            self._add_minibatch(sides)
            return
        if self._stream is not None:
            self._stream.update(*sides)
            return
        tensors = [x for side in sides for x in side.values()]
        size = sum(x.numel() * x.element_size() for x in tensors)
        width = sum(x.shape[1] for x in tensors)
        if self._kept > _ALWAYS_KEPT:
            self._check_room(size, self._kept + size, width, tensors[0].device)
        self._parts.append(sides)
        self._kept += size
        self._rows += tensors[0].shape[0]
        if self._kept > _ALWAYS_KEPT and self._rows >= 2 * width and self._can_stream(width):
            self._turn_into_sums()

    def _add_minibatch(self, sides: Sequence[Mapping[str, torch.Tensor]]) -> None:
        """Sum the batch before this one, which a last batch of too few examples joins."""
        assert self._stream is not None
        if self._is_joined:
            raise ExtractionError(
                f"A batch has fewer than {_LEAST} examples, and more follow; estimator='minibatch' needs at least {_LEAST} "
                "in each but the last. Take larger batches, or estimator='unbiased', exact for any batches."
            )
        if self._waiting is None:
            self._waiting = sides
        elif next(iter(sides[0].values())).shape[0] < _LEAST:
            pairs = zip(self._waiting, sides, strict=True)
            self._waiting = [{label: joined(label, [x, end[label]]) for label, x in start.items()} for start, end in pairs]
            self._is_joined = True
        else:
            self._stream.update(*self._waiting)
            self._waiting = sides

    def _turn_into_sums(self) -> None:
        """Sum what is kept, and go on with the sums."""
        self._stream = Stream(self.index, max_bytes=self.max_bytes)
        while self._parts:
            self._stream.update(*self._parts.pop(0))
        self._kept = 0

    def _can_stream(self, width: int) -> bool:
        if self._why_not is not None:
            return False
        try:
            check_state_fits(self.index, [width], self.max_bytes)
        except (InvalidArrayError, TooLargeError):
            return False
        return True

    def _check_room(self, more: int, whole: int, width: int, device: torch.device | None) -> None:
        """Raise if `more` bytes do not fit, of activations that take `whole` bytes in all."""
        if more < _ALWAYS_KEPT:
            return
        room = free_bytes(device)
        if room is None or more <= room:
            return
        n = f"{self.examples} examples" if self.examples is not None else "all examples"
        if self._why_not is not None:
            reason = f"{self.index} needs {n} at once"
        else:
            reason = (
                f"the joint scatter matrix of a stream would take {in_words(8 * width**2)}, and max_bytes={self.max_bytes}"
            )
        raise TooLargeError(
            f"The layers have {width} features in all; their activations take {in_words(whole)}, of which {in_words(more)} "
            f"do not fit into the {in_words(room)} available, and {reason}. "
            f"{remedies(self.index, width, self.max_bytes, on_cuda=is_cuda(device))}"
        )

    def matrix(self) -> SimilarityMatrix:
        """The similarity of all layers of the one side with themselves, or with those of the other.

        Raises
        ------
        SimkitError
            As `simkit.pairwise`.
        """
        if self._stream is not None:
            stream = self._stream
            if self._waiting is not None:
                stream.update(*self._waiting)
            if self._replicas > 1:
                from simkit.torch.distributed import all_reduce

                stream = all_reduce(stream)
            return stream.compute()
        sides = [
            {label: [part[side][label] for part in self._parts] for label in names}
            for side, names in enumerate(self._parts[0])
        ]
        self._parts = []
        whole = [{label: joined(label, side.pop(label)) for label in list(side)} for side in sides]
        return pairwise(whole[0], None if len(whole) == 1 else whole[1], self.index)

    @property
    def route(self) -> str:
        """What was done with the batches, in words."""
        if self._stream is None:
            return "activations kept until the end of the pass"
        return "summed batch by batch" + (f", over {self._replicas} processes" if self._replicas > 1 else "")


def remedies(index: Index[Any], width: int, max_bytes: int, *, on_cuda: bool = False) -> str:
    """What works where layers are too wide to be kept or summed, the best first."""
    fits = int((max_bytes / 8) ** 0.5)
    ways = ['pool="mean", if maps or tokens are flattened now']
    chosen = index.kernel_estimator
    if takes_minibatch(index):
        ways.append('estimator="minibatch", which compares examples within a batch only, and takes hardly any memory')
    if chosen is not None and is_linear(chosen.kernel):
        ways.append(
            "projection=simkit.scale.projection.RandomProjection(k), to k features a layer, whose Gram matrices are "
            "then right to sqrt((1 + d) / k) for layers of effective dimension d (its gram_error(d))"
        )
    ways.append(f"groups of layers in several passes, layers= and layers_b= of {fits} features at a time")
    if on_cuda:
        ways.append('device="cpu", if the host has more memory')
    return "What works, in this order: " + "; ".join(f"({place}) {way}" for place, way in enumerate(ways, 1)) + "."
