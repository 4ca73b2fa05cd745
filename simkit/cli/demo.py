"""`simkit demo`: two trained networks, compared layer by layer with every index."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Annotated, Optional

import numpy as np
from rich.table import Table

import simkit
from simkit import demo as bundled
from simkit import plot
from simkit.analysis import LayerAccuracy, layer_accuracy
from simkit.cli.console import console, print_json, say, say_note, tell
from simkit.cli.options import Force, Json, check_output, result_file
from simkit.discovery import OWN
from simkit.errors import ChanceWarning, SimkitError
from simkit.pictures import PICTURES
from simkit.progress import track
from simkit.threads import each_in_threads

# Table 2 of the paper: ten Tiny-10 networks on CIFAR-10, n = 10000.
PAPER = {
    "cca": 0.106,
    "cka": 0.993,
    "cka(kernel=rbf(fraction=0.8))": 0.993,
    "hsic": 0.222,
    "linear_regression": 0.454,
    "pwcca": 0.111,
    "svcca": 0.151,
}

PICTURE = Path("simkit-demo.png")
DRAWN = {"linear CKA": "cka", "CCA": "cca", "linear regression": "linear_regression"}


def left_out() -> dict[str, str]:
    """Indexes that take too long here, and why."""
    if importlib.util.find_spec("ot") is not None:
        return {}
    why = 'its linear programs take minutes at these widths without POT: pip install "simkit-similarity[transport]"'
    return {"soft_match": why}


def demo(
    output: Annotated[
        Optional[Path], result_file("Write the picture there. Default: simkit-demo.png, replaced if it exists;", PICTURES)
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare the layers of two trained networks with every index of simkit, and draw heatmaps of three of them."""
    picture = PICTURE if output is None else output
    force = force or output is None  # the picture of an earlier run
    check_output(picture, PICTURES, force=force)
    networks = [bundled.load(0), bundled.load(1)]
    hidden = [{name: x for name, x in network.items() if name != "logits"} for network in networks]
    own = [entry for entry in simkit.list_indexes() if entry.distribution == OWN]  # what plugins bring may take its time
    specs = dict.fromkeys([*own, "cka(kernel=rbf(fraction=0.8))", "cka(estimator=unbiased)"])
    without = left_out()
    for spec in without:
        specs.pop(spec, None)
    results, failed = _found(hidden, list(specs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ChanceWarning)  # that two of them say 1 for any pair is what the picture is to show
        shown = {title: simkit.pairwise(networks[0], networks[1], spec) for title, spec in DRAWN.items()}
    matrix = shown["linear CKA"]
    panels = plot.heatmaps(shown, labels=("network trained from seed 0", "network trained from seed 1"))
    plot.save(panels[0], picture, force=force)
    if as_json:
        print_json(
            {
                "picture": str(picture),
                "n": matrix.n,
                "layers": list(hidden[0]),
                "accuracy": {result.index: result.accuracy for result in results},
                "failed": failed,
            }
        )
        return
    chance = 1 / len(hidden[0])
    console.print("Which index finds the same layer in a network trained from another seed?", style="bold", highlight=False)
    console.print(
        f"Two Tiny-10 networks, {len(hidden[0])} layers, {matrix.n} handwritten digits; {chance:.0%} by chance.",
        highlight=False,
    )
    table = Table()
    table.add_column("index", no_wrap=True)
    table.add_column("found", justify="right")
    table.add_column("paper", justify="right")
    table.add_column("missed", style="dim")
    for result in results:
        paper = f"{PAPER[result.index]:.1%}" if result.index in PAPER else ""
        table.add_row(result.index, f"{result.accuracy:.0%}", paper, _missed(result))
    console.print(table)
    for spec, why in without.items():
        say_note(f"{spec} is left out: {why}.")
    for spec, why in failed.items():
        tell(f"{spec} failed:", "red", why)
    console.print(
        "Most layers have more units than there are examples. An index that ignores invertible transforms then says 1 for "
        "any pair (Theorem 1 of the paper), and so does regression; CKA does not.",
        style="dim",
    )
    say(f"Heatmaps of {', '.join(DRAWN)}: {picture}")


def _found(networks: list[dict[str, np.ndarray]], specs: list[str]) -> tuple[list[LayerAccuracy], dict[str, str]]:
    """What each index found, the best first, and why others failed."""
    failed: dict[str, str] = {}
    with track(len(specs), "indexes") as advance:

        def found(spec: str) -> LayerAccuracy | None:
            try:
                return layer_accuracy(networks, spec)
            except Exception as error:  # a broken plugin must not spoil the rest, however it fails
                failed[spec] = str(error) if isinstance(error, SimkitError) else f"{type(error).__name__}: {error}"
                return None
            finally:
                advance()

        # One thread of BLAS for each: on matrices this small several spend most of their time waiting for each other.
        results = each_in_threads(found, specs, next(iter(networks[0].values())))
    return sorted(filter(None, results), key=lambda result: -result.accuracy), failed


def _missed(result: LayerAccuracy) -> str:
    found = [name for name, share in result.by_layer.items() if share == 1]
    missed = [name for name, share in result.by_layer.items() if share < 1]
    if len(found) >= len(missed):
        return " ".join(missed)
    return f"all but {' '.join(found)}" if found else "all"
