"""The layers of a model that are wanted, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from simkit.errors import ExtractionError
from simkit.text import shown
from simkit.torch.patterns import ROOT, are_types, check_selector, in_words, matches
from simkit.torch.wrappers import named_modules

__all__ = ["Selection", "listed", "select"]

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)  # they hold others, and have no output


@dataclass(frozen=True)
class Selection:
    """What was selected.

    Attributes
    ----------
    names : dict of modules to str
        The name of each selected module; of one that is there under several names, the first.
    calls : dict of modules to set of int
        Which calls of a module are wanted, from 1; all of those that are not here.
    without : dict of modules to set of int
        Which calls of a module are left out.
    is_default : bool
        Nobody asked for certain layers.
    """

    names: dict[nn.Module, str]
    calls: dict[nn.Module, set[int]] = field(default_factory=dict)
    without: dict[nn.Module, set[int]] = field(default_factory=dict)
    is_default: bool = False

    def wants(self, module: nn.Module, call: int) -> bool:
        """Whether this call of a selected module, from 1, is wanted."""
        return (module not in self.calls or call in self.calls[module]) and call not in self.without.get(module, ())

    def label(self, module: nn.Module, call: int) -> str:
        """What the output of a call is named: ``name``, then ``name#2``."""
        name = self.names[module] or ROOT
        return name if call == 1 else f"{name}#{call}"


def select(model: nn.Module, layers: Any, what: str = "layers") -> Selection:
    """The modules of `model` that `layers` means.

    Parameters
    ----------
    model : Module
    layers : selector, or sequence of selectors, or None
        See `simkit.torch.activations`.

    Raises
    ------
    ExtractionError
        A selector that is none, or that no module matches.
    """
    modules = named_modules(model)
    callable_ones = {name: module for name, module in modules.items() if not isinstance(module, _NEVER_CALLED)}
    chosen = list(layers) if _is_list(layers) else [] if layers is None else [layers]
    for selector in chosen:
        check_selector(selector, what)
    wanted = [s for s in chosen if not _is_exclusion(s)]
    left_out = [s[1:] for s in chosen if _is_exclusion(s)]
    if not wanted and _is_list(layers) and not left_out:
        raise ExtractionError(f"{what} is empty; expected at least one layer. None is for all modules without children.")
    names: dict[nn.Module, str] = {}
    calls: dict[nn.Module, set[int]] = {}
    whole: set[nn.Module] = set()
    for selector in wanted:
        found, call = _found(selector, callable_ones)
        if not found:
            raise ExtractionError(_no_match(selector, modules, what))
        for name in found:
            module = callable_ones[name]
            names.setdefault(module, name)
            if call is None:
                whole.add(module)
            else:
                calls.setdefault(module, set()).add(call)
    if not wanted:
        names = {module: name for name, module in reversed(callable_ones.items()) if _is_leaf(name, module)}
        names = dict(reversed(names.items()))
    without = _take_away(names, left_out, modules, what)
    if not names:
        raise ExtractionError(f"{what}: no layer is left of {type(model).__name__} after what is left out.")
    some = {module: numbers for module, numbers in calls.items() if module not in whole}
    return Selection(names, some, without, not wanted)


def _take_away(
    names: dict[nn.Module, str], left_out: list[str], modules: dict[str, nn.Module], what: str
) -> dict[nn.Module, set[int]]:
    """Take the modules that are left out from `names`, and give single calls of modules that are."""
    calls: dict[nn.Module, set[int]] = {}
    for selector in left_out:
        found, call = _found(selector, modules)
        if not found:
            raise ExtractionError(_no_match(selector, modules, what))
        for name in found:
            if call is None:
                names.pop(modules[name], None)
            else:
                calls.setdefault(modules[name], set()).add(call)
    return calls


def _is_list(layers: Any) -> bool:
    return (
        isinstance(layers, Iterable)
        and not isinstance(layers, str | type)
        and not are_types(layers)
        and not isinstance(layers, nn.Module)
    )


def _is_exclusion(selector: Any) -> bool:
    return isinstance(selector, str) and selector.startswith("!")


def _found(selector: Any, modules: dict[str, nn.Module]) -> tuple[list[str], int | None]:
    """The names that a selector matches, and the call that it wants: ``relu#2`` is the second of ``relu``."""
    if isinstance(selector, str):
        if selector in modules:
            return [selector], None
        name, mark, call = selector.rpartition("#")
        if mark and call.isdecimal() and int(call) > 0:
            found, _ = _found(name, modules)
            return found, int(call)
    return [name for name, module in modules.items() if matches(selector, name, module)], None


def _is_leaf(name: str, module: nn.Module) -> bool:
    """Whether a module has no children, but for what computes its own parameters, and is called as one."""
    if "parametrizations" in name.split("."):
        return False
    # The last product of MultiheadAttention is made by its parent from the weights, without a call.
    if isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear):
        return False
    return not any(key != "parametrizations" for key, child in module._modules.items() if child is not None)


def _no_match(selector: Any, modules: dict[str, nn.Module], what: str) -> str:
    names = [name for name in modules if name]
    if isinstance(selector, str) and selector in modules:
        inside = f"'{selector}.*'"
        return (
            f"{what}: {shown(selector)} is a {type(modules[selector]).__name__}, which holds other modules and has no "
            f"output of its own. Take what is in it: {inside}."
        )
    hint = f"The model has {listed(names)}." if names else "The model has no parts; layers=0 is the model itself."
    if isinstance(selector, str):
        close = difflib.get_close_matches(selector, names, 3, 0.6)
        if close:
            hint = f"Close to it: {', '.join(map(shown, close))}."
        if "*" in selector and "**" not in selector:
            hint += " A * stays within one part of a dotted name; ** crosses parts."
    elif isinstance(selector, type | tuple):
        hint = (
            f"The model has modules of the types {listed(sorted({type(module).__name__ for module in modules.values()}))}."
        )
    elif isinstance(selector, int):
        hint = f"The deepest module has depth {max((name.count('.') + 1 for name in names), default=0)}."
    return f"{what}: no module matches {in_words(selector)}. {hint}"


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names for a message, of which only the first few are told."""
    told = ", ".join(map(shown, names[:most]))
    return told if len(names) <= most else f"{told} and {len(names) - most} more"
