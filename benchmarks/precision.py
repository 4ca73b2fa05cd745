"""Errors of scores by the precision that layers are given in and by their offset, for docs/reference/precision.md.

    python -m benchmarks.precision           # some seconds; writes the tables

Each error is the largest of some pairs of layers, against the definition in float64 *on the values as given*: rounding the
layers to half precision changes them, which is not counted. Of the products that `precision=` allows, those in bfloat16 are
PyTorch's on this processor, if it has them. TF32 is for GPUs: what it costs is shown by the definition in float64 of centred
layers that are rounded to its ten bits.

The second table adds one number to all values of both layers. What is right then is computed in extended precision (NumPy's
long double, where it is longer than double).
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

__all__ = ["offset_table", "table"]

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "precision.md"
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
OFFSETS = (0.0, 1e2, 1e4, 1e6)


def _centred(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.longdouble)
    return (x - x.mean(axis=0)).astype(np.float64)


def _cosines(x: np.ndarray, *, of_differences: bool = False) -> np.ndarray:
    """Between all examples, less the mean of each example for Pearson's correlations; in extended precision."""
    x = x.astype(np.longdouble)
    x = x - x.mean(axis=1, keepdims=True) if of_differences else x
    x = x / np.sqrt(np.sum(x * x, axis=1))[:, None]
    return x @ x.T


def _spearman(k: np.ndarray, m: np.ndarray) -> float:
    """Of similarities: ranks of pairs of distinct examples, none of them equal."""
    pairs = np.triu_indices(len(k), 1)
    return float(np.corrcoef(*(np.argsort(np.argsort(z[pairs])) for z in (k, m)))[0, 1])


def _of_gram_matrices(k: np.ndarray, m: np.ndarray) -> float:
    k, m = (z - z.mean(axis=0) - z.mean(axis=1)[:, None] + z.mean() for z in (k, m))
    return float(np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m)))


# Those that centre what they get, and those that have to take it as it is.
EXACT: dict[str, Definition] = {
    **{spec: lambda x, y, of=of: of(_centred(x), _centred(y)) for spec, of in INDEXES.items() if spec != "rsa"},
    "rsa": lambda x, y: _spearman(_cosines(x, of_differences=True), _cosines(y, of_differences=True)),
    "rsa(dissimilarity=cosine)": lambda x, y: _spearman(_cosines(x), _cosines(y)),
    "cka(kernel=cosine)": lambda x, y: _of_gram_matrices(_cosines(x), _cosines(y)),
}


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


def error_at(spec: str, dtype: str, offset: float, shape: tuple[int, int] = (200, 20)) -> float:
    """The largest of some pairs of layers with this number added, against extended precision."""
    found = []
    for seed in range(_SEEDS):
        x, y = ((z.astype(np.float64) + offset).astype(dtype) for z in layers(*shape, shape[1], seed=seed))
        with warnings.catch_warnings(action="ignore"):  # of chance
            found.append(abs(float(simkit.compare(x, y, spec)) - float(EXACT[spec](x, y))))
    return max(found)


def offset_table() -> list[str]:
    """Lines of Markdown: float64, then float32."""
    columns = [(dtype, offset) for dtype in ("float64", "float32") for offset in OFFSETS]
    header = ("index", *(f"{dtype} + {offset:.0e}" if offset else dtype for dtype, offset in columns))
    rows = []
    for spec in EXACT:
        errors = (error_at(spec, dtype, offset) for dtype, offset in columns)
        rows.append([f"`{spec}`", *(f"{error:.0e}" for error in errors)])
    return results.table(header, rows)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables, and write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    page = PAGE.read_text(encoding="utf-8")
    for lines in (table(), offset_table()):
        page = results.with_table(page, lines)
        print(*lines, "", sep="\n")
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
