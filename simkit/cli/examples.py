"""The option ``--examples`` of all commands that take activations: the rules of `simkit.examples`, by layer and by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Optional, get_args

import typer

from simkit.activations import Channels, NamedRule, examples
from simkit.cli.completion import rules
from simkit.scale.sources.store import DescribedLayers
from simkit.spec import check_choice

__all__ = ["Examples", "matrices"]

Examples = Annotated[
    Optional[list[str]],
    typer.Option(
        "--examples",
        metavar="[PATTERN=]RULE[:CHANNELS]",
        help="How maps and tokens become examples: flatten, mean, max, positions, cls or last; mean:first and mean:last say "
        "where the channels of maps are. Repeat it for layers, 'conv*=mean:first', or files, 'b.npz:*=cls'; the first that "
        "matches counts.",
        show_default=False,
        autocompletion=rules,
    ),
]


def matrices(options: Sequence[str] | None, files: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The layers of each file, those that an option is for as matrices; in their `details` the rules of those.

    Raises
    ------
    ValueError
        An option that no layer is left for.
    SimkitError
        No such rule or place of the channels, or as `simkit.examples`.
    """
    waiting = {f"{path}:{name}": x for path, layers in files for name, x in layers.items()}
    names = {f"{path}:{name}": (name, f"{path.name}:{name}") for path, layers in files for name in layers}
    made: dict[str, Any] = {}
    told: dict[str, str] = {}
    for option in options or ():
        pattern, _, given = option.rpartition("=")
        rule, colon, channels = given.partition(":")
        check_choice("--examples", "RULE", rule, get_args(NamedRule))
        if colon:
            check_choice("--examples", "CHANNELS", channels, get_args(Channels))
        meant = {
            label: x
            for label, x in waiting.items()
            if any(name == pattern or fnmatchcase(name, pattern or "*") for name in (label, *names[label]))
        }
        if not meant:
            raise ValueError(
                f"--examples {option} is for no layer, or for none that an earlier --examples has left. "
                f"The layers are {', '.join(names)}."
            )
        made |= examples(meant, rule, channels=channels or None)  # type: ignore[call-overload]
        told |= dict.fromkeys(meant, given)
        waiting = {label: x for label, x in waiting.items() if label not in meant}
    found = waiting | made
    return [
        _described(
            {name: found[f"{path}:{name}"] for name in layers},
            getattr(layers, "details", {}),
            {name: told.get(f"{path}:{name}") for name in layers},
        )
        for path, layers in files
    ]


def _described(made: dict[str, Any], details: Mapping[str, Any], rules: Mapping[str, str | None]) -> dict[str, Any]:
    """Layers with what those that they were made of say of themselves, and the rules by which they were made."""
    before = details.get("rules", {})
    both = {name: ", then ".join(filter(None, (before.get(name), rule))) for name, rule in rules.items()}
    told = {name: rule for name, rule in both.items() if rule}
    known = {**details, "rules": told} if told else details
    return DescribedLayers(made, known) if known else made
