"""`simkit test`: how sure is a similarity? Permutation test, interval, bootstrap or jackknife."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import numpy as np
import typer

import simkit
from simkit.cli.completion import files
from simkit.cli.console import print_json, say
from simkit.cli.examples import Examples, matrices
from simkit.cli.options import Force, IndexSpec, Json, MaxBytes, activations_file, check_output, result_file
from simkit.cli.reading import read_whole
from simkit.inference import BootstrapResult, IntervalResult, JackknifeResult, PermutationResult
from simkit.inference.resampling import Method
from simkit.io import read_activations, write_text
from simkit.pictures import PICTURES
from simkit.plot import TITLE, label, plain_axes, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = BootstrapResult | IntervalResult | JackknifeResult | PermutationResult

Way = Literal["permutation", "interval", "bootstrap", "jackknife"]

_SUFFIXES = (".json", *PICTURES)

# What is written of each kind of result.
_RECORDED: dict[type[Result], tuple[str, ...]] = {
    PermutationResult: ("p_value", "alternative", "exact", "chance"),
    IntervalResult: ("standard_error", "confidence", "groups", "estimand"),
    BootstrapResult: ("standard_error", "bias", "confidence", "groups"),
    JackknifeResult: ("standard_error", "bias", "confidence", "groups"),
}


def significance(
    a: Annotated[Path, activations_file("A", "One layer: .npy, or a file of layers with --layer.")],
    b: Annotated[Path, activations_file("B", "Another layer for the same examples.")],
    index: IndexSpec = "cka",
    method: Annotated[Way, typer.Option("--method", "-m", help="What to compute, as said above.")] = "permutation",
    resamples: Annotated[int, typer.Option(metavar="N", help="How many permutations or resamples to draw.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the random draws.")] = 0,
    confidence: Annotated[float, typer.Option(metavar="LEVEL", help="Of the interval, between 0 and 1.")] = 0.95,
    interval: Annotated[Method, typer.Option(help="How the bootstrap makes an interval of its resamples.")] = "bca",
    groups: Annotated[
        Optional[Path],
        typer.Option(
            metavar="FILE",
            help="A .npy of one label for each example. Intervals draw examples of one label together; permutations stay "
            "within them.",
            show_default=False,
            autocompletion=files((".npy",)),
        ),
    ] = None,
    layer: Annotated[
        Optional[str],
        typer.Option("--layer", "-l", metavar="NAME", help="Which layer of files with several.", show_default=False),
    ] = None,
    examples: Examples = None,
    output: Annotated[Optional[Path], result_file("Write the result, or a picture of the distribution:", _SUFFIXES)] = None,
    max_bytes: MaxBytes = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Test a similarity against chance, or say how sure it is.

    permutation: a p-value, from permuted examples.

    interval: a confidence interval, by the method that is valid for the index.

    bootstrap: an interval from resamples, where drawing with replacement is valid.

    jackknife: a standard error.
    """
    check_output(output, _SUFFIXES, force=force)
    chosen = simkit.get_index(index)
    first, second = read_whole(a, b, max_bytes=max_bytes)
    chosen_layers = [(path, _layer(side.layers, layer, path)) for side, path in ((first, a), (second, b))]
    (x,), (y,) = (side.values() for side in matrices(examples, chosen_layers))
    labels = None if groups is None else next(iter(read_activations(groups).layers.values()))
    result: Result
    if method == "permutation":
        result = simkit.permutation_test(x, y, chosen, permutations=resamples, within=labels, rng=seed)
    elif method == "interval":
        result = simkit.interval(x, y, chosen, confidence=confidence, groups=labels, rng=seed)
    elif method == "bootstrap":
        result = simkit.bootstrap(
            x, y, chosen, resamples=resamples, confidence=confidence, method=interval, groups=labels, rng=seed
        )
    else:
        result = simkit.jackknife(x, y, chosen, confidence=confidence, groups=labels)
    if output is not None and output.suffix.lower() == ".json":
        write_text(output, _record(result, method), force=force)
    elif output is not None:
        save(_draw(result), output, force=force)
    if as_json:
        print_json(_record(result, method))
        return
    say(result)
    if output is not None:
        say(f"Written to {output}")


def _layer(layers: dict[str, Any], name: str | None, path: Path) -> dict[str, Any]:
    """The one layer of a file that is meant."""
    if len(layers) == 1:
        return layers
    if name is None:
        raise ValueError(f"{path} holds {len(layers)} layers; choose one with --layer: {', '.join(layers)}.")
    if name not in layers:
        raise ValueError(f"{path} has no layer {name!r}; it holds {', '.join(layers)}.")
    return {name: layers[name]}


def _record(result: Result, method: str) -> dict[str, Any]:
    """The result in plain numbers; None for nan."""
    record: dict[str, Any] = {"method": method}
    for name in ("index", "n", "score", *_RECORDED[type(result)]):
        record[name] = _plain(getattr(result, name))
    if isinstance(result, PermutationResult):
        return record
    if not isinstance(result, JackknifeResult):
        record["interval_method"] = result.method
    return record | {"interval": [_plain(bound) for bound in result.interval]}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(result: Result) -> Axes:
    """Histogram of the distribution, with the score."""
    ax = plain_axes(4.8, 3.2)
    known = result.distribution[np.isfinite(result.distribution)]
    what = {
        PermutationResult: "permutations",
        BootstrapResult: "resamples",
        IntervalResult: "without some units each",
        JackknifeResult: "without one unit each",
    }
    ax.hist(known, bins="auto", color="lightsteelblue", label=what[type(result)])
    ax.axvline(result.score, color="tab:red", label=f"score {result.score:.3g}")
    if not isinstance(result, PermutationResult) and all(map(math.isfinite, result.interval)):
        ax.axvspan(*result.interval, color="tab:red", alpha=0.12, lw=0, label=f"{100 * result.confidence:g} % interval")
    ax.set(xlabel=label(result.index), ylabel="count", title=label(str(result), TITLE))
    ax.title.set_fontsize(9)
    ax.legend(frameon=False, fontsize=8)
    return ax
