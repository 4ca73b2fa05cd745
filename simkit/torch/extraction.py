"""From a model and data to a matrix of examples by features for each layer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, overload

import torch

from simkit.errors import ExtractionError
from simkit.features import StoredActivations
from simkit.memory import refuse_if_too_large
from simkit.progress import track
from simkit.torch.batches import Batches
from simkit.torch.devices import asked_device, free_bytes, is_cuda, on_device
from simkit.torch.extractor import Extractor
from simkit.torch.masks import MaskOption
from simkit.torch.passes import Pass, ready
from simkit.torch.results import Activations
from simkit.torch.saving import save_activations

__all__ = ["activations"]


@overload
def activations(
    model: torch.nn.Module,
    data: Any,
    layers: Any = ...,
    pool: Any = ...,
    *,
    channels: Any = ...,
    mask: MaskOption = ...,
    forward: Callable[[Any, Any], Any] | None = ...,
    state: Any = ...,
    batch_size: int = ...,
    device: Any = ...,
    out: None = ...,
    resume: bool = ...,
    force: bool = ...,
    progress: bool | None = ...,
) -> Activations: ...


@overload
def activations(
    model: torch.nn.Module,
    data: Any,
    layers: Any = ...,
    pool: Any = ...,
    *,
    channels: Any = ...,
    mask: MaskOption = ...,
    forward: Callable[[Any, Any], Any] | None = ...,
    state: Any = ...,
    batch_size: int = ...,
    device: Any = ...,
    out: str | os.PathLike[str],
    resume: bool = ...,
    force: bool = ...,
    progress: bool | None = ...,
) -> StoredActivations: ...


def activations(
    model: torch.nn.Module,
    data: Any,
    layers: Any = None,
    pool: Any = None,
    *,
    channels: Any = None,
    mask: MaskOption = None,
    forward: Callable[[Any, Any], Any] | None = None,
    state: Any = None,
    batch_size: int = 64,
    device: Any = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = True,
    force: bool = False,
    progress: bool | None = None,
) -> Activations | StoredActivations:
    """The activations of layers of a model for some data, as matrices of examples by features.

    The model runs in eval mode and without gradients, and is left as it was: modes of all modules, hooks, buffers, the
    random numbers of PyTorch and its settings, also after an exception.

    Parameters
    ----------
    model : torch.nn.Module
        In ``DataParallel``, ``DistributedDataParallel`` or after `torch.compile` the module inside runs, whose numbers are
        the same; FSDP stays as it is.
    data : DataLoader, iterable of batches, tensor, mapping of tensors, or Dataset
        A batch is a tensor, a tuple or list whose first item is the input, or a mapping, which is passed as keywords;
        examples come first in all. Tensors, mappings of tensors and datasets are cut into batches of `batch_size`. Batches
        are moved to where the model is. The repeats by which a `DistributedSampler` fills up its last round are left out.
    layers : str, re.Pattern, type, int, callable, or a sequence of these, optional
        Which layers. Default: every module without children.

        - a name, or a glob: ``*`` and ``?`` stay within one part of a dotted name, ``**`` crosses parts. ``"blocks.*"``
          are the blocks, ``"blocks.**"`` is all that is inside, ``"**.attn"`` are all called so. ``"!..."`` leaves out
          what it matches; ``"relu#2"`` is the second call of ``relu`` alone;
        - a compiled regular expression that matches the whole name;
        - a class or a tuple of classes of modules; a module, itself; a depth, 1 for the children of the model and 0 for the
          model, ``"(model)"``;
        - a function of name and module that says whether it is wanted.
    pool : str, callable, or mapping of selectors to these, optional
        How outputs of more than two axes become examples by features, as in `simkit.examples`. Outputs (n, p) need none.

        - ``"mean"``, ``"max"``: over the positions of maps, over the tokens of sequences that are no padding;
        - ``"flatten"``: each unit at each position is a feature;
        - ``"cls"``, ``"last"``: the first or the last token of a sequence that is no padding;
        - ``"positions"``, ``"tokens"``: each one is an example;
        - a function of the output (n, ...) that returns a matrix;
        - ``"auto"``: the mean, over positions or tokens, by what the layer is;
        - a mapping of names, globs, regular expressions or types to these: the first that matches a layer counts.
    channels : {"first", "last"}, or mapping of selectors to these, optional
        Where the features of maps are. Default: first in what convolutions, their norms and pooling give, last in what
        linear layers, layer norms and attention give, and in other modules as in those of these that took or gave the same
        shape.
    mask : callable or False, optional
        A function of the batch that returns 1 or True for the tokens that count, shape (n, tokens); False if padding
        counts as tokens. Default: the ``attention_mask`` of the batch (for decoders ``decoder_attention_mask``, for
        PyTorch's own Transformers what the key padding masks leave). A mask is for layers of its length; another length is
        an error where there is padding.
    forward : callable, optional
        A function of the model and a batch that runs it, for batches of other kinds.
    state : mapping of str to tensor, optional
        A checkpoint, a ``state_dict`` of the same model, with which it computes.
    batch_size : int
        For data that are no batches yet.
    device : str or torch.device, optional
        Where the result lies, ``"cpu"`` for the host. Default: where the layers compute.
    out : str or path, optional
        Write them batch by batch into this folder, ``.zarr`` or ``.safetensors``, and keep none (`simkit.features`).
    resume : bool
        With `out`: go on with a store that is not finished after its last batch. The data must come in the same order.
    force : bool
        With `out`: replace the store that is there.
    progress : bool, optional
        Show a progress bar; by default in terminals and notebooks. See `simkit.set_options`.

    Returns
    -------
    Activations
        A dictionary of layer name to tensor (n, p), in the order in which layers ran first, in the precision in which they
        computed; means of half precision in float32. A module that runs twice is there as ``name`` and ``name#2``. ``rules``
        says how each came about.
    StoredActivations
        With `out`: a mapping of layer name to NumPy array, each of which is read when it is asked for.

    Raises
    ------
    ExtractionError
        Layers, batches or rules that do not fit; before the pass, wherever that can be known.
    TooLargeError
        The activations do not fit into memory.
    FileExistsError
        `out` is finished activations, and `force` is false, or it is something else.
    InvalidArrayError
        `out` was begun with other data, another model or other settings.

    Warns
    -----
    ExtractionWarning
        Without `layers`, some modules are left out: never called, or without the examples on their first axis.

    Notes
    -----
    Of outputs with several tensors ``last_hidden_state`` counts, else the first that has the examples on its first axis
    (on the second, of modules of PyTorch with ``batch_first=False``); ``rules`` says which. Packed sequences come back
    padded, with their own mask.

    A few examples are run first, to know the layers, their order and their shapes.

    Examples
    --------
    >>> import torch, simkit
    >>> nn = torch.nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(288, 10))
    >>> images = torch.randn(20, 3, 8, 8)
    >>> found = simkit.torch.activations(model, images, layers=["0", "1", "3"], pool="mean")
    >>> {name: tuple(x.shape) for name, x in found.items()}
    {'0': (20, 8), '1': (20, 8), '3': (20, 10)}
    >>> found.rules["1"]
    'mean over 6 x 6 positions, channels first'
    """
    extractor = Extractor(model, layers, pool=pool, channels=channels, mask=mask, forward=forward, state=state)
    where = asked_device(device)
    parts: dict[str, list[torch.Tensor]] = {}
    with ready([extractor]):
        way = Pass([extractor], Batches(data, batch_size))
        way.probe()
        if out is not None:
            asked = {"layers": layers, "pool": pool, "channels": channels, "mask": mask, "forward": forward}
            return save_activations(extractor, way, out, asked=asked, resume=resume, force=force, progress=progress)
        if extractor.width is not None and way.data.examples is not None:
            _check_fits(way.data.examples, extractor.width, where or extractor.device)
        with track(way.data.steps, f"activations of {extractor.name}", progress) as advance:
            for sides in way:
                (rows,) = on_device(sides, where)
                for label, x in rows.items():
                    parts.setdefault(label, []).append(x)
                advance()
    return Activations(
        {label: joined(label, parts.pop(label)) for label in list(parts)},
        rules=extractor.rules,
        fingerprint=way.print.hex,
        model=extractor.name,
    )


def joined(label: str, parts: list[torch.Tensor]) -> torch.Tensor:
    """The rows of all batches of a layer.

    Raises
    ------
    ExtractionError
        Their numbers of features differ.
    """
    widths = {x.shape[1] for x in parts}
    if len(widths) > 1:
        raise ExtractionError(
            f"{label!r} gives different numbers of features from batch to batch, {', '.join(map(str, sorted(widths)))}: "
            'are lengths of sequences or sizes of maps flattened? pool="mean" gives the same number for all.'
        )
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _check_fits(examples: int, width: int, device: torch.device | None) -> None:
    refuse_if_too_large(
        4 * examples * width,
        f"Activations of {examples} examples, {width} features in all",
        'What works, in this order: pool="mean", fewer layers at a time, or simkit.torch.compare_models, which keeps no '
        "activations" + (', or device="cpu".' if is_cuda(device) else "."),
        lambda: free_bytes(device),
    )
