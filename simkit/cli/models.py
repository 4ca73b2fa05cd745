"""`simkit models`: from functions of the user's that make models and data to the similarity of their layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import simkit
from simkit.cli.activations import BatchSize, Layers, Pool
from simkit.cli.console import print_json, say
from simkit.cli.maker import MAKER, Maker, made, model_options
from simkit.cli.matrix_table import print_matrix
from simkit.cli.options import Force, IndexSpec, Json, result_file
from simkit.io import WRITABLE, as_record, check_writable, write_matrix
from simkit.provenance import check_same_data

__all__ = ["models"]


def models(
    a: Maker,
    b: Annotated[
        Optional[str],
        typer.Argument(
            metavar=MAKER,
            help="That of another model, whose data are the same examples in the same order. Default: A itself.",
            show_default=False,
        ),
    ] = None,
    index: IndexSpec = "cka",
    output: Annotated[Optional[Path], result_file("Write the scores, or the heatmap:", WRITABLE)] = None,
    layers: Layers = None,
    layers_b: Annotated[
        Optional[list[str]],
        typer.Option("--layers-b", metavar="PATTERN", help="Of B, where they are others.", show_default=False),
    ] = None,
    pool: Pool = None,
    pool_b: Annotated[
        Optional[list[str]],
        typer.Option("--pool-b", metavar="[PATTERN=]RULE[:CHANNELS]", help="Of B, where it is another.", show_default=False),
    ] = None,
    correspond: Annotated[
        bool,
        typer.Option("--correspond", help="Positions or tokens that are examples are the same in A and B; you know that."),
    ] = False,
    batch_size: BatchSize = 64,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare two PyTorch models layer by layer, in one pass; nothing is stored. Rows are the layers of A, columns of B."""
    if output is not None:
        check_writable(output, force=force)
    chosen = simkit.get_index(index)
    options: dict[str, Any] = model_options(layers, pool)
    others = model_options(layers_b, pool_b)
    if b is None and others:
        raise ValueError("--layers-b and --pool-b are about a second model, and one is given.")
    first, data = made(a)
    second, data_b = (None, None) if b is None else made(b)
    from simkit.torch.comparing import compare_models

    matrix = compare_models(
        first,
        second,
        data,
        data_b=data_b,
        index=chosen,
        correspond=correspond,
        batch_size=batch_size,
        **options,
        **{f"{name}_b": value for name, value in others.items()},
    )
    if b is not None:  # perhaps the same function, which need not give the same data twice
        check_same_data({f"rows, {a}": matrix.details["rows"], f"columns, {b}": matrix.details["columns"]})
    if output is not None:
        write_matrix(matrix, output, force=force)
    if as_json:
        print_json(as_record(matrix))
        return
    print_matrix(matrix, None if b is None else (a, b))
    if output is not None:
        say(f"Written to {output}")
