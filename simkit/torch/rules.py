"""How the output of a layer becomes a matrix of examples by features: chosen once for each layer, and told in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

import simkit.activations
from simkit.activations import NamedPool
from simkit.errors import ExtractionError, SimkitError
from simkit.text import shown
from simkit.torch.layouts import Layout
from simkit.torch.patterns import ROOT, check_selector, in_words, matches
from simkit.torch.selection import listed

__all__ = ["AS_IT_IS", "Rule", "check_pool", "for_layer", "rule_of", "rules_in_words"]


@dataclass(frozen=True)
class Rule:
    """What is made of the output of a layer.

    Attributes
    ----------
    pool : str or callable
        ``"as it is"`` for a matrix.
    channels : {"first", "last"} or None
    words : str
        For people.
    """

    pool: Any
    channels: Layout | None
    words: str

    @property
    def unfolds(self) -> bool:
        """Whether positions or tokens become examples."""
        return self.pool in ("positions", "tokens")

    @property
    def takes_mask(self) -> bool:
        """Whether tokens that are padding are left out."""
        return self.channels == "last" and self.pool in ("mean", "max", "tokens", "positions", "cls", "last")

    def apply(self, x: torch.Tensor, mask: Any, name: str) -> torch.Tensor:
        """The matrix of an output (n, ...), which does not share memory with it.

        Raises
        ------
        ExtractionError
            A function gives no matrix.
        """
        if callable(self.pool):
            made = self.pool(x)
            if not isinstance(made, torch.Tensor) or made.ndim != 2:
                shape = f"shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else f"a {type(made).__name__}"
                raise ExtractionError(
                    f"The pool function of {shown(name)} makes {shape} of {tuple(x.shape)}; expected a tensor (n, p)."
                )
        elif self.pool == "as it is":
            made = x.reshape(-1, 1) if x.ndim == 1 else x
        else:
            pool: Any = "positions" if self.pool == "tokens" else self.pool
            if pool == "mean" and x.dtype in (torch.float16, torch.bfloat16):
                x = x.float()  # a mean of many has more digits than each, and between examples it may differ in those alone
            try:
                made = simkit.activations.examples(x, pool, channels=self.channels, mask=mask)
            except SimkitError as error:
                raise ExtractionError(f"{shown(name)}: {error}") from error
        made = made.detach()
        return made.clone() if _share_memory(made, x) else made


AS_IT_IS = Rule("as it is", None, "as it is")


def _share_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


# --- what is asked for ---------------------------------------------------------------------------------------------------


def check_pool(pool: Any, what: str = "pool") -> None:
    """Raise unless `pool` is a rule, or a mapping of patterns to rules.

    Raises
    ------
    ExtractionError
    """
    if isinstance(pool, Mapping):
        for pattern, rule in pool.items():
            check_selector(pattern, what)
            check_pool(rule, what)
        if not pool:
            raise ExtractionError(f"{what} is an empty mapping; expected patterns of layers with their rules.")
    elif not (pool is None or callable(pool) or (isinstance(pool, str) and pool in get_args(NamedPool))):
        raise ExtractionError(f"{what} is {shown(pool)}; expected {rules_in_words()}")


def rules_in_words() -> str:
    """The rules that there are, for messages."""
    return (
        '"mean" or "max" (over the positions of maps, or over the tokens that are no padding), "flatten" (each unit at '
        'each position), "cls" or "last" (one token), "positions" or "tokens" (each one an example), a function of the '
        'tensor, a mapping of patterns of layers to these, or "auto" (chooses for each layer and says what).'
    )


def for_layer(given: Any, name: str, module: torch.nn.Module, used: set[Any]) -> Any:
    """What is given for a layer: one for all, or that of the first pattern that matches, which is put into `used`."""
    if not isinstance(given, Mapping):
        return given
    base = name.rpartition("#")[0] or name
    for pattern, value in given.items():
        if pattern == name or matches(pattern, "" if base == ROOT else base, module):
            used.add(pattern)
            return value
    return None


def check_used(given: Any, used: set[Any], what: str, names: list[str]) -> None:
    """Raise if a pattern is left without a layer.

    Raises
    ------
    ExtractionError
    """
    for pattern in given if isinstance(given, Mapping) else ():
        if pattern not in used:
            raise ExtractionError(
                f"{what} is for {in_words(pattern)} among others, and no layer is left for that. The first pattern that "
                f"matches counts; the layers are {listed(names)}."
            )


# --- what is chosen ------------------------------------------------------------------------------------------------------


def rule_of(
    pool: Any, shape: tuple[int, ...], layout: Layout | None, channels: Layout | None, *, has_mask: bool, place: str
) -> Rule | str:
    """The rule for outputs (n, ...) of a layer, or what is missing: ``"rule"`` or ``"channels"``.

    Parameters
    ----------
    pool : str, callable or None
        What was asked for.
    shape : tuple of int
        Of the output, examples first.
    layout, channels : {"first", "last"} or None
        Where the features are, as the network tells, and as the caller says, which counts.
    has_mask : bool
        Whether the batch says which tokens are padding.
    place : str
        Which part of the output it is, in words.
    """
    of = f" of {place}" if place else ""
    if callable(pool):
        return Rule(pool, None, f"function {getattr(pool, '__name__', type(pool).__name__)}{of}")
    if len(shape) <= 2:
        return Rule("as it is", None, f"as it is{of}")
    if pool == "flatten":
        return Rule("flatten", None, f"flattened, {' x '.join(map(str, shape[1:]))}{of}")
    return "rule" if pool is None else _pooling(pool, shape, channels or layout, has_mask, of)


def _pooling(pool: str, shape: tuple[int, ...], said: Layout | None, has_mask: bool, of: str) -> Rule | str:
    """The rule for maps and sequences whose features are where `said`."""
    chosen = "mean" if pool == "auto" else pool
    if chosen in ("cls", "last", "tokens") and (len(shape) != 3 or said == "first"):
        return "tokens"
    if chosen in ("cls", "last"):
        said = "last"
    if said is None:
        return "channels"
    words = _of_tokens(chosen, has_mask) if len(shape) == 3 and said == "last" else _of_positions(chosen, shape, said)
    return Rule(chosen, said, f"{words}{of}{' (auto)' if pool == 'auto' else ''}")


def _of_tokens(pool: str, has_mask: bool) -> str:
    which = " that is no padding" if has_mask else ""
    tokens = f"tokens{which.replace('is', 'are')}"
    return {
        "mean": f"mean over the {tokens}",
        "max": f"maximum over the {tokens}",
        "cls": f"first token{which}",
        "last": f"last token{which}",
    }.get(pool, f"{tokens} as examples")


def _of_positions(pool: str, shape: tuple[int, ...], channels: str) -> str:
    sizes = " x ".join(map(str, shape[2:] if channels == "first" else shape[1:-1]))
    what = {"mean": f"mean over {sizes} positions", "max": f"maximum over {sizes} positions"}
    return f"{what.get(pool, f'{sizes} positions as examples')}, channels {channels}"
