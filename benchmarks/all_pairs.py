"""A heatmap: linear CKA of all pairs of 16 x 16 layers, n = 2048, widths from 64 to 4096."""

from __future__ import annotations

import numpy as np

import simkit
from benchmarks.harness import Case, machine, report
from benchmarks.rivals import definition, feature_formula, pytorch_cka

N = 2_048
WIDTHS = (64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 1024, 1024, 2048, 2048, 4096)


def layers(seed: int) -> list[np.ndarray]:
    """Activations that share part of their structure, as those of two networks do."""
    shared = np.random.default_rng(99).standard_normal((N, 64), dtype=np.float32)
    rng = np.random.default_rng(seed)
    return [
        shared @ rng.standard_normal((64, p), dtype=np.float32) / 8 + rng.standard_normal((N, p), dtype=np.float32)
        for p in WIDTHS
    ]


def main() -> None:
    """Print the table."""
    print(machine())
    a, b = layers(1), layers(2)
    ways = {
        "simkit.pairwise": lambda: simkit.pairwise(a, b, "cka").to_numpy(),
        "feature formula per pair, NumPy": lambda: np.array([[feature_formula(x, y) for y in b] for x in a]),
    }
    notes = ["pytorch-cka is not installed"]
    rival = pytorch_cka(a, b)
    if rival:
        ways["pytorch-cka (unbiased)"] = rival
        notes = ["pytorch-cka computes the unbiased estimator: its 'error' is the difference of definitions"]
    ways_unbiased = {"simkit.pairwise, unbiased": lambda: simkit.pairwise(a, b, "cka(estimator=unbiased)").to_numpy()}
    truth = np.array([[definition(x, y) for y in b] for x in a])
    flops = 2 * sum(N * N * p for p in WIDTHS) + 2 * len(WIDTHS) ** 2 * N * N
    report(
        Case(
            "all pairs of 16 x 16 layers, n = 2048, p = 64..4096", ways | ways_unbiased, truth, flops, rounds=3, notes=notes
        )
    )


if __name__ == "__main__":
    main()
