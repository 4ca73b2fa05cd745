"""Errors of scores by the precision that layers are given in, for the table in docs/speed.md.

    python -m benchmarks.precision           # some seconds; writes the table

Each error is the largest of some pairs of layers, against the definition in float64 *on the values as given*: rounding the
layers to half precision changes them, which is not counted. Of the products that `precision=` allows, those in bfloat16 are
PyTorch's on this processor, if it has them. TF32 is for GPUs: what it costs is shown by the definition in float64 of centred
layers that are rounded to its ten bits.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import simkit
from benchmarks import results
from benchmarks.speed import truth
from benchmarks.speed.rows import layers

__all__ = ["table"]

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
HEADER = ("index", "shape", "float64", "float32", "float32, mean 1000", "float16", "tf32, rounded", "bf16")
_SEEDS = 3

Definition = Callable[[np.ndarray, np.ndarray], Any]

INDEXES: dict[str, Definition] = {
    "cka": truth.cka,
    "cka(estimator=unbiased)": truth.unbiased_cka,
    "cka(kernel=rbf)": truth.rbf_cka,
    "cca": lambda x, y: np.mean(truth.canonical_correlations(x, y) ** 2),
    "procrustes": truth.nuclear_similarity,
    "rsa": truth.spearman_rsa,
}
TALL, WIDE = (1000, 64), (200, 1000)


def error(spec: str, definition: Definition, shape: tuple[int, int], dtype: str, mean: float) -> float:
    """The largest of some pairs."""
    n, p = shape
    found = []
    for seed in range(_SEEDS):
        x, y = ((z + mean).astype(dtype) for z in layers(n, p, p, seed=seed))
        with warnings.catch_warnings(action="ignore"):  # half precision is near the resolution of distances
            found.append(abs(float(simkit.compare(x, y, spec, check_finite=False)) - float(definition(x, y))))
    return max(found)


def error_in_bfloat16(spec: str, definition: Definition, shape: tuple[int, int]) -> float:
    """The same with products that round their operands to seven bits."""
    import torch

    found = []
    for seed in range(_SEEDS):
        x, y = layers(*shape, shape[1], seed=seed)
        score = simkit.compare(torch.from_numpy(x), torch.from_numpy(y), spec, precision="bf16")
        found.append(abs(float(score) - float(definition(x, y))))
    return max(found)


def error_of_rounding(definition: Definition, shape: tuple[int, int], bits: int) -> float:
    """What it changes to round centred layers to so many bits after the first."""

    def rounded(x: np.ndarray) -> np.ndarray:
        fraction, exponent = np.frexp(truth.centred(x))
        return np.ldexp(np.round(fraction * 2.0 ** (bits + 1)) / 2.0 ** (bits + 1), exponent)

    pairs = (layers(*shape, shape[1], seed=seed) for seed in range(_SEEDS))
    return max(abs(float(definition(rounded(x), rounded(y))) - float(definition(x, y))) for x, y in pairs)


def table() -> list[str]:
    """Lines of Markdown."""
    columns = (("float64", 0.0), ("float32", 0.0), ("float32", 1000.0), ("float16", 0.0))
    rows = []
    for spec, definition in INDEXES.items():
        for shape in (TALL,) if spec == "cca" else (TALL, WIDE):
            errors = [error(spec, definition, shape, dtype, mean) for dtype, mean in columns]
            # what is computed in float64 whatever comes in has no such products
            rounding = error_of_rounding(definition, shape, 10) if spec.startswith("cka") else errors[1]
            errors += [rounding, error_in_bfloat16(spec, definition, shape)]
            rows.append([f"`{spec}`", f"{shape[0]} x {shape[1]}", *(f"{value:.0e}" for value in errors)])
    return results.table(HEADER, rows)


def main(arguments: list[str] | None = None) -> None:
    """Print the table, and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    lines = table()
    PAGE.write_text(results.with_table(PAGE.read_text(encoding="utf-8"), lines), encoding="utf-8")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
