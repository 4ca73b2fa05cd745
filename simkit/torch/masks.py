"""Which tokens of a batch count and which are padding, for each layer the mask that is meant for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from simkit.errors import ExtractionError
from simkit.text import shown

__all__ = ["Mask", "MaskOption", "Masks"]

MaskOption: TypeAlias = Callable[[Any], Any] | Literal[False] | None

_KEEP = {"attention_mask": True, "src_key_padding_mask": False, "key_padding_mask": False}  # True: 1 is for what counts
_KEEP_OF_DECODER = {"decoder_attention_mask": True, "tgt_key_padding_mask": False}
_DECODER_INPUTS = ("decoder_input_ids", "decoder_inputs_embeds", "labels", "tgt")


@dataclass(frozen=True)
class Mask:
    """Which tokens of each example count.

    Attributes
    ----------
    kept : bool array, shape (n, tokens)
    key : str
        Where it comes from.
    """

    kept: np.ndarray
    key: str

    @property
    def pads(self) -> bool:
        """Whether anything is padding."""
        return not self.kept.all()


class Masks:
    """The masks of one batch.

    Parameters
    ----------
    batch, inputs : object
        The batch, and what of it goes into the model.
    option : callable, False or None
        None: from the keywords of the model; False: padding counts as tokens; a function of the batch.
    keep : int or None
        How many of the examples count.
    """

    def __init__(self, batch: Any, inputs: Any, option: MaskOption, keep: int | None = None) -> None:
        self._main = self._decoder = None
        self._decoder_length: int | None = None
        self._unknown_decoder = False
        self.from_encoder: set[int] = set()  # where in memory the outputs of encoders lie
        self._is_said = callable(option)
        if option is False:
            return
        if callable(option):
            found = option(batch)
            self._main = None if found is None else _mask(found, "mask=", True, keep)
        elif isinstance(inputs, Mapping):
            self._main = _first(inputs, _KEEP, keep)
            self._decoder = _first(inputs, _KEEP_OF_DECODER, keep)
            if self._main is not None and self._decoder is None:
                self._guess_decoder(inputs)

    def _guess_decoder(self, inputs: Mapping[str, Any]) -> None:
        """Without a mask all tokens of a decoder count, unless the labels that they are made of have padding."""
        key = next(
            (key for key in _DECODER_INPUTS if isinstance(inputs.get(key), torch.Tensor) and inputs[key].ndim > 1), None
        )
        if key is None or (key == "labels" and not self._are_targets(inputs)):
            return
        self._decoder_length = inputs[key].shape[1]
        labels = inputs.get("labels")
        self._unknown_decoder = isinstance(labels, torch.Tensor) and bool((labels == -100).any())

    def _are_targets(self, inputs: Mapping[str, Any]) -> bool:
        """Whether labels are those of a decoder of its own, and not of the tokens that went in."""
        ids = inputs.get("input_ids")
        return not isinstance(ids, torch.Tensor) or tuple(ids.shape) != tuple(inputs["labels"].shape)

    @property
    def any(self) -> bool:
        """Whether there is a mask."""
        return self._main is not None or self._decoder is not None

    def of(self, name: str, shape: tuple[int, ...], args: tuple[Any, ...]) -> np.ndarray | None:
        """The mask for a layer of tokens (n, tokens, features); None if all of them count.

        Raises
        ------
        ExtractionError
            There is padding, and no mask that fits.
        """
        if self._is_said and self._main is not None and len(self._main.kept) != shape[0]:
            raise ExtractionError(
                f"mask= returns {tuple(self._main.kept.shape)} for a batch of {shape[0]} examples; expected (n, tokens)."
            )
        candidates = [mask for mask in (self._main, self._decoder) if mask is not None and mask.kept.shape == shape[:2]]
        decodes = "decoder" in name.split(".") and not (
            args and isinstance(args[0], torch.Tensor) and args[0].data_ptr() in self.from_encoder
        )
        if self._decoder_length is not None and shape[1] == self._decoder_length and (decodes or not candidates):
            if self._unknown_decoder:
                raise ExtractionError(
                    f"{shown(name)} is a layer of a decoder, whose labels have padding (-100), and the batch has no "
                    "decoder_attention_mask, so that its padding cannot be left out. Put one into the batch, or give "
                    "mask=."
                )
            return None
        if len(candidates) == 2:
            candidates = [candidates[1] if decodes else candidates[0]]
        if candidates:
            return candidates[0].kept if candidates[0].pads else None
        padded = [mask for mask in (self._main, self._decoder) if mask is not None and mask.pads]
        if padded:
            raise ExtractionError(
                f"{shown(name)} has shape {shape}, and the mask of the batch, {padded[0].key}, is for "
                f"{tuple(padded[0].kept.shape)}: it does not say which of these {shape[1]} are padding. Give mask= a "
                "function of the batch that returns a mask (n, tokens) of this length; pool= a function; or, if all of "
                "them count, mask=False."
            )
        return None


def _first(inputs: Mapping[str, Any], keys: Mapping[str, bool], keep: int | None) -> Mask | None:
    key = next((key for key in keys if inputs.get(key) is not None), None)
    return None if key is None else _mask(inputs[key], key, keys[key], keep)


def _mask(found: Any, key: str, keeps: bool, keep: int | None) -> Mask:
    if isinstance(found, torch.Tensor):
        found = found.detach().cpu()
        found = found.float() if found.is_floating_point() else found  # NumPy has no bfloat16
    values = np.asarray(found)
    if values.ndim != 2:
        raise ExtractionError(
            f"{key} has shape {values.shape}; expected (n, tokens). Give mask= a function of the batch that returns that, "
            "or mask=False if all tokens count."
        )
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ExtractionError(
            f"{key} holds other numbers than 0 and 1; expected True or 1 for what counts. Give mask= a function."
        )
    values = values != 0
    return Mask((values if keeps else ~values)[:keep], key)
