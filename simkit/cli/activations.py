"""`simkit activations`: from a function of the user's that makes a model and data to activations on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from simkit.cli.console import print_json, say
from simkit.cli.maker import Maker, made, model_options
from simkit.cli.options import Force, Json
from simkit.features.writer import check_target

__all__ = ["BatchSize", "Layers", "Pool", "activations"]

Layers = Annotated[
    Optional[list[str]],
    typer.Option(
        "--layers",
        metavar="PATTERN",
        help="Which layers: a name or a glob, 'blocks.*' for the blocks, 'blocks.**' for all inside. Repeat it for more. "
        "Default: every module without children.",
        show_default=False,
    ),
]
Pool = Annotated[
    Optional[list[str]],
    typer.Option(
        "--pool",
        metavar="[PATTERN=]RULE[:CHANNELS]",
        help="How maps and tokens become examples: mean, max, flatten, cls, last, positions, tokens or auto; mean:first and "
        "mean:last say where the channels are. Repeat it for layers, 'conv*=mean'; the first that matches counts.",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Examples at a time, of data that are one tensor or a data set.")]


def activations(
    maker: Maker,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Write this folder, .zarr or .safetensors.", show_default=False
        ),
    ],
    layers: Layers = None,
    pool: Pool = None,
    batch_size: BatchSize = 64,
    resume: Annotated[bool, typer.Option(help="Go on with activations that are not finished.")] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the activations of a PyTorch model to disk, batch by batch; what was interrupted goes on where it stopped.

    `simkit compare` and the other commands read what is written.
    """
    options: dict[str, Any] = model_options(layers, pool)
    check_target(output, resume=resume, force=force)
    model, data = made(maker)
    from simkit.torch.extraction import activations as extract

    found: Any = extract(model, data, out=output, batch_size=batch_size, resume=resume, force=force, **options)
    if as_json:
        shapes = {name: list(found.shape(name)) for name in found}
        print_json({"path": str(output), "examples": found.manifest.examples, "layers": shapes, **found.details})
        return
    for name in found:
        say(f"{name}  {found.shape(name)}  {found.rules[name]}")
    say(f"Written to {output}: {len(found)} layers, {found.manifest.examples} examples")
