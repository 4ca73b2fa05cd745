"""One model, its layers and their rules: from a batch to a matrix for each layer."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from simkit.arrays import warn_caller
from simkit.errors import ExtractionError, ExtractionWarning
from simkit.spec import check_choice
from simkit.text import shown
from simkit.torch import batches
from simkit.torch.devices import device_of
from simkit.torch.layouts import Evidence, Layout, examples_axes, layout_of
from simkit.torch.masks import MaskOption, Masks
from simkit.torch.outputs import Output, output_of
from simkit.torch.patterns import check_selector
from simkit.torch.restoring import checked_state, left_as_found, with_state
from simkit.torch.rules import AS_IT_IS, Rule, check_pool, check_used, for_layer, rule_of, rules_in_words
from simkit.torch.selection import Selection, listed, select
from simkit.torch.wrappers import named_modules, unwrapped

__all__ = ["Extractor", "extract"]

_FEW = 3  # examples that tell the shapes
_RAN = "it ran"


@dataclass(frozen=True)
class _Seen:
    """What one call of a module gave on a few examples, and what is made of it."""

    module: nn.Module
    shape: tuple[int, ...]  # examples first
    axis: int
    place: str
    has_lengths: bool
    layout: Layout | None
    rule: Rule = AS_IT_IS

    @property
    def width(self) -> int | None:
        """The number of features; None if a function decides."""
        if callable(self.rule.pool):
            return None
        if self.rule.pool in ("as it is", "flatten"):
            return math.prod(self.shape[1:])
        return self.shape[1] if self.rule.channels == "first" else self.shape[-1]


class Extractor:
    """The layers of one model.

    Parameters
    ----------
    model : Module
    layers, pool, channels, mask, forward, state
        As in `simkit.torch.activations`.
    side : str
        Of names of parameters in messages: ``"_b"`` for the second model.
    called : str
        What the caller calls the model, in messages.

    Attributes
    ----------
    seen : dict of str to _Seen
        The layers in the order in which they ran; known after `probe`.
    """

    def __init__(
        self,
        model: Any,
        layers: Any = None,
        *,
        pool: Any = None,
        channels: Any = None,
        mask: MaskOption = None,
        forward: Callable[[Any, Any], Any] | None = None,
        state: Any = None,
        side: str = "",
        called: str = "model",
    ) -> None:
        self.side = side
        self.model = unwrapped(model, called)
        check_pool(pool, f"pool{side}")
        _check_channels(channels, f"channels{side}")
        if not (mask is None or mask is False or callable(mask)):
            raise ExtractionError(
                f"mask{side} is {shown(mask)}; expected a function of the batch that returns a mask (n, tokens), False if "
                "padding counts, or None for the attention mask of the batch."
            )
        if forward is not None and not callable(forward):
            raise ExtractionError(f"forward{side} is {shown(forward)}; expected a function of the model and a batch.")
        self.pool, self.channels, self.mask, self.forward = pool, channels, mask, forward
        self._given_state = state
        self.state = checked_state(self.model, state, f"state{side}")
        self.selection: Selection = select(self.model, layers, f"layers{side}")
        self.device = device_of(self.model)
        self.axes = examples_axes(self.model.modules())
        self.seen: dict[str, _Seen] = {}
        self.writes_inputs = False

    @property
    def name(self) -> str:
        """The class of the model."""
        return type(self.model).__name__

    @property
    def rules(self) -> dict[str, str]:
        """The rule of each layer in words."""
        return {label: seen.rule.words for label, seen in self.seen.items()}

    @property
    def unfolding(self) -> list[str]:
        """The layers whose positions or tokens become examples."""
        return [label for label, seen in self.seen.items() if seen.rule.unfolds]

    @property
    def width(self) -> int | None:
        """The number of features of all layers; None if a function decides."""
        widths = [seen.width for seen in self.seen.values()]
        return None if None in widths else sum(width or 0 for width in widths)

    def runs_like(self, other: Extractor) -> bool:
        """Whether one run of the model gives the layers of both."""
        return self.model is other.model and self._given_state is other._given_state and self.forward is other.forward

    def ready(self) -> contextlib.AbstractContextManager[None]:
        """Within, the model may be run."""
        return left_as_found(self.model)

    # --- before the pass ------------------------------------------------------------------------------------------------

    def probe(self, batch: Any) -> None:
        """Run a few examples, to know which layers there are, in which order and shape, and to choose their rules.

        Raises
        ------
        ExtractionError
            Layers that never ran, that give no tensor with the examples, or that have no rule.

        Warns
        -----
        ExtractionWarning
            Such layers are left out, where nobody asked for certain ones.
        """
        n = batches.size_of(batch)
        if n == 0:
            raise ExtractionError("The first batch has no examples.")
        few = None if n is None or self.forward is not None else batches.first_few(batch, n, _FEW)
        given = batches.clone(batch) if few is None else few
        n = n if few is None or n is None else min(n, _FEW)
        given = batches.moved(given, self.device)
        versions = _versions(given)
        found, without, evidence = self._look(given, n)
        self.writes_inputs = versions != _versions(given)
        self._refuse_or_leave_out(found, without)
        self._choose_rules(found, evidence, batch)

    def _look(self, batch: Any, n: int | None) -> tuple[dict[str, _Seen], dict[str, str], Evidence]:
        """What each wanted call gave, what has no tensor with the examples, and what modules of known kinds gave."""
        found: dict[str, _Seen] = {}
        without: dict[str, str] = {}
        evidence = Evidence()
        calls: dict[nn.Module, int] = {}
        sequence_first = 1 in self.axes.values()

        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            axis = self.axes.get(module, 0)
            out = output_of(output, n, axis)
            if out.tensor is None and sequence_first and module not in self.axes:
                other = output_of(output, n, 1)
                if other.tensor is not None and other.tensor.ndim > 2:
                    out, axis = other, 1
            if out.tensor is not None:
                evidence.add(module, args, out.tensor)
            if module not in self.selection.names:
                return
            calls[module] = call = calls.get(module, 0) + 1
            if not self.selection.wants(module, call):
                return
            label = self.selection.label(module, call)
            if out.tensor is None:
                without[label] = out.found or f"a {type(output).__name__} without a tensor"
                return
            x = _examples_first(out, axis)
            if sequence_first and module not in self.axes and x.ndim > 2 and x.shape[0] == x.shape[1]:
                without[label] = (
                    f"{out.found}, of which the first or the second axis may be the examples: try another batch size"
                )
                return
            found[label] = _Seen(
                module, tuple(x.shape), axis, out.place, out.lengths is not None, layout_of(module, tuple(x.shape))
            )

        with contextlib.ExitStack() as stack:
            for module in set(self.model.modules()):
                stack.callback(module.register_forward_hook(hook).remove)
            self._run(batch)
        for module in self.selection.names:
            wanted = self.selection.calls.get(module, {1})
            for call in sorted(wanted):
                if calls.get(module, 0) < call:
                    label = self.selection.label(module, call)
                    without[label] = "" if not calls.get(module) else f"{_RAN} {_times(calls[module])}"
        return found, without, evidence

    def _refuse_or_leave_out(self, found: dict[str, _Seen], without: dict[str, str]) -> None:
        never = [label for label, why in without.items() if not why]
        other = {label: why for label, why in without.items() if why}
        what = f"layers{self.side}"
        if self.selection.is_default:
            weighty = [label for label in never if self._has_weights_of_its_own(label)]
            if weighty:
                raise ExtractionError(
                    f"{self.name} has layers with parameters that never ran on the first batch: {listed(weighty)}. Are "
                    "these the right inputs? To leave them out: "
                    f"{what}={['!' + label for label in weighty[:4]]}{' and so on' if len(weighty) > 4 else ''}."
                )
            if without and found:
                told = [f"never called: {listed(never)}"] if never else []
                told += [f"without the examples on the first axis: {listed(list(other))}"] if other else []
                warn_caller(
                    f"Of the modules of {self.name} without children {len(without)} are left out; {'; '.join(told)}. Name "
                    f"the {what} that you want, and this is not said.",
                    ExtractionWarning,
                )
            if found:
                return
        if never:
            raise ExtractionError(
                f"{what}: {len(never)} of the layers never ran on the first batch: {listed(never)}. A module runs when it "
                "is called; its parent may use its parameters directly, or skip it in eval mode. Leave it out: add "
                f"{', '.join(repr('!' + label) for label in never[:4])}{' and so on' if len(never) > 4 else ''} to {what}."
            )
        fewer = {label: why for label, why in other.items() if why.startswith(_RAN)}
        if fewer:
            asked = ", ".join(f"{label!r}, but {why}" for label, why in list(fewer.items())[:4])
            raise ExtractionError(f"{what}: no such call of a layer. You asked for {asked} on the first batch.")
        if other:
            label, why = next(iter(other.items()))
            more = f" (and {len(other) - 1} more: {listed(list(other)[1:])})" if len(other) > 1 else ""
            raise ExtractionError(
                f"{what}: {shown(label)} gave {why}{more}; expected a tensor whose first axis is the examples of the "
                "batch, or for recurrent and attention modules with batch_first=False the second. Where windows, heads or "
                "experts are computed as further examples, take the module around them. Batches have their examples "
                "first: for a model that takes sequences first, forward=lambda model, batch: model(batch.transpose(0, 1))."
            )

    def _has_weights_of_its_own(self, label: str) -> bool:
        """Whether a layer that never ran has parameters that no other module has."""
        modules = named_modules(self.model)
        module = modules.get(label)
        own = set(map(id, module.parameters())) if module is not None else set()
        others = {
            id(parameter)
            for other in set(modules.values()) - ({module} if module is not None else set())
            for parameter in other.parameters(recurse=False)
        }
        return bool(own - others)

    def _choose_rules(self, found: dict[str, _Seen], evidence: Evidence, batch: Any) -> None:
        used_pools: set[Any] = set()
        used_channels: set[Any] = set()
        missing: dict[str, dict[str, tuple[int, ...]]] = {}
        has_mask = Masks(batch, _inputs_or_none(batch, self.forward), self.mask).any
        for label, seen in found.items():
            pool = for_layer(self.pool, label, seen.module, used_pools)
            channels = for_layer(self.channels, label, seen.module, used_channels)
            layout = seen.layout or evidence.layout(seen.shape)
            rule = rule_of(pool, seen.shape, layout, channels, has_mask=has_mask or seen.has_lengths, place=seen.place)
            if isinstance(rule, str):
                missing.setdefault(rule, {})[label] = seen.shape
            else:
                self.seen[label] = replace(seen, rule=rule)
        check_used(self.pool, used_pools, f"pool{self.side}", list(found))
        check_used(self.channels, used_channels, f"channels{self.side}", list(found))
        for kind, layers in missing.items():
            self._refuse(kind, layers)

    def _refuse(self, kind: str, layers: dict[str, tuple[int, ...]]) -> None:
        label, shape = next(iter(layers.items()))
        shapes = listed([f"{label} (n, {', '.join(map(str, shape[1:]))})" for label, shape in layers.items()], 6)
        if kind == "rule":
            raise ExtractionError(
                f"{len(layers)} of the layers give more than (n, p), and no rule says what an example is and what its "
                f"features are: {shapes}. pool{self.side}= one of {rules_in_words()}"
            )
        if kind == "tokens":
            raise ExtractionError(
                f'pool{self.side}: "cls", "last" and "tokens" are for sequences (n, tokens, features), and these are none: '
                f'{shapes}. For maps choose "mean", "max", "flatten" or "positions"; a mapping of patterns gives each '
                "layer its own."
            )
        places, maps = "(n, c, h, w), or last, (n, h, w, c)", "images of another size"
        if len(shape) == 3:
            places, maps = "(n, channels, length), or last, (n, tokens, features)", "inputs of another length"
        same = f" With {maps}, where the two differ, modules may tell." if shape[1] == shape[-1] else ""
        raise ExtractionError(
            f"Neither these modules nor their neighbours tell whether the features are first, {places}: {shapes}. Say it "
            f"for each: channels{self.side}={{{label!r}: 'first'}} for {shape[1]} features, 'last' for {shape[-1]}; "
            f'patterns work as for layers.{same} pool="flatten" does not need to know.'
        )

    # --- the pass -------------------------------------------------------------------------------------------------------

    def _run(self, batch: Any) -> None:
        try:
            with with_state(self.model, self.state):
                batches.run(self.model, batch, self.forward)
        except ExtractionError:
            raise
        except Exception as error:
            error.add_note(f"This is an error of {self.name} itself, as simkit ran it on {_shapes(batch)}.")
            raise

    def matrix(
        self, label: str, output: Any, *, args: tuple[Any, ...], n: int | None, masks: Masks, keep: int | None
    ) -> torch.Tensor:
        """What the rule of a layer makes of an output.

        Raises
        ------
        ExtractionError
            The output is of another kind than on the first batch.
        """
        seen = self.seen[label]
        out = output_of(output, n, seen.axis)
        if out.tensor is None:
            raise ExtractionError(
                f"{shown(label)} gave {out.found or type(output).__name__} for a batch of {n} examples; expected {n} on "
                f"axis {seen.axis}."
            )
        if out.place.partition(" of ")[0] != seen.place.partition(" of ")[0]:
            raise ExtractionError(
                f"{shown(label)} has its examples in {out.place or 'its output'} for a batch of {n}, and in "
                f"{seen.place or 'its output'} on the first examples. Take the module that makes the tensor you mean."
            )
        x = _examples_first(out, seen.axis)[:keep]
        if x.ndim != len(seen.shape):
            raise ExtractionError(
                f"{shown(label)} gave {tuple(x.shape)}, and on the first batch {seen.shape}; expected as many axes."
            )
        if x.is_complex() and not callable(seen.rule.pool):
            raise ExtractionError(
                f"{shown(label)} gives complex numbers; make real ones of them: pool={{{label!r}: lambda x: ...}}."
            )
        mask = None
        if x.ndim == 3 and seen.rule.takes_mask:
            if out.lengths is not None:
                mask = (torch.arange(x.shape[1])[None, :] < out.lengths[:keep, None]).numpy()
            else:
                mask = masks.of(label, tuple(x.shape), args)
        return seen.rule.apply(x, mask, label)


def extract(extractors: Sequence[Extractor], batch: Any, keep: int | None = None) -> list[dict[str, torch.Tensor]]:
    """The layers of some extractors of one model that `runs_like` each other, from one run.

    Parameters
    ----------
    extractors : sequence of Extractor
        Probed and ready.
    batch : object
    keep : int, optional
        How many of the examples count, from the first.

    Returns
    -------
    list of dict of str to Tensor, shapes (m, p)
        For each extractor, in the order of its layers; on the device of the layer.
    """
    head = extractors[0]
    n = batches.size_of(batch)
    moved = batches.moved(batches.clone(batch) if head.writes_inputs else batch, head.device)
    inputs = _inputs_or_none(batch, head.forward)
    found: list[dict[str, torch.Tensor]] = [{} for _ in extractors]
    with contextlib.ExitStack() as stack:
        for extractor, rows in zip(extractors, found, strict=True):
            masks = Masks(batch, inputs, extractor.mask, keep)
            for module, hook in _hooks(extractor, rows, n, masks, keep):
                stack.callback(module.register_forward_hook(hook).remove)
        head._run(moved)
    for extractor, rows in zip(extractors, found, strict=True):
        missing = [label for label in extractor.seen if label not in rows]
        if missing:
            raise ExtractionError(
                f"Layers that ran on the first batch did not run on a later one: {listed(missing)}. Which layers run must "
                "not depend on the examples; choose layers that always do."
            )
    return [{label: rows[label] for label in extractor.seen} for extractor, rows in zip(extractors, found, strict=True)]


def _hooks(
    extractor: Extractor, rows: dict[str, torch.Tensor], n: int | None, masks: Masks, keep: int | None
) -> Iterator[tuple[nn.Module, Any]]:
    calls: dict[nn.Module, int] = {}
    selection = extractor.selection

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls[module] = call = calls.get(module, 0) + 1
        label = selection.label(module, call)
        if label in extractor.seen:
            rows[label] = extractor.matrix(label, output, args=args, n=n, masks=masks, keep=keep)
        elif selection.wants(module, call) and call > 1:
            raise ExtractionError(
                f"{shown(selection.label(module, 1))} ran {call} times on a later batch, and less often on the first. "
                f"Choose the calls that you want: layers={selection.label(module, 1) + '#1'!r}, and so on."
            )

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        out = output_of(output, n)
        if out.tensor is not None:
            masks.from_encoder.add(out.tensor.data_ptr())

    for module in selection.names:
        yield module, hook
    if masks.any:
        for name, module in named_modules(extractor.model).items():
            if name.rpartition(".")[2] == "encoder":
                yield module, note


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _examples_first(out: Output, axis: int) -> torch.Tensor:
    assert out.tensor is not None
    return out.tensor.movedim(axis, 0) if out.tensor.ndim > 2 and out.lengths is None and axis else out.tensor


def _inputs_or_none(batch: Any, forward: Any) -> Any:
    try:
        return batches.inputs_of(batch)
    except ExtractionError:
        if forward is None:
            raise
        return None


def _versions(batch: Any) -> list[int]:
    return [x._version for x in batches.tensors_in(batch) if not x.is_inference()]


def _shapes(batch: Any) -> str:
    told = ", ".join(
        f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')} on {x.device}" for x in batches.tensors_in(batch)
    )
    return f"a {type(batch).__name__} of {told}" if told else f"a {type(batch).__name__}"


def _check_channels(channels: Any, what: str) -> None:
    for pattern, place in channels.items() if isinstance(channels, Mapping) else ((None, channels),):
        if pattern is not None:
            check_selector(pattern, what)
        if place is not None:
            check_choice("activations", what, place, ("first", "last"))
