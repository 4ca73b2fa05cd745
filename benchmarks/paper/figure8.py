"""Figure 8: the subspace that two networks share: one RSM acting on the eigenvectors of the other (section 6.4)."""

from __future__ import annotations

import numpy as np

from benchmarks.paper.drawing import markdown, sheet
from benchmarks.paper.study import Report, Study
from simkit.analysis import shared_subspace

__all__ = ["run"]

LAYERS = ("conv1", "conv3", "conv5", "conv7", "avgpool")


def run(study: Study) -> Report:
    """A row for each layer: eigenvalues and scaling on the left, the cosine of the rotation on the right."""
    group = study.group("tiny10", count=2)
    figure, axes = sheet(len(LAYERS), 2, (3.1, 1.55))
    rows, numbers = [], {}
    for (left, right), name in zip(axes, LAYERS, strict=True):
        a, b = (layers[name] for layers in group.layers)
        found = shared_subspace(a, b)
        eigenvalues, scaling, cosines = found.eigenvalues, found.scaling, found.cosines
        places = np.arange(1, len(eigenvalues) + 1)
        left.loglog(places, eigenvalues, color="tab:orange", lw=1.2, label="|XX'u|, the eigenvalues")
        left.loglog(places, scaling, ".", color="tab:purple", ms=2.5, label="|YY'u|")
        right.semilogx(places, cosines, ".", color="tab:purple", ms=2.5)
        right.set_ylim(0, 1.02)
        left.set_ylabel(name, fontsize=9)
        for ax in (left, right):
            ax.tick_params(labelsize=7)
            ax.spines[["top", "right"]].set_visible(False)
        rows.append(
            (
                name,
                a.shape[1],
                f"{found.cka:.3f}",
                f"{np.sum(eigenvalues) ** 2 / np.sum(eigenvalues**2):.1f}",
                int(np.argmax(np.append(cosines, 0.0) < 0.5)),
                f"{cosines[:10].mean():.2f}",
                f"{cosines[10:].mean():.2f}" if len(cosines) > 10 else "",
            )
        )
        numbers |= {f"{name} eigenvalues": eigenvalues, f"{name} scaling": scaling, f"{name} cosines": cosines}
    axes[0, 0].legend(fontsize=6, frameon=False)
    axes[0, 0].set_title("Scaling", fontsize=9)
    axes[0, 1].set_title("Cosine of rotation", fontsize=9)
    axes[-1, 0].set_xlabel("Eigenvector", fontsize=8)
    axes[-1, 1].set_xlabel("Eigenvector", fontsize=8)
    head = [
        "layer",
        "units",
        "CKA",
        "participation ratio of A",
        "leading cosines above 0.5",
        "mean cosine, 1-10",
        "mean cosine, rest",
    ]
    text = f"Tiny-10 from seeds 0 and 1, n = {group.n} held-out images.\n\n{markdown(head, rows)}"
    return Report("figure8", text, numbers, figure)
