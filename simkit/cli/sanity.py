"""`simkit sanity`: does an index find the corresponding layers of networks that differ in their seed only? Section 6.1."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.table import Table

import simkit
from simkit.analysis import LayerAccuracy, jackknife_test, layer_accuracy
from simkit.cli.console import console, print_json, say
from simkit.cli.examples import Examples, matrices
from simkit.cli.options import Force, IndexSpecs, Json, MaxBytes, activations_file, check_output, result_file
from simkit.io import read_activations, write_text
from simkit.pictures import PICTURES
from simkit.plot import label, plain_axes, room_for, save
from simkit.progress import track
from simkit.text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SUFFIXES = (".csv", ".json", *PICTURES)


def sanity(
    files: Annotated[
        list[Path],
        activations_file("NETWORK", "Two or more networks with the same layers: .npz, .safetensors or .pt."),
    ],
    index: IndexSpecs = None,
    symmetrise: Annotated[
        bool, typer.Option("--symmetrise", help="Use the mean of both directions of indexes that are not symmetric.")
    ] = False,
    output: Annotated[Optional[Path], result_file("Write the table, or a picture of it:", _SUFFIXES)] = None,
    examples: Examples = None,
    max_bytes: MaxBytes = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Identify the layers of each network in every other one: how often is the most similar layer the corresponding one?"""
    check_output(output, _SUFFIXES, force=force)
    indexes = [simkit.get_index(spec) for spec in index or ["cka"]]
    networks = matrices(examples, [(path, read_activations(path, max_bytes=max_bytes).layers) for path in files])
    results = []
    with track(len(indexes), "indexes") as advance:
        for chosen in indexes:
            results.append(layer_accuracy(networks, chosen, symmetrise=symmetrise))
            advance()
    records = [_record(result, results[0]) for result in results]
    if output is not None:
        _write(results, records, output, force=force)
    if as_json:
        print_json(records)
        return
    table = Table(title=f"{len(files)} networks, n = {results[0].n}, by chance {1 / len(results[0].layers):.1%}")
    for name in ("index", "found", "s.e.", f"z against {shortened(results[0].index)}", "p", "missed most"):
        table.add_column(name, justify="left" if name in ("index", "missed most") else "right")
    for record in records:
        worst = sorted((share, name) for name, share in record["by_layer"].items() if share < 1)[:3]
        table.add_row(
            shortened(record["index"]),
            f"{record['accuracy']:.1%}",
            _shown(record["standard_error"], ".1%"),
            _shown(record["z"], ".2f"),
            _shown(record["p"], ".3g"),
            ", ".join(f"{shortened(name)} ({share:.0%})" for share, name in worst),
        )
    console.print(table)
    if output is not None:
        say(f"Written to {output}")


def _record(result: LayerAccuracy, reference: LayerAccuracy) -> dict[str, Any]:
    """One result in plain numbers; None where the jackknife needs more networks, or an index would be tested on itself."""
    enough = result.networks > 2
    z, p = jackknife_test(result, reference) if enough and result is not reference else (None, None)
    return {
        "index": result.index,
        "accuracy": result.accuracy,
        "standard_error": result.standard_error if enough else None,
        "z": None if z is None or abs(z) == float("inf") else z,
        "p": p,
        "by_layer": result.by_layer,
        "networks": result.networks,
        "n": result.n,
    }


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _write(results: list[LayerAccuracy], records: list[dict[str, Any]], output: Path, *, force: bool) -> None:
    if output.suffix.lower() in PICTURES:
        save(_draw(results), output, force=force)
        return
    flat = [{**{k: v for k, v in record.items() if k != "by_layer"}, **record["by_layer"]} for record in records]
    write_text(output, records if output.suffix.lower() == ".json" else flat, force=force)


def _draw(results: list[LayerAccuracy]) -> Axes:
    """Share of networks in which each layer is found, a line for each index."""
    layers = results[0].layers
    shown = list(map(label, layers))
    ax = plain_axes(max(4.8, 0.45 * len(layers) + 2.2), 3.6 + room_for(shown))
    for result in results:
        told = label(f"{result.index}: {result.accuracy:.1%}")
        ax.plot(range(len(layers)), list(result.by_layer.values()), marker="o", label=told)
    ax.axhline(1 / len(layers), color="gray", ls=":", label="by chance")
    ax.set_xticks(range(len(layers)), shown, rotation=45, ha="right")
    ax.set(ylabel="found in other networks", ylim=(-0.03, 1.03))
    ax.set_title(f"{results[0].networks} networks, n = {results[0].n}")
    ax.legend(frameon=False, fontsize=8)
    return ax
