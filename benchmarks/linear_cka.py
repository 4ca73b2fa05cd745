"""Linear CKA of one pair: tall, wide, and very tall."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.harness import Case, machine, report
from benchmarks.rivals import definition, feature_formula, gram_formula, pytorch_cka

SHAPES = ((10_000, 512), (2_048, 8_192), (50_000, 256))


def main() -> None:
    """Print a table for each shape."""
    print(machine())
    for n, p in SHAPES:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((n, p), dtype=np.float32)
        y = x @ rng.standard_normal((p, p), dtype=np.float32) / np.sqrt(p, dtype=np.float32) + rng.standard_normal(
            (n, p), dtype=np.float32
        )
        ways = {"simkit": lambda x=x, y=y: simkit.compare(x, y, "cka")}
        ways["feature formula, NumPy"] = lambda x=x, y=y: feature_formula(x, y)
        if n <= 10_000:
            ways["Gram formula, NumPy"] = lambda x=x, y=y: gram_formula(x, y)
            rival = pytorch_cka([x], [y])
            notes = [] if rival else ["pytorch-cka is not installed"]
            if rival:
                ways["pytorch-cka (unbiased)"] = rival
                notes = ["pytorch-cka computes the unbiased estimator: its 'error' is the difference of definitions"]
        else:
            notes = ["n x n matrices of 10 GB left out"]
        # three products, two of them symmetric
        flops = 2 * 2 * n * p * p if n >= 2 * p else 2 * n * n * p
        report(Case(f"linear CKA, n = {n}, p = {p}", ways, np.asarray(definition(x, y)), flops, notes=notes))


if __name__ == "__main__":
    main()
