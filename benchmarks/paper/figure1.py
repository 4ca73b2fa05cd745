"""Figure 1: the first principal components of one layer, in two networks from different seeds."""

from __future__ import annotations

import colorsys

import numpy as np

import simkit
from benchmarks.paper.drawing import markdown, sheet
from benchmarks.paper.study import Report, Study
from simkit.analysis import principal_components

__all__ = ["run"]

LAYER = "conv5"  # "an intermediate layer"


def aligned(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`other` with the signs and the order of its two components nearest to the reference: neither is determined."""
    correlations = np.corrcoef(reference.T, other.T)[:2, 2:]
    if abs(correlations[0, 1]) + abs(correlations[1, 0]) > abs(correlations[0, 0]) + abs(correlations[1, 1]):
        other, correlations = other[:, ::-1], correlations[:, ::-1]
    return other * np.sign(np.diag(correlations))


def colours(points: np.ndarray) -> np.ndarray:
    """A colour for each example: its angle is the hue, its distance from the centre the saturation."""
    scaled = points / points.std(axis=0)
    hue = (np.arctan2(scaled[:, 1], scaled[:, 0]) / (2 * np.pi)) % 1
    saturation = np.clip(np.linalg.norm(scaled, axis=1) / 2.5, 0.1, 1)
    return np.array([colorsys.hsv_to_rgb(h, s, 0.85) for h, s in zip(hue, saturation, strict=True)])


def run(study: Study) -> Report:
    """Two scatter plots: the colours come from network A in both."""
    group = study.group("tiny10", count=2)
    a, b = (layers[LAYER] for layers in group.layers)
    first, other = principal_components(a), principal_components(b)
    points, second = first.scores, aligned(first.scores, other.scores)
    correlations = [float(np.corrcoef(points[:, i], second[:, i])[0, 1]) for i in range(2)]
    shade = colours(points)
    figure, axes = sheet(1, 2, (3.2, 3.2))
    for ax, name, xy in zip(axes[0], "AB", (points, second), strict=True):
        ax.scatter(*xy.T, c=shade, s=4, linewidths=0)
        ax.set(xlabel=f"Net {name} PC 1", ylabel=f"Net {name} PC 2", xticks=[], yticks=[])
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle("Examples coloured by net A's principal components", fontsize=9)
    cka = float(simkit.compare(a, b))
    rows = [
        (f"PC {i + 1}", f"{first.explained[i]:.1%}", f"{other.explained[i]:.1%}", f"{correlations[i]:.3f}") for i in range(2)
    ]
    text = f"{LAYER} of Tiny-10 from seeds 0 and 1, n = {group.n} held-out images; linear CKA {cka:.3f}.\n\n" + markdown(
        ["component", "variance in A", "variance in B", "correlation of A and B"], rows
    )
    return Report("figure1", text, {"correlations": np.array(correlations), "a": points, "b": second}, figure)
