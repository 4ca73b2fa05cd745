"""From two models and data to the similarity of their layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed

from simkit.errors import ExtractionError
from simkit.matrix import SimilarityMatrix
from simkit.progress import track
from simkit.registry import get_index
from simkit.scale.projection import RandomProjection
from simkit.text import shown
from simkit.torch.batches import Batches, is_shuffled
from simkit.torch.collecting import Collector
from simkit.torch.devices import asked_device, on_device
from simkit.torch.extraction import joined
from simkit.torch.extractor import Extractor
from simkit.torch.masks import MaskOption
from simkit.torch.passes import Pass, ready
from simkit.torch.selection import listed

if TYPE_CHECKING:
    from simkit.index import Index

__all__ = ["compare_models"]


class _AsForA:
    """The default of what is said of `b`."""

    def __repr__(self) -> str:
        return "<as for a>"


_SAME: Any = _AsForA()
Rows = dict[str, torch.Tensor]


def compare_models(
    a: torch.nn.Module,
    b: torch.nn.Module | Mapping[str, torch.Tensor] | None = None,
    data: Any = None,
    *,
    layers: Any = None,
    layers_b: Any = _SAME,
    index: str | Index[Any] | type[Index[Any]] = "cka",
    pool: Any = None,
    pool_b: Any = _SAME,
    channels: Any = None,
    channels_b: Any = _SAME,
    mask: MaskOption = None,
    mask_b: Any = _SAME,
    forward: Callable[[Any, Any], Any] | None = None,
    forward_b: Any = _SAME,
    data_b: Any = None,
    state: Mapping[str, torch.Tensor] | None = None,
    correspond: bool = False,
    projection: RandomProjection | None = None,
    batch_size: int = 64,
    device: Any = None,
    max_bytes: int = 2**32,
    progress: bool | None = None,
    **parameters: Any,
) -> SimilarityMatrix:
    """Similarity of the layers of two models, or of one with itself or with another checkpoint, for some data, in one pass.

    Models run and are left as in `simkit.torch.activations`, which has more about layers, rules and batches.

    Parameters
    ----------
    a : torch.nn.Module
    b : torch.nn.Module, mapping of str to tensor, or None
        Another model; a checkpoint (a ``state_dict``) of `a`; or None for `a` with itself.
    data : DataLoader, iterable of batches, tensor, mapping of tensors, or Dataset
        Each batch goes through both models.
    layers, pool, channels, mask, forward
        As in `simkit.torch.activations`, of `a`; and of `b` if nothing else is said.
    layers_b, pool_b, channels_b, mask_b, forward_b
        Of `b`, where they are others.
    index : str, Index or type
        As in `simkit.compare`, with its parameters as further keywords.
    data_b : like `data`, optional
        The same examples in the same order as `b` takes them, by another tokeniser or transform. Batches may be cut
        otherwise.
    state : mapping of str to tensor, optional
        As in `simkit.torch.activations`, of `a`, also where it is compared with itself.
    correspond : bool
        With ``pool="positions"`` or ``"tokens"``: the caller knows that they are the same in both models. Numbers are
        checked.
    projection : RandomProjection, optional
        As in `simkit.stream`: an approximation for layers that are too wide.
    batch_size : int
        For data that are no batches yet.
    device : str or torch.device, optional
        Where the comparison is computed. Default: where the first layer of `a` is.
    max_bytes : int
        The largest joint scatter matrix that may be made, as in `simkit.stream`.
    progress : bool, optional
        Show a progress bar; by default in terminals and notebooks. See `simkit.set_options`.
    **parameters
        Parameters of the index.

    Returns
    -------
    SimilarityMatrix
        Rows are the layers of `a`, columns those of `b`, in the order in which they ran. ``details`` has the models, the
        rule of each layer and the fingerprint of the inputs.

    Raises
    ------
    ExtractionError
        As `activations`; sides that do not have the same examples; positions that are not said to correspond.
    TooLargeError
        The layers can neither be kept nor summed; the message says what works.
    SimkitError
        As `simkit.pairwise`.

    Notes
    -----
    Activations are kept while they are the smaller: n examples of P features take n P numbers. Once the P x P sums of
    `simkit.stream` are smaller, the index has such sums and they take no more than `max_bytes`, they go on as a stream.
    The scores are the same up to rounding. ``estimator="minibatch"`` compares examples within each batch only; a last batch
    of fewer than 4 joins the one before.

    In a `torch.distributed` group, with a `DistributedSampler`, each process takes its share, repeats are left out, and
    all of them get the matrix of all examples.

    Examples
    --------
    >>> import torch, simkit
    >>> _ = torch.manual_seed(0)
    >>> a, b = (torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)) for _ in range(2))
    >>> simkit.torch.compare_models(a, b, torch.randn(100, 8), estimator="unbiased").shape
    (3, 3)
    """
    chosen = get_index(index, **parameters)
    if data is None:
        raise ExtractionError(
            "data is missing: compare_models(a, b, data), where b is another model, a checkpoint of a, or None."
        )
    if not isinstance(correspond, bool):
        raise ExtractionError(f"correspond is {shown(correspond)}; expected True or False.")
    if isinstance(layers, Iterator):
        layers = list(layers)  # which are looked for in both models
    first = {"layers": layers, "pool": pool, "channels": channels, "mask": mask, "forward": forward}
    second = {"layers": layers_b, "pool": pool_b, "channels": channels_b, "mask": mask_b, "forward": forward_b}
    second = {name: first[name] if value is _SAME else value for name, value in second.items()}
    one = Extractor(a, state=state, called="a", **first)
    if isinstance(b, Mapping) and not isinstance(b, torch.nn.Module):
        two = Extractor(a, state=b, side="_b", **second)
    else:
        of_a = b is None or b is a
        two = Extractor(a if of_a else b, state=state if of_a else None, side="_b", called="b", **second)
    if data_b is data:
        data_b = None
    is_one = two.runs_like(one) and data_b is None and all(second[k] is first[k] for k in first)
    where = asked_device(device)
    extractors = [one] if is_one else [one, two]
    with ready(extractors):
        passes = _passes(extractors, data, data_b, batch_size)
        for way in passes:
            way.probe()
        _check_corresponding(extractors, correspond)
        counts = [way.data.examples for way in passes]
        if None not in counts and len(set(counts)) > 1:
            raise ExtractionError(
                f"data has {counts[0]} examples and data_b {counts[1]}; expected the same examples in the same order."
            )
        collector = Collector(
            chosen,
            max_bytes=max_bytes,
            projection=projection,
            replicas=_replicas(passes),
            examples=counts[0],
        )
        widths = [extractor.width for extractor in extractors]
        collector.announce(None if None in widths else sum(w or 0 for w in widths), where or one.device)
        what = f"{one.name} and {'itself' if is_one else two.name}"
        with track(passes[0].data.steps, f"{what}: {chosen}", progress) as advance:
            for sides in _in_step(passes):
                collector.add(on_device(sides, where or next(iter(sides[0].values())).device))
                advance()
        matrix = collector.matrix()
    prints = [way.print.hex for way in passes] * (1 if len(passes) == 2 else 2)
    details = dict(matrix.details)
    details["collected"] = collector.route
    for side, extractor, fingerprint in zip(("rows", "columns"), (one, one if is_one else two), prints, strict=True):
        details[side] = {"model": extractor.name, "rules": extractor.rules, "fingerprint": fingerprint}
    return replace(matrix, details=details)


def _passes(extractors: list[Extractor], data: Any, data_b: Any, batch_size: int) -> list[Pass]:
    if data_b is None:
        return [Pass(extractors, Batches(data, batch_size))]
    for what, given in (("data", data), ("data_b", data_b)):
        if is_shuffled(given):
            raise ExtractionError(
                f"{what} is a loader that shuffles, so its examples are not those of the other in the same order. Give "
                "loaders with shuffle=False."
            )
    both = [Batches(given, batch_size, what) for given, what in ((data, "data"), (data_b, "data_b"))]
    return [Pass([extractor], given) for extractor, given in zip(extractors, both, strict=True)]


def _replicas(passes: list[Pass]) -> int:
    """Over how many processes the examples are dealt out."""
    found = {way.data.replicas for way in passes}
    if len(found) > 1:
        raise ExtractionError(
            "data and data_b are dealt out over different numbers of processes by their DistributedSampler."
        )
    is_group = torch.distributed.is_available() and torch.distributed.is_initialized()
    return found.pop() if is_group else 1


def _check_corresponding(extractors: list[Extractor], correspond: bool) -> None:
    unfolding = [label for extractor in extractors for label in extractor.unfolding]
    if unfolding and not correspond:
        raise ExtractionError(
            f"Positions or tokens of {listed(unfolding, 4)} are to be the examples. Row i of all layers must then be the "
            "same position of the same example, which nobody can see: two tokenisers, strides or crops give others. If "
            'you know that they correspond, say correspond=True; else pool="mean".'
        )


def _in_step(passes: list[Pass]) -> Iterator[list[Rows]]:
    """Batches of all sides with the same examples, cut as those of the first."""
    if len(passes) == 1:
        yield from passes[0]
        return
    first, second = passes
    waiting: list[Rows] = []
    others = iter(second)
    for (rows,) in first:
        wanted = first.examples
        while second.examples < wanted:
            found = next(others, None)
            if found is None:
                raise ExtractionError(
                    f"data_b ends after {second.examples} examples, and data goes on; expected the same examples."
                )
            waiting.append(found[0])
        taken, left = _cut(waiting, _count(rows))
        waiting = [left] if left else []
        yield [rows, taken]
    if waiting or next(others, None) is not None:
        raise ExtractionError(f"data ends after {first.examples} examples, and data_b goes on; expected the same examples.")


def _count(rows: Rows) -> int:
    return next(iter(rows.values())).shape[0]


def _cut(waiting: list[Rows], count: int) -> tuple[Rows, Rows | None]:
    """The first `count` rows of what waits, and the rest."""
    whole = {label: joined(label, [rows[label] for rows in waiting]) for label in waiting[0]}
    if _count(whole) < count:
        raise ExtractionError(
            f"Layers of the second model have {_count(whole)} rows where those of the first have {count}, of the same "
            'examples: positions or tokens that are examples must be as many in both. pool="mean" gives one row for each '
            "example."
        )
    left = {label: x[count:].clone() for label, x in whole.items()}
    return {label: x[:count] for label, x in whole.items()}, left if _count(left) else None
