"""From a model to activations on disk, and on from where that was interrupted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import torch

from simkit.features import ActivationWriter, StoredActivations, open_activations
from simkit.progress import track
from simkit.text import printable
from simkit.torch.extractor import Extractor
from simkit.torch.passes import Pass
from simkit.torch.weights import weights_fingerprint

__all__ = ["save_activations"]


def save_activations(
    extractor: Extractor,
    way: Pass,
    out: str | os.PathLike[str],
    *,
    asked: Mapping[str, Any],
    resume: bool,
    force: bool,
    progress: bool | None,
) -> StoredActivations:
    """Write the layers of all batches that are not in the store yet; the model is ready and has been probed.

    Parameters
    ----------
    asked : mapping
        What the activations were asked for with; a store is continued with the same only.
    """
    with ActivationWriter(
        out,
        model=extractor.name,
        weights=weights_fingerprint(extractor.model, extractor.state),
        settings={name: _worded(value) for name, value in asked.items() if value is not None},
        versions={"torch": torch.__version__},
        resume=resume,
        force=force,
    ) as store:
        way.skip = store.skip
        with track(way.data.steps, f"activations of {extractor.name}", progress) as advance:
            for (rows,) in way:
                if rows:  # none of a batch that is there already
                    store.append(rows, rules=extractor.rules)
                advance()
    return open_activations(store.path)


def _worded(value: Any) -> Any:
    """A setting in terms of JSON, the same in another process."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {printable(_worded(key)): _worded(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_worded(item) for item in value]
    if isinstance(value, re.Pattern):
        return f"re.compile({value.pattern!r})"
    return getattr(value, "__qualname__", type(value).__qualname__)
