"""`simkit subspace`: what two layers share, direction by direction. Section 6.4 and Figure 8."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.table import Table

from simkit.analysis import SharedSubspace, shared_subspace
from simkit.analysis.subspace import OF_EIGENVECTORS
from simkit.cli.console import console, print_json, say
from simkit.cli.examples import Examples, matrices
from simkit.cli.options import Force, Json, MaxBytes, activations_file, check_output, result_file
from simkit.cli.reading import read_whole
from simkit.io import Activations, write_text
from simkit.pictures import PICTURES
from simkit.plot import figure, label, save
from simkit.text import shortened

_SUFFIXES = (".csv", ".json", *PICTURES)


def subspace(
    a: Annotated[Path, activations_file("A", "Activations: .npy, .npz, .safetensors or .pt.")],
    b: Annotated[Path, activations_file("B", "Those of another network for the same examples.")],
    layer: Annotated[
        Optional[list[str]],
        typer.Option(
            "--layer",
            "-l",
            metavar="NAME",
            help="A layer that both files have; repeat it. Default: all.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Optional[Path], result_file("Write the directions, or Figure 8 of the paper:", _SUFFIXES)] = None,
    examples: Examples = None,
    max_bytes: MaxBytes = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """How many directions do corresponding layers share, and how alike do the two act on them?"""
    check_output(output, _SUFFIXES, force=force)
    first, second = read_whole(a, b, max_bytes=max_bytes)
    chosen = _chosen(first, second, layer, (a, b))
    xs, ys = matrices(examples, list(zip((a, b), chosen, strict=True)))
    found = {name: shared_subspace(x, y) for (name, x), y in zip(xs.items(), ys.values(), strict=True)}
    if output is not None:
        _write(found, output, force=force)
    if as_json:
        print_json([_record(name, result) for name, result in found.items()])
        return
    table = Table(title="Directions that two layers share")
    for head in ("layer", "linear CKA", "effective rank", "rank", "cosines above 0.5", "n"):
        table.add_column(head, justify="left" if head == "layer" else "right")
    for name, result in found.items():
        alike = int((result.cosines > 0.5).sum())
        numbers = (f"{result.cka:.3f}", f"{result.effective_rank:.1f}", str(len(result.cosines)), str(alike), str(result.n))
        table.add_row(shortened(name), *numbers)
    console.print(table)
    if output is not None:
        say(f"Written to {output}")


def _chosen(
    first: Activations, second: Activations, layers: list[str] | None, paths: tuple[Path, Path]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The layers of both files that have the same name, in one order; or the only layer of each."""
    if first.single and second.single:
        return first.layers, second.layers
    common = [name for name in first.layers if name in second.layers]
    for name in layers or []:
        if name not in common:
            raise ValueError(
                f"{paths[0]} and {paths[1]} do not both have the layer {name!r}; they share {', '.join(common)}."
            )
    names = layers or common
    if not names:
        raise ValueError(f"{paths[0]} and {paths[1]} have no layer of the same name.")
    return {name: first.layers[name] for name in names}, {name: second.layers[name] for name in names}


def _record(name: str, result: SharedSubspace) -> dict[str, Any]:
    record = {"layer": name, "cka": result.cka, "effective_rank": result.effective_rank, "n": result.n}
    return record | {column: getattr(result, column).tolist() for column in OF_EIGENVECTORS}


def _write(found: dict[str, SharedSubspace], output: Path, *, force: bool) -> None:
    suffix = output.suffix.lower()
    if suffix == ".json":
        write_text(output, [_record(name, result) for name, result in found.items()], force=force)
    elif suffix == ".csv":
        lines = [
            {"layer": name, "eigenvector": i + 1} | {column: float(getattr(result, column)[i]) for column in OF_EIGENVECTORS}
            for name, result in found.items()
            for i in range(len(result.cosines))
        ]
        write_text(output, lines, force=force)
    else:
        grid = figure(7.2, 2.6 * len(found)).subplots(len(found), 2, squeeze=False)
        for axes, (name, result) in zip(grid, found.items(), strict=True):
            left, _ = result.plot((axes[0], axes[1]))
            left.set_title(label(name), fontsize=9)
        save(grid[0, 0], output, force=force)
