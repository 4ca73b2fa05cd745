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

__all__ = ["Examples", "matrices", "rules_of"]

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
    """The layers of each file, those that an option is for as matrices.

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
    for option in options or ():
        pattern, _, rule = option.rpartition("=")
        rule, colon, channels = rule.partition(":")
        check_choice("--examples", "RULE", rule, get_args(NamedRule))
        if colon:
            check_choice("--examples", "CHANNELS", channels, get_args(Channels))
        meant = {label: x for label, x in waiting.items() if _is_meant(pattern or "*", (label, *names[label]))}
        if not meant:
            raise ValueError(
                f"--examples {option} is for no layer, or for none that an earlier --examples has left. "
                f"The layers are {', '.join(names)}."
            )
        made |= examples(meant, rule, channels=channels or None)  # type: ignore[call-overload]
        waiting = {label: x for label, x in waiting.items() if label not in meant}
    found = waiting | made
    return [
        _described({name: found[f"{path}:{name}"] for name in layers}, layers, rules)
        for (path, layers), rules in zip(files, rules_of(options, files), strict=True)
    ]


def _described(made: dict[str, Any], layers: Mapping[str, Any], rules: Mapping[str, str]) -> dict[str, Any]:
    """Layers with what those that they were made of say of themselves, and the rules by which they were made."""
    details = getattr(layers, "details", None)
    if details is None:
        return made
    before = details.get("rules", {})
    both = {name: ", then ".join(filter(None, (before.get(name), rules.get(name)))) for name in made}
    return DescribedLayers(made, {**details, "rules": both})


def rules_of(options: Sequence[str] | None, files: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[dict[str, str]]:
    """The rule of each layer of each file that has one, as it was given; the first option that matches counts."""
    given = [option.rpartition("=") for option in options or ()]
    return [
        {
            name: next(rule for pattern, _, rule in given if _is_meant(pattern or "*", names))
            for name in layers
            for names in [(f"{path}:{name}", name, f"{path.name}:{name}")]
            if any(_is_meant(pattern or "*", names) for pattern, _, _ in given)
        }
        for path, layers in files
    ]


def _is_meant(pattern: str, names: Sequence[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)
