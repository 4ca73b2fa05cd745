"""`simkit compare`: activation files in, a number or a matrix out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import simkit
from simkit.cli.app import Json, app, print_json, print_matrix
from simkit.io import Activations, as_record, check_writable, read_activations, write_matrix
from simkit.matrix import SimilarityMatrix


@app.command()
def compare(  # noqa: PLR0917  (Typer passes by name)
    a: Annotated[Path, typer.Argument(help="Activations: .npy, .npz, .safetensors or .pt.", show_default=False)],
    b: Annotated[Optional[Path], typer.Argument(help="More; by default A with itself.", show_default=False)] = None,  # noqa: UP045
    index: Annotated[str, typer.Option("--index", "-i", help="Spec, such as 'cka(kernel=rbf(fraction=0.4))'.")] = "cka",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", help="Write .csv, .json, .npz or .png.", show_default=False),
    ] = None,
    maps: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Rule for convolution maps: flatten, mean or spatial.", show_default=False),
    ] = None,
    channels: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Channel axis of maps: first or last.", show_default=False),
    ] = None,
    flatten: Annotated[bool, typer.Option("--flatten", help="Short for --maps flatten.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Compare two files: of one array each, a number; of many layers, a matrix (rows A, columns B)."""
    if output is not None:
        check_writable(output, force=force)
    chosen = simkit.get_index(index)
    first = read_activations(a)
    second = first if b is None else read_activations(b)
    if b is None and first.single:
        raise ValueError(f"{a} holds one array, and there is nothing to compare it with; give a second file.")
    _check_one_framework(first, second)
    door: dict[str, Any] = {"maps": maps, "channels": channels, "flatten": flatten}
    if first.single and second.single:
        (x,), (y,) = first.layers.values(), second.layers.values()
        value = float(simkit.compare(x, y, chosen, **door))
        n = int(x.shape[0])
        if output is not None:
            matrix = SimilarityMatrix(_one(value), (a.stem,), ((b or a).stem,), str(chosen), n)
            write_matrix(matrix, output, force=force)
        if as_json:
            print_json({"index": str(chosen), "n": n, "value": value if math.isfinite(value) else None})
        else:
            print(f"{value:.6g}")
        return
    matrix = simkit.pairwise(first.layers, None if b is None else second.layers, chosen, **door)
    if output is not None:
        write_matrix(matrix, output, force=force)
    if as_json:
        print_json(as_record(matrix))
    else:
        print_matrix(matrix)
        if output is not None:
            print(f"Written to {output}")


def _one(value: float) -> Any:
    import numpy as np

    return np.array([[value]])


def _check_one_framework(first: Activations, second: Activations) -> None:
    """A .npy and a .pt file may be compared: both are on the host, so tensors become NumPy arrays."""
    kinds = {type(x).__module__.split(".")[0] for side in (first, second) for x in side.layers.values()}
    if len(kinds) > 1:
        for side in (first, second):
            for name, x in side.layers.items():
                if type(x).__module__.startswith("torch"):
                    side.layers[name] = x.float().numpy() if str(x.dtype) == "torch.bfloat16" else x.numpy()
