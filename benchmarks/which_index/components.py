"""A layer against itself with only its largest principal components, or without them, beside what a probe still reads.

As in section 4 of Ding, Denain & Steinhardt (2021): an index should notice a change that costs accuracy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.which_index.indexes import score
from benchmarks.which_index.layers import bundled
from simkit import demo

__all__ = ["KEPT", "measure", "probe"]

LAYER = "conv5"
KEPT = (1, 2, 5, 10, 20, 50)
WITHOUT = (1, 2, 5)
INDEXES = (
    "cka(estimator=unbiased)",
    "procrustes",
    "linear_regression",
    "gulp",
    "rsa",
    "mutual_knn",
    "cknna",
    "svcca",
)


def probe(x: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a linear classifier in tenfold cross-validation: a layer of more units than examples is scaled first."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    x = (x - x.mean(axis=0)) / x.std()
    folds = StratifiedKFold(10, shuffle=True, random_state=0)
    return float(cross_val_score(LogisticRegression(C=1.0, max_iter=2000), x, labels, cv=folds).mean())


def measure(quick: bool = False) -> dict[str, Any]:
    """Scores of the layer with what is left of it, the share of variance left, and the probe's accuracy."""
    x = bundled()[0]["avgpool" if quick else LAYER].astype(np.float64)
    labels = demo.labels()
    x = x - x.mean(axis=0)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    parts = {"all": slice(None)} | {f"first {k}": slice(k) for k in KEPT}
    parts |= {f"without first {k}": slice(k, None) for k in WITHOUT}
    entries = {}
    for name, part in parts.items():
        rest = (u[:, part] * s[part]) @ vt[part]
        entries[name] = {
            "variance": float(np.sum(s[part] ** 2) / np.sum(s**2)),
            "probe": probe(rest, labels),
            "scores": {spec: score(x, rest, spec) for spec in (INDEXES[:2] if quick else INDEXES)},
        }
        print(name, entries[name], flush=True)
    return entries
