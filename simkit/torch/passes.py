"""One pass over data through one or two models, batch by batch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from simkit.arrays.fingerprints import Fingerprint
from simkit.errors import ExtractionError, InvalidArrayError
from simkit.torch import batches
from simkit.torch.batches import Batches
from simkit.torch.extractor import Extractor, extract

__all__ = ["InputPrint", "Pass", "ready"]

_VALUES = 4096  # of each example, which tell it from others


class InputPrint:
    """The fingerprint of the inputs of a pass: of up to 4096 values of each example, at even distances."""

    def __init__(self) -> None:
        self._print: Fingerprint | None = Fingerprint()

    def update(self, batch: Any, keep: int | None, n: int | None) -> Any:
        """Take the examples that count, the first `keep` of a batch and `n` in all, and give what was looked at."""
        try:
            given = batches.inputs_of(batch)
        except ExtractionError:
            given = batch
        looked_at = _sampled(given, keep)
        if self._print is not None:
            try:
                self._print.update(looked_at, n)
            except InvalidArrayError:  # a class of its own, of which nobody knows what is in it
                self._print = None
        return looked_at

    @property
    def hex(self) -> str | None:
        """64 hexadecimal digits; None if some inputs have no values to look at."""
        return None if self._print is None else self._print.hex


def _sampled(value: Any, keep: int | None) -> Any:
    if isinstance(value, torch.Tensor) and value.ndim and not value.is_nested:
        x = value.detach()[:keep]
        flat = x.flatten(1) if x.ndim > 1 else x[:, None]
        step = -(-flat.shape[1] // _VALUES)
        return (flat[:, ::step].contiguous() if step > 1 else x).cpu()
    if isinstance(value, Mapping):
        return {str(key): _sampled(item, keep) for key, item in value.items()}
    if isinstance(value, PackedSequence):
        return [item for item in value if item is not None]
    if isinstance(value, list | tuple):
        return [_sampled(item, keep) for item in value]
    return value


class Pass:
    """One pass over data through some models; iterate over it once.

    Parameters
    ----------
    extractors : sequence of Extractor
    data : Batches

    Attributes
    ----------
    examples : int
        How many have been seen.
    skip : callable
        Whether the models need not run on a batch, by what of its inputs is looked at for the fingerprint, and by the
        number of its examples, if it tells.
    """

    def __init__(self, extractors: Sequence[Extractor], data: Batches) -> None:
        self.extractors, self.data = list(extractors), data
        self.print, self.examples = InputPrint(), 0
        self.skip: Callable[[Any, int | None], bool] = lambda inputs, n: False
        self._groups: list[list[int]] = []  # extractors that one run of a model serves
        for place, extractor in enumerate(self.extractors):
            group = next((group for group in self._groups if extractor.runs_like(self.extractors[group[0]])), None)
            if group is None:
                self._groups.append([place])
            else:
                group.append(place)

    def probe(self) -> None:
        """Look at a few examples, so that what is wrong is said before work starts."""
        for extractor in self.extractors:
            extractor.probe(self._as_models_take_it(self.data.first))

    def _as_models_take_it(self, batch: Any) -> Any:
        """A batch with tensors for arrays of NumPy; as it is for a function that runs the model."""
        return batch if any(extractor.forward for extractor in self.extractors) else batches.as_tensors(batch)

    def __iter__(self) -> Iterator[list[dict[str, torch.Tensor]]]:
        """The layers of each extractor, batch by batch; none of a batch that is skipped."""
        for given in self.data:
            batch = self._as_models_take_it(given)
            size = batches.size_of(batch)
            if size == 0:
                raise ExtractionError("A batch has no examples.")
            if size is None and self.data.keep is not None:
                raise ExtractionError(
                    f"A batch is a {type(batch).__name__}, of which nobody can see how many examples it has, so that the "
                    "repeats of a DistributedSampler cannot be left out. Give tensors, tuples that begin with one, or "
                    "mappings; or a sampler without repeats."
                )
            keep = None
            if self.data.keep is not None and size is not None and self.examples + size > self.data.keep:
                keep = self.data.keep - self.examples
                if keep <= 0:
                    return
            count = size if keep is None else keep
            inputs = self.print.update(batch, keep, count)
            found: list[dict[str, torch.Tensor]] = [{} for _ in self.extractors]
            for group in [] if self.skip(inputs, count) else self._groups:
                for place, rows in zip(group, extract([self.extractors[i] for i in group], batch, keep), strict=True):
                    found[place] = rows
            self.examples += self._rows(found) if count is None else count
            yield found

    def _rows(self, found: list[dict[str, torch.Tensor]]) -> int:
        """The number of examples by what the layers gave, those first in which an example is one row."""
        rows = [
            (label in extractor.unfolding, x.shape[0])
            for extractor, layers in zip(self.extractors, found, strict=True)
            for label, x in layers.items()
        ]
        return min(rows)[1] if rows else 0


@contextlib.contextmanager
def ready(extractors: Sequence[Extractor]) -> Iterator[None]:
    """Within, the models may be run."""
    with contextlib.ExitStack() as stack:
        for extractor in extractors:
            stack.enter_context(extractor.ready())
        yield
